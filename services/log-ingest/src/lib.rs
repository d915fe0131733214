//! Takes log lines of runs, stores them, gives them back, and follows them. It owns the logs, and never makes a
//! run wait: writers buffer, and drop lines rather than wait.

mod config;
mod convert;
mod error;
mod ingest;
mod lanes;
mod metrics;
mod query;
mod retention;
mod service;
pub mod standalone;
mod tail;
mod token;

use std::sync::Arc;

use tidegate_model::{SystemClock, limits};
use tidegate_proto::v1::log_service_server::LogServiceServer;
use tidegate_service_kit::{GrpcRoutes, Supervisor};
use tidegate_store::log::LogStore;
use tonic::codec::CompressionEncoding;

pub use config::{Config, IngestConfig, RetentionConfig, TailConfig};

/// Adds the service and the background tasks of log-ingest; opens no port.
///
/// # Errors
/// None so far; the type is that of all services.
pub async fn start(
    config: &Config,
    store: Arc<dyn LogStore>,
    tasks: &Supervisor,
    grpc: &mut GrpcRoutes,
) -> anyhow::Result<()> {
    metrics::describe();
    let lanes = lanes::start(&config.ingest, &store, Arc::new(SystemClock), tasks);
    retention::start(&config.retention, &store, Arc::new(SystemClock), tasks);
    let service = service::Service::new(config, store, lanes, tasks.stop_token());
    grpc.add(
        LogServiceServer::new(service)
            .max_decoding_message_size(limits::MAX_MESSAGE_SIZE)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip),
    );
    Ok(())
}
