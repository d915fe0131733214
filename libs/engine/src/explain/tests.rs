//! What is said of a run in each state.

use std::time::Duration;

use tidegate_model::{Epoch, RunId, RunKind, SessionId};
use tidegate_orchestration::{
    Draft, Event, Lack, Placement, Policies, State, StateName, StateType, apply, create,
};

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn draft() -> Draft {
    let queue = Placement::Queue("pictures".parse().expect("a queue"));
    Draft::new(RunId::new(), RunKind::Task, "resize".parse().expect("a name"), queue)
}

/// A run after these events, one second apart; the last one happens now.
fn after(draft: Draft, events: &[Event]) -> (Run, Vec<EventRow>) {
    let begin = NOW - Duration::from_secs(events.len() as u64);
    let step = create(draft, None, begin).expect("is allowed");
    let mut rows = crate::event::rows(&step, None, None);
    let mut run = step.run;
    for (idx, event) in events.iter().enumerate() {
        let now = begin + Duration::from_secs(idx as u64 + 1);
        let step = apply(&run, None, event, now, 0.5).expect("is allowed");
        rows.extend(crate::event::rows(&step, run.holder(), event.actor()));
        run = step.run;
    }
    (run, rows)
}

fn explained(
    (run, happenings): (Run, Vec<EventRow>),
    failure: Option<Failure>,
    delivery: Option<Result<DeliveryFacts, DispatchError>>,
) -> Explanation {
    let detail = RunDetail { run, parameters: None, result: None, failure };
    explain(Facts {
        detail,
        happenings,
        limits: Vec::new(),
        queue: None,
        work_pool: None,
        delivery,
        key: None,
        now: NOW,
    })
}

fn known(
    standing: Standing,
    n_workers: u32,
    n_free_slots: u32,
) -> Option<Result<DeliveryFacts, DispatchError>> {
    Some(Ok(DeliveryFacts { standing, n_workers, n_free_slots, n_serving: n_workers }))
}

fn worker() -> Holder {
    Holder::Worker("w-1".parse().expect("a worker id"))
}

fn running() -> [Event; 2] {
    [Event::Claimed { holder: worker() }, Event::Started]
}

fn with(first: &[Event], last: Event) -> Vec<Event> {
    first.iter().cloned().chain([last]).collect()
}

fn raised() -> Failure {
    Failure { error_type: "ValueError".to_owned(), message: "no".to_owned(), ..Failure::default() }
}

#[test]
fn a_run_that_waits_says_what_for() {
    let waiting = |delivery| explained(after(draft(), &[]), None, delivery).summary;
    assert_eq!(
        waiting(known(Standing::Ready { n_ahead: 3 }, 0, 0)),
        "No live worker serves task `resize` from queue `pictures`: start one."
    );
    assert_eq!(
        waiting(known(Standing::Ready { n_ahead: 3 }, 2, 0)),
        "All slots of the 2 workers that serve task `resize` from queue `pictures` are taken; 3 runs are ahead of it."
    );
    assert_eq!(
        waiting(known(Standing::Claimed, 1, 1)),
        "It is about to be given to a worker: 1 worker is with 1 free slot for task `resize` in queue `pictures`; \
         no run is ahead of it."
    );
    assert_eq!(
        waiting(Some(Err(DispatchError { cause: "Unavailable: gone".to_owned() }))),
        "It cannot be handed to a worker: task-queue does not answer: Unavailable: gone. \
         It will be as soon as task-queue answers."
    );
    let unknown = explained(after(draft(), &[]), None, known(Standing::Unknown, 1, 1));
    assert!(
        matches!(unknown.waits[..], [Wait::Handover { cause: None }, Wait::Worker { .. }]),
        "{unknown:?}"
    );

    let later = Draft { due_at: Some(NOW + Duration::from_secs(3_700)), ..draft() };
    assert_eq!(
        explained(after(later, &[]), None, None).summary,
        "It is due at 2027-01-15T09:01:40Z, in 1 h 1 m."
    );

    let mut failed = after(
        Draft {
            policies: Policies {
                retry: tidegate_orchestration::RetryPolicy {
                    max_retries: 2,
                    delays: vec![Duration::from_secs(10)],
                    ..Default::default()
                },
                ..Policies::default()
            },
            ..draft()
        },
        &with(&running(), Event::Failed(raised())),
    );
    failed.0.epoch = Epoch(2);
    assert_eq!(
        explained(failed, Some(raised()), None).summary,
        "It is to be tried again: retry 1 of 2 in 10s. It is due at 2027-01-15T08:00:10Z, in 10 s."
    );
}

#[test]
fn a_run_of_a_paused_queue_says_who_paused_it_and_since_when() {
    let key = tidegate_store::QueueKey {
        namespace: Namespace::default(),
        name: "pictures".parse().expect("a queue"),
    };
    let pause = QueuePause {
        at: NOW - Duration::from_secs(90),
        by: Some("ada".to_owned()),
        reason: "the disk is full".to_owned(),
    };
    let paused = Queue { key, max_slots: None, pause: Some(pause.clone()), created_at: NOW, updated_at: NOW };
    let explained = |draft, delivery, pause: &QueuePause| {
        let (run, happenings) = after(draft, &[]);
        let detail = RunDetail { run, parameters: None, result: None, failure: None };
        let queue = Some(Queue { pause: Some(pause.clone()), ..paused.clone() });
        explain(Facts {
            detail,
            happenings,
            limits: Vec::new(),
            queue,
            work_pool: None,
            delivery,
            key: None,
            now: NOW,
        })
    };
    let waiting = explained(draft(), known(Standing::Ready { n_ahead: 3 }, 1, 1), &pause);
    assert_eq!(waiting.waits, [Wait::Queue { queue: paused.key.name.clone(), pause: pause.clone() }]);
    assert_eq!(
        waiting.summary,
        "Queue `pictures` was paused by ada at 2027-01-15T07:58:30Z, 1 m 30 s ago: the disk is full. \
         None of its runs starts until it is resumed."
    );
    let by_nobody = QueuePause { by: None, reason: String::new(), ..pause };
    let unserved = explained(draft(), known(Standing::Ready { n_ahead: 3 }, 0, 0), &by_nobody);
    assert_eq!(
        unserved.summary,
        "Queue `pictures` was paused at 2027-01-15T07:58:30Z, 1 m 30 s ago. None of its runs starts until it is \
         resumed. No live worker serves task `resize` from queue `pictures`: start one."
    );
    let later = Draft { due_at: Some(NOW + Duration::from_secs(10)), ..draft() };
    let later = explained(later, None, &by_nobody);
    assert!(matches!(later.waits[..], [Wait::Time { .. }, Wait::Queue { .. }]), "{later:?}");
}

#[test]
fn a_run_that_no_worker_may_take_names_the_labels() {
    let labels = [("gpu", "true"), ("zone", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let needy = || after(Draft { required_labels: labels.clone().into(), ..draft() }, &[]);
    let standing = Standing::Ready { n_ahead: 0 };
    let facts = DeliveryFacts { standing: standing.clone(), n_workers: 0, n_free_slots: 0, n_serving: 2 };
    assert_eq!(
        explained(needy(), None, Some(Ok(facts))).summary,
        "It requires a worker with the labels `gpu=true`, `zone=a`, and of the 2 live workers that serve task `resize` \
         from queue `pictures` none has them: start one that has."
    );
    assert_eq!(
        explained(needy(), None, known(standing, 0, 0)).summary,
        "No live worker serves task `resize` from queue `pictures`: start one with the labels `gpu=true`, `zone=a`."
    );
}

#[test]
fn a_run_that_waits_for_a_slot_names_the_limit() {
    let limited = Draft { concurrency_limits: vec!["db".to_owned()], ..draft() };
    let (run, happenings) =
        after(limited, &[Event::SlotRefused { limit: "db".to_owned(), lack: Lack::Slot }]);
    let owner = RunId::new();
    let bound_by = Some("db".to_owned());
    let db = SlotFacts {
        bound_by,
        max_slots: Some(1),
        n_used: 1,
        owners: vec![owner],
        ..SlotFacts::undefined("db")
    };
    let detail = RunDetail { run, parameters: None, result: None, failure: None };
    let limits = vec![db.clone()];
    let delivery = known(Standing::Unknown, 1, 4);
    let explanation = explain(Facts {
        detail,
        happenings,
        limits,
        queue: None,
        work_pool: None,
        delivery,
        key: None,
        now: NOW,
    });
    assert_eq!(
        explanation.waits,
        [Wait::Slot { limits: vec![db] }],
        "its delivery waits for the slot as well"
    );
    assert!(
        explanation.summary.ends_with(&format!(
            "It needs a free slot of each of the concurrency limits `db`. `db` has 1 slot, taken by run {owner}."
        )),
        "{}",
        explanation.summary
    );
}

#[test]
fn a_run_that_is_held_says_by_whom_and_for_how_long() {
    let pending = explained(after(draft(), &running()[..1]), None, known(Standing::Claimed, 1, 0));
    assert_eq!(
        pending.summary,
        "Worker `w-1` got it at 2027-01-15T08:00:00Z, 0 ms ago and has not said yet that it starts; \
         at 2027-01-15T08:00:30Z, in 30 s it goes back to its queue, at no cost."
    );
    let leased = |hindrance: &str| Standing::Leased {
        expires_in: Duration::from_secs(12),
        hindrance: hindrance.to_owned(),
    };
    let hindered = || known(leased("Unschedulable: 0/3 nodes are available."), 1, 0);
    let pending = explained(after(draft(), &running()[..1]), None, hindered());
    assert!(
        pending
            .summary
            .ends_with("at no cost. Its job has not begun: Unschedulable: 0/3 nodes are available."),
        "{}",
        pending.summary
    );
    let counted = explained(after(draft(), &running()), None, hindered());
    assert_eq!(
        counted.summary,
        "Attempt 1 runs in worker `w-1` since 2027-01-15T08:00:00Z, for 0 ms. \
         Its job has not begun: Unschedulable: 0/3 nodes are available. \
         If its worker stays silent for 12 s more, it counts as crashed."
    );
    let executing = explained(after(draft(), &running()), None, known(leased(""), 1, 0));
    assert_eq!(
        executing.summary,
        "Attempt 1 runs in worker `w-1` since 2027-01-15T08:00:00Z, for 0 ms. \
         If its worker stays silent for 12 s more, it counts as crashed."
    );
    assert!(matches!(executing.waits[..], [Wait::Code { lease_left: Some(_), .. }]));
    let unleased = explained(after(draft(), &running()), None, known(Standing::Unknown, 1, 0));
    assert!(unleased.summary.contains("no lease"), "{}", unleased.summary);

    let session = SessionId::new();
    let local = Draft { placement: Placement::Session(session), ..draft() };
    assert_eq!(
        explained(after(local, &[]), None, None).summary,
        format!(
            "It waits for a free thread, or for slots of its concurrency limits, in the process of session {session}."
        )
    );
}

#[test]
fn a_run_that_was_asked_to_wait_or_stop_says_who_asked() {
    let actor = Some("alice".to_owned());
    let pause = Event::PauseRequested { timeout: None, reason: "too early".to_owned(), actor: actor.clone() };
    assert_eq!(
        explained(after(draft(), &[pause]), None, None).summary,
        "It was paused by alice: too early. No worker is occupied by it until somebody resumes it."
    );
    let asks =
        Event::Paused { key: "approval".to_owned(), timeout: Some(Duration::from_secs(60)), suspend: false };
    let paused = explained(after(draft(), &with(&running(), asks)), None, None);
    assert_eq!(
        paused.summary,
        "Its code paused at `approval`. Its code waits inside worker `w-1` until somebody resumes it; \
         at 2027-01-15T08:01:00Z, in 1 m it fails."
    );
    let cancel = Event::CancelRequested { reason: "wrong input".to_owned(), actor };
    assert_eq!(
        explained(after(draft(), &with(&running(), cancel.clone())), None, None).summary,
        "A cancel was asked by alice: wrong input. Worker `w-1` has been told to stop it; \
         at 2027-01-15T08:01:00Z, in 1 m it is closed in any case."
    );
    assert_eq!(
        explained(after(draft(), &[cancel]), None, None).summary,
        "It was cancelled by alice: wrong input."
    );
}

#[test]
fn a_run_that_failed_says_why_it_is_not_retried() {
    let failed = |retry, failure: Failure| {
        let policies = Policies { retry, ..Policies::default() };
        let (mut run, rows) = after(Draft { policies, ..draft() }, &running());
        run.state = State::new(Phase::Failed, NOW).described(StateName::Failed, "ValueError: no");
        explained((run, rows), Some(failure), None).summary
    };
    let retry = |max_retries| tidegate_orchestration::RetryPolicy { max_retries, ..Default::default() };
    let how = "Attempt 1 failed: ValueError: no.";
    assert_eq!(failed(retry(0), raised()), format!("{how} No retries were asked for."));
    assert_eq!(failed(retry(3), raised()), format!("{how} All 3 retries are used up."));
    let final_failure = Failure { non_retryable: true, ..raised() };
    assert_eq!(
        failed(retry(3), final_failure),
        format!("{how} Its code said that another attempt cannot succeed, so it is not retried.")
    );
    let mut picky = retry(3);
    picky.retry_on = vec!["OSError".to_owned()];
    assert_eq!(
        failed(picky, raised()),
        format!("{how} Errors of type `ValueError` are not in its `retry_on`, so it is not retried.")
    );
    let mut averse = retry(3);
    averse.never_retry_on = vec!["ValueError".to_owned()];
    assert_eq!(
        failed(averse, raised()),
        format!("{how} Errors of type `ValueError` are in its `never_retry_on`, so it is not retried.")
    );
}

#[test]
fn a_run_whose_upstream_failed_says_which_and_why() {
    let upstream = RunId::new();
    let failed = Event::UpstreamFailed { upstream, cause: "ValueError: no".to_owned() };
    assert_eq!(
        explained(after(draft(), &[running()[0].clone(), failed]), None, None).summary,
        format!(
            "It was not executed: run {upstream}, whose result it needs, did not complete: ValueError: no."
        )
    );
}

#[test]
fn a_run_that_crashed_says_how_often() {
    let mut draft = draft();
    draft.policies.crash.max_crashes = 0;
    let crash = Event::Crashed { cause: "signal 9 (SIGKILL)".to_owned() };
    assert_eq!(
        explained(after(draft, &with(&running(), crash)), None, None).summary,
        "Its process went away: signal 9 (SIGKILL). That happened once; none is forgiven."
    );
}

#[test]
fn every_state_has_an_answer() {
    for state_type in StateType::ALL {
        let (mut run, rows) = after(draft(), &running());
        run.state = State::new(phase(*state_type), NOW);
        let explanation = explained((run, rows), None, known(Standing::Unknown, 0, 0));
        assert!(explanation.summary.ends_with('.'), "{state_type}: {}", explanation.summary);
        assert_eq!(explanation.waits.is_empty(), state_type.is_terminal(), "{state_type}: {explanation:?}");
    }
}

fn phase(state_type: StateType) -> Phase {
    let holder = worker();
    match state_type {
        StateType::Scheduled => Phase::Scheduled,
        StateType::Pending => Phase::Pending { holder, start_by: None },
        StateType::Running => Phase::Running { holder, deadline: None },
        StateType::Paused => Phase::Paused { holder: None, expires_at: None },
        StateType::Cancelling => Phase::Cancelling { holder, close_at: NOW },
        StateType::Completed => Phase::Completed,
        StateType::Failed => Phase::Failed,
        StateType::Crashed => Phase::Crashed,
        StateType::Cancelled => Phase::Cancelled,
    }
}

#[test]
fn who_was_made_with_a_key_says_so_and_who_else_got_it() {
    let told = |scope: &str, key: &str, n_answers, answered_at| {
        let (run, happenings) = after(draft(), &[]);
        let detail = RunDetail { run, parameters: None, result: None, failure: None };
        let used = KeyUse { scope: scope.to_owned(), key: key.to_owned(), n_answers, answered_at };
        let key = KeyFacts::of(used);
        let delivery = known(Standing::Ready { n_ahead: 0 }, 1, 1);
        let (limits, queue, work_pool) = (Vec::new(), None, None);
        explain(Facts { detail, happenings, limits, queue, work_pool, delivery, key, now: NOW }).summary
    };
    let last = Some(NOW - Duration::from_secs(3));
    for (scope, n_answers, expected) in [
        ("task:resize", 0, "It was made with the idempotency key `order-7` of task `resize`."),
        (
            "deployment:etl/daily",
            1,
            "It was made with the idempotency key `order-7` of deployment `etl/daily`; a later call with that key, at \
             2027-01-15T07:59:57Z, 3 s ago, got this run instead of a new one.",
        ),
        (
            "run:0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b",
            2,
            "It was made with the idempotency key `order-7` of the children of run \
             0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b; 2 later calls with that key, the last at 2027-01-15T07:59:57Z, 3 s \
             ago, got this run instead of a new one.",
        ),
    ] {
        let summary = told(scope, "order-7", n_answers, last.filter(|_| n_answers > 0));
        assert!(summary.ends_with(expected), "{summary}");
    }
    for (scope, key) in [
        ("run:0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b", "call:queued:task:1:00:resize"),
        ("schedule:0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b", "1"),
        ("cancel", "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b"),
    ] {
        assert!(!told(scope, key, 0, None).contains("idempotency key"), "{scope} {key}");
    }
}
