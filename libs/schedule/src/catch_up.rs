use std::{collections::VecDeque, time::Duration};

use tidegate_model::Timestamp;

use crate::Schedule;

/// Missed times that one turn counts through, or twice those that are kept; what is beyond is counted by the next turn.
const MIN_COUNTED: usize = 4_096;

/// What becomes of times that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// Which of them make a run.
    pub missed: Missed,
    /// A time that is over by no more than this is late, and not missed.
    pub grace: Duration,
}

/// Which of the missed times make a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// None.
    Skip,
    /// The latest.
    Latest,
    /// The latest so many.
    All(usize),
}

/// What a schedule does in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The nominal times that make a run, the earliest first.
    pub fires: Vec<Timestamp>,
    /// How many were missed and make none.
    pub n_missed: u64,
    /// The time to look at it again; `None`: it fires no more.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// What to do at `now`, where `planned` is the earliest time that was not dealt with. Where more than `most` times make
    /// a run, or more are over than a turn counts, the rest is for the next turn: `next` is then over as well.
    pub fn plan(&self, planned: Timestamp, now: Timestamp, catch_up: CatchUp, most: usize) -> Plan {
        let kept = match catch_up.missed {
            Missed::Skip => 0,
            Missed::Latest => 1,
            Missed::All(limit) => limit,
        };
        let most = most.max(1);
        // More than are kept, so that each turn gets on.
        let max_counted = kept.saturating_mul(2).max(MIN_COUNTED);
        let mut missed: VecDeque<Timestamp> = VecDeque::new();
        let (mut n_missed, mut n_over, mut times) = (0, 0, self.from(planned).peekable());
        while let Some(at) = times.next_if(|at| *at <= now && *at + catch_up.grace < now) {
            n_over += 1;
            missed.push_back(at);
            if missed.len() > kept {
                missed.pop_front();
                n_missed += 1;
            }
            if n_over == max_counted && times.peek().is_some_and(|at| *at + catch_up.grace < now) {
                // What is kept may yet be pushed out by later ones: the next turn begins with it.
                let next = missed.front().copied().or_else(|| times.peek().copied());
                return Plan { fires: Vec::new(), n_missed, next };
            }
        }
        let mut fires: Vec<_> = missed.into();
        while let Some(at) = times.next_if(|at| *at <= now) {
            fires.push(at);
            if fires.len() > most {
                break;
            }
        }
        let next = if fires.len() > most { fires.get(most).copied() } else { times.peek().copied() };
        fires.truncate(most);
        Plan { fires, n_missed, next }
    }
}
