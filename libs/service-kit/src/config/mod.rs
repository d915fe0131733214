//! Configuration of a service: embedded defaults, a file over them, the environment over that.

mod bytes;
mod duration;
mod load;
mod postgres;
mod secret;

pub use bytes::ByteSize;
pub use duration::HumanDuration;
pub use load::{Faults, defaults, load, print};
pub use postgres::PostgresConfig;
pub use secret::{SecretString, SecretUrl};

use std::{net::SocketAddr, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

/// The configuration of a service. The type should carry `#[serde(deny_unknown_fields)]`, all the way down.
pub trait ServiceConfig: Serialize + DeserializeOwned {
    /// The commented defaults: the service's `config.default.toml`, by `include_str!`.
    const DEFAULT_TOML: &'static str;

    /// What the types cannot say: every fault, each as a sentence that names the key. Empty: all is well.
    fn validate(&self) -> Vec<String>;

    /// Where the service listens.
    fn listen(&self) -> SocketAddr;

    /// How long the process may take to end after it was asked to.
    fn shutdown_grace(&self) -> Duration;
}
