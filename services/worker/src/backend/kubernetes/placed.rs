//! A job of the cluster, from its creation to its end.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryFutureExt as _;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tidegate_sdk_core::proto::LogLevel;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::warn;

use super::{
    super::{
        Exit, Running,
        guard::{self, Guard},
        marks::SERVER,
        stamps::{Position, Taker},
    },
    in_time, is_not_there,
    lines::Copying,
    manifest::{DONE, JOB, LOGS_UNTIL, container_of},
    stage::{Seen, Stage},
};
use crate::logs::Output;

/// How long the last lines may take after the end of a pod.
const LAST_LINES: Duration = Duration::from_secs(10);
/// How long a pod may take to tell of its end after its Job did.
const SETTLING: Duration = Duration::from_secs(5);
/// How long it is waited before a cluster that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a worker that ends tries to leave word of it: its last reports are to go as well.
const LEAVING: Duration = Duration::from_secs(3);
/// How long a cluster is asked to delete something.
const DELETING: Duration = Duration::from_secs(60);
/// How often it is written down until when lines were taken.
const NOTE_LINES: Duration = Duration::from_secs(30);

/// Where a Job is, and how it is ended.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) jobs: Api<Job>,
    pub(super) pods: Api<Pod>,
    pub(super) name: String,
}

impl Place {
    /// Deletes the Job and then its pod, which has `grace` to end. Whether that worked is seen by the watch.
    pub(super) async fn delete(&self, grace: Duration) {
        let background = DeleteParams::background();
        self.insistently(|| self.jobs.delete(&self.name, &background).map_ok(drop)).await;
        // The pod of a Job that is there would count as failed, and its end be told as another.
        let seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX).max(1);
        let with_grace = DeleteParams { grace_period_seconds: Some(seconds), ..DeleteParams::default() };
        self.insistently(|| self.delete_pods(&with_grace)).await;
    }

    async fn delete_pods(&self, with_grace: &DeleteParams) -> kube::Result<()> {
        for pod in self.pods.list(&self.of_job()).await?.items {
            self.pods.delete(&pod.metadata.name.unwrap_or_default(), with_grace).await?;
        }
        Ok(())
    }

    /// The pod as it is now.
    async fn pod(&self) -> kube::Result<Option<Pod>> {
        Ok(self.pods.list(&self.of_job()).await?.items.into_iter().next())
    }

    async fn patch(&self, metadata: serde_json::Value) {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let patched = in_time(self.jobs.patch_metadata(&self.name, &PatchParams::default(), &patch)).await;
        if let Err(error) = patched
            && !is_not_there(&error)
        {
            warn!("the Job {} cannot be marked: {error}", self.name);
        }
    }

    /// Writes whose it is to a Job that does not say it.
    pub(super) async fn mark_server(&self, server: &str) {
        self.patch(json!({"labels": {SERVER: server}})).await;
    }

    async fn note_lines(&self, until: Option<Position>) {
        if let Some(until) = until {
            self.patch(json!({"annotations": {LOGS_UNTIL: until.to_string()}})).await;
        }
    }

    fn of_job(&self) -> ListParams {
        ListParams::default().labels(&format!("{JOB}={}", self.name))
    }

    async fn insistently<F: Future<Output = kube::Result<()>>>(&self, call: impl Fn() -> F) {
        let give_up_at = Instant::now() + DELETING;
        while let Err(error) = in_time(call()).await {
            if is_not_there(&error) {
                return;
            }
            if Instant::now() >= give_up_at {
                return warn!("the Job {} cannot be deleted: {error}", self.name);
            }
            sleep(PAUSE).await;
        }
    }
}

/// What is told of a job to those who wait for it.
#[derive(Clone, Debug, Default)]
struct Progress {
    has_begun: bool,
    exit: Option<Exit>,
    /// Nothing of it runs any more.
    has_finished: bool,
}

/// A Job that was created. Dropped, it is deleted, unless it has ended or goes on without this worker.
pub(super) struct Placed {
    place: Place,
    progress: watch::Receiver<Progress>,
    lines_until: watch::Receiver<Option<Position>>,
    guard: Guard<Place>,
    _following: DropGuard,
}

impl guard::Place for Place {
    async fn end(self) {
        self.delete(Duration::ZERO).await;
    }
}

impl Placed {
    /// Follows the Job of `guard`, whose pod has `start_timeout` to begin. Its lines are taken from `lines_from` on.
    pub(super) fn follow(
        guard: Guard<Place>,
        seen: watch::Receiver<Seen>,
        output: &Output,
        start_timeout: Duration,
        lines_from: Option<Position>,
    ) -> Self {
        let place = guard.place().clone();
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (lines_sender, lines_until) = watch::channel(lines_from);
        let following = Following {
            place: place.clone(),
            seen,
            output: output.clone(),
            start_timeout,
            start_by: Instant::now() + start_timeout,
            lines_until: lines_sender,
            progress: progress_sender,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let following = Box::pin(following.run());
        TaskTracker::new().spawn(async move { stopped.run_until_cancelled(following).await });
        Self { place, progress, lines_until, guard, _following: stop.drop_guard() }
    }
}

#[async_trait]
impl Running for Placed {
    async fn executes(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| progress.has_begun || progress.exit.is_some()).await;
    }

    async fn wait(&self) -> Exit {
        let mut progress = self.progress.clone();
        let ended = progress.wait_for(|progress| progress.exit.is_some()).await;
        let exit = ended.ok().and_then(|progress| progress.exit.clone());
        exit.unwrap_or_else(|| Exit::Reason("nobody follows its Job any more".into()))
    }

    async fn stop(&self, grace: Duration) {
        self.place.delete(grace).await;
        // The pod ends itself by then; what is lost is ended without it.
        sleep(grace + SETTLING).await;
        self.kill().await;
    }

    async fn kill(&self) {
        if !self.progress.borrow().has_finished {
            self.place.delete(Duration::ZERO).await;
        }
    }

    async fn remove(&self) {
        self.guard.let_go();
        // It stays for its time, for those who look for it, and is not adopted again.
        self.place.patch(json!({"labels": {DONE: "true"}})).await;
    }

    async fn leave(&self) {
        self.guard.let_go();
        let until = *self.lines_until.borrow();
        // Without it some lines come twice.
        let _ = timeout(LEAVING, self.place.note_lines(until)).await;
    }
}

/// Follows a job to its end.
struct Following {
    place: Place,
    seen: watch::Receiver<Seen>,
    output: Output,
    start_timeout: Duration,
    start_by: Instant,
    lines_until: watch::Sender<Option<Position>>,
    progress: watch::Sender<Progress>,
}

impl Following {
    async fn run(mut self) {
        let (lines_end, mut copying) = (CancellationToken::new(), None);
        let mut last_noted = None;
        let mut settle_by = None;
        let exit = loop {
            let seen = self.seen.borrow_and_update().clone();
            if copying.is_none() {
                copying = self.copy_lines(&seen, &lines_end);
            }
            let patient_until = match seen.stage() {
                Stage::Ended(exit) => {
                    self.progress.send_modify(|progress| progress.has_finished = seen.has_finished());
                    break exit;
                }
                Stage::Broken(exit) => break exit,
                Stage::Executing => {
                    self.progress.send_modify(|progress| progress.has_begun = true);
                    settle_by = None;
                    None
                }
                Stage::Unclear(_) => Some(*settle_by.get_or_insert_with(|| Instant::now() + SETTLING)),
                Stage::Waiting(why) => {
                    let has_begun = self.progress.borrow().has_begun;
                    if !has_begun {
                        self.output.hinders(why.as_deref().unwrap_or_else(|| seen.waits_for()));
                    }
                    if let Some(why) = why.filter(|why| last_noted.as_ref() != Some(why)) {
                        self.output.note(LogLevel::Warn, &format!("the job has not begun: {why}"));
                        last_noted = Some(why);
                    }
                    (!has_begun).then_some(self.start_by)
                }
            };
            match patient_until {
                None => {
                    if self.seen.changed().await.is_err() {
                        break Exit::Reason("nobody watches the cluster any more".into());
                    }
                }
                Some(until) => match timeout_at(until, self.seen.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break Exit::Reason("nobody watches the cluster any more".into()),
                    Err(_) => {
                        if let Some(exit) = self.look().await {
                            break exit;
                        }
                    }
                },
            }
        };
        lines_end.cancel();
        if let Some(copying) = copying {
            let _ = timeout(LAST_LINES, copying).await;
        }
        self.progress.send_modify(|progress| progress.exit = Some(exit));
    }

    /// The time is over. The watch may be late, so the pod is asked itself; a cluster that is away is asked again.
    async fn look(&mut self) -> Option<Exit> {
        let pod = match in_time(self.place.pod()).await {
            Ok(pod) => pod,
            Err(error) => {
                warn!("the pod of Job {} cannot be asked for: {error}", self.place.name);
                sleep(PAUSE).await;
                return None;
            }
        };
        let mut seen = self.seen.borrow().clone();
        seen.pod = pod.or(seen.pod);
        match seen.stage() {
            Stage::Ended(exit) | Stage::Broken(exit) | Stage::Unclear(exit) => Some(exit),
            // The watch will tell of it.
            Stage::Executing => {
                sleep(PAUSE).await;
                None
            }
            Stage::Waiting(why) => {
                let (seconds, variable) = (self.start_timeout.as_secs(), super::START_TIMEOUT);
                let why = why.unwrap_or_else(|| "its pod has not begun".into());
                Some(Exit::Reason(format!("{why} (after {seconds} s, `{variable}`)")))
            }
        }
    }

    /// Once the container has begun.
    fn copy_lines(&self, seen: &Seen, ended: &CancellationToken) -> Option<impl Future<Output = ()> + use<>> {
        let pod = seen.pod.as_ref()?;
        let container = pod.spec.as_ref().and_then(container_of)?.name.clone();
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let state = statuses.iter().find(|status| status.name == container)?.state.as_ref()?;
        if state.running.is_none() && state.terminated.is_none() {
            return None;
        }
        let copying = Copying {
            pods: self.place.pods.clone(),
            pod: pod.metadata.name.clone()?,
            container,
            taker: Taker { output: self.output.clone(), until: self.lines_until.clone() },
            ended: ended.clone(),
        };
        let (place, mut until) = (self.place.clone(), self.lines_until.subscribe());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone();
        let noting = async move {
            while until.changed().await.is_ok() {
                sleep(NOTE_LINES).await;
                let reached = *until.borrow_and_update();
                place.note_lines(reached).await;
            }
        };
        tasks.spawn(async move {
            let both = Box::pin(async {
                tokio::select! {
                    () = copying.copy() => {}
                    () = noting => {}
                }
            });
            stopped.run_until_cancelled(both).await;
        });
        tasks.close();
        let guard = stop.drop_guard();
        Some(async move {
            tasks.wait().await;
            drop(guard);
        })
    }
}
