//! Storage of runs and logs in Postgres 15 or later. Statements take whole batches as arrays, so that a batch of
//! any size is one prepared statement and one round trip.

mod artifacts;
mod automations;
mod bulk;
mod deployments;
mod error;
mod filter;
mod follow;
mod logs;
mod objects;
mod open;
mod partitions;
mod queries;
mod queues;
mod retention;
mod row;
mod schedules;
mod slots;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod turns;
mod tx;
mod variables;
mod work_pools;

pub use error::OpenError;
pub use logs::{LogWrites, STATEMENTS as LOG_STATEMENTS};
pub use open::{PgOptions, PgStore};
pub use queries::STATEMENTS;
