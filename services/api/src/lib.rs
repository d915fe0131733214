//! The public gRPC: creates runs, takes reports, answers queries and waits. It owns run state in Postgres and
//! never talks to a worker.

mod actor;
mod artifact_service;
mod automation_service;
mod bulk_service;
mod concurrency_service;
mod config;
mod convert;
mod deployment_service;
mod diagnosis;
mod engine_service;
mod explanation;
mod listed;
mod offload;
mod outcome;
mod page_token;
mod payload_service;
mod queries;
mod queue_service;
mod requests;
mod run_service;
mod schedule_service;
mod schedule_spec;
mod session_service;
pub mod standalone;
mod stream;
mod system_service;
mod things;
mod variable_service;
mod wait;
mod watch;
mod work_pool_service;

use std::sync::Arc;

use anyhow::Context as _;
use tidegate_dispatch::GrpcDispatch;
use tidegate_engine::Engine;
use tidegate_model::{Clock, SystemClock, limits};
use tidegate_payload::{ObjectStorage, Payloads};
use tidegate_proto::{
    internal::run_engine_service_server::RunEngineServiceServer,
    v1::{
        artifact_service_server::ArtifactServiceServer, automation_service_server::AutomationServiceServer,
        bulk_operation_service_server::BulkOperationServiceServer,
        concurrency_service_server::ConcurrencyServiceServer,
        deployment_service_server::DeploymentServiceServer, payload_service_server::PayloadServiceServer,
        queue_service_server::QueueServiceServer, run_service_server::RunServiceServer,
        schedule_service_server::ScheduleServiceServer, session_service_server::SessionServiceServer,
        system_service_server::SystemServiceServer, variable_service_server::VariableServiceServer,
        work_pool_service_server::WorkPoolServiceServer,
    },
};
use tidegate_service_kit::{GrpcRoutes, SharedClock, Supervisor, channel};
use tidegate_store::RunStore;
use tokio_util::task::TaskTracker;
use tonic::{codec::CompressionEncoding, transport::Channel};

use diagnosis::Diagnosis;

pub use config::{Config, EndpointsConfig, EngineConfig, PayloadConfig, SessionConfig};

/// Adds the services and background tasks of the api; opens no port.
///
/// `delivery` leads to task-queue's `DeliveryService` and may be lazy. `storage` keeps what is too large for `store`.
pub async fn start(
    config: &Config,
    store: Arc<dyn RunStore>,
    storage: ObjectStorage,
    delivery: Channel,
    tasks: &Supervisor,
    grpc: &mut GrpcRoutes,
) -> anyhow::Result<()> {
    start_with_clock(config, store, storage, delivery, Arc::new(SystemClock), tasks, grpc).await
}

/// As [`start`], on a machine with this clock. It is put right by that of the store, by which the scheduler judges.
pub async fn start_with_clock(
    config: &Config,
    store: Arc<dyn RunStore>,
    storage: ObjectStorage,
    delivery: Channel,
    clock: Arc<dyn Clock>,
    tasks: &Supervisor,
    grpc: &mut GrpcRoutes,
) -> anyhow::Result<()> {
    let scheduler = match config.scheduler_address.as_str() {
        "" => None,
        address => Some(channel(address).context("scheduler_address")?),
    };
    let diagnosis = Diagnosis::new(Arc::clone(&store), delivery.clone(), scheduler);
    let asked = Arc::clone(&store);
    let there = move || {
        let store = Arc::clone(&asked);
        async move { store.now().await }
    };
    let clock: Arc<dyn Clock> = SharedClock::start(clock, "the store", there, tasks).await;
    let dispatch = Arc::new(GrpcDispatch::new(delivery, Arc::clone(&clock)));
    let (engine, engine_tasks) =
        Engine::new(Arc::clone(&store), dispatch, Arc::clone(&clock), config.engine.options());
    for (name, task) in engine_tasks {
        tasks.essential(name, |_stop| async {
            task.await;
            Ok(())
        });
    }
    let (feeder, cascader, bulk) = (engine.clone(), engine.clone(), engine.clone());
    let (collider, leases) = (engine.clone(), engine.clone());
    tasks.essential("feed", |stop| async {
        feeder.run_feed(stop).await;
        Ok(())
    });
    tasks.essential("cascades", |stop| async {
        cascader.run_cascades(stop).await;
        Ok(())
    });
    tasks.essential("collisions", |stop| async {
        collider.run_collisions(stop).await;
        Ok(())
    });
    tasks.essential("leases", |stop| async {
        leases.run_leases(stop).await;
        Ok(())
    });
    tasks.essential("bulk-operations", |stop| async {
        bulk.run_bulk_operations(stop).await;
        Ok(())
    });
    let stop = tasks.stop_token();
    let bulk_service = bulk_service::Service::new(engine.clone());
    let payloads = Payloads::new(Arc::clone(&store), storage, Arc::clone(&clock), config.payload.options());
    let run_service = run_service::Service::new(engine.clone(), payloads.clone(), stop.clone());
    let session_service =
        session_service::Service::new(engine.clone(), payloads.clone(), config.session.clone(), stop.clone());
    let concurrency_service = concurrency_service::Service::new(engine.clone(), stop.clone());
    let queue_service = queue_service::Service::new(engine.clone());
    let deployment_service = deployment_service::Service::new(engine.clone());
    let work_pool_service = work_pool_service::Service::new(engine.clone());
    let schedule_service = schedule_service::Service::new(engine.clone());
    let artifact_service = artifact_service::Service::new(engine.clone(), payloads.clone());
    let variable_service = variable_service::Service::new(engine.clone());
    let automation_service = automation_service::Service::new(engine.clone());
    let engine_service = engine_service::Service::new(engine, payloads.clone());
    let system_service =
        system_service::Service::new(config.endpoints.clone(), store, clock, payloads.max_size(), diagnosis);
    let uploads = TaskTracker::new();
    let payload_service = payload_service::Service::new(payloads, stop, uploads.clone());
    tasks.essential("uploads", |stop| async move {
        stop.cancelled().await;
        uploads.close();
        uploads.wait().await;
        Ok(())
    });
    grpc.add(
        RunServiceServer::new(run_service)
            .max_decoding_message_size(limits::MAX_MESSAGE_SIZE)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    );
    grpc.add(SessionServiceServer::new(session_service).max_decoding_message_size(limits::MAX_MESSAGE_SIZE));
    grpc.add(ConcurrencyServiceServer::new(concurrency_service));
    grpc.add(QueueServiceServer::new(queue_service));
    grpc.add(DeploymentServiceServer::new(deployment_service));
    grpc.add(WorkPoolServiceServer::new(work_pool_service));
    grpc.add(ScheduleServiceServer::new(schedule_service));
    grpc.add(
        ArtifactServiceServer::new(artifact_service).max_decoding_message_size(limits::MAX_MESSAGE_SIZE),
    );
    grpc.add(VariableServiceServer::new(variable_service));
    grpc.add(AutomationServiceServer::new(automation_service));
    grpc.add(BulkOperationServiceServer::new(bulk_service));
    grpc.add(SystemServiceServer::new(system_service));
    grpc.add(
        PayloadServiceServer::new(payload_service).max_decoding_message_size(2 * limits::MAX_CHUNK_SIZE),
    );
    grpc.add(RunEngineServiceServer::new(engine_service).max_decoding_message_size(INTERNAL_MESSAGE_SIZE));
    Ok(())
}

/// A batch of task-queue gathers the reports of many workers, each of which was within its own bound.
const INTERNAL_MESSAGE_SIZE: usize = 16 * limits::MAX_MESSAGE_SIZE;
