use std::{fmt, str::FromStr, time::Duration};

use tidegate_model::{
    Epoch, FairnessKey, FunctionName, Namespace, QueueName, RunId, RunKind, Timestamp, WorkPoolName, WorkerId,
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

/// What a worker serves, and what a run waits under. Runs of a work pool wait under that, whatever they execute, so that
/// workers that serve a flow of the same name do not get them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// A flow by name.
    Flow(FunctionName),
    /// A task by name.
    Task(FunctionName),
    /// All runs of a work pool. These are flows.
    Pool(WorkPoolName),
}

impl Function {
    /// A flow or task by name.
    pub const fn new(kind: RunKind, name: FunctionName) -> Self {
        match kind {
            RunKind::Flow => Self::Flow(name),
            RunKind::Task => Self::Task(name),
        }
    }

    /// The kind of slot that its runs need.
    pub const fn kind(&self) -> RunKind {
        match self {
            Self::Flow(_) | Self::Pool(_) => RunKind::Flow,
            Self::Task(_) => RunKind::Task,
        }
    }
}

impl fmt::Display for Function {
    /// `task:name`, `flow:name`, `pool:name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(name) => write!(f, "{}:{name}", RunKind::Flow),
            Self::Task(name) => write!(f, "{}:{name}", RunKind::Task),
            Self::Pool(name) => write!(f, "{POOL}:{name}"),
        }
    }
}

/// Neither a flow nor a task: nothing that has a name of those can be taken for a pool.
const POOL: &str = "pool";

impl FromStr for Function {
    type Err = UnknownFunction;

    /// What it displays as.
    fn from_str(text: &str) -> Result<Self, UnknownFunction> {
        let parse = || {
            let (kind, name) = text.split_once(':')?;
            match kind {
                POOL => name.parse().ok().map(Self::Pool),
                kind => Some(Self::new(kind.parse().ok()?, name.parse().ok()?)),
            }
        };
        parse().ok_or(UnknownFunction)
    }
}

/// A text is none of a [`Function`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a flow or task by name nor a work pool")]
pub struct UnknownFunction;

/// Names an entry: which run, under which epoch, and where it waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Where it waits.
    pub queue: QueueId,
    /// What it executes, or the work pool that it is for. A run never changes that.
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
