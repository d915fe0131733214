//! Concurrency limits: what people do with them, and how a free slot comes to a run that waits for it.

use tidegate_model::{Namespace, Timestamp};
use tidegate_store::{ConcurrencyLimit, LimitKey, LimitUse, RunStore, Slot, StoreError};

use crate::{
    Dispatch, Engine, EngineError,
    dispatch::{Outbound, hand_over},
    lane::with_retries,
    metrics::STRAY_SLOTS,
    queues::paused_among,
    slots::{Freed, is_waiting},
};

/// Runs that are handed over at a time.
const BATCH: usize = tidegate_model::limits::MAX_BATCH_SIZE;

/// A limit, what is taken of it, and who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFacts {
    /// The limit and how many slots are taken.
    pub used: LimitUse,
    /// Runs that wait for a slot.
    pub n_waiting: u64,
}

impl Engine {
    /// Defines a limit, or changes how many slots it has. Where that is fewer than are taken, runs go on, and nobody gets
    /// a slot until enough were given up.
    pub async fn put_limit(&self, key: LimitKey, max_slots: u32) -> Result<ConcurrencyLimit, EngineError> {
        let now = self.inner.clock.now();
        let limit = with_retries(|| self.inner.store.put_limit(&key, max_slots, now)).await?;
        self.send(Outbound { freed: Freed::from([(key, u64::MAX)]), ..Outbound::default() });
        Ok(limit)
    }

    /// Takes a limit away, so that it does not bind. False: there was none.
    pub async fn delete_limit(&self, key: LimitKey) -> Result<bool, EngineError> {
        let was_there = with_retries(|| self.inner.store.delete_limit(&key)).await?;
        self.send(Outbound { freed: Freed::from([(key, u64::MAX)]), ..Outbound::default() });
        Ok(was_there)
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
        let keys: Vec<LimitKey> = found.iter().map(|used| used.limit.key.clone()).collect();
        let waits = self.inner.store.count_waits(&keys).await?;
        Ok(found.into_iter().zip(waits).map(|(used, n_waiting)| LimitFacts { used, n_waiting }).collect())
    }

    /// Hands over runs that wait though there is a slot for them: whoever gave it up died before it did so, or what it
    /// handed over before `handed_before` was lost. Gives how many.
    pub async fn hand_out_slots(&self, handed_before: Timestamp) -> Result<usize, EngineError> {
        let Self { inner } = self;
        let (mut after, mut n_runs) = (None, 0);
        while let Some(key) = inner.store.next_awaited(after.as_ref()).await? {
            let mut freed = Freed::from([(key.clone(), u64::MAX)]);
            while !freed.is_empty() {
                let (dispatch, store, now) = (&*inner.dispatch, &*inner.store, inner.clock.now());
                let (n_handed_over, rest) =
                    hand_out(dispatch, store, freed, Some(handed_before), now).await?;
                n_runs += n_handed_over;
                freed = rest;
            }
            after = Some(key);
        }
        Ok(n_runs)
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
            *freed.entry(slot.limit.clone()).or_default() += 1;
        }
        self.send(Outbound { freed, ..Outbound::default() });
        Ok(cleared.len())
    }
}

/// Hands runs to delivery as slots came free, those first that come first by priority and due time: of each limit one
/// batch at most. Gives how many, and what is left for the next turn. A hand-over that fails is left to the sweeps.
pub(crate) async fn hand_out(
    dispatch: &dyn Dispatch,
    store: &dyn RunStore,
    freed: Freed,
    handed_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<(usize, Freed), StoreError> {
    if freed.is_empty() {
        return Ok((0, freed));
    }
    let keys: Vec<LimitKey> = freed.keys().cloned().collect();
    let found = store.get_limits(&keys, now).await?;
    let (mut n_handed_over, mut rest) = (0, Freed::new());
    for (key, n_freed) in freed {
        let defined = found.iter().find(|used| used.limit.key == key);
        // One that is not defined does not bind.
        let n_left = defined.map_or(u64::MAX, |used| used.n_free().min(n_freed));
        let mut n_left = n_left;
        let (mut n_asked, mut n_given) = (usize::try_from(n_left).unwrap_or(BATCH).min(BATCH), 0);
        while n_asked > 0 && n_given < BATCH {
            let ids = store.hand_out(&key, handed_before, now, n_asked).await?;
            let mut runs = store.get_runs(None, &ids).await?;
            // What was claimed or cancelled meanwhile waits no longer.
            runs.retain(is_waiting);
            n_handed_over += hand_over(dispatch, store, &runs).await;
            n_given += ids.len();
            // What is in a paused queue takes no slot before that is resumed: others are to have it meanwhile. There may be
            // many of them, so more are asked for each time.
            let n_paused = paused_among(store, &runs).await?;
            // Those that were handed over have not taken their slots yet: of these, no more than came free is left.
            n_left = n_left.saturating_sub(n_asked as u64 - n_paused.min(n_asked as u64));
            let is_last = ids.len() < n_asked;
            n_asked =
                if is_last || n_paused == 0 { 0 } else { (2 * n_asked).min(BATCH - n_given.min(BATCH)) };
            if is_last {
                n_left = 0;
            }
        }
        if n_left > 0 {
            rest.insert(key, n_left);
        }
    }
    Ok((n_handed_over, rest))
}
