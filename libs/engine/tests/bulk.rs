//! What is done to many runs at once.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Fixture, start_engine, task};
use futures::future::join_all;
use tidegate_engine::{Bulk, EngineError};
use tidegate_model::{BulkOperationId, Clock, Namespace, RunId, limits};
use tidegate_orchestration::{Draft, Event, Failure, ParentPolicies, ParentPolicy, Placement, Run, create};
use tidegate_store::{BulkAction, BulkOperation, BulkState, BulkTarget, NewRun};
use tokio::task::JoinSet;

fn bulk(action: BulkAction, target: BulkTarget) -> Bulk {
    Bulk {
        id: BulkOperationId::new(),
        namespace: Namespace::default(),
        action,
        target,
        reason: "enough".to_owned(),
        actor: Some("ada".to_owned()),
        pause_timeout: None,
        expected_count: None,
    }
}

fn filter(text: &str) -> BulkTarget {
    BulkTarget::Filter(text.to_owned())
}

async fn stands(fixture: &Fixture, bulk: &Bulk) -> BulkOperation {
    fixture.engine.bulk_operation(&bulk.namespace, bulk.id).await.expect("is there")
}

/// Starts it and carries it on to its end. Gives how many it was to be about, was done to, and was not.
async fn run(fixture: &Fixture, bulk: &Bulk) -> (u64, u64, u64) {
    let n_counted = fixture.engine.count_bulk(bulk).await.expect("counts");
    let started = fixture.engine.start_bulk(bulk).await.expect("starts");
    assert_eq!(started.n_matched, n_counted, "a dry run tells the truth");
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    let ended = stands(fixture, bulk).await;
    assert_eq!(ended.state, BulkState::Completed);
    assert!(ended.ended_at.is_some());
    (ended.n_matched, ended.n_done, ended.skipped.values().sum())
}

/// Inserts runs as they are, some thousand at a time: what is tested is not how they came to be.
async fn insert(fixture: &Fixture, runs: &[Run]) {
    for chunk in runs.chunks(5_000) {
        let rows: Vec<NewRun> = chunk
            .iter()
            .map(|run| NewRun {
                run: run.clone(),
                parameters: None,
                job: None,
                enqueued_at: Some(run.created_at),
            })
            .collect();
        let mut tx = fixture.store.begin().await.expect("begins");
        tx.insert_runs(&rows).await.expect("inserts");
        tx.commit().await.expect("commits");
    }
}

fn child_of(parent: &Run) -> Run {
    let draft = Draft { parent: Some(parent.id), id: RunId::new(), ..task().draft };
    create(draft, Some(parent), parent.created_at).expect("is allowed").run
}

#[tokio::test]
async fn a_tree_is_cancelled_but_for_what_is_detached() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let top = fixture.child_of(&root).await;
    let running = fixture.start(&fixture.child_of(&top).await).await;
    let leaf = fixture.child_of(&running).await;
    let mut detached = task();
    detached.draft.parent = Some(top.id);
    detached.draft.policies.parent = ParentPolicies::all(ParentPolicy::Detach);
    let detached = fixture.create(detached).await.expect("is created").run;
    let below_detached = fixture.child_of(&detached).await;
    let ended = fixture.start(&fixture.child_of(&top).await).await;
    fixture.report(&ended, Event::Completed).await.expect("completes");

    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(top.id));
    assert_eq!(run(&fixture, &cancel).await, (3, 3, 0));
    for (run, state) in [
        (&root, "SCHEDULED/Scheduled"),
        (&top, "CANCELLED/Cancelled"),
        (&running, "CANCELLING/Cancelling"),
        (&leaf, "CANCELLED/Cancelled"),
        (&detached, "SCHEDULED/Scheduled"),
        (&below_detached, "SCHEDULED/Scheduled"),
        (&ended, "COMPLETED/Completed"),
    ] {
        assert_eq!(fixture.state(run).await, state);
    }
    let told = fixture.store.list_events(&Namespace::default(), leaf.id, 1, 10).await.expect("reads");
    assert_eq!((told[0].message.as_str(), told[0].actor.as_deref()), ("enough", Some("ada")));
    fixture.until_noted(|notes| notes.stopped.lock().unwrap().iter().any(|stop| stop.grace.is_some())).await;
    assert_eq!(fixture.engine.cascade_all().await.expect("sweeps"), 0, "it has seen to what is below itself");
}

#[tokio::test]
async fn what_executes_is_stopped_before_deliveries_are_forgotten() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let waiting = fixture.child_of(&root).await;
    let running = fixture.start(&fixture.child_of(&root).await).await;
    fixture.cancel(&root).await;
    fixture.engine.cascade_from(root.id).await.expect("cancels what is below");
    let order = || -> Vec<RunId> {
        let stopped = fixture.notes.stopped.lock().unwrap();
        stopped.iter().map(|stop| stop.run_id).filter(|id| *id != root.id).collect()
    };
    fixture.until_noted(|_| order().len() == 2).await;
    assert_eq!(order(), [running.id, waiting.id]);
}

#[tokio::test]
async fn a_child_that_is_started_during_the_cancel_of_its_tree_ends_with_it() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let first = fixture.child_of(&root).await;
    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    fixture.advance(1);
    let late = fixture.child_of(&first).await;
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    assert_eq!(fixture.state(&late).await, "CANCELLED/Cancelled");
    assert_eq!(stands(&fixture, &cancel).await.n_done, 2, "it was not there when it was counted");
}

#[tokio::test]
async fn what_a_run_started_that_ends_by_itself_during_the_cancel_of_its_tree_ends_with_it() {
    let fixture = Fixture::new().await;
    let root = fixture.start(&fixture.queued().await).await;
    let middle = fixture.start(&fixture.child_of(&root).await).await;
    fixture.report(&root, Event::Completed).await.expect("completes");
    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    fixture.advance(1);
    let late = fixture.child_of(&middle).await;
    fixture.report(&middle, Event::Completed).await.expect("completes");
    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    assert_eq!(stands(&fixture, &cancel).await.state, BulkState::Completed);
    assert_eq!(fixture.state(&late).await, "CANCELLED/Cancelled");
    assert_eq!(fixture.state(&middle).await, "COMPLETED/Completed");
    assert!(!fixture.get(&root).await.cascade_pending);
}

#[tokio::test]
async fn what_matches_is_paused_resumed_retried_and_deleted() {
    let fixture = Fixture::new().await;
    let mut runs = Vec::new();
    for idx in 0..6 {
        let mut create = task();
        create.draft.tags = vec!["nightly".to_owned()];
        if idx == 5 {
            create.draft.placement = Placement::Session(fixture.session().await);
        }
        runs.push(fixture.create(create).await.expect("is created").run);
    }
    let other = fixture.queued().await;
    let started = fixture.start(&runs[0]).await;
    fixture.cancel(&runs[1]).await;

    let pause = Bulk {
        pause_timeout: Some(Duration::from_secs(60)),
        ..bulk(BulkAction::Pause, filter("tags:nightly"))
    };
    assert_eq!(run(&fixture, &pause).await, (5, 4, 1));
    assert_eq!(stands(&fixture, &pause).await.skipped, [("LOCAL_RUN".to_owned(), 1)].into());
    assert!(fixture.report(&started, Event::Completed).await.is_err(), "it was taken from its worker");
    assert_eq!(fixture.state(&other).await, "SCHEDULED/Scheduled");
    let late = {
        fixture.advance(1);
        let mut create = task();
        create.draft.tags = vec!["nightly".to_owned()];
        fixture.create(create).await.expect("is created").run
    };

    let resume = bulk(BulkAction::Resume, filter("tags:nightly"));
    assert_eq!(run(&fixture, &resume).await, (4, 4, 0));
    assert_eq!(fixture.state(&runs[2]).await, "SCHEDULED/Resuming");
    fixture.until_noted(|notes| notes.enqueued.lock().unwrap().iter().any(|(id, _)| *id == runs[2].id)).await;

    for (run, event) in [(&runs[2], Event::Completed), (&runs[3], Event::Failed(Failure::default()))] {
        let running = fixture.start(&fixture.get(run).await).await;
        fixture.report(&running, event).await.expect("ends");
    }
    let retry = bulk(BulkAction::Retry, filter("tags:nightly"));
    assert_eq!(run(&fixture, &retry).await, (2, 2, 0), "the cancelled one and the failed one");
    assert_eq!(fixture.state(&runs[2]).await, "COMPLETED/Completed");
    assert_eq!(fixture.state(&runs[1]).await, "SCHEDULED/AwaitingRetry");

    let delete = bulk(BulkAction::Delete, filter("tags:nightly"));
    assert_eq!(run(&fixture, &delete).await, (1, 1, 0));
    let gone = fixture.engine.get(&Namespace::default(), runs[2].id).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })));

    let cancel = bulk(BulkAction::Cancel, filter("tags:nightly AND state = SCHEDULED"));
    assert_eq!(run(&fixture, &cancel).await, (5, 5, 0));
    assert_eq!(fixture.state(&late).await, "CANCELLED/Cancelled");
    assert_eq!(fixture.state(&other).await, "SCHEDULED/Scheduled");
}

#[tokio::test]
async fn a_delete_of_a_tree_tells_what_it_has_not_met() {
    let fixture = Fixture::new().await;
    let root = fixture.start(&fixture.queued().await).await;
    let child = fixture.start(&fixture.child_of(&root).await).await;
    let leaf = fixture.start(&fixture.child_of(&child).await).await;
    for run in [&leaf, &child, &root] {
        fixture.report(run, Event::Completed).await.expect("completes");
    }
    let delete = bulk(BulkAction::Delete, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&delete).await.expect("starts");
    // What leads to the leaf goes before the operation comes to it.
    let mut tx = fixture.store.begin().await.expect("begins");
    assert_eq!(tx.delete_runs(&[child.id]).await.expect("deletes"), 1);
    tx.commit().await.expect("commits");

    while fixture.engine.carry_on_bulk().await.expect("goes on") > 0 {}
    let ended = stands(&fixture, &delete).await;
    assert_eq!((ended.state, ended.n_matched, ended.n_done), (BulkState::Completed, 3, 1));
    assert_eq!(ended.skipped.get("RUN_NOT_FOUND"), Some(&2), "the child that is gone, and the leaf below it");
    assert_eq!(fixture.state(&leaf).await, "COMPLETED/Completed");
}

#[tokio::test]
async fn what_matches_ends_with_all_that_is_below_it() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.run_name = "top".to_owned();
    let top = fixture.create(create).await.expect("is created").run;
    let leaf = fixture.child_of(&fixture.child_of(&top).await).await;
    assert_eq!(run(&fixture, &bulk(BulkAction::Cancel, filter("run_name = \"top\""))).await, (1, 1, 0));
    assert_eq!(fixture.engine.cascade_all().await.expect("sweeps"), 2);
    assert_eq!(fixture.state(&leaf).await, "CANCELLED/Cancelled");
}

#[tokio::test]
async fn an_operation_is_started_once_and_goes_no_further_when_it_is_stopped() {
    let fixture = Fixture::new().await;
    let runs = join_all((0..3).map(|_| fixture.queued())).await;
    let cancel = bulk(BulkAction::Cancel, filter("state = SCHEDULED"));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    let again = Bulk { action: BulkAction::Delete, ..cancel.clone() };
    let known = fixture.engine.start_bulk(&again).await.expect("is known");
    assert_eq!(known.action, BulkAction::Cancel, "the first one stands");
    let elsewhere: Namespace = "elsewhere".parse().expect("is a name");
    let foreign = Bulk { namespace: elsewhere.clone(), ..cancel.clone() };
    let refused = fixture.engine.start_bulk(&foreign).await.expect_err("is taken");
    assert!(matches!(refused, EngineError::BulkOperationIdUsed { .. }), "{refused:?}");
    let unknown = fixture.engine.stop_bulk(&elsewhere, cancel.id).await.expect_err("is another's");
    assert!(matches!(unknown, EngineError::BulkOperationNotFound { .. }), "{unknown:?}");

    let stopped = fixture.engine.stop_bulk(&cancel.namespace, cancel.id).await.expect("stops");
    assert_eq!((stopped.state, stopped.n_done), (BulkState::Cancelled, 0));
    assert_eq!(fixture.engine.carry_on_bulk().await.expect("finds none"), 0);
    let again = fixture.engine.stop_bulk(&cancel.namespace, cancel.id).await.expect("is over");
    assert_eq!(again, stopped);
    assert_eq!(fixture.state(&runs[0]).await, "SCHEDULED/Scheduled");

    let tree = bulk(BulkAction::Cancel, BulkTarget::Tree(RunId::new()));
    let unknown = fixture.engine.count_bulk(&tree).await.expect_err("there is no such run");
    assert!(matches!(unknown, EngineError::NotFound { .. }), "{unknown:?}");
    let wrong = fixture.engine.count_bulk(&bulk(BulkAction::Pause, filter("stat = 7"))).await;
    assert!(matches!(wrong, Err(EngineError::InvalidFilter { .. })), "{wrong:?}");
}

#[tokio::test]
async fn what_a_dead_process_has_left_is_carried_on_and_each_run_counts_once() {
    const N_CHILDREN: usize = 12_000;

    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let children: Vec<Run> = (0..N_CHILDREN).map(|_| child_of(&root)).collect();
    insert(&fixture, &children).await;
    let cancel = bulk(BulkAction::Cancel, BulkTarget::Tree(root.id));
    fixture.engine.start_bulk(&cancel).await.expect("starts");
    // Dropped between two steps, or within one.
    let mut first = JoinSet::new();
    let engine = fixture.engine.clone();
    first.spawn(async move { engine.carry_on_bulk().await });
    while stands(&fixture, &cancel).await.n_done == 0 {
        tokio::task::yield_now().await;
    }
    first.shutdown().await;
    let broken_off = stands(&fixture, &cancel).await;
    assert!(broken_off.state == BulkState::Running && broken_off.n_done < N_CHILDREN as u64);

    let mut tasks = JoinSet::new();
    let clock = Arc::clone(&fixture.clock) as Arc<dyn Clock>;
    let second = start_engine(Arc::clone(&fixture.store), Arc::clone(&fixture.notes), clock, &mut tasks);
    assert_eq!(second.carry_on_bulk().await.expect("looks"), 0, "the first one may live");
    fixture.advance(6);
    while second.carry_on_bulk().await.expect("goes on") > 0 {}
    let ended = stands(&fixture, &cancel).await;
    assert_eq!((ended.state, ended.n_done), (BulkState::Completed, N_CHILDREN as u64 + 1));
    assert_eq!(ended.skipped.len(), 0);
    for child in children.iter().step_by(997) {
        let history: Vec<_> = fixture.history(child).await.into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(history, [2], "once, and next to what was there");
    }
}

#[tokio::test]
async fn a_hundred_thousand_descendants_wide_and_deep_end_at_one_call() {
    const N_WIDE: usize = 100_000;

    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let mut runs: Vec<Run> = (0..N_WIDE).map(|_| child_of(&root)).collect();
    for _ in 1..limits::MAX_TREE_DEPTH {
        runs.push(child_of(runs.last().expect("has one")));
    }
    insert(&fixture, &runs).await;
    let all = bulk(BulkAction::Pause, BulkTarget::Tree(root.id));
    assert_eq!(fixture.engine.count_bulk(&all).await.expect("counts"), runs.len() as u64 + 1);
    fixture.cancel(&root).await;
    assert_eq!(fixture.engine.cascade_from(root.id).await.expect("cascades"), runs.len());
    assert_eq!(fixture.engine.count_bulk(&all).await.expect("counts"), 0);
}
