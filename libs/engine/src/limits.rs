//! Concurrency limits: what people do with them, and how a free slot comes to a run that waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use futures::future::join_all;
use tidegate_model::{Namespace, RunId, Timestamp};
use tidegate_orchestration::{LAPSES_COUNT_FOR, RESERVED_FOR, Rate, Run};
use tidegate_store::{
    ConcurrencyLimit, HandOut, LimitKey, LimitSettings, LimitUse, QueueKey, RunStore, Slot, StoreError,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Dispatch, Engine, EngineError, Operation,
    cascade::Order,
    commit::commit,
    dispatch::{Outbound, hand_over},
    lane::with_retries,
    metrics::STRAY_SLOTS,
    queues::paused_among,
    slots::{Freed, give_way, is_waiting, limit_actor},
    work_pools,
};

/// Runs that are handed over at a time.
const BATCH: usize = tidegate_model::limits::MAX_BATCH_SIZE;
/// How long a rate is kept that has all its tokens. Longer than a claim may wait for the store before it reads the rate (a
/// connection and two statements, with the usual timeouts): it is judged by the time of its beginning, when the tokens may not
/// have been there yet.
const RATES_KEPT: Duration = Duration::from_secs(60);
/// Limits that are seen to at a time, so that a template with many values does not keep all others waiting.
const N_LIMITS: usize = 100;
/// Runs that cannot use a slot and are passed over for one limit in a turn: all others wait for that meanwhile.
const MAX_PASSED_OVER: usize = 256;
/// How often those who wait for a rate are looked at, at most: what comes free meanwhile goes to them together.
const RATE_INTERVAL: Duration = Duration::from_millis(50);
/// The same for a rate that could not save up what comes free in that time.
const MIN_RATE_INTERVAL: Duration = Duration::from_millis(5);
/// How often runs of paused queues are passed over for tokens in a turn.
const MAX_ROUNDS: usize = 32;
/// How long a limit without tokens is not read again at most, whoever gives something up: it may have been changed.
const MAX_QUIET: Duration = Duration::from_secs(1);
/// How long after its hand-out nothing is kept any more for a run.
const LAPSES_AFTER: Duration = RESERVED_FOR.saturating_add(Duration::from_micros(1));
/// How many more are handed out at most when others came not in time: at once, and when their time is over. A long line
/// of those that do not come is so gone through in a few turns.
const MAX_LAPSED: (u64, u64) = (1, 100);

/// A limit, what is taken of it, and who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFacts {
    /// The limit and how many slots are taken.
    pub used: LimitUse,
    /// Runs that wait for a slot.
    pub n_waiting: u64,
}

impl Engine {
    /// Defines a limit, or changes what it asks for. Where it has fewer slots than are taken, runs go on, and nobody gets
    /// one until enough were given up.
    pub async fn put_limit(
        &self,
        key: LimitKey,
        settings: impl Into<LimitSettings>,
    ) -> Result<ConcurrencyLimit, EngineError> {
        let (settings, now) = (settings.into(), self.inner.clock.now());
        let limit = with_retries(|| self.inner.store.put_limit(&key, &settings, now)).await?;
        self.hand_out_all(key);
        Ok(limit)
    }

    /// Takes a limit away, so that it does not bind. False: there was none.
    pub async fn delete_limit(&self, key: LimitKey) -> Result<bool, EngineError> {
        let was_there = with_retries(|| self.inner.store.delete_limit(&key)).await?;
        self.hand_out_all(key);
        Ok(was_there)
    }

    /// Has all be handed over that a limit leaves room for; of a template, those who wait for any of its values.
    fn hand_out_all(&self, key: LimitKey) {
        self.send(Outbound { freed: Freed::from([(key, u64::MAX)]), ..Outbound::default() });
    }

    /// A limit with up to `n_slots` of the slots that are taken of it, the earliest first.
    pub async fn get_limit(
        &self,
        key: LimitKey,
        n_slots: usize,
    ) -> Result<(LimitFacts, Vec<Slot>), EngineError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let found = store.get_limits(std::slice::from_ref(&key), now).await?;
        let facts = self.with_waits(found).await?.into_iter().next();
        let Some(facts) = facts else { return Err(EngineError::LimitNotFound { name: key.name }) };
        let slots = store.list_slots(&key, now, n_slots).await?;
        Ok((facts, slots))
    }

    /// Up to `limit` limits of a namespace whose names come after `after`, by name.
    pub async fn list_limits(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LimitFacts>, EngineError> {
        let now = self.inner.clock.now();
        let found = self.inner.store.list_limits(namespace, after, now, limit).await?;
        self.with_waits(found).await
    }

    async fn with_waits(&self, found: Vec<LimitUse>) -> Result<Vec<LimitFacts>, EngineError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let keys: Vec<LimitKey> = found.iter().map(|used| used.key.clone()).collect();
        let waits = store.count_waits(&keys).await?;
        let mut facts = Vec::with_capacity(found.len());
        for (mut used, mut n_waiting) in found.into_iter().zip(waits) {
            if used.key.is_template() {
                (used.n_used, n_waiting) = store.template_use(&used.key, now).await?;
            }
            facts.push(LimitFacts { used, n_waiting });
        }
        Ok(facts)
    }

    /// Hands over runs that wait though there is a slot for them: whoever gave it up died before it did so, or what it
    /// handed over before `handed_before` was lost. Gives how many.
    pub async fn hand_out_slots(&self, handed_before: Timestamp) -> Result<usize, EngineError> {
        let Self { inner } = self;
        // What is passed over meanwhile is not to come again.
        let handed_before = handed_before.min(inner.clock.now() - LAPSES_AFTER);
        let (mut after, mut n_runs) = (None, 0);
        while let Some(key) = inner.store.next_awaited(after.as_ref()).await? {
            let mut freed = Freed::from([(key.clone(), u64::MAX)]);
            while !freed.is_empty() {
                tidegate_pulse::beat();
                let (dispatch, store, now) = (&*inner.dispatch, &*inner.store, inner.clock.now());
                let done = hand_out(dispatch, store, freed, Some(handed_before), now).await?;
                n_runs += done.n_handed_over;
                freed = done.rest;
            }
            after = Some(key);
        }
        Ok(n_runs)
    }

    /// Has those runs be in line again that were handed out before delivery's state was born, at `born_at`, and are lost for
    /// that: in bulk, so that slots go on to them one after the other. Gives how many.
    pub async fn return_lost_waits(&self, born_at: Timestamp) -> Result<usize, EngineError> {
        let Self { inner } = self;
        // One that has just been handed out is on its way, whatever the clock of delivery says.
        let handed_before = born_at.min(inner.clock.now() - LAPSES_AFTER);
        let (mut after, mut n_runs) = (None, 0);
        while let Some(key) = inner.store.next_awaited(after.as_ref()).await? {
            loop {
                tidegate_pulse::beat();
                let n_returned = inner.store.return_lost(&key, handed_before, BATCH).await?;
                n_runs += n_returned;
                if n_returned < BATCH {
                    break;
                }
            }
            after = Some(key);
        }
        Ok(n_runs)
    }

    /// Asks those runs to end that are to give way to others. Gives how many.
    pub async fn ask_holders(&self) -> Result<usize, EngineError> {
        let mut n_asked = 0;
        loop {
            let slots = with_retries(|| self.inner.store.slots_to_ask(BATCH)).await?;
            if slots.is_empty() {
                return Ok(n_asked);
            }
            let cancels = slots.iter().map(|slot| {
                let LimitKey { namespace, name } = &slot.limit;
                self.operate(Operation::Cancel {
                    namespace: namespace.clone(),
                    run_id: slot.owner,
                    reason: give_way(name),
                    actor: Some(limit_actor(name)),
                })
            });
            let mut asked = Vec::with_capacity(slots.len());
            for outcome in join_all(cancels).await {
                match outcome {
                    Ok(operated) => asked.push(operated.run.id),
                    // Deleted meanwhile, and its slot with it.
                    Err(EngineError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            with_retries(|| self.inner.store.note_asked(&slots)).await?;
            n_asked += asked.len();
            self.cascade_each(&asked, Order::Upward).await?;
        }
    }

    /// Asks runs to give way as soon as a claim of this process wants it, until `stop`.
    pub async fn run_collisions(self, stop: CancellationToken) {
        let woken = self.inner.wakes.collisions.clone();
        loop {
            tidegate_pulse::wait();
            if stop.run_until_cancelled(woken.notified()).await.is_none() {
                return;
            }
            tidegate_pulse::beat();
            let Some(outcome) = stop.run_until_cancelled(self.ask_holders()).await else { return };
            if let Err(error) = outcome {
                tracing::warn!(%error, "runs were not asked to give way; the scheduler's sweep will do it");
            }
        }
    }

    /// Forgets rates that have had all their tokens for a minute, and who waits for a lease and is not heard of, up to `limit`
    /// of each. Gives how many of one of them at most.
    pub async fn purge_limits(&self, limit: usize) -> Result<usize, EngineError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let n_waits = store.purge_lease_waits(now, limit).await?;
        Ok(n_waits.max(store.purge_rates(now - RATES_KEPT, limit).await?))
    }

    /// Frees up to `limit` slots whose lease has ended, or whose run nobody holds: there is none of these, as a run gives
    /// up its slots in the transaction in which it leaves its holder. Gives how many.
    pub async fn clear_slots(&self, limit: usize) -> Result<usize, EngineError> {
        let cleared = self.inner.store.clear_slots(self.inner.clock.now(), limit).await?;
        for slot in cleared.iter().filter(|slot| slot.expires_at.is_none()) {
            metrics::counter!(STRAY_SLOTS).increment(1);
            let (name, owner) = (&slot.limit.name, slot.owner);
            tracing::warn!(run.id = %owner, "run {owner} had a slot of concurrency limit `{name}` and no holder: freed");
        }
        let mut freed = Freed::new();
        for slot in &cleared {
            *freed.entry(slot.limit.clone()).or_default() += u64::from(slot.n_slots);
        }
        self.send(Outbound { freed, ..Outbound::default() });
        Ok(cleared.len())
    }
}

/// Which limits are seen to next: each in its turn, so that those of which something comes free all the time do not keep
/// the others waiting.
#[derive(Default)]
pub(crate) struct LimitTurns {
    last: Option<LimitKey>,
}

impl LimitTurns {
    /// Takes the next ones out of `freed`, [`N_LIMITS`] at most.
    pub fn take_from(&mut self, freed: &mut Freed) -> Freed {
        let later = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<LimitKey> = freed
            .range((later, Bound::Unbounded))
            .chain(self.last.iter().flat_map(|last| freed.range(..=last)))
            .map(|(limit, _)| limit.clone())
            .take(N_LIMITS)
            .collect();
        self.last = next.last().cloned().or_else(|| self.last.take());
        next.into_iter().filter_map(|limit| freed.remove_entry(&limit)).collect()
    }
}

/// What became of a turn of [`hand_out`].
#[derive(Default)]
pub(crate) struct HandedOut {
    pub n_handed_over: usize,
    /// What is left for the next turn.
    pub rest: Freed,
    /// Limits that are to be looked at again, and when.
    pub later: BTreeMap<LimitKey, Again>,
}

/// When a limit is to be looked at again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    /// At the latest.
    pub at: Timestamp,
    /// Until when a look is of no use, whatever came free.
    pub quiet_until: Timestamp,
    /// True: what is kept for one that does not come is to be another's.
    pub is_lapse: bool,
}

impl Again {
    const fn at(at: Timestamp) -> Self {
        Self { at, quiet_until: at, is_lapse: false }
    }
}

/// Hands runs to delivery as slots came free and rates allow, those first that come first by priority, by turn of their
/// fairness keys, and by due time: of each limit one batch at most. A hand-over that fails is left to the sweeps.
///
/// As many are handed over as there are slots and tokens, less those that are on their way, for which theirs are kept: so
/// the cost is that of slots and tokens, however many wait. When a time is over for which something was kept, the limit
/// is looked at again.
pub(crate) async fn hand_out(
    dispatch: &dyn Dispatch,
    store: &dyn RunStore,
    mut freed: Freed,
    handed_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<HandedOut, StoreError> {
    let mut done = HandedOut::default();
    if freed.is_empty() {
        return Ok(done);
    }
    // Who waits for a slot of a paused queue is in it, and could not use one. The resume hands them out.
    let paused = paused_limits(store, freed.keys()).await?;
    freed.retain(|key, _| !paused.contains(key));
    let keys: Vec<LimitKey> = freed.keys().cloned().collect();
    let found = store.get_limits(&keys, now).await?;
    for (key, n_freed) in freed {
        tidegate_pulse::beat();
        let defined = found.iter().find(|used| used.key == key);
        let turn = Turn { dispatch, store, handed_before, now, key: &key, defined, n_freed };
        // One limit's fault is not that of those after it.
        if let Err(error) = turn.hand_out(&mut done).await {
            let name = &key.name;
            tracing::warn!(%error, "what is free of concurrency limit `{name}` was not handed out; the sweep will do it");
        }
    }
    Ok(done)
}

/// What [`hand_out`] does for one limit.
struct Turn<'a> {
    dispatch: &'a dyn Dispatch,
    store: &'a dyn RunStore,
    handed_before: Option<Timestamp>,
    now: Timestamp,
    key: &'a LimitKey,
    /// `None`: it is not defined, and does not bind.
    defined: Option<&'a LimitUse>,
    n_freed: u64,
}

impl Turn<'_> {
    async fn hand_out(self, done: &mut HandedOut) -> Result<(), StoreError> {
        let Self { dispatch, store, handed_before, now, key, defined, n_freed } = self;
        if defined.is_some_and(|used| !used.is_awaited || used.n_free() == 0) {
            // Whoever begins to wait, or gives a slot up, says so.
            return Ok(());
        }
        let rate = defined.and_then(|used| Some((used.limit.settings.rate?, used.arrival)));
        if let Some((rate, arrival)) = rate
            && rate.n_free(arrival, now) == 0
        {
            let at = rate.free_at(arrival).max(now + rate_interval(rate));
            let again = Again { at, quiet_until: at.min(now + MAX_QUIET), is_lapse: false };
            done.later.insert(key.clone(), again);
            return Ok(());
        }
        let mut ask = HandOut {
            max_slots: defined.and_then(|used| used.limit.settings.max_slots),
            n_tokens: rate.map(|(rate, arrival)| rate.n_free(arrival, now)),
            n_more: 0,
            max_lapsed: if n_freed == u64::MAX { MAX_LAPSED.1 } else { MAX_LAPSED.0 },
            lapsed_since: now - LAPSES_COUNT_FOR,
            handed_before,
            now,
            reserved_until: now + RESERVED_FOR,
            limit: BATCH,
        };
        let (mut n_given, mut n_rounds, mut n_passed_over) = (0, 0, 0);
        while n_given < BATCH {
            ask.limit = BATCH - n_given;
            let Some(ids) = store.hand_out(key, &ask).await? else {
                // It may know less than this look, and has been at it for a moment only.
                done.later.insert(key.clone(), Again::at(now + MIN_RATE_INTERVAL));
                return Ok(());
            };
            if ids.is_empty() {
                break;
            }
            let found = store.get_runs(None, &ids).await?;
            if found.len() < ids.len() {
                // The others are leases.
                store.tell_leases().await;
            }
            let (runs, ended): (Vec<Run>, Vec<Run>) = found.into_iter().partition(is_waiting);
            done.n_handed_over += hand_over(dispatch, store, &runs).await;
            n_given += ids.len();
            end_waits(store, &ended).await?;
            // What is in a paused queue or work pool takes no slot before that is resumed: others are to have it
            // meanwhile. There may be many of them, so more are asked for each time.
            let in_queues = paused_among(store, &runs).await?;
            let in_pools = work_pools::paused_among(store, &runs).await?;
            let paused: BTreeSet<RunId> = in_queues.into_iter().chain(in_pools).collect();
            let paused: Vec<RunId> = paused.into_iter().collect();
            if !paused.is_empty() {
                // Nobody takes them before the resume: nothing is kept for them.
                store.pass_over(key, &paused, now).await?;
            }
            let n_useless = paused.len() + ended.len();
            n_passed_over += n_useless;
            n_rounds += 1;
            // Of a rate the same again gives as many as the others have left.
            let is_enough = if rate.is_some() {
                n_rounds == MAX_ROUNDS
            } else {
                ask.n_more = n_passed_over as u64;
                n_passed_over >= MAX_PASSED_OVER
            };
            if n_useless == 0 || is_enough {
                break;
            }
        }
        if n_given == 0 && defined.is_some_and(|used| used.awaits_several) {
            // What has come free may be enough by now for one that has it kept.
            store.tell_leases().await;
        }
        match rate {
            Some((rate, _)) if n_given > 0 => {
                done.later.insert(key.clone(), Again::at(now + rate_interval(rate)));
            }
            // All that waits goes, and there may be more than one batch of it; or many were passed over.
            None if n_given >= BATCH || n_passed_over >= MAX_PASSED_OVER => {
                done.rest.insert(key.clone(), n_freed);
            }
            // There is nobody else, or those that are on their way have theirs kept for them.
            _ => {
                if let Some(lapse_at) = store.first_lapse(key, now).await? {
                    let quiet_until = rate.map_or(now, |(rate, _)| now + rate_interval(rate));
                    let at = lapse_at + Duration::from_micros(1);
                    let again = Again { at: at.max(quiet_until), quiet_until, is_lapse: true };
                    done.later.insert(key.clone(), again);
                }
            }
        }
        Ok(())
    }
}

/// Those of these limits that are of paused queues.
async fn paused_limits(
    store: &dyn RunStore,
    limits: impl Iterator<Item = &LimitKey>,
) -> Result<BTreeSet<LimitKey>, StoreError> {
    let queues: Vec<QueueKey> = limits.filter_map(LimitKey::queue).collect();
    if queues.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = store.get_queues(&queues).await?;
    Ok(found.into_iter().filter(|queue| queue.pause.is_some()).map(|queue| queue.key.limit()).collect())
}

/// Ends the waits of runs that wait no longer. A claim or a cancel ends that of its run; but a replica that knows nothing of
/// queues' limits leaves those of runs that wait for nothing else, and each turn of a slot would be spent on them.
async fn end_waits(store: &dyn RunStore, runs: &[Run]) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let ids: BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
    let mut tx = store.begin().await?;
    // One may have begun to wait again since it was read.
    let mut locked = tx.lock_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
    locked.retain(|run| !is_waiting(run));
    tx.end_waits(&locked.iter().map(|run| run.id).collect::<Vec<_>>()).await?;
    commit(store, tx, &[]).await
}

fn rate_interval(rate: Rate) -> Duration {
    rate.burst_span().clamp(MIN_RATE_INTERVAL, RATE_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LimitKey {
        LimitKey { namespace: Namespace::default(), name: name.to_owned() }
    }

    #[test]
    fn a_limit_has_its_turn_though_those_before_it_come_free_all_the_time() {
        let busy = || (0..3 * N_LIMITS).map(|n| (key(&format!("busy-{n:03}")), 1));
        let (mut turns, mut freed) = (LimitTurns::default(), Freed::from([(key("late"), 7)]));
        for turn in 0..=3 {
            freed.extend(busy());
            let taken = turns.take_from(&mut freed);
            assert_eq!(taken.len(), N_LIMITS);
            assert_eq!(taken.get(&key("late")), (turn == 3).then_some(&7));
        }
        freed.clear();
        assert!(turns.take_from(&mut freed).is_empty());
        freed.insert(key("busy-000"), 1);
        assert_eq!(turns.take_from(&mut freed).len(), 1, "from the first again");
    }
}
