//! The engine's metrics.

use metrics::{Unit, describe_counter, describe_histogram};

/// Items of a committed batch, by `lane`.
pub(crate) const BATCH_SIZE: &str = "tidegate_engine_batch_items";
/// Seconds from the begin to the commit of a batch, by `lane`.
pub(crate) const BATCH_SECONDS: &str = "tidegate_engine_batch_seconds";

/// Batches of deliveries and stops that were left to the sweeps, because delivery did not keep up.
pub(crate) const DISPATCH_DROPPED: &str = "tidegate_engine_dispatch_dropped_total";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_histogram!(BATCH_SIZE, Unit::Count, "items of a committed batch");
    describe_counter!(DISPATCH_DROPPED, Unit::Count, "batches left to the sweeps");
    describe_histogram!(BATCH_SECONDS, Unit::Seconds, "from the begin to the commit of a batch");
}
