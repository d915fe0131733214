//! The rules: every pair of state and event is visited, for queued and for local runs; then each rule by itself.

mod common;

use std::time::Duration;

use common::{
    NOW, PAUSE, draft, events, local_phases, local_run, phase, phases, queued_run,
    table::{self, Row, TABLE, VARIANTS, Variant},
};
use tidegate_model::{RunId, SessionId, Timestamp, limits};
use tidegate_orchestration::{
    Draft, Effect, Event, Failure, Holder, Lack, Moment, Phase, Placement, Rejection, Run,
    SILENT_HOLDER_GRACE, StateName, StateType, Step, apply, create,
};

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
        Err(Rejection::NotAllowed { .. } | Rejection::LocalRun { .. }) => "no".to_owned(),
        Err(rejection) => rejection.to_string(),
    }
}

/// Compares every pair with the table. Gives how many there are.
fn visit_every_pair(when: &str, adapt: fn(&mut Run), rows: &[Row]) -> usize {
    let session = SessionId::new();
    let queued = phases().into_iter().map(|(name, phase)| (name, queued_run(phase)));
    let local = local_phases(session).into_iter().map(|(name, phase)| (name, local_run(session, phase)));
    let mut n_pairs = 0;
    for (state, mut run) in queued.chain(local) {
        adapt(&mut run);
        for (name, event) in events() {
            let expected = table::outcome(rows, state, name, run.is_local());
            let which = if run.is_local() { "local" } else { "queued" };
            assert_eq!(outcome(&run, &event), expected, "a {which} run that is {state} takes {name}, {when}");
            n_pairs += 1;
        }
    }
    n_pairs
}

#[test]
fn every_state_takes_every_event_as_the_table_says() {
    let n_pairs = visit_every_pair("as in the table", |_| (), &[]);
    assert_eq!(n_pairs, (10 + 9) * 21, "every pair is visited");
}

#[test]
fn every_condition_changes_what_its_rows_say_and_nothing_else() {
    for Variant { when, adapt, rows } in VARIANTS {
        visit_every_pair(when, *adapt, rows);
    }
}

#[test]
fn the_table_has_every_state_and_no_unknown_word() {
    for state_type in StateType::ALL {
        assert!(phases().iter().any(|(_, phase)| phase.state_type() == *state_type), "{state_type}");
    }
    let mut seen = std::collections::BTreeSet::new();
    for row in TABLE.iter().chain(VARIANTS.iter().flat_map(|variant| variant.rows)) {
        assert!(phases().iter().any(|(name, _)| *name == row.state), "{}", row.state);
        assert!(events().iter().any(|(name, _)| *name == row.event), "{}", row.event);
    }
    for row in TABLE {
        assert!(seen.insert((row.state, row.event)), "{} takes {} twice", row.state, row.event);
    }
}

#[test]
fn a_local_run_is_not_claimed_and_not_delivered_again() {
    let session = SessionId::new();
    for (_, phase) in local_phases(session) {
        let run = local_run(session, phase);
        for (_, event) in events() {
            let Ok(step) = apply(&run, Some(run.epoch), &event, NOW, 0.5) else { continue };
            assert!(!step.effects.contains(&Effect::Enqueue), "{run:?} {event:?}");
            assert_ne!(step.run.state.name, StateName::Rescheduled, "{run:?} {event:?}");
        }
    }
}

#[test]
fn a_failure_with_a_retry_left_waits_for_its_delay_and_then_is_final() {
    let mut run = queued_run(phase("RUNNING"));
    run.policies.retry.max_retries = 1;
    run.policies.retry.delays = vec![Duration::from_secs(7)];
    let failed = Event::Failed(Failure {
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

/// Of what came late: when it is said to have happened, and as when it counts.
fn takes_it_as(earliest: Timestamp) -> [(&'static str, Timestamp, Timestamp); 4] {
    let before = |seconds| NOW - Duration::from_secs(seconds);
    [
        ("on its way", before(2), before(2)),
        ("just now", NOW, NOW),
        ("before it could", before(86_400), earliest),
        ("in time to come", NOW + Duration::from_secs(5), NOW),
    ]
}

#[test]
fn the_delay_of_a_retry_counts_from_the_failure() {
    const DELAY: Duration = Duration::from_secs(7);
    let session = SessionId::new();
    let local = Phase::Running { holder: Holder::Session(session), deadline: None };
    let paused = queued_run(phase("PAUSED"));
    for mut run in [queued_run(phase("RUNNING")), paused, local_run(session, local)] {
        let started_at = NOW - Duration::from_secs(60);
        run.started_at = Some(started_at);
        run.policies.retry.max_retries = 1;
        run.policies.retry.delays = vec![DELAY];
        for event in [Event::Failed(Failure::default()), Event::TimedOut] {
            for (when, happened_at, counts_as) in takes_it_as(started_at) {
                let step = apply(&run, Some(run.epoch), &event, Moment { now: NOW, happened_at }, 0.5);
                let step = step.expect("is allowed");
                assert_eq!(step.run.state.name, StateName::AwaitingRetry);
                assert_eq!(step.run.due_at, (counts_as + DELAY).max(NOW), "{event:?} {when}: {run:?}");
                assert!(step.transitions.iter().all(|state| state.at == NOW), "the states are of now");
            }
        }
    }
}

#[test]
fn an_attempt_starts_when_its_holder_says_but_not_before_it_has_the_run() {
    let session = SessionId::new();
    let held_since = NOW - Duration::from_secs(60);
    let retried = local_run(session, Phase::Scheduled);
    for mut run in [queued_run(phase("PENDING")), retried] {
        run.state.at = held_since;
        run.policies.run_timeout = Some(Duration::from_secs(10));
        for (when, happened_at, counts_as) in takes_it_as(held_since) {
            let step = apply(&run, Some(run.epoch), &Event::Started, Moment { now: NOW, happened_at }, 0.5);
            let started = step.expect("is allowed").run;
            assert_eq!(started.started_at, Some(counts_as), "{when}: {run:?}");
            assert_eq!(started.state.at, NOW, "the state is of now");
            let whole = Duration::from_secs(10) + SILENT_HOLDER_GRACE;
            assert_eq!(started.timer_at(), Some(NOW + whole), "the way costs nothing of the run timeout");
        }
        run.state.at = NOW + Duration::from_secs(60);
        let step = take(&run, &Event::Started);
        assert_eq!(step.run.started_at, Some(NOW), "the clock was set back since");
    }
}

#[test]
fn what_the_code_says_of_its_end_is_the_message_of_the_state() {
    let said = Event::CompletedAs { message: "3 files are new".into() };
    let run = queued_run(phase("RUNNING"));
    let step = apply(&run, Some(run.epoch), &said, NOW, 0.5).expect("is allowed");
    assert_eq!(step.run.state.state_type(), StateType::Completed);
    assert_eq!(step.run.state.message, "3 files are new");
    assert_eq!(outcome(&step.run, &said), "same", "it may be said twice");
}

#[test]
fn a_failure_that_cannot_pass_is_not_retried() {
    let mut run = queued_run(phase("RUNNING"));
    run.policies.retry.max_retries = 5;
    let failure = Failure { non_retryable: true, ..Default::default() };
    assert_eq!(outcome(&run, &Event::Failed(failure)), "FAILED/Failed");
}

#[test]
fn a_poison_pill_is_kept_after_its_crashes() {
    let mut run = queued_run(phase("RUNNING"));
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
    run.due_at = NOW + Duration::from_micros(1);
    let claimed = &events()[0].1;
    assert_eq!(
        apply(&run, Some(run.epoch), claimed, NOW, 0.5),
        Err(Rejection::NotDue { due_at: run.due_at })
    );
}

#[test]
fn a_timer_fires_only_at_its_time() {
    for (_, phase) in phases() {
        let run = queued_run(phase);
        let Some(timer_at) = run.timer_at() else { continue };
        let early = timer_at - Duration::from_micros(1);
        assert!(apply(&run, Some(run.epoch), &Event::TimerFired, early, 0.5).is_err(), "{run:?}");
        assert!(apply(&run, Some(run.epoch), &Event::TimerFired, timer_at, 0.5).is_ok(), "{run:?}");
    }
}

fn take(run: &Run, event: &Event) -> Step {
    apply(run, Some(run.epoch), event, NOW, 0.5).expect("is allowed")
}

fn stops_lost(step: &Step, before: &Run) -> bool {
    step.effects.contains(&Effect::Stop { epoch: before.epoch, lost: true })
}

fn paused(key: &str, suspend: bool) -> Event {
    Event::Paused { key: key.into(), timeout: Some(Duration::from_secs(60)), suspend }
}

#[test]
fn a_run_that_did_not_start_in_time_is_given_up() {
    let mut run = queued_run(Phase::Scheduled);
    run.policies.late_after = None;
    run.expires_at = Some(NOW);
    assert_eq!(run.timer_at(), Some(NOW));
    for event in [Event::TimerFired, events().remove(0).1] {
        let step = take(&run, &event);
        assert_eq!(step.run.state.name, StateName::Expired);
        assert_eq!(step.run.state.state_type(), StateType::Cancelled);
        assert!(stops_lost(&step, &run) && step.run.epoch > run.epoch, "{event:?}");
    }
    run.attempt = 1;
    assert_eq!(run.timer_at(), None, "it did start in time");
    assert_eq!(outcome(&run, &events().remove(0).1), "PENDING/Pending");
    run.attempt = 0;
    run.policies.late_after = Some(Duration::ZERO);
    assert_eq!(take(&run, &Event::TimerFired).run.state.name, StateName::Expired, "not late besides");
}

#[test]
fn a_run_is_late_once_and_handed_over_again() {
    let mut run = queued_run(Phase::Scheduled);
    run.policies.late_after = Some(Duration::from_secs(15));
    assert_eq!(run.timer_at(), Some(NOW + Duration::from_secs(15)));
    let late = apply(&run, Some(run.epoch), &Event::TimerFired, NOW + Duration::from_secs(15), 0.5);
    let late = late.expect("is late");
    assert_eq!(late.run.state.name, StateName::Late);
    assert_eq!((late.run.epoch, &late.effects), (run.epoch, &vec![Effect::Enqueue]));
    assert_eq!(late.run.timer_at(), None);
    let waiting = take(&late.run, &Event::SlotRefused { limit: "gpu".into(), lack: Lack::Slot }).run;
    assert_eq!(waiting.state.name, StateName::AwaitingConcurrencySlot);
    assert_eq!(waiting.timer_at(), None, "its name says why it waits");
    assert_eq!(
        take(&waiting, &Event::SlotRefused { limit: "gpu".into(), lack: Lack::Slot }).transitions,
        [],
        "told once"
    );
}

#[test]
fn a_pause_in_the_process_keeps_the_run_with_its_holder() {
    let run = queued_run(phase("RUNNING"));
    let step = take(&run, &paused("review", false));
    assert_eq!((step.run.epoch, step.run.holder()), (run.epoch, run.holder()));
    assert_eq!(step.run.pause_key.as_deref(), Some("review"));
    assert_eq!(step.run.timer_at(), Some(NOW + Duration::from_secs(60)));
    let resumed = take(&step.run, &Event::ResumeRequested { actor: None }).run;
    assert_eq!((resumed.state.state_type(), resumed.epoch), (StateType::Running, run.epoch));
    assert_eq!((resumed.attempt, resumed.pause_key.as_deref()), (run.attempt, None));
    assert_eq!(resumed.resumed_keys, ["review"]);
    assert_eq!(take(&resumed, &paused("review", false)).transitions, [], "the code goes on");
    assert_eq!(take(&resumed, &paused("deploy", false)).run.state.state_type(), StateType::Paused);
}

#[test]
fn a_suspended_run_frees_its_worker_and_is_delivered_again() {
    let run = queued_run(phase("RUNNING"));
    let step = take(&run, &paused("review", true));
    assert_eq!((step.run.state.name, step.run.holder()), (StateName::Suspended, None));
    assert_eq!(step.run.epoch, run.epoch.next());
    let again = apply(&step.run, Some(run.epoch), &paused("review", true), NOW, 0.5).expect("is a repeat");
    assert_eq!(again.transitions, []);
    let resumed = take(&step.run, &Event::ResumeRequested { actor: None });
    assert_eq!(resumed.run.state.name, StateName::Resuming);
    assert_eq!(resumed.effects, [Effect::Enqueue]);
    assert_eq!(resumed.run.resumed_keys, ["review"]);
    let late = apply(&resumed.run, Some(run.epoch), &paused("review", true), NOW, 0.5);
    assert_eq!(late.expect("is a repeat").transitions, [], "also when the answer comes after the resume");
}

#[test]
fn a_run_paused_before_its_time_does_not_start_before_it() {
    let mut run = queued_run(Phase::Scheduled);
    run.due_at = NOW + Duration::from_secs(3_600);
    let request = Event::PauseRequested { timeout: None, reason: "wait".into(), actor: None };
    let step = take(&run, &request);
    assert_eq!((step.run.state.name, step.run.state.message.as_str()), (StateName::Paused, "wait"));
    assert!(stops_lost(&step, &run) && step.run.epoch > run.epoch);
    assert_eq!(step.run.timer_at(), None);
    let resumed = take(&step.run, &Event::ResumeRequested { actor: None }).run;
    assert_eq!((resumed.state.name, resumed.due_at), (StateName::Resuming, run.due_at));
    assert!(resumed.resumed_keys.is_empty(), "it was no pause of the code");
}

#[test]
fn a_run_pauses_a_bounded_number_of_times() {
    let mut run = queued_run(phase("RUNNING"));
    run.resumed_keys = (0..limits::MAX_PAUSES).map(|n| n.to_string()).collect();
    let refused = apply(&run, Some(run.epoch), &paused("one more", false), NOW, 0.5);
    assert_eq!(refused, Err(Rejection::TooManyPauses { limit: limits::MAX_PAUSES }));
    assert_eq!(take(&run, &paused("7", false)).transitions, [], "known ones go on");
}

#[test]
fn what_cannot_be_done_to_a_local_run_says_what_can() {
    let session = SessionId::new();
    let run = local_run(session, Phase::Running { holder: Holder::Session(session), deadline: None });
    let ended = local_run(session, Phase::Failed);
    let refused = [
        apply(&run, Some(run.epoch), &paused(PAUSE, true), NOW, 0.5),
        apply(
            &run,
            None,
            &Event::PauseRequested { timeout: None, reason: String::new(), actor: None },
            NOW,
            0.5,
        ),
        apply(&ended, None, &Event::RetryRequested { reason: String::new(), actor: None }, NOW, 0.5),
    ];
    for refused in refused {
        let Err(rejection @ Rejection::LocalRun { .. }) = refused else { panic!("{refused:?}") };
        assert!(rejection.to_string().contains("the run that started it"), "{rejection}");
    }
}

#[test]
fn an_explicit_retry_begins_with_everything_forgiven() {
    let mut run = queued_run(Phase::Failed);
    (run.retries, run.crashes, run.attempt, run.cascade_pending) = (4, 2, 5, true);
    run.expires_at = Some(NOW);
    let step = take(&run, &Event::RetryRequested { reason: "fixed".into(), actor: None });
    assert_eq!((step.run.retries, step.run.crashes, step.run.attempt), (0, 0, 5));
    assert_eq!((step.run.epoch, step.run.cascade_pending), (run.epoch.next(), false));
    assert_eq!(step.effects, [Effect::Enqueue]);
    assert_eq!(step.run.state.message, "fixed");
    let mut expired = queued_run(Phase::Cancelled);
    expired.expires_at = Some(NOW);
    let step = take(&expired, &Event::RetryRequested { reason: String::new(), actor: None });
    assert_eq!(outcome(&step.run, &events().remove(0).1), "PENDING/Pending", "it does not expire again");
}

#[test]
fn a_later_attempt_of_the_parent_takes_over_its_local_children() {
    let (session, next) = (SessionId::new(), SessionId::new());
    let adopted = Event::Adopted { session: next };
    let run = local_run(session, Phase::Crashed);
    let step = take(&run, &adopted);
    assert_eq!(step.run.placement, Placement::Session(next));
    assert_eq!(step.run.holder(), Some(&Holder::Session(next)));
    assert_eq!(step.run.epoch, run.epoch.next());
    assert_eq!(step.effects, []);
    assert_eq!(take(&step.run, &adopted).transitions, [], "a repeat");
    assert_eq!(take(&local_run(session, Phase::Completed), &adopted).transitions, [], "its result serves");
}

#[test]
fn a_failed_upstream_is_not_retried() {
    let mut run = queued_run(phase("RUNNING"));
    run.policies.retry.max_retries = 5;
    let upstream = RunId::new();
    let step = take(&run, &Event::UpstreamFailed { upstream, cause: "ValueError: no".into() });
    assert_eq!(step.run.state.name, StateName::UpstreamFailed);
    let message = format!("run {upstream}, whose result it needs, did not complete");
    assert_eq!(step.run.state.message, format!("{message}: ValueError: no"));
    assert_eq!(step.run.epoch, run.epoch, "its holder ended it");
    let step = take(&run, &Event::UpstreamFailed { upstream, cause: String::new() });
    assert_eq!(step.run.state.message, message);
}

#[test]
fn lists_of_error_types_hold_for_failures_and_timeouts() {
    let mut run = queued_run(phase("RUNNING"));
    run.policies.retry.max_retries = 5;
    run.policies.retry.retry_on = vec!["Busy".into()];
    let failed =
        |error_type: &str| Event::Failed(Failure { error_type: error_type.into(), ..Default::default() });
    assert_eq!(outcome(&run, &failed("Busy")), "FAILED/Failed SCHEDULED/AwaitingRetry");
    assert_eq!(outcome(&run, &failed("ValueError")), "FAILED/Failed");
    assert_eq!(outcome(&run, &Event::TimedOut), "FAILED/TimedOut");
    run.policies.retry.retry_on = vec!["TimedOut".into()];
    assert_eq!(outcome(&run, &Event::TimedOut), "FAILED/TimedOut SCHEDULED/AwaitingRetry");
    run.policies.retry.never_retry_on = vec!["TimedOut".into()];
    assert_eq!(outcome(&run, &Event::TimedOut), "FAILED/TimedOut");
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_child_inherits_labels_on_request_and_its_own_stand() {
    let queue = || Placement::Queue(tidegate_model::QueueName::default());
    let parent = Draft { labels: labels(&[("team", "a"), ("env", "prod")]), ..draft(queue()) };
    let parent = create(parent, None, NOW).expect("is made").run;
    let own = labels(&[("team", "b"), ("n", "1")]);
    let child = |inherit_labels| Draft {
        parent: Some(parent.id),
        labels: own.clone(),
        inherit_labels,
        ..draft(queue())
    };
    assert_eq!(create(child(false), Some(&parent), NOW).expect("is made").run.labels, own);
    let merged = create(child(true), Some(&parent), NOW).expect("is made").run.labels;
    assert_eq!(merged, labels(&[("team", "b"), ("n", "1"), ("env", "prod")]));
    let many = (0..limits::MAX_LABELS).map(|n| (n.to_string(), String::new())).collect();
    let too_many = create(Draft { labels: many, ..child(true) }, Some(&parent), NOW);
    let n_labels = limits::MAX_LABELS + 2;
    assert_eq!(too_many, Err(Rejection::TooManyLabels { n_labels, limit: limits::MAX_LABELS }));
}

#[test]
fn the_worker_that_holds_the_parent_is_preferred_on_request() {
    let queue = || Placement::Queue(tidegate_model::QueueName::default());
    let preferred = |parent: &Run, prefer_parent_worker| {
        let child = Draft { parent: Some(parent.id), prefer_parent_worker, ..draft(queue()) };
        create(child, Some(parent), NOW).expect("is made").run.preferred_worker
    };
    let held = queued_run(phase("RUNNING"));
    let Some(Holder::Worker(worker)) = held.holder() else { panic!("a worker holds it") };
    assert_eq!(preferred(&held, true).as_ref(), Some(worker));
    assert_eq!(preferred(&held, false), None);
    assert_eq!(preferred(&queued_run(phase("PAUSED without a process")), true), None);
    let local = create(draft(Placement::Session(SessionId::new())), None, NOW).expect("is made").run;
    assert_eq!(preferred(&local, true), None, "a session is no worker");
}

#[test]
fn a_cached_result_completes_a_run_as_it_is_made() {
    for placement in
        [Placement::Queue(tidegate_model::QueueName::default()), Placement::Session(SessionId::new())]
    {
        let from = RunId::new();
        let step = create(Draft { cached_from: Some(from), ..draft(placement) }, None, NOW).expect("is made");
        assert_eq!(step.run.state.name, StateName::Cached);
        assert!(step.run.state.message.contains(&from.to_string()));
        assert_eq!(step.transitions.len() as u64, step.run.event_seq);
        assert_eq!(step.effects, [], "nobody is to execute it");
    }
}

#[test]
fn a_paused_parent_may_have_new_children() {
    let parent = queued_run(phase("PAUSED without a process"));
    let queue = Placement::Queue(tidegate_model::QueueName::default());
    let child = Draft { parent: Some(parent.id), ..draft(queue) };
    assert!(create(child, Some(&parent), NOW).is_ok());
}
