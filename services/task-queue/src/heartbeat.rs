use std::{collections::HashSet, sync::Arc};

use tidegate_delivery::{Held, Lease};
use tidegate_model::limits;
use tidegate_proto::v1::{CancelCause, HeldRun};
use tracing::{Instrument, info_span};

use crate::{
    engine::MAX_CHECKED,
    pool::Chain,
    shared::Shared,
    stream::{Heartbeat, Holding, WorkerStream},
};

/// Handles the heartbeats of a stream until it ends. One that comes while another is handled waits; only the
/// latest does.
pub(crate) async fn run(shared: Arc<Shared>, stream: Arc<WorkerStream>) {
    loop {
        let heartbeat = tokio::select! {
            biased;
            () = stream.outbox.ended().cancelled() => return,
            heartbeat = stream.next_heartbeat() => heartbeat,
        };
        handle(&shared, &stream, heartbeat).await;
    }
}

async fn handle(shared: &Shared, stream: &WorkerStream, heartbeat: Heartbeat) {
    let Heartbeat { holding: Holding { runs, hindrances }, recheck } = heartbeat;
    // Whatever comes of the renewal: what never arrived is to start elsewhere.
    for held in shared.workers.note_heartbeat(stream, &runs) {
        shared.reports.try_release(&stream.namespace, held);
    }
    let lease = *shared.config.lease.duration;
    let mut unknown: Vec<Held> = Vec::new();
    for runs in runs.chunks(limits::MAX_BATCH_SIZE) {
        match shared.delivery.renew(&stream.namespace, runs, &hindrances, lease).await {
            Ok(renewed) => {
                unknown
                    .extend(runs.iter().zip(renewed).filter(|(_, renewed)| !renewed).map(|(held, _)| *held));
            }
            Err(error) => {
                let worker_id = &stream.worker_id;
                let why = Chain(&error);
                tracing::warn!(worker.id = %worker_id, "a heartbeat of {worker_id} renewed nothing: {why}");
                if recheck {
                    stream.recheck();
                }
                return;
            }
        }
    }
    let to_check = if recheck { &runs } else { &unknown };
    let is_unknown: HashSet<_> = unknown.iter().copied().collect();
    for runs in to_check.chunks(MAX_CHECKED) {
        let span = info_span!(parent: None, "check_runs", batch.size = runs.len());
        if !check(shared, stream, runs, &is_unknown).instrument(span).await && recheck {
            stream.recheck();
        }
    }
}

/// Asks the store about runs. What is held, but unknown here, was lost with the delivery state: it is leased
/// again. False where api did not answer; the next heartbeat asks again.
async fn check(shared: &Shared, stream: &WorkerStream, runs: &[Held], unknown: &HashSet<Held>) -> bool {
    let to_proto = |held: &Held| HeldRun { run_id: held.run_id.to_string(), epoch: held.epoch.0 };
    let standings = match shared.engine.check(&stream.namespace, runs.iter().map(to_proto).collect()).await {
        Ok(standings) => standings,
        Err(status) => {
            let worker_id = &stream.worker_id;
            tracing::warn!(worker.id = %worker_id, "what {worker_id} holds cannot be checked: {status}");
            return false;
        }
    };
    let mut leases = Vec::new();
    let mut lost = Vec::new();
    for (held, standing) in runs.iter().zip(standings) {
        if !standing.held {
            let message = "the lease was lost: the run is no longer this worker's";
            shared.workers.cancel(stream, *held, CancelCause::Lost, message);
            lost.push(*held);
            continue;
        }
        if unknown.contains(held) {
            leases.push(Lease {
                held: *held,
                namespace: stream.namespace.clone(),
                worker_id: stream.worker_id.clone(),
            });
        }
        if standing.cancelling {
            shared.workers.cancel(stream, *held, CancelCause::Requested, "the run is being cancelled");
        }
    }
    let granted = shared.delivery.lease(&leases, *shared.config.lease.duration).await;
    let released = shared.delivery.release(&lost).await;
    if let Err(error) = granted.and(released) {
        tracing::warn!("leases could not be written, the next heartbeat will: {}", Chain(&error));
    }
    true
}
