//! The log half of the store.

mod append;
mod days;
mod error;
mod follow;
mod handle;
mod queries;
mod row;
mod store;

pub(crate) use handle::PgLogs;
pub use queries::STATEMENTS;
