use prost::Message;

use crate::{
    Error, ErrorKind,
    proto::{Failure, NewRun, Report, ReportOutcome, StateType, report},
};

/// Bytes of a payload until the server has said its own bound.
pub(crate) const DEFAULT_MAX_PAYLOAD: usize = 256 << 20;
/// Bytes of a value within a message, until then.
pub(crate) const DEFAULT_MAX_INLINE: usize = 64 << 10;
/// What the server keeps of an end's words, in bytes. Longer ones are cut here, so that they cannot break the stream.
const MAX_REASON: usize = 1 << 10;
const MAX_ERROR_TYPE: usize = 256;
const MAX_ERROR_MESSAGE: usize = 4 << 10;
const MAX_TRACEBACK: usize = 32 << 10;

/// `event` within the bounds of the server. A result that is too large becomes a failure that says so: sent as it
/// is, it would break the stream of every other run.
pub(crate) fn bounded(event: report::Event, max_payload: usize) -> report::Event {
    match event {
        report::Event::Completed(report::Completed { result: Some(result), .. })
            if result.encoded_len() > max_payload =>
        {
            let size = result.encoded_len();
            report::Event::Failed(no_value(too_large("the result has", size, max_payload, "return")))
        }
        report::Event::Failed(mut failure) => {
            cut_end(&mut failure.error_type, MAX_ERROR_TYPE);
            cut_end(&mut failure.message, MAX_ERROR_MESSAGE);
            cut_start(&mut failure.traceback, MAX_TRACEBACK);
            report::Event::Failed(failure)
        }
        report::Event::Completed(mut completed) => {
            cut_end(&mut completed.message, MAX_REASON);
            report::Event::Completed(completed)
        }
        report::Event::Crashed(mut crashed) => {
            cut_end(&mut crashed.cause, MAX_REASON);
            report::Event::Crashed(crashed)
        }
        report::Event::UpstreamFailed(mut failed) => {
            cut_end(&mut failed.cause, MAX_REASON);
            report::Event::UpstreamFailed(failed)
        }
        event => event,
    }
}

/// What to report next, where a refused end can be mended: a run that is being cancelled can only become CANCELLED,
/// and a result that the server does not take is a failure.
pub(crate) fn follow_up(report: &Report, outcome: &ReportOutcome) -> Option<Report> {
    use report::Event;
    let is_cancelled = matches!(report.event, Some(Event::Cancelled(_)));
    if outcome.accepted || is_cancelled || !is_end(report) {
        return None;
    }
    let event = if is_cancelling(outcome) {
        Event::Cancelled(report::Cancelled {})
    } else if is_of_payload(&outcome.reason) && matches!(report.event, Some(Event::Completed(_))) {
        Event::Failed(no_value(format!("the result was refused: {}", outcome.message)))
    } else {
        return None;
    };
    Some(Report { event: Some(event), ..report.clone() })
}

/// True where the server has a fault with just this report.
pub(crate) fn is_fault(outcome: &ReportOutcome) -> bool {
    !outcome.accepted && matches!(outcome.reason.as_str(), "INTERNAL" | "")
}

/// True for the reasons for which a value is refused.
fn is_of_payload(reason: &str) -> bool {
    matches!(reason, "INVALID_FIELD" | "PAYLOAD_NOT_FOUND" | "CHECKSUM_MISMATCH")
}

/// True when a report says that the code has ended. A pause that gives the worker back ends the attempt as well, but
/// not where it turns out that the code may go on.
pub(crate) fn is_end(report: &Report) -> bool {
    !matches!(report.event, Some(report::Event::Started(_) | report::Event::Paused(_)) | None)
}

/// True when a run whose pause was answered is its holder's still: it waits in its process, or goes on, also where the
/// code has asked for a pause that there cannot be.
pub(crate) fn stays_after_pause(report: &Report, outcome: &ReportOutcome) -> bool {
    let state = outcome.state.as_ref().map_or(StateType::Unspecified, |state| state.r#type());
    let is_held = outcome.current_epoch == report.epoch
        && matches!(state, StateType::Running | StateType::Paused | StateType::Cancelling);
    let is_wrong = !outcome.accepted && outcome.reason == "INVALID_FIELD";
    matches!(report.event, Some(report::Event::Paused(_))) && (is_held || is_wrong)
}

/// True when the run is CANCELLING.
pub(crate) fn is_cancelling(outcome: &ReportOutcome) -> bool {
    outcome.state.as_ref().is_some_and(|state| state.r#type() == StateType::Cancelling)
}

/// The failure of an attempt whose value cannot be had or kept, which no other attempt will mend.
pub(crate) fn no_value(message: String) -> Failure {
    Failure { error_type: "PayloadError".into(), message, traceback: String::new(), non_retryable: true }
}

/// Refuses parameters that are too large, before they break the batch they travel in.
pub(crate) fn check_parameters(run: &NewRun, max_payload: usize) -> Result<(), Error> {
    let size = run.parameters.as_ref().map_or(0, Message::encoded_len);
    if size <= max_payload {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        too_large(&format!("the parameters of `{}` have", run.name), size, max_payload, "pass"),
    ))
}

/// What to say of a value that is larger than the server takes.
pub(crate) fn too_large(what: &str, size: usize, max_payload: usize, mend: &str) -> String {
    format!(
        "{what} {size} bytes, and the server keeps at most {max_payload} of a value ({} MiB, by its setting \
         `payload.max_size`): {mend} a reference, such as a path or a key, instead",
        max_payload >> 20
    )
}

fn cut_end(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

/// The end of a traceback is where the error is.
fn cut_start(text: &mut String, max: usize) {
    if text.len() > max {
        *text = text.split_off(text.ceil_char_boundary(text.len() - max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, payload};

    #[test]
    fn a_result_that_is_too_large_is_a_failure_that_says_so() {
        let result = Some(payload::json(vec![b'1'; 2_000]));
        let event =
            report::Event::Completed(report::Completed { result: result.clone(), ..Default::default() });
        assert_eq!(bounded(event.clone(), 10_000), event);
        let report::Event::Failed(failure) = bounded(event, 1_000) else { panic!("it was let through") };
        assert!(failure.non_retryable && failure.message.contains("at most 1000 of a value"), "{failure:?}");
    }

    #[test]
    fn a_pause_ends_nothing_while_its_epoch_holds() {
        let paused = report::Event::Paused(report::Paused { key: "approve".into(), ..Default::default() });
        let report = Report { run_id: "r".into(), epoch: 3, event: Some(paused), age: None };
        let outcome = |state: StateType, current_epoch, accepted| ReportOutcome {
            accepted,
            current_epoch,
            state: Some(crate::proto::State { r#type: state.into(), ..Default::default() }),
            ..Default::default()
        };
        assert!(!is_end(&report));
        assert!(stays_after_pause(&report, &outcome(StateType::Paused, 3, true)));
        assert!(stays_after_pause(&report, &outcome(StateType::Running, 3, true)), "it was resumed before");
        assert!(!stays_after_pause(&report, &outcome(StateType::Paused, 4, true)), "it is suspended");
        let wrong = ReportOutcome { reason: "INVALID_FIELD".into(), ..ReportOutcome::default() };
        assert!(stays_after_pause(&report, &wrong), "the code hears it");
        let cancelling = outcome(StateType::Cancelling, 3, false);
        assert!(stays_after_pause(&report, &cancelling), "the cancel is on its way");
        assert_eq!(follow_up(&report, &cancelling), None, "the code still runs");
    }

    #[test]
    fn long_words_of_an_end_are_cut() {
        let message = "é".repeat(1_000);
        let event = report::Event::Completed(report::Completed { message, ..Default::default() });
        let report::Event::Completed(completed) = bounded(event, 1_000) else { unreachable!() };
        assert_eq!(completed.message, "é".repeat(512));
        let event = report::Event::Crashed(report::Crashed { cause: "c".repeat(5_000) });
        let report::Event::Crashed(crashed) = bounded(event, 1_000) else { unreachable!() };
        assert_eq!(crashed.cause.len(), MAX_REASON);
        let failed = End::UpstreamFailed { run_id: "up".into(), cause: "c".repeat(5_000) };
        let report::Event::UpstreamFailed(failed) = bounded(failed.into(), 1_000) else { unreachable!() };
        assert_eq!((failed.upstream_run_id.as_str(), failed.cause.len()), ("up", MAX_REASON));
    }

    #[test]
    fn a_long_traceback_keeps_its_end() {
        let traceback = format!("{}the error", "é".repeat(40_000));
        let failure = Failure { traceback, ..Default::default() };
        let report::Event::Failed(failure) = bounded(report::Event::Failed(failure), 1_000) else {
            unreachable!()
        };
        assert!(failure.traceback.len() <= MAX_TRACEBACK && failure.traceback.ends_with("the error"));
    }
}
