//! What is below a run ends with it, also where runs are retried or deleted, or a process dies, in the middle.

mod common;

use std::{sync::Arc, time::Duration};

use common::Fixture;
use tidegate_engine::{Ask, Bulk, EngineError, Operation};
use tidegate_model::{BulkOperationId, Namespace, RunId};
use tidegate_orchestration::{Event, Failure, Run};
use tidegate_store::{BulkAction, BulkState, BulkTarget, RunStore};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;
use tokio::{task::JoinSet, time::timeout};

/// Without limit.
const ALL: u64 = u64::MAX;

/// Looks for what is below runs can be held and broken off in the store.
async fn fixture() -> (Fixture, Arc<FaultyStore>) {
    let sqlite: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let store = Arc::new(FaultyStore::new(sqlite, 0.0));
    (Fixture::over(Arc::clone(&store) as Arc<dyn RunStore>), store)
}

fn ask(run_id: RunId) -> Ask {
    Ask { namespace: Namespace::default(), run_id, request_id: None, actor: None }
}

fn bulk(action: BulkAction, target: BulkTarget) -> Bulk {
    Bulk {
        id: BulkOperationId::new(),
        namespace: Namespace::default(),
        action,
        target,
        reason: "enough".to_owned(),
        actor: None,
        pause_timeout: None,
        expected_count: None,
    }
}

async fn fail(fixture: &Fixture, running: &Run) {
    fixture.report(running, Event::Failed(Failure::default())).await.expect("fails");
}

/// Has a run tried again, and starts the attempt.
async fn retry(fixture: &Fixture, run: &Run) -> Run {
    let retry = Operation::Retry { ask: ask(run.id), reason: String::new() };
    let retried = fixture.engine.operate(retry).await.expect("is retried").run;
    fixture.start(&retried).await
}

type Outcome = Result<usize, EngineError>;

/// What another process would do.
fn meanwhile(what: impl Future<Output = Outcome> + Send + 'static) -> JoinSet<Outcome> {
    let mut process = JoinSet::new();
    process.spawn(what);
    process
}

async fn dies(mut process: JoinSet<Outcome>) {
    process.shutdown().await;
}

async fn ended(mut process: JoinSet<Outcome>) -> usize {
    let outcome = timeout(Duration::from_secs(20), process.join_next()).await.expect("ends in time");
    outcome.expect("is one").expect("does not panic").expect("has not failed")
}

async fn until_walked(store: &FaultyStore, n_walks: u64) {
    timeout(Duration::from_secs(20), store.until_walked(n_walks)).await.expect("it is looked in time");
}

#[tokio::test]
async fn a_run_that_is_retried_during_its_cascade_keeps_its_children() {
    let (fixture, store) = fixture().await;
    let parent = fixture.start(&fixture.queued().await).await;
    let child = fixture.child_of(&parent).await;
    fail(&fixture, &parent).await;
    store.allow_walks(0);
    let engine = fixture.engine.clone();
    let cascades = meanwhile(async move { engine.cascade_all().await });
    until_walked(&store, 1).await;
    let parent = retry(&fixture, &parent).await;
    let late = fixture.child_of(&parent).await;
    store.allow_walks(ALL);
    assert_eq!(ended(cascades).await, 0);
    assert_eq!(fixture.state(&child).await, "SCHEDULED/Scheduled");
    assert_eq!(fixture.state(&late).await, "SCHEDULED/Scheduled");
    fail(&fixture, &parent).await;
    assert_eq!(fixture.engine.cascade_all().await.expect("cascades"), 2);
}

#[tokio::test]
async fn the_second_end_of_a_run_is_no_less_than_the_first() {
    let (fixture, store) = fixture().await;
    let parent = fixture.start(&fixture.queued().await).await;
    fail(&fixture, &parent).await;
    store.allow_walks(0);
    let engine = fixture.engine.clone();
    let first = meanwhile(async move { engine.cascade_from(parent.id).await });
    until_walked(&store, 1).await;
    let parent = retry(&fixture, &fixture.get(&parent).await).await;
    let child = fixture.child_of(&parent).await;
    fail(&fixture, &parent).await;
    store.allow_walks(ALL);
    ended(first).await;
    fixture.engine.cascade_all().await.expect("cascades");
    assert_eq!(fixture.state(&child).await, "CANCELLED/Cancelled");
    assert!(!fixture.get(&parent).await.cascade_pending);
}

#[tokio::test]
async fn what_is_below_a_run_that_a_cascade_has_ended_ends_also_after_the_retry_of_the_one_above() {
    let (fixture, store) = fixture().await;
    let parent = fixture.start(&fixture.queued().await).await;
    let middle = fixture.start(&fixture.child_of(&parent).await).await;
    fail(&fixture, &parent).await;
    store.allow_walks(0);
    let engine = fixture.engine.clone();
    let cascades = meanwhile(async move { engine.cascade_all().await });
    until_walked(&store, 1).await;
    let leaf = fixture.child_of(&middle).await;
    store.allow_walks(1);
    until_walked(&store, 2).await;
    assert_eq!(fixture.state(&middle).await, "CANCELLING/Cancelling");
    // The process dies before it comes to the leaf.
    dies(cascades).await;
    retry(&fixture, &parent).await;
    store.allow_walks(ALL);
    assert_eq!(fixture.engine.cascade_all().await.expect("cascades"), 1);
    assert_eq!(fixture.state(&leaf).await, "CANCELLED/Cancelled");
    let message = fixture.get(&leaf).await.state.message;
    assert_eq!(message, format!("its parent {} ({}) was cancelled", middle.run_name, middle.id));
    assert!(!fixture.get(&middle).await.cascade_pending);
}

#[tokio::test]
async fn only_runs_with_something_left_below_them_are_marked_and_all_marks_fall() {
    let (fixture, store) = fixture().await;
    let parent = fixture.start(&fixture.queued().await).await;
    let (middle, done) = (fixture.child_of(&parent).await, fixture.child_of(&parent).await);
    let leaf = fixture.child_of(&middle).await;
    let done = fixture.start(&done).await;
    let orphan = fixture.child_of(&done).await;
    fixture.report(&done, Event::Completed).await.expect("completes");
    fixture.cancel(&parent).await;
    store.allow_walks(1);
    let engine = fixture.engine.clone();
    let cascade = meanwhile(async move { engine.cascade_from(parent.id).await });
    until_walked(&store, 2).await;
    for run in [&middle, &leaf, &orphan] {
        let run = fixture.get(run).await;
        assert!(!run.cascade_pending, "nothing is left below {run:?}");
    }
    store.allow_walks(ALL);
    assert_eq!(ended(cascade).await, 3);
    let upper = fixture.start(&fixture.queued().await).await;
    let lower = fixture.start(&fixture.child_of(&upper).await).await;
    let ended = fixture.start(&fixture.child_of(&lower).await).await;
    fixture.report(&ended, Event::Completed).await.expect("completes");
    fixture.cancel(&upper).await;
    assert_eq!(fixture.engine.cascade_from(upper.id).await.expect("cascades"), 1);
    for run in [&upper, &lower] {
        assert!(!fixture.get(run).await.cascade_pending);
    }
}

#[tokio::test]
async fn a_tree_cancel_that_is_stopped_leaves_nothing_open_below_what_it_has_cancelled() {
    let (fixture, store) = fixture().await;
    let root = fixture.queued().await;
    let running = fixture.start(&fixture.child_of(&root).await).await;
    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    fixture.advance(1);
    let late = fixture.child_of(&running).await;
    store.allow_walks(0);
    let engine = fixture.engine.clone();
    let carrying = meanwhile(async move { engine.carry_on_bulk().await });
    until_walked(&store, 1).await;
    assert_eq!(fixture.state(&running).await, "CANCELLING/Cancelling");
    fixture.engine.stop_bulk(&cancel.namespace, cancel.id).await.expect("stops");
    dies(carrying).await;
    fixture.report(&running, Event::Cancelled).await.expect("is over");
    store.allow_walks(ALL);
    assert_eq!(fixture.engine.cascade_all().await.expect("cascades"), 1);
    assert_eq!(fixture.state(&late).await, "CANCELLED/Cancelled");
}

#[tokio::test]
async fn a_run_that_is_retried_while_its_tree_is_cancelled_keeps_its_new_children() {
    let (fixture, store) = fixture().await;
    let root = fixture.queued().await;
    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    fixture.advance(1);
    let late = fixture.child_of(&root).await;
    store.allow_walks(0);
    let engine = fixture.engine.clone();
    let carrying = meanwhile(async move { engine.carry_on_bulk().await });
    until_walked(&store, 1).await;
    retry(&fixture, &root).await;
    store.allow_walks(ALL);
    ended(carrying).await;
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    let ended = fixture.engine.bulk_operation(&cancel.namespace, cancel.id).await.expect("is there");
    assert_eq!((ended.state, ended.n_done), (BulkState::Completed, 1));
    assert_eq!(fixture.state(&late).await, "SCHEDULED/Scheduled");
}

#[tokio::test]
async fn what_leads_down_to_an_open_run_is_not_deleted() {
    let (fixture, store) = fixture().await;
    let top = fixture.start(&fixture.queued().await).await;
    let middle = fixture.start(&fixture.child_of(&top).await).await;
    let open = fixture.child_of(&middle).await;
    fixture.report(&middle, Event::Completed).await.expect("completes");
    let kept =
        fixture.engine.delete(&ask(middle.id)).await.expect_err("the cancel of the top would not find it");
    assert!(matches!(kept, EngineError::OpenBelow { open: below, .. } if below == open.id), "{kept:?}");
    // With one that has nothing below it; also where the look below one of them breaks off, say as it takes too long.
    for broken in [None, Some(middle.id)] {
        let beside = fixture.start(&fixture.child_of(&top).await).await;
        fixture.report(&beside, Event::Completed).await.expect("completes");
        store.break_walks_below(broken);
        let delete = bulk(BulkAction::Delete, BulkTarget::Filter("state = COMPLETED".to_owned()));
        fixture.engine.start_bulk(&delete).await.expect("starts");
        while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
        let operation = fixture.engine.bulk_operation(&delete.namespace, delete.id).await.expect("is there");
        assert_eq!((operation.state, operation.n_done), (BulkState::Completed, 1));
        assert_eq!(operation.skipped, [("OPEN_RUNS_BELOW".to_owned(), 1)].into());
    }
    store.break_walks_below(None);

    fixture.cancel(&open).await;
    fixture.engine.delete(&ask(middle.id)).await.expect("is deleted");
}

#[tokio::test]
async fn a_tree_is_deleted_whole_where_its_uppermost_run_is_still_to_end_what_is_below() {
    let (fixture, _) = fixture().await;
    let top = fixture.start(&fixture.queued().await).await;
    let middle = fixture.start(&fixture.child_of(&top).await).await;
    let leaf = fixture.child_of(&middle).await;
    fixture.report(&middle, Event::Completed).await.expect("completes");
    fail(&fixture, &top).await;
    let delete = bulk(BulkAction::Delete, BulkTarget::Tree(top.id));
    fixture.engine.start_bulk(&delete).await.expect("starts");
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    // It was open when the operation was about what had ended.
    assert_eq!(fixture.state(&leaf).await, "CANCELLED/Cancelled");
    for run in [&top, &middle] {
        let gone = fixture.engine.get(&Namespace::default(), run.id).await;
        assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn what_is_to_end_with_a_run_ends_before_that_is_deleted() {
    let (fixture, store) = fixture().await;
    let (first, second) = (fixture.queued().await, fixture.queued().await);
    let (first, second) = (fixture.start(&first).await, fixture.start(&second).await);
    let (below_first, below_second) = (fixture.child_of(&first).await, fixture.child_of(&second).await);
    fail(&fixture, &first).await;
    fail(&fixture, &second).await;

    store.break_walks_below(Some(first.id));
    fixture.engine.delete(&ask(first.id)).await.expect_err("what is below it would be lost");
    let delete = bulk(BulkAction::Delete, BulkTarget::Filter("state = FAILED".to_owned()));
    fixture.engine.start_bulk(&delete).await.expect("starts");
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    let skipped =
        fixture.engine.bulk_operation(&delete.namespace, delete.id).await.expect("is there").skipped;
    assert_eq!(skipped, [("OPEN_RUNS_BELOW".to_owned(), 1)].into());
    assert_eq!(fixture.state(&first).await, "FAILED/Failed");

    store.break_walks_below(None);
    fixture.engine.delete(&ask(first.id)).await.expect("is deleted");
    assert_eq!(fixture.state(&below_first).await, "CANCELLED/Cancelled");
    let gone = fixture.engine.get(&Namespace::default(), second.id).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
    assert_eq!(fixture.state(&below_second).await, "CANCELLED/Cancelled");
}

#[tokio::test]
async fn a_tree_that_cannot_be_walked_does_not_keep_the_others_from_their_cascades() {
    let (fixture, store) = fixture().await;
    let mut parents = Vec::new();
    for _ in 0..3 {
        let parent = fixture.start(&fixture.queued().await).await;
        let child = fixture.child_of(&parent).await;
        fail(&fixture, &parent).await;
        parents.push((parent, child));
    }
    store.break_walks_below(Some(parents[0].0.id));
    let failed = fixture.engine.cascade_all().await.expect_err("one cannot be walked");
    assert!(matches!(failed, EngineError::Internal { .. }), "{failed:?}");
    let mut states = Vec::new();
    for (_, child) in &parents {
        states.push(fixture.state(child).await);
    }
    assert_eq!(states, ["SCHEDULED/Scheduled", "CANCELLED/Cancelled", "CANCELLED/Cancelled"]);
    store.break_walks_below(None);
    assert_eq!(fixture.engine.cascade_all().await.expect("cascades"), 1);
}
