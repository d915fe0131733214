use tidegate_model::{SessionId, Timestamp};

use super::{SILENT_HOLDER_GRACE, cancel, end, enter, push, stop_lost, take_away, unchanged};
use crate::{
    Effect, Holder, Lack, Moment, Phase, Placement, Rejection, Run, State, StateName, StateType, Step,
};

/// A run that is claimed too late is given up instead.
pub(super) fn claim(run: &Run, holder: &Holder, now: Timestamp) -> Result<Step, Rejection> {
    if run.is_local() {
        return Err(Rejection::NotAllowed { from: StateType::Scheduled, event: "claimed" });
    }
    if run.is_expired(now) {
        return Ok(expire(run, now));
    }
    if run.due_at > now {
        return Err(Rejection::NotDue { due_at: run.due_at });
    }
    let start_by = Some(now + run.policies.start_timeout);
    let step = enter(run, State::new(Phase::Pending { holder: holder.clone(), start_by }, now));
    Ok(take_away(step, run))
}

/// Told once: that it is refused again is no news. The delivery is used up all the same, so the epoch grows: that it is
/// dropped now cannot drop the next one, which may be there already.
pub(super) fn refuse_slot(run: &Run, limit: &str, lack: Lack, now: Timestamp) -> Step {
    if run.state.name == StateName::AwaitingConcurrencySlot {
        return take_away(unchanged(run), run);
    }
    let message = format!("the concurrency limit `{limit}` {lack}");
    let waiting = State::new(Phase::Scheduled, now).described(StateName::AwaitingConcurrencySlot, message);
    take_away(enter(run, waiting), run)
}

pub(super) fn skip(run: &Run, limit: &str, lack: Lack, now: Timestamp) -> Step {
    let message = format!("the concurrency limit `{limit}` {lack}");
    let state = State::new(Phase::Cancelled, now).described(StateName::Skipped, message);
    stop_lost(take_away(end::end(run, state), run), run)
}

/// What the timer of a run that waits for a worker brings.
pub(super) fn expire_or_be_late(run: &Run, now: Timestamp) -> Step {
    if run.is_expired(now) {
        return expire(run, now);
    }
    let late_after = run.policies.late_after.unwrap_or_default();
    let message = format!("nobody took it within {late_after:?} of its due time");
    let mut step = enter(run, State::new(Phase::Scheduled, now).described(StateName::Late, message));
    // Once more: delivery may have lost it.
    step.effects.push(Effect::Enqueue);
    step
}

fn expire(run: &Run, now: Timestamp) -> Step {
    let expires_at = run.expires_at.unwrap_or(now);
    let state = State::new(Phase::Cancelled, now)
        .described(StateName::Expired, format!("did not start before {expires_at}"));
    stop_lost(take_away(end::end(run, state), run), run)
}

/// The delay was kept by the process; that clocks differ a little is no reason to refuse its work.
pub(super) fn start_local_retry(run: &Run, at: Moment) -> Result<Step, Rejection> {
    let Placement::Session(session) = run.placement else {
        return Err(Rejection::NotAllowed { from: StateType::Scheduled, event: "started" });
    };
    Ok(start(run, Holder::Session(session), at))
}

/// It started when its holder says, but not before it was the holder's. The holder is given the whole run timeout from now.
pub(super) fn start(run: &Run, holder: Holder, at: Moment) -> Step {
    let attempt = run.attempt + 1;
    let mut step = enter(run, running(run, holder, attempt, at.now));
    step.run.attempt = attempt;
    step.run.started_at = Some(at.happened_since(run.state.at));
    step
}

/// RUNNING, with the whole run timeout before it.
pub(super) fn running(run: &Run, holder: Holder, attempt: u32, now: Timestamp) -> State {
    let deadline = run.policies.run_timeout.map(|timeout| now + timeout + SILENT_HOLDER_GRACE);
    let name = if attempt <= 1 { StateName::Running } else { StateName::Retrying };
    State::new(Phase::Running { holder, deadline }, now).described(name, "")
}

/// Back to the queue at no cost.
pub(super) fn release(run: &Run, message: &str, now: Timestamp) -> Step {
    let mut step = enter(run, State::new(Phase::Scheduled, now).described(StateName::Released, message));
    step.run.due_at = now;
    step.effects.push(Effect::Enqueue);
    take_away(step, run)
}

/// Gives a local run to the process of its parent's later attempt, which executes it anew. A result that is there
/// stays.
pub(super) fn adopt(run: &Run, session: SessionId, now: Timestamp) -> Result<Step, Rejection> {
    let state = run.state.state_type();
    if !run.is_local() {
        return Err(Rejection::NotAllowed { from: state, event: "adopted" });
    }
    let is_its_own = run.placement == Placement::Session(session) && !state.is_terminal();
    if is_its_own || state == StateType::Completed {
        return Ok(unchanged(run));
    }
    let mut step = match state {
        // It leaves CANCELLING by way of CANCELLED only.
        StateType::Cancelling => cancel::close(run, "its process went away", now),
        _ => unchanged(run),
    };
    let pending = Phase::Pending { holder: Holder::Session(session), start_by: None };
    let message = "the next attempt of its parent executes it anew";
    push(&mut step, State::new(pending, now).described(StateName::Pending, message));
    step.effects.clear();
    step.run.placement = Placement::Session(session);
    step.run.retries = 0;
    step.run.crashes = 0;
    step.run.cascade_pending = false;
    Ok(take_away(step, run))
}
