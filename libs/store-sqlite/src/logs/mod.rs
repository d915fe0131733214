//! The log half of the store.

mod queries;
mod row;
mod store;

pub use queries::STATEMENTS;
