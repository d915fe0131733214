use tidegate_model::{RunId, Timestamp};

use super::enter;
use crate::{Effect, Phase, Run, State, StateName, Step};

/// Enters a terminal state. Children of a run that did not complete are to end as well.
pub(super) fn end(run: &Run, state: State) -> Step {
    let completed = state.phase == Phase::Completed;
    let mut step = enter(run, state);
    if !completed {
        step.run.cascade_pending = true;
        step.effects.push(Effect::Cascade);
    }
    step
}

/// Another attempt would find the upstream as it is, so none is made.
pub(super) fn fail_by_upstream(run: &Run, upstream: RunId, cause: &str, now: Timestamp) -> Step {
    let mut message = format!("run {upstream}, whose result it needs, did not complete");
    if !cause.is_empty() {
        message.push_str(": ");
        message.push_str(cause);
    }
    end(run, State::new(Phase::Failed, now).described(StateName::UpstreamFailed, message))
}

pub(super) fn take_cached(run: &Run, from: RunId, now: Timestamp) -> Step {
    end(run, cached(from, now))
}

/// The state of a run that took the result of another.
pub(crate) fn cached(from: RunId, now: Timestamp) -> State {
    State::new(Phase::Completed, now).described(StateName::Cached, format!("has the result of run {from}"))
}
