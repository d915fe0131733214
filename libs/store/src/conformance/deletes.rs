//! Runs are deleted with all that is theirs.

use std::{slice::from_ref, sync::Arc};

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::{Failure, Phase, Run};

use super::{fixture::*, keys::reservation};
use crate::{CacheEntry, Filter, InputKind, KeyReservation, ListQuery, NewRun, RunInput, RunStore};

/// A run that ended, under a new id.
fn ended() -> Run {
    entered(&queued(), Phase::Completed, after(1))
}

fn cached(run: RunId) -> CacheEntry {
    CacheEntry {
        namespace: Namespace::default(),
        key: format!("square-{run}"),
        run_id: run,
        expires_at: after(100),
    }
}

/// A reservation of the key that `insert_with_all` gives to a run.
pub fn key_of(run: RunId) -> KeyReservation {
    KeyReservation { run_id: run, ..reservation("task:resize", &run.to_string()) }
}

/// Inserts a run with something in every table.
pub async fn insert_with_all(store: &Arc<dyn RunStore>, run: &Run) {
    let failure = Failure {
        error_type: "ValueError".to_owned(),
        message: "no".to_owned(),
        traceback: "line 1".to_owned(),
        non_retryable: false,
    };
    let input = RunInput {
        run_id: run.id,
        key: "approve".to_owned(),
        kind: InputKind::Request,
        data: payload(b"sure?"),
    };
    let mut tx = store.begin().await.unwrap();
    tx.reserve_keys(&[key_of(run.id)], T0).await.unwrap();
    let new = NewRun { run: run.clone(), parameters: Some(payload(b"7")), job: None, enqueued_at: None };
    tx.insert_runs(&[new]).await.unwrap();
    tx.put_results(&[(run.id, payload(b"49"))]).await.unwrap();
    tx.put_failures(&[(run.id, 1, failure)]).await.unwrap();
    tx.put_inputs(&[input]).await.unwrap();
    tx.put_cache_keys(&[cached(run.id)]).await.unwrap();
    tx.append_events(&[event(run, 1), event(run, 2)]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn delete(store: &Arc<dyn RunStore>, ids: &[RunId]) -> usize {
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(ids).await.unwrap();
    let n_deleted = tx.delete_runs(ids).await.unwrap();
    tx.commit().await.unwrap();
    n_deleted
}

/// How many things there are of a run: row, parameters, result, failure, inputs, events, the owner of its key, and its
/// place in the cache.
pub async fn n_things(store: &Arc<dyn RunStore>, run: &Run) -> usize {
    let details = store.get_details(None, &[run.id]).await.unwrap();
    let of_details = details.iter().map(|detail| {
        1 + usize::from(detail.parameters.is_some())
            + usize::from(detail.result.is_some())
            + usize::from(detail.failure.is_some())
    });
    let mut tx = store.begin().await.unwrap();
    let n_parameters = tx.get_parameters(&[run.id]).await.unwrap().len();
    let owner = tx.find_keys(&[key_of(run.id)], T0).await.unwrap()[0];
    let cached = tx.find_cache_keys(&[(Namespace::default(), cached(run.id).key)], T0).await.unwrap()[0];
    drop(tx);
    of_details.sum::<usize>()
        + n_parameters
        + store.get_inputs(&inputs_of(run)).await.unwrap().len()
        + store.list_events(&run.namespace, run.id, 0, 10).await.unwrap().len()
        + usize::from(owner.is_some())
        + usize::from(cached.is_some())
}

/// Nothing that a reader could ask for is left; other runs keep everything; who follows the feed goes on behind it.
pub async fn nothing_of_a_deleted_run_is_left(store: Arc<dyn RunStore>) {
    let (first, second, kept) = (ended(), ended(), ended());
    let start = store.feed_end().await.unwrap();
    for run in [&first, &second, &kept] {
        insert_with_all(&store, run).await;
    }
    let all = n_things(&store, &kept).await;
    assert_eq!(all, 10);
    let read = read_feed(&store, &start, None, 3).await;

    assert_eq!(delete(&store, &[second.id, first.id, RunId::new()]).await, 2);
    assert_eq!(n_things(&store, &first).await, 0);
    assert_eq!(n_things(&store, &second).await, 0);
    assert_eq!(n_things(&store, &kept).await, all);
    let every_run = ListQuery::newest(Namespace::default(), Filter::And(Vec::new()), 10);
    assert_eq!(store.list_runs(&every_run).await.unwrap(), from_ref(&kept));
    let rest = read_feed(&store, &read[2].cursor, None, 2).await;
    assert!(rest.iter().all(|told| told.event.run_id == kept.id));

    // A row that comes anew under the same id has nothing of the old one.
    insert(&store, &[&first]).await;
    assert_eq!(n_things(&store, &first).await, 1);
    assert_eq!(delete(&store, &[]).await, 0);
}

/// An open run, and one that is still to end what is below it, stay with all that is theirs, also in the middle of runs
/// that go.
pub async fn what_has_not_ended_is_not_deleted(store: Arc<dyn RunStore>) {
    let ending = Run { cascade_pending: true, ..ended() };
    let runs = [queued(), ended(), entered(&queued(), running(), T0), ending];
    for run in &runs {
        insert_with_all(&store, run).await;
    }
    assert_eq!(delete(&store, &ids(&runs)).await, 1);
    assert_eq!(n_things(&store, &runs[0]).await, 10);
    assert_eq!(n_things(&store, &runs[1]).await, 0);
    assert_eq!(n_things(&store, &runs[2]).await, 10);
    assert_eq!(n_things(&store, &runs[3]).await, 10);
}

/// The key of a run that is gone is free: whoever comes next owns it, also who came while the run was being deleted.
pub async fn a_key_of_a_deleted_run_is_given_anew(store: Arc<dyn RunStore>) {
    let run = ended();
    insert_with_all(&store, &run).await;
    let key = KeyReservation { run_id: RunId::new(), ..key_of(run.id) };
    let mut deleting = store.begin().await.unwrap();
    deleting.lock_runs(&[run.id]).await.unwrap();
    assert_eq!(deleting.delete_runs(&[run.id]).await.unwrap(), 1);

    let mut reserving = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        let owners = tx.reserve_keys(from_ref(&key), T0).await.unwrap();
        tx.commit().await.unwrap();
        owners[0].run_id
    });
    assert!(is_waiting(&mut reserving).await);
    deleting.commit().await.unwrap();
    assert_eq!(within(reserving).await, key.run_id);
}

/// A delete lives and dies with its transaction.
pub async fn a_dropped_delete_deletes_nothing(store: Arc<dyn RunStore>) {
    let run = ended();
    insert_with_all(&store, &run).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.delete_runs(&[run.id]).await.unwrap(), 1);
    drop(tx);
    assert_eq!(n_things(&store, &run).await, 10);
}
