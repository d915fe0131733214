use std::time::Duration;

use tidegate_service_kit::Supervisor;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::Instrument as _;

use crate::metrics;

/// Runs a sweep at an interval until the process stops. `sweep` gives how many rows it found; a full batch is followed
/// by the next at once. An error is logged and does not end the loop: the next turn tries again.
pub(crate) fn spawn<F, Fut, E>(
    tasks: &Supervisor,
    name: &'static str,
    period: Duration,
    batch: usize,
    sweep: F,
) where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<usize, E>> + Send,
    E: std::fmt::Display + Send,
{
    tasks.essential(name, move |stop| async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            loop {
                let started = Instant::now();
                // A turn under way is finished: it is made of short transactions, and may be cut between them.
                let outcome = sweep().instrument(tracing::debug_span!("sweep", sweep.name = name)).await;
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
        Ok(())
    });
}
