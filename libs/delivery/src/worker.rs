use std::time::Duration;

use tidegate_model::{Namespace, Timestamp, WorkPoolName, WorkerAbout, WorkerEnd, WorkerId, WorkerLoad};

/// What a replica tells of a worker whose stream it has, or has had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerNews {
    /// The tenant.
    pub namespace: Namespace,
    /// The worker.
    pub worker_id: WorkerId,
    /// The stream: a name that no other one has.
    pub stream: String,
    /// When the stream was opened. What is told of an older one does not count.
    pub opened_at: Timestamp,
    /// What the worker says of itself.
    pub about: WorkerAbout,
    /// How it stands.
    pub load: WorkerLoad,
    /// How it ended, with its stream. `None`: it is there.
    pub end: Option<WorkerEnd>,
}

/// For how long what is told of workers holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerTerms {
    /// A worker that nobody has told of for so long is lost.
    pub live_for: Duration,
    /// And after so long it is forgotten.
    pub kept_for: Duration,
}

/// Which workers are asked for.
#[derive(Clone, Copy, Debug)]
pub struct WorkerQuery<'a> {
    /// The tenant.
    pub namespace: &'a Namespace,
    /// Only those of this pool; `None`: all.
    pub work_pool: Option<&'a WorkPoolName>,
    /// Only those whose ids come after this one.
    pub after: Option<&'a WorkerId>,
    /// How many at most.
    pub limit: usize,
}
