use tidegate_model::Timestamp;

use super::{end, enter, stop_lost, take_away};
use crate::{Effect, Holder, Phase, Run, State, StateName, Step};

/// No code runs that could be given time to end.
pub(super) fn at_once(run: &Run, reason: &str, now: Timestamp) -> Step {
    let cancelled = State::new(Phase::Cancelled, now).described(StateName::Cancelled, reason);
    stop_lost(take_away(end::end(run, cancelled), run), run)
}

pub(super) fn begin(run: &Run, holder: Holder, reason: &str, now: Timestamp) -> Step {
    // The worker kills after the grace time; after twice that the scheduler closes the run without it.
    let close_at = now + run.policies.cancel_grace * 2;
    let state =
        State::new(Phase::Cancelling { holder, close_at }, now).described(StateName::Cancelling, reason);
    let mut step = enter(run, state);
    step.run.cascade_pending = true;
    step.effects.push(Effect::Stop { epoch: run.epoch, lost: false });
    step.effects.push(Effect::Cascade);
    step
}

pub(super) fn close(run: &Run, how: &str, now: Timestamp) -> Step {
    let reason = &run.state.message;
    let message = if reason.is_empty() { how.to_owned() } else { format!("{reason} ({how})") };
    let mut step = end::end(run, State::new(Phase::Cancelled, now).described(StateName::Cancelled, message));
    // What is below it was seen to when it became CANCELLING, or is still to be; new children it could not get.
    step.run.cascade_pending = run.cascade_pending;
    if !run.cascade_pending {
        step.effects.retain(|effect| *effect != Effect::Cascade);
    }
    step
}
