use std::time::Duration;

use tidegate_model::{Epoch, Namespace, RunId, Timestamp, WorkerId};

use crate::QueueId;

/// A worker's right to a run under an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run and the epoch under which it is held.
    pub held: Held,
    /// The tenant of the worker.
    pub namespace: Namespace,
    /// Who holds it.
    pub worker_id: WorkerId,
}

/// A run and the epoch under which someone holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The run.
    pub run_id: RunId,
    /// The epoch.
    pub epoch: Epoch,
}

/// Asks whether a run is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseQuestion {
    /// The queue that the run came through: a claim that is under way counts as held.
    pub queue: QueueId,
    /// The run and the epoch.
    pub held: Held,
}

/// How old the delivery state is. It is born again when all of it is lost, or may have lost what it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Since when nothing has been lost as a whole. What was kept before may be gone.
    pub born_at: Timestamp,
    /// The time since then, by the clock that judges the leases.
    pub age: Duration,
    /// What that clock says now.
    pub now: Timestamp,
}
