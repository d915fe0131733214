use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidegate_delivery::Delivery;
use tidegate_model::Clock;
use tidegate_service_kit::pulse::Pulses;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, claims::PendingClaim, engine::Engine, paused::Paused, pool::Pools, reports::Reports,
    workers::Workers,
};

/// What the parts of the service have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// A name that no other replica has.
    pub(crate) replica: String,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) workers: Workers,
    pub(crate) pools: Pools,
    pub(crate) paused: Paused,
    pub(crate) claims: mpsc::Sender<PendingClaim>,
    pub(crate) reports: Reports,
    pub(crate) engine_gate: Gate,
    /// When this replica began: workers need some time to find it.
    pub(crate) started: Instant,
    pub(crate) stop: CancellationToken,
    /// For the loops of pools.
    pub(crate) pulses: Pulses,
    /// The tasks of streams: a stop waits for them, so that last reports come in.
    pub(crate) streams: TaskTracker,
    /// Other tasks that end by themselves soon after the stop.
    pub(crate) background: TaskTracker,
    /// Cancelled when a pool has ended in a way that it should not.
    pub(crate) pool_broken: CancellationToken,
}

impl Shared {
    /// True once leases can be judged: nothing has been lost for as long as a lease lasts, and workers have
    /// had that long to find this replica.
    pub(crate) async fn can_judge_leases(&self) -> Result<bool, tidegate_delivery::Error> {
        let lease = *self.config.lease.duration;
        let age = self.delivery.generation().await?.age;
        Ok(age > lease && self.started.elapsed() > lease)
    }
}

/// Holds back what needs api while api does not answer.
#[derive(Default)]
pub(crate) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Nobody passes for `pause`.
    pub(crate) fn close_for(&self, pause: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
    }

    /// Waits until the pause is over.
    pub(crate) async fn open(&self) {
        while let Some(until) = self.closed_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed_until().is_some()
    }

    fn closed_until(&self) -> Option<Instant> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }
}
