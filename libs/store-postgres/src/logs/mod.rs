//! The log half of the store.

mod copy;
mod days;
mod error;
mod follow;
mod handle;
mod insert;
mod queries;
mod row;
mod store;

pub use handle::LogWrites;
pub(crate) use handle::PgLogs;
pub use queries::STATEMENTS;
