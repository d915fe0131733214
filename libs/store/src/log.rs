//! The port of log storage, with its conformance suite.

pub mod conformance;
mod port;
mod seq_set;

pub use port::{
    LogBatch, LogLevel, LogLine, LogPosition, LogQuery, LogScope, LogStore, PageKey, StoredLine, TailPage,
};
pub use seq_set::SeqSet;
