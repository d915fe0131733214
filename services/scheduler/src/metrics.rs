//! The scheduler's metrics. Those of sweeps have the label `sweep`.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Seconds that a turn of a sweep took.
pub(crate) const SWEEP_SECONDS: &str = "tidegate_scheduler_sweep_seconds";
/// Rows that sweeps found to be due.
pub(crate) const SWEEP_ROWS: &str = "tidegate_scheduler_sweep_rows_total";
/// Turns that failed.
pub(crate) const SWEEP_ERRORS: &str = "tidegate_scheduler_sweep_errors_total";
/// Firings of automations that have ended a try, by `outcome`: succeeded, failed (it is tried again), given_up.
pub(crate) const FIRINGS: &str = "tidegate_scheduler_firings_total";
/// Firings that this replica carries out now.
pub(crate) const FIRINGS_UNDER_WAY: &str = "tidegate_scheduler_firings_under_way";
/// Seconds from the event to the success of what it set off.
pub(crate) const FIRING_DELAY: &str = "tidegate_scheduler_firing_delay_seconds";
/// Seconds that a try of a webhook took.
pub(crate) const WEBHOOK_SECONDS: &str = "tidegate_scheduler_webhook_seconds";
/// Partitions of runs that were made ahead of their time.
pub(crate) const PARTITIONS_MADE: &str = "tidegate_scheduler_partitions_made_total";
/// Partitions of runs that went with all that was in them.
pub(crate) const PARTITIONS_DROPPED: &str = "tidegate_scheduler_partitions_dropped_total";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_histogram!(SWEEP_SECONDS, Unit::Seconds, "time that a turn of a sweep took");
    describe_counter!(SWEEP_ROWS, Unit::Count, "rows that sweeps found to be due");
    describe_counter!(SWEEP_ERRORS, Unit::Count, "turns of a sweep that failed");
    describe_counter!(FIRINGS, Unit::Count, "firings of automations that have ended a try");
    describe_gauge!(FIRINGS_UNDER_WAY, Unit::Count, "firings that this replica carries out now");
    describe_histogram!(FIRING_DELAY, Unit::Seconds, "time from an event to the success of what it set off");
    describe_histogram!(WEBHOOK_SECONDS, Unit::Seconds, "time that a try of a webhook took");
    describe_counter!(PARTITIONS_MADE, Unit::Count, "partitions of runs that were made ahead of their time");
    describe_counter!(
        PARTITIONS_DROPPED,
        Unit::Count,
        "partitions of runs that went with all that was in them"
    );
}
