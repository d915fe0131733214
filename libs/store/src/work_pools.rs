use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{
    DeploymentName, Namespace, RunId, Timestamp, WorkPoolName, limits::WORK_POOL_LIMIT_PREFIX,
};

use crate::{LimitKey, QueuePause, StoreError};

/// Which work pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkPoolKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: WorkPoolName,
}

impl WorkPoolKey {
    /// The concurrency limit that its runs need a slot of where it bounds how many are held.
    pub fn limit(&self) -> LimitKey {
        LimitKey { namespace: self.namespace.clone(), name: format!("{WORK_POOL_LIMIT_PREFIX}{}", self.name) }
    }
}

/// A work pool as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkPool {
    /// Which.
    pub key: WorkPoolKey,
    /// Grows with each change.
    pub version: u64,
    /// What was told about it: the encoded message `tidegate.v1.WorkPoolSpec`, in which no store looks.
    pub spec: Bytes,
    /// That no run of it may be claimed.
    pub pause: Option<QueuePause>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Reads of work pools.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait WorkPoolRows: Send + Sync {
    /// Those of these pools that are there, in any order.
    async fn get_work_pools(&self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError>;

    /// Up to `limit` pools of a namespace whose names come after `after`, by name.
    async fn list_work_pools(
        &self,
        namespace: &Namespace,
        after: Option<&WorkPoolName>,
        limit: usize,
    ) -> Result<Vec<WorkPool>, StoreError>;

    /// Up to `limit` names of pools of a namespace, by name.
    async fn list_work_pool_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<WorkPoolName>, StoreError>;

    /// How many runs of a pool workers have, counted up to `limit`.
    async fn count_held_in_work_pool(&self, key: &WorkPoolKey, limit: usize) -> Result<u64, StoreError>;
}

/// What a transaction does to work pools. All changes are in one of
/// [`begin_queue_change`](crate::RunStore::begin_queue_change), so that claims see a pool as it is to their end.
#[async_trait]
pub trait WorkPoolTx: Send {
    /// Those of these pools that are there, in any order. In a transaction of
    /// [`begin_claims`](crate::RunStore::begin_claims) they stay so until its end.
    async fn read_work_pools(&mut self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError>;

    /// True where the pool is there; nobody takes it away before the end of the transaction.
    async fn keep_work_pool(&mut self, key: &WorkPoolKey) -> Result<bool, StoreError>;

    /// How many pools a namespace has; counted up to `limit`.
    async fn count_work_pools(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError>;

    /// Writes a pool; its concurrency limit gets `max_slots`, goes where these are none, and stays as it is
    /// where nothing is said.
    async fn put_work_pool(
        &mut self,
        pool: &WorkPool,
        max_slots: Option<Option<u32>>,
    ) -> Result<(), StoreError>;

    /// Takes a pool away, with its limit, unless a deployment names it: that is the answer then. Waits for those who keep
    /// it.
    async fn delete_work_pool(&mut self, key: &WorkPoolKey) -> Result<Option<DeploymentName>, StoreError>;

    /// What the workers of their pools are to start for these runs, where they have a pool: the encoded message
    /// `tidegate.v1.Job`.
    async fn get_jobs(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Bytes)>, StoreError>;
}
