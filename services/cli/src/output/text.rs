use std::time::Duration;

use jiff::Timestamp;
use tidegate_proto::v1::{Run, RunKind, State, StateType};

/// A time as RFC 3339 in UTC, to the millisecond. `-` where there is none.
pub fn time_text(time: Option<prost_types::Timestamp>) -> String {
    time.and_then(instant).map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}

/// The time of a message; `None` for one outside of what a calendar can show.
pub fn instant(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A span of time for people: `82 ms`, `4.2 s`, `3 m 05 s`, `2 h 07 m`, `3 d 4 h`.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How long the run's current or last attempt has taken, up to its end or `now`. `-` for one that never started.
pub fn run_duration_text(run: &Run, now: Timestamp) -> String {
    let Some(started) = run.started_at.and_then(instant) else { return "-".to_owned() };
    let end = run.ended_at.and_then(instant).unwrap_or(now);
    duration_text(Duration::try_from(end.duration_since(started)).unwrap_or_default())
}

/// The state as filters name it: `RUNNING`.
pub fn state_word(state: StateType) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_TYPE_")
}

/// The state of a run as people read it: `RUNNING`, or with its name where that says more: `SCHEDULED AwaitingRetry`.
pub fn state_text(state: Option<&State>) -> String {
    let Some(state) = state else { return "-".to_owned() };
    let word = state_word(state.r#type());
    if state.name.is_empty() || state.name.eq_ignore_ascii_case(word) {
        word.to_owned()
    } else {
        format!("{word} {}", state.name)
    }
}

/// `flow` or `task`.
pub fn kind_word(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Flow => "flow",
        RunKind::Task => "task",
        RunKind::Unspecified => "-",
    }
}

/// Text of others on a terminal: without the control characters that could move its cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_read_well() {
        let texts =
            [0.0824, 4.26, 185.0, 7_625.0, 273_600.0].map(|s| duration_text(Duration::from_secs_f64(s)));
        assert_eq!(texts, ["82 ms", "4.2 s", "3 m 05 s", "2 h 07 m", "3 d 4 h"]);
    }

    #[test]
    fn times_are_rfc_3339() {
        let time = prost_types::Timestamp { seconds: 1_800_000_000, nanos: 120_000_000 };
        assert_eq!(time_text(Some(time)), "2027-01-15T08:00:00.120Z");
        assert_eq!(time_text(None), "-");
    }

    #[test]
    fn a_name_that_says_the_same_is_not_repeated() {
        let state =
            |name: &str| State { r#type: StateType::Scheduled.into(), name: name.into(), ..State::default() };
        assert_eq!(state_text(Some(&state("Scheduled"))), "SCHEDULED");
        assert_eq!(state_text(Some(&state("AwaitingRetry"))), "SCHEDULED AwaitingRetry");
    }

    #[test]
    fn escape_sequences_of_others_do_nothing() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
