use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use tidegate_delivery::Delivery;
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::SystemClock;
use tidegate_payload::ObjectStorage;
use tidegate_service_kit::Supervisor;
use tidegate_store::{RunStore, log::LogStore};
use tidegate_store_postgres::{PgOptions, PgStore};
use tidegate_store_sqlite::SqliteStore;
use tidegate_suite::Ports;
use tokio::net::TcpListener;

use super::DevArgs;
use super::data::{DataFolder, default_folder};

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
    let Stores { runs, logs, payloads, folder } = Stores::open(args).await?;
    let delivery = open_delivery(args).await?;
    let ports = Ports { runs, logs, payloads, delivery, one_writer: args.postgres.is_none() };
    tidegate_suite::start(ports, listener, address, tasks).await?;

    // Held until everything has ended.
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
