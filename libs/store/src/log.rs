//! The port of log storage, with its conformance suite.

#[cfg(feature = "conformance")]
pub mod conformance;
mod port;
mod seq_set;
mod writers;

pub use port::{
    LogBatch, LogLevel, LogLine, LogPosition, LogQuery, LogScope, LogStore, PageKey, StoredLine, TailPage,
};
pub use seq_set::{InvalidSeqSet, SeqSet};
pub use writers::{Writers, day_of};
