//! Who waits for whom. SQLite lets in one transaction at a time, so there the second waits at its beginning.

use std::sync::Arc;

use tidegate_model::RunId;
use tidegate_orchestration::Run;
use tokio::task::JoinSet;

use super::fixture::*;
use crate::RunStore;

/// Locks a run in a new transaction, adds one to its attempt, and commits.
async fn start_again(store: Arc<dyn RunStore>, id: RunId) {
    let mut tx = store.begin().await.unwrap();
    let run = tx.lock_runs(&[id]).await.unwrap().remove(0);
    tx.update_runs(&[(Run { attempt: run.attempt + 1, ..run }, None)]).await.unwrap();
    tx.commit().await.unwrap();
}

/// The second transaction waits for the first, and then sees what it did.
pub async fn a_locked_run_makes_the_second_wait(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    let mut first = store.begin().await.unwrap();
    first.lock_runs(&[run.id]).await.unwrap();
    let mut second = Box::pin(start_again(Arc::clone(&store), run.id));
    assert!(is_waiting(&mut second).await);
    first.update_runs(&[(Run { attempt: 10, ..run.clone() }, None)]).await.unwrap();
    first.commit().await.unwrap();
    within(second).await;
    assert_eq!(get(&store, run.id).await.attempt, 11);

    let mut dropped = store.begin().await.unwrap();
    dropped.lock_runs(&[run.id]).await.unwrap();
    let mut second = Box::pin(start_again(Arc::clone(&store), run.id));
    assert!(is_waiting(&mut second).await);
    drop(dropped);
    within(second).await;
    assert_eq!(get(&store, run.id).await.attempt, 12);
}

/// A run that is shared cannot be changed until the commit.
pub async fn a_shared_run_makes_a_change_wait(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    let mut first = store.begin().await.unwrap();
    first.share_runs(&[run.id]).await.unwrap();
    let mut second = Box::pin(start_again(Arc::clone(&store), run.id));
    assert!(is_waiting(&mut second).await);
    first.commit().await.unwrap();
    within(second).await;
    assert_eq!(get(&store, run.id).await.attempt, 1);
}

/// Batches that name the same runs in opposite orders do not deadlock, and none of their changes is lost.
pub async fn locks_of_two_batches_do_not_cross(store: Arc<dyn RunStore>) {
    const N_ROUNDS: u32 = 20;
    let runs: Vec<Run> = (0..50).map(|_| queued()).collect();
    insert(&store, &runs.iter().collect::<Vec<_>>()).await;
    let upward = ids(&runs);
    let downward: Vec<RunId> = upward.iter().rev().copied().collect();
    let mut lanes = JoinSet::new();
    for ids in [upward.clone(), downward] {
        let store = Arc::clone(&store);
        lanes.spawn(async move {
            for _ in 0..N_ROUNDS {
                let mut tx = store.begin().await.unwrap();
                let locked = tx.lock_runs(&ids).await.unwrap();
                assert!(locked.is_sorted_by_key(|run| run.id));
                let changed: Vec<_> =
                    locked.into_iter().map(|run| (Run { attempt: run.attempt + 1, ..run }, None)).collect();
                tx.update_runs(&changed).await.unwrap();
                tx.commit().await.unwrap();
            }
        });
    }
    within(lanes.join_all()).await;
    let attempts = store.get_runs(None, &upward).await.unwrap();
    assert!(attempts.iter().all(|run| run.attempt == 2 * N_ROUNDS));
}
