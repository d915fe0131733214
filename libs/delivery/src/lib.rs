//! The port of delivery state: runs that are ready, delayed, claimed or leased.
//!
//! What is kept here is a hint that something is due, and who said last that they hold it. The store
//! is the authority on runs: all of this may be lost at any moment, and that costs latency, never work.
//!
//! An entry goes through these steps:
//!
//! ```text
//! enqueue ─► delayed ─► ready ─► claimed ─► (forgotten) … leased ─► released
//!               ▲         ▲         │
//!               └─────────┴─────────┘ put back, or the claim expired
//! ```
//!
//! Entries and claims belong to a queue; leases belong to a run alone, so that a worker can renew them
//! at any replica, also after a wipe, without knowing through which queue the run came.

#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod error;
mod hint;
mod lease;
mod port;
mod requirements;
mod standing;
mod worker;

pub use entry::{Entry, EntryId, Function, QueueId, Taken, UnknownFunction, Want};
pub use error::Error;
pub use hint::{DrainHint, HINT_BACKLOG, Hint, Hints, Pausable, PoolId, ReadyHint, Stop, hint_channel};
pub use lease::{Generation, Held, Lease, LeaseQuestion};
pub use port::{Delivery, QueueDepth};
pub use requirements::{Labels, Requirements, line as label_line};
pub use standing::{Capacity, Serving, Standing, Takers, Turns};
pub use worker::{WorkerNews, WorkerQuery, WorkerTerms};
