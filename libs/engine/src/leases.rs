//! Slots that code takes by a lease, outside of the claim of a run: all of those that it names, or none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_model::{FieldViolation, Namespace, RunId, Timestamp, limits::MAX_BATCH_SIZE};
use tidegate_orchestration::{Arrival, LAPSES_COUNT_FOR, Line, RESERVED_FOR, Run};
use tidegate_store::{LeaseWait, LimitKey, LimitUse, Slot, StoreError};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError, dispatch::Outbound, lane::with_retries, slots::Freed};

/// How long who waits keeps its place without being heard of.
const WAIT_GRACE: Duration = Duration::from_secs(15);
/// How often it is looked whose turn it is, at most, and at least.
const TURN_INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// What code asks for.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The limits of which it needs a slot, a token, or both. All of one namespace.
    pub limits: BTreeSet<LimitKey>,
    /// How many slots of each of them, and tokens: at least 1.
    pub n_slots: u32,
    /// A limit that is not defined is an error. False: it does not bind.
    pub must_exist: bool,
    /// Who is to have them. The same again changes nothing but the end of the lease.
    pub owner: RunId,
    /// How long it has them unless it renews the lease.
    pub duration: Duration,
    /// The run whose code it is, as it says.
    pub for_run: Option<RunId>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It has all.
    Held {
        /// Until when.
        expires_at: Timestamp,
    },
    /// It has none.
    Waiting {
        /// The limit that had none for it.
        limit: LimitKey,
        /// When the rate of that limit allows a start; `None`: it lacks a slot, or others come first.
        next_token_at: Option<Timestamp>,
    },
}

/// Who waits for a lease in this process.
pub(crate) struct LeaseWaits {
    places: Places,
    by_owner: Mutex<HashMap<RunId, Waiting>>,
    /// Somebody has begun to wait.
    begun: Notify,
}

/// Who waits under one owner's id.
struct Waiting {
    n_calls: usize,
    turn: Arc<Notify>,
    limits: BTreeSet<LimitKey>,
    for_run: Option<RunId>,
}

impl LeaseWaits {
    pub fn new(most: usize, most_of_namespace: usize) -> Self {
        let places = Places { most, most_of_namespace, taken: Mutex::default() };
        Self { places, by_owner: Mutex::default(), begun: Notify::new() }
    }

    fn by_owner(&self) -> MutexGuard<'_, HashMap<RunId, Waiting>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits of which a run's code waits for slots, as far as this process knows: another may have been asked.
    pub fn awaited_for(&self, run: &Run) -> BTreeSet<LimitKey> {
        let by_owner = self.by_owner();
        let waiting = by_owner.values().filter(|waiting| waiting.for_run == Some(run.id));
        let limits = waiting.flat_map(|waiting| &waiting.limits);
        // Whose code it is was only said.
        limits.filter(|limit| limit.namespace == run.namespace).cloned().collect()
    }
}

/// How many calls may wait: in all, and of each namespace, so that none takes all places.
struct Places {
    most: usize,
    most_of_namespace: usize,
    taken: Mutex<HashMap<Namespace, usize>>,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<Namespace, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, namespace: Option<&Namespace>) -> Result<Place<'_>, EngineError> {
        // Without limits there is nothing to wait for.
        let namespace = namespace.cloned().unwrap_or_default();
        let mut taken = self.taken();
        let n_of_namespace = taken.get(&namespace).copied().unwrap_or_default();
        if n_of_namespace >= self.most_of_namespace {
            return Err(EngineError::TooManyOfNamespaceWait { namespace, most: self.most_of_namespace });
        }
        // As many entries as namespaces that wait: few.
        if taken.values().sum::<usize>() >= self.most {
            return Err(EngineError::TooManyWait { most: self.most });
        }
        taken.insert(namespace.clone(), n_of_namespace + 1);
        Ok(Place { places: self, namespace })
    }
}

/// A place of one call, given up when it is dropped.
struct Place<'a> {
    places: &'a Places,
    namespace: Namespace,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(n_of_namespace) = taken.get_mut(&self.namespace) {
            *n_of_namespace -= 1;
            if *n_of_namespace == 0 {
                taken.remove(&self.namespace);
            }
        }
    }
}

/// Who waits in this process under an owner's id, until it is dropped.
struct Waiter<'a> {
    waits: &'a LeaseWaits,
    owner: RunId,
    turn: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn of(waits: &'a LeaseWaits, request: &LeaseRequest) -> Self {
        let turn = {
            let mut by_owner = waits.by_owner();
            let waiting = by_owner.entry(request.owner).or_insert_with(|| Waiting {
                n_calls: 0,
                turn: Arc::default(),
                limits: request.limits.clone(),
                for_run: request.for_run,
            });
            waiting.n_calls += 1;
            Arc::clone(&waiting.turn)
        };
        waits.begun.notify_one();
        Self { waits, owner: request.owner, turn }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut by_owner = self.waits.by_owner();
        if let Some(waiting) = by_owner.get_mut(&self.owner) {
            waiting.n_calls -= 1;
            if waiting.n_calls == 0 {
                by_owner.remove(&self.owner);
            }
        }
    }
}

impl Engine {
    /// Takes all that is asked for, or nothing, waiting for up to `wait`. Who has waited in vain keeps its place for a
    /// while: until it asks again, or gives it up by [`Self::release_lease`].
    ///
    /// Those who wait for leases and runs are one line: by priority, where a lease has 0; then in turn by fairness key,
    /// where leases are with the runs that have none; then by the time since which they are due or wait. Whose turn it is
    /// has what came free for a while; a lease that is new lets all those go first who are in line. One of several slots
    /// keeps its turn, and what comes free, until that is enough.
    pub async fn take_lease(&self, request: &LeaseRequest, wait: Duration) -> Result<Leased, EngineError> {
        let deadline = Instant::now() + wait;
        let may_wait = !wait.is_zero();
        let namespace = request.limits.first().map(|limit| &limit.namespace);
        let _place = may_wait.then(|| self.inner.leases.places.take(namespace)).transpose()?;
        let waiter = Waiter::of(&self.inner.leases, request);
        loop {
            let leased = with_retries(|| self.try_lease(request, may_wait)).await??;
            if matches!(leased, Leased::Held { .. }) || Instant::now() >= deadline {
                return Ok(leased);
            }
            // A turn that came since the look is kept by the notification.
            let look_at = Instant::now() + self.inner.options.lease_poll_interval;
            let _ = timeout_at(deadline.min(look_at), waiter.turn.notified()).await;
        }
    }

    async fn try_lease(
        &self,
        request: &LeaseRequest,
        may_wait: bool,
    ) -> Result<Result<Leased, EngineError>, StoreError> {
        let (now, owner) = (self.inner.clock.now(), request.owner);
        let expires_at = now + request.duration;
        let mut tx = self.inner.store.begin().await?;
        // What a run has and waits for is found by its id, so nobody else may go by it.
        if !tx.lock_runs(&[owner]).await?.is_empty() {
            return Ok(Err(EngineError::LeaseOwnerUsed { owner }));
        }
        let (slots, wait) = tx.lock_owner(owner).await?;
        let is_elsewhere =
            |wait: &LeaseWait| request.limits.iter().any(|limit| limit.namespace != wait.limit.namespace);
        let is_held = |slot: &&Slot| slot.expires_at.is_none_or(|expires_at| expires_at > now);
        let held: BTreeMap<LimitKey, Slot> =
            slots.iter().filter(is_held).map(|slot| (slot.limit.clone(), slot.clone())).collect();
        if held.values().any(|slot| slot.expires_at.is_none() || slot.n_slots != request.n_slots)
            || held.keys().any(|limit| !request.limits.contains(limit))
            || wait.as_ref().is_some_and(is_elsewhere)
        {
            return Ok(Err(EngineError::LeaseOwnerUsed { owner }));
        }
        let keys: Vec<LimitKey> = request.limits.iter().cloned().collect();
        let locked = tx.lock_limits(&keys, now).await?;
        if held.is_empty()
            && let Err(error) = check_limits(request, &locked)
        {
            return Ok(Err(error));
        }
        let mut freed = Freed::new();
        let (mut arrivals, mut lapses) = (Vec::<(LimitKey, Arrival)>::new(), Vec::new());
        let since = wait.as_ref().map_or(now, |wait| wait.since);
        for used in locked.iter().filter(|used| !held.contains_key(&used.key)) {
            // Also for its other limits: it would never have its turn for all of them at once.
            let is_its_turn = wait.as_ref().is_some_and(|wait| wait.was_handed);
            let n_free = used.n_free().min(used.n_tokens(now));
            let mut line = if is_its_turn || n_free == 0 || !used.is_awaited {
                Line::default()
            } else {
                let (keys, since) = (std::slice::from_ref(&used.key), now - LAPSES_COUNT_FOR);
                // More than are free do not matter.
                let most = usize::try_from(n_free).unwrap_or(usize::MAX).min(MAX_BATCH_SIZE);
                let lines = tx.count_line(keys, Some(owner), since, now, most).await?;
                lines.into_iter().next().unwrap_or_default()
            };
            if n_free - line.n_kept(n_free) < request.n_slots.into() {
                let limit = used.key.clone();
                let is_turn_here = wait.as_ref().is_some_and(|wait| wait.was_handed && wait.limit == limit);
                let keeps_its_turn = is_turn_here && request.n_slots > 1 && may_wait;
                // What it was its turn for, and it cannot use, is another's.
                if let Some(wait) = wait.filter(|wait| wait.was_handed && !keeps_its_turn) {
                    freed.insert(wait.limit, wait.n_slots.into());
                }
                if may_wait {
                    let wait = LeaseWait {
                        owner,
                        limit: limit.clone(),
                        since,
                        was_handed: keeps_its_turn,
                        expires_at: now + WAIT_GRACE,
                        n_slots: request.n_slots,
                        reserved_until: keeps_its_turn.then(|| now + RESERVED_FOR),
                    };
                    if !tx.put_lease_wait(&wait).await? {
                        return Ok(Err(EngineError::LeaseOwnerUsed { owner }));
                    }
                    // It may have come free since it was looked for, and who gave it up has not seen this one wait; and
                    // what is free and kept for those before it is to be handed out to them.
                    if !keeps_its_turn {
                        freed.insert(limit.clone(), 1);
                    }
                } else {
                    tx.end_lease_wait(&limit.namespace, owner).await?;
                }
                tx.commit().await?;
                self.send(Outbound { freed, ..Outbound::default() });
                let next_token_at = next_token_at(used, request.n_slots, now);
                return Ok(Ok(Leased::Waiting { limit, next_token_at }));
            }
            if !is_its_turn {
                let n_passed = (0..u64::from(request.n_slots)).filter(|n| line.pass(n_free - n)).count();
                lapses.extend((n_passed > 0).then(|| (used.key.clone(), n_passed as u64)));
            }
            if let Some(rate) = used.limit.settings.rate
                && let Some(arrival) = rate.take_several(used.arrival, now, request.n_slots)
            {
                arrivals.push((used.key.clone(), arrival));
            }
        }
        // Of a limit without slots as well: by it the lease is known while it lasts, and a repeat takes no other token.
        let slot = |limit: &LimitKey| Slot {
            limit: limit.clone(),
            owner,
            acquired_at: held.get(limit).map_or(now, |slot| slot.acquired_at),
            expires_at: Some(expires_at),
            for_run: request.for_run,
            n_slots: request.n_slots,
        };
        tx.take_slots(&keys.iter().map(slot).collect::<Vec<_>>()).await?;
        if !arrivals.is_empty() {
            tx.put_arrivals(&arrivals).await?;
        }
        if !lapses.is_empty() {
            tx.use_lapses(&lapses, now - LAPSES_COUNT_FOR, now).await?;
        }
        if let Some(wait) = wait {
            tx.end_lease_wait(&wait.limit.namespace, owner).await?;
            // Those behind it may have a token as well.
            freed.insert(wait.limit, wait.n_slots.into());
        }
        tx.commit().await?;
        self.send(Outbound { freed, ..Outbound::default() });
        Ok(Ok(Leased::Held { expires_at }))
    }

    /// Extends the lease of an owner, which must not have ended. Gives until when.
    pub async fn renew_lease(
        &self,
        namespace: &Namespace,
        owner: RunId,
        duration: Duration,
    ) -> Result<Timestamp, EngineError> {
        let now = self.inner.clock.now();
        let expires_at = now + duration;
        let renewed = self.inner.store.renew_leases(namespace, owner, now, expires_at);
        if renewed.await? { Ok(expires_at) } else { Err(EngineError::LeaseLost { owner }) }
    }

    /// Gives up what an owner has by a lease, or waits for. Of no effect where it has nothing.
    pub async fn release_lease(&self, namespace: &Namespace, owner: RunId) -> Result<(), EngineError> {
        let freed = with_retries(|| self.try_release(namespace, owner)).await?;
        self.send(Outbound { freed, ..Outbound::default() });
        Ok(())
    }

    async fn try_release(&self, namespace: &Namespace, owner: RunId) -> Result<Freed, StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let (slots, wait) = tx.lock_owner(owner).await?;
        let is_its_own = |slot: &Slot| slot.expires_at.is_some() && slot.limit.namespace == *namespace;
        let mut freed = Freed::new();
        if !slots.is_empty() && slots.iter().all(is_its_own) {
            tx.free_slots(&[owner]).await?;
            freed.extend(slots.into_iter().map(|slot| (slot.limit, u64::from(slot.n_slots))));
        }
        let n_awaited = wait.map_or(1, |wait| u64::from(wait.n_slots));
        freed.extend(tx.end_lease_wait(namespace, owner).await?.map(|limit| (limit, n_awaited)));
        tx.commit().await?;
        Ok(freed)
    }

    /// Wakes those in this process whose turn it is to take a lease, until `stop`. Without it they look now and then.
    pub async fn run_leases(self, stop: CancellationToken) {
        let mut commits = self.inner.store.commits();
        loop {
            let owners: Vec<RunId> = self.inner.leases.by_owner().keys().copied().collect();
            let next = async {
                if owners.is_empty() {
                    tidegate_pulse::wait();
                    return self.inner.leases.begun.notified().await;
                }
                commits.mark_unchanged();
                tidegate_pulse::beat();
                match self.inner.store.handed_leases(&owners).await {
                    Ok(handed) => {
                        let by_owner = self.inner.leases.by_owner();
                        let turns = handed.iter().filter_map(|owner| by_owner.get(owner));
                        turns.for_each(|waiting| waiting.turn.notify_one());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "whose turn it is cannot be read; each looks for itself")
                    }
                }
                tidegate_pulse::rest(TURN_INTERVALS.0 + TURN_INTERVALS.1);
                sleep(TURN_INTERVALS.0).await;
                let _ = timeout(TURN_INTERVALS.1, commits.changed()).await;
            };
            if stop.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }
}

/// Whether the limits are there that must be, and can ever have what is asked of them.
fn check_limits(request: &LeaseRequest, found: &[LimitUse]) -> Result<(), EngineError> {
    let is_there = |limit: &&LimitKey| found.iter().any(|used| used.key == **limit);
    if request.must_exist
        && let Some(missing) = request.limits.iter().find(|limit| !is_there(limit))
    {
        return Err(EngineError::LimitNotFound { name: missing.name.clone() });
    }
    let n = request.n_slots;
    let fault = found.iter().find_map(|used| {
        let (name, settings) = (&used.key.name, &used.limit.settings);
        // One that has none at all is closed for a while, and waited for.
        let too_few = settings.max_slots.filter(|max_slots| (1..n).contains(max_slots));
        let too_slow = settings.rate.map(|rate| rate.burst.get()).filter(|burst| *burst < n);
        match (too_few, too_slow) {
            (Some(max_slots), _) => Some(format!(
                "{n} is more than the {max_slots} that the concurrency limit `{name}` has: ask for fewer, or raise it"
            )),
            (None, Some(burst)) => Some(format!(
                "{n} is more than the {burst} starts that the rate of the concurrency limit `{name}` ever allows at once: ask \
                 for fewer, or raise its burst"
            )),
            (None, None) => None,
        }
    });
    match fault {
        Some(description) => Err(EngineError::InvalidFields {
            violations: vec![FieldViolation { field: "slot_count".to_owned(), description }],
        }),
        None => Ok(()),
    }
}

fn next_token_at(used: &LimitUse, n_tokens: u32, now: Timestamp) -> Option<Timestamp> {
    let rate = used.limit.settings.rate?;
    Some(rate.several_free_at(used.arrival, n_tokens)).filter(|free_at| *free_at > now)
}
