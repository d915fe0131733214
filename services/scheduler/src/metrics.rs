//! The scheduler's metrics. Those of sweeps have the label `sweep`.

use metrics::{Unit, describe_counter, describe_histogram};

/// Seconds that a turn of a sweep took.
pub(crate) const SWEEP_SECONDS: &str = "tidegate_scheduler_sweep_seconds";
/// Rows that sweeps found to be due.
pub(crate) const SWEEP_ROWS: &str = "tidegate_scheduler_sweep_rows_total";
/// Turns that failed.
pub(crate) const SWEEP_ERRORS: &str = "tidegate_scheduler_sweep_errors_total";
/// Partitions of runs that were made ahead of their time.
pub(crate) const PARTITIONS_MADE: &str = "tidegate_scheduler_partitions_made_total";
/// Partitions of runs that went with all that was in them.
pub(crate) const PARTITIONS_DROPPED: &str = "tidegate_scheduler_partitions_dropped_total";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_histogram!(SWEEP_SECONDS, Unit::Seconds, "time that a turn of a sweep took");
    describe_counter!(SWEEP_ROWS, Unit::Count, "rows that sweeps found to be due");
    describe_counter!(SWEEP_ERRORS, Unit::Count, "turns of a sweep that failed");
    describe_counter!(PARTITIONS_MADE, Unit::Count, "partitions of runs that were made ahead of their time");
    describe_counter!(
        PARTITIONS_DROPPED,
        Unit::Count,
        "partitions of runs that went with all that was in them"
    );
}
