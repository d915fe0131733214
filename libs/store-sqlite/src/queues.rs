use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{Namespace, QueueName, Timestamp};
use tidegate_store::{LimitSettings, Queue, QueueKey, QueuePause, QueueRows, QueueTx, StoreError, adapter};

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl QueueRows for SqliteStore {
    async fn get_queues(&self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError> {
        let rows = query(queries::FIND_QUEUES.sql())
            .bind(asked(keys))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(queue).collect()
    }

    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<Queue>, StoreError> {
        let rows = query(queries::LIST_QUEUES.sql())
            .bind(namespace.as_str())
            .bind(after.map(QueueName::as_str))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(queue).collect()
    }

    async fn count_held(&self, key: &QueueKey, limit: usize) -> Result<u64, StoreError> {
        let counted = query(queries::COUNT_HELD_IN_QUEUE.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(adapter::limit(limit))
            .fetch_one(&self.readers)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }
}

#[async_trait]
impl QueueTx for SqliteTx {
    async fn read_queues(&mut self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError> {
        let rows = query(queries::FIND_QUEUES.sql())
            .bind(asked(keys))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(queue).collect()
    }

    async fn put_queue(&mut self, queue: &Queue) -> Result<(), StoreError> {
        let (namespace, pause) = (queue.key.namespace.as_str(), queue.pause.as_ref());
        if queue.max_slots.is_none() {
            self.delete_queue_limit(&queue.key).await?;
        }
        query(queries::PUT_QUEUE.sql())
            .bind(namespace)
            .bind(queue.key.name.as_str())
            .bind(queue.max_slots.map(i64::from))
            .bind(pause.map(|pause| pause.at.as_micros()))
            .bind(pause.and_then(|pause| pause.by.as_deref()).map(adapter::text))
            .bind(pause.map_or_else(Default::default, |pause| adapter::text(&pause.reason)))
            .bind(queue.created_at.as_micros())
            .bind(queue.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let Some(settings) = queue.max_slots.map(LimitSettings::from) else { return Ok(()) };
        self.set_limit(&queue.key.limit(), Some(&settings), queue.updated_at).await
    }

    async fn delete_queue(&mut self, key: &QueueKey) -> Result<bool, StoreError> {
        self.delete_queue_limit(key).await?;
        let done = query(queries::DELETE_QUEUE.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn hold_queue_slots(&mut self, key: &QueueKey, now: Timestamp) -> Result<u64, StoreError> {
        let held = query(queries::HOLD_QUEUE_SLOTS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(key.limit().name)
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        query(queries::MARK_QUEUE_SLOTS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(held.rows_affected())
    }
}

impl SqliteTx {
    async fn delete_queue_limit(&mut self, key: &QueueKey) -> Result<(), StoreError> {
        query(queries::DELETE_QUEUE_LIMIT.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(key.limit().name)
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

fn asked(keys: &[QueueKey]) -> String {
    Json::from_iter(keys.iter().map(|key| json!([key.namespace.as_str(), key.name.as_str()]))).to_string()
}

fn queue(row: &SqliteRow) -> Result<Queue, StoreError> {
    let paused_at = row::column::<Option<i64>>(row, 3)?.map(Timestamp::from_micros);
    let pause = match paused_at {
        None => None,
        Some(at) => Some(QueuePause { at, by: row::column(row, 4)?, reason: row::column(row, 5)? }),
    };
    let max_slots = row::column::<Option<i64>>(row, 2)?;
    Ok(Queue {
        key: QueueKey {
            namespace: adapter::parse("namespace", row::column(row, 0)?)?,
            name: adapter::parse("name", row::column(row, 1)?)?,
        },
        max_slots: max_slots.map(|slots| adapter::number("max_slots", slots)).transpose()?,
        pause,
        created_at: Timestamp::from_micros(row::column(row, 6)?),
        updated_at: Timestamp::from_micros(row::column(row, 7)?),
    })
}
