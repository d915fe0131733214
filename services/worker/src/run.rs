//! One run, from its assignment to its end.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tidegate_sdk_core::{
    Attempt, Client, End, Stop, StopSignal,
    proto::{LogLevel, StateType},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    backend::{Backend, Exit, Running, StartError},
    job::{Job, JobKind},
    logs::Output,
    report::{self, Told},
};

/// How long a job may take to begin before the run counts as started: well under the least start timeout by default.
const START_AFTER: Duration = Duration::from_secs(10);
/// How long a job has to end when its worker does: less than what the core leaves for last words, after its drain.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
/// How long the process of an entrypoint has to end after its run was lost: it hears that itself.
const LOST_GRACE: Duration = Duration::from_secs(15);
/// How long a process that has said what became of its run may take to end, for its hooks and its last lines.
const AFTER_ITS_END: Duration = Duration::from_secs(600);
/// How long code that is out of time has to end.
const TIMEOUT_GRACE: Duration = Duration::from_secs(10);

/// What all runs of a worker share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) backend: Arc<dyn Backend>,
    /// Cancelled when the time to drain is over: jobs that still run are ended.
    pub(crate) hurry: CancellationToken,
}

/// Has a run executed, and tells its end.
pub(crate) async fn run(mut attempt: Attempt, adopted: Option<Box<dyn Running>>, shared: Arc<Shared>) {
    let assign = attempt.assign().clone();
    let options = shared.client.options();
    let output = Output::new(shared.client.logs().clone(), &assign);
    let told = match Job::new(assign, &options.address, &options.namespace) {
        Ok(job) => {
            Supervised { attempt: &mut attempt, shared: &shared, output: &output, job }.run(adopted).await
        }
        Err(error) => {
            attempt.start();
            Told::End(report::of_start_error(error))
        }
    };
    tell(attempt, told, &shared.client).await;
}

async fn tell(attempt: Attempt, told: Told, client: &Client) {
    let run_id = attempt.assign().run_id.clone();
    let end = match told {
        Told::End(end) => Some(end),
        Told::Nothing => None,
        Told::Unless(end) => (!has_ended(client, &run_id, attempt.assign().epoch).await).then_some(end),
    };
    match end {
        Some(end) => {
            info!("run {run_id}: {}", in_words(&end));
            attempt.finish(end);
        }
        None => attempt.leave(),
    }
}

fn in_words(end: &End) -> String {
    match end {
        End::Completed(_) => "completed".into(),
        End::Failed(failure) => format!("failed: {}", failure.message),
        End::TimedOut => "timed out".into(),
        End::Cancelled => "cancelled".into(),
        End::Crashed(cause) => format!("crashed: {cause}"),
        End::Released => "given back".into(),
    }
}

/// True where the server knows that the run has ended, or is no longer held under `epoch`. Where it cannot be asked the
/// epoch of the report decides.
async fn has_ended(client: &Client, run_id: &str, epoch: u64) -> bool {
    match client.peek_run(run_id).await {
        Ok(run) => {
            let state = run.state.map_or(StateType::Unspecified, |state| state.r#type());
            let is_open = matches!(
                state,
                StateType::Pending | StateType::Running | StateType::Paused | StateType::Cancelling
            );
            run.epoch != epoch || !is_open
        }
        Err(error) => {
            warn!("what became of run {run_id} cannot be asked: {error}");
            error.is_not_found()
        }
    }
}

/// A run, and what it takes to see to it.
struct Supervised<'a> {
    attempt: &'a mut Attempt,
    shared: &'a Shared,
    output: &'a Output,
    job: Job,
}

impl Supervised<'_> {
    async fn run(mut self, adopted: Option<Box<dyn Running>>) -> Told {
        let mut stop = self.attempt.stop_signal();
        let running = match adopted {
            Some(running) => running,
            None => match self.start(&mut stop).await {
                Ok(running) => running,
                Err(told) => return told,
            },
        };
        let (exit, stopped) = self.watch(running.as_ref(), &mut stop).await;
        running.kill().await; // what it has started and left behind
        running.remove().await;
        let told = report::of_exit(self.job.kind, &exit, &stopped, &self.output.tail());
        if !matches!(exit, Exit::Code(_)) && stopped == Stop::Go {
            self.output.note(LogLevel::Error, &format!("the job ended with {}", exit.cause()));
        }
        told
    }

    /// The started job; else what is to be told.
    async fn start(&mut self, stop: &mut StopSignal) -> Result<Box<dyn Running>, Told> {
        let start_at = Instant::now() + START_AFTER;
        let mut is_slow = false;
        let started = {
            let mut starting = pin!(async {
                let running = self.shared.backend.start(&self.job, self.output).await?;
                running.executes().await;
                Ok::<_, StartError>(running)
            });
            loop {
                tokio::select! {
                    biased;
                    stop = stop.next() => match stop {
                        Stop::Go => {}
                        Stop::Cancel { .. } => return Err(Told::End(End::Cancelled)),
                        Stop::Lost { .. } => return Err(Told::Nothing),
                        Stop::TimedOut => return Err(Told::End(End::TimedOut)),
                        Stop::Shutdown => return Err(Told::End(not_begun(is_slow))),
                    },
                    () = self.shared.hurry.cancelled() => return Err(Told::End(not_begun(is_slow))),
                    () = sleep_until(start_at), if !is_slow => {
                        is_slow = true;
                        self.attempt.start();
                    }
                    started = &mut starting => break started,
                }
            }
        };
        match started {
            Ok(running) => {
                // That of an entrypoint is told by the process, when its code begins.
                if self.job.kind == JobKind::Command {
                    self.attempt.start();
                }
                Ok(running)
            }
            Err(error) => {
                self.output.note(LogLevel::Error, &format!("the job was not started: {error}"));
                self.attempt.start();
                Err(Told::End(report::of_start_error(error)))
            }
        }
    }

    /// Waits for the end of the job, and stops it when that is said. With the gravest cause that was.
    async fn watch(&self, running: &dyn Running, stop: &mut StopSignal) -> (Exit, Stop) {
        let mut stopped = Stop::Go;
        let mut stopping: Option<BoxFuture<'_, ()>> = None;
        loop {
            let said = tokio::select! {
                biased;
                exit = running.wait() => return (exit, stopped),
                said = stop.next() => said,
                () = self.shared.hurry.cancelled(), if stopped != Stop::Shutdown => Stop::Shutdown,
                () = async { if let Some(stopping) = &mut stopping { stopping.await } }, if stopping.is_some() => {
                    stopping = None;
                    continue;
                }
            };
            // A process that has begun to end within a short time is not given a longer one.
            let grace = match &said {
                // Of an entrypoint the process itself keeps the time, which begins anew after a pause.
                Stop::Go => continue,
                Stop::TimedOut if self.job.kind == JobKind::Entrypoint => continue,
                Stop::TimedOut => TIMEOUT_GRACE,
                Stop::Cancel { grace, .. } => *grace,
                Stop::Shutdown => SHUTDOWN_GRACE,
                Stop::Lost { .. } => Duration::ZERO,
            };
            stopping = Some(match (&said, self.job.kind) {
                (Stop::Lost { .. }, JobKind::Entrypoint) => self.after_loss(running).boxed(),
                _ => running.stop(grace).boxed(),
            });
            stopped = said;
        }
    }

    /// The run is no longer this worker's: it has ended, or is another's. The process has been told, and ends itself.
    async fn after_loss(&self, running: &dyn Running) {
        let has_ended = match self.shared.client.peek_run(&self.job.assign.run_id).await {
            Ok(run) => run.ended_at.is_some() && run.epoch == self.job.assign.epoch,
            Err(_) => false,
        };
        tokio::time::sleep(if has_ended { AFTER_ITS_END } else { LOST_GRACE }).await;
        running.stop(SHUTDOWN_GRACE).await;
    }
}

/// A run that was to be executed when the worker ends: given back, unless it counts as started.
fn not_begun(is_slow: bool) -> End {
    if is_slow {
        End::Crashed("shutdown: the worker ended before the job began".into())
    } else {
        End::Released
    }
}
