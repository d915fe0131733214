use async_trait::async_trait;
use sqlx::{postgres::PgRow, query};
use tidegate_model::{Namespace, RunId, Timestamp};
use tidegate_orchestration::{Arrival, Line};
use tidegate_store::{
    Awaited, ConcurrencyLimit, HandOut, Holders, LeaseWait, LimitKey, LimitRows, LimitSettings, LimitUse,
    Slot, SlotTx, SlotWait, StoreError,
    adapter::{self, SettingsColumns},
};
use uuid::Uuid;

use crate::{PgStore, error::store_error, queries, row, store::BEGIN, tx::PgTx};

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

impl PgTx {
    /// Has the limit of something be what that says; `None`: it has none.
    pub(crate) async fn set_limit(
        &mut self,
        key: &LimitKey,
        settings: Option<&LimitSettings>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match settings {
            Some(settings) => put(&mut self.tx, key, settings, now).await.map(drop),
            None => self.drop_limit(key).await,
        }
    }

    /// Takes the limit of something away, where it has one.
    pub(crate) async fn drop_limit(&mut self, key: &LimitKey) -> Result<(), StoreError> {
        delete(&mut self.tx, key).await.map(drop)
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

#[async_trait]
impl SlotTx for PgTx {
    async fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        let locked: Vec<LimitKey> =
            keys.iter().flat_map(|key| [Some(key.clone()), key.template()]).flatten().collect();
        query(queries::LOCK_LIMITS.sql())
            .bind(namespaces(&locked))
            .bind(names(&locked))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let rows = query(queries::FIND_LIMITS.sql())
            .bind(now.as_micros())
            .bind(namespaces(keys))
            .bind(names(keys))
            .bind(templates(keys))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_use).collect()
    }

    async fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError> {
        query(queries::TAKE_SLOTS.sql())
            .bind(slots.iter().map(|slot| slot.limit.namespace.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.limit.name.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.owner.as_uuid()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.acquired_at.as_micros()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.expires_at.map(Timestamp::as_micros)).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.for_run.map(|run| run.as_uuid())).collect::<Vec<_>>())
            .bind(
                slots.iter().map(|slot| i32::try_from(slot.n_slots).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
            )
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError> {
        let rows = query(queries::FREE_SLOTS.sql())
            .bind(row::ids(owners))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_key).collect()
    }

    async fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError> {
        query(queries::PUT_WAITS.sql())
            .bind(waits.iter().map(|wait| wait.run_id.as_uuid()).collect::<Vec<Uuid>>())
            .bind(waits.iter().map(|wait| wait.limit.namespace.as_str()).collect::<Vec<_>>())
            .bind(waits.iter().map(|wait| wait.limit.name.as_str()).collect::<Vec<_>>())
            .bind(waits.iter().map(|wait| wait.priority).collect::<Vec<_>>())
            .bind(waits.iter().map(|wait| wait.due_at.as_micros()).collect::<Vec<_>>())
            .bind(
                waits
                    .iter()
                    .map(|wait| adapter::fairness_key(wait.fairness_key.as_ref()))
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn end_waits(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, LimitKey)>, StoreError> {
        let rows = query(queries::END_WAITS.sql())
            .bind(row::ids(runs))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok((row::run_id(row, 2)?, limit_key(row)?))).collect()
    }

    async fn use_lapses(
        &mut self,
        lapses: &[(LimitKey, u64)],
        lapsed_since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query(queries::USE_LAPSES.sql())
            .bind(lapses.iter().map(|(key, _)| key.namespace.as_str()).collect::<Vec<_>>())
            .bind(lapses.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>())
            .bind(lapses.iter().map(|(_, n)| adapter::bound(Some(*n))).collect::<Vec<_>>())
            .bind(lapsed_since.as_micros())
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn lock_owner(&mut self, owner: RunId) -> Result<(Vec<Slot>, Option<LeaseWait>), StoreError> {
        let rows = query(queries::SLOTS_OF_OWNER.sql())
            .bind(owner.as_uuid())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let slots = rows.iter().map(slot).collect::<Result<_, _>>()?;
        let row = query(queries::WAIT_OF_OWNER.sql())
            .bind(owner.as_uuid())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let wait = row.map(|row| {
            Ok(LeaseWait {
                owner,
                limit: limit_key(&row)?,
                since: Timestamp::from_micros(row::column(&row, 2)?),
                was_handed: row::column::<i64>(&row, 3)? > 0,
                expires_at: Timestamp::from_micros(row::column(&row, 4)?),
                n_slots: adapter::number("n_slots", row::column::<i32>(&row, 5)?.into())?,
                reserved_until: Some(row::column::<i64>(&row, 6)?)
                    .filter(|until| *until > 0)
                    .map(Timestamp::from_micros),
            })
        });
        Ok((slots, wait.transpose()?))
    }

    async fn put_lease_wait(&mut self, wait: &LeaseWait) -> Result<bool, StoreError> {
        let done = query(queries::PUT_LEASE_WAIT.sql())
            .bind(wait.owner.as_uuid())
            .bind(wait.limit.namespace.as_str())
            .bind(&wait.limit.name)
            .bind(wait.since.as_micros())
            // Where nothing is kept for it, its turn was long ago. Where something is, no sweep is to give it another.
            .bind(wait.reserved_until.map_or(i64::from(wait.was_handed), Timestamp::as_micros))
            .bind(wait.expires_at.as_micros())
            .bind(i32::try_from(wait.n_slots).unwrap_or(i32::MAX))
            .bind(wait.reserved_until.map_or(0, Timestamp::as_micros))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn end_lease_wait(
        &mut self,
        namespace: &Namespace,
        owner: RunId,
    ) -> Result<Option<LimitKey>, StoreError> {
        let row = query(queries::END_LEASE_WAIT.sql())
            .bind(namespace.as_str())
            .bind(owner.as_uuid())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        row.as_ref().map(limit_key).transpose()
    }

    async fn count_line(
        &mut self,
        keys: &[LimitKey],
        but: Option<RunId>,
        lapsed_since: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>, StoreError> {
        let rows = query(queries::COUNT_LINE.sql())
            .bind(namespaces(keys))
            .bind(names(keys))
            .bind(lapsed_since.as_micros())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .bind(but.map(|but| but.as_uuid()))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let line = |row: &PgRow| {
            Ok(Line {
                n_waiting: adapter::number("n_waiting", row::column(row, 0)?)?,
                n_reserved: adapter::number("n_reserved", row::column(row, 1)?)?,
                n_lapsed: adapter::number("n_lapsed", row::column(row, 2)?)?,
            })
        };
        rows.iter().map(line).collect()
    }

    async fn awaited_by(&mut self, runs: &[RunId], now: Timestamp) -> Result<Vec<Awaited>, StoreError> {
        let rows = query(queries::WAITS_OF_RUNS.sql())
            .bind(row::ids(runs))
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let awaited = |row: &PgRow| {
            Ok(Awaited {
                limit: limit_key(row)?,
                run_id: row::run_id(row, 2)?,
                is_in_line: row::column(row, 3)?,
            })
        };
        rows.iter().map(awaited).collect()
    }

    async fn put_arrivals(&mut self, arrivals: &[(LimitKey, Arrival)]) -> Result<(), StoreError> {
        query(queries::PUT_RATES.sql())
            .bind(arrivals.iter().map(|(key, _)| key.namespace.as_str()).collect::<Vec<_>>())
            .bind(arrivals.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>())
            .bind(arrivals.iter().map(|(_, arrival)| arrival.0).collect::<Vec<_>>())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn find_holders(
        &mut self,
        key: &LimitKey,
        newest_first: bool,
        limit: usize,
    ) -> Result<Holders, StoreError> {
        let holders = if newest_first { &queries::NEWEST_SLOTS } else { &queries::OLDEST_SLOTS };
        let rows = query(holders.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(adapter::limit(limit))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let unasked = rows.iter().map(|row| row::run_id(row, 0)).collect::<Result<_, _>>()?;
        let row = query(queries::COUNT_COLLISION.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(adapter::limit(limit))
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let n_asked = adapter::number("n_asked", row::column(&row, 0)?)?;
        let n_waiting = adapter::number("n_waiting", row::column(&row, 1)?)?;
        let newest = row::column::<Option<Uuid>>(&row, 2)?.map(RunId::from_uuid);
        Ok(Holders { unasked, n_asked, n_waiting, newest })
    }

    async fn ask_slots(&mut self, slots: &[(LimitKey, RunId)]) -> Result<(), StoreError> {
        query(queries::ASK_SLOTS.sql())
            .bind(slots.iter().map(|(limit, _)| limit.namespace.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|(limit, _)| limit.name.as_str()).collect::<Vec<_>>())
            .bind(slots.iter().map(|(_, owner)| owner.as_uuid()).collect::<Vec<_>>())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
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
