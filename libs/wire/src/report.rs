use std::time::Duration;

use tidegate_model::{Epoch, FieldViolation, Payload, RunId, limits};
use tidegate_orchestration::{Event, Failure};
use tidegate_proto::v1;

use crate::{Violations, duration_from_proto, parse::cut, payload_from_proto, policies::span};

/// What is older counts as that.
const MAX_AGE: Duration = Duration::from_secs(365 * 86_400);

/// A valid report.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedReport {
    /// The run.
    pub run_id: RunId,
    /// The epoch that the report bears.
    pub epoch: Epoch,
    /// What happened.
    pub event: Event,
    /// How long before the report came here that was, as far as its holder says.
    pub age: Duration,
    /// What the code returned; for a pause, what it asks for.
    pub result: Option<Payload>,
}

/// Checks a report of a holder. Texts that are too long are cut, as the contract says.
pub fn parse_report(report: v1::Report) -> Result<ParsedReport, Vec<FieldViolation>> {
    let mut violations = Violations::default();
    let run_id = violations.parse("run_id", &report.run_id);
    let age = parse_age(report.age.as_ref(), &mut violations);
    let mut result = None;
    let event = match report.event {
        None => {
            violations.add("event", "is not set: say what happened to the run");
            None
        }
        Some(v1::report::Event::Started(_)) => Some(Event::Started),
        Some(v1::report::Event::Completed(completed)) => {
            result = payload_from_proto(completed.result.as_ref(), "completed.result", &mut violations);
            Some(match cut(completed.message, limits::MAX_REASON_SIZE) {
                message if message.is_empty() => Event::Completed,
                message => Event::CompletedAs { message },
            })
        }
        Some(v1::report::Event::Failed(failure)) => Some(Event::Failed(failure_from_proto(failure))),
        Some(v1::report::Event::TimedOut(_)) => Some(Event::TimedOut),
        Some(v1::report::Event::Cancelled(_)) => Some(Event::Cancelled),
        Some(v1::report::Event::Crashed(crashed)) => {
            Some(Event::Crashed { cause: cut(crashed.cause, limits::MAX_REASON_SIZE) })
        }
        Some(v1::report::Event::Released(_)) => Some(Event::Released),
        Some(v1::report::Event::Paused(paused)) => {
            result = payload_from_proto(paused.request.as_ref(), "paused.request", &mut violations);
            Some(parse_paused(paused, &mut violations))
        }
        Some(v1::report::Event::UpstreamFailed(failed)) => {
            violations.parse("upstream_failed.upstream_run_id", &failed.upstream_run_id).map(|upstream| {
                Event::UpstreamFailed { upstream, cause: cut(failed.cause, limits::MAX_REASON_SIZE) }
            })
        }
    };
    match (run_id, event) {
        (Some(run_id), Some(event)) if violations.is_empty() => {
            Ok(ParsedReport { run_id, epoch: Epoch(report.epoch), event, age, result })
        }
        _ => Err(violations.into_vec()),
    }
}

/// A span that is too long is cut: a report is not lost for it.
fn parse_age(age: Option<&prost_types::Duration>, violations: &mut Violations) -> Duration {
    let Some(age) = age else { return Duration::ZERO };
    let parsed = duration_from_proto(age);
    if parsed.is_none() {
        violations.add("age", format!("{}.{:09} s is negative, or no duration", age.seconds, age.nanos));
    }
    parsed.unwrap_or_default().min(MAX_AGE)
}

fn parse_paused(paused: v1::report::Paused, violations: &mut Violations) -> Event {
    violations.text("paused.key", &paused.key, 1, limits::MAX_PAUSE_KEY_SIZE);
    let timeout = pause_timeout(paused.timeout.as_ref(), "paused.timeout", violations);
    Event::Paused { key: paused.key, timeout, suspend: paused.suspend }
}

/// How long a run may wait to be resumed; `None`: for ever.
pub fn pause_timeout(
    timeout: Option<&prost_types::Duration>,
    field: &str,
    violations: &mut Violations,
) -> Option<Duration> {
    span(&timeout.copied(), field, (Duration::from_secs(1), limits::MAX_PAUSE), violations)
}

/// A failure from the wire, cut to its bounds.
pub fn failure_from_proto(failure: v1::Failure) -> Failure {
    Failure {
        error_type: cut(failure.error_type, limits::MAX_ERROR_TYPE_SIZE),
        message: cut(failure.message, limits::MAX_ERROR_MESSAGE_SIZE),
        traceback: cut(failure.traceback, limits::MAX_TRACEBACK_SIZE),
        non_retryable: failure.non_retryable,
    }
}

/// A failure to the wire.
pub fn failure_to_proto(failure: &Failure) -> v1::Failure {
    v1::Failure {
        error_type: failure.error_type.clone(),
        message: failure.message.clone(),
        traceback: failure.traceback.clone(),
        non_retryable: failure.non_retryable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(age: Option<prost_types::Duration>) -> v1::Report {
        v1::Report {
            run_id: RunId::new().to_string(),
            epoch: 3,
            event: Some(v1::report::Event::Started(v1::report::Started {})),
            age,
        }
    }

    #[test]
    fn a_report_says_how_old_it_is() {
        let age = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let parsed = |age| parse_report(started(age)).map(|report| report.age);
        assert_eq!(parsed(None), Ok(Duration::ZERO), "just now");
        assert_eq!(parsed(age(2, 5_000)), Ok(Duration::new(2, 5_000)));
        assert_eq!(parsed(age(i64::MAX, 999_999_999)), Ok(MAX_AGE), "cut");
        for wrong in [age(-1, 0), age(0, -1), age(0, 1_000_000_000)] {
            let violations = parsed(wrong).expect_err("is none");
            assert_eq!(violations.len(), 1, "{violations:?}");
            assert_eq!(violations[0].field, "age");
        }
    }
}
