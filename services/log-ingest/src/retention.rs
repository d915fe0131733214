use std::sync::Arc;

use tidegate_model::Clock;
use tidegate_service_kit::{Supervisor, pulse};
use tidegate_store::log::LogStore;
use tracing::info;

use crate::RetentionConfig;

/// Prepares days ahead and drops old ones, now and then. Optional: without it lines are stored all the same.
pub(crate) fn start(
    config: &RetentionConfig,
    store: &Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    tasks: &Supervisor,
) {
    let (config, store) = (config.clone(), Arc::clone(store));
    tasks.optional("log-retention", move |stop| {
        let (config, store, clock) = (config.clone(), Arc::clone(&store), Arc::clone(&clock));
        async move {
            let work = async {
                loop {
                    pulse::beat();
                    let now = clock.now();
                    store.prepare_log_days(now, config.days_ahead).await?;
                    if store.drop_logs_before(now - *config.keep).await? {
                        info!("dropped log lines that were older than {}", config.keep);
                    }
                    pulse::rest(*config.interval);
                    tokio::time::sleep(*config.interval).await;
                }
            };
            stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
        }
    });
}
