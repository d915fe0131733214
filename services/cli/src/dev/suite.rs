use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tidegate_delivery::Delivery;
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::SystemClock;
use tidegate_payload::ObjectStorage;
use tidegate_service_kit::{GrpcRoutes, HumanDuration, Supervisor, channel, config::defaults, serve_grpc};
use tidegate_store::{RunStore, log::LogStore};
use tidegate_store_postgres::{PgOptions, PgStore};
use tidegate_store_sqlite::SqliteStore;
use tokio::net::TcpListener;

use super::data::{DataFolder, default_folder};
use crate::args::DevArgs;

/// Shorter than that of a cluster: client and server are on one machine, and a developer who kills a worker wants to
/// see what follows.
const LEASE: Duration = Duration::from_secs(5);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Opens the store and the queue, starts the services, and serves them all on `listener`, which is at `address`.
///
/// # Errors
/// What is asked for cannot be reached or read; the sentence says what and what to do.
pub async fn start(
    args: &DevArgs,
    listener: TcpListener,
    address: &str,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    let stores = Stores::open(args).await?;
    let delivery = open_delivery(args).await?;

    // The services reach each other over the port that all share; the channels connect when they are first used.
    let peers = channel(address)?;
    let mut grpc = GrpcRoutes::new();
    let mut api: tidegate_api::Config = defaults();
    api.endpoints.task_queue = String::new(); // the address that was called
    api.endpoints.log_ingest = String::new();
    if args.postgres.is_none() {
        api.engine.lanes = NonZeroUsize::MIN; // SQLite has one writer: more lanes only make the batches smaller
    }
    tidegate_api::start(
        &api,
        Arc::clone(&stores.runs),
        stores.payloads.clone(),
        peers.clone(),
        tasks,
        &mut grpc,
    )
    .await?;
    let scheduler: tidegate_scheduler::Config = defaults();
    let payloads = stores.payloads.clone();
    tidegate_scheduler::start(&scheduler, Arc::clone(&stores.runs), payloads, peers.clone(), tasks).await?;
    let mut task_queue: tidegate_task_queue::Config = defaults();
    task_queue.lease.duration = HumanDuration::new(LEASE);
    task_queue.lease.heartbeat_interval = HumanDuration::new(HEARTBEAT_INTERVAL);
    tidegate_task_queue::start(&task_queue, delivery, peers, tasks, &mut grpc).await?;
    let log_ingest: tidegate_log_ingest::Config = defaults();
    tidegate_log_ingest::start(&log_ingest, Arc::clone(&stores.logs), tasks, &mut grpc).await?;
    serve_grpc(listener, grpc, &[tidegate_proto::FILE_DESCRIPTOR_SET], tasks).await?;

    // Held until everything has ended.
    let folder = stores.folder;
    tasks.essential("data-folder", move |stop| async move {
        stop.cancelled().await;
        drop(folder);
        Ok(())
    });
    Ok(())
}

struct Stores {
    runs: Arc<dyn RunStore>,
    logs: Arc<dyn LogStore>,
    payloads: ObjectStorage,
    folder: Option<DataFolder>,
}

impl Stores {
    async fn open(args: &DevArgs) -> anyhow::Result<Self> {
        if let Some(url) = &args.postgres {
            let store = PgStore::connect(url, &PgOptions::default()).await.context("--postgres")?;
            // Several may share the folder: the names of payloads are unique.
            let payloads = ObjectStorage::directory(&payloads_of(&data_folder(args)?))?;
            return Ok(Self::of(Arc::new(store), payloads, None));
        }
        if args.ephemeral {
            let store = SqliteStore::in_memory().await?;
            return Ok(Self::of(Arc::new(store), ObjectStorage::in_memory(), None));
        }
        let path = data_folder(args)?;
        let folder = DataFolder::take(&path)?;
        let store = SqliteStore::open(&folder.database()).await?;
        let payloads = ObjectStorage::directory(&payloads_of(&path))?;
        Ok(Self::of(Arc::new(store), payloads, Some(folder)))
    }

    fn of<S: RunStore + LogStore>(
        store: Arc<S>,
        payloads: ObjectStorage,
        folder: Option<DataFolder>,
    ) -> Self {
        Self { runs: Arc::clone(&store) as Arc<dyn RunStore>, logs: store, payloads, folder }
    }
}

fn data_folder(args: &DevArgs) -> anyhow::Result<PathBuf> {
    match &args.data {
        Some(folder) => Ok(folder.clone()),
        None => default_folder(),
    }
}

/// Where payloads above 64 KiB are.
fn payloads_of(folder: &Path) -> PathBuf {
    folder.join("payloads")
}

/// Where a URL leads, without the name and password that it may have.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, place)| place)
}

async fn open_delivery(args: &DevArgs) -> anyhow::Result<Arc<dyn Delivery>> {
    Ok(match &args.redis {
        Some(url) => {
            let options = RedisOptions::new(url);
            let delivery = RedisDelivery::connect(&options).await;
            Arc::new(delivery.with_context(|| format!("cannot use the Redis at {}", place(url)))?)
        }
        None => Arc::new(MemoryDelivery::new(Arc::new(SystemClock))),
    })
}
