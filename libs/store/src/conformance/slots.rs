//! Concurrency limits, their slots, and who waits for one.

use std::{sync::Arc, time::Duration};

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::{Phase, Run, StateName};

use super::fixture::*;
use crate::{LimitKey, LimitUse, RunStore, Slot, SlotWait, Sweep};

fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

fn slot(limit: &LimitKey, run: &Run) -> Slot {
    Slot { limit: limit.clone(), owner: run.id, acquired_at: T0, expires_at: None }
}

fn wait(limit: &LimitKey, priority: i32, seconds: u64) -> SlotWait {
    SlotWait { run_id: RunId::new(), limit: limit.clone(), priority, due_at: after(seconds) }
}

async fn take(store: &Arc<dyn RunStore>, slots: &[Slot]) {
    let mut tx = store.begin().await.unwrap();
    tx.take_slots(slots).await.unwrap();
    tx.commit().await.unwrap();
}

async fn put_waits(store: &Arc<dyn RunStore>, waits: &[SlotWait]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_waits(waits).await.unwrap();
    tx.commit().await.unwrap();
}

/// What is taken of a limit after these seconds; `None`: it is not defined.
async fn n_used(store: &Arc<dyn RunStore>, key: &LimitKey, seconds: u64) -> Option<u64> {
    let found = store.get_limits(std::slice::from_ref(key), after(seconds)).await.unwrap();
    assert!(found.len() <= 1);
    found.first().map(|used| used.n_used)
}

fn held() -> Run {
    Run { concurrency_limits: vec!["db".to_owned()], ..entered(&queued(), running(), T0) }
}

/// A limit is defined, changed, read, listed by name in pages, and deleted, within its namespace.
pub async fn limits_are_defined_and_listed(store: Arc<dyn RunStore>) {
    let (own, db, gpu) = (Namespace::default(), key("db"), key("gpu's \"one\""));
    let other = LimitKey { namespace: elsewhere(), ..db.clone() };
    let first = store.put_limit(&db, 3, after(1)).await.unwrap();
    assert_eq!((first.max_slots, first.created_at, first.updated_at), (3, after(1), after(1)));
    store.put_limit(&gpu, 0, after(2)).await.unwrap();
    store.put_limit(&other, 9, after(3)).await.unwrap();
    let changed = store.put_limit(&db, 1_000_000, after(4)).await.unwrap();
    assert_eq!((changed.max_slots, changed.created_at, changed.updated_at), (1_000_000, after(1), after(4)));

    let listed = store.list_limits(&own, None, T0, 10).await.unwrap();
    assert_eq!(listed[0], LimitUse { limit: changed.clone(), n_used: 0 });
    let keys: Vec<_> = listed.iter().map(|used| used.limit.key.clone()).collect();
    assert_eq!(keys, [db.clone(), gpu.clone()]);
    let page = store.list_limits(&own, None, T0, 1).await.unwrap();
    assert_eq!(page.len(), 1);
    let page = store.list_limits(&own, Some("db"), T0, 10).await.unwrap();
    assert_eq!(page.iter().map(|used| &used.limit.key).collect::<Vec<_>>(), [&gpu]);

    let asked = [gpu.clone(), key("unknown"), other.clone()];
    let mut found = store.get_limits(&asked, T0).await.unwrap();
    found.sort_by(|a, b| a.limit.key.cmp(&b.limit.key));
    assert_eq!(found.iter().map(|used| used.limit.max_slots).collect::<Vec<_>>(), [0, 9]);

    assert!(store.delete_limit(&db).await.unwrap());
    assert!(!store.delete_limit(&db).await.unwrap(), "it was gone");
    assert_eq!(n_used(&store, &db, 0).await, None);
    assert_eq!(store.get_limits(&[other], T0).await.unwrap().len(), 1);
}

/// Slots are counted, told, and given up by owner, also of a limit that is defined later; a lease counts until it ends.
pub async fn slots_are_taken_and_freed(store: Arc<dyn RunStore>) {
    let (db, gpu) = (key("db"), key("gpu"));
    let (a, b) = (held(), held());
    insert(&store, &[&a, &b]).await;
    let later = Slot { acquired_at: after(5), ..slot(&db, &b) };
    let lease = Slot { owner: RunId::new(), expires_at: Some(after(20)), ..slot(&db, &a) };
    take(&store, &[later.clone(), slot(&db, &a), slot(&gpu, &a)]).await;
    assert_eq!(n_used(&store, &db, 0).await, None);
    store.put_limit(&db, 2, T0).await.unwrap();
    assert_eq!(n_used(&store, &db, 0).await, Some(2), "what was taken before it was defined");

    take(&store, std::slice::from_ref(&lease)).await;
    assert_eq!((n_used(&store, &db, 19).await, n_used(&store, &db, 20).await), (Some(3), Some(2)));
    assert_eq!(store.list_slots(&db, after(20), 10).await.unwrap(), [slot(&db, &a), later.clone()]);
    assert_eq!(store.list_slots(&db, after(20), 1).await.unwrap(), [slot(&db, &a)], "the earliest first");
    take(&store, &[Slot { expires_at: Some(after(40)), ..lease.clone() }]).await;
    assert_eq!(n_used(&store, &db, 39).await, Some(3), "renewed, not taken twice");

    let mut tx = store.begin().await.unwrap();
    let mut freed = tx.free_slots(&[a.id, RunId::new()]).await.unwrap();
    freed.sort();
    assert_eq!(freed, [db.clone(), gpu]);
    drop(tx);
    assert_eq!(n_used(&store, &db, 0).await, Some(3), "undone with its transaction");
    let mut tx = store.begin().await.unwrap();
    tx.free_slots(&[a.id]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(n_used(&store, &db, 0).await, Some(2));
}

/// Who locks a limit second sees what the first has taken of it.
pub async fn a_locked_limit_makes_the_second_wait(store: Arc<dyn RunStore>) {
    let db = key("db");
    store.put_limit(&db, 1, T0).await.unwrap();
    let run = held();
    insert(&store, &[&run]).await;
    let keys = [key("aaa"), db.clone()];
    let mut first = store.begin().await.unwrap();
    let used = first.lock_limits(&keys, T0).await.unwrap();
    assert_eq!(used.iter().map(LimitUse::n_free).collect::<Vec<_>>(), [1], "the other is not defined");
    let mut second = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        tx.lock_limits(&keys, T0).await.unwrap()
    });
    assert!(is_waiting(&mut second).await);
    first.take_slots(&[slot(&db, &run)]).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(within(second).await[0].n_free(), 0);

    let mut first = store.begin().await.unwrap();
    first.lock_limits(&keys, T0).await.unwrap();
    let mut change = Box::pin(store.put_limit(&db, 5, after(1)));
    assert!(is_waiting(&mut change).await, "a change of the limit waits as well");
    drop(first);
    within(change).await.unwrap();
}

/// Waiting runs are handed out once, by priority and due time; those that were handed out before, after them.
pub async fn waits_are_handed_out_in_order(store: Arc<dyn RunStore>) {
    let (db, gpu) = (key("db"), key("gpu"));
    let waits = [wait(&db, 0, 3), wait(&db, 0, 1), wait(&db, 5, 9), wait(&gpu, 0, 0)];
    put_waits(&store, &waits).await;
    assert_eq!(store.count_waits(&[gpu.clone(), key("none"), db.clone()]).await.unwrap(), [1, 0, 3]);
    let hand_out = async |before: Option<u64>, seconds: u64, limit: usize| {
        store.hand_out(&db, before.map(after), after(seconds), limit).await.unwrap()
    };
    assert_eq!(hand_out(None, 10, 1).await, [waits[2].run_id], "the larger priority");
    assert_eq!(hand_out(None, 11, 1).await, [waits[1].run_id], "the earlier due time");
    assert_eq!(hand_out(None, 12, 10).await, [waits[0].run_id]);
    assert_eq!(hand_out(None, 13, 10).await, [], "each once");

    put_waits(&store, &[SlotWait { due_at: after(8), ..waits[0].clone() }]).await;
    assert_eq!(hand_out(Some(11), 14, 1).await, [waits[0].run_id], "it began to wait anew");
    assert_eq!(hand_out(Some(11), 15, 10).await, [waits[2].run_id], "it was handed out before then");

    put_waits(&store, &[SlotWait { limit: gpu.clone(), ..waits[1].clone() }]).await;
    assert_eq!(store.count_waits(&[db.clone(), gpu.clone()]).await.unwrap(), [2, 2], "one limit at a time");
    let mut tx = store.begin().await.unwrap();
    tx.end_waits(&[waits[0].run_id, waits[2].run_id]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.count_waits(&[db.clone(), gpu.clone()]).await.unwrap(), [0, 2]);

    let other = LimitKey { namespace: elsewhere(), ..db.clone() };
    put_waits(&store, &[wait(&db, 0, 0), wait(&other, 0, 0)]).await;
    let mut awaited = Vec::new();
    while let Some(next) = store.next_awaited(awaited.last()).await.unwrap() {
        awaited.push(next);
    }
    assert_eq!(awaited, [db, gpu, other]);
}

/// Two that hand out at once never give the same run.
pub async fn a_waiting_run_is_handed_out_to_one(store: Arc<dyn RunStore>) {
    let db = key("db");
    let waits: Vec<_> = (0..40).map(|n| wait(&db, 0, n)).collect();
    put_waits(&store, &waits).await;
    let hand_out = || async {
        let mut handed = Vec::new();
        while handed.len() < 40 {
            let more = store.hand_out(&db, None, T0 + Duration::from_secs(100), 3).await.unwrap();
            if more.is_empty() {
                break;
            }
            handed.extend(more);
        }
        handed
    };
    let (a, b, c) = within(async { tokio::join!(hand_out(), hand_out(), hand_out()) }).await;
    let mut handed: Vec<RunId> = a.into_iter().chain(b).chain(c).collect();
    handed.sort();
    handed.dedup();
    assert_eq!(handed.len(), 40, "each of them, and none twice");
}

/// Slots of runs that nobody holds, and leases that have ended, are found; others stay.
pub async fn stray_slots_are_cleared(store: Arc<dyn RunStore>) {
    let db = key("db");
    store.put_limit(&db, 10, T0).await.unwrap();
    let (holding, ended, unknown) = (held(), held(), held());
    let ended = Run { id: ended.id, ..entered(&ended, Phase::Completed, T0) };
    let paused = entered(&queued(), Phase::Paused { holder: Some(worker()), expires_at: None }, T0);
    insert(&store, &[&holding, &ended, &paused]).await;
    let lease = |seconds| Slot { owner: RunId::new(), expires_at: Some(after(seconds)), ..slot(&db, &ended) };
    let (over, live) = (lease(5), lease(6));
    let all = [&holding, &ended, &paused, &unknown].map(|run| slot(&db, run));
    take(&store, &all).await;
    take(&store, &[over.clone(), live.clone()]).await;
    assert_eq!(store.clear_slots(after(5), 1).await.unwrap().len(), 1);
    let rest = store.clear_slots(after(5), 10).await.unwrap();
    assert_eq!(rest.len(), 2);
    let mut left: Vec<_> =
        store.list_slots(&db, T0, 10).await.unwrap().into_iter().map(|slot| slot.owner).collect();
    left.sort();
    let mut expected = vec![holding.id, paused.id, live.owner];
    expected.sort();
    assert_eq!(left, expected);
}

/// What waits for a slot is not handed over for its age.
pub async fn a_waiting_run_is_no_lost_delivery(store: Arc<dyn RunStore>) {
    let (lost, waiting) = (queued(), queued());
    insert(&store, &[&lost, &waiting]).await;
    let mut changed = waiting.clone();
    changed.state.name = StateName::AwaitingConcurrencySlot;
    update(&store, &[(lost.clone(), Some(T0)), (changed, Some(T0))]).await;
    let sweep = Sweep::EnqueuedBefore { due_before: after(9), enqueued_before: after(9) };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(ids(&tx.sweep(&sweep, 10).await.unwrap()), [lost.id]);
}
