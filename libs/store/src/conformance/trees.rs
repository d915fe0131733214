//! Runs below others.

use std::sync::Arc;

use tidegate_model::RunId;
use tidegate_orchestration::{Draft, ParentPolicies, ParentPolicy, Phase, Policies, Run, create};

use super::fixture::*;
use crate::{Below, RunStore};

/// A run below another that goes on where that one ends.
fn detached(parent: &Run, parents: ParentPolicies) -> Run {
    let policies = Policies { parent: parents, ..Policies::default() };
    create(Draft { parent: Some(parent.id), policies, ..draft() }, Some(parent), T0).unwrap().run
}

async fn open_below(store: &Arc<dyn RunStore>, above: &[RunId]) -> Vec<Below> {
    store.open_below(above, 10_000).await.unwrap()
}

fn below(above: &Run, runs: &[&Run]) -> Vec<Below> {
    runs.iter().map(|run| Below { id: run.id, above: above.id }).collect()
}

/// Open runs come by id up to the limit; ended, cancelling and detached ones do not.
pub async fn open_runs_below_come_by_id(store: Arc<dyn RunStore>) {
    let (parent, stranger) = (queued(), queued());
    let open = [child(&parent), child(&parent), child(&parent)];
    let started = entered(&child(&parent), running(), T0);
    let ended = entered(&child(&parent), Phase::Completed, T0);
    let cancelling = entered(&child(&parent), Phase::Cancelling { holder: worker(), close_at: after(1) }, T0);
    let detached = detached(&parent, ParentPolicies::all(ParentPolicy::Detach));
    let strangers = child(&stranger);
    let [first, second, third] = &open;
    insert(&store, &[&parent, &stranger, third, second, first]).await;
    insert(&store, &[&started, &ended, &cancelling, &detached, &strangers]).await;

    let found = open_below(&store, &[parent.id]).await;
    assert_eq!(found, below(&parent, &[first, second, third, &started]));
    let found = store.open_below(&[parent.id], 2).await.unwrap();
    assert_eq!(found, below(&parent, &[first, second]));
    assert_eq!(open_below(&store, &[]).await, []);
    assert_eq!(open_below(&store, &[first.id, RunId::new()]).await, []);
}

/// A child goes on or not by how its parent ended; what is deeper by cancel.
pub async fn open_runs_below_depend_on_how_the_one_above_ended(store: Arc<dyn RunStore>) {
    let detach = ParentPolicy::Detach;
    let policies = [
        ParentPolicies { on_cancel: detach, ..ParentPolicies::default() },
        ParentPolicies { on_failure: detach, ..ParentPolicies::default() },
        ParentPolicies { on_crash: detach, ..ParentPolicies::default() },
    ];
    for (parent_idx, phase) in [Phase::Cancelled, Phase::Failed, Phase::Crashed].into_iter().enumerate() {
        let open = queued();
        let parent = entered(&open, phase, T0);
        let children = policies.map(|policies| detached(&open, policies));
        let grandchildren =
            children.each_ref().map(|child| policies.map(|policies| detached(child, policies)));
        insert(&store, &[&parent]).await;
        insert(&store, &children.iter().chain(grandchildren.iter().flatten()).collect::<Vec<_>>()).await;
        let mut expected = Vec::new();
        for (child_idx, child) in children.iter().enumerate() {
            if child_idx != parent_idx {
                expected.extend([child.id, grandchildren[child_idx][1].id, grandchildren[child_idx][2].id]);
            }
        }
        expected.sort_unstable();
        let found: Vec<RunId> = open_below(&store, &[parent.id]).await.iter().map(|below| below.id).collect();
        assert_eq!(found, expected, "{:?}", parent.state);
    }
}

/// What an ended run has left open is found; what a detached run has is its own.
pub async fn open_runs_are_found_below_ended_ones_but_not_below_detached_ones(store: Arc<dyn RunStore>) {
    let root = queued();
    let (done, stopping) = (child(&root), child(&root));
    let apart = detached(&root, ParentPolicies::all(ParentPolicy::Detach));
    let (orphan, waiting, apart_child) = (child(&done), child(&stopping), child(&apart));
    let done = entered(&done, Phase::Completed, T0);
    let stopping = entered(&stopping, Phase::Cancelling { holder: worker(), close_at: after(1) }, T0);
    insert(&store, &[&root, &done, &stopping, &apart, &orphan, &waiting, &apart_child]).await;
    assert_eq!(open_below(&store, &[root.id]).await, below(&root, &[&orphan, &waiting]));
}

/// None is given twice.
pub async fn a_run_below_two_is_given_for_the_lower_one(store: Arc<dyn RunStore>) {
    let upper = queued();
    let lower = child(&upper);
    let (beside, under) = (child(&upper), child(&lower));
    insert(&store, &[&upper, &lower, &beside, &under]).await;
    let mut expected = below(&upper, &[&beside]);
    expected.extend(below(&lower, &[&under]));
    expected.sort_unstable_by_key(|below| below.id);
    assert_eq!(open_below(&store, &[upper.id, lower.id]).await, expected);
}

/// As deep as a tree may be.
pub async fn a_deep_chain_is_walked_to_its_end(store: Arc<dyn RunStore>) {
    let mut chain = vec![queued()];
    for _ in 0..tidegate_model::limits::MAX_TREE_DEPTH {
        chain.push(child(chain.last().unwrap()));
    }
    insert(&store, &chain.iter().collect::<Vec<_>>()).await;
    let found = open_below(&store, &[chain[0].id]).await;
    assert_eq!(found, below(&chain[0], &chain[1..].iter().collect::<Vec<_>>()));
}

/// Only what is cancelled, or about to be, leaves nothing.
pub async fn a_run_has_more_below_while_a_child_may_have_something_open(store: Arc<dyn RunStore>) {
    let with_child = |phase: Phase| {
        let parent = queued();
        let child = entered(&child(&parent), phase, T0);
        (parent, child)
    };
    let cancelling = Phase::Cancelling { holder: worker(), close_at: after(1) };
    let nothing_left = [with_child(Phase::Cancelled), with_child(cancelling)];
    let more = [with_child(Phase::Scheduled), with_child(running()), with_child(Phase::Completed)];
    let (childless, apart) = (queued(), queued());
    let apart_child =
        detached(&apart, ParentPolicies { on_cancel: ParentPolicy::Detach, ..ParentPolicies::default() });
    let (upper, stranger) = (queued(), queued());
    let lower = child(&upper);
    let beside = child(&stranger);
    for (parent, child) in nothing_left.iter().chain(&more) {
        insert(&store, &[parent, child]).await;
    }
    insert(&store, &[&childless, &apart, &apart_child, &upper, &lower, &stranger, &beside]).await;

    let pairs = nothing_left.iter().chain(&more).map(|(parent, _)| parent.id);
    let asked: Vec<RunId> = pairs.chain([childless.id, apart.id, upper.id, lower.id]).collect();
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&asked).await.unwrap();
    let mut found = tx.have_more_below(&asked).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, more.each_ref().map(|(parent, _)| parent.id));
    assert_eq!(tx.have_more_below(&[upper.id]).await.unwrap(), [upper.id]);
    assert_eq!(tx.have_more_below(&[]).await.unwrap(), []);
}

/// As the transaction itself has made it, too.
pub async fn a_run_is_read_as_it_is_by_now(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    let mut tx = store.begin().await.unwrap();
    let found = tx.read_runs(&[run.id, RunId::new()]).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&run));
    let started = entered(&run, running(), T0);
    tx.update_runs(&[(started.clone(), None)]).await.unwrap();
    assert_eq!(tx.read_runs(&[run.id]).await.unwrap(), [started]);
}
