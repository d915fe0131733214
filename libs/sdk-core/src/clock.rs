use std::time::{Duration, SystemTime};

/// The machine's wall clock.
#[expect(clippy::disallowed_methods, reason = "the SDK's one place that asks the machine for the time")]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// `time` as it travels. Times before 1970 become 1970.
pub fn timestamp_of(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration off the wire; negative and missing ones are `None`.
pub(crate) fn duration_of(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok())
}

/// How long `due` is after `now`, both by the same (the server's) clock; zero if it is not.
pub(crate) fn between(
    now: Option<&prost_types::Timestamp>,
    due: Option<&prost_types::Timestamp>,
) -> Duration {
    let (Some(now), Some(due)) = (now, due) else { return Duration::ZERO };
    let micros =
        |time: &prost_types::Timestamp| i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1_000);
    Duration::from_micros(u64::try_from(micros(due) - micros(now)).unwrap_or(0))
}
