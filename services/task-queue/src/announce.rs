use std::{sync::Arc, time::Duration};

use tidegate_delivery::Error;
use tidegate_service_kit::{CancellationToken, pulse};

use crate::{register, shared::Shared};

const INTERVAL: Duration = Duration::from_secs(5);
/// A replica that dies is forgotten after this.
const LASTS: Duration = Duration::from_secs(15);

/// Announces what the workers of this replica serve, so that every replica can tell who could take a run, and who they
/// are.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pulse::rest(INTERVAL);
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        pulse::beat();
        announce(&shared).await?;
        register::tell_all(&shared, None).await?;
    }
    // Its workers move to other replicas.
    Ok(shared.delivery.announce(&shared.replica, &[], LASTS).await?)
}

/// Announces it now.
pub(crate) async fn announce(shared: &Shared) -> Result<(), Error> {
    let servings = shared.pools.servings(*shared.config.lease.duration);
    shared.delivery.announce(&shared.replica, &servings, LASTS).await
}
