use std::{collections::BTreeMap, str::FromStr, time::Duration};

use tidegate_model::{BulkOperationId, Namespace, RunId, Timestamp};
use tidegate_orchestration::StateType;

use crate::Filter;

/// One thing that is done to many runs, and how far that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkOperation {
    /// Its id.
    pub id: BulkOperationId,
    /// The tenant.
    pub namespace: Namespace,
    /// What is done.
    pub action: BulkAction,
    /// To which runs.
    pub target: BulkTarget,
    /// Why; may be empty.
    pub reason: String,
    /// Who asked, where that is known.
    pub actor: Option<String>,
    /// For a pause: how long a run may wait; `None`: for ever.
    pub pause_timeout: Option<Duration>,
    /// When it was asked for. It is about runs that were created by then.
    pub created_at: Timestamp,
    /// Whether it goes on.
    pub state: BulkState,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// The last run that was seen to, and with it all that come before it.
    pub cursor: Option<BulkPlace>,
    /// Until when the process that carries it on has it to itself. Only to spare others the work: a step moves the
    /// cursor in its own transaction, so none is made twice.
    pub lease_until: Timestamp,
    /// How many runs it was about when it was asked for.
    pub n_matched: u64,
    /// To how many it has been done.
    pub n_done: u64,
    /// How many it was not done to, by reason.
    pub skipped: BTreeMap<String, u64>,
}

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text in the store.
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
    };
}

text_enum! {
    /// What can be done to many runs.
    BulkAction {
        /// They end.
        Cancel = "cancel",
        /// They wait.
        Pause = "pause",
        /// They wait no longer.
        Resume = "resume",
        /// They are tried again.
        Retry = "retry",
        /// They go.
        Delete = "delete",
    }
}

text_enum! {
    /// Whether a bulk operation goes on.
    BulkState {
        /// It does.
        Running = "RUNNING",
        /// It has seen to every run.
        Completed = "COMPLETED",
        /// Someone has stopped it; what was done stays.
        Cancelled = "CANCELLED",
    }
}

/// Which runs a bulk operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkTarget {
    /// Those that match this filter, as it was written.
    Filter(String),
    /// This run and those below it.
    Tree(RunId),
}

/// Where a run comes among those of a bulk operation: the largest place is the first. The runs of a tree go from the deepest
/// up, so that one that goes leaves none below it that nothing leads to any more; those of a filter from the newest on, whose
/// depth is 0 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BulkPlace {
    /// How many runs are above it.
    pub depth: u32,
    /// The run.
    pub run: RunId,
}

/// The runs that a bulk operation has to see to.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The tenant.
    pub namespace: Namespace,
    /// Among which.
    pub among: Among,
    /// In one of these states.
    pub states: Vec<StateType>,
    /// Created by then.
    pub created_by: Timestamp,
}

/// The runs among which a bulk operation selects.
#[derive(Clone, Debug, PartialEq)]
pub enum Among {
    /// Those of a filter.
    Filter(Filter),
    /// A run and those below it.
    Tree {
        /// The run.
        run_id: RunId,
        /// Also what goes on where the one above it is cancelled, and what is below that.
        with_detached: bool,
    },
}
