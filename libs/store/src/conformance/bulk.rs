//! Bulk operations, and the runs that they are about.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidegate_model::{BulkOperationId, Namespace, RunId};
use tidegate_orchestration::{Draft, ParentPolicies, ParentPolicy, Phase, Policies, Run, StateType, create};

use super::fixture::*;
use crate::{
    Among, BulkAction, BulkOperation, BulkPlace, BulkState, BulkTarget, Comparison, Field, Filter, RunStore,
    Selection, Value,
};

fn operation() -> BulkOperation {
    BulkOperation {
        id: BulkOperationId::new(),
        namespace: Namespace::default(),
        action: BulkAction::Cancel,
        target: BulkTarget::Filter("name = \"etl\"".to_owned()),
        reason: "wrong \0 input".to_owned(),
        actor: Some("ada".to_owned()),
        pause_timeout: None,
        created_at: T0,
        state: BulkState::Running,
        ended_at: None,
        cursor: None,
        lease_until: T0,
        n_matched: 3,
        n_done: 0,
        skipped: BTreeMap::new(),
    }
}

async fn put(store: &Arc<dyn RunStore>, operation: &BulkOperation) -> bool {
    let mut tx = store.begin().await.unwrap();
    let is_new = tx.put_bulk_operation(operation).await.unwrap();
    tx.commit().await.unwrap();
    is_new
}

async fn update(store: &Arc<dyn RunStore>, operation: &BulkOperation) {
    let mut tx = store.begin().await.unwrap();
    tx.lock_bulk_operation(operation.id).await.unwrap().unwrap();
    tx.update_bulk_operation(operation).await.unwrap();
    tx.commit().await.unwrap();
}

/// Each field is read back; an id is used once; what has moved on is written.
pub async fn a_bulk_operation_is_kept_as_it_goes_on(store: Arc<dyn RunStore>) {
    let first = operation();
    assert!(put(&store, &first).await);
    assert!(!put(&store, &BulkOperation { reason: "again".to_owned(), ..first.clone() }).await);
    let namespace = Namespace::default();
    let read = store.get_bulk_operation(&namespace, first.id).await.unwrap().unwrap();
    assert_eq!(read, BulkOperation { reason: "wrong \u{fffd} input".to_owned(), ..first.clone() });
    assert_eq!(store.get_bulk_operation(&elsewhere(), first.id).await.unwrap(), None);

    let mut moved = read;
    moved.cursor = Some(BulkPlace { depth: 3, run: RunId::new() });
    moved.lease_until = after(5);
    moved.n_done = 2;
    moved.skipped = [("LOCAL_RUN".to_owned(), 1)].into();
    update(&store, &moved).await;
    assert_eq!(store.get_bulk_operation(&namespace, first.id).await.unwrap().unwrap(), moved);
    (moved.state, moved.ended_at) = (BulkState::Completed, Some(after(6)));
    update(&store, &moved).await;
    assert_eq!(store.get_bulk_operation(&namespace, first.id).await.unwrap().unwrap(), moved);

    let mut others = Vec::new();
    for action in BulkAction::ALL {
        let other = BulkOperation {
            action: *action,
            target: BulkTarget::Tree(RunId::new()),
            reason: String::new(),
            actor: None,
            pause_timeout: Some(Duration::from_secs(7)),
            ..operation()
        };
        assert!(put(&store, &other).await);
        others.insert(0, other);
    }
    assert!(put(&store, &BulkOperation { namespace: elsewhere(), ..operation() }).await);
    let page = store.list_bulk_operations(&namespace, None, 5).await.unwrap();
    assert_eq!(page, others);
    let page = store.list_bulk_operations(&namespace, Some(others[4].id), 5).await.unwrap();
    assert_eq!(page, [moved]);
}

/// The sweep gives what goes on and is nobody's, the longest without anyone first.
pub async fn a_bulk_operation_without_a_lease_is_swept(store: Arc<dyn RunStore>) {
    let (first, second, led) =
        (operation(), BulkOperation { lease_until: after(1), ..operation() }, operation());
    let over =
        BulkOperation { state: BulkState::Cancelled, ended_at: Some(T0), lease_until: T0, ..operation() };
    let led = BulkOperation { lease_until: after(10), ..led };
    for operation in [&second, &first, &led, &over] {
        assert!(put(&store, operation).await);
    }
    for expected in [Some(first.id), Some(second.id), None] {
        let mut tx = store.begin().await.unwrap();
        let found = tx.sweep_bulk_operation(after(2)).await.unwrap();
        assert_eq!(found.as_ref().map(|operation| operation.id), expected);
        if let Some(operation) = found {
            tx.update_bulk_operation(&BulkOperation { lease_until: after(20), ..operation }).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    // What another transaction has is left to it; SQLite lets in one transaction at a time.
    if store.kind() == "postgres" {
        let mut first = store.begin().await.unwrap();
        assert_eq!(first.sweep_bulk_operation(after(10)).await.unwrap().unwrap().id, led.id);
        let mut second = store.begin().await.unwrap();
        assert_eq!(second.sweep_bulk_operation(after(10)).await.unwrap(), None);
    }
    assert_eq!(store.purge(T0, T0, 10).await.unwrap(), 0, "the bound is exclusive");
    assert_eq!(store.purge(after(1), T0, 10).await.unwrap(), 1);
    assert_eq!(store.get_bulk_operation(&Namespace::default(), over.id).await.unwrap(), None);
}

/// Every run of a selection, as they come in pages.
async fn select(store: &Arc<dyn RunStore>, selection: &Selection) -> Vec<RunId> {
    let mut found: Vec<BulkPlace> = Vec::new();
    loop {
        let page = store.select_runs(selection, found.last().copied(), 2).await.unwrap();
        let is_last = page.len() < 2;
        found.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(store.count_selected(selection).await.unwrap(), found.len() as u64);
    found.into_iter().map(|place| place.run).collect()
}

/// The deepest first.
fn upward(runs: &[&Run]) -> Vec<RunId> {
    let mut runs = runs.to_vec();
    runs.sort_unstable_by_key(|run| std::cmp::Reverse((run.depth, run.id)));
    runs.into_iter().map(|run| run.id).collect()
}

fn newest_first(runs: &[&Run]) -> Vec<RunId> {
    let mut ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}

/// A selection of a filter has those runs of its states that were there by its time.
pub async fn runs_are_selected_by_a_filter(store: Arc<dyn RunStore>) {
    let named = |name: &str| made(Draft { run_name: name.to_owned(), ..draft() });
    let mut wanted = [named("a"), named("a"), named("a"), named("a"), named("a")];
    wanted[3] = entered(&wanted[3], running(), T0);
    let [first, second, third, fourth, late] = &wanted;
    let late = Run { created_at: after(1), ..late.clone() };
    let (other, ended) = (named("b"), entered(&named("a"), Phase::Completed, T0));
    let foreign = Run { namespace: elsewhere(), ..named("a") };
    insert(&store, &[first, second, third, fourth, &late, &other, &ended, &foreign]).await;
    let mut selection = Selection {
        namespace: Namespace::default(),
        among: Among::Filter(Filter::Compare(Field::RunName, Comparison::Equal, Value::Text("a".to_owned()))),
        states: vec![StateType::Scheduled, StateType::Running],
        created_by: T0,
    };
    assert_eq!(select(&store, &selection).await, newest_first(&[first, second, third, fourth]));
    selection.states = vec![StateType::Completed];
    assert_eq!(select(&store, &selection).await, newest_first(&[&ended]));
    selection.states = Vec::new();
    assert_eq!(select(&store, &selection).await, []);
}

/// A selection of a tree has the run and all below it, with or without what is detached: a child before its parent, also where
/// a host whose clock was behind has made its id.
pub async fn runs_are_selected_by_a_tree(store: Arc<dyn RunStore>) {
    let early = RunId::new();
    let root = queued();
    let top = child(&root);
    let policies = Policies { parent: ParentPolicies::all(ParentPolicy::Detach), ..Policies::default() };
    let apart = Draft { parent: Some(top.id), policies, ..draft() };
    let apart = create(apart, Some(&top), T0).unwrap().run;
    let (beside, middle, apart_child) = (child(&root), child(&top), child(&apart));
    let ended = child(&top);
    let (leaf, orphan) = (Run { id: early, ..child(&middle) }, child(&ended));
    let ended = entered(&ended, Phase::Completed, T0);
    let late = Run { created_at: after(1), ..child(&middle) };
    insert(&store, &[&root, &top, &beside, &middle, &apart, &apart_child, &ended, &leaf, &orphan, &late])
        .await;
    let selection = |run: &Run, with_detached| Selection {
        namespace: Namespace::default(),
        among: Among::Tree { run_id: run.id, with_detached },
        states: vec![StateType::Scheduled],
        created_by: T0,
    };
    let found = select(&store, &selection(&top, false)).await;
    assert_eq!(found, upward(&[&top, &middle, &leaf, &orphan]));
    let found = select(&store, &selection(&top, true)).await;
    assert_eq!(found, upward(&[&top, &middle, &apart, &apart_child, &leaf, &orphan]));
    let done = Selection { states: vec![StateType::Completed], ..selection(&top, true) };
    assert_eq!(select(&store, &done).await, [ended.id]);
    let foreign = Selection { namespace: elsewhere(), ..selection(&top, true) };
    assert_eq!(select(&store, &foreign).await, []);
}
