mod cancel;
mod end;
mod pause;
mod retry;
mod start;

use std::time::Duration;

use tidegate_model::{Epoch, Timestamp};

pub(crate) use end::cached;

use crate::{Effect, Event, Moment, Phase, Rejection, Run, State, StateName, Step};

/// How much longer than its run timeout a run may be RUNNING: its worker stops it at the timeout, and the
/// scheduler only where the worker says nothing.
pub const SILENT_HOLDER_GRACE: Duration = Duration::from_secs(5);

/// Decides what `event` does to `run`. Equal inputs give equal steps.
///
/// `epoch` is what the event bears; a request bears none. `at` is the time by which it is judged, or a [`Moment`] for what
/// happened before that: an attempt counts as started, and a retry is delayed, from then. `jitter` is drawn evenly from 0
/// to 1 by the caller and used for the delay of a retry.
pub fn apply(
    run: &Run,
    epoch: Option<Epoch>,
    event: &Event,
    at: impl Into<Moment>,
    jitter: f64,
) -> Result<Step, Rejection> {
    let at = at.into();
    let now = at.now;
    if let Some(epoch) = epoch
        && epoch != run.epoch
    {
        return if repeats_earlier(run, epoch, event) {
            Ok(unchanged(run))
        } else {
            Err(Rejection::StaleEpoch { current: run.epoch })
        };
    }
    let is_local = run.is_local();
    match (&run.state.phase, event) {
        // It waits for its time, or for a worker.
        (Phase::Scheduled, Event::Claimed { holder }) => start::claim(run, holder, now),
        (Phase::Scheduled, Event::SlotRefused { limit, lack }) if !is_local => {
            Ok(start::refuse_slot(run, limit, *lack, now))
        }
        (Phase::Scheduled, Event::SlotSkipped { limit, lack }) if !is_local => {
            Ok(start::skip(run, limit, *lack, now))
        }
        (Phase::Scheduled, Event::CacheHit { from }) => Ok(end::take_cached(run, *from, now)),
        (Phase::Scheduled, Event::TimerFired) if is_time(run.timer_at(), now) => {
            Ok(start::expire_or_be_late(run, now))
        }
        // A local one waits in its process for a retry; nobody else would start it.
        (Phase::Scheduled, Event::Started) if is_local => start::start_local_retry(run, at),
        (Phase::Scheduled, Event::Crashed { cause }) if is_local => {
            Ok(retry::redeliver_or_crash(run, cause, now))
        }
        (Phase::Scheduled, Event::UpstreamFailed { upstream, cause }) if is_local => {
            Ok(end::fail_by_upstream(run, *upstream, cause, now))
        }
        // Someone holds it.
        (Phase::Pending { holder, .. }, Event::Started) => Ok(start::start(run, holder.clone(), at)),
        (Phase::Pending { .. }, Event::Released) if !is_local => {
            Ok(start::release(run, "given back before it was started", now))
        }
        (Phase::Pending { start_by, .. }, Event::TimerFired) if is_time(*start_by, now) && !is_local => {
            Ok(stop_lost(start::release(run, "its worker did not start it in time", now), run))
        }
        (Phase::Pending { .. } | Phase::Running { .. }, Event::UpstreamFailed { upstream, cause }) => {
            Ok(end::fail_by_upstream(run, *upstream, cause, now))
        }
        (Phase::Pending { .. }, Event::Crashed { cause }) => Ok(retry::redeliver_or_crash(run, cause, now)),
        (Phase::Running { deadline, .. }, Event::TimerFired) if is_time(*deadline, now) => {
            Ok(stop_lost(take_away(retry::time_out(run, at, jitter), run), run))
        }
        (Phase::Running { holder, .. }, Event::Paused { key, timeout, suspend }) => {
            pause::pause(run, holder, key, *timeout, *suspend, now)
        }
        (Phase::Running { holder, .. }, Event::CancelRequested { reason, .. }) => {
            Ok(cancel::begin(run, holder.clone(), reason, now))
        }
        // The code may also end while it waits in its process.
        (Phase::Running { .. } | Phase::Paused { holder: Some(_), .. }, Event::Completed) => {
            Ok(end::end(run, State::new(Phase::Completed, now)))
        }
        (Phase::Running { .. } | Phase::Paused { holder: Some(_), .. }, Event::CompletedAs { message }) => {
            let state = State::new(Phase::Completed, now).described(StateName::Completed, message);
            Ok(end::end(run, state))
        }
        (Phase::Running { .. } | Phase::Paused { holder: Some(_), .. }, Event::Failed(failure)) => {
            Ok(retry::retry_or_fail(run, failure, at, jitter))
        }
        (Phase::Running { .. } | Phase::Paused { holder: Some(_), .. }, Event::TimedOut) => {
            Ok(retry::time_out(run, at, jitter))
        }
        (Phase::Running { .. } | Phase::Paused { holder: Some(_), .. }, Event::Crashed { cause }) => {
            Ok(retry::redeliver_or_crash(run, cause, now))
        }
        // Pauses.
        (
            Phase::Scheduled | Phase::Pending { .. } | Phase::Running { .. },
            Event::PauseRequested { timeout, reason, .. },
        ) => pause::request(run, *timeout, reason, now),
        (Phase::Paused { holder, .. }, Event::ResumeRequested { .. }) => {
            Ok(pause::resume(run, holder.as_ref(), now))
        }
        (Phase::Paused { expires_at, .. }, Event::TimerFired) if is_time(*expires_at, now) => {
            Ok(pause::expire(run, now))
        }
        // Cancels. CANCELLING goes nowhere but to CANCELLED, whatever the code still did.
        (
            Phase::Scheduled | Phase::Pending { .. } | Phase::Paused { .. },
            Event::CancelRequested { reason, .. },
        ) => Ok(cancel::at_once(run, reason, now)),
        (Phase::Cancelling { .. }, Event::Cancelled) => Ok(cancel::close(run, "stopped by its worker", now)),
        (
            Phase::Cancelling { .. },
            Event::Completed
            | Event::CompletedAs { .. }
            | Event::Failed(_)
            | Event::TimedOut
            | Event::UpstreamFailed { .. },
        ) => Ok(cancel::close(run, "the code ended while it was being cancelled", now)),
        (Phase::Cancelling { .. }, Event::Crashed { cause }) => {
            Ok(take_away(cancel::close(run, &format!("its process went away: {cause}"), now), run))
        }
        (Phase::Cancelling { close_at, .. }, Event::TimerFired) if *close_at <= now => {
            let closed = cancel::close(run, "its worker did not stop it in time", now);
            Ok(stop_lost(take_away(closed, run), run))
        }
        // What alone leaves a terminal state.
        (phase, Event::RetryRequested { reason, .. }) if phase.state_type().is_terminal() => {
            retry::again(run, reason, now)
        }
        (_, Event::Adopted { session }) => start::adopt(run, *session, now),
        // From here on: what was done already, or cannot be done.
        (phase, event) if repeats_current(run, phase, event) => Ok(unchanged(run)),
        (phase, event) => Err(Rejection::NotAllowed { from: phase.state_type(), event: event.name() }),
    }
}

/// True when the same report under the current epoch, or the same request, has led to the current state, or asks for
/// what is so already.
fn repeats_current(run: &Run, phase: &Phase, event: &Event) -> bool {
    match (phase, event) {
        (_, Event::CancelRequested { .. })
        | (
            Phase::Running { .. }
            | Phase::Paused { holder: Some(_), .. }
            | Phase::Cancelling { .. }
            | Phase::Completed
            | Phase::Failed,
            Event::Started,
        )
        | (Phase::Paused { .. }, Event::PauseRequested { .. })
        | (Phase::Scheduled | Phase::Pending { .. } | Phase::Running { .. }, Event::ResumeRequested { .. })
        | (Phase::Completed, Event::Completed | Event::CompletedAs { .. })
        | (Phase::Failed, Event::Failed(_) | Event::TimedOut | Event::UpstreamFailed { .. })
        | (
            Phase::Cancelled,
            Event::Started
            | Event::Cancelled
            | Event::Completed
            | Event::CompletedAs { .. }
            | Event::Failed(_)
            | Event::TimedOut
            | Event::UpstreamFailed { .. },
        ) => true,
        (Phase::Paused { holder: Some(_), .. }, Event::Paused { key, suspend: false, .. }) => {
            run.pause_key.as_ref() == Some(key)
        }
        (Phase::Scheduled, Event::RetryRequested { .. }) => run.state.name == StateName::AwaitingRetry,
        (Phase::Completed, Event::CacheHit { .. }) => run.state.name == StateName::Cached,
        _ => false,
    }
}

/// True when the same report under the epoch before the current one has led to the current state, which
/// took the run away from its holder. Later epochs make it merely stale.
fn repeats_earlier(run: &Run, epoch: Epoch, event: &Event) -> bool {
    if epoch.next() != run.epoch {
        return false;
    }
    let name = run.state.name;
    match event {
        Event::Claimed { holder } => {
            let is_theirs =
                matches!(&run.state.phase, Phase::Pending { holder: current, .. } if current == holder);
            let is_put_off =
                matches!(name, StateName::Expired | StateName::AwaitingConcurrencySlot | StateName::Skipped);
            is_theirs || is_put_off
        }
        Event::SlotRefused { .. } => name == StateName::AwaitingConcurrencySlot,
        Event::SlotSkipped { .. } => name == StateName::Skipped,
        Event::Started | Event::Failed(_) | Event::TimedOut => name == StateName::AwaitingRetry,
        Event::Paused { key, suspend: true, .. } => {
            name == StateName::Suspended && run.pause_key.as_ref() == Some(key)
                || name == StateName::Resuming && run.resumed_keys.contains(key)
        }
        Event::Released => name == StateName::Released,
        Event::Crashed { .. } => {
            matches!(name, StateName::Rescheduled | StateName::Crashed | StateName::Cancelled)
        }
        _ => false,
    }
}

fn is_time(timer: Option<Timestamp>, now: Timestamp) -> bool {
    timer.is_some_and(|timer| timer <= now)
}

fn unchanged(run: &Run) -> Step {
    Step { run: run.clone(), transitions: Vec::new(), effects: Vec::new() }
}

/// The step that enters `state`.
fn enter(run: &Run, state: State) -> Step {
    let mut step = unchanged(run);
    push(&mut step, state);
    step
}

fn push(step: &mut Step, state: State) {
    if !matches!(state.phase, Phase::Paused { .. }) {
        step.run.pause_key = None;
    }
    step.run.event_seq += 1;
    step.run.state = state.clone();
    step.transitions.push(state);
}

/// Fences off the holder: its later reports are stale.
fn take_away(mut step: Step, before: &Run) -> Step {
    step.run.epoch = before.epoch.next();
    step
}

/// Has delivery forget the run, and its holder stop code that is no longer its own.
fn stop_lost(mut step: Step, before: &Run) -> Step {
    step.effects.push(Effect::Stop { epoch: before.epoch, lost: true });
    step
}
