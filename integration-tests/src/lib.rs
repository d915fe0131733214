//! What the integration tests stand on: processes, databases of their own, and the whole suite in its two forms.
//!
//! The tests run the real binaries from cargo's target folder: build them first (`cargo build --workspace`), or use
//! `integration-tests/run`, which also starts the Postgres that [`Database`] needs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod database;
mod otlp;
mod process;
mod redis;
mod suite;
mod terminal;
mod wait;

pub use database::Database;
pub use otlp::{OtlpReceiver, SeenSpan};
pub use process::{Ended, Process, program};
pub use redis::Redis;
pub use suite::{Suite, free_port};
pub use terminal::Terminal;
pub use wait::{eventually, within};
