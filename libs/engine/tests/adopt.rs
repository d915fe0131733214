//! P4: an attempt of a parent finds the children of the attempts before it.

mod common;

use common::{Fixture, keyed_task, task};
use tidegate_engine::{Create, EngineError};
use tidegate_model::{Epoch, Namespace, RunId, SessionId};
use tidegate_orchestration::{Event, Failure, Placement, Rejection, Run};

/// The same call in an attempt of `parent`, under a new id each time.
fn call_of(parent: &Run) -> Create {
    let mut create = keyed_task("call:local:task:1:00:resize");
    create.draft.id = RunId::new();
    create.draft.parent = Some(parent.id);
    create.is_child_call = true;
    create.parent_epoch = Some(parent.epoch);
    create
}

fn local_call_of(parent: &Run, session: SessionId) -> Create {
    let mut create = call_of(parent);
    create.draft.placement = Placement::Session(session);
    create
}

/// A running parent.
async fn parent(fixture: &Fixture) -> Run {
    let run = fixture.queued().await;
    fixture.start(&run).await
}

/// The next attempt, after a crash.
async fn next_attempt(fixture: &Fixture, parent: &Run) -> Run {
    let crashed = Event::Crashed { cause: "signal 9 (SIGKILL)".to_owned() };
    let scheduled = fixture.report(parent, crashed).await.expect("crashes").run;
    fixture.start(&scheduled).await
}

fn failed() -> Event {
    Event::Failed(Failure { error_type: "ValueError".to_owned(), ..Failure::default() })
}

#[tokio::test]
async fn a_local_child_that_has_not_completed_is_given_to_the_next_attempt() {
    let fixture = Fixture::new().await;
    for end in [None, Some(Event::Started), Some(failed()), Some(Event::Cancelled)] {
        let first = parent(&fixture).await;
        let (dead, alive) = (fixture.session().await, fixture.session().await);
        let child = fixture.create(local_call_of(&first, dead)).await.expect("is created");
        assert!(child.created && !child.adopted);
        match end {
            Some(Event::Cancelled) => drop(fixture.cancel(&child.run).await),
            Some(event) => {
                fixture.report(&child.run, Event::Started).await.expect("starts");
                fixture.report(&child.run, event).await.expect("is told");
            }
            None => {}
        }
        let before = fixture.get(&child.run).await;
        let second = next_attempt(&fixture, &first).await;
        let found = fixture.create(local_call_of(&second, alive)).await.expect("is found");
        assert_eq!((found.run.id, found.created, found.adopted), (child.run.id, false, true));
        assert_eq!(found.run.placement, Placement::Session(alive));
        assert!(found.run.epoch > before.epoch, "what the dead process says is stale");
        assert_eq!(fixture.state(&child.run).await, "PENDING/Pending");
        // A repeat of the call gives it again.
        let again = fixture.create(local_call_of(&second, alive)).await.expect("is found");
        assert_eq!((again.run.epoch, again.adopted), (found.run.epoch, true));

        let running = fixture.report(&found.run, Event::Started).await.expect("starts").run;
        let stale = fixture.report(&before, Event::Completed).await.expect_err("is refused");
        assert!(matches!(stale, EngineError::Rejected(Rejection::StaleEpoch { .. })), "{stale:?}");
        fixture.report(&running, Event::Completed).await.expect("completes");
        let seqs: Vec<u64> = fixture.history(&child.run).await.into_iter().map(|(seq, _)| seq).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    }
}

#[tokio::test]
async fn a_child_that_completed_is_found_with_its_result() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let (dead, alive) = (fixture.session().await, fixture.session().await);
    let child = fixture.create(local_call_of(&first, dead)).await.expect("is created").run;
    fixture.report(&child, Event::Started).await.expect("starts");
    fixture.report(&child, Event::Completed).await.expect("completes");
    let second = next_attempt(&fixture, &first).await;
    let found = fixture.create(local_call_of(&second, alive)).await.expect("is found");
    assert_eq!((found.run.id, found.created, found.adopted), (child.id, false, false));
    assert_eq!(fixture.state(&child).await, "COMPLETED/Completed");
}

#[tokio::test]
async fn a_queued_child_that_ended_without_a_result_is_tried_again() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let call = call_of(&first);
    let child = fixture.create(call.clone()).await.expect("is created").run;
    let running = fixture.start(&child).await;
    let second = next_attempt(&fixture, &first).await;
    fixture.create(call_of(&second)).await.expect("is found");
    assert_eq!(fixture.state(&child).await, "RUNNING/Running", "what is under way goes on");

    fixture.report(&running, failed()).await.expect("fails");
    let repeat = fixture.create(Create { parent_epoch: Some(second.epoch), ..call }).await.expect("is found");
    assert!(!repeat.created);
    assert_eq!(fixture.state(&child).await, "FAILED/Failed", "the repeat of the call that made it");
    let third = next_attempt(&fixture, &second).await;
    let found = fixture.create(call_of(&third)).await.expect("is found");
    assert_eq!((found.run.id, found.created, found.adopted), (child.id, false, false));
    assert_eq!(fixture.state(&child).await, "SCHEDULED/AwaitingRetry");
    let run = fixture.get(&child).await;
    fixture.until_noted(|notes| notes.enqueued.lock().unwrap().contains(&(run.id, run.epoch))).await;
}

#[tokio::test]
async fn an_attempt_that_has_lost_its_run_makes_and_takes_no_child() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let session = fixture.session().await;
    let second = next_attempt(&fixture, &first).await;
    let mut other = local_call_of(&first, session);
    other.idempotency_key = Some("another call".to_owned());
    let refused = fixture.create(other).await.expect_err("is refused");
    assert!(
        matches!(refused, EngineError::Rejected(Rejection::StaleEpoch { current }) if current == second.epoch),
        "{refused:?}"
    );
    let child = fixture.create(local_call_of(&second, session)).await.expect("is created").run;
    let zombie = fixture.session().await;
    let found = fixture.create(local_call_of(&first, zombie)).await.expect("is found");
    assert_eq!((found.run.id, found.adopted), (child.id, false));
    assert_eq!(fixture.get(&child).await, child, "it stays with the later attempt");
}

#[tokio::test]
async fn a_session_that_is_lost_is_given_no_child() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let session = fixture.session().await;
    let call = local_call_of(&first, session);
    let child = fixture.create(call.clone()).await.expect("is created").run;
    fixture.advance(60);
    assert!(matches!(fixture.create(call.clone()).await, Err(EngineError::SessionLost)));
    // The SDK opens another session and makes the same call in it.
    let next = fixture.session().await;
    let mut again = call;
    again.draft.placement = Placement::Session(next);
    let found = fixture.create(again).await.expect("is found");
    assert_eq!((found.run.id, found.adopted, found.run.epoch), (child.id, true, child.epoch.next()));
}

#[tokio::test]
async fn a_key_of_the_callers_own_takes_nobodys_child() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let (one, other) = (fixture.session().await, fixture.session().await);
    let keyed = |session| Create { is_child_call: false, ..local_call_of(&first, session) };
    let child = fixture.create(keyed(one)).await.expect("is created").run;
    let found = fixture.create(keyed(other)).await.expect("is found");
    assert_eq!((found.run.id, found.adopted, found.run.epoch), (child.id, false, child.epoch));
}

#[tokio::test]
async fn an_id_that_collides_takes_no_other_parents_child() {
    let fixture = Fixture::new().await;
    let (theirs, mine) = (parent(&fixture).await, parent(&fixture).await);
    let (their_session, my_session) = (fixture.session().await, fixture.session().await);
    let local = fixture.create(local_call_of(&theirs, their_session)).await.expect("is created").run;
    let mut queued = call_of(&theirs);
    queued.idempotency_key = Some("call:queued".to_owned());
    let queued = fixture.create(queued).await.expect("is created").run;
    let running = fixture.start(&queued).await;
    fixture.report(&running, failed()).await.expect("fails");

    let mut take_local = local_call_of(&mine, my_session);
    take_local.draft.id = local.id;
    let mut retry_queued = call_of(&mine);
    retry_queued.draft.id = queued.id;
    retry_queued.draft.placement = Placement::Queue("other".parse().expect("is a name"));
    for call in [take_local, retry_queued] {
        let before = fixture.get(&Run { id: call.draft.id, ..local.clone() }).await;
        // Without a key as well as with one, and whatever the call is answered.
        for key in [None, call.idempotency_key.clone()] {
            if let Ok(found) = fixture.create(Create { idempotency_key: key, ..call.clone() }).await {
                assert!(!found.created && !found.adopted, "{found:?}");
            }
            assert_eq!(fixture.get(&before).await, before);
        }
    }
}

#[tokio::test]
async fn an_id_that_collides_takes_no_other_namespaces_run() {
    let fixture = Fixture::new().await;
    let theirs = parent(&fixture).await;
    let session = fixture.session().await;
    let child = fixture.create(local_call_of(&theirs, session)).await.expect("is created").run;
    let other: Namespace = "other".parse().expect("is a name");
    let mut mine = task();
    mine.draft.namespace = other.clone();
    let mine = fixture.create(mine).await.expect("is created").run;
    let my_session = fixture.session_in(&other).await;
    // Their own parent as well: what collides may be all of it.
    for parent in [&mine, &theirs] {
        let mut call = local_call_of(parent, my_session);
        call.parent_epoch = None;
        call.draft.id = child.id;
        call.draft.namespace = other.clone();
        let refused = fixture.create(call).await.expect_err("is refused");
        assert!(matches!(refused, EngineError::IdReused { run_id } if run_id == child.id), "{refused:?}");
        assert_eq!(fixture.get(&child).await, child);
    }
}

#[tokio::test]
async fn a_tree_is_taken_over_level_by_level() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let dead = fixture.session().await;
    let subflow = fixture.create(local_call_of(&first, dead)).await.expect("is created").run;
    let leaf = fixture.create(local_call_of(&subflow, dead)).await.expect("is created").run;
    fixture.report(&leaf, Event::Started).await.expect("starts");
    fixture.report(&leaf, Event::Completed).await.expect("completes");
    fixture.advance(60);
    fixture.store.end_session(&first.namespace, dead).await.expect("ends");
    fixture.engine.crash_lost_sessions(100).await.expect("sweeps");
    assert_eq!(fixture.state(&subflow).await, "CRASHED/Crashed");

    let second = next_attempt(&fixture, &first).await;
    let alive = fixture.session().await;
    let adopted = fixture.create(local_call_of(&second, alive)).await.expect("is found").run;
    assert_eq!(adopted.id, subflow.id);
    let found = fixture.create(local_call_of(&adopted, alive)).await.expect("is found");
    assert_eq!((found.run.id, found.adopted), (leaf.id, false), "it has completed");
    assert_eq!(fixture.state(&leaf).await, "COMPLETED/Completed");
}

#[tokio::test]
async fn no_epoch_is_no_question() {
    let fixture = Fixture::new().await;
    let first = parent(&fixture).await;
    let mut create = task();
    create.draft.parent = Some(first.id);
    create.parent_epoch = Some(Epoch(99));
    assert!(fixture.create(create.clone()).await.is_err());
    create.parent_epoch = None;
    assert!(fixture.create(create).await.is_ok());
}
