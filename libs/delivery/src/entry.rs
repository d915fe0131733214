use std::{fmt, time::Duration};

use tidegate_model::{
    Epoch, FairnessKey, FunctionName, Namespace, QueueName, RunId, RunKind, Timestamp, WorkerId,
};

use crate::{Labels, Requirements};

/// A queue of a tenant: entries of one never wait for entries of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    /// The tenant.
    pub namespace: Namespace,
    /// The queue.
    pub queue: QueueName,
}

impl fmt::Display for QueueId {
    /// `namespace/queue`; neither part can contain a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.queue)
    }
}

/// A flow or task by name: what a worker serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// Flow or task.
    pub kind: RunKind,
    /// Its name.
    pub name: FunctionName,
}

impl fmt::Display for Function {
    /// `task:name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// Names an entry: which run, under which epoch, and where it waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Where it waits.
    pub queue: QueueId,
    /// What it executes. A run never changes its function.
    pub function: Function,
    /// What it asks of a worker. A run never changes that.
    pub requires: Requirements,
    /// With whom it takes turns. A run never changes that; `None`: with all that have none.
    pub fairness_key: Option<FairnessKey>,
    /// The run.
    pub run_id: RunId,
    /// The run's epoch when the entry was made.
    pub epoch: Epoch,
}

/// A run that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which run, and where it waits.
    pub id: EntryId,
    /// Larger is served first. -100 to 100; what is beyond counts as the bound.
    pub priority: i32,
    /// Not delivered before. Kept to the millisecond, rounded up.
    pub due_at: Timestamp,
    /// The worker that is to have it, if that has room when it is taken.
    pub prefers: Option<WorkerId>,
}

impl Entry {
    /// `due_at` in milliseconds since the Unix epoch, rounded up so that nothing is delivered early.
    pub fn due_at_millis(&self) -> i64 {
        self.due_at.as_micros().saturating_add(999).div_euclid(1_000).max(0)
    }

    /// `priority` within its bounds.
    pub fn bounded_priority(&self) -> i32 {
        self.priority.clamp(-100, 100)
    }
}

/// What a take asks for.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// From where.
    pub queue: &'a QueueId,
    /// What the taker can execute. Entries of other functions are not touched and block nobody.
    pub functions: &'a [Function],
    /// The labels of the taker. Entries that require others are not touched and block nobody.
    pub labels: &'a Labels,
    /// At most so many.
    pub limit: usize,
    /// Entries that are due by then are ready.
    pub now: Timestamp,
    /// How long the taker has to forget or put back what it takes; after that it is ready again.
    pub claim_lease: Duration,
}

/// What a take got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The best entries, best first.
    pub entries: Vec<Entry>,
    /// How long until the next delayed entry of these functions may be due. None: there is none.
    pub next_in: Option<Duration>,
}
