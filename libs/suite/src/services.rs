use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tidegate_delivery::Delivery;
use tidegate_payload::ObjectStorage;
use tidegate_service_kit::{GrpcRoutes, HumanDuration, Supervisor, channel, config::defaults, serve_grpc};
use tidegate_store::{RunStore, log::LogStore};
use tokio::net::TcpListener;

/// Shorter than that of a cluster: client and server are on one machine, and a developer who kills a worker wants to
/// see what follows.
const LEASE: Duration = Duration::from_secs(5);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long worker streams may go on at a stop, to send their last reports. Workers have nowhere to go meanwhile: there is
/// no other replica.
const DRAIN: Duration = Duration::from_secs(1);

/// What the services stand on.
pub struct Ports {
    /// Runs.
    pub runs: Arc<dyn RunStore>,
    /// Logs.
    pub logs: Arc<dyn LogStore>,
    /// Values that are too large for a row.
    pub payloads: ObjectStorage,
    /// Ready, delayed and leased runs.
    pub delivery: Arc<dyn Delivery>,
    /// The store takes one writer at a time, as SQLite does: more lanes would only make the batches smaller.
    pub one_writer: bool,
}

/// Starts the services, and serves them all on `listener`, which is at `address`.
///
/// # Errors
/// A service does not start; the sentence says which and why.
pub async fn start(
    ports: Ports,
    listener: TcpListener,
    address: &str,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    let Ports { runs, logs, payloads, delivery, one_writer } = ports;
    // The services reach each other over the port that all share; the channels connect when they are first used.
    let peers = channel(address)?;
    let mut grpc = GrpcRoutes::new();
    let mut api: tidegate_api::Config = defaults();
    api.endpoints.task_queue = String::new(); // the address that was called
    api.endpoints.log_ingest = String::new();
    api.scheduler_address = address.to_owned();
    if one_writer {
        api.engine.lanes = NonZeroUsize::MIN;
    }
    tidegate_api::start(&api, Arc::clone(&runs), payloads.clone(), peers.clone(), tasks, &mut grpc).await?;
    let mut scheduler: tidegate_scheduler::Config = defaults();
    // Who sets automations here has this machine anyway, and tries them with a web server beside it.
    scheduler.webhooks.private_addresses = true;
    scheduler.webhooks.allow_http = true;
    tidegate_scheduler::start(&scheduler, runs, payloads, peers.clone(), tasks).await?;
    let mut task_queue: tidegate_task_queue::Config = defaults();
    task_queue.lease.duration = HumanDuration::new(LEASE);
    task_queue.lease.heartbeat_interval = HumanDuration::new(HEARTBEAT_INTERVAL);
    task_queue.drain.streams = HumanDuration::new(DRAIN);
    task_queue.drain.spread = HumanDuration::new(Duration::ZERO);
    tidegate_task_queue::start(&task_queue, delivery, peers, tasks, &mut grpc).await?;
    let log_ingest: tidegate_log_ingest::Config = defaults();
    tidegate_log_ingest::start(&log_ingest, logs, tasks, &mut grpc).await?;
    serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], tasks).await
}
