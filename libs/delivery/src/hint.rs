use std::{fmt, time::Duration};

use tidegate_model::{Epoch, Namespace, RunId, Timestamp, WorkPoolName, WorkerId};
use tokio::sync::broadcast;

use crate::QueueId;

/// How many hints wait for a slow listener. One that falls behind gets [`Hint::Missed`].
pub const HINT_BACKLOG: usize = 1_024;

/// News for all replicas. Any may be lost; a slow poll stands behind each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// These queues have got entries.
    Ready(Vec<ReadyHint>),
    /// The holders of these runs are to stop them.
    Stop(Vec<Stop>),
    /// It is not paused any more.
    Resumed(Pausable),
    /// This worker is to take no more, and to end.
    Drain(DrainHint),
    /// Hints may have been lost: look everywhere.
    Missed,
}

/// What can be paused, so that nothing is taken from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pausable {
    /// A queue.
    Queue(QueueId),
    /// The runs of a work pool, in all of its queues.
    Pool(PoolId),
}

/// A work pool of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// The tenant.
    pub namespace: Namespace,
    /// The pool.
    pub work_pool: WorkPoolName,
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue {queue}"),
            Self::Pool(PoolId { namespace, work_pool }) => write!(f, "work pool {namespace}/{work_pool}"),
        }
    }
}

/// A queue has got entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyHint {
    /// The queue.
    pub queue: QueueId,
    /// When the first of them is due.
    pub due_at: Timestamp,
}

/// The holder of a run is to stop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The run.
    pub run_id: RunId,
    /// The epoch under which it is held. A holder under another epoch is not meant.
    pub epoch: Epoch,
    /// How long the code has to end. None: the run is no longer the holder's at all.
    pub grace: Option<Duration>,
    /// One sentence for people.
    pub message: String,
}

/// A worker is to take no more, and to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainHint {
    /// Its tenant.
    pub namespace: Namespace,
    /// The worker.
    pub worker_id: WorkerId,
}

/// A listener's end of the hints.
#[derive(Debug)]
pub struct Hints(broadcast::Receiver<Hint>);

impl Hints {
    /// The next hint; waits for ever once the adapter is gone. Cancellation-safe.
    pub async fn next(&mut self) -> Hint {
        match self.0.recv().await {
            Ok(hint) => hint,
            Err(broadcast::error::RecvError::Lagged(_)) => Hint::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl From<broadcast::Receiver<Hint>> for Hints {
    fn from(receiver: broadcast::Receiver<Hint>) -> Self {
        Self(receiver)
    }
}

/// The channel that an adapter feeds.
pub fn hint_channel() -> broadcast::Sender<Hint> {
    broadcast::Sender::new(HINT_BACKLOG)
}
