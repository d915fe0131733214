//! Slots of concurrency limits: taken with the claim of a run, given up with its holder, both in the transaction of
//! the change itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate_model::{RunId, Timestamp};
use tidegate_orchestration::{Run, StateName, StateType};
use tidegate_store::{LimitKey, RunTx, Slot, SlotWait, StoreError};

use crate::{metrics::SLOTS_REFUSED, queues::queue_of};

/// What a transaction does to slots, and to who waits for one. Where none of its runs has limits it is empty, and costs
/// no statement.
#[derive(Default)]
pub(crate) struct Slots {
    /// The free slots of limits that bind. They are locked, so nobody else takes them before the commit.
    free: HashMap<LimitKey, u64>,
    /// Runs with limits that were changed, as they stood before.
    before: BTreeMap<RunId, Standing>,
    granted: BTreeSet<RunId>,
    refused: BTreeMap<RunId, LimitKey>,
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
        let keys: BTreeSet<LimitKey> = runs.flat_map(limits_of).collect();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let locked = tx.lock_limits(&keys.into_iter().collect::<Vec<_>>(), now).await?;
        let free = locked.into_iter().map(|used| (used.limit.key.clone(), used.n_free())).collect();
        Ok(Self { free, ..Self::default() })
    }

    /// Takes a slot of each of its limits for a run that is to be claimed, or gives the limit that has none.
    pub fn grant(&mut self, run: &Run) -> Result<(), LimitKey> {
        let limits = limits_of(run);
        if let Some(full) = limits.iter().find(|limit| self.free.get(limit) == Some(&0)) {
            return Err(full.clone());
        }
        for limit in &limits {
            if let Some(n_free) = self.free.get_mut(limit) {
                *n_free -= 1;
            }
        }
        if !limits.is_empty() {
            self.granted.insert(run.id);
        }
        Ok(())
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

    /// Writes what has become of the runs, and tells where a slot may have come free by that: one that was given up, and
    /// one that a run was handed over for and could not use, as another of its limits had none.
    pub async fn write(
        self,
        tx: &mut dyn RunTx,
        runs: &HashMap<RunId, Run>,
        now: Timestamp,
    ) -> Result<Freed, StoreError> {
        let mut freed = Freed::new();
        let (mut take, mut free, mut wait, mut end_wait) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, before) in &self.before {
            let Some(run) = runs.get(id) else { continue };
            let after = Standing::of(run);
            if after.is_held && self.granted.contains(id) {
                take.extend(limits_of(run).into_iter().map(|limit| slot(run, limit, now)));
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
                None if before.is_waiting && !after.is_waiting => end_wait.push(*id),
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
        if !end_wait.is_empty() {
            tx.end_waits(&end_wait).await?;
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
    Slot { limit, owner: run.id, acquired_at: now, expires_at: None }
}

fn wait_of(run: &Run, limit: &LimitKey) -> SlotWait {
    SlotWait { run_id: run.id, limit: limit.clone(), priority: run.priority, due_at: run.due_at }
}
