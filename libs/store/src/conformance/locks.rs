//! Who waits for whom. SQLite lets in one transaction at a time, so there the second waits at its beginning.

use std::sync::Arc;

use tidegate_model::RunId;
use tidegate_orchestration::{Draft, ParentPolicies, ParentPolicy, Phase, Policies, Run, create};
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

/// Open children come by id up to the limit; ended, cancelling and detached ones do not.
pub async fn open_children_come_by_id(store: Arc<dyn RunStore>) {
    let (parent, other, stranger) = (queued(), queued(), queued());
    let open = [child(&parent), child(&other), child(&parent)];
    let started = entered(&child(&parent), running(), T0);
    let ended = entered(&child(&parent), Phase::Completed, T0);
    let cancelling = entered(&child(&parent), Phase::Cancelling { holder: worker(), close_at: after(1) }, T0);
    let policies = Policies { parent: ParentPolicies::all(ParentPolicy::Detach), ..Policies::default() };
    let detached = Draft { parent: Some(parent.id), policies, ..draft() };
    let detached = create(detached, Some(&parent), T0).unwrap().run;
    let grandchild = child(&open[0]);
    let strangers = child(&stranger);
    let [first, second, third] = &open;
    insert(&store, &[&parent, &other, &stranger, third, second, first]).await;
    insert(&store, &[&started, &ended, &cancelling, &detached, &grandchild, &strangers]).await;

    let mut tx = store.begin().await.unwrap();
    let parents = [other.id, parent.id];
    let children = tx.open_children(&parents, 10).await.unwrap();
    assert_eq!(children, [first.id, second.id, third.id, started.id]);
    let children = tx.open_children(&parents, 2).await.unwrap();
    assert_eq!(children, [first.id, second.id]);
    assert_eq!(tx.open_children(&[], 2).await.unwrap(), []);
}

/// A child goes on or not by how its parent ended.
pub async fn open_children_depend_on_the_parents_end(store: Arc<dyn RunStore>) {
    let parents =
        [Phase::Cancelled, Phase::Failed, Phase::Crashed].map(|phase| entered(&queued(), phase, T0));
    let detach = ParentPolicy::Detach;
    let policies = [
        ParentPolicies { on_cancel: detach, ..ParentPolicies::default() },
        ParentPolicies { on_failure: detach, ..ParentPolicies::default() },
        ParentPolicies { on_crash: detach, ..ParentPolicies::default() },
    ];
    for (parent_idx, parent) in parents.iter().enumerate() {
        let open = Run { state: queued().state, ..parent.clone() };
        let children = policies.map(|parent| {
            let policies = Policies { parent, ..Policies::default() };
            create(Draft { parent: Some(open.id), policies, ..draft() }, Some(&open), T0).unwrap().run
        });
        insert(&store, &[parent, &children[0], &children[1], &children[2]]).await;
        let mut tx = store.begin().await.unwrap();
        let found = tx.open_children(&[parent.id], 10).await.unwrap();
        let mut expected = ids(&children);
        expected.remove(parent_idx);
        assert_eq!(found, expected, "{:?}", parent.state);
    }
}
