//! Runs in each state, and one event of each kind.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use tidegate_model::{Epoch, Namespace, QueueName, RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Event, Failure, Holder, Phase, Placement, Policies, Run, State, create};

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub fn worker(name: &str) -> Holder {
    Holder::Worker(name.parse().expect("is a worker id"))
}

/// A phase of each type, in the order of `StateType::ALL`. All timers have come.
pub fn phases() -> Vec<Phase> {
    let holder = worker("w");
    vec![
        Phase::Scheduled,
        Phase::Pending { holder: holder.clone(), start_by: Some(NOW) },
        Phase::Running { holder: holder.clone(), deadline: Some(NOW) },
        Phase::Cancelling { holder, close_at: NOW },
        Phase::Completed,
        Phase::Failed,
        Phase::Crashed,
        Phase::Cancelled,
    ]
}

/// One event of each kind.
pub fn events() -> Vec<Event> {
    vec![
        Event::Claimed { holder: worker("w") },
        Event::Started,
        Event::Completed,
        Event::Failed(Failure::default()),
        Event::TimedOut,
        Event::Cancelled,
        Event::Crashed { cause: "signal 9".into() },
        Event::Released,
        Event::TimerFired,
        Event::CancelRequested { reason: "enough".into() },
    ]
}

fn draft(placement: Placement) -> Draft {
    Draft {
        id: RunId::new(),
        namespace: Namespace::default(),
        kind: RunKind::Task,
        name: "resize".parse().expect("is a name"),
        run_name: String::new(),
        placement,
        parent: None,
        policies: Policies::default(),
        priority: 0,
        tags: Vec::new(),
        traceparent: None,
        due_at: None,
    }
}

fn run_in(placement: Placement, phase: Phase) -> Run {
    let mut run = create(draft(placement), None, NOW).expect("needs no parent").run;
    run.epoch = Epoch(3);
    run.event_seq = 10;
    run.state = State::new(phase, NOW);
    run
}

/// A queued run in a phase, with no retry and three crashes forgiven.
pub fn queued_run(phase: Phase) -> Run {
    run_in(Placement::Queue(QueueName::default()), phase)
}

/// The same, executed by a session.
pub fn local_run(phase: Phase) -> Run {
    run_in(Placement::Session(SessionId::new()), phase)
}

/// A run fresh from its creation.
pub fn fresh_run(is_local: bool, max_retries: u32, max_crashes: u32) -> Run {
    let placement =
        if is_local { Placement::Session(SessionId::new()) } else { Placement::Queue(QueueName::default()) };
    let mut draft = draft(placement);
    draft.policies.retry.max_retries = max_retries;
    draft.policies.crash.max_crashes = max_crashes;
    draft.policies.run_timeout = Some(Duration::from_secs(60));
    create(draft, None, NOW).expect("needs no parent").run
}
