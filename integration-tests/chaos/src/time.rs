//! Times, all by this machine's wall clock: services, workers and recorder share it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_sdk::core::wall_clock;

/// A time since 1970.
pub(crate) type Time = Duration;

/// Now.
pub(crate) fn now() -> Time {
    since_epoch(wall_clock())
}

fn since_epoch(time: SystemTime) -> Time {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time as the API gives it: seconds and nanoseconds.
pub(crate) fn of_parts(seconds: i64, nanos: i32) -> Time {
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
}
