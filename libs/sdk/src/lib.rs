//! Tidegate for Rust: start work that is never lost, and serve it.
//!
//! [`Client`] starts runs by the name of their flow or task and waits for results; [`Worker`] executes them.
//! Both are thin faces on `tidegate-sdk-core`, whose connections live on a thread of their own.
//!
//! ```no_run
//! # use tidegate_sdk::{CancellationToken, Client, Context, Worker};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! async fn double(_: Context, n: u64) -> Result<u64, std::num::TryFromIntError> {
//!     Ok(2 * n)
//! }
//!
//! let client = Client::connect_from_env()?;
//! let stop = CancellationToken::new();
//! let worker = Worker::builder(client.clone()).task("double", double).build()?;
//! let working = tokio::task::spawn(worker.run(stop.clone()));
//!
//! let handle = client.task("double").retries(2).delay(&21).await?;
//! assert_eq!(handle.result::<u64>().await?, 42);
//! stop.cancel();
//! working.await??;
//! # Ok(())
//! # }
//! ```

mod call;
mod client;
mod context;
mod failure;
mod function;
mod handle;
mod json;
pub mod telemetry;
mod wait;
mod worker;

pub use call::Call;
pub use client::Client;
pub use context::{Context, Level};
pub use failure::NonRetryable;
pub use handle::{RunHandle, gather, gather_all};
pub use tidegate_sdk_core::{self as core, Error, ErrorKind, SlotOptions, Slots, WorkerStatus, proto};
pub use tokio_util::sync::CancellationToken;
pub use wait::Wait;
pub use worker::{Worker, WorkerBuilder};
