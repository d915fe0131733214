//! log-ingest as a process of its own, on Postgres.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::Context;
use tidegate_service_kit::{GrpcRoutes, Supervisor, serve_grpc};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::net::TcpListener;

use crate::Config;

/// Connects, binds, serves, until the process is asked to stop. `args` are without the program's name.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    tidegate_service_kit::run("tidegate-log-ingest", args, serve)
}

async fn serve(config: Config, tasks: Supervisor) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    let options = PgOptions {
        max_connections: config.postgres.max_connections,
        application_name: "tidegate-log-ingest".to_owned(),
        ..PgOptions::default()
    };
    let store = PgStore::connect(config.postgres.url.expose(), &options).await?;
    let mut grpc = GrpcRoutes::new();
    crate::start(&config, Arc::new(store), &tasks, &mut grpc).await?;
    serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], &tasks).await
}
