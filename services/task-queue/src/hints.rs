use std::sync::Arc;

use tidegate_delivery::{Hint, Hints};
use tidegate_service_kit::{CancellationToken, pulse};

use crate::shared::Shared;

/// Passes hints on: to the pools that something is ready, to the streams that runs are to stop or that the worker is to
/// drain. Goes on after the stop until `last_in`, so that a cancel still reaches workers that move.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut hints: Hints,
    last_in: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        pulse::wait();
        let Some(hint) = last_in.run_until_cancelled(hints.next()).await else { return Ok(()) };
        pulse::beat();
        match hint {
            Hint::Ready(ready) => ready.iter().for_each(|ready| shared.pools.wake_queue(&ready.queue)),
            Hint::Stop(stops) => stops.iter().for_each(|stop| shared.workers.stop(stop)),
            Hint::Drain(drain) => shared.workers.drain(&drain.namespace, &drain.worker_id),
            Hint::Resumed(what) => {
                shared.paused.forget(&what);
                shared.pools.wake_resumed(&what);
            }
            Hint::Missed => {
                shared.paused.forget_all();
                shared.pools.wake_all();
                shared.workers.recheck_all();
            }
        }
    }
}
