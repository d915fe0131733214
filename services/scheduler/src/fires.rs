use std::{sync::Arc, time::Duration};

use tidegate_engine::{Engine, EngineError, Timetables};
use tidegate_service_kit::{Supervisor, pulse};
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::metrics;

/// The name of the loop.
const NAME: &str = "schedules";
/// How soon is looked again where another replica is at all that has come.
const BUSY: Duration = Duration::from_millis(50);

/// Makes the runs of schedules until the process stops, each at its time: sleeps until the first of them, and looks
/// for new ones after `poll`. A turn in which none has come is one look into an index.
pub(crate) fn spawn(
    tasks: &Supervisor,
    engine: Engine,
    timetables: Arc<dyn Timetables>,
    poll: Duration,
    batch: usize,
) {
    tasks.essential(NAME, move |stop| async move {
        loop {
            pulse::beat();
            let started = Instant::now();
            let turn = turn(&engine, &*timetables, poll, batch);
            let outcome = turn.instrument(tracing::debug_span!("sweep", sweep.name = NAME)).await;
            ::metrics::histogram!(metrics::SWEEP_SECONDS, "sweep" => NAME).record(started.elapsed());
            let (n_rows, wait) = outcome.unwrap_or_else(|error| {
                ::metrics::counter!(metrics::SWEEP_ERRORS, "sweep" => NAME).increment(1);
                tracing::warn!(sweep.name = NAME, %error, "sweep {NAME} failed, the next turn tries again");
                (0, poll)
            });
            ::metrics::counter!(metrics::SWEEP_ROWS, "sweep" => NAME).increment(n_rows as u64);
            pulse::rest(wait);
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    });
}

/// Gives how many schedules had a time that has come, and how long there is nothing to be done.
async fn turn(
    engine: &Engine,
    timetables: &dyn Timetables,
    poll: Duration,
    batch: usize,
) -> Result<(usize, Duration), EngineError> {
    let now = engine.clock().now();
    let next = match engine.store().next_schedule_at().await? {
        None => return Ok((0, poll)),
        Some(next) if next > now => return Ok((0, poll.min(next.since(now)))),
        Some(next) => next,
    };
    tracing::trace!("a time of a schedule has come {:?} ago", now.since(next));
    let n_fired = engine.fire_schedules(timetables, batch).await?;
    Ok((n_fired, if n_fired == 0 { BUSY } else { Duration::ZERO }))
}
