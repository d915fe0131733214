//! What holds for every history, checked over random ones.

mod common;

use std::time::Duration;

use common::{NOW, fresh_run, is_request, worker};
use proptest::prelude::*;
use tidegate_model::{Epoch, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Event, Failure, Lack, Moment, Run, StateName, StateType, Step, apply};
use uuid::Uuid;

fn any_event() -> impl Strategy<Value = Event> {
    let key = || (0..4_u8).prop_map(|idx| format!("pause-{idx}"));
    let timeout = || prop::option::of((1..200_u64).prop_map(Duration::from_secs));
    prop_oneof![
        6 => (0..3_u8).prop_map(|idx| Event::Claimed { holder: worker(&format!("w{idx}")) }),
        1 => Just(Event::SlotRefused { limit: "gpu".into(), lack: Lack::Slot }),
        1 => Just(Event::SlotSkipped { limit: "gpu".into(), lack: Lack::Slot }),
        1 => Just(Event::CacheHit { from: RunId::from_uuid(uuid(9)) }),
        6 => Just(Event::Started),
        2 => Just(Event::Completed),
        1 => Just(Event::CompletedAs { message: "3 files are new".into() }),
        4 => any::<bool>().prop_map(|non_retryable| Event::Failed(Failure { non_retryable, ..Failure::default() })),
        2 => Just(Event::TimedOut),
        1 => Just(Event::UpstreamFailed { upstream: RunId::from_uuid(uuid(8)), cause: String::new() }),
        3 => (key(), timeout(), any::<bool>())
            .prop_map(|(key, timeout, suspend)| Event::Paused { key, timeout, suspend }),
        2 => Just(Event::Cancelled),
        4 => Just(Event::Crashed { cause: "gone".into() }),
        2 => Just(Event::Released),
        4 => Just(Event::TimerFired),
        2 => Just(Event::CancelRequested { reason: String::new(), actor: None }),
        2 => timeout().prop_map(|timeout| Event::PauseRequested { timeout, reason: String::new(), actor: None }),
        4 => Just(Event::ResumeRequested { actor: None }),
        2 => Just(Event::RetryRequested { reason: String::new(), actor: None }),
        2 => (0..3_u8).prop_map(|idx| Event::Adopted { session: SessionId::from_uuid(uuid(idx)) }),
    ]
}

fn uuid(n: u8) -> Uuid {
    let mut bytes = [n; 16];
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    Uuid::from_bytes(bytes)
}

/// What asks for a run's second life by its name.
fn reopens(event: &Event) -> bool {
    matches!(event, Event::RetryRequested { .. } | Event::Adopted { .. })
}

/// The delay of every retry.
const DELAY: Duration = Duration::from_secs(20);

/// An event, how far behind the run's epoch it is, how long after the one before it comes, and how many seconds before that
/// it is said to have happened.
fn any_move() -> impl Strategy<Value = (Event, u64, u64, i64)> {
    let age = prop_oneof![3 => Just(0_i64), 1 => -50..300_i64];
    (any_event(), prop_oneof![4 => Just(0_u64), 1 => 1..3_u64], 0..100_u64, age)
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

/// A terminal state is left by an explicit retry and by adoption, and by nothing else.
fn stays_terminal(run: &Run, event: &Event, step: &Step) -> bool {
    !run.state.state_type().is_terminal() || step.run.state == run.state || reopens(event)
}

/// CANCELLING goes nowhere but to CANCELLED.
fn leaves_cancelling_by_cancelled(run: &Run, step: &Step) -> bool {
    run.state.state_type() != StateType::Cancelling
        || step.transitions.first().is_none_or(|state| state.state_type() == StateType::Cancelled)
}

/// The holder changes only under a new epoch, but for whoever takes a run that nobody holds.
fn fences_the_holder(run: &Run, step: &Step) -> bool {
    let is_taken_away = run.holder().is_some()
        && step.run.holder() != run.holder()
        && !step.run.state.state_type().is_terminal();
    !is_taken_away || step.run.epoch > run.epoch
}

/// Whatever a holder says of when it happened: an attempt starts while the run is its holder's, and a retry is delayed from
/// a moment of the attempt, and is not due before its failure is known.
fn counts_within_the_attempt(run: &Run, event: &Event, step: &Step, now: Timestamp) -> bool {
    let is_within = |earliest: Timestamp, time: Timestamp| (earliest.min(now)..=now).contains(&time);
    let is_delayed = !step.transitions.is_empty()
        && step.run.state.name == StateName::AwaitingRetry
        && !matches!(event, Event::RetryRequested { .. });
    let starts = step.run.attempt > run.attempt;
    (!starts || step.run.started_at.is_some_and(|started_at| is_within(run.state.at, started_at)))
        && (!is_delayed
            || run
                .started_at
                .is_some_and(|at| step.run.due_at == now || is_within(at, step.run.due_at - DELAY)))
        && (!is_delayed || step.run.due_at >= now)
}

/// What a pause leaves in the row is there while it lasts, and no longer.
fn knows_its_pause(run: &Run) -> bool {
    run.state.state_type() == StateType::Paused || run.pause_key.is_none()
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
        run.policies.retry.delays = vec![DELAY];
        let mut now = NOW;
        let (mut n_completions, mut n_reopened) = (0, 0);
        for (event, n_behind, seconds, age) in moves {
            now = now + Duration::from_secs(seconds);
            let happened_at = Timestamp::from_micros(now.as_micros() - age * 1_000_000);
            let epoch = (!is_request(&event)).then(|| Epoch(run.epoch.0.saturating_sub(n_behind)));
            let outcome = apply(&run, epoch, &event, Moment { now, happened_at }, jitter);
            prop_assert!(is_fenced(&run, epoch, &outcome), "{run:?} {event:?}");
            let Ok(step) = outcome else { continue };
            prop_assert!(is_gapless(&run, &step));
            prop_assert!(stays_terminal(&run, &event, &step), "{run:?} {event:?}");
            prop_assert!(leaves_cancelling_by_cancelled(&run, &step));
            prop_assert!(fences_the_holder(&run, &step), "{run:?} {event:?}");
            prop_assert!(counts_within_the_attempt(&run, &event, &step, now), "{run:?} {event:?} {step:?}");
            prop_assert!(knows_its_pause(&step.run));
            prop_assert!(step.run.epoch >= run.epoch, "an epoch only grows");
            prop_assert!(step.run.attempt >= run.attempt);
            prop_assert!(step.run.retries <= max_retries);
            prop_assert!(step.run.crashes <= max_crashes + 1);
            n_completions += step.transitions.iter().filter(|state| state.state_type() == StateType::Completed).count();
            n_reopened += usize::from(run.state.state_type() == StateType::Completed && reopens(&event));
            run = step.run;
        }
        prop_assert!(n_completions <= 1 + n_reopened, "a run completes once, and again only where it is asked to");
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
        let epoch = (!is_request(&report)).then_some(run.epoch);
        if let Ok(first) = apply(&run, epoch, &report, NOW, 0.5) {
            // A timer is no report: it is set for one epoch and found stale after that.
            let is_timer = matches!(report, Event::TimerFired);
            let again = apply(&first.run, epoch, &report, NOW, 0.5);
            let is_alike = again.as_ref().is_ok_and(|step| step.transitions.is_empty());
            prop_assert!(is_timer || is_alike, "{run:?} {report:?} {again:?}");
        }
    }
}
