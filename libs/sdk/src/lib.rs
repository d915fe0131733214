//! Tidegate for Rust: start work that is never lost, and serve it.
//!
//! [`macro@task`] and [`macro@flow`] make async functions whose calls are recorded runs: executed here, in the background, or by a
//! [`Worker`]. [`Client`] starts runs by name and finds them again.
//!
//! ```no_run
//! use tidegate_sdk::{Map as _, flow, task};
//!
//! #[task(retries = 3, retry_delays = "1s, 10s", timeout = "30s")]
//! async fn square(n: i64) -> i64 {
//!     n * n
//! }
//!
//! #[flow]
//! async fn sum_of_squares(numbers: Vec<i64>) -> Result<i64, tidegate_sdk::Error> {
//!     let mut sum = square(1).await?;
//!     for squared in square.map(numbers) {
//!         sum += squared.await?;
//!     }
//!     Ok(sum)
//! }
//!
//! # async fn example() -> Result<(), tidegate_sdk::Error> {
//! let here: i64 = sum_of_squares(vec![1, 2]).await?;
//! let by_a_worker: i64 = sum_of_squares(vec![1, 2]).queue("sums").delay().await?.await?;
//! # Ok(())
//! # }
//! ```
//!
//! The crate's `README.md` tells what there is. Functions without an attribute are served and called by name:
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

#[doc(hidden)]
#[path = "macros.rs"]
pub mod __private;
// The macros name this crate from outside, and its own tests use them as well.
#[cfg(test)]
extern crate self as tidegate_sdk;

mod artifact;
mod automation;
mod call;
mod children;
mod client;
mod context;
mod failure;
mod function;
mod handle;
mod hooks;
mod json;
mod local;
mod map;
mod operations;
mod progress;
mod run_future;
mod schedule;
mod supervise;
pub mod telemetry;
mod variable;
mod wait;
mod worker;

pub use artifact::Artifact;
pub use automation::{Automation, Webhook};
pub use call::{ByName, Call, delay_all};
pub use client::Client;
pub use context::{Context, Level, spawn};
pub use failure::NonRetryable;
pub use function::{Callable, Function};
pub use handle::{RunHandle, Untyped, gather, gather_all};
pub use map::Map;
pub use operations::Feed;
pub use run_future::{RunFuture, Upstream, as_completed, join_all, submit_all, wait};
pub use schedule::Schedule;
pub use tidegate_sdk_core::{
    self as core, ConcurrencySettings, Error, ErrorKind, PutSchedules, SlotOptions, Slots, WorkerStatus,
    proto,
};
pub use tidegate_sdk_macros::{flow, task};
pub use tokio_util::sync::CancellationToken;
pub use wait::Wait;
pub use worker::{Worker, WorkerBuilder};
