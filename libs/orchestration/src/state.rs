use std::{fmt, str::FromStr};

use tidegate_model::Timestamp;

use crate::Holder;

/// A run's state with what a person wants to know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where the run stands, with what belongs to that.
    pub phase: Phase,
    /// What a person reads.
    pub name: StateName,
    /// One sentence with the cause; empty where there is none to tell.
    pub message: String,
    /// When the run entered it.
    pub at: Timestamp,
}

impl State {
    /// A state with the usual name of its type and no message.
    pub fn new(phase: Phase, at: Timestamp) -> Self {
        let name = phase.state_type().default_name();
        Self { phase, name, message: String::new(), at }
    }

    /// The same with another name and message.
    #[must_use]
    pub fn described(mut self, name: StateName, message: impl Into<String>) -> Self {
        self.name = name;
        self.message = message.into();
        self
    }

    /// The type alone.
    pub fn state_type(&self) -> StateType {
        self.phase.state_type()
    }
}

/// Where a run stands, with the data of that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for its time (`Run::due_at`), or for a worker.
    Scheduled,
    /// Given to a holder that has not yet said that it started.
    Pending {
        /// Who has it.
        holder: Holder,
        /// When it is taken away again; `None` for a local run, which waits for a thread of its own process.
        start_by: Option<Timestamp>,
    },
    /// The user's code runs.
    Running {
        /// Who executes it.
        holder: Holder,
        /// When the scheduler ends it if the holder does not; `None`: the run may take for ever.
        deadline: Option<Timestamp>,
    },
    /// Waits to be resumed.
    Paused {
        /// Whose process the code waits in; `None`: nobody executes it, and resuming delivers it anew.
        holder: Option<Holder>,
        /// When the wait fails; `None`: never.
        expires_at: Option<Timestamp>,
    },
    /// The holder has been asked to stop it.
    Cancelling {
        /// Who executes it.
        holder: Holder,
        /// When the scheduler closes it if the holder does not.
        close_at: Timestamp,
    },
    /// The code returned.
    Completed,
    /// The code raised, and no retry is left.
    Failed,
    /// The process went away, and no redelivery is left.
    Crashed,
    /// Someone asked for it, or its parent ended.
    Cancelled,
}

impl Phase {
    /// The type alone.
    pub const fn state_type(&self) -> StateType {
        match self {
            Self::Scheduled => StateType::Scheduled,
            Self::Pending { .. } => StateType::Pending,
            Self::Running { .. } => StateType::Running,
            Self::Paused { .. } => StateType::Paused,
            Self::Cancelling { .. } => StateType::Cancelling,
            Self::Completed => StateType::Completed,
            Self::Failed => StateType::Failed,
            Self::Crashed => StateType::Crashed,
            Self::Cancelled => StateType::Cancelled,
        }
    }

    /// Who holds the run.
    pub const fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Pending { holder, .. } | Self::Running { holder, .. } | Self::Cancelling { holder, .. } => {
                Some(holder)
            }
            Self::Paused { holder, .. } => holder.as_ref(),
            _ => None,
        }
    }
}

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text in the store and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            /// The text that is none of them.
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(text.to_owned()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use text_enum;

text_enum! {
    /// Where a run stands, without data. The last four are terminal.
    StateType {
        /// Waits for its time, or for a worker.
        Scheduled = "SCHEDULED",
        /// Given to a holder that has not yet started it.
        Pending = "PENDING",
        /// The user's code runs.
        Running = "RUNNING",
        /// Waits to be resumed.
        Paused = "PAUSED",
        /// The holder has been asked to stop it.
        Cancelling = "CANCELLING",
        /// The code returned.
        Completed = "COMPLETED",
        /// The code raised.
        Failed = "FAILED",
        /// The process went away.
        Crashed = "CRASHED",
        /// Someone asked for it, or its parent ended.
        Cancelled = "CANCELLED",
    }
}

impl StateType {
    /// True for the states that a run does not leave by itself.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Crashed | Self::Cancelled)
    }

    const fn default_name(self) -> StateName {
        match self {
            Self::Scheduled => StateName::Scheduled,
            Self::Pending => StateName::Pending,
            Self::Running => StateName::Running,
            Self::Paused => StateName::Paused,
            Self::Cancelling => StateName::Cancelling,
            Self::Completed => StateName::Completed,
            Self::Failed => StateName::Failed,
            Self::Crashed => StateName::Crashed,
            Self::Cancelled => StateName::Cancelled,
        }
    }
}

text_enum! {
    /// What a person reads.
    StateName {
        /// Waits for its time, or for a worker.
        Scheduled = "Scheduled",
        /// Should have started, and nobody has taken it.
        Late = "Late",
        /// Waits for a slot of a concurrency limit.
        AwaitingConcurrencySlot = "AwaitingConcurrencySlot",
        /// Delivered again after a pause.
        Resuming = "Resuming",
        /// Waits for the delay before a retry to pass.
        AwaitingRetry = "AwaitingRetry",
        /// Delivered again after its process went away.
        Rescheduled = "Rescheduled",
        /// Given back before it was started.
        Released = "Released",
        /// Given to a holder.
        Pending = "Pending",
        /// The first attempt runs.
        Running = "Running",
        /// A later attempt runs.
        Retrying = "Retrying",
        /// Waits to be resumed: in its process, or before it was started.
        Paused = "Paused",
        /// Waits to be resumed, and holds no worker meanwhile.
        Suspended = "Suspended",
        /// Asked to stop.
        Cancelling = "Cancelling",
        /// Returned.
        Completed = "Completed",
        /// Took the result of an earlier run with the same cache key.
        Cached = "Cached",
        /// Raised.
        Failed = "Failed",
        /// Took longer than its run timeout.
        TimedOut = "TimedOut",
        /// A run that it needs the result of did not complete.
        UpstreamFailed = "UpstreamFailed",
        /// Nobody resumed it in time.
        PauseExpired = "PauseExpired",
        /// Its process went away.
        Crashed = "Crashed",
        /// Stopped on request.
        Cancelled = "Cancelled",
        /// Did not start before its expiry.
        Expired = "Expired",
        /// Found no slot of a concurrency limit that has such runs given up.
        Skipped = "Skipped",
    }
}
