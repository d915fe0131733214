use std::sync::Arc;

use tidegate_delivery::Delivery;
use tidegate_model::{Clock, SessionId, SystemClock, limits};
use tidegate_proto::{
    internal::delivery_service_server::DeliveryServiceServer, v1::worker_service_server::WorkerServiceServer,
};
use tidegate_service_kit::{CancellationToken, GrpcRoutes, SharedClock, Supervisor};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::{
    Config, announce, claims,
    delivery_api::DeliveryApi,
    engine::Engine,
    gauges, hints, leases, metrics,
    paused::Paused,
    pool::Pools,
    reports::{self, Reports},
    shared::{Gate, Shared},
    work::{WorkApi, draining},
    workers::Workers,
};

/// Adds the gRPC services for workers, api and scheduler, and the background tasks; opens no port. `engine`
/// leads to api's `RunEngineService`, which need not answer yet.
pub async fn start(
    config: &Config,
    delivery: Arc<dyn Delivery>,
    engine: Channel,
    tasks: &Supervisor,
    grpc: &mut GrpcRoutes,
) -> anyhow::Result<()> {
    start_with_clock(config, delivery, engine, Arc::new(SystemClock), tasks, grpc).await
}

/// As [`start`], on a machine with this clock. It is put right by that of the delivery state, as far as that answers.
pub async fn start_with_clock(
    config: &Config,
    delivery: Arc<dyn Delivery>,
    engine: Channel,
    clock: Arc<dyn Clock>,
    tasks: &Supervisor,
    grpc: &mut GrpcRoutes,
) -> anyhow::Result<()> {
    for pair in config.bad_pairs() {
        tracing::warn!("{pair}");
    }
    metrics::describe();
    let hints = delivery.hints();
    let asked = Arc::clone(&delivery);
    let there = move || {
        let delivery = Arc::clone(&asked);
        async move { Ok::<_, tidegate_delivery::Error>(delivery.generation().await?.now) }
    };
    let clock = SharedClock::start(clock, "the delivery state", there, tasks).await;
    // Two batches in waiting for each under way.
    let (claims, claims_end) = mpsc::channel(2 * config.assign.batch_size.get() as usize);
    let (reports, lanes) = Reports::new(config);
    let shared = Arc::new(Shared {
        config: config.clone(),
        replica: SessionId::new().to_string(),
        delivery,
        engine: Engine::new(engine, *config.engine_timeout),
        clock,
        workers: Workers::new(*config.lease.duration),
        pools: Pools::default(),
        paused: Paused::new(*config.assign.probe_interval),
        claims,
        reports,
        engine_gate: Gate::default(),
        started: Instant::now(),
        stop: tasks.stop_token(),
        pulses: tasks.pulses().clone(),
        streams: TaskTracker::new(),
        background: TaskTracker::new(),
        pool_broken: CancellationToken::new(),
    });

    let (last_claim, last_report) = (CancellationToken::new(), CancellationToken::new());
    {
        let (shared, last_claim) = (Arc::clone(&shared), last_claim.clone());
        tasks.essential("claims", move |stop| async move {
            let _last = last_claim.drop_guard();
            claims::run(shared, claims_end, stop).await
        });
    }
    for lane in lanes {
        let (shared, last_report) = (Arc::clone(&shared), last_report.clone());
        tasks.essential("reports", move |_| reports::run(shared, lane, last_report));
    }
    {
        let (shared, last_report) = (Arc::clone(&shared), last_report.clone());
        tasks.essential("hints", move |_| hints::run(shared, hints, last_report));
    }
    {
        let broken = shared.pool_broken.clone();
        tasks.essential("pools", move |stop| async move {
            match stop.run_until_cancelled(broken.cancelled()).await {
                None => Ok(()),
                Some(()) => anyhow::bail!("a pool of worker streams ended by a fault of ours"),
            }
        });
    }
    {
        let shared = Arc::clone(&shared);
        tasks.essential("drain", move |stop| drain(shared, stop, last_claim, last_report));
    }
    let swept = Arc::clone(&shared);
    tasks.optional("leases", move |stop| leases::run(Arc::clone(&swept), stop));
    let measured = Arc::clone(&shared);
    tasks.optional("gauges", move |stop| gauges::run(Arc::clone(&measured), stop));

    let announced = Arc::clone(&shared);
    tasks.optional("announce", move |stop| announce::run(Arc::clone(&announced), stop));

    let (max_read, max_written) = (limits::MAX_MESSAGE_SIZE, limits::MAX_MESSAGE_SIZE);
    grpc.add(
        WorkerServiceServer::new(WorkApi(Arc::clone(&shared)))
            .max_decoding_message_size(max_read)
            .max_encoding_message_size(max_written),
    );
    grpc.add(
        DeliveryServiceServer::new(DeliveryApi(shared))
            .max_decoding_message_size(max_read)
            .max_encoding_message_size(max_written),
    );
    Ok(())
}

/// At a stop: streams have told their workers to move (see `work`) and get some time to end; then they are
/// ended. The last reports may then come in, and be answered by api.
async fn drain(
    shared: Arc<Shared>,
    stop: CancellationToken,
    last_claim: CancellationToken,
    last_report: CancellationToken,
) -> anyhow::Result<()> {
    stop.cancelled().await;
    shared.streams.close();
    if timeout(*shared.config.drain.streams, shared.streams.wait()).await.is_err() {
        for stream in shared.workers.streams() {
            stream.outbox.end(Err(draining()));
        }
        shared.streams.wait().await;
    }
    // What was claimed for a stream that ended is released.
    last_claim.cancelled().await;
    shared.background.close();
    shared.background.wait().await;
    last_report.cancel();
    Ok(())
}
