//! Creating runs: durable, once, each on its own.

mod common;

use std::collections::HashSet;

use common::{Fixture, keyed_task, task};
use futures::future::join_all;
use tidegate_engine::EngineError;
use tidegate_model::{Payload, RunId};
use tidegate_orchestration::{Event, Rejection};

#[tokio::test]
async fn a_created_run_is_there_with_its_history_and_its_delivery() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.parameters = Some(Payload::inline("[1]"));
    let created = fixture.create(create).await.expect("is created");
    assert!(created.created);
    let detail = fixture.engine.get(&created.run.namespace, created.run.id).await.expect("is there");
    assert_eq!(detail.run, created.run);
    assert_eq!(detail.parameters, Some(Payload::inline("[1]")));
    assert_eq!(fixture.history(&created.run).await, [(1, "SCHEDULED/Scheduled".to_owned())]);
    fixture
        .until_noted(|notes| notes.enqueued.lock().unwrap().contains(&(created.run.id, created.run.epoch)))
        .await;
}

#[tokio::test]
async fn one_key_is_one_run_also_under_concurrent_calls() {
    let fixture = Fixture::new().await;
    let calls = (0..200).map(|_| fixture.create(keyed_task("order-7")));
    let created: Vec<_> = join_all(calls).await.into_iter().map(|one| one.expect("is created")).collect();
    let ids: HashSet<_> = created.iter().map(|created| created.run.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(created.iter().filter(|created| created.created).count(), 1);
}

#[tokio::test]
async fn a_key_with_other_parameters_is_refused_unless_the_existing_run_is_asked_for() {
    let fixture = Fixture::new().await;
    let first = fixture.create(keyed_task("k")).await.expect("is created").run;
    let mut other = keyed_task("k");
    other.params_hash = [1; 32];
    let refused = fixture.create(other.clone()).await.expect_err("is refused");
    assert!(matches!(refused, EngineError::KeyReused { run_id } if run_id == first.id), "{refused:?}");
    other.draft.id = RunId::new();
    other.use_existing = true;
    let existing = fixture.create(other).await.expect("is found");
    assert_eq!((existing.run.id, existing.created), (first.id, false));
}

#[tokio::test]
async fn a_key_is_its_parents_own() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.queued().await, fixture.queued().await);
    let mut ids = HashSet::new();
    for parent in [&first, &second, &first] {
        let mut child = keyed_task("auto:task:resize:1");
        child.draft.parent = Some(parent.id);
        ids.insert(fixture.create(child).await.expect("is created").run.id);
    }
    assert_eq!(ids.len(), 2, "the third call found the first child");
}

#[tokio::test]
async fn a_repeated_create_with_the_same_id_gives_the_same_run() {
    let fixture = Fixture::new().await;
    let create = task();
    let calls = (0..5).map(|_| fixture.create(create.clone()));
    let created: Vec<_> = join_all(calls).await.into_iter().map(|one| one.expect("is created")).collect();
    assert_eq!(created.iter().filter(|created| created.created).count(), 1);

    let mut other = create;
    other.draft.name = "another".parse().expect("is a name");
    assert!(matches!(fixture.create(other).await, Err(EngineError::IdReused { .. })));
}

#[tokio::test]
async fn an_id_that_collides_burns_no_key() {
    let fixture = Fixture::new().await;
    let theirs = fixture.queued().await;
    let of_other_name = |key: &str, id: RunId| {
        let mut create = keyed_task(key);
        create.draft.id = id;
        create.draft.name = "another".parse().expect("is a name");
        create
    };
    // With the id of a run that was there before, and with that of one that is made beside it; a neighbour is none the
    // worse for it.
    let beside = task();
    let calls = [
        of_other_name("before", theirs.id),
        beside.clone(),
        of_other_name("beside", beside.draft.id),
        of_other_name("neighbour", RunId::new()),
    ];
    let outcomes = join_all(calls.into_iter().map(|create| fixture.create(create))).await;
    for (idx, is_refused) in [true, false, true, false].into_iter().enumerate() {
        let was_refused = matches!(outcomes[idx], Err(EngineError::IdReused { .. }));
        assert_eq!(was_refused, is_refused, "{idx}: {:?}", outcomes[idx]);
    }
    for key in ["before", "beside"] {
        let created = fixture.create(of_other_name(key, RunId::new())).await.expect("the key is free");
        assert!(created.created);
        let again = fixture.create(of_other_name(key, RunId::new())).await.expect("is found");
        assert_eq!((again.run.id, again.created), (created.run.id, false));
    }
    // Nor does that of another parent's child of the same name.
    let (mine, their_child) = (fixture.queued().await, fixture.child_of(&theirs).await);
    let call = |id: RunId| {
        let mut create = keyed_task("child");
        (create.draft.id, create.draft.parent) = (id, Some(mine.id));
        create
    };
    let refused = fixture.create(call(their_child.id)).await;
    assert!(matches!(refused, Err(EngineError::IdReused { .. })), "{refused:?}");
    assert!(fixture.create(call(RunId::new())).await.expect("the key is free").created);
}

#[tokio::test]
async fn one_bad_item_of_a_batch_fails_alone() {
    let fixture = Fixture::new().await;
    let mut creates: Vec<_> = (0..300).map(|_| task()).collect();
    creates[150].draft.parent = Some(RunId::new());
    let outcomes = join_all(creates.into_iter().map(|create| fixture.create(create))).await;
    let failed: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, 150);
    assert!(matches!(failed[0].1, Err(EngineError::ParentNotFound { .. })));
}

#[tokio::test]
async fn a_parent_that_has_ended_or_is_ending_gets_no_child() {
    let fixture = Fixture::new().await;
    let ended = fixture.queued().await;
    fixture.cancel(&ended).await;
    let ending = fixture.queued().await;
    let ending = fixture.start(&ending).await;
    fixture.cancel(&ending).await;
    for parent in [ended, ending] {
        let mut child = task();
        child.draft.parent = Some(parent.id);
        let refused = fixture.create(child).await.expect_err("is refused");
        assert!(matches!(refused, EngineError::Rejected(Rejection::ParentEnded { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_is_down_holds_nothing_back_and_the_sweep_makes_up_for_it() {
    let fixture = Fixture::new().await;
    fixture.notes.is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    let run = fixture.queued().await;
    fixture.notes.is_down.store(false, std::sync::atomic::Ordering::SeqCst);
    let is_noted = |run: RunId| fixture.notes.enqueued.lock().unwrap().iter().any(|(id, _)| *id == run);
    // The mark that the hand-over failed is written beside this; until then the run is found by age.
    fixture.advance(120);
    let horizon = fixture.engine.clock().now() - std::time::Duration::from_secs(60);
    fixture.engine.enqueue_due(horizon, 100).await.expect("sweeps");
    assert!(is_noted(run.id));
}

#[tokio::test]
async fn a_run_that_is_due_later_is_handed_over_shortly_before() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.due_at = Some(fixture.engine.clock().now() + std::time::Duration::from_secs(3_600));
    let run = fixture.create(create).await.expect("is created").run;
    let swept = |fixture: &Fixture| {
        let engine = fixture.engine.clone();
        async move { engine.enqueue_due(tidegate_model::Timestamp::UNIX_EPOCH, 100).await.expect("sweeps") }
    };
    assert_eq!(swept(&fixture).await, 0);
    fixture.advance(3_580);
    assert_eq!(swept(&fixture).await, 1);
    assert_eq!(fixture.notes.enqueued.lock().unwrap().as_slice(), [(run.id, run.epoch)]);
    assert!(fixture.claim(&run, "w").await.is_err(), "not before its time");
    fixture.advance(20);
    assert!(fixture.claim(&run, "w").await.is_ok());
}

#[tokio::test]
async fn a_local_run_begins_as_pending_with_its_session() {
    let fixture = Fixture::new().await;
    let mut create = task();
    let session = fixture.session().await;
    create.draft.placement = tidegate_orchestration::Placement::Session(session);
    let run = fixture.create(create).await.expect("is created").run;
    assert_eq!(run.epoch.0, 1);
    let running = fixture.report(&run, Event::Started).await.expect("starts").run;
    fixture.report(&running, Event::Completed).await.expect("completes");
    let states: Vec<_> = fixture.history(&run).await.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["SCHEDULED/Scheduled", "PENDING/Pending", "RUNNING/Running", "COMPLETED/Completed"]);
}
