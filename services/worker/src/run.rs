//! One run, from its assignment to its end.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tidegate_sdk_core::{
    Attempt, Client, End, Stop, StopSignal,
    proto::{LogLevel, StateType},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    backend::{Backend, Exit, Running},
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
/// How long a worker that ends waits to hear that an end has reached the server.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// When a job that was to have ended is ended once more.
const STOP_AGAIN: Duration = Duration::from_secs(30);

/// What all runs of a worker share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) backend: Arc<dyn Backend>,
    /// Cancelled when the time to drain is over: jobs that still run are ended.
    pub(crate) hurry: CancellationToken,
}

/// Has a run executed, and tells its end.
/// `is_adopted`: its job was started by an earlier worker.
pub(crate) async fn run(mut attempt: Attempt, is_adopted: bool, shared: Arc<Shared>) {
    let assign = attempt.assign().clone();
    let options = shared.client.options();
    let output = Output::new(shared.client.logs().clone(), &assign, attempt.hindrance());
    let (told, ended) = match Job::new(assign, &options.address, &options.namespace) {
        Ok(job) => {
            let (attempt, shared, output, job) = (&mut attempt, shared.as_ref(), &output, &job);
            let counts_at = Instant::now() + START_AFTER;
            Supervised { attempt, shared, output, job, is_adopted, counts_at, counts: false }.run().await
        }
        Err(error) => {
            attempt.start();
            (Told::End(report::of_start_error(error)), None)
        }
    };
    let is_known = tell(attempt, told, &shared).await;
    match ended {
        None => {}
        Some(running) if is_known => running.remove().await,
        // The next worker finds it as it has ended, and tells it again.
        Some(running) => running.leave().await,
    }
}

/// Tells the server what has become of a run. False: the worker ends, and it is not known whether that has arrived.
async fn tell(attempt: Attempt, told: Told, shared: &Shared) -> bool {
    let run_id = attempt.assign().run_id.clone();
    let end = match told {
        Told::End(end) => Some(end),
        Told::Nothing => None,
        Told::Unless(end) => {
            (!has_ended(&shared.client, &run_id, attempt.assign().epoch).await).then_some(end)
        }
    };
    let Some(end) = end else {
        attempt.leave();
        return true;
    };
    info!("run {run_id}: {}", in_words(&end));
    let patience = async {
        shared.hurry.cancelled().await;
        sleep_until(Instant::now() + LAST_ANSWER).await;
    };
    tokio::select! {
        biased;
        // There is no state where the run is not this worker's any more, and where its connection has ended.
        state = attempt.finish_and_hear(end) => state.is_some() || !shared.hurry.is_cancelled(),
        () = patience => false,
    }
}

fn in_words(end: &End) -> String {
    match end {
        End::Completed(_) | End::CompletedAs(_) => "completed".into(),
        End::Failed(failure) => format!("failed: {}", failure.message),
        End::TimedOut => "timed out".into(),
        End::UpstreamFailed { run_id, cause } => {
            format!("not executed: run {run_id} did not complete: {cause}")
        }
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
    job: &'a Job,
    is_adopted: bool,
    /// When it counts as started, though its job has not begun; and whether it does.
    counts_at: Instant,
    counts: bool,
}

impl Supervised<'_> {
    /// What is to be told, and the job that has ended, where it is to stay until that has arrived.
    async fn run(mut self) -> (Told, Option<Box<dyn Running>>) {
        let mut stop = self.attempt.stop_signal();
        let running = match self.start(&mut stop).await {
            Ok(running) => running,
            Err(told) => return (told, None),
        };
        let Some((exit, stopped)) = self.watch(running.as_ref(), &mut stop).await else {
            running.leave().await;
            return (Told::Nothing, None);
        };
        running.kill().await; // what it has started and left behind
        let told = report::of_exit(self.job.kind, &exit, &stopped, &self.output.tail());
        match &exit {
            Exit::Code(_) => {}
            Exit::NotBegun(error) => {
                self.output.note(LogLevel::Error, &format!("the job was not started: {error}"));
                self.attempt.start();
            }
            exit if stopped == Stop::Go => {
                self.output.note(LogLevel::Error, &format!("the job ended with {}", exit.cause()));
            }
            _ => {}
        }
        if self.shared.backend.outlives_worker() {
            return (told, Some(running));
        }
        running.remove().await;
        (told, None)
    }

    /// The started job; else what is to be told.
    async fn start(&mut self, stop: &mut StopSignal) -> Result<Box<dyn Running>, Told> {
        let (backend, job, output) = (&self.shared.backend, self.job, self.output);
        let is_adopted = self.is_adopted;
        let starting = async {
            if is_adopted { backend.resume(job, output).await } else { backend.start(job, output).await }
        };
        let running = match self.unless_stopped(stop, starting).await {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => {
                if is_adopted {
                    backend.abandon(job).await;
                }
                self.output.note(LogLevel::Error, &format!("the job was not started: {error}"));
                self.attempt.start();
                return Err(Told::End(report::of_start_error(error)));
            }
            Err(stop) => {
                if is_adopted && stop != Stop::Shutdown {
                    backend.abandon(job).await;
                }
                return Err(self.not_begun(&stop));
            }
        };
        if let Err(stop) = self.unless_stopped(stop, running.executes()).await {
            let told = self.not_begun(&stop);
            if told == Told::Nothing && stop == Stop::Shutdown {
                running.leave().await;
            }
            return Err(told);
        }
        self.output.hinders("");
        // That of an entrypoint is told by the process, when its code begins.
        if self.job.kind == JobKind::Command {
            self.attempt.start();
        }
        Ok(running)
    }

    /// Waits for `begun`, or for the stop that comes before it. A run that takes long to begin counts as started.
    async fn unless_stopped<T>(
        &mut self,
        stop: &mut StopSignal,
        begun: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let mut begun = pin!(begun);
        loop {
            tokio::select! {
                biased;
                stop = stop.next() => if stop != Stop::Go {
                    return Err(stop);
                },
                () = self.shared.hurry.cancelled() => return Err(Stop::Shutdown),
                () = sleep_until(self.counts_at), if !self.counts => {
                    self.counts = true;
                    self.attempt.start();
                }
                begun = &mut begun => return Ok(begun),
            }
        }
    }

    /// What is told of a run whose job was stopped before it began.
    fn not_begun(&self, stop: &Stop) -> Told {
        match stop {
            Stop::Cancel { .. } => Told::End(End::Cancelled),
            Stop::TimedOut => Told::End(End::TimedOut),
            Stop::Shutdown if self.is_adopted => Told::Nothing,
            Stop::Shutdown if self.counts && self.shared.backend.outlives_worker() => Told::Nothing,
            Stop::Shutdown if self.counts => {
                Told::End(End::Crashed("shutdown: the worker ended before the job began".into()))
            }
            Stop::Shutdown => Told::End(End::Released),
            Stop::Lost { .. } | Stop::Go => Told::Nothing,
        }
    }

    /// Waits for the end of the job, and stops it when that is said. With the gravest cause that was. `None`: the worker
    /// ends, and the job goes on.
    async fn watch(&self, running: &dyn Running, stop: &mut StopSignal) -> Option<(Exit, Stop)> {
        let mut stopped = Stop::Go;
        let mut stopping: Option<BoxFuture<'_, Infallible>> = None;
        loop {
            let said = tokio::select! {
                biased;
                exit = running.wait() => return Some((exit, stopped)),
                said = stop.next() => said,
                () = self.shared.hurry.cancelled(), if stopped != Stop::Shutdown => Stop::Shutdown,
                never = async {
                    match &mut stopping {
                        Some(stopping) => stopping.await,
                        None => std::future::pending().await,
                    }
                } => match never {},
            };
            if said == Stop::Shutdown && stopped == Stop::Go && self.shared.backend.outlives_worker() {
                return None;
            }
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
                (Stop::Lost { .. }, JobKind::Entrypoint) => insist(running, self.after_loss(running)).boxed(),
                _ => insist(running, running.stop(grace)).boxed(),
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

/// Has a job ended by `stop`, and again and again for as long as it is there: who was to end it may have been away.
async fn insist(running: &dyn Running, stop: impl Future<Output = ()>) -> Infallible {
    stop.await;
    loop {
        sleep_until(Instant::now() + STOP_AGAIN).await;
        running.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::watch;

    use super::*;

    /// A job that is ended by the third kill alone.
    struct Stubborn(watch::Sender<u32>);

    #[async_trait]
    impl Running for Stubborn {
        async fn wait(&self) -> Exit {
            let _ = self.0.subscribe().wait_for(|n_kills| *n_kills >= 3).await;
            Exit::Code(137)
        }

        async fn stop(&self, _grace: Duration) {
            self.kill().await;
        }

        async fn kill(&self) {
            self.0.send_modify(|n_kills| *n_kills += 1);
        }

        async fn remove(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_its_stop_has_not_ended_is_ended_again() {
        let (job, begun) = (Stubborn(watch::Sender::new(0)), Instant::now());
        let exit = tokio::select! {
            exit = job.wait() => exit,
            never = insist(&job, job.stop(Duration::ZERO)) => match never {},
        };
        assert_eq!(exit, Exit::Code(137));
        assert!((2 * STOP_AGAIN..3 * STOP_AGAIN).contains(&begun.elapsed()));
    }
}
