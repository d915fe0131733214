use async_trait::async_trait;
use tidegate_model::{Namespace, QueueName, Timestamp, limits::QUEUE_LIMIT_PREFIX};

use crate::{LimitKey, StoreError};

/// Which queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: QueueName,
}

impl QueueKey {
    /// The concurrency limit that its runs need a slot of where the queue bounds how many are held.
    pub fn limit(&self) -> LimitKey {
        LimitKey { namespace: self.namespace.clone(), name: format!("{QUEUE_LIMIT_PREFIX}{}", self.name) }
    }
}

/// The settings of a queue. One without any needs no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Which.
    pub key: QueueKey,
    /// How many of its runs may be held at once; `None`: it has no limit.
    pub max_slots: Option<u32>,
    /// That no run of it may be claimed.
    pub pause: Option<QueuePause>,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

/// That no run of a queue may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePause {
    /// Since when.
    pub at: Timestamp,
    /// Who paused it, where that is known.
    pub by: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}

/// Reads of the settings of queues.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait QueueRows: Send + Sync {
    /// Those of these queues that have settings, in any order.
    async fn get_queues(&self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError>;

    /// Up to `limit` queues of a namespace with settings, whose names come after `after`, by name.
    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<Queue>, StoreError>;

    /// How many runs of a queue workers have, counted up to `limit`.
    async fn count_held(&self, key: &QueueKey, limit: usize) -> Result<u64, StoreError>;
}

/// What a transaction does to queues.
#[async_trait]
pub trait QueueTx: Send {
    /// Those of these queues that have settings, in any order. In a transaction of
    /// [`begin_claims`](crate::RunStore::begin_claims) they stay so until its end.
    async fn read_queues(&mut self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError>;

    /// Writes the settings of a queue and defines its limit, or takes that away which the settings before had. Only in a
    /// transaction of [`begin_queue_change`](crate::RunStore::begin_queue_change), as the other changes.
    async fn put_queue(&mut self, queue: &Queue) -> Result<(), StoreError>;

    /// Takes the settings of a queue away, and the limit that they had. False: it had none.
    async fn delete_queue(&mut self, key: &QueueKey) -> Result<bool, StoreError>;

    /// Gives each run of the queue that is held without a slot of the queue's limit one, taken at `now`. Gives how many.
    async fn hold_queue_slots(&mut self, key: &QueueKey, now: Timestamp) -> Result<u64, StoreError>;
}
