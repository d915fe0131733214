use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(30);

/// A server that nobody else uses. It writes nothing down unless it is told to.
pub struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let server = Self { process: serve(port, folder.path()), port, folder };
        server.until_up().await;
        server
    }

    /// Ends it by SIGKILL and starts it again with what it had when it was last saved.
    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.process = serve(self.port, self.folder.path());
        self.until_up().await;
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Makes it a replica of this one, or a primary again. Who is connected stays so.
    pub async fn follow(&self, primary: Option<&Self>) {
        let mut connection = self.connect().await.unwrap();
        let port = primary.map(|primary| primary.port.to_string());
        let (host, port) = port.as_deref().map_or(("NO", "ONE"), |port| ("127.0.0.1", port));
        redis::cmd("REPLICAOF").arg(host).arg(port).exec_async(&mut connection).await.unwrap();
    }

    /// Waits until it has what its primary had when it began to follow.
    pub async fn until_caught_up(&self) {
        let mut connection = self.connect().await.unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let info = redis::cmd("INFO").arg("replication").to_owned();
            let info: redis::RedisResult<String> = info.query_async(&mut connection).await;
            match info {
                Ok(info) if info.contains("master_link_status:up") => return,
                info => assert!(Instant::now() < deadline, "the replica does not catch up: {info:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        super::connect(&self.url()).await
    }

    async fn until_up(&self) {
        let deadline = Instant::now() + DEADLINE;
        while let Err(error) = self.connect().await {
            assert!(Instant::now() < deadline, "the server does not come up: {error}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below the ports that the system gives to outgoing connections: one of those could take it while the server is down.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static N_CALLS: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run side by side begin at different places.
        let n = std::process::id().wrapping_mul(89).wrapping_add(N_CALLS.fetch_add(1, Ordering::Relaxed));
        let port = RANGE.start + u16::try_from(n % RANGE.len() as u32).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn serve(port: u16, folder: &Path) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .args(["--dir", folder.to_str().unwrap(), "--repl-diskless-sync-delay", "0"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: integration-tests/run does it")
}
