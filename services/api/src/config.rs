use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_engine::Options;
use tidegate_model::limits;
use tidegate_payload::ObjectStorageConfig;
use tidegate_service_kit::{ByteSize, HumanDuration, PostgresConfig, ServiceConfig};

/// The api's configuration. Each key is explained in `config.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct Config {
    pub listen: SocketAddr,
    pub delivery_address: String,
    pub scheduler_address: String,
    pub shutdown_grace: HumanDuration,
    pub postgres: PostgresConfig,
    pub endpoints: EndpointsConfig,
    pub engine: EngineConfig,
    pub session: SessionConfig,
    pub object_storage: ObjectStorageConfig,
    pub payload: PayloadConfig,
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
        Options {
            n_lanes: self.lanes,
            lane_capacity: self.lane_capacity,
            key_retention: *self.key_retention,
            ..Options::default()
        }
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

/// Section `payload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct PayloadConfig {
    pub max_size: ByteSize,
    pub presigned_requests: bool,
    pub presigned_lifetime: HumanDuration,
    pub max_under_way: ByteSize,
}

impl PayloadConfig {
    /// As the payloads take them.
    pub fn options(&self) -> tidegate_payload::Options {
        tidegate_payload::Options {
            max_size: self.max_size.as_bytes(),
            presigned_lifetime: self.presigned_requests.then_some(*self.presigned_lifetime),
            max_under_way: self.max_under_way.as_bytes(),
        }
    }
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
        if self.payload.max_size.as_len() < limits::MAX_MESSAGE_PAYLOAD_SIZE {
            faults.push(format!(
                "payload.max_size is {}; below {} what fits into a message could not be kept",
                self.payload.max_size,
                ByteSize::from_bytes(limits::MAX_MESSAGE_PAYLOAD_SIZE as u64)
            ));
        }
        let least = tidegate_payload::Options::MIN_UNDER_WAY;
        if self.payload.max_under_way.as_bytes() < least {
            faults.push(format!(
                "payload.max_under_way is {}; one large upload takes {}",
                self.payload.max_under_way,
                ByteSize::from_bytes(least)
            ));
        }
        if !(Duration::from_secs(10)..=Duration::from_secs(1_800)).contains(&*self.payload.presigned_lifetime)
        {
            faults.push(format!(
                "payload.presigned_lifetime is {:?}; 10s to 30m are allowed",
                *self.payload.presigned_lifetime
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
}
