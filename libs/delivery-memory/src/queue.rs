use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tidegate_delivery::{
    Entry, EntryId, Function, Held, QueueDepth, QueueId, Requirements, Standing, Taken, Want, label_line,
};
use tidegate_model::{Epoch, RunId, Timestamp};
use tokio::time::Instant;

use crate::{
    lane::{Known, Lane, LaneId, State},
    turns::Turns,
};

/// At most so many entries become ready in one take.
const MOVED_PER_TAKE: usize = 1_000;

/// What a placement does to an entry that is known under the same epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEqualEpoch {
    Keep,
    Replace,
}

/// The entries of one queue.
pub(crate) struct Queue {
    lanes: Lanes,
    turns: Turns,
    entries: HashMap<RunId, Known>,
    used_at: Timestamp,
    n_takes: usize,
}

/// The lanes that have entries.
#[derive(Default)]
struct Lanes(HashMap<Function, BTreeMap<Requirements, Lane>>);

impl Default for Queue {
    fn default() -> Self {
        Self {
            lanes: Lanes::default(),
            turns: Turns::default(),
            entries: HashMap::new(),
            used_at: Timestamp::UNIX_EPOCH,
            n_takes: 0,
        }
    }
}

impl Lanes {
    fn get(&self, id: &LaneId) -> Option<&Lane> {
        self.0.get(&id.function)?.get(&id.requires)
    }

    /// The lane of an entry that is known.
    fn of(&mut self, id: &LaneId) -> &mut Lane {
        let lane = self.0.get_mut(&id.function).and_then(|lanes| lanes.get_mut(&id.requires));
        lane.expect("the lane of an entry exists")
    }

    fn entry(&mut self, id: &LaneId) -> &mut Lane {
        self.0.entry(id.function.clone()).or_default().entry(id.requires.clone()).or_default()
    }

    fn remove_if_empty(&mut self, id: &LaneId) {
        let Some(lanes) = self.0.get_mut(&id.function) else { return };
        if lanes.get(&id.requires).is_some_and(Lane::is_empty) {
            lanes.remove(&id.requires);
        }
        if lanes.is_empty() {
            self.0.remove(&id.function);
        }
    }

    /// Those that may be taken from: without requirements first.
    fn of_taker(&self, want: &Want<'_>) -> Vec<LaneId> {
        let mut found = Vec::new();
        let mut with_labels = Vec::new();
        // A worker may serve thousands of functions of which few have work.
        for function in want.functions {
            let Some(lanes) = self.0.get(function) else { continue };
            let id =
                |requires: &Requirements| LaneId { function: function.clone(), requires: requires.clone() };
            if lanes.contains_key(&Requirements::default()) {
                found.push(id(&Requirements::default()));
            }
            for (key, value) in want.labels {
                let line = label_line(key, value);
                let from_there = lanes.range(Requirements::from_text(&line)..).map(|(requires, _)| requires);
                let that_begin_so = from_there.take_while(|requires| requires.first_line() == Some(&line));
                with_labels.extend(that_begin_so.filter(|requires| requires.are_met_by(want.labels)).map(id));
            }
        }
        with_labels.sort();
        found.extend(with_labels);
        found
    }

    fn all(&self) -> impl Iterator<Item = &Lane> {
        self.0.values().flat_map(BTreeMap::values)
    }
}

impl Queue {
    /// True where the entry was placed.
    pub(crate) fn place(&mut self, entry: &Entry, now: Timestamp, on_equal: OnEqualEpoch) -> bool {
        let EntryId { function, requires, fairness_key, run_id, epoch, .. } = &entry.id;
        if let Some(known) = self.entries.get(run_id) {
            let kept = known.epoch > *epoch || (known.epoch == *epoch && on_equal == OnEqualEpoch::Keep);
            if kept {
                return false;
            }
            self.remove(*run_id);
        }
        let due_at_millis = entry.due_at_millis();
        let lane = LaneId { function: function.clone(), requires: requires.clone() };
        let known = Known {
            lane: lane.clone(),
            fairness_key: fairness_key.clone(),
            epoch: *epoch,
            priority: entry.bounded_priority(),
            due_at_millis,
            prefers: entry.prefers.clone(),
            state: if due_at_millis <= millis(now) { State::Ready } else { State::Delayed },
        };
        self.lanes.entry(&lane).insert(*run_id, &known, &mut self.turns);
        self.entries.insert(*run_id, known);
        true
    }

    pub(crate) fn take(&mut self, want: Want<'_>) -> Taken {
        let clock = Instant::now();
        let lanes = self.lanes.of_taker(&want);
        // Another lane first each time: where there is too much to move, each has its chance.
        self.n_takes = self.n_takes.wrapping_add(1);
        let (before, first) = lanes.split_at(self.n_takes % lanes.len().max(1));
        let mut moves_left = MOVED_PER_TAKE;
        for lane in first.iter().chain(before) {
            moves_left -= self.wake(lane, millis(want.now), clock, moves_left);
        }
        let until = clock + want.claim_lease;
        let mut taken = Taken::default();
        while taken.entries.len() < want.limit {
            let heads = lanes.iter().filter_map(|lane| self.lanes.get(lane)?.head(&self.turns));
            let Some((.., run_id)) = heads.min() else { break };
            let entry = self.claim(run_id, until, want.queue);
            taken.entries.push(entry);
        }
        let delayed = lanes.iter().filter_map(|lane| self.lanes.get(lane)?.delayed.first());
        taken.next_in = delayed.min().map(|(due_at_millis, _)| {
            let wait = due_at_millis.saturating_sub(millis(want.now));
            Duration::from_millis(u64::try_from(wait).unwrap_or(0))
        });
        taken
    }

    fn claim(&mut self, run_id: RunId, until: Instant, queue: &QueueId) -> Entry {
        let known = self.entries.get_mut(&run_id).expect("what a lane holds is among the entries");
        match &known.fairness_key {
            None => self.turns.serve_keyless(),
            Some(key) => {
                let (turn, lanes) = self.turns.serve(key);
                lanes.for_each(|lane| self.lanes.of(lane).move_group(key, turn));
            }
        }
        let lane = self.lanes.of(&known.lane);
        lane.remove(run_id, known, &mut self.turns);
        known.state = State::Claimed { until };
        lane.insert(run_id, known, &mut self.turns);
        Entry {
            id: EntryId {
                queue: queue.clone(),
                function: known.lane.function.clone(),
                requires: known.lane.requires.clone(),
                fairness_key: known.fairness_key.clone(),
                run_id,
                epoch: known.epoch,
            },
            priority: known.priority,
            due_at: Timestamp::from_micros(known.due_at_millis.saturating_mul(1_000)),
            prefers: known.prefers.clone(),
        }
    }

    /// Makes the claims ready that have expired, and what has become due, `limit` of them at most. Answers how many.
    fn wake(&mut self, id: &LaneId, now_millis: i64, clock: Instant, limit: usize) -> usize {
        let lane = self.lanes.of(id);
        let mut woken = Vec::new();
        while woken.len() < limit
            && let Some(&(until, run_id)) = lane.claimed.first()
            && until <= clock
        {
            lane.claimed.pop_first();
            woken.push(run_id);
        }
        while woken.len() < limit
            && let Some(&(due, run_id)) = lane.delayed.first()
            && due <= now_millis
        {
            lane.delayed.pop_first();
            woken.push(run_id);
        }
        let n_woken = woken.len();
        for run_id in woken {
            let known = self.entries.get_mut(&run_id).expect("what a lane holds is among the entries");
            known.state = State::Ready;
            lane.insert(run_id, known, &mut self.turns);
        }
        n_woken
    }

    pub(crate) fn forget(&mut self, run_id: RunId, epoch: Epoch) {
        if self.entries.get(&run_id).is_some_and(|known| known.epoch <= epoch) {
            self.remove(run_id);
        }
    }

    fn remove(&mut self, run_id: RunId) {
        let Some(known) = self.entries.remove(&run_id) else { return };
        self.lanes.of(&known.lane).remove(run_id, &known, &mut self.turns);
        self.lanes.remove_if_empty(&known.lane);
    }

    /// True while a claim is under way that may have led to the epoch.
    pub(crate) fn is_claimed(&self, held: Held) -> bool {
        let claimed =
            |known: &Known| matches!(known.state, State::Claimed { .. }) && known.epoch <= held.epoch;
        self.entries.get(&held.run_id).is_some_and(claimed)
    }

    /// Where an entry waits; `None`: there is none.
    pub(crate) fn standing(&self, run_id: RunId, now: Timestamp) -> Option<Standing> {
        let known = self.entries.get(&run_id)?;
        let lane = self.lanes.get(&known.lane)?;
        Some(match known.state {
            State::Ready => Standing::Ready { n_ahead: lane.n_ahead(run_id, known) },
            State::Delayed if known.due_at_millis <= millis(now) => {
                let n_delayed = lane.delayed.range(..(known.due_at_millis, run_id)).count();
                Standing::Ready { n_ahead: (lane.n_ready() + n_delayed) as u64 }
            }
            State::Delayed => {
                let due_at = Timestamp::from_micros(known.due_at_millis.saturating_mul(1_000));
                Standing::Delayed { due_at }
            }
            State::Claimed { .. } => Standing::Claimed,
        })
    }

    pub(crate) fn used_at(&mut self, now: Timestamp) {
        self.used_at = self.used_at.max(now);
    }

    pub(crate) fn last_used_at(&self) -> Timestamp {
        self.used_at
    }

    pub(crate) fn footprint(&self) -> usize {
        self.entries.len() + self.lanes.all().count() + self.turns.len()
    }

    pub(crate) fn depth(&self, queue: QueueId) -> QueueDepth {
        let count = |of: fn(&Lane) -> usize| self.lanes.all().map(of).sum::<usize>() as u64;
        QueueDepth {
            queue,
            ready: count(Lane::n_ready),
            delayed: count(|lane| lane.delayed.len()),
            claimed: count(|lane| lane.claimed.len()),
        }
    }
}

fn millis(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(1_000)
}
