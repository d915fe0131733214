use std::{pin::pin, time::Duration};

use tidegate_sdk_core::{End, Stop, StopSignal, proto::Failure};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{Context, failure};

/// How long a run that is stopped waits for what it has started in this process, which is stopped as well.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a run whose caller was cancelled waits for its own cancel, which is on its way.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// How the code of an attempt ended.
pub(crate) enum Ending<T> {
    /// By itself.
    Code(Result<T, Failure>),
    /// It was stopped, for this.
    Stopped(Stop),
    /// It was stopped because the code that called it was, for this.
    Orphaned(Stop),
}

/// Waits for the end of `code`, and stops it and what it has started where that is to be: by the word of the server,
/// or because its caller goes on without it.
pub(crate) async fn supervise<T: 'static>(
    code: &mut JoinSet<Result<T, Failure>>,
    signal: &mut StopSignal,
    context: &Context,
    caller: impl Future<Output = Stop>,
) -> Ending<T> {
    let ending = until_stopped(code, signal, context, caller).await;
    if let Ending::Stopped(stop) | Ending::Orphaned(stop) = &ending {
        context.cancel();
        // First what it has started, which is to hear why: once the code is gone, it would count as dropped.
        context.children().stop(stop.clone());
        code.abort_all();
        let ended = async {
            while code.join_next().await.is_some() {}
            context.children().ended().await; // its children report for themselves
        };
        let _ = timeout(LAST_WORDS, ended).await;
    }
    ending
}

async fn until_stopped<T: 'static>(
    code: &mut JoinSet<Result<T, Failure>>,
    signal: &mut StopSignal,
    context: &Context,
    caller: impl Future<Output = Stop>,
) -> Ending<T> {
    let mut caller = pin!(caller);
    // What the caller was stopped for.
    let mut orphaned: Option<Stop> = None;
    let mut cancelled: Option<Stop> = None;
    let mut ends_at = None;
    let mut is_over = false;
    loop {
        let far = Instant::now() + Duration::from_secs(3_600);
        tokio::select! {
            biased;
            ended = code.join_next(), if !is_over => {
                let end = match ended {
                    Some(Ok(end)) => end,
                    Some(Err(error)) => Err(failure_of_lost_task(error)),
                    None => Err(failure_of_no_task()),
                };
                // Whatever the code says after a cancel: a run that is being cancelled becomes CANCELLED.
                match cancelled {
                    Some(stop) => return Ending::Stopped(stop),
                    None if orphaned.is_none() => return Ending::Code(end),
                    None => is_over = true, // its own cancel is still to come
                }
            }
            said = signal.next() => {
                context.cancel();
                match said {
                    Stop::Go => {}
                    Stop::Cancel { grace, .. } if context.handles_cancellation() && !is_over => {
                        ends_at = Some(Instant::now() + grace);
                        cancelled = Some(said);
                    }
                    Stop::TimedOut | Stop::Lost { .. } | Stop::Shutdown | Stop::Cancel { .. } => {
                        return Ending::Stopped(said);
                    }
                }
            }
            stop = &mut caller, if orphaned.is_none() => {
                context.cancel();
                if !matches!(stop, Stop::Cancel { .. }) {
                    return Ending::Orphaned(stop);
                }
                // The cancel of a tree comes to each of its runs. This one is to end as CANCELLED, too.
                if !context.handles_cancellation() {
                    context.children().stop(stop.clone());
                    code.abort_all();
                    is_over = true;
                }
                if cancelled.is_none() {
                    ends_at = Some(Instant::now() + CANCEL_PATIENCE);
                }
                orphaned = Some(stop);
            }
            () = sleep_until(ends_at.unwrap_or(far)), if ends_at.is_some() => {
                return match (cancelled, orphaned) {
                    (None, Some(stop)) => Ending::Orphaned(stop),
                    (stop, _) => Ending::Stopped(stop.unwrap_or_default()),
                };
            }
        }
    }
}

fn failure_of_lost_task(error: JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => failure::failure_of_panic(&*panic),
        Err(error) => plain_failure("JoinError", error.to_string()),
    }
}

fn failure_of_no_task() -> Failure {
    plain_failure("JoinError", "the code's task is gone".into())
}

pub(crate) fn plain_failure(error_type: &str, message: String) -> Failure {
    Failure { error_type: error_type.into(), message, traceback: String::new(), non_retryable: false }
}

/// The value of code that returned one, or else what to report; nothing of a run that is no longer ours.
pub(crate) fn value_of<T>(ending: Ending<T>) -> Result<T, Option<End>> {
    Err(Some(match ending {
        Ending::Code(Ok(value)) => return Ok(value),
        Ending::Code(Err(failure)) => End::Failed(failure),
        Ending::Stopped(Stop::TimedOut) => End::TimedOut,
        Ending::Stopped(Stop::Cancel { .. } | Stop::Go) => End::Cancelled,
        Ending::Stopped(Stop::Shutdown) => {
            End::Crashed("shutdown: the worker ended before the run did".into())
        }
        Ending::Stopped(Stop::Lost { .. }) => return Err(None),
        Ending::Orphaned(Stop::Go) => {
            let message = "the code that called it went on without its result".to_owned();
            End::Failed(Failure { non_retryable: true, ..plain_failure("Dropped", message) })
        }
        Ending::Orphaned(_) => End::Crashed("the run that called it was stopped".into()),
    }))
}

pub(crate) fn failure_text(end: &Option<End>) -> Option<String> {
    match end {
        Some(End::Failed(failure)) => Some(format!("{}: {}", failure.error_type, failure.message)),
        Some(End::TimedOut) => Some("timed out".into()),
        Some(End::UpstreamFailed { run_id, .. }) => Some(format!("run {run_id} did not complete")),
        Some(End::Cancelled) => Some("cancelled".into()),
        Some(End::Crashed(cause)) => Some(cause.clone()),
        Some(End::Completed(_) | End::CompletedAs(_) | End::Released) => None,
        None => Some("the run was taken away from this process".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_dropped_is_no_crash_and_that_of_a_stopped_caller_is() {
        let dropped = value_of(Ending::<()>::Orphaned(Stop::Go));
        assert!(matches!(dropped, Err(Some(End::Failed(failure))) if failure.non_retryable));
        let stopped = value_of(Ending::<()>::Orphaned(Stop::TimedOut));
        assert!(matches!(stopped, Err(Some(End::Crashed(_)))));
        let lost = value_of(Ending::<()>::Stopped(Stop::Lost { message: String::new() }));
        assert_eq!(lost, Err(None));
    }
}
