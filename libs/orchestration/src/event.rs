use std::time::Duration;

use tidegate_model::{RunId, SessionId, Timestamp};

use crate::{Failure, Holder, Lack};

/// When an event is applied, and when it happened: what a holder reports takes its time to come here. From a
/// [`Timestamp`]: it happens as it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it is applied. The states that it leads to have this time.
    pub now: Timestamp,
    /// When it happened, as far as the holder says. A holder may be wrong, so nothing that counts from it begins before
    /// the run was where it could happen, or after `now`.
    pub happened_at: Timestamp,
}

impl Moment {
    /// When it happened to a run to which it could not happen before `earliest`.
    pub(crate) fn happened_since(self, earliest: Timestamp) -> Timestamp {
        // The clock may have been set back since `earliest`, so `now` has the last word.
        self.happened_at.max(earliest).min(self.now)
    }
}

impl From<Timestamp> for Moment {
    fn from(now: Timestamp) -> Self {
        Self { now, happened_at: now }
    }
}

/// What happens to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker with a free slot takes it.
    Claimed {
        /// Who.
        holder: Holder,
    },
    /// It was to be claimed, but a concurrency limit has nothing left for it: it waits.
    SlotRefused {
        /// The limit's name.
        limit: String,
        /// What there is none of.
        lack: Lack,
    },
    /// The same, where the limit has such runs given up.
    SlotSkipped {
        /// The limit's name.
        limit: String,
        /// What there is none of.
        lack: Lack,
    },
    /// An earlier run with the same cache key has a result that serves.
    CacheHit {
        /// That run.
        from: RunId,
    },
    /// The code starts.
    Started,
    /// The code returned.
    Completed,
    /// The same, and it has something to say of that.
    CompletedAs {
        /// What, for people.
        message: String,
    },
    /// The code raised.
    Failed(Failure),
    /// The run timeout passed and the holder stopped the code.
    TimedOut,
    /// A run whose result it needs did not complete.
    UpstreamFailed {
        /// That run.
        upstream: RunId,
        /// How it ended, in words; may be empty.
        cause: String,
    },
    /// The code waits to be resumed.
    Paused {
        /// Which pause of the code it is, the same in every attempt.
        key: String,
        /// How long it may wait; `None`: for ever.
        timeout: Option<Duration>,
        /// True: the code has ended and gives its worker back; resuming delivers the run again.
        suspend: bool,
    },
    /// The holder stopped the code because a cancel was asked.
    Cancelled,
    /// The process that executed it went away.
    Crashed {
        /// The cause in words: `signal 9 (SIGKILL)`.
        cause: String,
    },
    /// The holder gives it back before it was started.
    Released,
    /// The time of `Run::timer_at` has come.
    TimerFired,
    /// Someone asks for its end, or its parent has ended.
    CancelRequested {
        /// Why; may be empty.
        reason: String,
        /// Who asks, where that is known.
        actor: Option<String>,
    },
    /// Someone asks that it wait.
    PauseRequested {
        /// How long it may wait; `None`: for ever.
        timeout: Option<Duration>,
        /// Why; may be empty.
        reason: String,
        /// Who asks, where that is known.
        actor: Option<String>,
    },
    /// Someone asks that it wait no longer.
    ResumeRequested {
        /// Who asks, where that is known.
        actor: Option<String>,
    },
    /// Someone asks that it be tried again after its end.
    RetryRequested {
        /// Why; may be empty.
        reason: String,
        /// Who asks, where that is known.
        actor: Option<String>,
    },
    /// A later attempt of its parent has come to the call that made this local run.
    Adopted {
        /// The session that executes that attempt.
        session: SessionId,
    },
}

impl Event {
    /// Its name in errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claimed { .. } => "claimed",
            Self::SlotRefused { .. } => "slot_refused",
            Self::SlotSkipped { .. } => "slot_skipped",
            Self::CacheHit { .. } => "cache_hit",
            Self::Started => "started",
            Self::Completed | Self::CompletedAs { .. } => "completed",
            Self::Failed(_) => "failed",
            Self::TimedOut => "timed_out",
            Self::UpstreamFailed { .. } => "upstream_failed",
            Self::Paused { .. } => "paused",
            Self::Cancelled => "cancelled",
            Self::Crashed { .. } => "crashed",
            Self::Released => "released",
            Self::TimerFired => "timer_fired",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::PauseRequested { .. } => "pause_requested",
            Self::ResumeRequested { .. } => "resume_requested",
            Self::RetryRequested { .. } => "retry_requested",
            Self::Adopted { .. } => "adopted",
        }
    }

    /// Who asked for it, where it is a request.
    pub fn actor(&self) -> Option<&str> {
        match self {
            Self::CancelRequested { actor, .. }
            | Self::PauseRequested { actor, .. }
            | Self::ResumeRequested { actor }
            | Self::RetryRequested { actor, .. } => actor.as_deref(),
            _ => None,
        }
    }
}
