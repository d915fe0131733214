//! The scheduler as a process of its own, over Postgres. The one place of this crate that names an adapter.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tidegate_payload::ObjectStorage;
use tidegate_service_kit::{GrpcRoutes, channel, serve_grpc};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::net::TcpListener;

use crate::Config;

/// Runs until a signal. `args` are those after the program's name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    tidegate_service_kit::run("tidegate-scheduler", args, |config: Config, tasks| async move {
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
        let options = PgOptions {
            max_connections: config.postgres.max_connections,
            application_name: "tidegate-scheduler".to_owned(),
            partition_width: *config.retention.partition_width,
            ..PgOptions::default()
        };
        let store = Arc::new(PgStore::connect(config.postgres.url.expose(), &options).await?);
        let storage = ObjectStorage::open(&config.object_storage)?;
        crate::start(&config, store, storage, channel(&config.delivery_address)?, &tasks).await?;
        serve_grpc(listener, GrpcRoutes::new(), &[tidegate_proto::FILE_DESCRIPTOR_SET], &tasks).await
    })
}
