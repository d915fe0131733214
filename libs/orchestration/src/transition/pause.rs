use std::time::Duration;

use tidegate_model::{Timestamp, limits};

use super::{end, enter, start, stop_lost, take_away, unchanged};
use crate::{Effect, Holder, Phase, Rejection, Run, State, StateName, Step};

/// The code waits, in its process or without one. Where this pause was resumed before, it goes on.
pub(super) fn pause(
    run: &Run,
    holder: &Holder,
    key: &str,
    timeout: Option<Duration>,
    suspend: bool,
    now: Timestamp,
) -> Result<Step, Rejection> {
    if run.resumed_keys.iter().any(|resumed| resumed == key) {
        return Ok(unchanged(run));
    }
    if suspend && run.is_local() {
        let mend = "pause it in its process, or suspend the run that started it";
        return Err(Rejection::LocalRun { event: "suspend", mend });
    }
    if run.resumed_keys.len() >= limits::MAX_PAUSES {
        return Err(Rejection::TooManyPauses { limit: limits::MAX_PAUSES });
    }
    let (holder, name) =
        if suspend { (None, StateName::Suspended) } else { (Some(holder.clone()), StateName::Paused) };
    let mut step = enter(run, paused(holder, timeout, now).described(name, format!("waits at `{key}`")));
    step.run.pause_key = Some(key.to_owned());
    Ok(if suspend { take_away(step, run) } else { step })
}

/// Someone else has the run wait: it is taken from whoever holds it.
pub(super) fn request(
    run: &Run,
    timeout: Option<Duration>,
    reason: &str,
    now: Timestamp,
) -> Result<Step, Rejection> {
    if run.is_local() {
        return Err(Rejection::LocalRun { event: "pause_requested", mend: "pause the run that started it" });
    }
    let is_running = matches!(run.state.phase, Phase::Running { .. });
    let name = if is_running { StateName::Suspended } else { StateName::Paused };
    let step = enter(run, paused(None, timeout, now).described(name, reason));
    Ok(stop_lost(take_away(step, run), run))
}

/// The code goes on where it waits, or the run is delivered again. A run that was not due yet still is not.
pub(super) fn resume(run: &Run, holder: Option<&Holder>, now: Timestamp) -> Step {
    let mut step = match holder {
        Some(holder) => enter(run, start::running(run, holder.clone(), run.attempt, now)),
        None => {
            let state = State::new(Phase::Scheduled, now).described(StateName::Resuming, "");
            let mut step = enter(run, state);
            step.run.due_at = run.due_at.max(now);
            step.effects.push(Effect::Enqueue);
            step
        }
    };
    step.run.resumed_keys.extend(run.pause_key.clone());
    step
}

/// Nobody resumed it in time. Another attempt would wait at the same place, so none is made.
pub(super) fn expire(run: &Run, now: Timestamp) -> Step {
    let state =
        State::new(Phase::Failed, now).described(StateName::PauseExpired, "nobody resumed it in time");
    stop_lost(take_away(end::end(run, state), run), run)
}

fn paused(holder: Option<Holder>, timeout: Option<Duration>, now: Timestamp) -> State {
    State::new(Phase::Paused { holder, expires_at: timeout.map(|timeout| now + timeout) }, now)
}
