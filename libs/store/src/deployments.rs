use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{DeploymentName, Namespace, Timestamp, WorkPoolName, limits::DEPLOYMENT_LIMIT_PREFIX};

use crate::{LimitKey, LimitSettings, StoreError};

/// Which deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: DeploymentName,
}

impl DeploymentKey {
    /// The concurrency limit that its runs need a slot of where it bounds how many are held.
    pub fn limit(&self) -> LimitKey {
        LimitKey {
            namespace: self.namespace.clone(),
            name: format!("{DEPLOYMENT_LIMIT_PREFIX}{}", self.name),
        }
    }
}

/// A deployment as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Which.
    pub key: DeploymentKey,
    /// Grows with each change.
    pub version: u64,
    /// What its runs have in common: the encoded message `tidegate.v1.DeploymentSpec`, in which no store looks.
    pub spec: Bytes,
    /// The work pool that the specification names.
    pub work_pool: Option<WorkPoolName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a deployment said from one change to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentVersion {
    /// Its number.
    pub version: u64,
    /// What it said.
    pub spec: Bytes,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it, where that is known.
    pub created_by: Option<String>,
}

/// Reads of deployments.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait DeploymentRows: Send + Sync {
    /// Those of these deployments that are there, in any order.
    async fn get_deployments(&self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError>;

    /// Up to `limit` deployments of a namespace whose names come after `after`, by name.
    async fn list_deployments(
        &self,
        namespace: &Namespace,
        after: Option<&DeploymentName>,
        limit: usize,
    ) -> Result<Vec<Deployment>, StoreError>;

    /// Up to `limit` names of deployments of a namespace, by name.
    async fn list_deployment_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<DeploymentName>, StoreError>;

    /// Up to `limit` versions of a deployment before `before`, the newest first.
    async fn list_deployment_versions(
        &self,
        key: &DeploymentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeploymentVersion>, StoreError>;
}

/// What a transaction does to deployments.
#[async_trait]
pub trait DeploymentTx: Send {
    /// The deployment, which nobody else changes, deletes or makes before the end of the transaction.
    async fn lock_deployment(&mut self, key: &DeploymentKey) -> Result<Option<Deployment>, StoreError>;

    /// How many deployments a namespace has; counted up to `limit`.
    async fn count_deployments(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError>;

    /// Writes a deployment and its version, which `created_by` has made, and forgets all but the last `n_kept` versions.
    /// Its concurrency limit becomes what `limit` says.
    async fn put_deployment(
        &mut self,
        deployment: &Deployment,
        created_by: Option<&str>,
        limit: Option<&LimitSettings>,
        n_kept: usize,
    ) -> Result<(), StoreError>;

    /// Takes a deployment away, with its versions, its limit, and its schedules. False: there was none.
    async fn delete_deployment(&mut self, key: &DeploymentKey) -> Result<bool, StoreError>;
}
