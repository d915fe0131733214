//! What is read and written of runs.

use std::str::FromStr;

use bytes::Bytes;
use tidegate_model::{Epoch, FunctionName, Namespace, Payload, RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{Failure, Holder, Run, StateName, StateType};

use crate::{Filter, Order, Position};

/// A run to be inserted, with what belongs to it.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The row.
    pub run: Run,
    /// What it is called with.
    pub parameters: Option<Payload>,
    /// For a run of a work pool: what a worker is to start, the encoded message `tidegate.v1.Job`.
    pub job: Option<Bytes>,
    /// When it was handed to delivery; `None`: the scheduler's sweep is to hand it over.
    pub enqueued_at: Option<Timestamp>,
}

/// A use of an idempotency key. Unique by (namespace, scope, key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReservation {
    /// The tenant.
    pub namespace: Namespace,
    /// What the key is unique in: `run:<parent id>`, `deployment:<flow>/<deployment>`, `schedule:<id>`,
    /// `flow:<name>` or `task:<name>`.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// The run that is to own it.
    pub run_id: RunId,
    /// A hash of the parameters, to tell a repeat from a misuse.
    pub params_hash: [u8; 32],
    /// When the key may be used anew. That of a child, whose scope is its parent, is kept longer where the parent is still
    /// open then.
    pub expires_at: Timestamp,
}

/// Who owns an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The run that owns it: that of the reservation, or an earlier one.
    pub run_id: RunId,
    /// The hash of the owner's parameters.
    pub params_hash: [u8; 32],
}

/// An idempotency key that has made a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// What it is unique in, as in [`KeyReservation`]; or something else that is known by a key, such as a request.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// Later calls with it that got the run.
    pub n_answers: u64,
    /// When the last of them came.
    pub answered_at: Option<Timestamp>,
}

/// One event to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// The run.
    pub run_id: RunId,
    /// The uppermost run above it.
    pub root: RunId,
    /// Its tenant.
    pub namespace: Namespace,
    /// Flow or task.
    pub kind: RunKind,
    /// The flow's or task's name.
    pub name: FunctionName,
    /// 1, 2, 3, … within the run.
    pub seq: u64,
    /// The type of the state that was entered.
    pub state_type: StateType,
    /// Its name.
    pub state_name: StateName,
    /// Its message.
    pub message: String,
    /// When it was entered.
    pub at: Timestamp,
    /// Who asked for it, where somebody did and it is known.
    pub actor: Option<String>,
    /// Who holds the run after the event, or, where nobody does, who held it before; its session for a local run.
    pub holder: Option<Holder>,
    /// The attempts started by then.
    pub attempt: u32,
    /// The epoch after the event.
    pub epoch: Epoch,
    /// True when the run came to its end with it.
    pub ended: bool,
}

/// A position in the feed of all events: everything before it has been read, in an order in which no
/// event can appear behind a reader. Opaque text, stable over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedCursor(pub String);

/// An event of the feed, with the position just after it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEvent {
    /// The event.
    pub event: EventRow,
    /// Where to go on after it.
    pub cursor: FeedCursor,
}

/// A run with its payloads.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDetail {
    /// The row.
    pub run: Run,
    /// What it was called with.
    pub parameters: Option<Payload>,
    /// What it returned.
    pub result: Option<Payload>,
    /// Why its last failed attempt failed.
    pub failure: Option<Failure>,
}

/// A page of runs.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Which.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Only what comes after this: the last of the page before.
    pub after: Option<Position>,
    /// How many at most.
    pub limit: usize,
}

impl ListQuery {
    /// The newest runs of a filter.
    pub fn newest(namespace: Namespace, filter: Filter, limit: usize) -> Self {
        Self { namespace, filter, order: Order::default(), after: None, limit }
    }
}

/// How many runs there are.
#[derive(Clone, Debug)]
pub struct CountQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Which.
    pub filter: Filter,
    /// Up to how many it is counted; above, it is told more cheaply.
    pub exact_up_to: u64,
}

/// How many runs there are, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exact(u64),
    /// More than were to be counted, by the statistics of the store about so many.
    About(u64),
    /// More than were to be counted, and this store has no statistics: at least so many.
    AtLeast(u64),
}

/// A completed run whose result may serve others. One for each (namespace, key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The tenant.
    pub namespace: Namespace,
    /// The cache key of the runs.
    pub key: String,
    /// The run that has the result.
    pub run_id: RunId,
    /// Until when it serves.
    pub expires_at: Timestamp,
}

/// A run that is to end with one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// The run.
    pub id: RunId,
    /// The one above it: of those that were asked for, the nearest.
    pub above: RunId,
}

/// Which of the two payloads of a pause it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// What the code asks for: a question, a schema.
    Request,
    /// What it was given when it was resumed.
    Input,
}

impl InputKind {
    /// `request` or `input`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Input => "input",
        }
    }
}

impl FromStr for InputKind {
    /// The text that is none.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "request" => Ok(Self::Request),
            "input" => Ok(Self::Input),
            _ => Err(text.to_owned()),
        }
    }
}

/// A payload of a pause. One for each (run, key, kind).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInput {
    /// The run.
    pub run_id: RunId,
    /// Which pause of the code.
    pub key: String,
    /// Question or answer.
    pub kind: InputKind,
    /// It.
    pub data: Payload,
}

/// Payloads of a run's pauses, by key; of one key the request first.
#[derive(Clone, Debug)]
pub struct InputQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// The run.
    pub run_id: RunId,
    /// Only this pause.
    pub key: Option<String>,
    /// Only keys after this one: the last of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// The session of an SDK process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its tenant.
    pub namespace: Namespace,
    /// Host, process id, program, for people.
    pub identity: String,
    /// When it is lost unless renewed.
    pub expires_at: Timestamp,
}

/// Work that time has made due. Each variant names the index that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Queued SCHEDULED runs that are due by `due_before` and were never handed over, by due time.
    NeverEnqueued {
        /// Due by then.
        due_before: Timestamp,
    },
    /// Queued SCHEDULED runs that are due by `due_before` and were handed over before `enqueued_before`, oldest first;
    /// but for those that wait for a slot of a concurrency limit:
    /// [`LimitRows::hand_out`](crate::LimitRows::hand_out) gives them.
    EnqueuedBefore {
        /// Due by then.
        due_before: Timestamp,
        /// Handed over before then.
        enqueued_before: Timestamp,
    },
    /// SCHEDULED, PENDING, RUNNING, PAUSED and CANCELLING runs whose timer (`Run::timer_at`) has come, by timer.
    Timers {
        /// The time now.
        now: Timestamp,
    },
    /// Runs whose children's ends are still to be brought about (`cascade_pending`).
    Cascades,
    /// Local runs that have not ended, of sessions that expired by `now`.
    LostSessions {
        /// The time now.
        now: Timestamp,
    },
}

/// What one turn of maintenance has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Partitions that were made ahead of their time.
    pub partitions_made: usize,
    /// Partitions that went with all their runs.
    pub partitions_dropped: usize,
    /// Runs that were deleted one by one: at the limit there may be more.
    pub runs_deleted: usize,
}
