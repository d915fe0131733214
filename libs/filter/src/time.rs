use std::time::Duration;

use tidegate_model::Timestamp;

/// An instant of a filter: `2026-01-31T12:00:00Z`, a day such as `2026-01-31` (its first instant in UTC), `now`, or
/// a span from now such as `-1h` or `+2d12h`.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text == "now" {
        return Some(now);
    }
    if let Some(span_text) = text.strip_prefix('-') {
        return Some(now - span(span_text)?);
    }
    if let Some(span_text) = text.strip_prefix('+') {
        return Some(now + span(span_text)?);
    }
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => day(text)?,
    };
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// `2026-01-31`, and nothing more: jiff would also take a local time, of which nobody knows the zone.
fn day(text: &str) -> Option<jiff::Timestamp> {
    let is_day = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: jiff::civil::Date = text.parse().ok().filter(|_| is_day)?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Numbers with units: `90s`, `1h30m`, `2w`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..n_digits].parse().ok()?;
        let unit = rest[n_digits..].chars().next()?;
        let unit_seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit_seconds)?)?;
        rest = &rest[n_digits + unit.len_utf8()..];
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    #[test]
    fn instants_are_read_as_they_are_written() {
        let cases = [
            ("now", 1_790_000_000),
            ("-1h", 1_789_996_400),
            ("+1h30m", 1_790_005_400),
            ("-1w1d", 1_789_308_800),
            ("-0s", 1_790_000_000),
            ("1970-01-02", 86_400),
            ("1970-01-01T00:01:00Z", 60),
            ("1970-01-01T01:00:00+01:00", 0),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text, NOW), Some(Timestamp::from_micros(seconds * 1_000_000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_none() {
        for text in [
            "",
            "-",
            "+",
            "1h",
            "-h",
            "-1",
            "-1y",
            "-1h-",
            "yesterday",
            "2026-01-32",
            "2026-01-31T12:00:00",
            "-1µ",
        ] {
            assert_eq!(parse(text, NOW), None, "{text}");
        }
        assert_eq!(parse(&format!("-{}w", u64::MAX), NOW), None);
    }
}
