//! `tidegate dev --demo`: real work on real files, with a worker that dies in the middle.
//!
//! Two worker processes (this program, started again) serve the flow `inventory`. When about 40 percent of the
//! files are done one of them is killed with SIGKILL; its runs are delivered again to the other one.

mod facts;
mod flows;
mod path;
mod progress;
mod report;
mod screen;
mod walk;
pub mod worker;
mod workers;

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::Context as _;
use futures::StreamExt as _;
use tidegate_sdk::{
    Client, RunHandle,
    core::DEFAULT_ADDRESS,
    proto::{ListRunsRequest, RunEvent, StateType, WatchRunsRequest},
};
use tidegate_service_kit::CancellationToken;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::{
    facts::Inventory,
    flows::Root,
    path::PathText,
    progress::{Progress, grouped},
    screen::Screen,
    workers::WorkerProcess,
};
use crate::output::{duration_text, event_line, tree_text};

/// A worker is killed when this much is done.
const KILL_AT_PERCENT: usize = 40;
/// What the demo's flow is tagged with.
const TAG: &str = "demo";
/// How often the line on a terminal changes.
const REFRESH: Duration = Duration::from_millis(100);

/// Checks what can be wrong with the folder before anything is started.
///
/// # Errors
/// It is no folder, or cannot be read.
pub fn check_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.canonicalize().with_context(|| format!("--demo: cannot read {}", folder.display()))?;
    std::fs::read_dir(&root)
        .with_context(|| format!("--demo: cannot read the folder {}", folder.display()))?;
    Ok(root)
}

/// Runs the demo on `root` against the server at `address`, and tells about it on stdout; `stays` says that the
/// server is still there afterwards. A stop ends the workers.
///
/// # Errors
/// The flow did not complete, or a worker did not start.
pub async fn run(address: &str, root: &Path, stays: bool, stop: &CancellationToken) -> anyhow::Result<()> {
    let client = Client::connect(address, "default")?;
    let mut demo = Demo { client, address, root, screen: Screen::new(), workers: Vec::new(), killed: None };
    // Dropped at a stop, which kills the workers: the server is going, and there is nobody to report to.
    let Some(flow) = stop.run_until_cancelled(demo.run()).await else {
        demo.screen.say("the demo was stopped");
        return Ok(());
    };
    let flow = flow?;
    futures::future::join_all(demo.workers.into_iter().map(WorkerProcess::end)).await;
    demo.client.close(Duration::from_secs(1)).await;
    if stays {
        demo.screen.say(&invitation(address, flow.id()));
    }
    Ok(())
}

struct Demo<'a> {
    client: Client,
    address: &'a str,
    root: &'a Path,
    screen: Screen,
    workers: Vec<WorkerProcess>,
    killed: Option<Kill>,
}

/// The kill in the middle.
struct Kill {
    at: Instant,
    /// Tasks a second until then.
    rate: f64,
}

impl Demo<'_> {
    async fn run(&mut self) -> anyhow::Result<RunHandle> {
        let root = self.root.to_owned();
        let folders = tokio::task::spawn_blocking(move || walk::count(&root)).await?;
        let folders = folders.with_context(|| format!("--demo: cannot read {}", self.root.display()))?;
        let n_files = folders.values().sum();
        self.cancel_leftovers().await?;
        let (root, n) = (self.root.display(), grouped(n_files as u64));
        self.screen.say(&format!("demo: an inventory of {root}: {n} files in {} folders", folders.len()));

        // A queue of its own: no other worker takes part, and its workers take nothing else.
        let queue = format!("demo-{}", tidegate_sdk::core::new_run_id());
        for number in [1, 2] {
            let worker = WorkerProcess::start(number, self.address, &queue).await?;
            self.screen.say(&format!("worker {number} is process {}", worker.pid));
            self.workers.push(worker);
        }
        let name = self.root.file_name().unwrap_or(self.root.as_os_str());
        let call = self.client.flow(flows::INVENTORY).queue(&queue).max_crashes(10).tags([TAG]);
        let call = call.run_name(format!("inventory of {}", name.display()));
        let flow = call.delay(&Root::new(self.root)).await?;

        let started = Instant::now();
        let progress = self.watch(&flow, n_files, started).await;
        self.screen.clear();
        let progress = progress?;
        self.conclude(&flow, &progress).await?;
        Ok(flow)
    }

    /// A demo that was broken off has left runs that nobody will execute.
    async fn cancel_leftovers(&self) -> anyhow::Result<()> {
        let open = "(state = SCHEDULED OR state = PENDING OR state = RUNNING)";
        let filter = format!("tags:{TAG} AND name = \"{}\" AND {open}", flows::INVENTORY);
        let request = ListRunsRequest { filter, page_size: 1_000, ..ListRunsRequest::default() };
        for run in self.client.core().list_runs(request).await?.runs {
            self.client.core().cancel_run(&run.id, "left behind by a demo that was broken off").await?;
        }
        Ok(())
    }

    /// Follows the flow to its end, and kills a worker on the way.
    async fn watch(
        &mut self,
        flow: &RunHandle,
        n_files: usize,
        started: Instant,
    ) -> anyhow::Result<Progress> {
        let mut progress = Progress::new(n_files);
        let request = WatchRunsRequest {
            root_run_id: flow.id().to_owned(),
            from_start: true,
            until_ended: true,
            ..WatchRunsRequest::default()
        };
        let mut events = pin!(self.client.core().watch(request));
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                batch = events.next() => match batch {
                    Some(batch) => self.note(&mut progress, &batch?.events, started),
                    None => return Ok(progress),
                },
                _ = refresh.tick() => {}
            }
            let is_time = progress.n_done > 0 && progress.n_done * 100 >= n_files * KILL_AT_PERCENT;
            if is_time && progress.n_done < n_files && self.killed.is_none() {
                self.kill_a_worker(flow, &progress).await?;
            }
            self.screen.status(progress.percent(), &progress.line());
        }
    }

    /// Kills the worker that executes the flow itself: the harder case.
    async fn kill_a_worker(&mut self, flow: &RunHandle, progress: &Progress) -> anyhow::Result<()> {
        let holder = progress.holder(flow.id()).map(worker_id);
        let victim = self.workers.iter().position(|worker| Some(worker.id.as_str()) == holder);
        let mut worker = self.workers.remove(victim.unwrap_or(0));
        worker.kill().await?;
        self.screen.say(&format!(
            "worker {} (process {}) killed with SIGKILL at {} %: it executed {}{}",
            worker.number,
            worker.pid,
            progress.percent(),
            runs(progress.n_held(&format!("worker:{}", worker.id))),
            if victim.is_some() { ", the flow itself among them" } else { "" },
        ));
        self.killed = Some(Kill { at: Instant::now(), rate: progress.rate() });
        Ok(())
    }

    /// Takes in a batch of events, and says what is worth a line.
    fn note(&mut self, progress: &mut Progress, events: &[RunEvent], started: Instant) {
        let (n_crashed, n_redelivered) = (progress.n_crashed, progress.n_redelivered);
        let n_done = progress.n_done;
        for event in events {
            progress.note(event);
            let state = event.state.clone().unwrap_or_default();
            if event.ended && state.r#type() != StateType::Completed {
                self.screen.say(&event_line(event));
            }
        }
        if progress.n_done > n_done {
            progress.files_took = started.elapsed();
        }
        let after = self.killed.as_ref().map_or(Duration::ZERO, |kill| kill.at.elapsed());
        if progress.n_crashed > n_crashed {
            let crashed = runs(progress.n_crashed - n_crashed);
            let after = duration_text(after);
            self.screen.say(&format!("{crashed} of the killed worker CRASHED: no heartbeat for {after}"));
        }
        if progress.n_redelivered > n_redelivered {
            let again = runs(progress.n_redelivered - n_redelivered);
            self.screen.say(&format!("{again} delivered again and started by the other worker"));
        }
    }

    async fn conclude(&mut self, flow: &RunHandle, progress: &Progress) -> anyhow::Result<()> {
        let inventory: Inventory = flow.result().await?;
        let tree = crate::run::fetch_tree(self.client.core(), flow.id()).await?;
        let now = crate::run::now();
        self.screen.say(&format!("\n{}", tree_text(&tree, false, now)));
        self.screen.say(&report::report(&PathText::from(self.root), &inventory, progress));
        if let Some(kill) = &self.killed {
            self.screen.say(&format!("{:.0} tasks/s up to the kill", kill.rate));
        }
        let fate = match (&self.killed, progress.n_crashed, progress.n_redelivered) {
            (None, ..) => "all was done before a worker could be killed in the middle".to_owned(),
            (Some(_), 0, _) => {
                "the killed worker held nothing in that moment, and nothing was lost".to_owned()
            }
            (Some(_), n, again) => {
                format!("the kill crashed {}, {again} delivered again, none lost", runs(n))
            }
        };
        self.screen.say(&fate);
        Ok(())
    }
}

/// The worker in an event's `holder`: `worker:` and the id under which it said hello.
fn worker_id(holder: &str) -> &str {
    holder.strip_prefix("worker:").unwrap_or(holder)
}

/// `1 run`, `2 runs`.
fn runs(n: usize) -> String {
    format!("{} run{}", grouped(n as u64), if n == 1 { "" } else { "s" })
}

/// Three commands to try next.
fn invitation(address: &str, flow_id: &str) -> String {
    let program = std::env::args_os().next().unwrap_or_else(|| "tidegate".into());
    let program = Path::new(&program).display();
    let at = if address == DEFAULT_ADDRESS { String::new() } else { format!(" --address {address}") };
    format!(
        "\nthe server stays up (Ctrl-C ends it); look around:\n  \
         {program} run ls{at} --filter 'kind = FLOW'\n  \
         {program} run get{at} {flow_id}\n  \
         {program} run logs{at} {flow_id} --tree --limit 20"
    )
}
