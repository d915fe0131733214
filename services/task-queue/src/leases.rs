use std::{sync::Arc, time::Duration};

use tidegate_delivery::{Error, Lease};
use tidegate_model::limits;
use tidegate_proto::{
    internal::HolderReport,
    v1::{
        Report,
        report::{Crashed, Event},
    },
};
use tidegate_service_kit::{CancellationToken, pulse};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::{engine::is_permanent, metrics as names, pool::Chain, reports, shared::Shared};

/// Finds leases that have expired and reports their runs as crashed. Any number of replicas do so at once:
/// each lease is handed to one of them at a time, and a judge that dies loses nothing.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(*shared.config.lease.sweep_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // While the delivery state was out of reach, nobody could renew a lease: workers get the time to do so
    // first.
    let mut not_before = Instant::now();
    loop {
        pulse::rest(*shared.config.lease.sweep_interval);
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            return Ok(());
        }
        if Instant::now() < not_before {
            continue;
        }
        pulse::beat();
        let sweep = sweep(&shared).instrument(info_span!(parent: None, "sweep_leases"));
        if let Err(error) = sweep.await {
            let pause = *shared.config.lease.duration;
            tracing::warn!("expired leases are not looked for in the next {pause:?}: {}", Chain(&error));
            not_before = Instant::now() + pause;
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), Error> {
    if !shared.can_judge_leases().await? {
        return Ok(());
    }
    // Until api has judged a batch, however slow it is, no other replica looks at it.
    let judge_for = *shared.config.engine_timeout + Duration::from_secs(1);
    loop {
        pulse::beat();
        let expired = shared.delivery.expired(limits::MAX_BATCH_SIZE / 2, judge_for).await?;
        if expired.is_empty() || !judge(shared, &expired).await {
            return Ok(());
        }
    }
}

/// False where api did not answer for all: then the rest expires again.
async fn judge(shared: &Shared, expired: &[Lease]) -> bool {
    let silent_for = *shared.config.lease.duration;
    let to_report = |lease: &Lease| {
        let cause = format!("lease lost: worker {} was silent for {silent_for:?}", lease.worker_id);
        HolderReport {
            namespace: lease.namespace.to_string(),
            report: Some(Report {
                run_id: lease.held.run_id.to_string(),
                epoch: lease.held.epoch.0,
                event: Some(Event::Crashed(Crashed { cause })),
                age: None,
            }),
        }
    };
    let reports: Vec<_> = expired.iter().map(to_report).collect();
    let outcomes = shared.engine.report(&reports).await;
    let mut over = Vec::new();
    let mut all_answered = true;
    for (lease, outcome) in expired.iter().zip(outcomes) {
        let (run_id, worker_id) = (lease.held.run_id, &lease.worker_id);
        match outcome {
            Ok(outcome) if outcome.accepted => {
                tracing::warn!(
                    run.id = %run_id,
                    worker.id = %worker_id,
                    "lease of run {run_id} expired: worker {worker_id} was silent for {silent_for:?}"
                );
                metrics::counter!(names::LEASES_LOST).increment(1);
                over.push(lease.held);
            }
            Ok(outcome) if reports::is_over(&outcome) => over.push(lease.held),
            Ok(outcome) => {
                all_answered = false;
                let why = outcome.message;
                tracing::warn!(run.id = %run_id, "the lost lease of run {run_id} was not taken: {why}");
            }
            Err(status) if is_permanent(&status) => {
                tracing::error!(run.id = %run_id, "api cannot read the lost lease of run {run_id}: {status}");
                over.push(lease.held);
            }
            Err(status) => {
                all_answered = false;
                tracing::warn!(run.id = %run_id, "the lost lease of run {run_id} waits for api: {status}");
            }
        }
    }
    reports::end_leases(shared, &over).await;
    all_answered
}
