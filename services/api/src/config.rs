use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_engine::Options;
use tidegate_service_kit::{HumanDuration, PostgresConfig, ServiceConfig};

/// The api's configuration. Each key is explained in `config.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct Config {
    pub listen: SocketAddr,
    pub delivery_address: String,
    pub shutdown_grace: HumanDuration,
    pub postgres: PostgresConfig,
    pub endpoints: EndpointsConfig,
    pub engine: EngineConfig,
    pub session: SessionConfig,
}

/// Section `endpoints`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct EndpointsConfig {
    pub task_queue: String,
    pub log_ingest: String,
}

/// Section `engine`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct EngineConfig {
    pub lanes: NonZeroUsize,
    pub lane_capacity: NonZeroUsize,
    pub key_retention: HumanDuration,
}

impl EngineConfig {
    /// As the engine takes them.
    pub fn options(&self) -> Options {
        Options { n_lanes: self.lanes, lane_capacity: self.lane_capacity, key_retention: *self.key_retention }
    }
}

/// Section `session`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct SessionConfig {
    pub lease_duration: HumanDuration,
    pub heartbeat_interval: HumanDuration,
}

impl ServiceConfig for Config {
    const DEFAULT_TOML: &'static str = include_str!("../config.default.toml");

    fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if *self.session.heartbeat_interval < Duration::from_millis(100) {
            faults.push(format!(
                "session.heartbeat_interval is {:?}; at least 100ms are needed",
                *self.session.heartbeat_interval
            ));
        }
        if self.session.lease_duration.as_secs_f64() < 2.0 * self.session.heartbeat_interval.as_secs_f64() {
            faults.push(format!(
                "session.lease_duration ({:?}) is shorter than two heartbeats of {:?}: one lost heartbeat would crash runs",
                *self.session.lease_duration, *self.session.heartbeat_interval
            ));
        }
        if self.postgres.max_connections as usize <= 2 * self.engine.lanes.get() {
            faults.push(format!(
                "postgres.max_connections ({}) leaves none for reads: engine.lanes = {} take {}",
                self.postgres.max_connections,
                self.engine.lanes,
                2 * self.engine.lanes.get()
            ));
        }
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
