use std::{path::Path, time::Duration};

use tempfile::TempDir;

use crate::{Process, eventually, free_port};

/// A Redis of the test's own, so that the test may wipe or kill it.
pub struct Redis {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts `redis-server` on a free port, without persistence.
    ///
    /// # Panics
    /// It does not start: is `redis-server` installed?
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let this = Self { process: serve(port, folder.path()), port, folder };
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

    /// The names of all keys.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn keys(&self) -> Vec<String> {
        let mut connection = self.connect().await.unwrap();
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap()
    }

    /// Has it forget its scripts.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn flush_scripts(&self) {
        let mut connection = self.connect().await.unwrap();
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
    }

    /// Writes down what it has, for [`Redis::kill_and_restart_saved`].
    ///
    /// # Panics
    /// It does not answer.
    pub async fn save(&self) {
        let mut connection = self.connect().await.unwrap();
        redis::cmd("SAVE").exec_async(&mut connection).await.unwrap();
    }

    /// Ends it by SIGKILL and starts it again, empty, at the same port.
    ///
    /// # Panics
    /// It does not start.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill().await;
        let _ = std::fs::remove_file(self.folder.path().join("dump.rdb")); // if there is one
        self.start_again().await;
    }

    /// Ends it by SIGKILL and starts it again at the same port with what it had when it was last saved: what came since is
    /// lost, and what went since is back.
    ///
    /// # Panics
    /// It was never saved, or does not start.
    pub async fn kill_and_restart_saved(&mut self) {
        self.process.kill().await;
        assert!(self.folder.path().join("dump.rdb").exists(), "it was saved");
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        self.process = serve(self.port, self.folder.path());
        eventually("redis-server answers", Duration::from_secs(10), async || self.connect().await.ok()).await;
    }

    /// The process, to kill or stop it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }
}

fn serve(port: u16, folder: &Path) -> Process {
    let (port, dir) = (port.to_string(), folder.to_str().unwrap());
    let args = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir", dir];
    Process::start("redis-server".as_ref(), args, [])
}
