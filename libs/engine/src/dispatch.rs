use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tidegate_model::{
    Clock, Epoch, FairnessKey, FunctionName, Namespace, QueueName, RunId, RunKind, Timestamp, WorkPoolName,
    Worker, WorkerId,
};
use tidegate_orchestration::{Effect, Placement, Run, Step};
use tidegate_store::{LimitKey, RunStore, StoreError};
use tokio::sync::{Notify, mpsc};

use crate::{
    limits::{Again, HandedOut, LimitTurns, hand_out},
    metrics::DISPATCH_DROPPED,
    slots::Freed,
};

/// How far ahead a run may be due to be handed to delivery at once. Later ones wait in the store, so that
/// delivery holds only what is near.
const HORIZON: Duration = Duration::from_secs(60);

/// The way to delivery. All of it is a hint: the store is the authority.
#[async_trait]
pub trait Dispatch: Send + Sync + 'static {
    /// Hands over SCHEDULED queued runs. At most 1,000.
    async fn enqueue(&self, runs: &[Run]) -> Result<(), DispatchError>;
    /// Forgets deliveries and stops the workers that hold the runs. At most 1,000.
    async fn stop(&self, orders: &[StopOrder]) -> Result<(), DispatchError>;
    /// Which runs have a lease, in the order of the questions. At most 1,000.
    async fn check_leases(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, DispatchError>;
    /// Where a queued run stands in delivery, and who could take it.
    async fn describe(&self, run: &Run) -> Result<DeliveryFacts, DispatchError>;
    /// How much waits in a queue, and who serves it.
    async fn describe_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
    ) -> Result<QueueTraffic, DispatchError>;
    /// How much waits in up to `limit` queues of a namespace that are in use and come after `after`, by name. At most 1,000.
    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<(QueueName, QueueDepth)>, DispatchError>;
    /// Tells all that take runs from a queue that it is not paused any more.
    async fn queue_resumed(&self, namespace: &Namespace, queue: &QueueName) -> Result<(), DispatchError>;
    /// Tells all that take runs of a work pool that it is not paused any more.
    async fn work_pool_resumed(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<(), DispatchError>;
    /// How many live workers a work pool has.
    async fn count_pool_workers(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<u32, DispatchError>;
    /// Up to `limit` workers of a namespace whose ids come after `after`, by id: live ones, and those that have ended a short
    /// time ago; of one pool, where it is named. At most 250.
    async fn list_workers(
        &self,
        namespace: &Namespace,
        work_pool: Option<&WorkPoolName>,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<Vec<Worker>, DispatchError>;
    /// Has a worker take no more and end. False: no live worker has this id.
    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, DispatchError>;
    /// Since when the delivery state has existed without being lost as a whole.
    async fn born_at(&self) -> Result<Timestamp, DispatchError>;
}

/// What delivery knows of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFacts {
    /// Where it stands.
    pub standing: Standing,
    /// Workers that take runs of its function from its queue and have the labels that it requires.
    pub n_workers: u32,
    /// Their free slots for runs of its kind.
    pub n_free_slots: u32,
    /// Workers that take runs of its function from its queue, whatever their labels.
    pub n_serving: u32,
}

/// How many runs of a queue delivery has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// They wait for a worker.
    pub n_ready: u64,
    /// They wait for their time.
    pub n_delayed: u64,
    /// A worker is about to get them.
    pub n_claimed: u64,
}

/// What delivery knows of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTraffic {
    /// How much waits.
    pub depth: QueueDepth,
    /// Workers that serve it.
    pub n_workers: u32,
    /// Their free slots for tasks.
    pub n_free_task_slots: u32,
    /// Their free slots for flows.
    pub n_free_flow_slots: u32,
}

/// Where a run stands in delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a worker.
    Ready {
        /// How many of its function in its queue come before it.
        n_ahead: u64,
    },
    /// It waits for its time.
    Delayed,
    /// A worker is about to get it.
    Claimed,
    /// A worker has it.
    Leased {
        /// How long the lease lasts unless the worker is heard.
        expires_in: Duration,
        /// What keeps the run from beginning, as the worker says; empty: nothing is known.
        hindrance: String,
    },
    /// Nothing is known of it.
    Unknown,
}

/// Delivery does not answer.
#[derive(Debug, thiserror::Error)]
#[error("task-queue does not answer: {cause}")]
pub struct DispatchError {
    /// What it said.
    pub cause: String,
}

/// A run that is no longer to be executed.
#[derive(Clone, Debug, PartialEq)]
pub struct StopOrder {
    /// The tenant.
    pub namespace: Namespace,
    /// The queue it came through.
    pub queue: QueueName,
    /// Flow or task.
    pub kind: RunKind,
    /// The flow's or task's name.
    pub name: FunctionName,
    /// The work pool that it is for.
    pub work_pool: Option<WorkPoolName>,
    /// With whom it takes turns.
    pub fairness_key: Option<FairnessKey>,
    /// The labels that a worker must have.
    pub required_labels: BTreeMap<String, String>,
    /// The run.
    pub run_id: RunId,
    /// The epoch under which it is held or enqueued.
    pub epoch: Epoch,
    /// How long the code has to end; `None`: the run is no longer the holder's at all.
    pub grace: Option<Duration>,
    /// Why, for people.
    pub message: String,
}

/// Asks whether a held run has a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseQuestion {
    /// The tenant.
    pub namespace: Namespace,
    /// The queue it came through.
    pub queue: QueueName,
    /// The run.
    pub run_id: RunId,
    /// The epoch under which it is held.
    pub epoch: Epoch,
}

/// Batches that may wait for the dispatcher, each of up to a batch of runs.
const N_WAITING: usize = 64;
/// Runs, orders and limits that may wait beyond that. At a few hundred bytes each they are no burden.
const MAX_OVERFLOW: usize = 100_000;

/// Where committed batches leave what is to be done. Never waits: delivery that cannot keep up does not hold back the
/// store.
#[derive(Clone)]
pub(crate) struct Outbox {
    batches: mpsc::Sender<Outbound>,
    overflow: Arc<Overflow>,
}

impl Outbox {
    /// With what [`run_dispatcher`] takes out of it.
    pub fn new() -> (Self, Inbox) {
        let (sender, batches) = mpsc::channel(N_WAITING);
        let overflow = Arc::<Overflow>::default();
        (Self { batches: sender, overflow: Arc::clone(&overflow) }, Inbox { batches, overflow })
    }

    pub fn put(&self, outbound: Outbound) {
        if outbound.enqueue.is_empty() && outbound.stop.is_empty() && outbound.freed.is_empty() {
            return;
        }
        if let Err(refused) = self.batches.try_send(outbound) {
            self.overflow.put(refused.into_inner());
        }
    }
}

/// The dispatcher's end of an [`Outbox`].
pub(crate) struct Inbox {
    batches: mpsc::Receiver<Outbound>,
    overflow: Arc<Overflow>,
}

/// Values of a template that are looked for at a time.
const N_VALUES: usize = 25;
/// How long the dispatcher trusts a time without a look at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// What found no room: little of each run, so that the scheduler's sweep hands it over at once.
#[derive(Default)]
struct Overflow {
    left: Mutex<Left>,
    added: Notify,
}

#[derive(Default)]
struct Left {
    marks: Vec<(RunId, Epoch)>,
    stop: Vec<StopOrder>,
    freed: Freed,
}

impl Overflow {
    fn put(&self, outbound: Outbound) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.marks.len() + left.stop.len() + left.freed.len() > MAX_OVERFLOW {
            // Found by their age; heartbeats tell the workers.
            ::metrics::counter!(DISPATCH_DROPPED).increment(1);
            return;
        }
        left.marks.extend(outbound.enqueue.iter().map(|run| (run.id, run.epoch)));
        left.stop.extend(outbound.stop);
        add_freed(&mut left.freed, outbound.freed);
        drop(left);
        self.added.notify_one();
    }

    fn take(&self) -> Left {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add_freed(freed: &mut Freed, more: Freed) {
    for (limit, n_freed) in more {
        let n_slots = freed.entry(limit).or_default();
        *n_slots = n_slots.saturating_add(n_freed);
    }
}

/// What a committed batch leaves to be done.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub enqueue: Vec<Run>,
    pub stop: Vec<StopOrder>,
    pub cascade: bool,
    /// Somebody is to be asked to give way to others.
    pub collision: bool,
    /// Slots that may have come free for runs that wait for one.
    pub freed: Freed,
}

impl Outbound {
    /// Notes the effects of a step, and gives the time of handing over that belongs into the row.
    pub fn add(&mut self, step: &Step, now: Timestamp) -> Option<Timestamp> {
        let mut enqueued_at = None;
        for effect in &step.effects {
            match effect {
                Effect::Enqueue if step.run.due_at <= now + HORIZON => {
                    enqueued_at = Some(now);
                    self.enqueue.push(step.run.clone());
                }
                Effect::Enqueue => {}
                Effect::Stop { epoch, lost } => self.stop.extend(stop_order(&step.run, *epoch, *lost)),
                Effect::Cascade => self.cascade = true,
            }
        }
        enqueued_at
    }
}

/// Local runs have none: the session's stream follows the feed.
fn stop_order(run: &Run, epoch: Epoch, lost: bool) -> Option<StopOrder> {
    let Placement::Queue(queue) = &run.placement else { return None };
    Some(StopOrder {
        namespace: run.namespace.clone(),
        queue: queue.clone(),
        kind: run.kind,
        name: run.name.clone(),
        work_pool: run.work_pool.clone(),
        fairness_key: run.fairness_key.clone(),
        required_labels: run.required_labels.clone(),
        run_id: run.id,
        epoch,
        grace: (!lost).then_some(run.policies.cancel_grace),
        message: run.state.message.clone(),
    })
}

/// How far ahead the scheduler hands over runs that are not due yet: half of what creates do, so that none is missed.
pub(crate) fn sweep_horizon(now: Timestamp) -> Timestamp {
    now + HORIZON / 2
}

/// Carries out what committed batches leave to be done. A hand-over that fails is left to the sweep.
pub(crate) async fn run_dispatcher(
    mut inbox: Inbox,
    dispatch: Arc<dyn Dispatch>,
    store: Arc<dyn RunStore>,
    clock: Arc<dyn Clock>,
) {
    let mut waiting = Vec::new();
    // Slots that a turn before has left: those who wait for one are not to keep all others waiting.
    let mut freed = Freed::new();
    let mut later = Later::default();
    let (mut turns, mut templates) = (LimitTurns::default(), Templates::default());
    loop {
        tidegate_pulse::wait();
        tokio::select! {
            biased;
            n_batches = inbox.batches.recv_many(&mut waiting, N_WAITING) => {
                if n_batches == 0 {
                    return;
                }
            }
            () = inbox.overflow.added.notified() => {}
            () = std::future::ready(()), if !freed.is_empty() || !templates.is_empty() => {}
            () = later.next(&*clock) => {}
        }
        tidegate_pulse::beat();
        let Left { marks, mut stop, freed: more } = inbox.overflow.take();
        add_freed(&mut freed, more);
        let mut enqueue = Vec::new();
        for one in waiting.drain(..) {
            enqueue.extend(one.enqueue);
            stop.extend(one.stop);
            add_freed(&mut freed, one.freed);
        }
        let now = clock.now();
        templates.take_from(&mut freed);
        later.put_off(&mut freed, now);
        // What still executes is stopped first: the deliveries that are only to be forgotten harm nobody meanwhile.
        stop.sort_by_key(|order| order.grace.is_none());
        // Side by side: a cancel does not wait for a long batch of deliveries.
        let handed_out = async {
            templates.read(&*store, &mut freed).await?;
            hand_out(&*dispatch, &*store, turns.take_from(&mut freed), None, now).await
        };
        let (_, (), (), handed_out) = tokio::join!(
            hand_over(&*dispatch, &*store, &enqueue),
            leave_to_sweep(&*store, &marks),
            stop_all(&*dispatch, &stop),
            handed_out
        );
        match handed_out {
            Ok(HandedOut { rest, later: more, .. }) => {
                add_freed(&mut freed, rest);
                later.add(more);
            }
            Err(error) => {
                tracing::warn!(%error, "free slots were not handed out; the scheduler's sweep will do it");
            }
        }
    }
}

/// Templates that were changed, and after which of their values it is still to be looked who waits for one.
#[derive(Default)]
struct Templates {
    after: BTreeMap<LimitKey, LimitKey>,
}

impl Templates {
    fn is_empty(&self) -> bool {
        self.after.is_empty()
    }

    fn take_from(&mut self, freed: &mut Freed) {
        for (template, _) in freed.extract_if(.., |limit, _| limit.is_template()) {
            let (first, _) = template.names();
            let after = LimitKey { namespace: template.namespace.clone(), name: first };
            self.after.insert(template, after);
        }
    }

    /// Adds the next values of a template that somebody waits for to `freed`: a few, as all others wait meanwhile.
    async fn read(&mut self, store: &dyn RunStore, freed: &mut Freed) -> Result<(), StoreError> {
        let Some((template, mut after)) = self.after.pop_first() else { return Ok(()) };
        let (_, end) = template.names();
        for _ in 0..N_VALUES {
            let awaited = store.next_awaited(Some(&after)).await?;
            let is_bound = |key: &LimitKey| key.namespace == template.namespace && key.name < end;
            let Some(awaited) = awaited.filter(is_bound) else { return Ok(()) };
            freed.insert(awaited.clone(), u64::MAX);
            after = awaited;
        }
        self.after.insert(template, after);
        Ok(())
    }
}

/// Limits that those who wait for are to be looked at again, and when: as a token comes, or as the time is over for which
/// something was kept for one that did not come.
#[derive(Default)]
struct Later {
    by_limit: BTreeMap<LimitKey, Again>,
}

impl Later {
    fn add(&mut self, more: BTreeMap<LimitKey, Again>) {
        for (limit, again) in more {
            // Beyond that they are left to the sweep.
            if self.by_limit.len() < MAX_OVERFLOW {
                self.by_limit.insert(limit, again);
            }
        }
    }

    /// Waits for the first of the times.
    async fn next(&self, clock: &dyn Clock) {
        let Some(first) = self.by_limit.values().map(|again| again.at).min() else {
            return std::future::pending().await;
        };
        // The clock may be set meanwhile.
        tokio::time::sleep(first.since(clock.now()).min(MAX_SLEEP)).await;
    }

    /// Takes those out of `freed` where a look is of no use yet, and puts those in whose time has come. A limit that was
    /// changed is looked at in any case.
    fn put_off(&mut self, freed: &mut Freed, now: Timestamp) {
        freed.retain(|limit, n_freed| {
            let Some(again) = self.by_limit.get_mut(limit) else { return true };
            let is_quiet = *n_freed != u64::MAX && again.quiet_until > now;
            if is_quiet {
                again.at = again.at.min(again.quiet_until);
            }
            !is_quiet
        });
        // The look tells anew when the next one is to be.
        self.by_limit.retain(|limit, again| {
            if again.at <= now {
                let n_freed = freed.entry(limit.clone()).or_insert(1);
                if again.is_lapse {
                    *n_freed = u64::MAX;
                }
            }
            !freed.contains_key(limit)
        });
    }
}

/// Enqueues runs in batches; where that fails, marks them for the sweep. Gives how many were handed over.
pub(crate) async fn hand_over(dispatch: &dyn Dispatch, store: &dyn RunStore, runs: &[Run]) -> usize {
    let mut n_handed_over = 0;
    for batch in runs.chunks(tidegate_model::limits::MAX_BATCH_SIZE) {
        tidegate_pulse::beat();
        let Err(error) = dispatch.enqueue(batch).await else {
            n_handed_over += batch.len();
            continue;
        };
        tracing::warn!(n_runs = batch.len(), %error, "runs were not handed over; the scheduler's sweep will do it");
        let marks: Vec<_> = batch.iter().map(|run| (run.id, run.epoch)).collect();
        leave_to_sweep(store, &marks).await;
    }
    n_handed_over
}

/// Marks runs for the scheduler's sweep as not handed over.
async fn leave_to_sweep(store: &dyn RunStore, runs: &[(RunId, Epoch)]) {
    for batch in runs.chunks(tidegate_model::limits::MAX_BATCH_SIZE) {
        tidegate_pulse::beat();
        if let Err(error) = store.mark_enqueued(batch, None).await {
            tracing::warn!(n_runs = batch.len(), %error, "runs to be handed over were not marked; the sweep finds them by age");
        }
    }
}

async fn stop_all(dispatch: &dyn Dispatch, orders: &[StopOrder]) {
    for batch in orders.chunks(tidegate_model::limits::MAX_BATCH_SIZE) {
        tidegate_pulse::beat();
        if let Err(error) = dispatch.stop(batch).await {
            tracing::warn!(n_runs = batch.len(), %error, "workers were not told to stop; heartbeats will tell them");
        }
    }
}
