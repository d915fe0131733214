use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tidegate_delivery::{Entry, EntryId, Function, Held, QueueDepth, QueueId, Standing, Taken, Want};
use tidegate_model::{Epoch, RunId, Timestamp};
use tokio::time::Instant;

/// Of one function, at most so many entries become ready in one take.
const MOVED_PER_TAKE: usize = 1_000;

/// What a placement does to an entry that is known under the same epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEqualEpoch {
    Keep,
    Replace,
}

/// The entries of one queue.
pub(crate) struct Queue {
    lanes: HashMap<Function, Lane>,
    entries: HashMap<RunId, Known>,
    used_at: Timestamp,
}

/// The entries of one function in the orders in which they are looked for.
#[derive(Default)]
struct Lane {
    ready: BTreeSet<Rank>,
    delayed: BTreeSet<(i64, RunId)>,
    claimed: BTreeSet<(Instant, RunId)>,
}

/// Larger priority first, then earlier due, then smaller id.
type Rank = (Reverse<i32>, i64, RunId);

struct Known {
    function: Function,
    epoch: Epoch,
    priority: i32,
    due_at_millis: i64,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Ready,
    Delayed,
    Claimed { until: Instant },
}

impl Default for Queue {
    fn default() -> Self {
        Self { lanes: HashMap::new(), entries: HashMap::new(), used_at: Timestamp::UNIX_EPOCH }
    }
}

impl Queue {
    /// True where the entry was placed.
    pub(crate) fn place(&mut self, entry: &Entry, now: Timestamp, on_equal: OnEqualEpoch) -> bool {
        let EntryId { function, run_id, epoch, .. } = &entry.id;
        if let Some(known) = self.entries.get(run_id) {
            let kept = known.epoch > *epoch || (known.epoch == *epoch && on_equal == OnEqualEpoch::Keep);
            if kept {
                return false;
            }
            self.remove(*run_id);
        }
        let due_at_millis = entry.due_at_millis();
        let place = if due_at_millis <= millis(now) { Place::Ready } else { Place::Delayed };
        let known = Known {
            function: function.clone(),
            epoch: *epoch,
            priority: entry.bounded_priority(),
            due_at_millis,
            place,
        };
        self.lanes.entry(function.clone()).or_default().insert(*run_id, &known);
        self.entries.insert(*run_id, known);
        true
    }

    pub(crate) fn take(&mut self, want: Want<'_>) -> Taken {
        let clock = Instant::now();
        // A worker may serve thousands of functions of which few have work.
        let mut served = Vec::new();
        for function in want.functions {
            if let Some(lane) = self.lanes.get_mut(function) {
                lane.wake(&mut self.entries, millis(want.now), clock);
                served.push(function);
            }
        }
        let until = clock + want.claim_lease;
        let mut taken = Taken::default();
        while taken.entries.len() < want.limit {
            let heads = served.iter().filter_map(|function| self.lanes.get(*function)?.ready.first());
            let Some(&(.., run_id)) = heads.min() else { break };
            let entry = self.claim(run_id, until, want.queue);
            taken.entries.push(entry);
        }
        let delayed = served.iter().filter_map(|function| self.lanes.get(*function)?.delayed.first());
        taken.next_in = delayed.min().map(|(due_at_millis, _)| {
            let wait = due_at_millis.saturating_sub(millis(want.now));
            Duration::from_millis(u64::try_from(wait).unwrap_or(0))
        });
        taken
    }

    fn claim(&mut self, run_id: RunId, until: Instant, queue: &QueueId) -> Entry {
        let known = self.entries.get_mut(&run_id).expect("what a lane holds is among the entries");
        let lane = self.lanes.get_mut(&known.function).expect("the lane of an entry exists");
        lane.remove(run_id, known);
        known.place = Place::Claimed { until };
        lane.insert(run_id, known);
        let (function, epoch) = (known.function.clone(), known.epoch);
        Entry {
            id: EntryId { queue: queue.clone(), function, run_id, epoch },
            priority: known.priority,
            due_at: Timestamp::from_micros(known.due_at_millis.saturating_mul(1_000)),
        }
    }

    pub(crate) fn forget(&mut self, run_id: RunId, epoch: Epoch) {
        if self.entries.get(&run_id).is_some_and(|known| known.epoch <= epoch) {
            self.remove(run_id);
        }
    }

    fn remove(&mut self, run_id: RunId) {
        let Some(known) = self.entries.remove(&run_id) else { return };
        let lane = self.lanes.get_mut(&known.function).expect("the lane of an entry exists");
        lane.remove(run_id, &known);
        if lane.is_empty() {
            self.lanes.remove(&known.function);
        }
    }

    /// True while a claim is under way that may have led to the epoch.
    pub(crate) fn is_claimed(&self, held: Held) -> bool {
        let claimed =
            |known: &Known| matches!(known.place, Place::Claimed { .. }) && known.epoch <= held.epoch;
        self.entries.get(&held.run_id).is_some_and(claimed)
    }

    /// Where an entry waits; `None`: there is none.
    pub(crate) fn standing(&self, run_id: RunId, now: Timestamp) -> Option<Standing> {
        let known = self.entries.get(&run_id)?;
        let lane = self.lanes.get(&known.function).expect("the lane of an entry exists");
        Some(match known.place {
            Place::Ready => {
                Standing::Ready { n_ahead: lane.ready.range(..known.rank(run_id)).count() as u64 }
            }
            Place::Delayed if known.due_at_millis <= millis(now) => {
                let n_delayed = lane.delayed.range(..(known.due_at_millis, run_id)).count();
                Standing::Ready { n_ahead: (lane.ready.len() + n_delayed) as u64 }
            }
            Place::Delayed => {
                let due_at = Timestamp::from_micros(known.due_at_millis.saturating_mul(1_000));
                Standing::Delayed { due_at }
            }
            Place::Claimed { .. } => Standing::Claimed,
        })
    }

    pub(crate) fn used_at(&mut self, now: Timestamp) {
        self.used_at = self.used_at.max(now);
    }

    pub(crate) fn last_used_at(&self) -> Timestamp {
        self.used_at
    }

    pub(crate) fn footprint(&self) -> usize {
        self.entries.len() + self.lanes.len()
    }

    pub(crate) fn depth(&self, queue: QueueId) -> QueueDepth {
        let count = |of: fn(&Lane) -> usize| self.lanes.values().map(of).sum::<usize>() as u64;
        QueueDepth {
            queue,
            ready: count(|lane| lane.ready.len()),
            delayed: count(|lane| lane.delayed.len()),
            claimed: count(|lane| lane.claimed.len()),
        }
    }
}

impl Lane {
    fn insert(&mut self, run_id: RunId, known: &Known) {
        match known.place {
            Place::Ready => self.ready.insert(known.rank(run_id)),
            Place::Delayed => self.delayed.insert((known.due_at_millis, run_id)),
            Place::Claimed { until } => self.claimed.insert((until, run_id)),
        };
    }

    fn remove(&mut self, run_id: RunId, known: &Known) {
        match known.place {
            Place::Ready => self.ready.remove(&known.rank(run_id)),
            Place::Delayed => self.delayed.remove(&(known.due_at_millis, run_id)),
            Place::Claimed { until } => self.claimed.remove(&(until, run_id)),
        };
    }

    /// Makes ready what has become due, and the claims that have expired.
    fn wake(&mut self, entries: &mut HashMap<RunId, Known>, now_millis: i64, clock: Instant) {
        let mut woken = Vec::new();
        while let Some(&(due, run_id)) = self.delayed.first()
            && due <= now_millis
            && woken.len() < MOVED_PER_TAKE
        {
            self.delayed.pop_first();
            woken.push(run_id);
        }
        while let Some(&(until, run_id)) = self.claimed.first()
            && until <= clock
        {
            self.claimed.pop_first();
            woken.push(run_id);
        }
        for run_id in woken {
            let known = entries.get_mut(&run_id).expect("what a lane holds is among the entries");
            known.place = Place::Ready;
            self.insert(run_id, known);
        }
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty() && self.claimed.is_empty()
    }
}

impl Known {
    fn rank(&self, run_id: RunId) -> Rank {
        (Reverse(self.priority), self.due_at_millis, run_id)
    }
}

fn millis(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(1_000)
}
