use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_model::limits;
use tidegate_payload::ObjectStorageConfig;
use tidegate_service_kit::{HumanDuration, PostgresConfig, ServiceConfig};
use tidegate_webhook::{Allowed, HostPattern};

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
    pub webhooks: WebhooksConfig,
    pub retention: RetentionConfig,
}

/// Section `retention`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct RetentionConfig {
    pub runs_after: HumanDuration,
    pub partition_width: HumanDuration,
    pub interval: HumanDuration,
}

impl RetentionConfig {
    fn faults(&self) -> Vec<String> {
        const DAY: Duration = Duration::from_secs(86_400);
        let mut faults = Vec::new();
        if *self.runs_after < Duration::from_secs(3_600) {
            faults.push(format!(
                "retention.runs_after is {:?}; below 1h runs would be gone before anyone has seen their results",
                *self.runs_after
            ));
        }
        let width = *self.partition_width;
        if !(DAY..=100 * DAY).contains(&width) || !width.as_nanos().is_multiple_of(DAY.as_nanos()) {
            faults.push(format!(
                "retention.partition_width is {width:?}; whole days from 1d to 100d are allowed"
            ));
        } else if width * 100 < *self.runs_after {
            faults.push(format!(
                "retention.partition_width is {width:?}: {:?} of runs would lie in more than 100 partitions, which every \
                 statement has to look at; make it larger",
                *self.runs_after
            ));
        }
        if !(Duration::from_millis(10)..=DAY).contains(&*self.interval) {
            faults.push(format!("retention.interval is {:?}; 10ms to 1d are allowed", *self.interval));
        }
        faults
    }
}

/// Section `webhooks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct WebhooksConfig {
    pub private_addresses: bool,
    pub allow_http: bool,
    pub hosts: Vec<HostPattern>,
}

impl WebhooksConfig {
    pub(crate) fn allowed(&self) -> Allowed {
        let Self { private_addresses, allow_http: http, hosts } = self.clone();
        Allowed { private_addresses, http, hosts }
    }
}

/// Section `sweeps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct SweepsConfig {
    pub batch: NonZeroUsize,
    pub schedules_interval: HumanDuration,
    pub due_runs_interval: HumanDuration,
    pub reconcile_after: HumanDuration,
    pub timers_interval: HumanDuration,
    pub sessions_interval: HumanDuration,
    pub sessions_after: HumanDuration,
    pub cascades_interval: HumanDuration,
    pub slots_interval: HumanDuration,
    pub automations_interval: HumanDuration,
    pub bulk_operations_interval: HumanDuration,
    pub leases_interval: HumanDuration,
    pub leases_after: HumanDuration,
    pub purge_interval: HumanDuration,
    pub payloads_interval: HumanDuration,
    pub payloads_after: HumanDuration,
}

impl ServiceConfig for Config {
    const DEFAULT_TOML: &'static str = include_str!("../config.default.toml");

    fn validate(&self) -> Vec<String> {
        let mut faults = self.retention.faults();
        let sweeps = &self.sweeps;
        if sweeps.batch.get() > limits::MAX_BATCH_SIZE {
            faults.push(format!(
                "sweeps.batch is {}; at most {} are allowed",
                sweeps.batch,
                limits::MAX_BATCH_SIZE
            ));
        }
        let intervals = [
            ("schedules_interval", *sweeps.schedules_interval),
            ("due_runs_interval", *sweeps.due_runs_interval),
            ("timers_interval", *sweeps.timers_interval),
            ("sessions_interval", *sweeps.sessions_interval),
            ("cascades_interval", *sweeps.cascades_interval),
            ("slots_interval", *sweeps.slots_interval),
            ("automations_interval", *sweeps.automations_interval),
            ("bulk_operations_interval", *sweeps.bulk_operations_interval),
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

    fn listen(&self) -> SocketAddr {
        self.listen
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

    #[test]
    fn retention_has_bounds() {
        let defaults = tidegate_service_kit::config::defaults::<Config>();
        let faults = |runs_after: &str, partition_width: &str| {
            let span = |text: &str| text.parse().expect("a span");
            let retention = RetentionConfig {
                runs_after: span(runs_after),
                partition_width: span(partition_width),
                ..defaults.retention.clone()
            };
            Config { retention, ..defaults.clone() }.validate()
        };
        assert_eq!(faults("100d", "1d"), Vec::<String>::new());
        assert!(faults("59m", "7d")[0].contains("retention.runs_after is 3540s"));
        assert!(faults("30d", "36h")[0].contains("whole days"));
        assert!(faults("101d", "1d")[0].contains("more than 100 partitions"));
    }

    #[test]
    fn webhooks_go_to_the_public_internet_alone_unless_it_is_said_otherwise() {
        let defaults = tidegate_service_kit::config::defaults::<Config>().webhooks;
        assert_eq!(defaults.allowed(), Allowed::default());
        let hosts = vec!["*.example.com".parse().expect("a host")];
        let told = WebhooksConfig { private_addresses: true, allow_http: true, hosts: hosts.clone() };
        assert_eq!(told.allowed(), Allowed { private_addresses: true, http: true, hosts });
    }
}
