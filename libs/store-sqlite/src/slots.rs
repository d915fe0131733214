use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{Namespace, RunId, Timestamp};
use tidegate_store::{
    ConcurrencyLimit, LimitKey, LimitRows, LimitUse, Slot, SlotTx, SlotWait, StoreError, adapter,
};

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl LimitRows for SqliteStore {
    async fn put_limit(
        &self,
        key: &LimitKey,
        max_slots: u32,
        now: Timestamp,
    ) -> Result<ConcurrencyLimit, StoreError> {
        let row = query(queries::PUT_LIMIT.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(i64::from(max_slots))
            .bind(now.as_micros())
            .fetch_one(&self.writer)
            .await
            .map_err(store_error)?;
        let created_at = Timestamp::from_micros(row::column(&row, 0)?);
        Ok(ConcurrencyLimit { key: key.clone(), max_slots, created_at, updated_at: now })
    }

    async fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError> {
        let done = query(queries::DELETE_LIMIT.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        let rows = query(queries::FIND_LIMITS.sql())
            .bind(now.as_micros())
            .bind(asked(keys))
            .fetch_all(&self.readers)
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
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(limit_use).collect()
    }

    async fn list_slots(
        &self,
        key: &LimitKey,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Slot>, StoreError> {
        let rows = query(queries::LIST_SLOTS.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(slot).collect()
    }

    async fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError> {
        let rows = query(queries::COUNT_WAITS.sql())
            .bind(asked(keys))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| adapter::number("count", row::column(row, 0)?)).collect()
    }

    async fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError> {
        let row = query(queries::NEXT_AWAITED.sql())
            .bind(after.map_or("", |key| key.namespace.as_str()))
            .bind(after.map_or("", |key| key.name.as_str()))
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?;
        row.as_ref().map(limit_key).transpose()
    }

    async fn hand_out(
        &self,
        key: &LimitKey,
        handed_before: Option<Timestamp>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        let rows = query(queries::HAND_OUT_WAITS.sql())
            .bind(key.namespace.as_str())
            .bind(&key.name)
            .bind(adapter::handed_before(handed_before))
            .bind(adapter::limit(limit))
            .bind(now.as_micros())
            .fetch_all(&self.writer)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| row::run_id(row, 0)).collect()
    }

    async fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let rows = query(queries::CLEAR_SLOTS.sql())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.writer)
            .await
            .map_err(store_error)?;
        rows.iter().map(slot).collect()
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
            ])
        }));
        query(queries::PUT_WAITS.sql())
            .bind(rows.to_string())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn end_waits(&mut self, runs: &[RunId]) -> Result<(), StoreError> {
        query(queries::END_WAITS.sql())
            .bind(row::ids(runs.iter().map(RunId::as_uuid)))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

fn asked(keys: &[LimitKey]) -> String {
    Json::from_iter(keys.iter().map(|key| json!([key.namespace.as_str(), key.name]))).to_string()
}

fn limit_key(row: &SqliteRow) -> Result<LimitKey, StoreError> {
    Ok(LimitKey { namespace: adapter::parse("namespace", row::column(row, 0)?)?, name: row::column(row, 1)? })
}

fn limit_use(row: &SqliteRow) -> Result<LimitUse, StoreError> {
    Ok(LimitUse {
        limit: ConcurrencyLimit {
            key: limit_key(row)?,
            max_slots: adapter::number("max_slots", row::column(row, 2)?)?,
            created_at: Timestamp::from_micros(row::column(row, 3)?),
            updated_at: Timestamp::from_micros(row::column(row, 4)?),
        },
        n_used: adapter::number("n_used", row::column(row, 5)?)?,
    })
}

fn slot(row: &SqliteRow) -> Result<Slot, StoreError> {
    Ok(Slot {
        limit: limit_key(row)?,
        owner: row::run_id(row, 2)?,
        acquired_at: Timestamp::from_micros(row::column(row, 3)?),
        expires_at: row::column::<Option<i64>>(row, 4)?.map(Timestamp::from_micros),
    })
}
