use std::time::Duration;

use tidegate_model::Timestamp;

/// To the wire.
pub fn timestamp_to_proto(timestamp: Timestamp) -> prost_types::Timestamp {
    let micros = timestamp.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// From the wire, cut to microseconds. `None`: out of the range of years 1 to 9999, or its nanoseconds are wrong.
pub fn timestamp_from_proto(timestamp: &prost_types::Timestamp) -> Option<Timestamp> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    let in_range =
        (YEAR_1..YEAR_10000).contains(&timestamp.seconds) && (0..1_000_000_000).contains(&timestamp.nanos);
    in_range
        .then(|| Timestamp::from_micros(timestamp.seconds * 1_000_000 + i64::from(timestamp.nanos / 1_000)))
}

/// To the wire.
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// From the wire. `None`: negative, or its nanoseconds are wrong.
pub fn duration_from_proto(duration: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_wire_also_before_1970() {
        for micros in [-62_135_596_800_000_000, -1, 0, 1, 1_795_000_000_123_456] {
            let timestamp = Timestamp::from_micros(micros);
            assert_eq!(timestamp_from_proto(&timestamp_to_proto(timestamp)), Some(timestamp));
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        assert_eq!(timestamp_from_proto(&prost_types::Timestamp { seconds: 0, nanos: -1 }), None);
        assert_eq!(timestamp_from_proto(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), None);
        assert_eq!(duration_from_proto(&prost_types::Duration { seconds: -1, nanos: 0 }), None);
    }
}
