use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_model::limits;
use tidegate_payload::ObjectStorageConfig;
use tidegate_service_kit::{HumanDuration, PostgresConfig, ServiceConfig};

/// The scheduler's configuration. Each key is explained in `config.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct Config {
    pub listen: SocketAddr,
    pub delivery_address: String,
    pub shutdown_grace: HumanDuration,
    pub postgres: PostgresConfig,
    pub object_storage: ObjectStorageConfig,
    pub sweeps: SweepsConfig,
}

/// Section `sweeps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct SweepsConfig {
    pub batch: NonZeroUsize,
    pub due_runs_interval: HumanDuration,
    pub reconcile_after: HumanDuration,
    pub timers_interval: HumanDuration,
    pub sessions_interval: HumanDuration,
    pub sessions_after: HumanDuration,
    pub cascades_interval: HumanDuration,
    pub slots_interval: HumanDuration,
    pub leases_interval: HumanDuration,
    pub leases_after: HumanDuration,
    pub purge_interval: HumanDuration,
    pub payloads_interval: HumanDuration,
    pub payloads_after: HumanDuration,
}

impl ServiceConfig for Config {
    const DEFAULT_TOML: &'static str = include_str!("../config.default.toml");

    fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let sweeps = &self.sweeps;
        if sweeps.batch.get() > limits::MAX_BATCH_SIZE {
            faults.push(format!(
                "sweeps.batch is {}; at most {} are allowed",
                sweeps.batch,
                limits::MAX_BATCH_SIZE
            ));
        }
        let intervals = [
            ("due_runs_interval", *sweeps.due_runs_interval),
            ("timers_interval", *sweeps.timers_interval),
            ("sessions_interval", *sweeps.sessions_interval),
            ("cascades_interval", *sweeps.cascades_interval),
            ("slots_interval", *sweeps.slots_interval),
            ("leases_interval", *sweeps.leases_interval),
            ("purge_interval", *sweeps.purge_interval),
            ("payloads_interval", *sweeps.payloads_interval),
        ];
        for (name, interval) in intervals {
            if !(Duration::from_millis(10)..=Duration::from_secs(3_600)).contains(&interval) {
                faults.push(format!("sweeps.{name} is {interval:?}; 10ms to 1h are allowed"));
            }
        }
        if *sweeps.reconcile_after < Duration::from_secs(1) {
            faults.push(format!(
                "sweeps.reconcile_after is {:?}; below 1s runs that wait would be handed over again and again",
                *sweeps.reconcile_after
            ));
        }
        if *sweeps.leases_after < Duration::from_secs(1) {
            faults.push(format!(
                "sweeps.leases_after is {:?}; below 1s runs would be called lost before they have a lease",
                *sweeps.leases_after
            ));
        }
        if *sweeps.due_runs_interval > Duration::from_secs(15) {
            faults.push(format!(
                "sweeps.due_runs_interval is {:?}; above 15s runs would be handed over after they are due",
                *sweeps.due_runs_interval
            ));
        }
        if *sweeps.payloads_after < Duration::from_secs(3_600) {
            faults.push(format!(
                "sweeps.payloads_after is {:?}; below 1h payloads would be deleted while their uploads are under way",
                *sweeps.payloads_after
            ));
        }
        faults.extend(self.object_storage.faults());
        faults
    }

    fn shutdown_grace(&self) -> Duration {
        *self.shutdown_grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let config = tidegate_service_kit::config::defaults::<Config>();
        assert_eq!(config.validate(), Vec::<String>::new());
    }
}
