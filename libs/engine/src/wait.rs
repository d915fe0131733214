use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_model::{Namespace, RunId, RunKind};
use tidegate_orchestration::Run;
use tidegate_store::EventRow;
use tokio::{
    sync::{Notify, broadcast, futures::OwnedNotified, mpsc},
    time::{Instant, timeout_at},
};

use crate::{Engine, EngineError};

/// How long a wait trusts the wake-ups before it looks for itself.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The wake-ups of a run's waiters, by wait.
type Waiters = HashMap<RunId, Vec<(u64, mpsc::Sender<RunId>)>>;

/// Who waits for what in this process.
pub(crate) struct Waits {
    by_run: Mutex<Waiters>,
    /// Those who wait for any change of a run, by run: how many, and their wake-up.
    changes: Mutex<HashMap<RunId, (usize, Arc<Notify>)>>,
    next_id: std::sync::atomic::AtomicU64,
    /// Events of runs that someone is to be told of at once: cancels, for sessions.
    stops: broadcast::Sender<Arc<EventRow>>,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            by_run: Mutex::default(),
            changes: Mutex::default(),
            next_id: std::sync::atomic::AtomicU64::default(),
            stops: broadcast::channel(4_096).0,
        }
    }
}

impl Waits {
    /// Wakes those who wait for the end of these runs, or for any change of them.
    pub fn wake(&self, events: impl Iterator<Item = EventRow>) {
        for event in events {
            if let Some((_, changed)) = self.changes().get(&event.run_id) {
                changed.notify_waiters();
            }
            if event.ended {
                let by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
                for (_, waiter) in by_run.get(&event.run_id).into_iter().flatten() {
                    // Full: the waiter has as many wake-ups as it has runs, and looks at all of them.
                    let _ = waiter.try_send(event.run_id);
                }
            }
            let is_stop = matches!(
                event.state_type,
                tidegate_orchestration::StateType::Cancelling | tidegate_orchestration::StateType::Cancelled
            );
            if is_stop && matches!(event.holder, Some(tidegate_orchestration::Holder::Session(_))) {
                let _ = self.stops.send(Arc::new(event));
            }
        }
    }

    fn changes(&self) -> MutexGuard<'_, HashMap<RunId, (usize, Arc<Notify>)>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// CANCELLING and CANCELLED events of local runs, as they are committed anywhere. Some may be missed.
    pub fn session_stops(&self) -> broadcast::Receiver<Arc<EventRow>> {
        self.inner.waits.stops.subscribe()
    }

    /// Begins to wait for the end of runs. An id that is no run of the namespace, or of another kind than `kind`, is an
    /// error at once.
    pub async fn wait(
        &self,
        namespace: &Namespace,
        ids: &[RunId],
        kind: Option<RunKind>,
    ) -> Result<WaitSet, EngineError> {
        let mut wait = WaitSet::register(self, namespace, ids);
        // Registered before looking, so that no end falls between.
        for run in self.get_all(namespace, &wait.ids_pending()).await? {
            run_is_of(&run, kind)?;
            wait.note(&run);
        }
        Ok(wait)
    }
}

/// Refuses a run of another kind than was asked for.
pub(crate) fn run_is_of(run: &Run, kind: Option<RunKind>) -> Result<(), EngineError> {
    match kind {
        Some(wanted) if wanted != run.kind => {
            Err(EngineError::WrongKind { run_id: run.id, wanted, actual: run.kind })
        }
        _ => Ok(()),
    }
}

/// Wakes for any change of one run.
pub(crate) struct Changed {
    engine: Engine,
    run_id: RunId,
    notify: Arc<Notify>,
    /// Registered since before the last look.
    next: Pin<Box<OwnedNotified>>,
}

impl Changed {
    /// From now on no change is missed.
    pub fn of(engine: &Engine, run_id: RunId) -> Self {
        let notify = {
            let mut changes = engine.inner.waits.changes();
            let (n_waiting, notify) = changes.entry(run_id).or_default();
            *n_waiting += 1;
            Arc::clone(notify)
        };
        let next = registered(&notify);
        Self { engine: engine.clone(), run_id, notify, next }
    }

    /// Waits for a change since the last call, or until `deadline`, or until it is time to look anyway.
    pub async fn next(&mut self, deadline: Option<Instant>) {
        let poll_at = Instant::now() + POLL_INTERVAL;
        let wake_at = deadline.map_or(poll_at, |deadline| deadline.min(poll_at));
        let _ = timeout_at(wake_at, self.next.as_mut()).await;
        self.next = registered(&self.notify);
    }
}

fn registered(notify: &Arc<Notify>) -> Pin<Box<OwnedNotified>> {
    let mut next = Box::pin(Arc::clone(notify).notified_owned());
    next.as_mut().enable();
    next
}

impl Drop for Changed {
    fn drop(&mut self) {
        let mut changes = self.engine.inner.waits.changes();
        if let Entry::Occupied(mut entry) = changes.entry(self.run_id) {
            entry.get_mut().0 -= 1;
            if entry.get().0 == 0 {
                entry.remove();
            }
        }
    }
}

/// Runs whose end is awaited.
pub struct WaitSet {
    engine: Engine,
    namespace: Namespace,
    wait_id: u64,
    /// All that it is registered for.
    registered: Vec<RunId>,
    pending: HashSet<RunId>,
    ended: Vec<RunId>,
    /// One of the pending that was deleted: it never ends.
    gone: Option<RunId>,
    wakeups: mpsc::Receiver<RunId>,
    next_poll: Instant,
}

impl WaitSet {
    fn register(engine: &Engine, namespace: &Namespace, ids: &[RunId]) -> Self {
        let waits = &engine.inner.waits;
        let wait_id = waits.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pending: HashSet<RunId> = ids.iter().copied().collect();
        let (sender, wakeups) = mpsc::channel(pending.len().max(1));
        let mut by_run = waits.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &pending {
            by_run.entry(*id).or_default().push((wait_id, sender.clone()));
        }
        drop(by_run);
        Self {
            engine: engine.clone(),
            namespace: namespace.clone(),
            wait_id,
            registered: pending.iter().copied().collect(),
            pending,
            ended: Vec::new(),
            gone: None,
            wakeups,
            next_poll: Instant::now() + POLL_INTERVAL,
        }
    }

    fn ids_pending(&self) -> Vec<RunId> {
        self.pending.iter().copied().collect()
    }

    fn note(&mut self, run: &Run) {
        if run.state.state_type().is_terminal() && self.pending.remove(&run.id) {
            self.ended.push(run.id);
        }
    }

    /// How many have not ended.
    pub fn n_pending(&self) -> usize {
        self.pending.len()
    }

    /// Those that have ended since the last call, each once in the life of the set. Waits for one until `deadline`
    /// (`None`: for ever); empty: the deadline passed, or none is left to wait for.
    ///
    /// # Errors
    /// `NotFound`: one of them was deleted, and all that ended before was given.
    ///
    /// Cancellation safe.
    pub async fn next(&mut self, deadline: Option<Instant>) -> Result<Vec<RunId>, EngineError> {
        loop {
            if !self.ended.is_empty() {
                return Ok(std::mem::take(&mut self.ended));
            }
            if let Some(run_id) = self.gone {
                return Err(EngineError::NotFound { run_id });
            }
            if self.pending.is_empty() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Vec::new());
            }
            let wake_at = deadline.map_or(self.next_poll, |deadline| deadline.min(self.next_poll));
            match timeout_at(wake_at, self.wakeups.recv()).await {
                Ok(Some(id)) => {
                    self.end(id);
                    while let Ok(id) = self.wakeups.try_recv() {
                        self.end(id);
                    }
                }
                Ok(None) | Err(_) => self.poll().await?,
            }
        }
    }

    fn end(&mut self, id: RunId) {
        if self.pending.remove(&id) {
            self.ended.push(id);
        }
    }

    async fn poll(&mut self) -> Result<(), EngineError> {
        if self.next_poll > Instant::now() {
            return Ok(());
        }
        let store = self.engine.store();
        let mut missing = self.pending.clone();
        for run in store.get_runs(Some(&self.namespace), &self.ids_pending()).await? {
            missing.remove(&run.id);
            self.note(&run);
        }
        self.gone = missing.into_iter().next();
        self.next_poll = Instant::now() + POLL_INTERVAL;
        Ok(())
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        let waits = &self.engine.inner.waits;
        let mut by_run = waits.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.registered {
            forget(&mut by_run, *id, self.wait_id);
        }
    }
}

fn forget(by_run: &mut Waiters, id: RunId, wait_id: u64) {
    if let Some(waiters) = by_run.get_mut(&id) {
        waiters.retain(|(waiter_id, _)| *waiter_id != wait_id);
        if waiters.is_empty() {
            by_run.remove(&id);
        }
    }
}
