//! What is done with limits and slots within a transaction.

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{Namespace, RunId, Timestamp};
use tidegate_orchestration::{Arrival, Line};
use tidegate_store::{
    Awaited, Holders, LeaseWait, LimitKey, LimitSettings, LimitUse, Slot, SlotTx, SlotWait, StoreError,
    adapter,
};
use uuid::Uuid;

use super::{asked, delete, limit_key, limit_use, named, put, slot};
use crate::{error::store_error, queries, row, turns, tx::SqliteTx};

impl SqliteTx {
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

#[async_trait]
impl SlotTx for SqliteTx {
    async fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        let rows = query(queries::FIND_LIMITS.sql())
            .bind(now.as_micros())
            .bind(asked(keys))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_use).collect()
    }

    async fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError> {
        let rows = Json::from_iter(slots.iter().map(|slot| {
            json!([
                slot.limit.namespace.as_str(),
                slot.limit.name,
                slot.owner.as_uuid().simple().to_string(),
                slot.acquired_at.as_micros(),
                slot.expires_at.map(Timestamp::as_micros),
                slot.for_run.map(|run| run.as_uuid().simple().to_string()),
                slot.n_slots,
            ])
        }));
        query(queries::TAKE_SLOTS.sql())
            .bind(rows.to_string())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError> {
        let rows = query(queries::FREE_SLOTS.sql())
            .bind(row::ids(owners.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_key).collect()
    }

    async fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError> {
        let rows = Json::from_iter(waits.iter().map(|wait| {
            json!([
                wait.run_id.as_uuid().simple().to_string(),
                wait.limit.namespace.as_str(),
                wait.limit.name,
                wait.priority,
                wait.due_at.as_micros(),
                adapter::fairness_key(wait.fairness_key.as_ref()),
            ])
        }));
        query(queries::PUT_WAITS.sql())
            .bind(rows.to_string())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn end_waits(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, LimitKey)>, StoreError> {
        let rows = query(queries::END_WAITS.sql())
            .bind(row::ids(runs.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        turns::move_up(&mut self.tx, &rows).await?;
        rows.iter().map(|row| Ok((row::run_id(row, 6)?, limit_key(row)?))).collect()
    }

    async fn use_lapses(
        &mut self,
        lapses: &[(LimitKey, u64)],
        lapsed_since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (key, n) in lapses {
            query(queries::USE_LAPSES.sql())
                .bind(key.namespace.as_str())
                .bind(&key.name)
                .bind(lapsed_since.as_micros())
                .bind(now.as_micros())
                .bind(adapter::bound(Some(*n)))
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
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
                n_slots: adapter::number("n_slots", row::column(&row, 5)?)?,
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
            .bind(i64::from(wait.n_slots))
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
        let rows = query(queries::END_LEASE_WAIT.sql())
            .bind(namespace.as_str())
            .bind(owner.as_uuid())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        turns::move_up(&mut self.tx, &rows).await?;
        rows.first().map(limit_key).transpose()
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
            .bind(asked(keys))
            .bind(lapsed_since.as_micros())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .bind(but.map(|but| but.as_uuid()))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let line = |row: &SqliteRow| {
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
            .bind(row::ids(runs.iter().map(RunId::as_uuid)))
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let awaited = |row: &SqliteRow| {
            Ok(Awaited {
                limit: limit_key(row)?,
                run_id: row::run_id(row, 2)?,
                is_in_line: row::column(row, 3)?,
            })
        };
        rows.iter().map(awaited).collect()
    }

    async fn put_arrivals(&mut self, arrivals: &[(LimitKey, Arrival)]) -> Result<(), StoreError> {
        let rows = arrivals.iter().map(|(key, arrival)| json!([key.namespace.as_str(), key.name, arrival.0]));
        query(queries::PUT_RATES.sql())
            .bind(Json::from_iter(rows).to_string())
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
            .bind(named(slots.iter().map(|(limit, owner)| (limit, *owner))))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}
