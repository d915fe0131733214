use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_model::limits;
use tidegate_service_kit::{ByteSize, HumanDuration, SecretUrl, ServiceConfig, config};

/// The configuration; `config.default.toml` tells what each key does.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Config {
    pub listen: SocketAddr,
    pub engine_address: String,
    pub engine_timeout: HumanDuration,
    pub shutdown_grace: HumanDuration,
    pub redis: Redis,
    pub lease: Lease,
    pub assign: Assign,
    pub report: Report,
    pub drain: Drain,
}

/// Where the delivery state is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Redis {
    pub url: SecretUrl,
    pub prefix: String,
}

/// How long things may stay silent.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Lease {
    pub duration: HumanDuration,
    pub heartbeat_interval: HumanDuration,
    pub claim: HumanDuration,
    pub sweep_interval: HumanDuration,
}

/// How runs are given to workers.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Assign {
    pub batch_size: NonZeroU32,
    pub lanes: NonZeroU32,
    pub poll_interval: HumanDuration,
    pub probe_interval: HumanDuration,
    pub patience: HumanDuration,
}

/// How reports go to api.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Report {
    pub lanes: NonZeroU32,
    pub lane_capacity: NonZeroU32,
    pub max_waiting: ByteSize,
}

/// How streams end at a stop.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "explained in config.default.toml")]
pub struct Drain {
    pub streams: HumanDuration,
    pub spread: HumanDuration,
}

impl Default for Config {
    /// The embedded defaults.
    fn default() -> Self {
        config::defaults()
    }
}

impl ServiceConfig for Config {
    const DEFAULT_TOML: &'static str = include_str!("../config.default.toml");

    fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut at_least_one_ms = |key: &str, value: HumanDuration| {
            if value.is_zero() {
                faults.push(format!("{key} is 0s: it must be at least 1ms"));
            }
        };
        at_least_one_ms("engine_timeout", self.engine_timeout);
        at_least_one_ms("lease.duration", self.lease.duration);
        at_least_one_ms("lease.heartbeat_interval", self.lease.heartbeat_interval);
        at_least_one_ms("lease.claim", self.lease.claim);
        at_least_one_ms("lease.sweep_interval", self.lease.sweep_interval);
        at_least_one_ms("assign.poll_interval", self.assign.poll_interval);
        at_least_one_ms("assign.probe_interval", self.assign.probe_interval);
        if self.assign.batch_size.get() as usize > limits::MAX_BATCH_SIZE {
            let max = limits::MAX_BATCH_SIZE;
            faults
                .push(format!("assign.batch_size is {}: at most {max} are allowed", self.assign.batch_size));
        }
        if *self.lease.duration <= *self.lease.heartbeat_interval {
            faults.push(format!(
                "lease.duration ({}) must be longer than lease.heartbeat_interval ({})",
                self.lease.duration, self.lease.heartbeat_interval
            ));
        }
        if self.redis.prefix.is_empty() || self.redis.prefix.contains(['{', '}']) {
            faults.push("redis.prefix must have at least one character and no braces".to_owned());
        }
        faults
    }

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    fn shutdown_grace(&self) -> Duration {
        *self.shutdown_grace
    }
}

impl Config {
    /// The pairs that are allowed, but wrong together; a sentence each.
    pub(crate) fn bad_pairs(&self) -> Vec<String> {
        let mut bad = Vec::new();
        let (lease, heartbeat) = (self.lease.duration, self.lease.heartbeat_interval);
        if *lease < *heartbeat * 3 {
            bad.push(format!(
                "lease.duration ({lease}) is below three times lease.heartbeat_interval ({heartbeat})"
            ));
        }
        let (claim, longest) = (self.lease.claim, *self.engine_timeout + *self.assign.patience);
        if *claim <= longest {
            bad.push(format!(
                "lease.claim ({claim}) is not longer than engine_timeout and assign.patience together ({longest:?})"
            ));
        }
        let (grace, drain) = (self.shutdown_grace, self.drain.streams);
        if *grace <= *drain {
            bad.push(format!("shutdown_grace ({grace}) is not longer than drain.streams ({drain})"));
        }
        bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::default();
        assert_eq!((config.validate(), config.bad_pairs()), (Vec::new(), Vec::<String>::new()));
        let lease = (*config.lease.duration, *config.lease.heartbeat_interval);
        assert_eq!(lease, (Duration::from_secs(15), Duration::from_secs(4)));
    }

    #[test]
    fn a_pair_that_is_wrong_together_is_told() {
        let mut config = Config::default();
        config.lease.duration = HumanDuration::new(Duration::from_secs(7));
        config.lease.claim = HumanDuration::new(*config.engine_timeout);
        config.shutdown_grace = config.drain.streams;
        assert_eq!(config.validate(), Vec::<String>::new());
        let bad = config.bad_pairs();
        assert_eq!(bad.len(), 3, "{bad:?}");
        assert_eq!(bad[0], "lease.duration (7s) is below three times lease.heartbeat_interval (4s)");
    }

    #[test]
    fn every_fault_is_told() {
        let mut config = Config::default();
        config.lease.duration = HumanDuration::new(Duration::ZERO);
        config.assign.batch_size = NonZeroU32::MAX;
        config.redis.prefix = "{x".to_owned();
        assert_eq!(config.validate().len(), 4, "{:?}", config.validate());
    }
}
