//! The scheduler's metrics. All have the label `sweep`.

use metrics::{Unit, describe_counter, describe_histogram};

/// Seconds that a turn of a sweep took.
pub(crate) const SWEEP_SECONDS: &str = "tidegate_scheduler_sweep_seconds";
/// Rows that sweeps found to be due.
pub(crate) const SWEEP_ROWS: &str = "tidegate_scheduler_sweep_rows_total";
/// Turns that failed.
pub(crate) const SWEEP_ERRORS: &str = "tidegate_scheduler_sweep_errors_total";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_histogram!(SWEEP_SECONDS, Unit::Seconds, "time that a turn of a sweep took");
    describe_counter!(SWEEP_ROWS, Unit::Count, "rows that sweeps found to be due");
    describe_counter!(SWEEP_ERRORS, Unit::Count, "turns of a sweep that failed");
}
