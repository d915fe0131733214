//! Slots of concurrency limits: taken with the claim of a run, given up with its holder, both in the transaction of
//! the change itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate_model::{RunId, Timestamp, limits};
use tidegate_orchestration::{
    Arrival, Collision, Event, LAPSES_COUNT_FOR, Lack, Line, Rate, Run, StateName, StateType,
};
use tidegate_store::{Awaited, LimitKey, LimitUse, RunTx, Slot, SlotWait, StoreError};

use crate::{metrics::SLOTS_REFUSED, queues::queue_of};

/// What a transaction does to slots, and to who waits for one. Where none of its runs has limits it is empty, and costs
/// no statement.
#[derive(Default)]
pub(crate) struct Slots {
    /// What is left of limits that bind. They are locked, so nobody else takes any of it before the commit.
    left: HashMap<LimitKey, Left>,
    /// For which limits those wait that are to be claimed, where that matters.
    awaited: HashMap<RunId, Awaited>,
    /// Runs with limits that were changed, as they stood before.
    before: BTreeMap<RunId, Standing>,
    granted: BTreeSet<RunId>,
    refused: BTreeMap<RunId, LimitKey>,
    /// Rates of which a token was taken.
    spent: BTreeSet<LimitKey>,
    /// Slots whose runs are to be asked to give way.
    asked: Vec<(LimitKey, RunId)>,
}

/// What is left of a limit.
struct Left {
    n_free: u64,
    rate: Option<(Rate, Arrival)>,
    /// Those who wait for it and come before runs that are new: they have what is free kept for them.
    line: Line,
    /// New runs that were let through for those in line that did not come in time.
    n_let_through: u64,
    on_collision: Collision,
    /// Those that could give way, the first to be asked last; empty where none is to be asked.
    holders: Vec<RunId>,
    /// The one of all runs with a slot that was created last.
    newest: Option<RunId>,
    /// How many that were asked still have their slots.
    n_asked: u64,
    n_waiting: u64,
}

impl Left {
    fn of(used: &LimitUse) -> Self {
        let settings = &used.limit.settings;
        Self {
            n_free: used.n_free(),
            rate: settings.rate.map(|rate| (rate, used.arrival)),
            line: Line::default(),
            n_let_through: 0,
            on_collision: settings.on_collision,
            holders: Vec::new(),
            newest: None,
            n_asked: 0,
            n_waiting: 0,
        }
    }

    /// How many runs may still start.
    fn n_left(&self, now: Timestamp) -> u64 {
        self.n_free.min(self.rate.map_or(u64::MAX, |(rate, arrival)| rate.n_free(arrival, now)))
    }

    /// What it has not for a run. One that is new lets those go first who wait.
    fn lack(&self, is_new: bool, now: Timestamp) -> Option<Lack> {
        if self.n_free == 0 {
            return Some(Lack::Slot);
        }
        let n_left = self.n_left(now);
        let has_one = if is_new { self.line.lets_through(n_left) } else { n_left > 0 };
        (!has_one).then_some(if self.rate.is_some() { Lack::Token } else { Lack::Slot })
    }

    const fn may_ask(&self) -> bool {
        matches!(self.on_collision, Collision::CancelOldest | Collision::CancelNewest)
    }
}

/// A limit that has nothing left for a run, and what becomes of that.
pub(crate) struct Refusal {
    limit: LimitKey,
    lack: Lack,
    then: Then,
}

enum Then {
    Wait,
    Skip,
    CancelIt,
}

impl Refusal {
    /// What happens to the run.
    pub fn event(&self) -> Event {
        let (limit, lack) = (self.limit.name.clone(), self.lack);
        match self.then {
            Then::Wait => Event::SlotRefused { limit, lack },
            Then::Skip => Event::SlotSkipped { limit, lack },
            Then::CancelIt => {
                Event::CancelRequested { reason: give_way(&limit), actor: Some(limit_actor(&limit)) }
            }
        }
    }

    /// The limit that the run waits for.
    pub fn into_awaited(self) -> Option<LimitKey> {
        matches!(self.then, Then::Wait).then_some(self.limit)
    }
}

/// Why a run is cancelled that gives way to another.
pub(crate) fn give_way(limit: &str) -> String {
    format!("the concurrency limit `{limit}` has no free slot, and has this run give way")
}

/// Who cancels it.
pub(crate) fn limit_actor(limit: &str) -> String {
    format!("concurrency limit {limit}")
}

/// What a run has or waits for.
#[derive(Clone, Copy)]
struct Standing {
    is_held: bool,
    is_waiting: bool,
}

impl Standing {
    fn of(run: &Run) -> Self {
        Self { is_held: run.holder().is_some(), is_waiting: is_waiting(run) }
    }
}

/// Slots that may have come free, and of which limits.
pub(crate) type Freed = BTreeMap<LimitKey, u64>;

impl Slots {
    /// For these runs, which are to be claimed: locks the limits that they need.
    pub async fn lock<'a>(
        tx: &mut dyn RunTx,
        runs: impl Iterator<Item = &'a Run>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut n_claims = BTreeMap::<LimitKey, u64>::new();
        let runs: Vec<&Run> = runs.collect();
        for limit in runs.iter().copied().flat_map(limits_of) {
            *n_claims.entry(limit).or_default() += 1;
        }
        if n_claims.is_empty() {
            return Ok(Self::default());
        }
        let keys: Vec<LimitKey> = n_claims.keys().cloned().collect();
        // One that waits, and whose turn it is, lets nobody go first: also where another of its limits has a line, as it
        // would never have its turn for all of them at once.
        let has_new = runs.iter().any(|run| !is_waiting(run));
        let (mut left, mut lined, mut needs_awaited) = (HashMap::<_, Left>::new(), Vec::new(), false);
        for used in tx.lock_limits(&keys, now).await? {
            let one = Left::of(&used);
            if has_new && used.is_awaited && one.n_left(now) > 0 {
                lined.push(used.key.clone());
            }
            left.insert(used.key, one);
        }
        if !lined.is_empty() {
            // What is free, and those that may leave the line here, is as far as it matters.
            let n_left = lined.iter().filter_map(|limit| Some(left.get(limit)?.n_left(now))).max();
            let n_left = usize::try_from(n_left.unwrap_or_default()).unwrap_or(usize::MAX);
            let most = n_left.saturating_add(runs.len()).min(limits::MAX_BATCH_SIZE);
            let lines = tx.count_line(&lined, None, now - LAPSES_COUNT_FOR, now, most).await?;
            for (limit, line) in lined.iter().zip(lines) {
                if let Some(one) = left.get_mut(limit) {
                    one.line = line;
                    needs_awaited |= !line.is_empty();
                }
            }
        }
        for (limit, one) in &mut left {
            let n_claims = n_claims.get(limit).copied().unwrap_or_default();
            if one.may_ask() && one.n_free - one.line.n_kept(one.n_free) < n_claims {
                let newest_first = one.on_collision == Collision::CancelNewest;
                let found = tx.find_holders(limit, newest_first, limits::MAX_BATCH_SIZE).await?;
                one.holders = found.unasked.into_iter().rev().collect();
                (one.n_asked, one.n_waiting, one.newest) = (found.n_asked, found.n_waiting, found.newest);
                needs_awaited = true;
            }
        }
        let waiting: Vec<RunId> = runs.iter().filter(|run| is_waiting(run)).map(|run| run.id).collect();
        let awaited = if needs_awaited && !waiting.is_empty() {
            let awaited = tx.awaited_by(&waiting, now).await?;
            awaited.into_iter().map(|awaited| (awaited.run_id, awaited)).collect()
        } else {
            HashMap::new()
        };
        Ok(Self { left, awaited, ..Self::default() })
    }

    /// Takes a slot and a token of each of its limits for a run that is to be claimed, or says what one of them has not.
    /// A limit that skips comes before those that wait, and has a run wait that ran before: only what has not begun is
    /// given up.
    pub fn grant(&mut self, run: &Run, now: Timestamp) -> Result<(), Refusal> {
        let limits = limits_of(run);
        let mut refusal: Option<Refusal> = None;
        for limit in &limits {
            let Some(left) = self.left.get(limit) else { continue };
            let Some(lack) = left.lack(!is_waiting(run), now) else { continue };
            if left.on_collision == Collision::Skip && run.attempt == 0 {
                return Err(Refusal { limit: limit.clone(), lack, then: Then::Skip });
            }
            refusal.get_or_insert_with(|| Refusal { limit: limit.clone(), lack, then: Then::Wait });
        }
        if let Some(mut refusal) = refusal {
            if refusal.lack == Lack::Slot {
                refusal.then = self.collide(run, &refusal.limit);
            }
            self.leave_line(run);
            if matches!(refusal.then, Then::Wait)
                && let Some(left) = self.left.get_mut(&refusal.limit)
            {
                left.line.join();
            }
            return Err(refusal);
        }
        for limit in &limits {
            let Some(left) = self.left.get_mut(limit) else { continue };
            if !is_waiting(run) {
                let n_left = left.n_left(now);
                left.n_let_through += u64::from(left.line.pass(n_left));
            }
            left.n_free = left.n_free.saturating_sub(1);
            if let Some((rate, arrival)) = &mut left.rate {
                *arrival = rate.take(*arrival, now).unwrap_or(*arrival);
                self.spent.insert(limit.clone());
            }
            left.newest = left.newest.max(Some(run.id));
            match left.on_collision {
                // It has had its slot for the shortest time.
                Collision::CancelOldest => left.holders.insert(0, run.id),
                Collision::CancelNewest => {
                    let idx = left.holders.partition_point(|holder| *holder < run.id);
                    left.holders.insert(idx, run.id);
                }
                Collision::Wait | Collision::Skip => {}
            }
        }
        if !limits.is_empty() {
            self.granted.insert(run.id);
            self.leave_line(run);
        }
        Ok(())
    }

    /// A run is in line no longer: it has its slot, or waits anew.
    fn leave_line(&mut self, run: &Run) {
        if let Some(awaited) = self.awaited.get(&run.id).filter(|awaited| awaited.is_in_line)
            && let Some(left) = self.left.get_mut(&awaited.limit)
        {
            left.line.leave();
        }
    }

    /// Has somebody give way, where the limit says so. Never more than wait and have nothing kept for them.
    fn collide(&mut self, run: &Run, limit: &LimitKey) -> Then {
        let Some(left) = self.left.get_mut(limit) else { return Then::Wait };
        // It may wait for another one by now.
        let awaited = self.awaited.get(&run.id).map(|awaited| &awaited.limit);
        let is_counted = self.refused.get(&run.id).or(awaited) == Some(limit);
        let n_waiting = left.n_waiting + u64::from(!is_counted);
        if left.may_ask() && left.n_asked.saturating_add(left.n_free) < n_waiting {
            let is_by_age = left.on_collision == Collision::CancelNewest;
            if is_by_age && left.newest.is_none_or(|newest| newest < run.id) {
                return Then::CancelIt;
            }
            // Where those that are newer were asked already, it waits for what they give up.
            if let Some(holder) = left.holders.pop_if(|holder| !is_by_age || *holder > run.id) {
                left.n_asked += 1;
                self.asked.push((limit.clone(), holder));
            }
        }
        left.n_waiting = n_waiting;
        Then::Wait
    }

    /// Has a run wait for a slot of `limit`.
    pub fn refuse(&mut self, run: &Run, limit: LimitKey) {
        metrics::counter!(SLOTS_REFUSED).increment(1);
        self.note(run);
        self.refused.insert(run.id, limit);
    }

    /// Notes a run that is about to change.
    pub fn note(&mut self, before: &Run) {
        // What waits may wait for a limit that its queue had.
        if !before.concurrency_limits.is_empty() || before.queue_slot || is_waiting(before) {
            self.before.entry(before.id).or_insert_with(|| Standing::of(before));
        }
    }

    /// True where nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// True where somebody is to be asked to give way.
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Writes what has become of the runs, and tells where a slot may have come free by that: one that was given up, one
    /// that a run was handed over for and could not use, as another of its limits had none, or did not wait for; and of
    /// which rates those who wait are to be looked at again.
    pub async fn write(
        self,
        tx: &mut dyn RunTx,
        runs: &HashMap<RunId, Run>,
        now: Timestamp,
    ) -> Result<Freed, StoreError> {
        let mut freed = Freed::new();
        let (mut take, mut free, mut wait, mut end_wait) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // Of those the runs that have not got what they waited for.
        let mut has_left = BTreeSet::new();
        for (id, before) in &self.before {
            let Some(run) = runs.get(id) else { continue };
            let after = Standing::of(run);
            if after.is_held && self.granted.contains(id) {
                take.extend(limits_of(run).into_iter().map(|limit| slot(run, limit, now)));
                if before.is_waiting {
                    // Of the tokens that it did not take there may be some for those behind it.
                    let spent = limits_of(run).into_iter().filter(|limit| self.spent.contains(limit));
                    spent.for_each(|limit| *freed.entry(limit).or_default() += 1);
                }
            }
            if before.is_held && !after.is_held {
                free.push(*id);
            }
            match self.refused.get(id).filter(|_| after.is_waiting) {
                Some(limit) => {
                    wait.push(wait_of(run, limit));
                    // Also of the one without a free slot: it may have come free since it was looked for, and who gave
                    // it up has not seen this run wait.
                    limits_of(run).into_iter().for_each(|limit| *freed.entry(limit).or_default() += 1);
                }
                None if before.is_waiting && !after.is_waiting => {
                    end_wait.push(*id);
                    if !after.is_held {
                        has_left.insert(*id);
                    }
                }
                None => {}
            }
        }
        if !take.is_empty() {
            tx.take_slots(&take).await?;
        }
        if !free.is_empty() {
            tx.free_slots(&free).await?.into_iter().for_each(|limit| *freed.entry(limit).or_default() += 1);
        }
        if !wait.is_empty() {
            tx.put_waits(&wait).await?;
        }
        if !self.spent.is_empty() {
            let arrival = |limit: &LimitKey| Some((limit.clone(), self.left.get(limit)?.rate?.1));
            tx.put_arrivals(&self.spent.iter().filter_map(arrival).collect::<Vec<_>>()).await?;
        }
        if !self.asked.is_empty() {
            tx.ask_slots(&self.asked).await?;
        }
        let let_through = self.left.iter().filter(|(_, left)| left.n_let_through > 0);
        let lapses: Vec<_> = let_through.map(|(limit, left)| (limit.clone(), left.n_let_through)).collect();
        if !lapses.is_empty() {
            tx.use_lapses(&lapses, now - LAPSES_COUNT_FOR, now).await?;
        }
        // At last: it locks waits of other runs as well, which two transactions are not to wait for crosswise.
        if !end_wait.is_empty() {
            let ended = tx.end_waits(&end_wait).await?.into_iter();
            let left = ended.filter(|(id, _)| has_left.contains(id));
            left.for_each(|(_, limit)| *freed.entry(limit).or_default() += 1);
        }
        Ok(freed)
    }
}

/// True for a run that waits for a slot.
pub(crate) fn is_waiting(run: &Run) -> bool {
    run.state.state_type() == StateType::Scheduled && run.state.name == StateName::AwaitingConcurrencySlot
}

/// The limits of a run, each once: those that it names, and that of its queue where its claim found one.
pub(crate) fn limits_of(run: &Run) -> BTreeSet<LimitKey> {
    let key = |name: &String| LimitKey { namespace: run.namespace.clone(), name: name.clone() };
    let of_queue = queue_of(run).filter(|_| run.queue_slot).map(|queue| queue.limit());
    run.concurrency_limits.iter().map(key).chain(of_queue).collect()
}

fn slot(run: &Run, limit: LimitKey, now: Timestamp) -> Slot {
    Slot { limit, owner: run.id, acquired_at: now, expires_at: None, for_run: None, n_slots: 1 }
}

fn wait_of(run: &Run, limit: &LimitKey) -> SlotWait {
    SlotWait {
        run_id: run.id,
        limit: limit.clone(),
        priority: run.priority,
        fairness_key: run.fairness_key.clone(),
        due_at: run.due_at,
    }
}
