use serde::{Deserialize, Serialize};

use super::SecretUrl;

/// How a service reaches its Postgres: the section `postgres`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretUrl,
    /// Connections of one replica, at most.
    pub max_connections: u32,
}
