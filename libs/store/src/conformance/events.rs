//! History and feed: P7.

use std::sync::Arc;

use tidegate_model::RunId;
use tidegate_orchestration::{Phase, Run, StateName};

use super::fixture::*;
use crate::{EventRow, FeedCursor, RunStore, StoreError};

/// The same number twice is an error, in one slice, in one transaction or in two, and the history keeps the first.
pub async fn a_used_number_is_refused(store: Arc<dyn RunStore>) {
    let run = queued();
    append(&store, &[event(&run, 1)]).await;
    for events in [vec![event(&run, 1)], vec![event(&run, 2), event(&run, 2)]] {
        let mut tx = store.begin().await.unwrap();
        let refused = tx.append_events(&events).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
        drop(tx);
    }
    let history = within(store.list_events(&run.namespace, run.id, 0, 10)).await.unwrap();
    assert_eq!(history, [event(&run, 1)]);
}

/// Every field of an event survives, and pages go on after a number.
pub async fn a_history_is_read_in_order(store: Arc<dyn RunStore>) {
    let run = queued();
    let other = queued();
    let full = EventRow {
        message: "the \"cause\"".to_owned(),
        state_name: StateName::Retrying,
        actor: Some("ada@host \"1\"".to_owned()),
        attempt: 3,
        ..event(&entered(&run, running(), after(2)), 2)
    };
    let ended = event(&entered(&run, Phase::Completed, after(3)), 3);
    append(&store, &[event(&run, 1), event(&other, 1), full.clone(), ended.clone()]).await;
    let page =
        async |after_seq, limit| store.list_events(&run.namespace, run.id, after_seq, limit).await.unwrap();
    assert_eq!(page(0, 10).await, [event(&run, 1), full.clone(), ended.clone()]);
    assert_eq!(page(0, 2).await, [event(&run, 1), full]);
    assert_eq!(page(2, 10).await, [ended]);
    assert_eq!(page(3, 10).await, []);
}

fn told(events: &[crate::FeedEvent]) -> Vec<(RunId, u64)> {
    events.iter().map(|event| (event.event.run_id, event.event.seq)).collect()
}

/// Events come in commit order, those of a slice in its order; each cursor resumes after its event; the end and the
/// start of a run are where they say.
pub async fn the_feed_is_in_order_and_resumes(store: Arc<dyn RunStore>) {
    let (a, b) = (queued(), queued());
    let start = store.feed_end().await.unwrap();
    append(&store, &[event(&b, 1), event(&a, 1), event(&a, 2)]).await;
    append(&store, &[event(&a, 3), event(&b, 2)]).await;
    let order = [(b.id, 1), (a.id, 1), (a.id, 2), (a.id, 3), (b.id, 2)];

    let all = read_feed(&store, &start, None, 5).await;
    assert_eq!(told(&all), order);
    assert_eq!(all[1].event, event(&a, 1));
    for (idx, event) in all.iter().enumerate() {
        let rest = store.read_feed(&event.cursor, None, 10).await.unwrap();
        assert_eq!(told(&rest), order[idx + 1..]);
    }
    let limited = store.read_feed(&start, None, 2).await.unwrap();
    assert_eq!(told(&limited), order[..2]);

    let from_a = store.feed_start(a.id).await.unwrap();
    assert_eq!(told(&store.read_feed(&from_a, None, 10).await.unwrap()), order[1..]);
    let end = store.feed_end().await.unwrap();
    assert_eq!(told(&store.read_feed(&end, None, 10).await.unwrap()), []);
    append(&store, &[event(&a, 4)]).await;
    assert_eq!(told(&read_feed(&store, &end, None, 1).await), [(a.id, 4)]);
    // A run without events: from the very beginning, so that its first one is not missed.
    let unknown = store.feed_start(RunId::new()).await.unwrap();
    assert_eq!(store.read_feed(&unknown, None, 10).await.unwrap().len(), 6);
}

/// By root come the events of the root and of all below it, and no others.
pub async fn the_feed_of_a_root_has_its_tree(store: Arc<dyn RunStore>) {
    let root = queued();
    let below = child(&root);
    let deeper = child(&below);
    let other = queued();
    let start = store.feed_end().await.unwrap();
    append(&store, &[event(&root, 1), event(&other, 1), event(&deeper, 1)]).await;
    append(&store, &[event(&other, 2), event(&below, 1), event(&root, 2)]).await;
    let tree = read_feed(&store, &start, Some(root.id), 4).await;
    assert_eq!(told(&tree), [(root.id, 1), (deeper.id, 1), (below.id, 1), (root.id, 2)]);
    assert_eq!(tree[1].event.root, root.id);
    let rest = store.read_feed(&tree[1].cursor, Some(root.id), 1).await.unwrap();
    assert_eq!(told(&rest), [(below.id, 1)]);
    let start = store.feed_start(root.id).await.unwrap();
    assert_eq!(told(&store.read_feed(&start, Some(root.id), 10).await.unwrap()), told(&tree));
}

/// By runs come the events of those and no others, in feed order and after a cursor.
pub async fn the_feed_of_runs_has_theirs(store: Arc<dyn RunStore>) {
    let (a, b, other) = (queued(), queued(), queued());
    let start = store.feed_end().await.unwrap();
    append(&store, &[event(&b, 1), event(&other, 1), event(&a, 1)]).await;
    append(&store, &[event(&b, 2)]).await;
    let all = read_feed(&store, &start, None, 4).await;
    let of_both = store.read_feed_of_runs(&start, &[a.id, b.id], 10).await.unwrap();
    assert_eq!(told(&of_both), [(b.id, 1), (a.id, 1), (b.id, 2)]);
    assert_eq!(of_both[1], all[2], "with the same cursors as the feed of all");
    let rest = store.read_feed_of_runs(&of_both[0].cursor, &[a.id, b.id], 1).await.unwrap();
    assert_eq!(told(&rest), [(a.id, 1)]);
    assert_eq!(store.read_feed_of_runs(&start, &[], 10).await.unwrap(), []);
    let foreign = store.read_feed_of_runs(&FeedCursor("x".to_owned()), &[a.id], 1).await;
    assert!(matches!(foreign, Err(StoreError::InvalidCursor(_))), "{foreign:?}");
}

/// While an older transaction is under way, what younger ones commit is held back; then all comes, in one order.
pub async fn nothing_appears_behind_a_cursor(store: Arc<dyn RunStore>) {
    if store.kind() == "sqlite" {
        return; // There is no second transaction that could commit meanwhile.
    }
    let (slow, quick) = (queued(), queued());
    let start = store.feed_end().await.unwrap();
    let mut commits = store.commits();
    let mut older = store.begin().await.unwrap();
    older.append_events(&[event(&slow, 1)]).await.unwrap();
    append(&store, &[event(&quick, 1)]).await;
    assert_eq!(store.read_feed(&start, None, 10).await.unwrap(), []);
    let end = store.feed_end().await.unwrap();
    assert_eq!(store.read_feed(&end, None, 10).await.unwrap(), []);
    older.commit().await.unwrap();
    let mut seen = told(&read_feed(&store, &start, None, 2).await);
    seen.sort_unstable();
    assert_eq!(seen, [(slow.id, 1), (quick.id, 1)]);
    assert_eq!(read_feed(&store, &end, None, 2).await.len(), 2);

    // An older one that ends without an event wakes the readers none the less.
    let mut older = store.begin().await.unwrap();
    older.reserve_keys(&[], T0).await.unwrap();
    older.insert_runs(&[bare(&slow)]).await.unwrap();
    let end = store.feed_end().await.unwrap();
    append(&store, &[event(&quick, 2)]).await;
    commits.mark_unchanged();
    drop(older);
    within(async {
        while store.read_feed(&end, None, 10).await.unwrap().is_empty() {
            commits.changed().await.unwrap();
        }
    })
    .await;
}

/// A transaction that began before another and got the lock on a run after it has its events behind the other's.
pub async fn the_events_of_a_run_stay_in_order_across_transactions(store: Arc<dyn RunStore>) {
    if store.kind() == "sqlite" {
        return; // Transactions come one after the other.
    }
    let (run, own) = (queued(), queued());
    insert(&store, &[&run]).await;
    let start = store.feed_end().await.unwrap();
    let mut early = store.begin().await.unwrap();
    early.insert_runs(&[bare(&own)]).await.unwrap(); // It has an id in the database's order from here on.

    let mut late = store.begin().await.unwrap();
    late.lock_runs(&[run.id]).await.unwrap();
    late.append_events(&[event(&run, 1)]).await.unwrap();
    late.commit().await.unwrap();

    early.lock_runs(&[run.id]).await.unwrap();
    early.append_events(&[event(&run, 2), event(&run, 3)]).await.unwrap();
    early.commit().await.unwrap();
    assert_eq!(told(&read_feed(&store, &start, None, 3).await), [(run.id, 1), (run.id, 2), (run.id, 3)]);
}

/// A text that is no cursor of this store is the caller's error.
pub async fn a_foreign_cursor_is_refused(store: Arc<dyn RunStore>) {
    for text in ["", "x", "1-", "-1", "1-2-3", "99999999999999999999", "1 OR 1=1"] {
        let read = store.read_feed(&FeedCursor(text.to_owned()), None, 1).await;
        assert!(matches!(&read, Err(StoreError::InvalidCursor(_))), "{text}: {read:?}");
    }
}

/// Whoever waits for commits is woken by one that has events.
pub async fn a_commit_wakes(store: Arc<dyn RunStore>) {
    let run: Run = queued();
    let mut commits = store.commits();
    commits.mark_unchanged();
    append(&store, &[event(&run, 1)]).await;
    within(commits.changed()).await.unwrap();
}
