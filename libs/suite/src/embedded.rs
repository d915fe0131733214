use std::{fmt, net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_model::SystemClock;
use tidegate_payload::ObjectStorage;
use tidegate_service_kit::Supervisor;
use tidegate_store_sqlite::SqliteStore;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

use crate::{Ports, start};

/// It serves one program: two threads keep calls apart from the store's work.
const THREADS: usize = 2;

/// A server inside this process, on threads of its own and a free port of the loopback interface. It keeps everything
/// in memory: nothing is left when it ends.
///
/// A forked child has none of these threads. It reaches the server of its parent by the address, and must leave this
/// object alone.
pub struct Embedded {
    address: String,
    tasks: Supervisor,
    runtime: Runtime,
}

impl Embedded {
    /// Starts one. It takes calls when this returns.
    ///
    /// # Errors
    /// The operating system gives no thread or port, or a service does not start.
    ///
    /// # Panics
    /// Inside of an async runtime, as it waits.
    pub fn start() -> anyhow::Result<Self> {
        // One provider of cryptography for everything in the process; an error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tidegate-server")
            .enable_all()
            .build()
            .context("start the threads of the embedded server")?;
        let tasks = Supervisor::new();
        // Boxed: the future of a whole server is large.
        match runtime.block_on(Box::pin(serve(&tasks))) {
            Ok(address) => Ok(Self { address, tasks, runtime }),
            Err(error) => {
                tasks.stop();
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it, with what it holds: within `grace` in order, then at once.
    ///
    /// # Errors
    /// A part of it had failed before, or did not end in time.
    pub fn stop(self, grace: Duration) -> anyhow::Result<()> {
        self.tasks.stop();
        let finished = self.runtime.block_on(self.tasks.finished(grace));
        self.runtime.shutdown_background();
        finished
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(tasks: &Supervisor) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on 127.0.0.1")?;
    let address = format!("http://{}", listener.local_addr().context("read the address of the port")?);
    let store = Arc::new(SqliteStore::in_memory().await?);
    let ports = Ports {
        runs: Arc::clone(&store) as _,
        logs: store,
        payloads: ObjectStorage::in_memory(),
        delivery: Arc::new(MemoryDelivery::new(Arc::new(SystemClock))),
        one_writer: true,
    };
    start(ports, listener, &address, tasks).await?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    /// What is no loop that work waits for: the port and who tells of it, what waits for the stop, and what measures.
    const OTHERS: [&str; 7] = ["drain", "gauges", "grpc", "metrics-upkeep", "pools", "readiness", "uploads"];

    /// One without a pulse could hang, and the process would go on saying that it serves.
    #[test]
    fn every_loop_of_every_service_has_a_pulse() {
        let server = Embedded::start().unwrap();
        let begun = Instant::now();
        let mut loops = server.tasks.running();
        loops.retain(|name| !OTHERS.contains(name));
        assert!(loops.len() > 20, "{loops:?}");
        while server.tasks.pulses().heard() != loops {
            let heard = server.tasks.pulses().heard();
            assert!(begun.elapsed() < DEADLINE, "heard of {heard:?}, there are {loops:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(server.tasks.pulses().late(), Vec::<&str>::new());
        server.stop(DEADLINE).unwrap();
    }
}
