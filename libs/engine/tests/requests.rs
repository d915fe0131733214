//! What people ask of one run: pause, resume, retry, delete.

mod common;

use std::time::Duration;

use common::{Fixture, task};
use tidegate_engine::{Ask, EngineError, Operated, Operation, Pause};
use tidegate_model::{Namespace, Payload, RunId, ServiceError as _};
use tidegate_orchestration::{Event, Failure, Rejection, Run};
use tidegate_store::{InputKind, InputQuery};
use tokio::time::{Instant, timeout};

fn ask(run: &Run) -> Ask {
    Ask { actor: Some("ada".to_owned()), ..Ask::new(Namespace::default(), run.id) }
}

/// As `ask`, known by an id.
fn ask_once(run: &Run) -> Ask {
    Ask { request_id: Some(RunId::new()), ..ask(run) }
}

async fn pause(fixture: &Fixture, ask: Ask) -> Result<Operated, EngineError> {
    let timeout = Some(Duration::from_secs(60));
    fixture.engine.operate(Operation::Pause { ask, timeout, reason: "wait".to_owned() }).await
}

async fn resume(fixture: &Fixture, ask: Ask, input: Option<Payload>) -> Result<Operated, EngineError> {
    fixture.engine.operate(Operation::Resume { ask, key: None, input }).await
}

async fn retry(fixture: &Fixture, ask: Ask) -> Result<Operated, EngineError> {
    fixture.engine.operate(Operation::Retry { ask, reason: "again".to_owned() }).await
}

/// Has the code of a running run wait at `key`, with a question.
async fn wait_at(fixture: &Fixture, run: &Run, key: &str, suspend: bool) -> Run {
    let event = Event::Paused { key: key.to_owned(), timeout: None, suspend };
    fixture.report_with(run, event, Some(Payload::inline("who?"))).await.expect("pauses").run
}

async fn inputs(fixture: &Fixture, run: &Run) -> Vec<(String, InputKind, Payload)> {
    let query =
        InputQuery { namespace: Namespace::default(), run_id: run.id, key: None, after: None, limit: 100 };
    let found = fixture.store.get_inputs(&query).await.expect("reads");
    found.into_iter().map(|input| (input.key, input.kind, input.data)).collect()
}

#[tokio::test]
async fn a_run_that_is_paused_from_outside_waits_and_is_delivered_again() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let running = fixture.start(&run).await;
    let paused = pause(&fixture, ask(&run)).await.expect("pauses");
    assert!(paused.changed);
    assert_eq!(fixture.state(&run).await, "PAUSED/Suspended");
    // Its holder is told that the code is not its own any more.
    fixture.until_noted(|notes| notes.stopped.lock().unwrap().iter().any(|stop| stop.grace.is_none())).await;
    assert!(fixture.report(&running, Event::Completed).await.is_err(), "it was taken away");
    assert!(!pause(&fixture, ask(&run)).await.expect("is so already").changed);

    let refused = resume(&fixture, ask(&run), Some(Payload::inline("1"))).await.expect_err("no code asks");
    assert!(matches!(refused, EngineError::InputUnwanted { .. }), "{refused:?}");
    let resumed = resume(&fixture, ask(&run), None).await.expect("resumes").run;
    assert_eq!(fixture.state(&run).await, "SCHEDULED/Resuming");
    fixture.until_noted(|notes| notes.enqueued.lock().unwrap().contains(&(run.id, resumed.epoch))).await;
    let events = fixture.store.list_events(&Namespace::default(), run.id, 3, 10).await.expect("reads");
    let told: Vec<_> =
        events.iter().map(|event| (event.state_name.as_str(), event.actor.as_deref())).collect();
    assert_eq!(told, [("Suspended", Some("ada")), ("Resuming", Some("ada"))]);
    let again = fixture.start(&resumed).await;
    assert_eq!(again.attempt, 2);
}

#[tokio::test]
async fn a_pause_keeps_its_question_and_its_answer_for_every_attempt() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let running = fixture.start(&run).await;
    let suspended = wait_at(&fixture, &running, "name", true).await;
    assert_eq!(inputs(&fixture, &run).await, [("name".into(), InputKind::Request, Payload::inline("who?"))]);
    let other =
        Operation::Resume { ask: ask(&run), key: Some("age".to_owned()), input: Some(Payload::inline("7")) };
    let refused = fixture.engine.operate(other).await.expect_err("it waits elsewhere");
    assert!(matches!(refused, EngineError::NotAtPause { .. }), "{refused:?}");
    let resumed = resume(&fixture, ask(&run), Some(Payload::inline("Ada"))).await.expect("resumes").run;
    assert_eq!(resumed.epoch, suspended.epoch);

    // Another worker comes to the same place, and goes on with the same.
    let second = fixture.start(&resumed).await;
    let event = Event::Paused { key: "name".to_owned(), timeout: None, suspend: true };
    let went_on = fixture.report(&second, event).await.expect("is known");
    assert!(!went_on.changed);
    let read = fixture.engine.await_resume(&Namespace::default(), run.id, "name", None).await.expect("reads");
    assert_eq!(read, Pause::Resumed(Some(Payload::inline("Ada"))));
    assert_eq!(inputs(&fixture, &run).await.len(), 2);

    // What resumed that pause does not resume the next one, and what is under way needs no input.
    let late = Operation::Resume {
        ask: ask(&run),
        key: Some("name".to_owned()),
        input: Some(Payload::inline("Bob")),
    };
    wait_at(&fixture, &second, "age", false).await;
    assert!(!fixture.engine.operate(late).await.expect("was done before").changed);
    assert_eq!(fixture.state(&run).await, "PAUSED/Paused");
    resume(&fixture, ask(&run), None).await.expect("resumes");
    let refused = resume(&fixture, ask(&run), Some(Payload::inline("1"))).await.expect_err("nobody reads it");
    assert!(matches!(refused, EngineError::Rejected(Rejection::NotAllowed { .. })), "{refused:?}");
    assert_eq!(inputs(&fixture, &run).await[1].2, Payload::inline("who?"), "of `age`, which got no answer");
}

#[tokio::test]
async fn code_that_waits_in_its_process_is_woken_and_told_when_the_run_ends_instead() {
    let fixture = Fixture::new().await;
    let (run, ended) = (fixture.queued().await, fixture.queued().await);
    for run in [&run, &ended] {
        let running = fixture.start(run).await;
        wait_at(&fixture, &running, "name", false).await;
    }
    let await_resume = |run: &Run, deadline| {
        let (engine, id) = (fixture.engine.clone(), run.id);
        async move { engine.await_resume(&Namespace::default(), id, "name", deadline).await }
    };
    assert_eq!(await_resume(&run, Some(Instant::now())).await.expect("looks"), Pause::Waiting);
    let ask_both = async {
        resume(&fixture, ask(&run), Some(Payload::inline("Ada"))).await.expect("resumes");
        fixture.cancel(&ended).await;
    };
    // In this order: who waits has looked, and sleeps, before anything happens.
    let waits = async { tokio::join!(await_resume(&run, None), await_resume(&ended, None), ask_both) };
    let (resumed, gone, ()) = timeout(Duration::from_secs(5), waits).await.expect("long before they poll");
    assert_eq!(resumed.expect("waits"), Pause::Resumed(Some(Payload::inline("Ada"))));
    assert!(matches!(gone, Err(EngineError::NotAtPause { .. })), "{gone:?}");
    assert_eq!(fixture.state(&run).await, "RUNNING/Running");
}

#[tokio::test]
async fn a_request_that_is_repeated_changes_nothing_however_late_it_comes() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let (paused, resumed, retried) = (ask_once(&run), ask_once(&run), ask_once(&run));
    assert!(pause(&fixture, paused.clone()).await.expect("pauses").changed);
    assert!(resume(&fixture, resumed.clone(), None).await.expect("resumes").changed);
    let repeat = pause(&fixture, paused).await.expect("is known");
    assert!(!repeat.changed, "it would pause what was resumed");
    assert_eq!(repeat.run, fixture.get(&run).await);

    let early = retry(&fixture, retried.clone()).await.expect_err("it has not ended");
    assert!(matches!(early, EngineError::Rejected(_)), "{early:?}");
    for attempt in 1..=2 {
        let running = fixture.start(&fixture.get(&run).await).await;
        fixture.report(&running, Event::Failed(Failure::default())).await.expect("fails");
        let outcome = retry(&fixture, retried.clone()).await.expect("is taken");
        assert_eq!(outcome.changed, attempt == 1, "what was refused is no request that was made");
    }
    assert_eq!(fixture.state(&run).await, "FAILED/Failed");
    // In one batch, too.
    let (first, second) = tokio::join!(pause(&fixture, ask(&run)), retry(&fixture, ask_once(&run)));
    assert!(first.is_err() && second.expect("retries").changed);
    let twice = ask_once(&run);
    let (first, second) = tokio::join!(pause(&fixture, twice.clone()), pause(&fixture, twice));
    assert!(first.expect("pauses").changed && !second.expect("is known").changed);
}

#[tokio::test]
async fn only_what_has_ended_is_deleted_with_all_that_belongs_to_it() {
    let fixture = Fixture::new().await;
    let run = fixture.create(common::keyed_task("k")).await.expect("is created").run;
    let child = fixture.child_of(&run).await;
    let refused = fixture.engine.delete(&ask(&run)).await.expect_err("it is under way");
    assert!(matches!(refused, EngineError::NotEnded { .. }), "{refused:?}");
    let running = fixture.start(&run).await;
    fixture.report(&running, Event::Completed).await.expect("completes");

    let once = ask_once(&run);
    let elsewhere = Ask { namespace: "elsewhere".parse().expect("is a name"), ..once.clone() };
    let refused = fixture.engine.delete(&elsewhere).await.expect_err("is another's");
    assert!(matches!(refused, EngineError::NotFound { .. }), "{refused:?}");
    fixture.engine.delete(&once).await.expect("deletes");
    assert_eq!(fixture.history(&run).await, []);
    fixture.engine.delete(&once).await.expect("was done before");
    let refused = fixture.engine.delete(&ask_once(&run)).await.expect_err("is gone");
    assert!(matches!(refused, EngineError::NotFound { .. }), "{refused:?}");
    assert_eq!(fixture.state(&child).await, "SCHEDULED/Scheduled", "what is below stays");
    let anew = fixture.create(common::keyed_task("k")).await.expect("is created");
    assert!(anew.created, "its key is free again");
}

#[tokio::test]
async fn a_local_run_is_paused_and_retried_by_way_of_its_parent_only() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.placement = tidegate_orchestration::Placement::Session(fixture.session().await);
    let run = fixture.create(create).await.expect("is created").run;
    for refused in [pause(&fixture, ask(&run)).await, {
        fixture.report(&run, Event::Started).await.expect("starts");
        fixture.report(&run, Event::Completed).await.expect("completes");
        retry(&fixture, ask(&run)).await
    }] {
        let refused = refused.expect_err("is refused");
        assert!(matches!(refused, EngineError::Rejected(Rejection::LocalRun { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_late_repeat_drains_no_other_worker_of_the_same_id() {
    let fixture = Fixture::new().await;
    let (namespace, id) = (Namespace::default(), "w".parse().expect("is an id"));
    let drain = async |request_id| fixture.engine.drain_worker(&namespace, &id, request_id).await;
    let (first, other) = (Some(RunId::new()), Some(RunId::new()));
    let error = drain(first).await.expect_err("there is none");
    assert_eq!(error.reason().as_str(), "WORKER_NOT_FOUND");

    // What was refused was not done: the same request drains it once it is there.
    fixture.notes.live.lock().expect("is whole").push(id.clone());
    drain(first).await.expect("is drained");
    fixture.notes.live.lock().expect("is whole").clear();
    drain(first).await.expect("it has ended meanwhile, which is no error for a repeat");
    assert_eq!(drain(other).await.expect_err("there is none").reason().as_str(), "WORKER_NOT_FOUND");
    assert!(drain(None).await.is_err());

    fixture.notes.live.lock().expect("is whole").push(id.clone());
    drain(first).await.expect("is a repeat");
    assert_eq!(fixture.notes.drained.lock().expect("is whole").len(), 1, "the new worker goes on");
    drain(other).await.expect("is drained");
    assert_eq!(fixture.notes.drained.lock().expect("is whole").len(), 2);
}
