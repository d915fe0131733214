use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tidegate_delivery::{Delivery, Error};
use tidegate_model::{Clock, Timestamp};
use tidegate_service_kit::{CancellationToken, pulse};
use tokio::time::{Instant, MissedTickBehavior};

const INTERVAL: Duration = Duration::from_secs(10);
/// Clocks that differ by less are as good as one; what is due is judged by the store once more.
const TOLERANCE: Duration = Duration::from_millis(20);
/// A difference that people are told of: machines whose time is kept do not come to that.
const NOTABLE: Duration = Duration::from_secs(1);

/// The clock of the delivery state, which all replicas have in common: the machine's own, put right by how much it
/// differs. So a replica whose machine has the wrong time takes what is due neither early nor late, and tells of its
/// workers in the order in which they came.
pub(crate) struct SharedClock {
    own: Arc<dyn Clock>,
    /// What is to be added to our own (µs).
    ahead: AtomicI64,
}

impl SharedClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, ahead: AtomicI64::new(0) }
    }

    /// Looks how much our own differs.
    pub(crate) async fn compare(&self, delivery: &dyn Delivery) -> Result<(), Error> {
        let (asked, before) = (Instant::now(), self.own.now());
        let there = delivery.generation().await?.now;
        // It was read somewhere between the question and the answer.
        let took = asked.elapsed();
        let ahead = there.as_micros() - (before + took / 2).as_micros();
        let magnitude = Duration::from_micros(ahead.unsigned_abs());
        let ahead = if magnitude <= TOLERANCE + took { 0 } else { ahead };
        let known = self.ahead.swap(ahead, Ordering::Relaxed);
        if magnitude > NOTABLE && ahead.abs_diff(known) > micros(NOTABLE) {
            let side = if ahead > 0 { "behind" } else { "ahead of" };
            tracing::warn!(
                "the clock of this machine is {magnitude:?} {side} that of the delivery state, which is used: is the time \
                 of one of them not kept?"
            );
        }
        Ok(())
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.own.now().as_micros().saturating_add(self.ahead.load(Ordering::Relaxed)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Compares the clocks now and then.
pub(crate) async fn run(
    clock: Arc<SharedClock>,
    delivery: Arc<dyn Delivery>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse::rest(INTERVAL);
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            return Ok(());
        }
        pulse::beat();
        clock.compare(&*delivery).await?;
    }
}
