use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message;
use tidegate_delivery::Held;
use tidegate_model::{Epoch, Namespace, Reason, RunId, limits};
use tidegate_proto::{
    internal::HolderReport,
    v1::{Report, ReportOutcome, StateType, report::Event},
};
use tidegate_service_kit::{CancellationToken, pulse};
use tidegate_wire::{duration_from_proto, duration_to_proto};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinSet},
    time::Instant,
};
use tonic::Status;
use tracing::{Instrument, info_span};

use crate::{
    Config, backoff::Backoff, engine::is_permanent, metrics as names, pool::Chain, shared::Shared,
    stream::WorkerStream,
};

/// Bytes of reports in one batch; a single larger one still goes.
const MAX_BATCH_BYTES: usize = limits::MAX_MESSAGE_SIZE / 2;
/// Large reports that api is asked to take at a time.
const MAX_APART: usize = 8;

/// Takes reports in and passes them on to api. A run's reports take the same lane, so that they stay in
/// order.
pub(crate) struct Reports {
    lanes: Vec<mpsc::Sender<Pending>>,
    waiting_bytes: AtomicUsize,
    max_waiting_bytes: usize,
    /// What of them is of large reports: these have half of the room, so that others find some while object storage is
    /// silent.
    large_bytes: AtomicUsize,
    /// Of large reports.
    slots: Semaphore,
}

/// A report that waits for api.
pub(crate) struct Pending {
    report: HolderReport,
    received_at: Instant,
    held: Held,
    size: usize,
    /// Api puts its value into object storage before it answers, which may take long.
    is_large: bool,
    /// Who is to have the outcome; nobody where the service itself reports.
    from: Option<Arc<WorkerStream>>,
}

impl Reports {
    /// The lanes, and their ends for [`run`].
    pub(crate) fn new(config: &Config) -> (Self, Vec<mpsc::Receiver<Pending>>) {
        let capacity = config.report.lane_capacity.get() as usize;
        let lanes = (0..config.report.lanes.get()).map(|_| mpsc::channel(capacity));
        let (lanes, ends) = lanes.unzip();
        let max_waiting_bytes = config.report.max_waiting.as_len();
        let reports = Self {
            lanes,
            waiting_bytes: AtomicUsize::new(0),
            max_waiting_bytes,
            large_bytes: AtomicUsize::new(0),
            slots: Semaphore::new(MAX_APART),
        };
        (reports, ends)
    }

    /// Takes in a worker's report, or answers it at once where that cannot be. Never waits.
    pub(crate) fn admit(&self, stream: &Arc<WorkerStream>, report: Report) {
        let Ok(run_id) = report.run_id.parse::<RunId>() else {
            return refuse(stream, &report, Reason::InvalidField, "run_id is not a UUIDv7");
        };
        if report.event.is_none() {
            return refuse(
                stream,
                &report,
                Reason::InvalidField,
                "event is not set, or unknown to this version",
            );
        }
        let is_start = matches!(report.event, Some(Event::Started(_)));
        let held = Held { run_id, epoch: Epoch(report.epoch) };
        let size = report.encoded_len();
        let is_large = is_large(&report);
        let is_small_enough = self.waiting_bytes.load(Ordering::Relaxed) + size <= self.max_waiting_bytes
            && (!is_large || self.has_room_for_large(size));
        let room = self.lane(run_id).try_reserve().ok().filter(|_| is_small_enough);
        let is_admitted = stream.admit_report(run_id, is_start, room.is_some());
        let Some(room) = room.filter(|_| is_admitted) else {
            metrics::counter!(names::REPORTS_SHED).increment(1);
            return refuse(stream, &report, Reason::Overloaded, "too many reports wait; repeat this one");
        };
        self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        if is_large {
            self.large_bytes.fetch_add(size, Ordering::Relaxed);
        }
        let report = HolderReport { namespace: stream.namespace.to_string(), report: Some(report) };
        let (received_at, from) = (Instant::now(), Some(Arc::clone(stream)));
        room.send(Pending { report, received_at, held, size, is_large, from });
    }

    /// One of any size finds room.
    fn has_room_for_large(&self, size: usize) -> bool {
        let large_bytes = self.large_bytes.load(Ordering::Relaxed);
        large_bytes == 0 || large_bytes + size <= self.max_waiting_bytes / 2
    }

    fn note_answered(&self, pending: &Pending) {
        self.waiting_bytes.fetch_sub(pending.size, Ordering::Relaxed);
        if pending.is_large {
            self.large_bytes.fetch_sub(pending.size, Ordering::Relaxed);
        }
    }

    /// Reports for the service itself that a run was not started: one that was, is not touched. Waits for room.
    pub(crate) async fn release(&self, namespace: &Namespace, held: Held) {
        // A lane that has ended is one of a process that ends: then the lease expires.
        if let Ok(room) = self.lane(held.run_id).reserve().await {
            self.send_release(room, namespace, held);
        }
    }

    /// The same, where there is room; otherwise the lease expires.
    pub(crate) fn try_release(&self, namespace: &Namespace, held: Held) {
        if let Ok(room) = self.lane(held.run_id).try_reserve() {
            self.send_release(room, namespace, held);
        }
    }

    fn send_release(&self, room: mpsc::Permit<'_, Pending>, namespace: &Namespace, held: Held) {
        let event = Some(Event::Released(tidegate_proto::v1::report::Released {}));
        let report = Report { run_id: held.run_id.to_string(), epoch: held.epoch.0, event, age: None };
        let size = report.encoded_len();
        self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let report = HolderReport { namespace: namespace.to_string(), report: Some(report) };
        room.send(Pending { report, received_at: Instant::now(), held, size, is_large: false, from: None });
    }

    fn lane(&self, run_id: RunId) -> &mpsc::Sender<Pending> {
        // The last byte of a UUIDv7 is random; its first ones are a time.
        let lane = usize::from(run_id.as_uuid().as_bytes()[15]) % self.lanes.len();
        &self.lanes[lane]
    }
}

impl Pending {
    /// As it is to be sent now: older by how long it has waited here. What is no age is left for api to refuse.
    fn aged(&self) -> HolderReport {
        let mut aged = self.report.clone();
        if let Some(report) = &mut aged.report
            && let Some(age) = report.age.as_ref().map_or(Some(Duration::ZERO), duration_from_proto)
        {
            report.age = Some(duration_to_proto(age + self.received_at.elapsed()));
        }
        aged
    }
}

fn is_large(report: &Report) -> bool {
    let value = match &report.event {
        Some(Event::Completed(completed)) => completed.result.as_ref(),
        Some(Event::Paused(paused)) => paused.request.as_ref(),
        _ => None,
    };
    value.is_some_and(|value| value.data.len() > limits::MAX_INLINE_PAYLOAD_SIZE)
}

fn refuse(stream: &WorkerStream, report: &Report, reason: Reason, message: &str) {
    stream.outbox.put_outcomes([refusal(report, reason, message)]);
}

fn refusal(report: &Report, reason: Reason, message: &str) -> ReportOutcome {
    ReportOutcome {
        run_id: report.run_id.clone(),
        epoch: report.epoch,
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        ..ReportOutcome::default()
    }
}

/// Passes the reports of one lane on, in batches, and large ones beside them. Ends when `last_in` says that nothing more comes and all is
/// answered; or when api then does not answer.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut lane: mpsc::Receiver<Pending>,
    last_in: CancellationToken,
) -> anyhow::Result<()> {
    let mut waiting: Vec<Pending> = Vec::new();
    let mut apart = Apart::default();
    let mut backoff = Backoff::new();
    loop {
        while let Some(ended) = apart.under_way.try_join_next() {
            // Before what has come since.
            waiting.splice(0..0, apart.followers(ended)?);
        }
        if waiting.is_empty() {
            pulse::wait();
            tokio::select! {
                biased;
                n_reports = lane.recv_many(&mut waiting, limits::MAX_BATCH_SIZE) => {
                    if n_reports == 0 { return Ok(()) }
                }
                Some(ended) = apart.under_way.join_next() => waiting = apart.followers(ended)?,
                () = last_in.cancelled(), if apart.under_way.is_empty() => return Ok(()),
            }
        } else {
            while waiting.len() < limits::MAX_BATCH_SIZE
                && let Ok(report) = lane.try_recv()
            {
                waiting.push(report);
            }
        }
        pulse::beat();
        apart.send_large(&mut waiting, &shared, &last_in);
        let batch = next_batch(&mut waiting);
        if batch.is_empty() {
            continue;
        }
        let span = info_span!(parent: None, "report", batch.size = batch.len());
        let unanswered = send(&shared, batch).instrument(span).await;
        if unanswered.is_empty() {
            backoff.reset();
            continue;
        }
        if last_in.is_cancelled() {
            let n_reports = unanswered.len() + waiting.len() + lane.len() + apart.under_way.len();
            tracing::warn!("api does not answer: workers will repeat {n_reports} reports elsewhere");
            return Ok(());
        }
        waiting.splice(0..0, unanswered);
        // Cut short by a stop, so that the last attempt is made at once.
        let _ = last_in.run_until_cancelled(tokio::time::sleep(backoff.next())).await;
    }
}

/// The large reports that are sent one by one: whoever waits for object storage must not have the reports of others wait.
#[derive(Default)]
struct Apart {
    under_way: JoinSet<Ended>,
    /// By the runs of those, what came of them since: it is sent after them.
    followers: HashMap<RunId, Vec<Pending>>,
}

/// A large report that is answered, or given up at the stop.
struct Ended {
    run_id: RunId,
    is_answered: bool,
}

impl Apart {
    /// Sends those before which nothing of their run waits, and has what follows them wait here.
    fn send_large(&mut self, waiting: &mut Vec<Pending>, shared: &Arc<Shared>, last_in: &CancellationToken) {
        if self.followers.is_empty() && !waiting.iter().any(|pending| pending.is_large) {
            return;
        }
        let mut before = HashSet::new();
        for pending in std::mem::take(waiting) {
            let run_id = pending.held.run_id;
            if let Some(followers) = self.followers.get_mut(&run_id) {
                followers.push(pending);
            } else if pending.is_large && !before.contains(&run_id) {
                self.followers.insert(run_id, Vec::new());
                self.under_way.spawn(send_apart(Arc::clone(shared), pending, last_in.clone()));
            } else {
                before.insert(run_id);
                waiting.push(pending);
            }
        }
    }

    /// What waited for it.
    fn followers(&mut self, ended: Result<Ended, JoinError>) -> anyhow::Result<Vec<Pending>> {
        let Ended { run_id, is_answered } = ended?;
        let followers = self.followers.remove(&run_id).unwrap_or_default();
        // Where it was not answered, they are not either: workers repeat both elsewhere.
        Ok(if is_answered { followers } else { Vec::new() })
    }
}

/// Sends a large report until it is answered. At the stop it is sent once more.
async fn send_apart(shared: Arc<Shared>, pending: Pending, last_in: CancellationToken) -> Ended {
    let run_id = pending.held.run_id;
    let mut batch = vec![pending];
    let mut backoff = Backoff::new();
    loop {
        // It has no slot while it pauses, so that one that is refused again and again is in nobody's way.
        let slot = last_in.run_until_cancelled(shared.reports.slots.acquire()).await;
        let is_last = last_in.is_cancelled();
        let span = info_span!(parent: None, "report", batch.size = batch.len());
        batch = send(&shared, batch).instrument(span).await;
        drop(slot);
        if batch.is_empty() || is_last {
            return Ended { run_id, is_answered: batch.is_empty() };
        }
        let _ = last_in.run_until_cancelled(tokio::time::sleep(backoff.next())).await;
    }
}

/// The next reports to send together. A large one is left, with what follows of its run, until all before it is answered.
fn next_batch(waiting: &mut Vec<Pending>) -> Vec<Pending> {
    let (mut batch, mut size) = (Vec::new(), 0);
    let (mut left, mut runs_left) = (Vec::new(), HashSet::new());
    let mut is_full = false;
    for pending in waiting.drain(..) {
        let run_id = pending.held.run_id;
        if pending.is_large || runs_left.contains(&run_id) {
            runs_left.insert(run_id);
            left.push(pending);
            continue;
        }
        size += pending.size;
        is_full |= batch.len() == limits::MAX_BATCH_SIZE || !batch.is_empty() && size > MAX_BATCH_BYTES;
        if is_full {
            left.push(pending);
        } else {
            batch.push(pending);
        }
    }
    *waiting = left;
    batch
}

/// Gives back, in order, what is to be sent again.
async fn send(shared: &Shared, batch: Vec<Pending>) -> Vec<Pending> {
    metrics::histogram!(names::REPORT_BATCH_SIZE).record(batch.len() as f64);
    let reports: Vec<_> = batch.iter().map(Pending::aged).collect();
    let outcomes = shared.engine.report(&reports).await;
    let mut again = Vec::new();
    let mut over = Vec::new();
    // What follows a report that is sent again is sent again, too: it was judged without it.
    let mut out_of_order = HashSet::new();
    let mut failure = None;
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        let outcome = judged(&pending, outcome);
        match outcome {
            Ok(outcome) if outcome.accepted || !out_of_order.contains(&pending.held) => {
                if is_over(&outcome) {
                    over.push(pending.held);
                }
                answer(shared, &pending, outcome);
            }
            Ok(_) => again.push(pending),
            Err(status) => {
                failure = Some(status);
                out_of_order.insert(pending.held);
                again.push(pending);
            }
        }
    }
    if let Some(status) = failure {
        tracing::warn!("api does not take {} reports, they are kept and sent again: {status}", again.len());
    }
    end_leases(shared, &over).await;
    again
}

/// The outcome for the worker; an error where the report is to be sent again.
fn judged(pending: &Pending, outcome: Result<ReportOutcome, Status>) -> Result<ReportOutcome, Status> {
    match outcome {
        Ok(outcome) => {
            let reason = outcome.reason.as_str();
            let may_pass = [Reason::DependencyUnavailable, Reason::Overloaded, Reason::Draining];
            let may_pass = may_pass.map(Reason::as_str);
            if may_pass.contains(&reason) { Err(Status::unavailable(outcome.message)) } else { Ok(outcome) }
        }
        Err(status) if is_permanent(&status) => {
            let report = pending.report.report.clone().unwrap_or_default();
            Ok(refusal(&report, Reason::InvalidField, status.message()))
        }
        Err(status) => Err(status),
    }
}

/// True when the run is not held under the report's epoch any more.
pub(crate) fn is_over(outcome: &ReportOutcome) -> bool {
    // One that is paused without a holder was taken away, so its epoch is another.
    let is_held = |state: StateType| {
        matches!(state, StateType::Pending | StateType::Running | StateType::Paused | StateType::Cancelling)
    };
    match &outcome.state {
        Some(state) => outcome.current_epoch != outcome.epoch || !is_held(state.r#type()),
        None => {
            outcome.reason == Reason::RunNotFound.as_str() || outcome.reason == Reason::StaleEpoch.as_str()
        }
    }
}

fn answer(shared: &Shared, pending: &Pending, outcome: ReportOutcome) {
    shared.reports.note_answered(pending);
    metrics::counter!(names::REPORTED, "accepted" => if outcome.accepted { "true" } else { "false" })
        .increment(1);
    if let Some(stream) = &pending.from {
        stream.outbox.put_outcomes([outcome]);
        stream.note_answered(1);
    }
}

/// Ends the leases of runs that are not held any more.
pub(crate) async fn end_leases(shared: &Shared, over: &[Held]) {
    if over.is_empty() {
        return;
    }
    shared.workers.note_over(over);
    if let Err(error) = shared.delivery.release(over).await {
        // They expire; then the store says that the runs are not held, and they are released again.
        tracing::warn!("leases of ended runs could not be released: {}", Chain(&error));
    }
}
