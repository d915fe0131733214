use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use tidegate_delivery::{Function, Requirements};
use tidegate_model::{Epoch, FairnessKey, RunId, WorkerId};
use tokio::time::Instant;

use crate::turns::Turns;

/// What takers choose lanes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId {
    pub(crate) function: Function,
    pub(crate) requires: Requirements,
}

/// The entries of one function with the same requirements, in the orders in which they are looked for.
#[derive(Default)]
pub(crate) struct Lane {
    keyless: BTreeSet<Rank>,
    groups: HashMap<FairnessKey, Group>,
    /// The groups by the priority of their best entry and then by their turn.
    ring: BTreeSet<(Place, FairnessKey)>,
    n_keyed: usize,
    pub(crate) delayed: BTreeSet<(i64, RunId)>,
    pub(crate) claimed: BTreeSet<(Instant, RunId)>,
}

/// Larger priority first, then earlier due, then smaller id.
pub(crate) type Rank = (Reverse<i32>, i64, RunId);
/// Larger priority first, then the earlier turn.
type Place = (Reverse<i32>, u64);

/// The ready entries with the same fairness key.
struct Group {
    ready: BTreeSet<Rank>,
    place: Place,
}

/// What is known of an entry.
pub(crate) struct Known {
    pub(crate) lane: LaneId,
    pub(crate) fairness_key: Option<FairnessKey>,
    pub(crate) epoch: Epoch,
    pub(crate) priority: i32,
    pub(crate) due_at_millis: i64,
    pub(crate) prefers: Option<WorkerId>,
    pub(crate) state: State,
}

#[derive(Clone, Copy)]
pub(crate) enum State {
    Ready,
    Delayed,
    Claimed { until: Instant },
}

impl Known {
    pub(crate) fn rank(&self, run_id: RunId) -> Rank {
        (Reverse(self.priority), self.due_at_millis, run_id)
    }
}

impl Lane {
    pub(crate) fn insert(&mut self, run_id: RunId, known: &Known, turns: &mut Turns) {
        match (known.state, &known.fairness_key) {
            (State::Ready, None) => {
                self.keyless.insert(known.rank(run_id));
            }
            (State::Ready, Some(key)) => self.insert_keyed(known.rank(run_id), key, &known.lane, turns),
            (State::Delayed, _) => {
                self.delayed.insert((known.due_at_millis, run_id));
            }
            (State::Claimed { until }, _) => {
                self.claimed.insert((until, run_id));
            }
        }
    }

    pub(crate) fn remove(&mut self, run_id: RunId, known: &Known, turns: &mut Turns) {
        match (known.state, &known.fairness_key) {
            (State::Ready, None) => {
                self.keyless.remove(&known.rank(run_id));
            }
            (State::Ready, Some(key)) => self.remove_keyed(known.rank(run_id), key, &known.lane, turns),
            (State::Delayed, _) => {
                self.delayed.remove(&(known.due_at_millis, run_id));
            }
            (State::Claimed { until }, _) => {
                self.claimed.remove(&(until, run_id));
            }
        }
    }

    fn insert_keyed(&mut self, rank: Rank, key: &FairnessKey, lane: &LaneId, turns: &mut Turns) {
        self.n_keyed += 1;
        if let Some(group) = self.groups.get_mut(key) {
            group.ready.insert(rank);
            let turn = group.place.1;
            self.move_group(key, turn);
        } else {
            let place = (rank.0, turns.enter(key, lane));
            self.ring.insert((place, key.clone()));
            self.groups.insert(key.clone(), Group { ready: [rank].into(), place });
        }
    }

    fn remove_keyed(&mut self, rank: Rank, key: &FairnessKey, lane: &LaneId, turns: &mut Turns) {
        self.n_keyed -= 1;
        let group = self.groups.get_mut(key).expect("the group of a ready entry exists");
        group.ready.remove(&rank);
        let turn = group.place.1;
        self.move_group(key, turn);
        if !self.groups.contains_key(key) {
            turns.leave(key, lane);
        }
    }

    /// Gives a group the place of its best entry and this turn; without entries it goes.
    pub(crate) fn move_group(&mut self, key: &FairnessKey, turn: u64) {
        let group = self.groups.get_mut(key).expect("only groups that exist are moved");
        self.ring.remove(&(group.place, key.clone()));
        match group.ready.first() {
            Some(best) => {
                group.place = (best.0, turn);
                self.ring.insert((group.place, key.clone()));
            }
            None => {
                self.groups.remove(key);
            }
        }
    }

    /// The best entry, with what it is compared by: priority, turn, due time, id.
    pub(crate) fn head(&self, turns: &Turns) -> Option<(Reverse<i32>, u64, i64, RunId)> {
        let keyless = self.keyless.first();
        let keyless = keyless.map(|&(priority, due, run_id)| (priority, turns.keyless(), due, run_id));
        let keyed = self.ring.first().and_then(|((_, turn), key)| {
            let &(priority, due, run_id) = self.groups.get(key)?.ready.first()?;
            Some((priority, *turn, due, run_id))
        });
        keyless.into_iter().chain(keyed).min()
    }

    /// About how many entries come before a ready one.
    pub(crate) fn n_ahead(&self, run_id: RunId, known: &Known) -> u64 {
        let (own, n_groups_before) = match &known.fairness_key {
            None => (&self.keyless, 0),
            Some(key) => {
                let group = self.groups.get(key).expect("the group of a ready entry exists");
                (&group.ready, self.ring.range(..(group.place, key.clone())).count())
            }
        };
        let turns = tidegate_delivery::Turns {
            n_before: own.range(..known.rank(run_id)).count() as u64,
            n_of_others: (self.n_ready() - own.len()) as u64,
            n_groups: (self.groups.len() + usize::from(!self.keyless.is_empty())) as u64,
            n_groups_before: n_groups_before as u64,
        };
        turns.n_ahead()
    }

    pub(crate) fn n_ready(&self) -> usize {
        self.keyless.len() + self.n_keyed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.n_ready() == 0 && self.delayed.is_empty() && self.claimed.is_empty()
    }
}
