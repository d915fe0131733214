use std::time::Duration;

use tidegate_service_kit::{Supervisor, pulse};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::Instrument as _;

use crate::metrics;

/// What becomes of a turn that is under way when the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStop {
    /// It is finished: it is short, and somebody would wait for what it does behind its commit.
    Finish,
    /// It is cut: it may be long, and is safe to be gone through again from wherever it was.
    Cut,
}

/// Runs a sweep at an interval until the process stops. `sweep` gives how many rows it found; a full batch is followed
/// by the next at once. An error is logged and does not end the loop: the next turn tries again.
pub(crate) fn spawn<F, Fut, E>(
    tasks: &Supervisor,
    name: &'static str,
    period: Duration,
    batch: usize,
    on_stop: OnStop,
    sweep: F,
) where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<usize, E>> + Send,
    E: std::fmt::Display + Send,
{
    tasks.essential(name, move |stop| async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pulse::rest(period);
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return Ok(());
            }
            loop {
                pulse::beat();
                let started = Instant::now();
                let turn = sweep().instrument(tracing::debug_span!("sweep", sweep.name = name));
                let outcome = match on_stop {
                    OnStop::Finish => turn.await,
                    OnStop::Cut => {
                        let Some(outcome) = stop.run_until_cancelled(turn).await else { return Ok(()) };
                        outcome
                    }
                };
                ::metrics::histogram!(metrics::SWEEP_SECONDS, "sweep" => name).record(started.elapsed());
                let n_rows = match outcome {
                    Ok(n_rows) => n_rows,
                    Err(error) => {
                        ::metrics::counter!(metrics::SWEEP_ERRORS, "sweep" => name).increment(1);
                        tracing::warn!(sweep.name = name, %error, "sweep {name} failed, the next turn tries again");
                        0
                    }
                };
                ::metrics::counter!(metrics::SWEEP_ROWS, "sweep" => name).increment(n_rows as u64);
                if n_rows < batch || stop.is_cancelled() {
                    break;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, sync::Arc};

    use tokio::sync::{Notify, Semaphore};

    use super::*;

    #[tokio::test]
    async fn a_turn_that_fails_is_followed_by_the_next() {
        let (tasks, turns) = (Supervisor::new(), Arc::new(Semaphore::new(0)));
        let turn = Arc::clone(&turns);
        spawn(&tasks, "failing", Duration::from_millis(1), 1, OnStop::Finish, move || {
            turn.add_permits(1);
            async { Err::<usize, _>("the store is away") }
        });
        assert!(turns.acquire_many(3).await.is_ok());
        tasks.stop();
        tasks.finished(Duration::from_secs(20)).await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_cuts_a_long_turn_and_waits_for_a_short_one() {
        let tasks = Supervisor::new();
        let begun = Arc::new(Semaphore::new(0));
        let (long, short) = (Arc::clone(&begun), Arc::clone(&begun));
        spawn(&tasks, "long", Duration::from_secs(1), 1, OnStop::Cut, move || {
            long.add_permits(1);
            pending::<Result<usize, Infallible>>()
        });
        let (let_end, finished) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
        let (may_end, end) = (Arc::clone(&let_end), Arc::clone(&finished));
        spawn(&tasks, "short", Duration::from_secs(1), 1, OnStop::Finish, move || {
            short.add_permits(1);
            let (may_end, end) = (Arc::clone(&may_end), Arc::clone(&end));
            async move {
                may_end.notified().await;
                end.add_permits(1);
                Ok::<_, Infallible>(0)
            }
        });
        let both = begun.acquire_many(2).await;
        assert!(both.is_ok());
        tasks.stop();
        let_end.notify_one();
        tasks.finished(Duration::from_secs(20)).await.unwrap();
        assert_eq!(finished.available_permits(), 1);
    }

    /// Longer than the 60 s that a loop may hang for.
    const TOO_LONG: Duration = Duration::from_secs(70);

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_hangs_is_late_until_it_goes_on_and_one_that_fails_or_is_rare_is_not() {
        let (tasks, let_end) = (Supervisor::new(), Arc::new(Notify::new()));
        let may_end = Arc::clone(&let_end);
        spawn(&tasks, "hanging", Duration::from_secs(1), 1, OnStop::Cut, move || {
            let may_end = Arc::clone(&may_end);
            async move {
                may_end.notified().await;
                Ok::<_, Infallible>(0)
            }
        });
        spawn(&tasks, "failing", Duration::from_secs(1), 1, OnStop::Finish, || async {
            Err::<usize, _>("the store is away")
        });
        spawn(&tasks, "rare", Duration::from_secs(3_600), 1, OnStop::Finish, || async {
            Ok::<_, Infallible>(0)
        });
        tokio::time::sleep(TOO_LONG).await;
        assert_eq!(tasks.pulses().late(), ["hanging"]);
        let_end.notify_one();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks.pulses().late(), Vec::<&str>::new());
        tasks.stop();
        tasks.finished(Duration::from_secs(20)).await.unwrap();
    }
}
