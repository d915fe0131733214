//! task-queue: holds the streams of workers, matches ready runs to their free slots, and notices when a
//! worker is gone.
//!
//! It owns the delivery state and nothing else. The store judges through api: every run that is assigned was
//! claimed there, every report is answered from there. What happens in between:
//!
//! - a *pool* of streams that serve the same takes entries for their credits (`pool`), which are claimed in
//!   batches (`claims`), leased, and sent through each stream's *outbox* (`outbox`);
//! - reports are gathered over all streams into batches (`reports`) and answered with the store's outcome;
//! - heartbeats renew leases (`heartbeat`), expired ones are reported as crashes (`leases`);
//! - all replicas know of all workers, and have any of them drain (`register`).
//!
//! **Invariant:** a worker is sent a run only after its claim was granted, and only for a credit.
//!
//! **Invariant:** a report is answered only with what api said of it, or told to be repeated.
//!
//! **Invariant:** no stream waits for another one's worker.

mod announce;
mod backoff;
mod claims;
mod config;
mod delivery_api;
mod engine;
mod gauges;
mod heartbeat;
mod hello;
mod hints;
mod leases;
mod metrics;
mod outbox;
mod paused;
mod pool;
mod register;
mod reports;
mod shared;
pub mod standalone;
mod start;
mod stream;
mod work;
mod workers;

pub use config::{Assign, Config, Drain, Lease, Redis, Report};
pub use start::{start, start_with_clock};
