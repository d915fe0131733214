use std::time::Duration;

use tidegate_model::{Epoch, FieldViolation, Payload, RunId, limits};
use tidegate_orchestration::{Event, Failure};
use tidegate_proto::v1;

use crate::{Violations, parse::cut, payload_from_proto, policies::span};

/// A valid report.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedReport {
    /// The run.
    pub run_id: RunId,
    /// The epoch that the report bears.
    pub epoch: Epoch,
    /// What happened.
    pub event: Event,
    /// What the code returned; for a pause, what it asks for.
    pub result: Option<Payload>,
}

/// Checks a report of a holder. Texts that are too long are cut, as the contract says.
pub fn parse_report(report: v1::Report) -> Result<ParsedReport, Vec<FieldViolation>> {
    let mut violations = Violations::default();
    let run_id = violations.parse("run_id", &report.run_id);
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
            Ok(ParsedReport { run_id, epoch: Epoch(report.epoch), event, result })
        }
        _ => Err(violations.into_vec()),
    }
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
