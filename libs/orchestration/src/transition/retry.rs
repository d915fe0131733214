use tidegate_model::Timestamp;

use super::{end, enter, push, take_away};
use crate::{Effect, Failure, Moment, Phase, Rejection, Run, State, StateName, Step};

pub(super) fn retry_or_fail(run: &Run, failure: &Failure, at: Moment, jitter: f64) -> Step {
    let failed = State::new(Phase::Failed, at.now).described(StateName::Failed, summary(failure));
    fail(run, failed, run.policies.retry.takes(failure), at, jitter)
}

/// A timeout counts as an error of the type `TimedOut`.
pub(super) fn time_out(run: &Run, at: Moment, jitter: f64) -> Step {
    let timeout = run.policies.run_timeout.unwrap_or_default();
    let failed = State::new(Phase::Failed, at.now)
        .described(StateName::TimedOut, format!("took longer than its run timeout of {timeout:?}"));
    let is_retryable = run.policies.retry.takes_type(StateName::TimedOut.as_str());
    fail(run, failed, is_retryable, at, jitter)
}

/// The delay counts from the failure: on its way here a part of it has passed. It is due no earlier than now, so that it is
/// late, and has waited, from when somebody could take it.
fn fail(run: &Run, failed: State, is_retryable: bool, at: Moment, jitter: f64) -> Step {
    let retry = &run.policies.retry;
    if !is_retryable || run.retries >= retry.max_retries {
        return end::end(run, failed);
    }
    let delay = retry.delay(run.retries, jitter);
    let message = format!("retry {} of {} in {delay:?}", run.retries + 1, retry.max_retries);
    let mut step = enter(run, failed);
    push(&mut step, State::new(Phase::Scheduled, at.now).described(StateName::AwaitingRetry, message));
    step.run.retries += 1;
    let failed_at = at.happened_since(run.started_at.unwrap_or(run.state.at));
    step.run.due_at = (failed_at + delay).max(at.now);
    if !run.is_local() {
        step.effects.push(Effect::Enqueue);
    }
    take_away(step, run)
}

/// A local run is not delivered again: the run that started it will be, and starts it anew.
pub(super) fn redeliver_or_crash(run: &Run, cause: &str, now: Timestamp) -> Step {
    let crashed = State::new(Phase::Crashed, now).described(StateName::Crashed, cause);
    let max_crashes = run.policies.crash.max_crashes;
    let crashes = run.crashes + 1;
    let mut step = if run.is_local() || crashes > max_crashes {
        end::end(run, crashed)
    } else {
        let mut step = enter(run, crashed);
        let message = format!("delivered again after crash {crashes}; at most {max_crashes} are forgiven");
        push(&mut step, State::new(Phase::Scheduled, now).described(StateName::Rescheduled, message));
        step.run.due_at = now;
        step.effects.push(Effect::Enqueue);
        step
    };
    step.run.crashes = crashes;
    take_away(step, run)
}

/// A new attempt after the end, with all retries and forgiven crashes before it. Whoever asks for it knows how late it
/// is, so it does not expire.
pub(super) fn again(run: &Run, reason: &str, now: Timestamp) -> Result<Step, Rejection> {
    if run.is_local() {
        return Err(Rejection::LocalRun { event: "retry_requested", mend: "retry the run that started it" });
    }
    let mut step = enter(run, State::new(Phase::Scheduled, now).described(StateName::AwaitingRetry, reason));
    step.run.due_at = now;
    step.run.retries = 0;
    step.run.crashes = 0;
    step.run.expires_at = None;
    step.run.cascade_pending = false;
    step.effects.push(Effect::Enqueue);
    Ok(take_away(step, run))
}

fn summary(failure: &Failure) -> String {
    let text = match (failure.error_type.as_str(), failure.message.as_str()) {
        ("", message) => message.to_owned(),
        (error_type, "") => error_type.to_owned(),
        (error_type, message) => format!("{error_type}: {message}"),
    };
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}
