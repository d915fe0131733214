//! Keeps one process of the suite: starts it, does to it what the script says, and starts it again when it ends.

use std::{
    ffi::OsString,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::time::{self, Time};

/// How long a process may take to end in order: above the services' shutdown grace and the workers' drain.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to serve.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Between an end and the next start, as a supervisor of processes would wait.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How a process is started.
pub(crate) struct Program {
    pub name: String,
    pub path: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// Stdout and stderr of all its processes.
    pub log: PathBuf,
    /// What it logs once it serves; `None`: it counts as ready at once.
    pub ready: Option<&'static str>,
    /// Which signal asks it to end in order.
    pub stop_signal: &'static str,
}

/// A process ended though nobody had asked it to, or not as it should.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub name: String,
    pub at: Time,
    pub what: String,
    /// It had never served: its dependencies may have been away.
    pub was_starting: bool,
}

/// Where incidents are gathered.
pub(crate) type Incidents = Arc<Mutex<Vec<Incident>>>;

#[derive(Debug)]
enum Order {
    Kill { away: Duration },
    Restart,
    Freeze { lasts: Duration },
    End,
}

/// A hold on a kept process.
pub(crate) struct Kept {
    orders: mpsc::Sender<(Order, oneshot::Sender<Option<u32>>)>,
    ready: watch::Receiver<bool>,
    _task: JoinSet<()>,
}

impl Kept {
    /// Starts it.
    pub fn start(program: Program, incidents: Incidents) -> Self {
        let (orders, inbox) = mpsc::channel(4);
        let (ready_sender, ready) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let name = program.name.clone();
            let mut keeper = Keeper { program, incidents, ready: ready_sender };
            if let Err(error) = keeper.keep(inbox).await {
                keeper.report(format!("{name} cannot be kept: {error:#}"), false);
            }
        });
        Self { orders, ready, _task: task }
    }

    /// Waits until it serves.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut ready = self.ready.clone();
        timeout(READY_DEADLINE, ready.wait_for(|ready| *ready)).await.context("it does not serve")??;
        Ok(())
    }

    /// SIGKILL; a new process comes after `away`. Gives the id of the killed one, once the new one serves.
    pub async fn kill(&self, away: Duration) -> anyhow::Result<Option<u32>> {
        self.order(Order::Kill { away }).await
    }

    /// An orderly stop and a new process. Gives the id of the stopped one, once the new one serves.
    pub async fn restart(&self) -> anyhow::Result<Option<u32>> {
        self.order(Order::Restart).await
    }

    /// SIGSTOP, and SIGCONT after `lasts`.
    pub async fn freeze(&self, lasts: Duration) -> anyhow::Result<Option<u32>> {
        self.order(Order::Freeze { lasts }).await
    }

    /// An orderly stop, for good.
    pub async fn end(&self) -> anyhow::Result<()> {
        self.order(Order::End).await.map(drop)
    }

    /// Orders of one process are carried out one after the other.
    async fn order(&self, order: Order) -> anyhow::Result<Option<u32>> {
        let (done, answer) = oneshot::channel();
        self.orders.send((order, done)).await.context("the process is no longer kept")?;
        answer.await.context("the process is no longer kept")
    }
}

struct Keeper {
    program: Program,
    incidents: Incidents,
    ready: watch::Sender<bool>,
}

impl Keeper {
    async fn keep(
        &mut self,
        mut orders: mpsc::Receiver<(Order, oneshot::Sender<Option<u32>>)>,
    ) -> anyhow::Result<()> {
        let mut child = self.start().await?;
        loop {
            let (order, done) = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => order,
                    None => return Ok(()),
                },
                status = child.wait() => {
                    self.report(format!("it ended by itself: {}", status?), false);
                    sleep(RESTART_PAUSE).await;
                    child = self.start().await?;
                    continue;
                }
            };
            let pid = child.id();
            match order {
                Order::Kill { away } => {
                    child.kill().await?;
                    sleep(away).await;
                    child = self.start().await?;
                }
                Order::Restart => {
                    self.stop(&mut child).await?;
                    child = self.start().await?;
                }
                Order::Freeze { lasts } => {
                    signal(&child, "STOP").await?;
                    sleep(lasts).await;
                    signal(&child, "CONT").await?;
                }
                Order::End => {
                    self.stop(&mut child).await?;
                    let _ = done.send(pid);
                    return Ok(());
                }
            }
            let _ = done.send(pid); // whoever asked may have given up
        }
    }

    /// Starts it, again and again until it serves.
    async fn start(&mut self) -> anyhow::Result<Child> {
        loop {
            let log = std::fs::File::options().create(true).append(true).open(&self.program.log)?;
            let log_start = log.metadata()?.len();
            let mut command = Command::new(&self.program.path);
            for (name, _) in std::env::vars() {
                if name.starts_with("TIDEGATE_") || name.starts_with("OTEL_") || name == "RUST_LOG" {
                    command.env_remove(name);
                }
            }
            let mut child = command
                .args(&self.program.args)
                .envs(self.program.env.iter().cloned())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("start {}", self.program.path.display()))?;
            match self.until_ready(&mut child, log_start).await? {
                None => {
                    self.ready.send_replace(true);
                    return Ok(child);
                }
                Some(status) => self.report(format!("it ended before it served: {status}"), true),
            }
            sleep(RESTART_PAUSE).await;
        }
    }

    /// `None`: it serves, or takes very long to, which is an incident of its own.
    async fn until_ready(&self, child: &mut Child, log_start: u64) -> anyhow::Result<Option<ExitStatus>> {
        let Some(wanted) = self.program.ready else { return Ok(None) };
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if read_from(&self.program.log, log_start)?.contains(wanted) {
                return Ok(None);
            }
            if started.elapsed() > READY_DEADLINE {
                self.report(format!("it does not serve within {READY_DEADLINE:?}"), true);
                return Ok(None);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn stop(&self, child: &mut Child) -> anyhow::Result<()> {
        signal(child, self.program.stop_signal).await?;
        match timeout(STOP_DEADLINE, child.wait()).await {
            Ok(status) => {
                let status = status?;
                if !status.success() {
                    self.report(format!("its orderly stop ended with {status}"), false);
                }
            }
            Err(_) => {
                self.report(format!("its orderly stop did not end within {STOP_DEADLINE:?}"), false);
                child.kill().await?;
            }
        }
        Ok(())
    }

    fn report(&self, what: String, was_starting: bool) {
        let incident = Incident { name: self.program.name.clone(), at: time::now(), what, was_starting };
        self.incidents.lock().unwrap_or_else(PoisonError::into_inner).push(incident);
    }
}

fn read_from(file: &Path, start: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    let pid = child.id().context("the process has ended")?;
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().await?;
    anyhow::ensure!(sent.success(), "kill -{name} {pid} failed");
    Ok(())
}
