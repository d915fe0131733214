use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use tidegate_model::{
    Epoch, FairnessKey, FunctionName, Namespace, QueueName, RunId, RunKind, ScheduleName, SessionId,
    Timestamp, WorkPoolName, WorkerId,
};

use crate::{Phase, Policies, State, StateName};

/// One execution of a flow or a task: all that the rules look at, without payloads.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its tenant.
    pub namespace: Namespace,
    /// Flow or task.
    pub kind: RunKind,
    /// What a worker serves.
    pub name: FunctionName,
    /// What people call it.
    pub run_name: String,
    /// Who executes it.
    pub placement: Placement,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// The uppermost run above it; itself where there is none.
    pub root: RunId,
    /// How many runs are above it.
    pub depth: u32,
    /// Its rules.
    pub policies: Policies,
    /// Larger is served first; -100 to 100.
    pub priority: i32,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Keys and values to find it by.
    pub labels: BTreeMap<String, String>,
    /// The deployment that it was started through: `flow/deployment`.
    pub deployment: Option<String>,
    /// The version of it; `None`: it was made before deployments had versions.
    pub deployment_version: Option<u64>,
    /// The work pool whose workers get it; `None`: those that serve its function.
    pub work_pool: Option<WorkPoolName>,
    /// The schedule of the deployment that made it, or a backfill of that.
    pub schedule: Option<ScheduleName>,
    /// The time of the schedule that it was made for.
    pub fire_at: Option<Timestamp>,
    /// Whose result may serve as its own.
    pub cache: Option<CachePolicy>,
    /// The concurrency limits of which it needs a slot each.
    pub concurrency_limits: Vec<String>,
    /// True where its last claim needed a slot of its queue's own limit: it has one while it is held.
    pub queue_slot: bool,
    /// With whom it takes turns in its queue; `None`: with all runs that have none.
    pub fairness_key: Option<FairnessKey>,
    /// The labels that a worker must have to get it.
    pub required_labels: BTreeMap<String, String>,
    /// The worker that gets it if that has room.
    pub preferred_worker: Option<WorkerId>,
    /// W3C trace context of the call that created it.
    pub traceparent: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it may start, or might last.
    pub due_at: Timestamp,
    /// When it is given up unless it has started by then.
    pub expires_at: Option<Timestamp>,
    /// When the current or last attempt started.
    pub started_at: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// The fencing token.
    pub epoch: Epoch,
    /// The number of starts.
    pub attempt: u32,
    /// How often a process that held it went away.
    pub crashes: u32,
    /// How many retries were granted after failures.
    pub retries: u32,
    /// The number of its latest event.
    pub event_seq: u64,
    /// True while the ends of this run's children are still to be brought about.
    pub cascade_pending: bool,
    /// Which pause of the code a PAUSED run is in; `None` where someone else paused it.
    pub pause_key: Option<String>,
    /// The pauses of the code that were resumed: a later attempt does not stop at them again.
    pub resumed_keys: Vec<String>,
}

impl Run {
    /// Who holds the run now.
    pub fn holder(&self) -> Option<&Holder> {
        self.state.phase.holder()
    }

    /// True for a run that executes inside the process that started it.
    pub fn is_local(&self) -> bool {
        matches!(self.placement, Placement::Session(_))
    }

    /// True when the run has never started and is given up by `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.attempt == 0 && self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// When the scheduler has to look at the run: its expiry or lateness while it waits, its start, run or cancel
    /// timeout while it is held, the end of its patience while it is paused.
    pub fn timer_at(&self) -> Option<Timestamp> {
        match &self.state.phase {
            Phase::Scheduled => {
                let expires_at = self.expires_at.filter(|_| self.attempt == 0);
                expires_at.into_iter().chain(self.late_at()).min()
            }
            Phase::Pending { start_by: timer, .. }
            | Phase::Running { deadline: timer, .. }
            | Phase::Paused { expires_at: timer, .. } => *timer,
            Phase::Cancelling { close_at, .. } => Some(*close_at),
            Phase::Completed | Phase::Failed | Phase::Crashed | Phase::Cancelled => None,
        }
    }

    /// When a run that waits for a worker is to be called late. One that waits for a slot is not: its name says more.
    fn late_at(&self) -> Option<Timestamp> {
        let is_named = matches!(self.state.name, StateName::Late | StateName::AwaitingConcurrencySlot);
        let late_after = self.policies.late_after.filter(|_| !is_named && !self.is_local())?;
        Some(self.due_at + late_after)
    }
}

/// Runs with the same key may share a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// What the result depends on, as the caller sees it.
    pub key: String,
    /// How long after its completion a result may serve others; `None`: as long as results are kept at most.
    pub expires_after: Option<Duration>,
}

/// Who executes a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Any worker that serves this queue.
    Queue(QueueName),
    /// The process of this session.
    Session(SessionId),
}

/// Who holds a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A worker, by its stream.
    Worker(WorkerId),
    /// The process of a session.
    Session(SessionId),
}

impl fmt::Display for Holder {
    /// The text in the store and on the wire: `worker:<id>` or `session:<id>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(worker) => write!(f, "worker:{worker}"),
            Self::Session(session) => write!(f, "session:{session}"),
        }
    }
}

impl FromStr for Holder {
    /// The text that is no holder.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let holder = match text.split_once(':') {
            Some(("worker", id)) => id.parse().ok().map(Self::Worker),
            Some(("session", id)) => id.parse().ok().map(Self::Session),
            _ => None,
        };
        holder.ok_or_else(|| text.to_owned())
    }
}

/// Why code did not return a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// What was raised.
    pub error_type: String,
    /// What it says of itself.
    pub message: String,
    /// The stack trace or chain of causes.
    pub traceback: String,
    /// True when a later attempt cannot succeed.
    pub non_retryable: bool,
}
