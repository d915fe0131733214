//! The engine's metrics.

use metrics::{Unit, describe_counter, describe_histogram};

/// Items of a committed batch, by `lane`.
pub(crate) const BATCH_SIZE: &str = "tidegate_engine_batch_items";
/// Seconds from the begin to the commit of a batch, by `lane`.
pub(crate) const BATCH_SECONDS: &str = "tidegate_engine_batch_seconds";

/// Batches of deliveries and stops that were left to the sweeps, because delivery did not keep up.
pub(crate) const DISPATCH_DROPPED: &str = "tidegate_engine_dispatch_dropped_total";

/// Claims that had to wait, as a concurrency limit had no free slot.
pub(crate) const SLOTS_REFUSED: &str = "tidegate_engine_slots_refused_total";
/// Slots of concurrency limits that were found at runs that nobody held. Not 0: a fault of ours.
pub(crate) const STRAY_SLOTS: &str = "tidegate_engine_stray_slots_total";

/// Runs that schedules have made.
pub(crate) const FIRES: &str = "tidegate_schedule_fires_total";
/// Times of schedules that were missed and made no run.
pub(crate) const MISSED: &str = "tidegate_schedule_missed_total";
/// Times of schedules whose run was refused.
pub(crate) const REFUSED: &str = "tidegate_schedule_refused_total";
/// Seconds from the time of a schedule to the commit of its run.
pub(crate) const FIRE_LATENESS: &str = "tidegate_schedule_lateness_seconds";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_histogram!(BATCH_SIZE, Unit::Count, "items of a committed batch");
    describe_counter!(DISPATCH_DROPPED, Unit::Count, "batches left to the sweeps");
    describe_counter!(SLOTS_REFUSED, Unit::Count, "claims that wait for a slot of a concurrency limit");
    describe_counter!(STRAY_SLOTS, Unit::Count, "slots of runs that nobody held");
    describe_counter!(FIRES, Unit::Count, "runs that schedules have made");
    describe_counter!(MISSED, Unit::Count, "times of schedules that were missed and made no run");
    describe_counter!(REFUSED, Unit::Count, "times of schedules whose run was refused");
    describe_histogram!(FIRE_LATENESS, Unit::Seconds, "from the time of a schedule to the commit of its run");
    describe_histogram!(BATCH_SECONDS, Unit::Seconds, "from the begin to the commit of a batch");
}
