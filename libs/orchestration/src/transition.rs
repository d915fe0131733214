use std::time::Duration;

use tidegate_model::{Epoch, RunId, Timestamp};

use crate::{Failure, Holder, Phase, Run, State, StateName, StateType};

/// How much longer than its run timeout a run may be RUNNING: its worker stops it at the timeout, and the
/// scheduler only where the worker says nothing.
pub const SILENT_HOLDER_GRACE: Duration = Duration::from_secs(5);

/// What happens to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker with a free slot takes it.
    Claimed {
        /// Who.
        holder: Holder,
    },
    /// The code starts.
    Started,
    /// The code returned.
    Completed,
    /// The code raised.
    Failed(Failure),
    /// The run timeout passed and the holder stopped the code.
    TimedOut,
    /// The holder stopped the code because a cancel was asked.
    Cancelled,
    /// The process that executed it went away.
    Crashed {
        /// The cause in words: `signal 9 (SIGKILL)`.
        cause: String,
    },
    /// The holder gives it back before it was started.
    Released,
    /// The time of `Phase::timer_at` has come.
    TimerFired,
    /// Someone asks for its end, or its parent has ended.
    CancelRequested {
        /// Why; may be empty.
        reason: String,
    },
}

/// What is to be done outside the store after a step is committed. All of it can be lost without harm:
/// the scheduler's sweeps find what was left undone.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Deliver the run when it is due.
    Enqueue,
    /// Forget its delivery, and tell its holder to stop the code it executes under `epoch`.
    Stop {
        /// The epoch under which it was held or enqueued.
        epoch: Epoch,
        /// True when the run is no longer the holder's, so that nothing is to be reported.
        lost: bool,
    },
    /// Bring about the end of its children.
    Cascade,
}

/// What an event does to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The run afterwards.
    pub run: Run,
    /// The states it entered, in order, one event each. Empty: a repeat of what was done before.
    pub transitions: Vec<State>,
    /// What is to be done after the commit.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The report bears another epoch: the run was taken away from its holder.
    #[error("the run's epoch is {current}, so a report of another one changes nothing: drop the work")]
    StaleEpoch {
        /// The run's epoch now.
        current: Epoch,
    },
    /// The state does not allow it.
    #[error("a run that is {from} does not take `{event}`")]
    NotAllowed {
        /// The run's state now.
        from: StateType,
        /// The event's name.
        event: &'static str,
    },
    /// It is not due yet.
    #[error("the run is due at {due_at}")]
    NotDue {
        /// When it is.
        due_at: Timestamp,
    },
    /// The parent can have no new child.
    #[error("the parent run {parent} is {state} and can have no new child")]
    ParentEnded {
        /// The parent.
        parent: RunId,
        /// Its state.
        state: StateType,
    },
    /// Too many runs are above it.
    #[error("a run may have at most {limit} runs above it")]
    TooDeep {
        /// `limits::MAX_TREE_DEPTH`.
        limit: u32,
    },
}

impl Event {
    /// Its name in errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claimed { .. } => "claimed",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Crashed { .. } => "crashed",
            Self::Released => "released",
            Self::TimerFired => "timer_fired",
            Self::CancelRequested { .. } => "cancel_requested",
        }
    }
}

/// Decides what `event` does to `run`. Equal inputs give equal steps.
///
/// `epoch` is what the event bears; a cancel request bears none. `jitter` is drawn evenly from 0 to 1 by the
/// caller and used for the delay of a retry.
pub fn apply(
    run: &Run,
    epoch: Option<Epoch>,
    event: &Event,
    now: Timestamp,
    jitter: f64,
) -> Result<Step, Rejection> {
    if let Some(epoch) = epoch
        && epoch != run.epoch
    {
        return if repeats_earlier(run, epoch, event) {
            Ok(unchanged(run))
        } else {
            Err(Rejection::StaleEpoch { current: run.epoch })
        };
    }
    match (&run.state.phase, event) {
        (Phase::Scheduled, Event::Claimed { holder }) => claim(run, holder, now),
        (Phase::Scheduled, Event::Started) if run.is_local() => start_local_retry(run, now),
        // It waits in its process for a retry; nobody else would start it.
        (Phase::Scheduled, Event::Crashed { cause }) if run.is_local() => {
            Ok(redeliver_or_crash(run, cause, now))
        }
        (Phase::Pending { holder, .. }, Event::Started) => Ok(start(run, holder.clone(), now)),
        (Phase::Pending { .. }, Event::Released) if !run.is_local() => {
            Ok(release(run, "given back before it was started", now))
        }
        (Phase::Pending { start_by: Some(start_by), .. }, Event::TimerFired)
            if *start_by <= now && !run.is_local() =>
        {
            let mut step = release(run, "its worker did not start it in time", now);
            step.effects.push(Effect::Stop { epoch: run.epoch, lost: true });
            Ok(step)
        }
        (Phase::Running { .. }, Event::Completed) => Ok(end(run, State::new(Phase::Completed, now))),
        (Phase::Running { .. }, Event::Failed(failure)) => {
            let failed = State::new(Phase::Failed, now).described(StateName::Failed, summary(failure));
            Ok(retry_or_fail(run, failed, !failure.non_retryable, now, jitter))
        }
        (Phase::Running { .. }, Event::TimedOut) => Ok(time_out(run, now, jitter)),
        (Phase::Running { deadline: Some(deadline), .. }, Event::TimerFired) if *deadline <= now => {
            let mut step = take_away(time_out(run, now, jitter), run);
            step.effects.push(Effect::Stop { epoch: run.epoch, lost: true });
            Ok(step)
        }
        (Phase::Pending { .. } | Phase::Running { .. }, Event::Crashed { cause }) => {
            Ok(redeliver_or_crash(run, cause, now))
        }
        (Phase::Scheduled | Phase::Pending { .. }, Event::CancelRequested { reason }) => {
            let cancelled = State::new(Phase::Cancelled, now).described(StateName::Cancelled, reason.clone());
            let mut step = take_away(end(run, cancelled), run);
            step.effects.push(Effect::Stop { epoch: run.epoch, lost: true });
            Ok(step)
        }
        (Phase::Running { holder, .. }, Event::CancelRequested { reason }) => {
            Ok(begin_cancel(run, holder.clone(), reason, now))
        }
        (Phase::Cancelling { .. }, Event::Cancelled) => Ok(close_cancel(run, "stopped by its worker", now)),
        // CANCELLING goes nowhere but to CANCELLED, whatever the code still did.
        (Phase::Cancelling { .. }, Event::Completed | Event::Failed(_) | Event::TimedOut) => {
            Ok(close_cancel(run, "the code ended while it was being cancelled", now))
        }
        (Phase::Cancelling { .. }, Event::Crashed { cause }) => {
            Ok(take_away(close_cancel(run, &format!("its process went away: {cause}"), now), run))
        }
        (Phase::Cancelling { close_at, .. }, Event::TimerFired) if *close_at <= now => {
            let mut step = take_away(close_cancel(run, "its worker did not stop it in time", now), run);
            step.effects.push(Effect::Stop { epoch: run.epoch, lost: true });
            Ok(step)
        }
        // From here on: what was done already, or cannot be done.
        (_, Event::CancelRequested { .. }) => Ok(unchanged(run)),
        (phase, event) if repeats_current(phase, event) => Ok(unchanged(run)),
        (phase, event) => Err(Rejection::NotAllowed { from: phase.state_type(), event: event.name() }),
    }
}

/// True when the same report under the current epoch has led to the current phase.
fn repeats_current(phase: &Phase, event: &Event) -> bool {
    matches!(
        (phase, event),
        (Phase::Running { .. } | Phase::Cancelling { .. } | Phase::Completed | Phase::Failed, Event::Started)
            | (Phase::Completed, Event::Completed)
            | (Phase::Failed, Event::Failed(_) | Event::TimedOut)
            | (
                Phase::Cancelled,
                Event::Started | Event::Cancelled | Event::Completed | Event::Failed(_) | Event::TimedOut
            )
    )
}

/// True when the same report under the epoch before the current one has led to the current state, which
/// took the run away from its holder. Later epochs make it merely stale.
fn repeats_earlier(run: &Run, epoch: Epoch, event: &Event) -> bool {
    if epoch.next() != run.epoch {
        return false;
    }
    match event {
        Event::Claimed { holder } => {
            matches!(&run.state.phase, Phase::Pending { holder: current, .. } if current == holder)
        }
        Event::Started | Event::Failed(_) | Event::TimedOut => run.state.name == StateName::AwaitingRetry,
        Event::Released => run.state.name == StateName::Released,
        Event::Crashed { .. } => {
            matches!(run.state.name, StateName::Rescheduled | StateName::Crashed | StateName::Cancelled)
        }
        _ => false,
    }
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
    step.run.event_seq += 1;
    step.run.state = state.clone();
    step.transitions.push(state);
}

/// Enters a terminal state. Children of a run that did not complete are to end as well.
fn end(run: &Run, state: State) -> Step {
    let completed = state.phase == Phase::Completed;
    let mut step = enter(run, state);
    if !completed {
        step.run.cascade_pending = true;
        step.effects.push(Effect::Cascade);
    }
    step
}

/// Fences off the holder: its later reports are stale.
fn take_away(mut step: Step, before: &Run) -> Step {
    step.run.epoch = before.epoch.next();
    step
}

fn claim(run: &Run, holder: &Holder, now: Timestamp) -> Result<Step, Rejection> {
    if run.is_local() {
        return Err(Rejection::NotAllowed { from: StateType::Scheduled, event: "claimed" });
    }
    if run.due_at > now {
        return Err(Rejection::NotDue { due_at: run.due_at });
    }
    let start_by = Some(now + run.policies.start_timeout);
    let mut step = enter(run, State::new(Phase::Pending { holder: holder.clone(), start_by }, now));
    step.run.epoch = run.epoch.next();
    Ok(step)
}

/// The delay was kept by the process; that clocks differ a little is no reason to refuse its work.
fn start_local_retry(run: &Run, now: Timestamp) -> Result<Step, Rejection> {
    let crate::Placement::Session(session) = run.placement else {
        return Err(Rejection::NotAllowed { from: StateType::Scheduled, event: "started" });
    };
    Ok(start(run, Holder::Session(session), now))
}

fn start(run: &Run, holder: Holder, now: Timestamp) -> Step {
    let deadline = run.policies.run_timeout.map(|timeout| now + timeout + SILENT_HOLDER_GRACE);
    let name = if run.attempt == 0 { StateName::Running } else { StateName::Retrying };
    let mut step = enter(run, State::new(Phase::Running { holder, deadline }, now).described(name, ""));
    step.run.attempt += 1;
    step.run.started_at = Some(now);
    step
}

/// Back to the queue at no cost.
fn release(run: &Run, message: &str, now: Timestamp) -> Step {
    let mut step = enter(run, State::new(Phase::Scheduled, now).described(StateName::Released, message));
    step.run.due_at = now;
    step.effects.push(Effect::Enqueue);
    take_away(step, run)
}

fn time_out(run: &Run, now: Timestamp, jitter: f64) -> Step {
    let timeout = run.policies.run_timeout.unwrap_or_default();
    let failed = State::new(Phase::Failed, now)
        .described(StateName::TimedOut, format!("took longer than its run timeout of {timeout:?}"));
    retry_or_fail(run, failed, true, now, jitter)
}

fn retry_or_fail(run: &Run, failed: State, retryable: bool, now: Timestamp, jitter: f64) -> Step {
    let retry = &run.policies.retry;
    if !retryable || run.retries >= retry.max_retries {
        return end(run, failed);
    }
    let delay = retry.delay(run.retries, jitter);
    let message = format!("retry {} of {} in {delay:?}", run.retries + 1, retry.max_retries);
    let mut step = enter(run, failed);
    push(&mut step, State::new(Phase::Scheduled, now).described(StateName::AwaitingRetry, message));
    step.run.retries += 1;
    step.run.due_at = now + delay;
    if !run.is_local() {
        step.effects.push(Effect::Enqueue);
    }
    take_away(step, run)
}

/// A local run is not delivered again: the run that started it will be, and starts it anew.
fn redeliver_or_crash(run: &Run, cause: &str, now: Timestamp) -> Step {
    let crashed = State::new(Phase::Crashed, now).described(StateName::Crashed, cause);
    let max_crashes = run.policies.crash.max_crashes;
    let crashes = run.crashes + 1;
    let mut step = if run.is_local() || crashes > max_crashes {
        end(run, crashed)
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

fn begin_cancel(run: &Run, holder: Holder, reason: &str, now: Timestamp) -> Step {
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

fn close_cancel(run: &Run, how: &str, now: Timestamp) -> Step {
    let reason = &run.state.message;
    let message = if reason.is_empty() { how.to_owned() } else { format!("{reason} ({how})") };
    end(run, State::new(Phase::Cancelled, now).described(StateName::Cancelled, message))
}

fn summary(failure: &Failure) -> String {
    let text = match (failure.error_type.as_str(), failure.message.as_str()) {
        ("", message) => message.to_owned(),
        (error_type, "") => error_type.to_owned(),
        (error_type, message) => format!("{error_type}: {message}"),
    };
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}
