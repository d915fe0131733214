use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, eventually, free_port};

/// A Redis of the test's own, so that the test may wipe or kill it.
pub struct Redis {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts `redis-server` on a free port, without persistence.
    ///
    /// # Panics
    /// It does not start: is `redis-server` installed?
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let dir = folder.path().to_str().unwrap().to_owned();
        let port_text = port.to_string();
        let args =
            ["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no", "--dir", &dir];
        let process = Process::start("redis-server".as_ref(), args, []);
        let this = Self { process, port, _folder: folder };
        eventually("redis-server answers", Duration::from_secs(10), async || this.connect().await.ok()).await;
        this
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Wipes everything.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn flush_all(&self) {
        let mut connection = self.connect().await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    }

    /// How many keys there are.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn n_keys(&self) -> u64 {
        let mut connection = self.connect().await.unwrap();
        redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap()
    }

    /// The process, to kill or stop it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }
}
