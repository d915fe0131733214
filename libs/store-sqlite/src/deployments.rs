use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{DeploymentName, Namespace, Timestamp, WorkPoolName};
use tidegate_store::{
    Deployment, DeploymentKey, DeploymentRows, DeploymentTx, DeploymentVersion, LimitSettings, StoreError,
    adapter,
};

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl DeploymentRows for SqliteStore {
    async fn get_deployments(&self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError> {
        let rows = query(queries::FIND_DEPLOYMENTS.sql())
            .bind(asked(keys))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(deployment).collect()
    }

    async fn list_deployments(
        &self,
        namespace: &Namespace,
        after: Option<&DeploymentName>,
        limit: usize,
    ) -> Result<Vec<Deployment>, StoreError> {
        let rows = query(queries::LIST_DEPLOYMENTS.sql())
            .bind(namespace.as_str())
            .bind(after.map(DeploymentName::as_str))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(deployment).collect()
    }

    async fn list_deployment_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<DeploymentName>, StoreError> {
        let rows = query(queries::LIST_DEPLOYMENT_NAMES.sql())
            .bind(namespace.as_str())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| adapter::parse("name", row::column(row, 0)?)).collect()
    }

    async fn list_deployment_versions(
        &self,
        key: &DeploymentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeploymentVersion>, StoreError> {
        let rows = query(queries::LIST_DEPLOYMENT_VERSIONS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(before.map_or(i64::MAX, adapter::signed))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(version).collect()
    }
}

#[async_trait]
impl DeploymentTx for SqliteTx {
    async fn lock_deployment(&mut self, key: &DeploymentKey) -> Result<Option<Deployment>, StoreError> {
        // It has the one writer.
        let found = query(queries::FIND_DEPLOYMENTS.sql())
            .bind(asked(std::slice::from_ref(key)))
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        found.as_ref().map(deployment).transpose()
    }

    async fn count_deployments(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError> {
        let counted = query(queries::COUNT_DEPLOYMENTS.sql())
            .bind(namespace.as_str())
            .bind(adapter::limit(limit))
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }

    async fn put_deployment(
        &mut self,
        deployment: &Deployment,
        created_by: Option<&str>,
        limit: Option<&LimitSettings>,
        n_kept: usize,
    ) -> Result<(), StoreError> {
        let (namespace, name) = (deployment.key.namespace.as_str(), deployment.key.name.as_str());
        let version = adapter::signed(deployment.version);
        query(queries::PUT_DEPLOYMENT.sql())
            .bind(namespace)
            .bind(name)
            .bind(version)
            .bind(deployment.spec[..].to_vec())
            .bind(deployment.created_at.as_micros())
            .bind(deployment.updated_at.as_micros())
            .bind(deployment.work_pool.as_ref().map(WorkPoolName::as_str))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        query(queries::PUT_DEPLOYMENT_VERSION.sql())
            .bind(namespace)
            .bind(name)
            .bind(version)
            .bind(deployment.spec[..].to_vec())
            .bind(deployment.updated_at.as_micros())
            .bind(created_by.map(adapter::text))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        self.forget_versions(&deployment.key, version.saturating_sub(adapter::limit(n_kept))).await?;
        self.set_limit(&deployment.key.limit(), limit, deployment.updated_at).await
    }

    async fn delete_deployment(&mut self, key: &DeploymentKey) -> Result<bool, StoreError> {
        self.drop_limit(&key.limit()).await?;
        self.forget_versions(key, i64::MAX).await?;
        self.delete_schedules(key).await?;
        let done = query(queries::DELETE_DEPLOYMENT.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }
}

impl SqliteTx {
    /// Forgets the versions of a deployment up to this one.
    async fn forget_versions(&mut self, key: &DeploymentKey, last: i64) -> Result<(), StoreError> {
        query(queries::DELETE_DEPLOYMENT_VERSIONS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(last)
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

pub(crate) fn asked(keys: &[DeploymentKey]) -> String {
    Json::from_iter(keys.iter().map(|key| json!([key.namespace.as_str(), key.name.as_str()]))).to_string()
}

pub(crate) fn deployment(row: &SqliteRow) -> Result<Deployment, StoreError> {
    Ok(Deployment {
        key: DeploymentKey {
            namespace: adapter::parse("namespace", row::column(row, 0)?)?,
            name: adapter::parse("name", row::column(row, 1)?)?,
        },
        version: adapter::number("version", row::column(row, 2)?)?,
        spec: row::column::<Vec<u8>>(row, 3)?.into(),
        created_at: Timestamp::from_micros(row::column(row, 4)?),
        updated_at: Timestamp::from_micros(row::column(row, 5)?),
        work_pool: row::column::<Option<&str>>(row, 6)?
            .map(|pool| adapter::parse("work_pool", pool))
            .transpose()?,
    })
}

fn version(row: &SqliteRow) -> Result<DeploymentVersion, StoreError> {
    Ok(DeploymentVersion {
        version: adapter::number("version", row::column(row, 0)?)?,
        spec: row::column::<Vec<u8>>(row, 1)?.into(),
        created_at: Timestamp::from_micros(row::column(row, 2)?),
        created_by: row::column(row, 3)?,
    })
}
