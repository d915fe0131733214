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
/// How long it may take to serve, however often it is started for that.
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
        ready.wait_for(|ready| *ready).await.context("it is no longer kept")?;
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

    /// SIGSTOP to it and its children, and SIGCONT after `lasts`.
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
                    let frozen = Frozen::new(pid.context("the process has ended")?)?;
                    sleep(lasts).await;
                    drop(frozen);
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
        let give_up_at = Instant::now() + READY_DEADLINE;
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
            match self.until_ready(&mut child, log_start, give_up_at).await? {
                None => {
                    self.ready.send_replace(true);
                    return Ok(child);
                }
                Some(status) => self.report(format!("it ended before it served: {status}"), true),
            }
            anyhow::ensure!(
                Instant::now() < give_up_at,
                "it ended each time it was started for {READY_DEADLINE:?}; {} says why",
                self.program.log.display()
            );
            sleep(RESTART_PAUSE).await;
        }
    }

    /// `None`: it serves.
    async fn until_ready(
        &self,
        child: &mut Child,
        log_start: u64,
        give_up_at: Instant,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let Some(wanted) = self.program.ready else { return Ok(None) };
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if read_from(&self.program.log, log_start)?.contains(wanted) {
                return Ok(None);
            }
            anyhow::ensure!(
                Instant::now() < give_up_at,
                "it does not serve within {READY_DEADLINE:?}; {} says why",
                self.program.log.display()
            );
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

/// A process that is stopped together with its children, as those of Postgres do its work. All go on when this is
/// dropped, whatever for: a child that stays stopped would outlive everything.
struct Frozen(Vec<u32>);

impl Frozen {
    fn new(pid: u32) -> anyhow::Result<Self> {
        let mut frozen = Self(vec![pid]);
        frozen.signal("STOP")?; // it first, so that it makes no further child
        frozen.0.extend(children_of(pid)?);
        frozen.signal("STOP")?;
        Ok(frozen)
    }

    /// Some of the children may have ended, which is no failure.
    fn signal(&self, name: &str) -> std::io::Result<()> {
        let pids = self.0.iter().map(u32::to_string);
        let mut kill = std::process::Command::new("kill");
        kill.arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status().map(drop)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = self.signal("CONT") {
            println!("processes {:?} stay stopped: {error}", self.0);
        }
    }
}

fn children_of(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end while it is looked at.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // `12 (name) S 7 …`: the name may have spaces and brackets.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if after_name.split_whitespace().nth(1) == Some(&parent.to_string()) {
            children.push(pid);
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(pid: u32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            sleep(LOOK_INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn a_process_is_frozen_with_its_children_and_all_go_on() {
        let shell = Command::new("sh").args(["-c", "sleep 600 & wait"]).kill_on_drop(true).spawn().unwrap();
        let parent = shell.id().unwrap();
        until(|| !children_of(parent).unwrap().is_empty()).await;
        let child = children_of(parent).unwrap()[0];
        let frozen = Frozen::new(parent).unwrap();
        until(|| state_of(parent) == 'T' && state_of(child) == 'T').await;
        drop(frozen);
        until(|| state_of(parent) == 'S' && state_of(child) == 'S').await;
        let ended = Command::new("kill").arg(child.to_string()).status().await.unwrap();
        assert!(ended.success());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_never_serves_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program {
            name: "hopeless".into(),
            path: "false".into(),
            args: Vec::new(),
            env: Vec::new(),
            log: folder.path().join("log"),
            ready: Some("serving"),
            stop_signal: "TERM",
        };
        let incidents = Incidents::default();
        let kept = Kept::start(program, Arc::clone(&incidents));
        assert!(kept.ready().await.is_err());
        assert!(kept.restart().await.is_err());
        let incidents = incidents.lock().unwrap();
        assert!(incidents.last().unwrap().what.contains("cannot be kept"), "{incidents:?}");
    }
}
