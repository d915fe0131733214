use std::{sync::Arc, time::Duration};

use tidegate_delivery::QueueId;
use tidegate_service_kit::CancellationToken;

use crate::{metrics as names, shared::Shared};

const INTERVAL: Duration = Duration::from_secs(5);

/// Sets the gauges. A drained queue reports zero; one that was not used for an hour keeps that zero.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (n_streams, credits) = shared.workers.totals();
        metrics::gauge!(names::STREAMS).set(n_streams as f64);
        metrics::gauge!(names::CREDITS, "kind" => "task").set(f64::from(credits.tasks));
        metrics::gauge!(names::CREDITS, "kind" => "flow").set(f64::from(credits.flows));
        for depth in shared.delivery.depths(shared.clock.now()).await? {
            set_depth(&depth.queue, "ready", depth.ready);
            set_depth(&depth.queue, "delayed", depth.delayed);
            set_depth(&depth.queue, "claimed", depth.claimed);
        }
    }
    Ok(())
}

fn set_depth(queue: &QueueId, state: &'static str, n_entries: u64) {
    let (namespace, name) = (queue.namespace.to_string(), queue.queue.to_string());
    metrics::gauge!(names::QUEUE_DEPTH, "namespace" => namespace, "queue" => name, "state" => state)
        .set(n_entries as f64);
}
