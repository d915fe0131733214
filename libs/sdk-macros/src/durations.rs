use std::time::Duration;

/// The units, in milliseconds.
const UNITS: [(&str, f64); 5] =
    [("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];

/// A text such as `30s`, `1.5s`, `500ms`, `2m`, `1h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let wrong = || {
        format!("`{text}` is not a time: write it as \"500ms\", \"30s\", \"1.5s\", \"2m\", \"1h\" or \"7d\"")
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(number * millis / 1_000.0).map_err(|_| wrong())
}

/// Several of them, with commas in between.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Duration>, String> {
    text.split(',').map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse(" 1.5s "), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1 h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_list("1s, 10s"), Ok(vec![Duration::from_secs(1), Duration::from_secs(10)]));
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in ["", "30", "s", "30 seconds", "-1s", "1e400s"] {
            assert!(parse(text).is_err_and(|error| error.contains("\"30s\"")), "{text}");
        }
    }
}
