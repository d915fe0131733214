//! The table of states and events: every pair is visited, for queued and for local runs.

mod common;

use common::{NOW, events, local_run, phases, queued_run};
use tidegate_orchestration::{Effect, Event, Phase, Rejection, Run, StateName, StateType, apply};

/// What an event does to a run in a state: the states entered, or a word for why none is.
fn outcome(run: &Run, event: &Event) -> String {
    match apply(run, Some(run.epoch), event, NOW, 0.5) {
        Ok(step) if step.transitions.is_empty() => "same".to_owned(),
        Ok(step) => {
            let names: Vec<_> = step
                .transitions
                .iter()
                .map(|state| format!("{}/{}", state.state_type(), state.name))
                .collect();
            names.join(" ")
        }
        Err(Rejection::NotAllowed { .. }) => "no".to_owned(),
        Err(rejection) => rejection.to_string(),
    }
}

/// A row for each state, a column for each event of `common::events`. The runs have no retries and forgive crashes.
const TABLE: &[(&str, [&str; 10])] = &[
    ("SCHEDULED", ["PENDING/Pending", "no", "no", "no", "no", "no", "no", "no", "no", "CANCELLED/Cancelled"]),
    (
        "PENDING",
        [
            "no",
            "RUNNING/Running",
            "no",
            "no",
            "no",
            "no",
            "CRASHED/Crashed SCHEDULED/Rescheduled",
            "SCHEDULED/Released",
            "SCHEDULED/Released",
            "CANCELLED/Cancelled",
        ],
    ),
    (
        "RUNNING",
        [
            "no",
            "same",
            "COMPLETED/Completed",
            "FAILED/Failed",
            "FAILED/TimedOut",
            "no",
            "CRASHED/Crashed SCHEDULED/Rescheduled",
            "no",
            "FAILED/TimedOut",
            "CANCELLING/Cancelling",
        ],
    ),
    (
        "CANCELLING",
        [
            "no",
            "same",
            "CANCELLED/Cancelled",
            "CANCELLED/Cancelled",
            "CANCELLED/Cancelled",
            "CANCELLED/Cancelled",
            "CANCELLED/Cancelled",
            "no",
            "CANCELLED/Cancelled",
            "same",
        ],
    ),
    ("COMPLETED", ["no", "same", "same", "no", "no", "no", "no", "no", "no", "same"]),
    ("FAILED", ["no", "same", "no", "same", "same", "no", "no", "no", "no", "same"]),
    ("CRASHED", ["no", "no", "no", "no", "no", "no", "no", "no", "no", "same"]),
    ("CANCELLED", ["no", "same", "same", "same", "same", "same", "no", "no", "no", "same"]),
];

#[test]
fn every_state_takes_every_event_as_the_table_says() {
    assert_eq!(TABLE.len(), StateType::ALL.len(), "a state without a row");
    for (row, phase) in TABLE.iter().zip(phases()) {
        let run = queued_run(phase);
        assert_eq!(row.0, run.state.state_type().as_str());
        for (event, expected) in events().iter().zip(row.1) {
            assert_eq!(outcome(&run, event), expected, "{} takes {}", row.0, event.name());
        }
    }
}

#[test]
fn a_local_run_is_not_claimed_and_not_delivered_again() {
    for phase in phases() {
        let run = local_run(phase);
        for event in events() {
            let Ok(step) = apply(&run, Some(run.epoch), &event, NOW, 0.5) else { continue };
            assert!(!step.effects.contains(&Effect::Enqueue), "{run:?} {event:?}");
            assert_ne!(step.run.state.name, StateName::Rescheduled, "{run:?} {event:?}");
        }
    }
    let waiting = local_run(Phase::Scheduled);
    assert_eq!(outcome(&waiting, &Event::Started), "RUNNING/Running");
    assert_eq!(outcome(&waiting, &Event::Crashed { cause: "gone".into() }), "CRASHED/Crashed");
    let running = local_run(phases().remove(2));
    assert_eq!(outcome(&running, &Event::Crashed { cause: "gone".into() }), "CRASHED/Crashed");
}

#[test]
fn a_failure_with_a_retry_left_waits_for_its_delay_and_then_is_final() {
    let mut run = queued_run(phases().remove(2));
    run.policies.retry.max_retries = 1;
    run.policies.retry.delays = vec![std::time::Duration::from_secs(7)];
    let failed = Event::Failed(tidegate_orchestration::Failure {
        error_type: "ValueError".into(),
        message: "no".into(),
        ..Default::default()
    });
    let step = apply(&run, Some(run.epoch), &failed, NOW, 0.5).expect("is allowed");
    let states: Vec<_> = step.transitions.iter().map(|state| (state.state_type(), state.name)).collect();
    assert_eq!(
        states,
        [(StateType::Failed, StateName::Failed), (StateType::Scheduled, StateName::AwaitingRetry)]
    );
    assert_eq!(step.transitions[0].message, "ValueError: no");
    assert_eq!(step.run.due_at.since(NOW).as_secs(), 7);
    assert_eq!(step.run.epoch, run.epoch.next(), "the holder is fenced off");
    assert!(step.effects.contains(&Effect::Enqueue));

    run.retries = 1;
    assert_eq!(outcome(&run, &failed), "FAILED/Failed");
}

#[test]
fn a_failure_that_cannot_pass_is_not_retried() {
    let mut run = queued_run(phases().remove(2));
    run.policies.retry.max_retries = 5;
    let failure = tidegate_orchestration::Failure { non_retryable: true, ..Default::default() };
    assert_eq!(outcome(&run, &Event::Failed(failure)), "FAILED/Failed");
}

#[test]
fn a_poison_pill_is_kept_after_its_crashes() {
    let mut run = queued_run(phases().remove(2));
    run.policies.crash.max_crashes = 2;
    let crashed = Event::Crashed { cause: "signal 11".into() };
    for (crashes, expected) in [
        (0, "CRASHED/Crashed SCHEDULED/Rescheduled"),
        (1, "CRASHED/Crashed SCHEDULED/Rescheduled"),
        (2, "CRASHED/Crashed"),
    ] {
        run.crashes = crashes;
        assert_eq!(outcome(&run, &crashed), expected, "after {crashes} crashes");
    }
}

#[test]
fn a_run_is_not_claimed_before_it_is_due() {
    let mut run = queued_run(Phase::Scheduled);
    run.due_at = NOW + std::time::Duration::from_micros(1);
    let claimed = &events()[0];
    assert_eq!(
        apply(&run, Some(run.epoch), claimed, NOW, 0.5),
        Err(Rejection::NotDue { due_at: run.due_at })
    );
}

#[test]
fn a_timer_fires_only_at_its_time() {
    for phase in phases() {
        let run = queued_run(phase);
        let Some(timer_at) = run.state.phase.timer_at() else { continue };
        let early = timer_at - std::time::Duration::from_micros(1);
        assert!(apply(&run, Some(run.epoch), &Event::TimerFired, early, 0.5).is_err(), "{run:?}");
        assert!(apply(&run, Some(run.epoch), &Event::TimerFired, timer_at, 0.5).is_ok(), "{run:?}");
    }
}
