use std::path::PathBuf;

use anyhow::Context as _;

use crate::{script::Part, time::Time};

/// A line of a log that should not be there.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub part: Part,
    /// `None`: it bears no time, as the message of a panic.
    pub at: Option<Time>,
    pub text: String,
}

/// Every ERROR, and every panic.
pub(crate) fn errors(logs: &[(Part, PathBuf)]) -> anyhow::Result<Vec<LogLine>> {
    let mut found = Vec::new();
    for (part, path) in logs {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            if is_error(line) || line.contains("panicked at") {
                found.push(LogLine { part: *part, at: time_of(line), text: line.to_owned() });
            }
        }
    }
    Ok(found)
}

/// As `2026-01-01T00:00:00.000000Z ERROR target: message`.
fn is_error(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("ERROR")
}

fn time_of(line: &str) -> Option<Time> {
    let time: jiff::Timestamp = line.split_whitespace().next()?.parse().ok()?;
    Some(Time::from_micros(u64::try_from(time.as_microsecond()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_found_with_their_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = "2026-01-01T00:00:01.5Z  INFO x: no ERROR\n2026-01-01T00:00:02Z ERROR x: bad\n\
                   thread 'main' panicked at src/x.rs\n";
        std::fs::write(file.path(), log).unwrap();
        let found = errors(&[(Part::Api(0), file.path().to_owned())]).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].at, Some(Time::from_secs(1_767_225_602)));
        assert_eq!(found[1].at, None);
    }
}
