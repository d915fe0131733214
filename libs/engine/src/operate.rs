use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use tidegate_model::{Epoch, Namespace, Payload, RunId, Timestamp};
use tidegate_orchestration::{Event, Failure, Holder, Moment, Run, StateName, StateType, Step, apply};
use tidegate_store::{CacheEntry, EventRow, InputKind, RunInput, RunStore, RunTx, StoreError};

use crate::{
    EngineError,
    ask::{Ask, Requests, resume_event},
    cached::{Served, offer},
    commit::commit,
    dispatch::Outbound,
    engine::{Lane, Options},
    event,
    lane::{LaneQueue, Request, write_batch},
    metrics::{BATCH_SECONDS, BATCH_SIZE},
    objects::Objects,
    queues::Queues,
    slots::{Slots, is_waiting},
    work_pools::WorkPools,
};

/// What is to be done to a run.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A worker with a free slot takes it.
    Claim {
        /// The tenant.
        namespace: Namespace,
        /// The run.
        run_id: RunId,
        /// The epoch of the delivery.
        epoch: Epoch,
        /// The worker.
        holder: Holder,
    },
    /// Its holder reports.
    Report {
        /// The tenant.
        namespace: Namespace,
        /// The run.
        run_id: RunId,
        /// The epoch under which it is held.
        epoch: Epoch,
        /// What happened.
        event: Event,
        /// When, by the engine's clock, as far as its holder says; `None`: as it is applied.
        happened_at: Option<Timestamp>,
        /// What the code returned; for a pause, what it asks for.
        result: Option<Payload>,
    },
    /// Someone asks that it wait.
    Pause {
        /// Which run, and who asks.
        ask: Ask,
        /// How long it may wait; `None`: for ever.
        timeout: Option<Duration>,
        /// Why; may be empty.
        reason: String,
    },
    /// Someone asks that it wait no longer.
    Resume {
        /// Which run, and who asks.
        ask: Ask,
        /// Which pause of the code is meant; `None`: the one that it is in.
        key: Option<String>,
        /// What the code is given.
        input: Option<Payload>,
    },
    /// Someone asks that it be tried again after its end.
    Retry {
        /// Which run, and who asks.
        ask: Ask,
        /// Why; may be empty.
        reason: String,
    },
    /// Someone asks for its end. To be followed by [`crate::Engine::cascade_from`].
    Cancel {
        /// The tenant.
        namespace: Namespace,
        /// The run.
        run_id: RunId,
        /// Why; may be empty.
        reason: String,
        /// Who asks, where that is known.
        actor: Option<String>,
    },
}

impl Operation {
    /// The run.
    pub const fn run_id(&self) -> RunId {
        match self {
            Self::Claim { run_id, .. } | Self::Report { run_id, .. } | Self::Cancel { run_id, .. } => *run_id,
            Self::Pause { ask, .. } | Self::Resume { ask, .. } | Self::Retry { ask, .. } => ask.run_id,
        }
    }

    /// What it stores.
    fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Report { result: payload, .. } | Self::Resume { input: payload, .. } => payload.as_ref(),
            Self::Claim { .. } | Self::Cancel { .. } | Self::Pause { .. } | Self::Retry { .. } => None,
        }
    }

    /// When it is judged, and when that happened which it tells.
    const fn moment(&self, now: Timestamp) -> Moment {
        let happened_at = match self {
            Self::Report { happened_at: Some(happened_at), .. } => *happened_at,
            _ => now,
        };
        Moment { now, happened_at }
    }

    pub(crate) const fn namespace(&self) -> &Namespace {
        match self {
            Self::Claim { namespace, .. }
            | Self::Report { namespace, .. }
            | Self::Cancel { namespace, .. } => namespace,
            Self::Pause { ask, .. } | Self::Resume { ask, .. } | Self::Retry { ask, .. } => &ask.namespace,
        }
    }
}

/// What became of an operation.
#[derive(Clone, Debug)]
pub struct Operated {
    /// The run afterwards.
    pub run: Run,
    /// False for a repeat of what was done before.
    pub changed: bool,
    /// For a claim: what the run is called with.
    pub parameters: Option<Payload>,
    /// For a claim of a run of a work pool: what its worker is to start, the encoded message `tidegate.v1.Job`.
    pub job: Option<Bytes>,
}

impl Operated {
    /// For a claim: true where the run is its worker's. Else it waits for a slot, or ended instead: it had expired, or took
    /// the result of another.
    pub fn is_granted(&self) -> bool {
        self.run.state.state_type() == StateType::Pending
    }

    /// For a claim: true where a concurrency limit has no free slot. The run is handed over again when one comes free.
    pub fn is_waiting(&self) -> bool {
        is_waiting(&self.run)
    }
}

type Outcome = Result<Operated, EngineError>;

impl Request for Operation {
    fn lane_key(&self) -> RunId {
        self.run_id()
    }

    fn size(&self) -> usize {
        match self {
            Self::Report { result, event, .. } => {
                let failure = if let Event::Failed(failure) = event { failure.traceback.len() } else { 0 };
                result.as_ref().map_or(0, |result| result.data.len()) + failure
            }
            Self::Resume { input, .. } => input.as_ref().map_or(0, |input| input.data.len()),
            Self::Claim { .. } | Self::Cancel { .. } | Self::Pause { .. } | Self::Retry { .. } => 0,
        }
    }
}

pub(crate) async fn run_operate_lane(mut queue: LaneQueue<Operation, Operated>, lane: Lane) {
    while let Some(batch) = queue.next_batch().await {
        let started = tokio::time::Instant::now();
        ::metrics::histogram!(BATCH_SIZE, "lane" => "operations").record(batch.len() as f64);
        write_batch(batch, |operations| {
            let lane = &lane;
            async move {
                let (outcomes, outbound) =
                    write(&*lane.store, &operations, lane.clock.now(), &lane.options).await?;
                lane.send(outbound);
                Ok(outcomes)
            }
        })
        .await;
        ::metrics::histogram!(BATCH_SECONDS, "lane" => "operations").record(started.elapsed());
    }
}

async fn write(
    store: &dyn RunStore,
    operations: &[Operation],
    now: Timestamp,
    options: &Options,
) -> Result<(Vec<Outcome>, Outbound), StoreError> {
    let ids: BTreeSet<RunId> = operations.iter().map(Operation::run_id).collect();
    let claims = operations.iter().filter(|operation| matches!(operation, Operation::Claim { .. }));
    let claimed_in: BTreeSet<Namespace> = claims.map(|operation| operation.namespace().clone()).collect();
    let begun = if claimed_in.is_empty() { store.begin() } else { store.begin_claims(&claimed_in) };
    let mut tx = begun.await?;
    let locked = tx.lock_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
    let payloads = operations.iter().filter_map(|one| Some((one.namespace(), one.payload()?)));
    let objects = Objects::of(&mut *tx, payloads, now).await?;
    let mut requests = Requests::of(&mut *tx, operations, now).await?;
    let claimed = operations.iter().filter(|operation| matches!(operation, Operation::Claim { .. }));
    let claimed: BTreeSet<RunId> = claimed.map(Operation::run_id).collect();
    let cached = locked.iter().filter(|run| claimed.contains(&run.id));
    let cached = cached.filter_map(|run| Some((&run.namespace, run.cache.as_ref()?)));
    let served = Served::find(&mut *tx, cached, now).await?;
    let mut changes = Changes { served, ..Changes::new(locked) };
    changes.look_at_queues(&mut *tx, &claimed).await?;
    changes.lock_limits(&mut *tx, operations, now).await?;
    let mut outcomes = Vec::with_capacity(operations.len());
    for operation in operations {
        let outcome = if requests.is_repeat(operation) {
            changes.found(operation).map(|run| unchanged(run.clone()))
        } else {
            changes.operate(operation, &objects, now)
        };
        if outcome.as_ref().is_ok_and(|operated| operated.changed) {
            requests.note(operation);
        }
        outcomes.push(outcome);
    }
    requests.keep(&mut *tx, now, options).await?;

    let is_claim = |operation: &Operation| matches!(operation, Operation::Claim { .. });
    let granted = |(operation, outcome): (&Operation, &Outcome)| {
        let is_granted = outcome.as_ref().is_ok_and(Operated::is_granted);
        (is_claim(operation) && is_granted).then(|| operation.run_id())
    };
    let claimed: Vec<RunId> = operations.iter().zip(&outcomes).filter_map(granted).collect();
    if !claimed.is_empty() {
        let parameters: HashMap<_, _> = tx.get_parameters(&claimed).await?.into_iter().collect();
        let pooled =
            claimed.iter().filter(|id| changes.runs.get(id).is_some_and(|run| run.work_pool.is_some()));
        let pooled: Vec<RunId> = pooled.copied().collect();
        let jobs = if pooled.is_empty() { Vec::new() } else { tx.get_jobs(&pooled).await? };
        let jobs: HashMap<_, _> = jobs.into_iter().collect();
        for (operation, outcome) in operations.iter().zip(&mut outcomes) {
            if let (true, Ok(operated)) = (is_claim(operation), outcome) {
                operated.parameters = parameters.get(&operated.run.id).cloned();
                operated.job = jobs.get(&operated.run.id).cloned();
            }
        }
    }
    Ok((outcomes, changes.commit(store, tx, now).await?))
}

/// Locked runs and what a transaction does to them.
pub(crate) struct Changes {
    runs: HashMap<RunId, Run>,
    /// In the order of their first change.
    changed: Vec<RunId>,
    is_changed: HashSet<RunId>,
    enqueued_at: HashMap<RunId, Timestamp>,
    events: Vec<EventRow>,
    results: Vec<(RunId, Payload)>,
    failures: Vec<(RunId, u32, Failure)>,
    inputs: Vec<RunInput>,
    /// Whose results serve for the runs that are claimed.
    served: Served,
    /// Whose result becomes that of whom.
    copies: Vec<(RunId, RunId)>,
    offers: Vec<CacheEntry>,
    /// The queues of the runs that are to be claimed.
    queues: Queues,
    /// Their work pools.
    work_pools: WorkPools,
    slots: Slots,
    outbound: Outbound,
}

fn unchanged(run: Run) -> Operated {
    Operated { run, changed: false, parameters: None, job: None }
}

impl Changes {
    pub fn new(locked: Vec<Run>) -> Self {
        Self {
            changed: Vec::with_capacity(locked.len()),
            is_changed: HashSet::with_capacity(locked.len()),
            events: Vec::with_capacity(locked.len()),
            runs: locked.into_iter().map(|run| (run.id, run)).collect(),
            enqueued_at: HashMap::new(),
            results: Vec::new(),
            failures: Vec::new(),
            inputs: Vec::new(),
            served: Served::default(),
            copies: Vec::new(),
            offers: Vec::new(),
            queues: Queues::default(),
            work_pools: WorkPools::default(),
            slots: Slots::default(),
            outbound: Outbound::default(),
        }
    }

    /// Reads the queues of the runs that are to be claimed, once for all of them, and notes which need a slot of theirs.
    async fn look_at_queues(
        &mut self,
        tx: &mut dyn RunTx,
        claimed: &BTreeSet<RunId>,
    ) -> Result<(), StoreError> {
        let waiting = |run: &&mut Run| run.state.state_type() == StateType::Scheduled;
        let runs: Vec<_> =
            self.runs.values_mut().filter(|run| claimed.contains(&run.id)).filter(waiting).collect();
        self.queues = Queues::of(tx, runs.iter().map(|run| &**run)).await?;
        self.work_pools = WorkPools::of(tx, runs.iter().map(|run| &**run)).await?;
        for run in runs {
            run.queue_slot = self.queues.is_bounded(run);
        }
        Ok(())
    }

    /// Locks the limits of the runs that are to be claimed.
    async fn lock_limits(
        &mut self,
        tx: &mut dyn RunTx,
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let claimed = operations.iter().filter(|operation| matches!(operation, Operation::Claim { .. }));
        let runs = claimed.filter_map(|claim| self.runs.get(&claim.run_id()));
        self.slots = Slots::lock(tx, runs, now).await?;
        Ok(())
    }

    /// The run as it is by now.
    fn found(&self, operation: &Operation) -> Result<&Run, EngineError> {
        find(&self.runs, operation)
    }

    fn operate(&mut self, operation: &Operation, objects: &Objects, now: Timestamp) -> Outcome {
        let run = find(&self.runs, operation)?;
        let run_id = run.id;
        let (epoch, mut event) = match operation {
            Operation::Claim { epoch, holder, .. } => (Some(*epoch), self.claim_event(run, holder, now)),
            Operation::Report { epoch, event, .. } => (Some(*epoch), event.clone()),
            Operation::Cancel { reason, actor, .. } => {
                (None, Event::CancelRequested { reason: reason.clone(), actor: actor.clone() })
            }
            Operation::Pause { ask, timeout, reason } => {
                let (reason, actor) = (reason.clone(), ask.actor.clone());
                (None, Event::PauseRequested { timeout: *timeout, reason, actor })
            }
            Operation::Resume { ask, key, input } => {
                match resume_event(run, key.as_deref(), input.as_ref(), ask.actor.as_ref())? {
                    Some(event) => (None, event),
                    None => return Ok(unchanged(run.clone())),
                }
            }
            Operation::Retry { ask, reason } => {
                (None, Event::RetryRequested { reason: reason.clone(), actor: ask.actor.clone() })
            }
        };
        let mut step = apply(run, epoch, &event, operation.moment(now), rand::random())?;
        if is_start(operation, &step)
            && let Some(name) = self.queues.paused(run)
        {
            return Err(EngineError::QueuePaused { name });
        }
        if is_start(operation, &step)
            && let Some(name) = self.work_pools.paused(run)
        {
            return Err(EngineError::WorkPoolPaused { name });
        }
        if is_new_claim(operation, &step)
            && let Err(refusal) = self.slots.grant(run, now)
        {
            event = refusal.event();
            step = apply(run, epoch, &event, now, rand::random())?;
            if let Some(limit) = refusal.into_awaited() {
                self.slots.refuse(run, limit);
            }
            if step.transitions.is_empty() {
                // That it waits is no news, but its epoch has grown.
                let run = step.run.clone();
                self.enqueued_at.insert(run_id, now);
                self.note(step.run);
                return Ok(unchanged(run));
            }
        }
        if step.transitions.is_empty() {
            return Ok(unchanged(step.run));
        }
        // Only now: a report that comes too late is refused for that.
        objects.check(&run.namespace, operation.payload())?;
        match operation {
            Operation::Report { result: Some(result), .. }
                if step.run.state.state_type() == StateType::Completed =>
            {
                self.results.push((run_id, result.clone()));
            }
            Operation::Report { result: Some(request), event: Event::Paused { key, .. }, .. } => {
                self.put_input(run_id, key, InputKind::Request, request);
            }
            Operation::Resume { input: Some(input), .. } => {
                if let Some(key) = run.pause_key.clone() {
                    self.put_input(run_id, &key, InputKind::Input, input);
                }
            }
            _ => {}
        }
        let is_cascade_known = self.outbound.cascade;
        let run = step.run.clone();
        // Its place is taken by the run as it is after the step.
        if let Some(before) = self.runs.remove(&run_id) {
            self.take(&before, &event, event.actor(), step, now);
        }
        if matches!(operation, Operation::Cancel { .. }) {
            // Who cancels cascades itself, to tell how many there were.
            self.outbound.cascade = is_cascade_known;
        }
        Ok(Operated { run, changed: true, parameters: None, job: None })
    }

    /// A run whose turn has come takes the result of another where one serves.
    fn claim_event(&self, run: &Run, holder: &Holder, now: Timestamp) -> Event {
        let may_start = run.due_at <= now && !run.is_expired(now);
        let is_waiting = run.state.state_type() == StateType::Scheduled;
        match self.served.get(&run.namespace, run.cache.as_ref()) {
            Some(from) if is_waiting && may_start => Event::CacheHit { from },
            _ => Event::Claimed { holder: holder.clone() },
        }
    }

    fn put_input(&mut self, run_id: RunId, key: &str, kind: InputKind, data: &Payload) {
        self.inputs.push(RunInput { run_id, key: key.to_owned(), kind, data: data.clone() });
    }

    /// Notes a step of a locked run. `actor` is who asked for it.
    pub fn take(&mut self, before: &Run, event: &Event, actor: Option<&str>, step: Step, now: Timestamp) {
        let id = before.id;
        self.slots.note(before);
        match event {
            Event::Failed(failure) => self.failures.push((id, before.attempt, failure.clone())),
            Event::CacheHit { from } => self.copies.push((*from, id)),
            _ => self.failures.extend(named_failure(before, &step)),
        }
        self.offers.extend(offer(&step.run, event));
        self.events.extend(event::rows(&step, before.holder(), actor));
        match self.outbound.add(&step, now) {
            Some(enqueued_at) => self.enqueued_at.insert(id, enqueued_at),
            // Not to be handed over by the sweep of what never was, but when a slot comes free.
            None if matches!(event, Event::SlotRefused { .. }) => self.enqueued_at.insert(id, now),
            None => self.enqueued_at.remove(&id),
        };
        self.note(step.run);
    }

    /// Notes a change that is no transition.
    pub fn note(&mut self, run: Run) {
        if self.is_changed.insert(run.id) {
            self.changed.push(run.id);
        }
        self.runs.insert(run.id, run);
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// Writes the changes and commits them, and gives what they leave to be done.
    pub async fn commit(
        mut self,
        store: &dyn RunStore,
        mut tx: Box<dyn RunTx>,
        now: Timestamp,
    ) -> Result<Outbound, StoreError> {
        // Repeats and refusals only.
        if self.changed.is_empty() {
            return Ok(self.outbound);
        }
        // A run that was claimed or ended later in the same batch is not to be delivered.
        self.outbound.enqueue.retain(|run| {
            let now = self.runs.get(&run.id);
            now.is_some_and(|now| now.epoch == run.epoch && now.state.state_type() == StateType::Scheduled)
        });
        if !self.slots.is_empty() {
            self.outbound.collision = self.slots.has_asked();
            self.outbound.freed = self.slots.write(&mut *tx, &self.runs, now).await?;
        }
        let mut rows = Vec::with_capacity(self.changed.len());
        for id in &self.changed {
            rows.extend(self.runs.remove(id).map(|run| (run, self.enqueued_at.get(id).copied())));
        }
        tx.update_runs(&rows).await?;
        if !self.events.is_empty() {
            tx.append_events(&self.events).await?;
        }
        if !self.results.is_empty() {
            tx.put_results(&self.results).await?;
        }
        if !self.copies.is_empty() {
            tx.copy_results(&self.copies).await?;
        }
        if !self.offers.is_empty() {
            tx.put_cache_keys(&self.offers).await?;
        }
        if !self.failures.is_empty() {
            tx.put_failures(&self.failures).await?;
        }
        if !self.inputs.is_empty() {
            tx.put_inputs(&self.inputs).await?;
        }
        commit(store, tx, &self.events).await?;
        Ok(self.outbound)
    }
}

/// The run that an operation is about, where it is locked and of its namespace.
fn find<'a>(runs: &'a HashMap<RunId, Run>, operation: &Operation) -> Result<&'a Run, EngineError> {
    let run_id = operation.run_id();
    let found = runs.get(&run_id).filter(|run| run.namespace == *operation.namespace());
    found.ok_or(EngineError::NotFound { run_id })
}

/// True for a claim that gives the run to its worker; a repeat of one has done so before.
fn is_new_claim(operation: &Operation, step: &Step) -> bool {
    let is_taken = || step.transitions.iter().any(|state| state.state_type() == StateType::Pending);
    matches!(operation, Operation::Claim { .. }) && is_taken()
}

/// True for a claim that begins or spares an execution; one that finds the run expired does not.
fn is_start(operation: &Operation, step: &Step) -> bool {
    let is_spared = || step.transitions.iter().any(|state| state.name == StateName::Cached);
    is_new_claim(operation, step) || matches!(operation, Operation::Claim { .. }) && is_spared()
}

/// The failure of an attempt that ended for a reason with a name of its own: nothing was raised.
fn named_failure(before: &Run, step: &Step) -> Option<(RunId, u32, Failure)> {
    let is_named =
        |name| matches!(name, StateName::TimedOut | StateName::UpstreamFailed | StateName::PauseExpired);
    let state = step.transitions.iter().find(|state| is_named(state.name))?;
    let failure = Failure {
        error_type: state.name.as_str().to_owned(),
        message: state.message.clone(),
        ..Failure::default()
    };
    Some((before.id, before.attempt, failure))
}
