//! What holds for every history, checked over random ones.

mod common;

use std::time::Duration;

use common::{NOW, fresh_run, worker};
use proptest::prelude::*;
use tidegate_model::Epoch;
use tidegate_orchestration::{Event, Failure, Run, StateType, Step, apply};

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..3_u8).prop_map(|idx| Event::Claimed { holder: worker(&format!("w{idx}")) }),
        3 => Just(Event::Started),
        1 => Just(Event::Completed),
        2 => any::<bool>().prop_map(|non_retryable| Event::Failed(Failure { non_retryable, ..Failure::default() })),
        1 => Just(Event::TimedOut),
        1 => Just(Event::Cancelled),
        2 => Just(Event::Crashed { cause: "gone".into() }),
        1 => Just(Event::Released),
        2 => Just(Event::TimerFired),
        1 => Just(Event::CancelRequested { reason: String::new() }),
    ]
}

/// An event, how far behind the run's epoch it is, and how long after the one before it comes.
fn any_move() -> impl Strategy<Value = (Event, u64, u64)> {
    (any_event(), prop_oneof![4 => Just(0_u64), 1 => 1..3_u64], 0..100_u64)
}

/// P2: an older epoch changes nothing, unless it repeats what it did: then it changes nothing either.
fn is_fenced(
    run: &Run,
    epoch: Option<Epoch>,
    outcome: &Result<Step, tidegate_orchestration::Rejection>,
) -> bool {
    match (epoch, outcome) {
        (Some(epoch), Ok(step)) if epoch < run.epoch => step.run == *run && step.transitions.is_empty(),
        _ => true,
    }
}

/// P7: events are numbered one by one.
fn is_gapless(run: &Run, step: &Step) -> bool {
    step.run.event_seq == run.event_seq + step.transitions.len() as u64
}

/// A terminal state is left by nothing here; only an explicit retry, which is no event of these, may.
fn stays_terminal(run: &Run, step: &Step) -> bool {
    !run.state.state_type().is_terminal() || step.run.state == run.state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_history_keeps_the_promises(
        is_local in any::<bool>(),
        max_retries in 0..4_u32,
        max_crashes in 0..4_u32,
        moves in prop::collection::vec(any_move(), 1..60),
        jitter in 0.0..1.0_f64,
    ) {
        let mut run = fresh_run(is_local, max_retries, max_crashes);
        let mut now = NOW;
        let mut n_completions = 0;
        for (event, n_behind, seconds) in moves {
            now = now + Duration::from_secs(seconds);
            let is_unfenced = matches!(event, Event::CancelRequested { .. });
            let epoch = (!is_unfenced).then(|| Epoch(run.epoch.0.saturating_sub(n_behind)));
            let outcome = apply(&run, epoch, &event, now, jitter);
            prop_assert!(is_fenced(&run, epoch, &outcome), "{run:?} {event:?}");
            let Ok(step) = outcome else { continue };
            prop_assert!(is_gapless(&run, &step));
            prop_assert!(stays_terminal(&run, &step));
            prop_assert!(step.run.epoch >= run.epoch, "an epoch only grows");
            prop_assert!(step.run.attempt >= run.attempt);
            prop_assert!(step.run.retries <= max_retries);
            prop_assert!(step.run.crashes <= max_crashes + 1);
            let holder_left = run.holder().is_some() && step.run.state.state_type() == StateType::Scheduled;
            prop_assert!(!holder_left || step.run.epoch > run.epoch, "a run that is taken away gets a new epoch");
            n_completions += step.transitions.iter().filter(|state| state.state_type() == StateType::Completed).count();
            run = step.run;
        }
        prop_assert!(n_completions <= 1);
    }

    #[test]
    fn the_same_report_twice_is_answered_alike(
        is_local in any::<bool>(),
        moves in prop::collection::vec(any_event(), 1..20),
        report in any_event(),
    ) {
        let mut run = fresh_run(is_local, 2, 2);
        for event in moves {
            if let Ok(step) = apply(&run, Some(run.epoch), &event, NOW, 0.5) {
                run = step.run;
            }
        }
        let epoch = (!matches!(report, Event::CancelRequested { .. })).then_some(run.epoch);
        if let Ok(first) = apply(&run, epoch, &report, NOW, 0.5) {
            // A timer is no report: it is set for one epoch and found stale after that.
            let is_timer = matches!(report, Event::TimerFired);
            let again = apply(&first.run, epoch, &report, NOW, 0.5);
            let is_alike = again.as_ref().is_ok_and(|step| step.transitions.is_empty());
            prop_assert!(is_timer || is_alike, "{run:?} {report:?} {again:?}");
        }
    }
}
