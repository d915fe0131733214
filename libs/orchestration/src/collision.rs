use std::{fmt, str::FromStr};

use crate::state::text_enum;

text_enum! {
    /// What becomes of a run that finds no slot of a concurrency limit.
    Collision {
        /// It waits for one.
        Wait = "WAIT",
        /// It is given up: CANCELLED as `Skipped`. Also where the rate has nothing left for it.
        Skip = "SKIP",
        /// It waits, and the run that has held its slot longest is asked to end.
        CancelOldest = "CANCEL_OLDEST",
        /// Of it and those who have slots, the one that was created last is cancelled; unless that is itself, it waits.
        CancelNewest = "CANCEL_NEWEST",
    }
}

/// What a concurrency limit has none of for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// All slots are taken.
    Slot,
    /// The rate allows no start now.
    Token,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slot => "has no free slot",
            Self::Token => "allows no further start now",
        })
    }
}
