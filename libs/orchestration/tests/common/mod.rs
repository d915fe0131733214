//! Runs in each state, one event of each kind, and what becomes of each pair.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod table;

use std::time::Duration;

use tidegate_model::{Epoch, QueueName, RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Event, Failure, Holder, Lack, Phase, Placement, Run, State, create};

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub fn worker(name: &str) -> Holder {
    Holder::Worker(name.parse().expect("is a worker id"))
}

/// The pause of the code in which PAUSED runs are.
pub const PAUSE: &str = "approve";

/// The phases of queued runs by their names in the table, in the order of `StateType::ALL`. All timers have come.
pub fn phases() -> Vec<(&'static str, Phase)> {
    phases_of(worker("w"))
}

/// The phases of local runs: none is PAUSED without a process.
pub fn local_phases(session: SessionId) -> Vec<(&'static str, Phase)> {
    let mut phases = phases_of(Holder::Session(session));
    phases.retain(|(_, phase)| !matches!(phase, Phase::Paused { holder: None, .. }));
    for (_, phase) in &mut phases {
        if let Phase::Pending { start_by, .. } = phase {
            *start_by = None;
        }
    }
    phases
}

fn phases_of(holder: Holder) -> Vec<(&'static str, Phase)> {
    let expires_at = Some(NOW);
    vec![
        ("SCHEDULED", Phase::Scheduled),
        ("PENDING", Phase::Pending { holder: holder.clone(), start_by: Some(NOW) }),
        ("RUNNING", Phase::Running { holder: holder.clone(), deadline: Some(NOW) }),
        ("PAUSED", Phase::Paused { holder: Some(holder.clone()), expires_at }),
        ("PAUSED without a process", Phase::Paused { holder: None, expires_at }),
        ("CANCELLING", Phase::Cancelling { holder, close_at: NOW }),
        ("COMPLETED", Phase::Completed),
        ("FAILED", Phase::Failed),
        ("CRASHED", Phase::Crashed),
        ("CANCELLED", Phase::Cancelled),
    ]
}

/// The phase of this name in the table.
pub fn phase(name: &str) -> Phase {
    phases().into_iter().find(|(known, _)| *known == name).expect("is in the table").1
}

/// One event of each kind, by its name in the table.
pub fn events() -> Vec<(&'static str, Event)> {
    let events = vec![
        Event::Claimed { holder: worker("w") },
        Event::SlotRefused { limit: "gpu".into(), lack: Lack::Slot },
        Event::SlotSkipped { limit: "gpu".into(), lack: Lack::Token },
        Event::CacheHit { from: RunId::new() },
        Event::Started,
        Event::Completed,
        Event::CompletedAs { message: "3 files are new".into() },
        Event::Failed(Failure::default()),
        Event::TimedOut,
        Event::UpstreamFailed { upstream: RunId::new(), cause: "ValueError: no".into() },
        Event::Paused { key: PAUSE.into(), timeout: None, suspend: false },
        Event::Paused { key: PAUSE.into(), timeout: None, suspend: true },
        Event::Cancelled,
        Event::Crashed { cause: "signal 9".into() },
        Event::Released,
        Event::TimerFired,
        Event::CancelRequested { reason: "enough".into(), actor: None },
        Event::PauseRequested { timeout: None, reason: "wait".into(), actor: None },
        Event::ResumeRequested { actor: None },
        Event::RetryRequested { reason: "again".into(), actor: None },
        Event::Adopted { session: SessionId::new() },
    ];
    let name = |event: &Event| match event {
        Event::Paused { suspend: true, .. } => "paused, suspending",
        _ => event.name(),
    };
    events.into_iter().map(|event| (name(&event), event)).collect()
}

/// True for what nobody says of a run that he holds or is about to: it bears no epoch.
pub fn is_request(event: &Event) -> bool {
    // Every kind by name, so that a new one is thought of, here and in `events`.
    match event {
        Event::CancelRequested { .. }
        | Event::PauseRequested { .. }
        | Event::ResumeRequested { .. }
        | Event::RetryRequested { .. }
        | Event::Adopted { .. } => true,
        Event::Claimed { .. }
        | Event::SlotRefused { .. }
        | Event::SlotSkipped { .. }
        | Event::CacheHit { .. }
        | Event::Started
        | Event::Completed
        | Event::CompletedAs { .. }
        | Event::Failed(_)
        | Event::TimedOut
        | Event::UpstreamFailed { .. }
        | Event::Paused { .. }
        | Event::Cancelled
        | Event::Crashed { .. }
        | Event::Released
        | Event::TimerFired => false,
    }
}

pub fn draft(placement: Placement) -> Draft {
    Draft::new(RunId::new(), RunKind::Task, "resize".parse().expect("is a name"), placement)
}

fn run_in(placement: Placement, phase: Phase) -> Run {
    let mut run = create(draft(placement), None, NOW).expect("needs no parent").run;
    run.epoch = Epoch(3);
    run.event_seq = 10;
    run.pause_key = matches!(phase, Phase::Paused { holder: Some(_), .. }).then(|| PAUSE.to_owned());
    run.state = State::new(phase, NOW);
    run.policies.late_after = Some(Duration::ZERO);
    run
}

/// A queued run in a phase, with no retry, three crashes forgiven, and late at once.
pub fn queued_run(phase: Phase) -> Run {
    run_in(Placement::Queue(QueueName::default()), phase)
}

/// The same, executed by a session.
pub fn local_run(session: SessionId, phase: Phase) -> Run {
    run_in(Placement::Session(session), phase)
}

/// A run fresh from its creation.
pub fn fresh_run(is_local: bool, max_retries: u32, max_crashes: u32) -> Run {
    let placement =
        if is_local { Placement::Session(SessionId::new()) } else { Placement::Queue(QueueName::default()) };
    let mut draft = draft(placement);
    draft.policies.retry.max_retries = max_retries;
    draft.policies.crash.max_crashes = max_crashes;
    draft.policies.run_timeout = Some(Duration::from_secs(60));
    draft.policies.late_after = Some(Duration::from_secs(30));
    draft.expires_at = (!is_local).then_some(NOW + Duration::from_secs(300));
    create(draft, None, NOW).expect("needs no parent").run
}
