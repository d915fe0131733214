use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{DeploymentName, Namespace, RunId, Timestamp, WorkPoolName};
use tidegate_store::{
    LimitSettings, QueuePause, StoreError, WorkPool, WorkPoolKey, WorkPoolRows, WorkPoolTx, adapter,
};

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl WorkPoolRows for SqliteStore {
    async fn get_work_pools(&self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError> {
        let rows = query(queries::FIND_WORK_POOLS.sql())
            .bind(asked(keys))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(work_pool).collect()
    }

    async fn list_work_pools(
        &self,
        namespace: &Namespace,
        after: Option<&WorkPoolName>,
        limit: usize,
    ) -> Result<Vec<WorkPool>, StoreError> {
        let rows = query(queries::LIST_WORK_POOLS.sql())
            .bind(namespace.as_str())
            .bind(after.map(WorkPoolName::as_str))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(work_pool).collect()
    }

    async fn list_work_pool_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<WorkPoolName>, StoreError> {
        let rows = query(queries::LIST_WORK_POOL_NAMES.sql())
            .bind(namespace.as_str())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| adapter::parse("name", row::column(row, 0)?)).collect()
    }

    async fn count_held_in_work_pool(&self, key: &WorkPoolKey, limit: usize) -> Result<u64, StoreError> {
        let counted = query(queries::COUNT_HELD_IN_WORK_POOL.sql())
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
impl WorkPoolTx for SqliteTx {
    async fn read_work_pools(&mut self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError> {
        let rows = query(queries::FIND_WORK_POOLS.sql())
            .bind(asked(keys))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(work_pool).collect()
    }

    async fn keep_work_pool(&mut self, key: &WorkPoolKey) -> Result<bool, StoreError> {
        // Who writes is alone.
        Ok(!self.read_work_pools(std::slice::from_ref(key)).await?.is_empty())
    }

    async fn count_work_pools(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError> {
        let counted = query(queries::COUNT_WORK_POOLS.sql())
            .bind(namespace.as_str())
            .bind(adapter::limit(limit))
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }

    async fn put_work_pool(
        &mut self,
        pool: &WorkPool,
        max_slots: Option<Option<u32>>,
    ) -> Result<(), StoreError> {
        let (namespace, pause) = (pool.key.namespace.as_str(), pool.pause.as_ref());
        query(queries::PUT_WORK_POOL.sql())
            .bind(namespace)
            .bind(pool.key.name.as_str())
            .bind(adapter::signed(pool.version))
            .bind(pool.spec[..].to_vec())
            .bind(pause.map(|pause| pause.at.as_micros()))
            .bind(pause.and_then(|pause| pause.by.as_deref()).map(adapter::text))
            .bind(pause.map_or_else(Default::default, |pause| adapter::text(&pause.reason)))
            .bind(pool.created_at.as_micros())
            .bind(pool.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let Some(max_slots) = max_slots else { return Ok(()) };
        let settings = max_slots.map(LimitSettings::from);
        self.set_limit(&pool.key.limit(), settings.as_ref(), pool.updated_at).await
    }

    async fn delete_work_pool(&mut self, key: &WorkPoolKey) -> Result<Option<DeploymentName>, StoreError> {
        let named = query(queries::DEPLOYMENT_OF_WORK_POOL.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        if let Some(row) = named {
            return adapter::parse("name", row::column(&row, 0)?).map(Some);
        }
        self.drop_limit(&key.limit()).await?;
        query(queries::DELETE_WORK_POOL.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(None)
    }

    async fn get_jobs(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Bytes)>, StoreError> {
        let rows = query(queries::GET_JOBS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok((row::run_id(row, 0)?, row::column::<Vec<u8>>(row, 1)?.into()))).collect()
    }
}

fn asked(keys: &[WorkPoolKey]) -> String {
    Json::from_iter(keys.iter().map(|key| json!([key.namespace.as_str(), key.name.as_str()]))).to_string()
}

fn work_pool(row: &SqliteRow) -> Result<WorkPool, StoreError> {
    let paused_at = row::column::<Option<i64>>(row, 4)?.map(Timestamp::from_micros);
    let pause = match paused_at {
        None => None,
        Some(at) => Some(QueuePause { at, by: row::column(row, 5)?, reason: row::column(row, 6)? }),
    };
    Ok(WorkPool {
        key: WorkPoolKey {
            namespace: adapter::parse("namespace", row::column(row, 0)?)?,
            name: adapter::parse("name", row::column(row, 1)?)?,
        },
        version: adapter::number("version", row::column(row, 2)?)?,
        spec: row::column::<Vec<u8>>(row, 3)?.into(),
        pause,
        created_at: Timestamp::from_micros(row::column(row, 7)?),
        updated_at: Timestamp::from_micros(row::column(row, 8)?),
    })
}
