//! What lists, counts, watches and operations on many runs are asked with: the `filter` after AIP-160, typed against the
//! fields of a run, and the `order_by` after AIP-132. As AIP-160 has it, OR binds stronger than AND, and comparisons that
//! merely follow each other are joined by AND. [`JsonFilter`] is the same language for things that a program has as JSON.

mod json;
mod nearest;
mod order;
mod parser;
mod things;
mod time;
mod token;
mod typed;

pub use json::JsonFilter;
pub use nearest::nearest;
pub use order::parse_order;
pub use parser::{parse, parse_deployments};
pub use things::{FieldType, Things};

/// What is wrong with a filter or an order, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at column {column}: {message}")]
pub struct Error {
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}
