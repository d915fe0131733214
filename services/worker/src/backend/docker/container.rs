//! A job of the engine, from its creation to its end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    Docker,
    errors::Error,
    query_parameters::{
        KillContainerOptions, RemoveContainerOptions, RenameContainerOptions, StopContainerOptions,
        WaitContainerOptions,
    },
};
use futures::StreamExt as _;
use tidegate_sdk_core::proto::LogLevel;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
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
        of_code,
        stamps::{Position, Taker},
    },
    DONE, cause, is_conflict, is_not_there,
    lines::Copying,
};
use crate::logs::Output;

/// How long the last lines may take after the end of a container.
const LAST_LINES: Duration = Duration::from_secs(10);
/// How long it is waited before an engine that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is tried to end or remove a container.
const MAX_TRIES: usize = 30;
/// What an engine may take to answer beside the time that a container has.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it is waited for what the engine tells of a container before it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often it is written down until when lines were taken.
const NOTE_LINES: Duration = Duration::from_secs(5);

/// Where a container is, and how it is ended.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) docker: Docker,
    pub(super) name: String,
    /// Has the time until which its lines were taken.
    pub(super) lines_file: PathBuf,
}

impl Place {
    /// Takes it away, whether it runs or not.
    pub(super) async fn remove(&self) {
        let options = RemoveContainerOptions { v: true, force: true, ..Default::default() };
        self.insistently(|| self.docker.remove_container(&self.name, Some(options.clone()))).await;
        self.forget_lines();
    }

    async fn kill(&self) {
        let options = KillContainerOptions { signal: "SIGKILL".into() };
        self.insistently(|| self.docker.kill_container(&self.name, Some(options.clone()))).await;
    }

    /// Until when lines were taken by an earlier worker.
    pub(super) fn lines_until(&self) -> Option<Position> {
        std::fs::read_to_string(&self.lines_file).ok()?.parse().ok()
    }

    fn note_lines(&self, until: Option<Position>) {
        let Some(until) = until else { return };
        if let Err(error) = write_whole(&self.lines_file, &until.to_string()) {
            warn!("{} cannot be written: {error}", self.lines_file.display());
        }
    }

    fn forget_lines(&self) {
        let _ = std::fs::remove_file(&self.lines_file); // there is none where nothing was written
    }

    async fn insistently<F: Future<Output = Result<(), Error>>>(&self, call: impl Fn() -> F) {
        for _ in 0..MAX_TRIES {
            match call().await {
                Ok(()) => return,
                Err(error) if is_not_there(&error) || is_conflict(&error) => return,
                Err(error) => warn!("the container {} cannot be ended yet: {}", self.name, cause(&error)),
            }
            sleep(PAUSE).await;
        }
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

impl guard::Place for Place {
    async fn end(self) {
        self.remove().await;
    }
}

/// A container that was started. Dropped, it is removed, unless it goes on without this worker.
pub(super) struct Container {
    place: Place,
    is_removed: bool,
    exit: watch::Receiver<Option<Exit>>,
    lines_until: watch::Receiver<Option<Position>>,
    guard: Guard<Place>,
    _following: DropGuard,
}

impl Container {
    /// Follows the container of `guard`, whose lines are taken from `lines_from` on. `is_removed`: at its end.
    pub(super) fn follow(
        guard: Guard<Place>,
        output: &Output,
        lines_from: Option<Position>,
        is_removed: bool,
    ) -> Self {
        let place = guard.place().clone();
        let (exit_sender, exit) = watch::channel(None);
        let (lines_sender, lines_until) = watch::channel(lines_from);
        let (stop, lines_end) = (CancellationToken::new(), CancellationToken::new());
        let copying = Copying {
            docker: place.docker.clone(),
            name: place.name.clone(),
            taker: Taker { output: output.clone(), until: lines_sender },
            ended: lines_end.clone(),
        };
        let (followed, mut until, output, stopped) =
            (place.clone(), lines_until.clone(), output.clone(), stop.clone());
        let following = async move {
            let noting = async {
                while until.changed().await.is_ok() {
                    let reached = *until.borrow_and_update();
                    followed.note_lines(reached);
                    sleep(NOTE_LINES).await;
                }
                std::future::pending::<()>().await;
            };
            let copied = async {
                let (ended, copied) = (CancellationToken::new(), copying.copy());
                let copied = async {
                    copied.await;
                    ended.cancel();
                };
                let exit = async {
                    let exit = end_of(&followed, &output).await;
                    lines_end.cancel();
                    let _ = timeout(LAST_LINES, ended.cancelled()).await;
                    exit_sender.send_replace(Some(exit));
                };
                tokio::join!(copied, exit);
            };
            tokio::select! {
                () = copied => {}
                () = noting => {}
            }
        };
        TaskTracker::new().spawn(async move { stopped.run_until_cancelled(following).await });
        Self { place, is_removed, exit, lines_until, guard, _following: stop.drop_guard() }
    }
}

/// Waits for the end of a container; while the engine is away, for that.
async fn end_of(place: &Place, output: &Output) -> Exit {
    let mut is_away = false;
    loop {
        let options = WaitContainerOptions { condition: "not-running".into() };
        // What it tells is not enough, and that the stream has ended does not say that the container has.
        // Nor does a connection end that a network has forgotten.
        let _ = timeout(LOOK_AGAIN, place.docker.wait_container(&place.name, Some(options)).next()).await;
        match place.docker.inspect_container(&place.name, None).await {
            Ok(found) => {
                is_away = false;
                let state = found.state.unwrap_or_default();
                let has_ended = state.finished_at.as_ref().is_some_and(|at| !at.starts_with("0001-"));
                if !state.running.unwrap_or_default() && has_ended {
                    let limit = found.host_config.and_then(|host| host.memory).filter(|memory| *memory > 0);
                    return exit_of(&state, limit);
                }
            }
            Err(error) if is_not_there(&error) => {
                return Exit::Reason("its container was removed before it had told its end".into());
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    output.note(
                        LogLevel::Warn,
                        &format!("the engine does not tell of the job now: {}", cause(&error)),
                    );
                }
            }
        }
        sleep(PAUSE).await;
    }
}

fn exit_of(state: &bollard::models::ContainerState, memory: Option<i64>) -> Exit {
    let code = i32::try_from(state.exit_code.unwrap_or_default()).unwrap_or(i32::MAX);
    if state.oom_killed.unwrap_or_default() && code != 0 {
        let limit = memory.map(|memory| format!(" of {} MiB", memory >> 20)).unwrap_or_default();
        return Exit::Reason(format!(
            "OOMKilled: it was out of memory at its limit{limit}; the job variable `memory_mib` says how much it gets"
        ));
    }
    match state.error.as_deref().filter(|error| !error.is_empty()) {
        Some(error) if code != 0 => Exit::Reason(error.to_owned()),
        _ => of_code(code),
    }
}

#[async_trait]
impl Running for Container {
    async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.unwrap_or_else(|| Exit::Reason("nobody follows its container any more".into()))
    }

    async fn stop(&self, grace: Duration) {
        // The engine keeps the time, also where this worker ends meanwhile.
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX).max(1);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        let patient = self.place.docker.clone().with_timeout(grace + ANSWER);
        if let Err(error) = patient.stop_container(&self.place.name, Some(options)).await
            && !is_not_there(&error)
        {
            warn!("the container {} cannot be stopped, and is killed: {}", self.place.name, cause(&error));
            self.kill().await;
        }
    }

    async fn kill(&self) {
        if self.exit.borrow().is_none() {
            self.place.kill().await;
        }
    }

    async fn remove(&self) {
        self.guard.let_go();
        if self.is_removed {
            return self.place.remove().await;
        }
        // Its name says that it is not to be adopted.
        let name = format!("{}{DONE}", self.place.name);
        let renamed =
            self.place.docker.rename_container(&self.place.name, RenameContainerOptions { name }).await;
        if let Err(error) = renamed {
            warn!("the container {} cannot be renamed: {}", self.place.name, cause(&error));
        }
        self.place.forget_lines();
    }

    async fn leave(&self) {
        self.guard.let_go();
        self.place.note_lines(*self.lines_until.borrow());
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerState;

    use super::*;

    #[test]
    fn the_end_of_a_container_is_told_by_its_state() {
        let ended = |exit_code, oom_killed, error: &str| {
            let (exit_code, oom_killed, error) = (Some(exit_code), Some(oom_killed), Some(error.to_owned()));
            exit_of(&ContainerState { exit_code, oom_killed, error, ..Default::default() }, Some(64 << 20))
        };
        assert_eq!(ended(0, false, ""), Exit::Code(0));
        assert_eq!(ended(3, false, ""), Exit::Code(3));
        assert_eq!(ended(139, false, ""), Exit::Signal { number: 11, note: String::new() });
        assert!(
            ended(137, true, "")
                .cause()
                .starts_with("OOMKilled: it was out of memory at its limit of 64 MiB")
        );
        assert_eq!(ended(0, true, ""), Exit::Code(0), "a process of it was killed, and it went on");
        assert_eq!(ended(128, false, "no such device"), Exit::Reason("no such device".into()));
    }
}
