use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tidegate_delivery::Held;
use tidegate_model::{Epoch, ErrorCode, Reason, RunKind, ServiceError, SessionId, WorkerEnd, limits};
use tidegate_proto::v1::{
    Credits, Drain, Heartbeat, HeldRun, Hindrance, Reconnect, Reports, Welcome, WorkRequest, WorkResponse,
    work_request::Message, work_response, worker_service_server::WorkerService,
};
use tidegate_wire::{Violations, duration_to_proto, invalid, invalid_field, to_status};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, info_span};

use crate::{
    claims, heartbeat,
    hello::{self, Hello},
    outbox::Outbox,
    pool::{Pool, Pools},
    register,
    shared::Shared,
    stream::{Holding, Introduced, MAX_CREDITS, WorkerStream},
};

/// How long a worker may take to introduce itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker that has half-closed waits for the answers to its last reports.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(30);
/// What a worker is told that is to drain.
const ASKED_TO_DRAIN: &str = "someone has asked the server for it (DrainWorker)";
/// Runs that one heartbeat may list: a task and a flow for each credit.
const MAX_HELD: usize = 2 * MAX_CREDITS as usize;
/// Runs of which one heartbeat may say what hinders them, and bytes that are kept of that.
const MAX_HINDRANCES: (usize, usize) = (1_000, 512);

/// The rpc for workers.
pub(crate) struct WorkApi(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl WorkerService for WorkApi {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<WorkResponse, Status>> + Send>>;

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        if self.0.stop.is_cancelled() {
            return Err(draining());
        }
        // The answer begins at once, also for clients that wait for it before they send their Hello. A
        // refusal is the stream's end.
        let outbox = Arc::new(Outbox::default());
        let messages = Arc::clone(&outbox).into_messages();
        let conversation = converse(Arc::clone(&self.0), request.into_inner(), outbox);
        self.0.streams.spawn(conversation.instrument(info_span!(parent: None, "work")));
        Ok(Response::new(Box::pin(messages)))
    }
}

/// The service is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("this replica is shutting down: connect to another one")]
struct Draining;

impl ServiceError for Draining {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }

    fn reason(&self) -> Reason {
        Reason::Draining
    }
}

pub(crate) fn draining() -> Status {
    to_status(&Draining)
}

/// A stream from its first message to its end.
async fn converse(shared: Arc<Shared>, mut requests: Streaming<WorkRequest>, outbox: Arc<Outbox>) {
    let end = match first_message(&mut requests, &outbox).await {
        Ok(hello) => serve(&shared, hello, requests, &outbox).await,
        Err(status) => {
            tracing::info!("a worker was refused: {}", status.message());
            Err(status)
        }
    };
    outbox.end(end);
}

async fn first_message(requests: &mut Streaming<WorkRequest>, outbox: &Outbox) -> Result<Hello, Status> {
    let first = tokio::select! {
        biased;
        () = outbox.ended().cancelled() => return Err(Status::cancelled("the worker went away")),
        first = timeout(HELLO_TIMEOUT, requests.message()) => first,
    };
    let first = first.map_err(|_| {
        Status::deadline_exceeded(format!("no Hello within {HELLO_TIMEOUT:?}: it comes first on a stream"))
    })??;
    match first.and_then(|first| first.message) {
        Some(Message::Hello(hello)) => hello::parse(hello),
        _ => Err(invalid_field("message", "the first message of a stream must be Hello")),
    }
}

async fn serve(
    shared: &Arc<Shared>,
    hello: Hello,
    requests: Streaming<WorkRequest>,
    outbox: &Arc<Outbox>,
) -> Result<(), Status> {
    let Hello { namespace, worker_id, about, serves, executes } = hello;
    let sdk = &about.sdk;
    tracing::info!(worker.id = %worker_id, %namespace, "worker {worker_id} ({sdk}) opened a stream");
    let introduced = serves.is_some().then(|| Introduced {
        stream: SessionId::new().to_string(),
        opened_at: shared.clock.now(),
        about,
    });
    let stream = Arc::new(WorkerStream::new(namespace, worker_id, introduced, Arc::clone(outbox)));
    outbox.put_single(work_response::Message::Welcome(welcome(shared)));
    if let Some(replaced) = shared.workers.enter(&stream) {
        let status = Status::aborted("the worker has opened another stream, which takes over");
        replaced.outbox.end(Err(status));
    }
    shared.workers.note_executes(&stream, &executes);
    // One that was asked to drain takes nothing on any of its streams: that is known before the first credit.
    register::tell_one(shared, &stream, 0, None).await;
    let pool = serves.map(|serves| Pools::join(shared, serves, &stream));
    shared.streams.spawn(heartbeat::run(Arc::clone(shared), Arc::clone(&stream)).in_current_span());

    let mut is_half_closed = false;
    let end = listen(shared, &stream, pool.as_ref(), requests, &mut is_half_closed).await;

    if let Some(pool) = &pool {
        shared.pools.leave(pool, &stream);
    }
    let n_runs = shared.workers.leave(&stream);
    // The end comes first: from then on, nobody sends what would only have to be released.
    outbox.end(end.clone());
    claims::release(shared, &stream, outbox.retire()).await;
    tracing::info!(worker.id = %stream.worker_id, "the stream of worker {} has ended", stream.worker_id);
    if let Some(n_runs) = n_runs {
        let has_ended = match (is_half_closed, stream.draining().is_cancelled()) {
            // At a stop of ours it moves to another replica, unless it has nothing to do there.
            (_, is_draining) if shared.stop.is_cancelled() && (n_runs > 0 || !is_draining) => None,
            (true, true) => Some(WorkerEnd::Drained),
            (true, false) => Some(WorkerEnd::Left),
            (false, _) => Some(WorkerEnd::Lost),
        };
        if has_ended.is_some() {
            register::tell_one(shared, &stream, n_runs, has_ended).await;
        }
    }
    end
}

fn welcome(shared: &Shared) -> Welcome {
    let lease = &shared.config.lease;
    Welcome {
        lease_duration: Some(duration_to_proto(*lease.duration)),
        heartbeat_interval: Some(duration_to_proto(*lease.heartbeat_interval)),
        max_batch_size: u32::try_from(limits::MAX_BATCH_SIZE).unwrap_or(u32::MAX),
    }
}

/// Reads messages as fast as they come; none of them is waited for, so that a heartbeat is never behind a
/// report that waits for api.
async fn listen(
    shared: &Shared,
    stream: &Arc<WorkerStream>,
    pool: Option<&Arc<Pool>>,
    mut requests: Streaming<WorkRequest>,
    is_half_closed: &mut bool,
) -> Result<(), Status> {
    let (mut is_moving, mut is_draining) = (false, false);
    loop {
        let message = tokio::select! {
            biased;
            () = stream.outbox.ended().cancelled() => return Ok(()),
            () = shared.stop.cancelled(), if !is_moving => {
                is_moving = true;
                take_no_more(shared, stream, pool).await;
                let delay = shared.config.drain.spread.mul_f64(rand::random_range(0.0..1.0));
                let reconnect = Reconnect { delay: Some(duration_to_proto(delay)) };
                stream.outbox.put_single(work_response::Message::Reconnect(reconnect));
                continue;
            }
            () = stream.draining().cancelled(), if !is_draining => {
                is_draining = true;
                take_no_more(shared, stream, pool).await;
                if stream.is_asked_to_drain() {
                    let drain = Drain { message: ASKED_TO_DRAIN.to_owned() };
                    stream.outbox.put_single(work_response::Message::Drain(drain));
                }
                continue;
            }
            message = requests.message() => message,
        };
        match message {
            Ok(Some(WorkRequest { message: Some(message) })) => {
                stream.note_heard();
                take_in(shared, stream, pool, message)?;
            }
            Ok(Some(WorkRequest { message: None })) => {
                return Err(invalid_field("message", "is not set, or unknown to this version"));
            }
            Ok(None) => {
                *is_half_closed = true;
                claims::release(shared, stream, stream.outbox.retire()).await;
                let answered = timeout(LAST_ANSWERS_TIMEOUT, stream.all_answered());
                tokio::select! {
                    biased;
                    () = stream.outbox.ended().cancelled() => {}
                    _ = answered => {}
                }
                return Ok(());
            }
            Err(status) => {
                tracing::debug!(worker.id = %stream.worker_id, "the stream broke off: {status}");
                return Ok(());
            }
        }
    }
}

/// The worker keeps what it runs, and gets nothing more from here.
async fn take_no_more(shared: &Shared, stream: &Arc<WorkerStream>, pool: Option<&Arc<Pool>>) {
    if let Some(pool) = pool {
        shared.pools.leave(pool, stream);
    }
    claims::release(shared, stream, stream.outbox.retire()).await;
}

fn take_in(
    shared: &Shared,
    stream: &Arc<WorkerStream>,
    pool: Option<&Arc<Pool>>,
    message: Message,
) -> Result<(), Status> {
    match message {
        Message::Hello(_) => Err(invalid_field("hello", "comes only first on a stream")),
        Message::Credits(credits) => take_in_credits(stream, pool, &credits),
        Message::Reports(reports) => take_in_reports(shared, stream, reports),
        Message::Heartbeat(heartbeat) => {
            if heartbeat.is_draining {
                stream.note_draining();
            }
            stream.put_heartbeat(parse_holding(heartbeat)?);
            Ok(())
        }
    }
}

fn take_in_credits(stream: &WorkerStream, pool: Option<&Arc<Pool>>, credits: &Credits) -> Result<(), Status> {
    let Some(pool) = pool else {
        return Err(invalid_field("credits", "come from a process that executes a run: it takes no others"));
    };
    let mut violations = Violations::below("credits.");
    for (field, kind, further) in
        [("tasks", RunKind::Task, credits.tasks), ("flows", RunKind::Flow, credits.flows)]
    {
        if let Err(sum) = stream.add_credits(kind, further) {
            violations.add(field, format!("makes {sum} free slots; at most {MAX_CREDITS} are allowed"));
        }
    }
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    pool.wake();
    Ok(())
}

fn take_in_reports(shared: &Shared, stream: &Arc<WorkerStream>, reports: Reports) -> Result<(), Status> {
    let n_reports = reports.reports.len();
    if n_reports > limits::MAX_BATCH_SIZE {
        let max = limits::MAX_BATCH_SIZE;
        return Err(invalid_field(
            "reports.reports",
            format!("has {n_reports} entries; at most {max} are allowed"),
        ));
    }
    for report in reports.reports {
        shared.reports.admit(stream, report);
    }
    Ok(())
}

fn parse_holding(Heartbeat { runs, hindrances, .. }: Heartbeat) -> Result<Holding, Status> {
    let mut violations = Violations::below("heartbeat.");
    let (n_hindrances, (max_hindrances, max_bytes)) = (hindrances.len(), MAX_HINDRANCES);
    if n_hindrances > max_hindrances {
        violations
            .add("hindrances", format!("has {n_hindrances} entries; at most {max_hindrances} are allowed"));
        return Err(invalid(violations.into_vec()));
    }
    if runs.len() > MAX_HELD {
        violations.add("runs", format!("has {} entries; at most {MAX_HELD} are allowed", runs.len()));
        return Err(invalid(violations.into_vec()));
    }
    let parse = |(run_idx, run): (usize, &HeldRun)| {
        let run_id = violations.parse(&format!("runs[{run_idx}].run_id"), &run.run_id)?;
        Some(Held { run_id, epoch: Epoch(run.epoch) })
    };
    let runs: Vec<_> = runs.iter().enumerate().filter_map(parse).collect();
    let parse = |(idx, hindrance): (usize, Hindrance)| {
        let run_id = violations.parse(&format!("hindrances[{idx}].run_id"), &hindrance.run_id)?;
        let mut message = hindrance.message;
        message.truncate(message.floor_char_boundary(max_bytes));
        Some((Held { run_id, epoch: Epoch(hindrance.epoch) }, message))
    };
    let hindrances: HashMap<_, _> = hindrances.into_iter().enumerate().filter_map(parse).collect();
    if violations.is_empty() { Ok(Holding { runs, hindrances }) } else { Err(invalid(violations.into_vec())) }
}
