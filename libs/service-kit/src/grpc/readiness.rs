//! Whether the process takes work: what it says itself, and whether its loops go round.

use std::time::Duration;

use tidegate_pulse::Pulses;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info};

/// How often is looked for loops that are late, at least.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the process takes no work. Nothing of both: it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unready {
    /// It says so itself.
    pub(super) says_so: bool,
    /// The loops that are late.
    pub(super) late: Vec<&'static str>,
}

impl Unready {
    pub(super) fn is_ready(&self) -> bool {
        *self == Self::default()
    }

    /// For people that ask `/readyz`.
    pub(super) fn reason(&self) -> String {
        match self.late.as_slice() {
            [] => "not ready\n".to_owned(),
            late => format!("not ready: {} hangs or has ended\n", late.join(", ")),
        }
    }
}

/// What is asked, and who is told.
pub(super) struct Readiness {
    /// Whether the process says that it takes work. `None`: it does from the start to its stop.
    pub(super) says: Option<watch::Receiver<bool>>,
    pub(super) pulses: Pulses,
    pub(super) health: HealthReporter,
    pub(super) names: Vec<&'static str>,
    /// Told before `health`.
    pub(super) unready: watch::Sender<Unready>,
}

impl Readiness {
    /// Has health say how it stands, until the stop.
    pub(super) async fn follow(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let patience = self.pulses.patience();
        let mut looks = interval((patience / 4).clamp(Duration::from_millis(1), LOOK_INTERVAL));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_look = Instant::now();
        loop {
            let changed = async {
                match &mut self.says {
                    Some(says) if says.has_changed().is_ok() => {
                        let _ = says.changed().await;
                    }
                    _ => std::future::pending().await, // what it said last holds
                }
            };
            let is_look = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = changed => false,
                _ = looks.tick() => true,
            };
            let mut now = self.unready.borrow().clone();
            now.says_so = self.says.as_mut().is_some_and(|says| !*says.borrow_and_update());
            if is_look {
                // A process that was frozen as a whole gives its loops the time to go on.
                let was_frozen = last_look.elapsed() > patience / 2;
                last_look = Instant::now();
                if !was_frozen {
                    now.late = self.pulses.late();
                }
            }
            self.tell(now).await;
        }
    }

    async fn tell(&self, now: Unready) {
        let before = self.unready.send_replace(now.clone());
        let patience = self.pulses.patience();
        for name in now.late.iter().filter(|name| !before.late.contains(name)) {
            error!(
                task.name = name,
                "task {name} hangs or has ended: nothing was heard of it for {patience:?} when it should have been; \
                 health says NOT_SERVING until it goes on"
            );
        }
        for name in before.late.iter().filter(|name| !now.late.contains(name)) {
            info!(task.name = name, "task {name} goes on");
        }
        if before.is_ready() != now.is_ready() {
            report(&self.health, &self.names, now.is_ready()).await;
        }
    }
}

pub(super) async fn report(health: &HealthReporter, names: &[&'static str], is_ready: bool) {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in names {
        health.set_service_status(name, status).await;
    }
}
