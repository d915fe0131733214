//! Runs go some time after their end.

use std::{slice::from_ref, sync::Arc, time::Duration};

use tidegate_model::{RunId, Timestamp};
use tidegate_orchestration::{Phase, Run};
use uuid::Uuid;

use super::{
    deletes::{insert_with_all, key_of, n_things},
    fixture::*,
};
use crate::{KeyReservation, RunStore};

const DAY: Duration = Duration::from_secs(86_400);

/// A bound that is later than all times that a store may keep apart now: ids have the time of the machine.
fn bound() -> Timestamp {
    RunId::new().created_at() + 100 * DAY
}

fn ended_at(at: Timestamp) -> Run {
    entered(&queued(), Phase::Completed, at)
}

/// Turns of maintenance until nothing is left to do; gives how many runs each turn deleted.
async fn maintain(store: &Arc<dyn RunStore>, ended_before: Timestamp, limit: usize) -> Vec<usize> {
    let mut deleted = Vec::new();
    loop {
        let turn = store.maintain(ended_before, ended_before, limit).await.unwrap();
        deleted.push(turn.runs_deleted);
        if turn.runs_deleted == 0 {
            return deleted;
        }
    }
}

async fn are_there(store: &Arc<dyn RunStore>, runs: &[&Run]) -> Vec<bool> {
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let found = store.get_runs(None, &ids).await.unwrap();
    ids.iter().map(|id| found.iter().any(|run| run.id == *id)).collect()
}

/// Those that ended before the bound go, up to the limit in each turn; open ones and those that ended at it stay with
/// all that is theirs.
pub async fn runs_go_some_time_after_their_end(store: Arc<dyn RunStore>) {
    let bound = bound();
    let gone = [ended_at(T0), ended_at(bound - Duration::from_micros(1)), ended_at(T0)];
    let (recent, open, held) = (ended_at(bound), queued(), entered(&queued(), running(), T0));
    for run in gone.iter().chain([&recent, &open, &held]) {
        insert_with_all(&store, run).await;
    }
    assert_eq!(maintain(&store, bound, 2).await, [2, 1, 0]);
    for run in &gone {
        assert_eq!(n_things(&store, run).await, 0);
    }
    for run in [&recent, &open, &held] {
        assert_eq!(n_things(&store, run).await, 10);
    }
    update(&store, &[(entered(&open, Phase::Cancelled, T0), None)]).await;
    append(&store, &[event(&entered(&open, Phase::Cancelled, T0), 3)]).await;
    maintain(&store, bound, 10).await;
    assert_eq!(are_there(&store, &[&recent, &open, &held]).await, [true, false, true]);
}

/// Where nothing is to be kept, all of it goes, with the keys; whoever follows the feed goes on behind it, and new runs
/// are taken.
pub async fn a_time_without_open_runs_goes_at_once(store: Arc<dyn RunStore>) {
    let (first, second) = (ended_at(T0), ended_at(T0));
    let start = store.feed_end().await.unwrap();
    insert_with_all(&store, &first).await;
    insert_with_all(&store, &second).await;
    let read = read_feed(&store, &start, None, 1).await;
    maintain(&store, bound(), 1).await;
    assert_eq!(n_things(&store, &first).await, 0);
    assert_eq!(n_things(&store, &second).await, 0);

    let next = queued();
    let key = KeyReservation { run_id: next.id, ..key_of(first.id) };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.reserve_keys(from_ref(&key), T0).await.unwrap()[0].run_id, next.id);
    tx.insert_runs(&[bare(&next)]).await.unwrap();
    tx.append_events(&[event(&next, 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(get(&store, next.id).await, next);
    for cursor in [&read[0].cursor, &start, &store.feed_start(first.id).await.unwrap()] {
        assert_eq!(read_feed(&store, cursor, None, 1).await[0].event, event(&next, 1));
    }
}

/// A run below one that is kept is kept too, also if it ended long before; and goes with it.
pub async fn a_tree_is_kept_as_long_as_its_root(store: Arc<dyn RunStore>) {
    let bound = bound();
    let failed = |run: &Run| entered(run, Phase::Failed, T0);
    let (open, second, third) = (queued(), queued(), queued());
    let below_open = child(&open);
    let deeper = failed(&child(&below_open));
    let below_open = failed(&below_open);
    let below_recent = failed(&child(&second));
    let recent = entered(&second, Phase::Completed, bound);
    let below_over = failed(&child(&third));
    // One that goes on after the end of its root goes after its own end.
    let detached = child(&third);
    let over = failed(&third);
    let all = [&open, &below_open, &deeper, &recent, &below_recent, &over, &below_over, &detached];
    insert(&store, &all).await;
    maintain(&store, bound, 10).await;
    assert_eq!(are_there(&store, &all).await, [true, true, true, true, true, false, false, true]);

    let closed = entered(&open, Phase::Completed, T0);
    update(&store, &[(closed.clone(), None), (entered(&detached, Phase::Completed, T0), None)]).await;
    append(&store, &[event(&closed, 1), event(&entered(&detached, Phase::Completed, T0), 1)]).await;
    maintain(&store, bound + DAY, 10).await;
    assert_eq!(are_there(&store, &all).await, [false; 8]);
}

/// A run that goes on after the end of its root may be tried again: what it has started is still to be found, with its keys.
pub async fn what_is_below_an_open_run_is_kept_whatever_its_root(store: Arc<dyn RunStore>) {
    let bound = bound();
    let root = queued();
    let detached = child(&root);
    let failed = child(&detached);
    let deeper = entered(&child(&failed), Phase::Completed, T0);
    let failed = entered(&failed, Phase::Failed, T0);
    let root = entered(&root, Phase::Completed, T0);
    let ending = Run { cascade_pending: true, ..entered(&queued(), Phase::Failed, T0) };
    insert(&store, &[&root, &detached, &failed, &ending]).await;
    insert_with_all(&store, &deeper).await;
    let all = [&root, &detached, &failed, &deeper, &ending];
    assert_eq!(maintain(&store, bound, 10).await, [1, 0]);
    assert_eq!(are_there(&store, &all).await, [false, true, true, true, true]);
    assert_eq!(n_things(&store, &deeper).await, 10);

    let closed = entered(&detached, Phase::Completed, T0);
    let settled = Run { cascade_pending: false, ..ending.clone() };
    update(&store, &[(closed.clone(), None), (settled, None)]).await;
    append(&store, &[event(&closed, 1)]).await;
    maintain(&store, bound + DAY, 10).await;
    assert_eq!(are_there(&store, &all).await, [false; 5]);
}

/// A caller may bring an id of years ago: its run is stored, found and deleted like every other.
pub async fn ids_of_any_age_are_kept_and_go(store: Arc<dyn RunStore>) {
    let aged = |millis: u128| {
        let young = RunId::new().as_uuid().as_u128();
        let id = RunId::from_uuid(Uuid::from_u128((millis << 80) | (young & ((1 << 80) - 1))));
        Run { id, root: id, ..queued() }
    };
    let (oldest, old) = (aged(0), aged(1_500_000_000_000));
    insert_with_all(&store, &entered(&oldest, Phase::Completed, T0)).await;
    insert_with_all(&store, &old).await;
    let below = child(&old);
    insert(&store, &[&below]).await;
    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_runs(&[below.id, oldest.id, old.id]).await.unwrap();
    assert_eq!(ids(&locked), [oldest.id, old.id, below.id]);
    drop(tx);
    maintain(&store, bound(), 10).await;
    assert_eq!(n_things(&store, &oldest).await, 0);
    assert_eq!(are_there(&store, &[&old, &below]).await, [true, true]);
}
