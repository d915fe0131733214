use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_model::limits;
use tidegate_service_kit::{ByteSize, HumanDuration, PostgresConfig, ServiceConfig};

/// The configuration of log-ingest. Each key is explained in `config.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct Config {
    pub listen: SocketAddr,
    pub shutdown_grace: HumanDuration,
    pub postgres: PostgresConfig,
    pub ingest: IngestConfig,
    pub tail: TailConfig,
    pub retention: RetentionConfig,
}

/// Section `ingest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct IngestConfig {
    pub lanes: NonZeroUsize,
    pub max_group_lines: NonZeroUsize,
    pub max_buffered: ByteSize,
    pub max_streams: NonZeroUsize,
}

/// Section `tail`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct TailConfig {
    pub max_tails: NonZeroUsize,
    pub poll_interval: HumanDuration,
    pub min_interval: HumanDuration,
}

/// Section `retention`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "explained in config.default.toml")]
pub struct RetentionConfig {
    pub keep: HumanDuration,
    pub days_ahead: u32,
    pub interval: HumanDuration,
}

impl ServiceConfig for Config {
    const DEFAULT_TOML: &'static str = include_str!("../config.default.toml");

    fn validate(&self) -> Vec<String> {
        const DAY: Duration = Duration::from_secs(86_400);
        const MAX_BUFFERED: usize = 1 << 32; // bytes are counted by a semaphore
        let mut faults = Vec::new();
        let mut check = |is_well: bool, fault: String| {
            if !is_well {
                faults.push(fault);
            }
        };
        let buffered = self.ingest.max_buffered;
        check(
            (limits::MAX_MESSAGE_SIZE..MAX_BUFFERED).contains(&buffered.as_len()),
            format!("ingest.max_buffered: {buffered} is not between 8MiB, the largest batch, and 4GiB"),
        );
        check(self.postgres.max_connections > 0, "postgres.max_connections: at least 1 is needed".to_owned());
        check(
            !self.tail.poll_interval.is_zero() && self.tail.min_interval <= self.tail.poll_interval,
            format!(
                "tail.poll_interval: {} must be above 0 and not below tail.min_interval, {}",
                self.tail.poll_interval, self.tail.min_interval
            ),
        );
        check(
            *self.retention.keep >= DAY,
            format!("retention.keep: {} is less than 1d", self.retention.keep),
        );
        check(
            self.retention.days_ahead <= 100,
            format!("retention.days_ahead: {} is more than 100", self.retention.days_ahead),
        );
        check(
            *self.retention.interval >= Duration::from_secs(1) && *self.retention.interval <= DAY,
            format!("retention.interval: {} is not between 1s and 1d", self.retention.interval),
        );
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
    fn the_defaults_are_valid_and_every_fault_is_found() {
        let mut config = tidegate_service_kit::config::defaults::<Config>();
        assert_eq!(config.validate(), Vec::<String>::new());
        config.ingest.max_buffered = ByteSize::from_bytes(1);
        config.tail.poll_interval = HumanDuration::new(Duration::from_millis(1));
        config.retention.keep = HumanDuration::new(Duration::from_secs(1));
        assert_eq!(config.validate().len(), 3);
    }
}
