//! What every service of Tidegate shares: configuration, telemetry, supervision, signals, and the gRPC port.
//! No domain: this crate knows neither runs nor queues.
//!
//! A service is a library with a `start` function and a thin `main` that calls [`run`]; the example in
//! [`run`]'s documentation shows the whole of it.

mod channel;
mod clock;
pub mod config;
mod grpc;
mod health;
pub mod metrics;
mod process;
mod supervisor;
pub mod telemetry;
pub mod trace;

pub use channel::channel;
pub use clock::SharedClock;
pub use config::{ByteSize, HumanDuration, PostgresConfig, SecretString, SecretUrl, ServiceConfig};
pub use grpc::{GrpcRoutes, serve_grpc};
pub use health::{Health, check as check_health, health};
pub use process::{EXIT_BAD_CONFIGURATION, execute, execute_with, run};
pub use supervisor::Supervisor;
pub use tidegate_pulse as pulse;
pub use tokio_util::sync::CancellationToken;
