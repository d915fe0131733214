//! Storage of runs and logs in one SQLite file: what `tidegate dev` uses. One connection writes, several read
//! (WAL). One process uses a file at a time; a second one would work, but would not be told of commits.

mod artifacts;
mod automations;
mod bulk;
mod deployments;
mod error;
mod filter;
mod logs;
mod objects;
mod open;
mod queries;
mod queues;
mod row;
mod schedules;
mod slots;
mod store;
mod turns;
mod tx;
mod variables;
mod work_pools;

pub use error::OpenError;
pub use logs::STATEMENTS as LOG_STATEMENTS;
pub use open::SqliteStore;
pub use queries::STATEMENTS;
