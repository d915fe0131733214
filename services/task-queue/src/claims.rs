use std::{collections::HashMap, sync::Arc, time::Duration};

use tidegate_delivery::{Entry, EntryId, Function, Held, Lease, Pausable, PoolId};
use tidegate_model::{Epoch, RunKind, Timestamp};
use tidegate_proto::{
    internal::{Claim, ClaimOutcome, claim_outcome::Outcome},
    v1::Assign,
};
use tidegate_service_kit::{CancellationToken, pulse, trace};
use tidegate_wire::{duration_from_proto, timestamp_from_proto, timestamp_to_proto};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tonic::Status;
use tracing::{Instrument, info_span};

use crate::{
    backoff::Backoff,
    engine::is_permanent,
    metrics as names,
    paused::Resumes,
    pool::{Chain, put_back},
    shared::Shared,
    stream::WorkerStream,
};

/// When an entry that api cannot read is tried again.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);
/// An entry that is not due yet is not looked at again before this, however the clocks differ.
const LEAST_DELAY: Duration = Duration::from_millis(5);

/// An entry that was taken for a worker, whose credit it has used.
pub(crate) struct PendingClaim {
    pub(crate) entry: Entry,
    pub(crate) stream: Arc<WorkerStream>,
}

impl PendingClaim {
    /// The work pool of the run.
    fn pool(&self) -> Option<Pausable> {
        let EntryId { queue, function: Function::Pool(work_pool), .. } = &self.entry.id else { return None };
        Some(Pausable::Pool(PoolId { namespace: queue.namespace.clone(), work_pool: work_pool.clone() }))
    }

    /// What it came through that can be paused.
    fn channels(&self) -> impl Iterator<Item = Pausable> + use<> {
        [Pausable::Queue(self.entry.id.queue.clone())].into_iter().chain(self.pool())
    }

    fn kind(&self) -> RunKind {
        self.entry.id.function.kind()
    }
}

/// Gathers claims while earlier batches are under way, without added wait when there are none. Ends after a
/// stop, when all batches have ended.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut claims: mpsc::Receiver<PendingClaim>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lanes = Arc::new(Semaphore::new(shared.config.assign.lanes.get() as usize));
    let max_batch = shared.config.assign.batch_size.get() as usize;
    let mut batches = JoinSet::new();
    loop {
        // As long as a batch may be under way.
        pulse::rest(*shared.config.engine_timeout + *shared.config.assign.patience);
        let lane = Arc::clone(&lanes).acquire_owned().await?;
        let mut batch = Vec::new();
        pulse::wait();
        tokio::select! {
            biased;
            n_claims = claims.recv_many(&mut batch, max_batch) => if n_claims == 0 { break },
            () = stop.cancelled() => break,
        }
        let shared = Arc::clone(&shared);
        let span = info_span!(parent: None, "claim", batch.size = batch.len());
        batches.spawn(
            async move {
                let _lane = lane;
                process(&shared, batch).await;
            }
            .instrument(span),
        );
        while let Some(ended) = batches.try_join_next() {
            ended?;
        }
    }
    claims.close();
    let mut untried = Vec::new();
    while let Some(claim) = claims.recv().await {
        untried.push(claim.entry);
    }
    put_back(&shared, &untried).await;
    while let Some(ended) = batches.join_next().await {
        ended?;
    }
    Ok(())
}

/// What became of a batch.
#[derive(Default)]
struct Sorted {
    granted: Vec<(PendingClaim, Assign)>,
    refused: Vec<PendingClaim>,
    /// For a slot of a concurrency limit: api enqueues them again.
    waiting: Vec<PendingClaim>,
    /// For their queue to be resumed: they keep their place.
    paused: Vec<PendingClaim>,
    /// With the time at which they are to be looked at again.
    later: Vec<PendingClaim>,
    unanswered: Vec<PendingClaim>,
}

async fn process(shared: &Shared, batch: Vec<PendingClaim>) {
    let (orphans, batch): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|claim| claim.stream.outbox.ended().is_cancelled());
    let orphans: Vec<_> = orphans.into_iter().map(|claim| claim.entry).collect();
    put_back(shared, &orphans).await;
    metrics::histogram!(names::CLAIM_BATCH_SIZE).record(batch.len() as f64);
    let Sorted { granted, refused, waiting, paused, later, unanswered } = judge(shared, batch).await;
    let to_forget = granted.iter().map(|(claim, _)| claim).chain(&refused).chain(&waiting);
    let to_forget: Vec<_> = to_forget.map(|claim| claim.entry.id.clone()).collect();

    // The lease comes first: a run is never at a worker without one.
    grant_leases(shared, &granted).await;
    send(shared, granted).await;

    if let Err(error) = shared.delivery.forget(&to_forget).await {
        // Their claims expire, and then the store refuses them.
        tracing::warn!("entries of claimed runs could not be forgotten: {}", Chain(&error));
    }
    let entries = later.iter().chain(&paused).chain(&unanswered).map(|claim| claim.entry.clone());
    put_back(shared, &entries.collect::<Vec<_>>()).await;
    metrics::counter!(names::CLAIMS_REFUSED).increment(refused.len() as u64);
    metrics::counter!(names::CLAIMS_WAITING).increment(waiting.len() as u64);
    metrics::counter!(names::CLAIMS_PAUSED).increment(paused.len() as u64);
    metrics::counter!(names::CLAIMS_PUT_BACK).increment(unanswered.len() as u64);
    let unused = refused.iter().chain(&waiting).chain(&paused).chain(&later).chain(&unanswered);
    let mut queues = Vec::new();
    for claim in unused {
        claim.stream.return_credit(claim.kind());
        queues.push(&claim.entry.id.queue);
    }
    queues.sort();
    queues.dedup();
    queues.into_iter().for_each(|queue| shared.pools.wake_queue(queue));
}

/// Asks api, again and again within the patience where it does not answer: a claim may have taken effect, and
/// the same claim of the same worker is granted again.
async fn judge(shared: &Shared, mut batch: Vec<PendingClaim>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut backoff = Backoff::new();
    let give_up_at = Instant::now() + *shared.config.assign.patience;
    loop {
        if batch.is_empty() {
            return sorted;
        }
        let claims: Vec<_> = batch.iter().map(to_proto).collect();
        let asked_at = shared.paused.resumes();
        let outcomes = shared.engine.claim(&claims).await;
        let mut failure = None;
        for (claim, outcome) in std::mem::take(&mut batch).into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => sort(shared, claim, outcome, asked_at, &mut sorted),
                Err(status) if is_permanent(&status) => {
                    let run_id = claim.entry.id.run_id;
                    tracing::error!(run.id = %run_id, "api cannot read the claim of run {run_id}: {status}");
                    sorted.later.push(due_in(claim, shared.clock.now(), UNREADABLE_PAUSE));
                }
                Err(status) => {
                    failure = Some(status);
                    batch.push(claim);
                }
            }
        }
        let Some(status) = failure else { return sorted };
        let pause = backoff.next();
        if Instant::now() + pause >= give_up_at || shared.stop.is_cancelled() {
            give_up(shared, &batch, &status);
            sorted.unanswered = batch;
            return sorted;
        }
        tokio::time::sleep(pause).await;
    }
}

fn give_up(shared: &Shared, batch: &[PendingClaim], status: &Status) {
    let pause = Duration::from_secs(1).mul_f64(rand::random_range(0.5..1.0));
    let n_claims = batch.len();
    tracing::warn!(
        "api does not answer claims: {n_claims} are put back, next attempt in {pause:?}: {status}"
    );
    shared.engine_gate.close_for(pause);
}

fn to_proto(claim: &PendingClaim) -> Claim {
    Claim {
        namespace: claim.stream.namespace.to_string(),
        run_id: claim.entry.id.run_id.to_string(),
        epoch: claim.entry.id.epoch.0,
        worker_id: claim.stream.worker_id.to_string(),
    }
}

fn sort(shared: &Shared, claim: PendingClaim, outcome: ClaimOutcome, asked_at: Resumes, sorted: &mut Sorted) {
    // What api gives or has wait is of a queue and a pool that are not paused, but for a repeated claim of a run that its worker has
    // already: then the next claim is told of the pause again. An answer about a run that is over says nothing of its queue.
    let is_open = matches!(outcome.outcome, Some(Outcome::Assign(_) | Outcome::Waiting(_)));
    for what in is_open.then(|| claim.channels()).into_iter().flatten() {
        if shared.paused.is_paused(&what) && shared.paused.forget(&what) {
            shared.pools.wake_resumed(&what);
        }
    }
    match outcome.outcome {
        Some(Outcome::Assign(assign)) => sorted.granted.push((claim, assign)),
        Some(Outcome::QueuePaused(_)) => {
            note_paused(shared, &Pausable::Queue(claim.entry.id.queue.clone()), asked_at);
            sorted.paused.push(claim);
        }
        Some(Outcome::WorkPoolPaused(_)) => {
            claim.pool().iter().for_each(|pool| note_paused(shared, pool, asked_at));
            sorted.paused.push(claim);
        }
        Some(Outcome::NotDue(not_due)) => {
            let now = shared.clock.now();
            // Api has said how long that is by its own clock: between ours and its there may be minutes.
            let delay = not_due.delay.as_ref().and_then(duration_from_proto).unwrap_or_else(|| {
                let due_at = not_due.due_at.as_ref().and_then(timestamp_from_proto);
                due_at.map_or(Duration::ZERO, |due_at| due_at.since(now))
            });
            // By our clock, as that is what entries are taken by.
            sorted.later.push(due_in(claim, now, delay.max(LEAST_DELAY)));
        }
        Some(Outcome::Refused(refused)) => {
            let run_id = claim.entry.id.run_id;
            tracing::debug!(run.id = %run_id, "the delivery of run {run_id} is void: {}", refused.reason);
            sorted.refused.push(claim);
        }
        Some(Outcome::Waiting(_)) => sorted.waiting.push(claim),
        None => {
            tracing::error!("api sent an outcome of a claim that this version does not know");
            sorted.later.push(due_in(claim, shared.clock.now(), UNREADABLE_PAUSE));
        }
    }
}

fn note_paused(shared: &Shared, what: &Pausable, asked_at: Resumes) {
    if shared.paused.note(what, asked_at) {
        tracing::info!("{what} is paused");
    }
}

fn due_in(mut claim: PendingClaim, now: Timestamp, delay: Duration) -> PendingClaim {
    claim.entry.due_at = now + delay;
    claim
}

async fn grant_leases(shared: &Shared, granted: &[(PendingClaim, Assign)]) {
    let lease = |(claim, assign): &(PendingClaim, Assign)| Lease {
        held: held(claim, assign),
        namespace: claim.stream.namespace.clone(),
        worker_id: claim.stream.worker_id.clone(),
    };
    let leases: Vec<_> = granted.iter().map(lease).collect();
    if let Err(error) = shared.delivery.lease(&leases, *shared.config.lease.duration).await {
        // The next heartbeat finds no lease, asks the store and grants it.
        tracing::warn!("leases could not be written, heartbeats will: {}", Chain(&error));
    }
}

fn held(claim: &PendingClaim, assign: &Assign) -> Held {
    Held { run_id: claim.entry.id.run_id, epoch: Epoch(assign.epoch) }
}

/// Sends runs to their workers. What belongs to a stream that has ended meanwhile is released at once.
async fn send(shared: &Shared, granted: Vec<(PendingClaim, Assign)>) {
    let now = shared.clock.now();
    let lease_expires_at = timestamp_to_proto(now + *shared.config.lease.duration);
    let mut by_stream: HashMap<usize, (Arc<WorkerStream>, Vec<Assign>)> = HashMap::new();
    for (claim, mut assign) in granted {
        assign.lease_expires_at = Some(lease_expires_at);
        continue_trace(&claim, &mut assign);
        shared.workers.note_assigned(&claim.stream, held(&claim, &assign), assign.cancel_grace);
        metrics::counter!(names::ASSIGNED, "kind" => claim.kind().as_str()).increment(1);
        metrics::histogram!(names::DUE_TO_ASSIGNED).record(now.since(claim.entry.due_at).as_secs_f64());
        let of_stream = by_stream.entry(Arc::as_ptr(&claim.stream).addr());
        of_stream.or_insert_with(|| (Arc::clone(&claim.stream), Vec::new())).1.push(assign);
    }
    for (stream, assigns) in by_stream.into_values() {
        if let Err(unsent) = stream.outbox.put_assigns(assigns) {
            release(shared, &stream, unsent).await;
        }
    }
}

/// Gives runs back that their worker never got, so that they start elsewhere at once.
pub(crate) async fn release(shared: &Shared, stream: &WorkerStream, unsent: Vec<Assign>) {
    for assign in unsent {
        let Ok(run_id) = assign.run_id.parse() else { continue }; // api's own id
        let held = Held { run_id, epoch: Epoch(assign.epoch) };
        shared.reports.release(&stream.namespace, held).await;
    }
}

/// Puts a span between the call that created the run and the attempt, so that a trace shows the delivery.
fn continue_trace(claim: &PendingClaim, assign: &mut Assign) {
    let span = info_span!(
        parent: None,
        "deliver",
        otel.kind = "producer",
        run.id = assign.run_id,
        run.attempt = assign.attempt,
        queue.name = %claim.entry.id.queue.queue,
        namespace = %claim.entry.id.queue.namespace,
    );
    trace::set_parent(&span, &assign.traceparent);
    if let Some(traceparent) = span.in_scope(trace::current_traceparent) {
        assign.traceparent = traceparent;
    }
}
