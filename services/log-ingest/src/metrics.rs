//! The names of the metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Counter: lines stored.
pub(crate) const STORED: &str = "tidegate.log.stored";
/// Counter: lines that came again and were stored before.
pub(crate) const REPEATED: &str = "tidegate.log.repeated";
/// Counter: batches refused, as an entry was wrong.
pub(crate) const REFUSED: &str = "tidegate.log.refused_batches";
/// Histogram (lines): how many lines one transaction stored.
pub(crate) const GROUP_SIZE: &str = "tidegate.log.group_size";
/// Histogram (s): how long a transaction took, with its retries.
pub(crate) const APPEND_DURATION: &str = "tidegate.log.append_duration";
/// Gauge: open tails.
pub(crate) const TAILS: &str = "tidegate.log.tails";
/// Gauge: open ingest streams.
pub(crate) const STREAMS: &str = "tidegate.log.streams";
/// Gauge (bytes): lines that were read and are not yet stored.
pub(crate) const BUFFERED: &str = "tidegate.log.buffered";

pub(crate) fn describe() {
    describe_counter!(STORED, Unit::Count, "lines stored");
    describe_counter!(REPEATED, Unit::Count, "lines that came again and were stored before");
    describe_counter!(REFUSED, Unit::Count, "batches refused, as an entry was wrong");
    describe_histogram!(GROUP_SIZE, Unit::Count, "lines of one transaction");
    describe_histogram!(APPEND_DURATION, Unit::Seconds, "time of one transaction, with its retries");
    describe_gauge!(TAILS, Unit::Count, "open tails");
    describe_gauge!(STREAMS, Unit::Count, "open ingest streams");
    describe_gauge!(BUFFERED, Unit::Bytes, "lines that were read and are not yet stored");
}
