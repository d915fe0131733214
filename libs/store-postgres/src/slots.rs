mod tx;

use async_trait::async_trait;
use sqlx::{postgres::PgRow, query};
use tidegate_model::{Namespace, RunId, Timestamp};
use tidegate_orchestration::Arrival;
use tidegate_store::{
    ConcurrencyLimit, HandOut, LimitKey, LimitRows, LimitSettings, LimitUse, Slot, StoreError,
    adapter::{self, SettingsColumns},
};
use uuid::Uuid;

use crate::{PgStore, error::store_error, queries, row, store::BEGIN};

#[async_trait]
impl LimitRows for PgStore {
    async fn put_limit(
        &self,
        key: &LimitKey,
        settings: &LimitSettings,
        now: Timestamp,
    ) -> Result<ConcurrencyLimit, StoreError> {
        let mut tx = self.begin_by(BEGIN).await?;
        let created_at = put(&mut tx, key, settings, now).await?;
        if let Some(rate) = settings.rate {
            let (first, end) = key.names();
            query(queries::CLAMP_RATES.sql())
                .bind(key.namespace.as_str())
                .bind(&key.name)
                .bind(first)
                .bind(end)
                .bind(rate.latest(now).0)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(ConcurrencyLimit { key: key.clone(), settings: settings.clone(), created_at, updated_at: now })
    }

    async fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError> {
        let mut tx = self.begin_by(BEGIN).await?;
        let was_there = delete(&mut tx, key).await?;
        // What the limit left is not to count against a template that binds the name from now on.
        if was_there {
            query(queries::DELETE_RATE.sql())
                .bind(key.namespace.as_str())
                .bind(&key.name)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(was_there)
    }

    async fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        let rows = query(queries::FIND_LIMITS.sql())
            .bind(now.as_micros())
            .bind(namespaces(keys))
            .bind(names(keys))
            .bind(templates(keys))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_use).collect()
    }

    async fn list_limits(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<LimitUse>, StoreError> {
        let rows = query(queries::LIST_LIMITS.sql())
            .bind(now.as_micros())
            .bind(namespace.as_str())
            .bind(after)
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_use).collect()
    }

    async fn template_use(&self, key: &LimitKey, now: Timestamp) -> Result<(u64, u64), StoreError> {
        let (first, end) = key.names();
        let row = query(queries::TEMPLATE_USE.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(first)
            .bind(end)
            .bind(now.as_micros())
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        let n_used = adapter::number("n_used", row::column(&row, 0)?)?;
        Ok((n_used, adapter::number("n_waiting", row::column(&row, 1)?)?))
    }

    async fn list_slots(
        &self,
        key: &LimitKey,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Slot>, StoreError> {
        let (first, end) = key.names();
        let rows = query(queries::LIST_SLOTS.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(first)
            .bind(end)
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(slot).collect()
    }

    async fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError> {
        let rows = query(queries::COUNT_WAITS.sql())
            .bind(namespaces(keys))
            .bind(names(keys))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| adapter::number("count", row::column(row, 0)?)).collect()
    }

    async fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError> {
        let row = query(queries::NEXT_AWAITED.sql())
            .bind(after.map_or("", |key| key.namespace.as_str()))
            .bind(after.map_or("", |key| key.name.as_str()))
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        row.as_ref().map(limit_key).transpose()
    }

    async fn hand_out(&self, key: &LimitKey, ask: &HandOut) -> Result<Option<Vec<RunId>>, StoreError> {
        let mut tx = self.begin_by(BEGIN).await?;
        let locked = query(queries::LOCK_HAND_OUT.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .fetch_one(&mut *tx)
            .await
            .map_err(store_error)?;
        if !row::column::<bool>(&locked, 0)? {
            return Ok(None);
        }
        let rows = query(queries::HAND_OUT_WAITS.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(adapter::handed_before(ask.handed_before))
            .bind(ask.now.as_micros())
            .bind(ask.reserved_until.as_micros())
            .bind(adapter::bound(ask.max_slots))
            .bind(adapter::bound(ask.n_tokens))
            .bind(adapter::bound(Some(ask.n_more)))
            .bind(adapter::bound(Some(ask.max_lapsed)))
            .bind(adapter::limit(ask.limit))
            .bind(ask.lapsed_since.as_micros())
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)?;
        let mut handed = Vec::with_capacity(rows.len());
        for row in &rows {
            if row::column(row, 1)? {
                handed.push(row::run_id(row, 0)?);
            }
        }
        Ok(Some(handed))
    }

    async fn return_lost(
        &self,
        key: &LimitKey,
        handed_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let done = query(queries::RETURN_LOST_WAITS.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(handed_before.as_micros())
            .bind(adapter::limit(limit))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn first_lapse(&self, key: &LimitKey, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let row = query(queries::FIRST_LAPSE.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(now.as_micros())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        row.map(|row| Ok(Timestamp::from_micros(row::column(&row, 0)?))).transpose()
    }

    async fn pass_over(
        &self,
        key: &LimitKey,
        runs: &[RunId],
        handed_at: Timestamp,
    ) -> Result<(), StoreError> {
        query(queries::PASS_OVER.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(row::ids(runs))
            .bind(handed_at.as_micros())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let rows = query(queries::CLEAR_SLOTS.sql())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(slot).collect()
    }
    async fn slots_to_ask(&self, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let rows = query(queries::SLOTS_TO_ASK.sql())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(slot).collect()
    }

    async fn note_asked(&self, slots: &[Slot]) -> Result<(), StoreError> {
        query(queries::NOTE_ASKED.sql())
            .bind(slots.iter().map(|slot| slot.limit.namespace.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.limit.name.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.owner.as_uuid()).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn renew_leases(
        &self,
        namespace: &Namespace,
        owner: RunId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = query(queries::RENEW_LEASES.sql())
            .bind(namespace.as_str())
            .bind(owner.as_uuid())
            .bind(now.as_micros())
            .bind(expires_at.as_micros())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() > 0)
    }

    async fn handed_leases(&self, owners: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = query(queries::HANDED_LEASES.sql())
            .bind(row::ids(owners))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| row::run_id(row, 0)).collect()
    }

    async fn tell_leases(&self) {
        self.signals.committed();
    }

    async fn purge_lease_waits(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let row = query(queries::PURGE_LEASE_WAITS.sql())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&row, 0)?)
    }

    async fn purge_rates(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let done = query(queries::PURGE_RATES.sql())
            .bind(Arrival::at(now).0)
            .bind(adapter::limit(limit))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }
}

/// Writes a limit; gives since when it is there.
async fn put(
    connection: &mut sqlx::PgConnection,
    key: &LimitKey,
    settings: &LimitSettings,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let columns = SettingsColumns::of(settings);
    let row = query(queries::PUT_LIMIT.sql())
        .bind(key.namespace.as_str())
        .bind(&key.name)
        .bind(columns.has_slots)
        .bind(columns.max_slots)
        .bind(columns.max_starts)
        .bind(columns.period)
        .bind(columns.burst)
        .bind(settings.on_collision.as_str())
        .bind(now.as_micros())
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(Timestamp::from_micros(row::column(&row, 0)?))
}

/// False: there was none.
async fn delete(connection: &mut sqlx::PgConnection, key: &LimitKey) -> Result<bool, StoreError> {
    let done = query(queries::DELETE_LIMIT.sql())
        .bind(key.namespace.as_str())
        .bind(&key.name)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

fn namespaces(keys: &[LimitKey]) -> Vec<&str> {
    keys.iter().map(|key| key.namespace.as_str()).collect()
}

fn names(keys: &[LimitKey]) -> Vec<&str> {
    keys.iter().map(|key| key.name.as_str()).collect()
}

fn templates(keys: &[LimitKey]) -> Vec<Option<String>> {
    keys.iter().map(|key| key.template().map(|template| template.name)).collect()
}

fn limit_key(row: &PgRow) -> Result<LimitKey, StoreError> {
    Ok(LimitKey { namespace: adapter::parse("namespace", row::column(row, 0)?)?, name: row::column(row, 1)? })
}

fn limit_use(row: &PgRow) -> Result<LimitUse, StoreError> {
    let key = limit_key(row)?;
    let columns = SettingsColumns {
        has_slots: row::column(row, 3)?,
        max_slots: row::column(row, 4)?,
        max_starts: row::column(row, 5)?,
        period: row::column(row, 6)?,
        burst: row::column(row, 7)?,
    };
    let limit = ConcurrencyLimit {
        key: LimitKey { namespace: key.namespace.clone(), name: row::column(row, 2)? },
        settings: columns.settings(row::column(row, 8)?)?,
        created_at: Timestamp::from_micros(row::column(row, 9)?),
        updated_at: Timestamp::from_micros(row::column(row, 10)?),
    };
    let n_used = adapter::number("n_used", row::column(row, 11)?)?;
    let arrival = Arrival(row::column::<Option<i64>>(row, 12)?.unwrap_or_default());
    let (is_awaited, awaits_several) = (row::column(row, 13)?, row::column(row, 14)?);
    Ok(LimitUse { key, limit, n_used, arrival, is_awaited, awaits_several })
}

fn slot(row: &PgRow) -> Result<Slot, StoreError> {
    Ok(Slot {
        limit: limit_key(row)?,
        owner: row::run_id(row, 2)?,
        acquired_at: Timestamp::from_micros(row::column(row, 3)?),
        expires_at: row::column::<Option<i64>>(row, 4)?.map(Timestamp::from_micros),
        for_run: row::column::<Option<Uuid>>(row, 5)?.map(RunId::from_uuid),
        n_slots: adapter::number("n_slots", row::column::<i32>(row, 6)?.into())?,
    })
}
