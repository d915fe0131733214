use std::{process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a worker may take to end after it was told to, before it is killed.
const END_GRACE: Duration = Duration::from_secs(10);

/// A worker process of the demo. Dropping it kills the process.
pub struct WorkerProcess {
    /// 1, 2.
    pub number: usize,
    /// Its process id.
    pub pid: u32,
    /// The name under which it holds runs.
    pub id: String,
    child: Child,
}

impl WorkerProcess {
    /// Starts this program again as a worker for `queue` of the server at `address`.
    ///
    /// # Errors
    /// The process does not start, or ends at once.
    pub async fn start(number: usize, address: &str, queue: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find the path of this program")?;
        let mut command = Command::new(&program);
        command
            .args(["demo-worker", "--queue", queue])
            .env("TIDEGATE_ADDRESS", address)
            .env("TIDEGATE_NAMESPACE", "default")
            .stdin(Stdio::piped()) // it ends when this closes, so none outlives this process
            .stdout(Stdio::piped())
            .process_group(0) // Ctrl-C is for this process, which then ends its workers in order
            .kill_on_drop(true);
        let mut child =
            command.spawn().with_context(|| format!("start {} demo-worker", program.display()))?;
        let pid = child.id().context("the worker ended at once")?;
        let mut id = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut id).await.context("read the worker's name")?;
        }
        anyhow::ensure!(!id.is_empty(), "worker {number} (process {pid}) ended at once");
        Ok(Self { number, pid, id: id.trim().to_owned(), child })
    }

    /// Ends it by SIGKILL: it has no chance to say goodbye.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("kill worker {}", self.number))
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) {
        drop(self.child.stdin.take());
        if timeout(END_GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await; // it has ended in between
        }
    }
}
