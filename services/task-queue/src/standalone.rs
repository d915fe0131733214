//! The service as a process of its own: the one place that names adapters.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::Context;
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_service_kit::{GrpcRoutes, channel, serve_grpc};
use tokio::net::TcpListener;

use crate::Config;

/// Connects the real adapters, binds, serves. Called by `main.rs` and `tidegate server task-queue`; `args`
/// are without the program's name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    tidegate_service_kit::run("tidegate-task-queue", args, |config: Config, tasks| async move {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        let options =
            RedisOptions { url: config.redis.url.expose().to_owned(), prefix: config.redis.prefix.clone() };
        let delivery = RedisDelivery::connect(&options).await.context("open the delivery state")?;
        let mut grpc = GrpcRoutes::new();
        let engine = channel(&config.engine_address)?;
        crate::start(&config, Arc::new(delivery), engine, &tasks, &mut grpc).await?;
        serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], &tasks).await
    })
}
