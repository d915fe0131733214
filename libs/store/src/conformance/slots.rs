//! Concurrency limits, their slots, and who waits for one.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::{Arrival, Collision, Phase, Rate, Run, StateName};

use super::fixture::*;
use crate::{
    HandOut, Holders, LeaseWait, LimitKey, LimitSettings, LimitUse, RunStore, Slot, SlotWait, Sweep,
};

pub(super) fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

pub(super) fn slot(limit: &LimitKey, run: &Run) -> Slot {
    Slot { limit: limit.clone(), owner: run.id, acquired_at: T0, expires_at: None, for_run: None, n_slots: 1 }
}

pub(super) fn wait(limit: &LimitKey, priority: i32, seconds: u64) -> SlotWait {
    SlotWait {
        run_id: RunId::new(),
        limit: limit.clone(),
        priority,
        fairness_key: None,
        due_at: after(seconds),
    }
}

/// What is handed out, once nobody else is at it.
pub(super) async fn handed_out(store: &Arc<dyn RunStore>, key: &LimitKey, ask: &HandOut) -> Vec<RunId> {
    loop {
        if let Some(handed) = store.hand_out(key, ask).await.unwrap() {
            return handed;
        }
        tokio::task::yield_now().await;
    }
}

/// Up to `limit` at these seconds, whatever is taken, and what is kept for them for 5 s.
pub(super) fn any(seconds: u64, limit: usize) -> HandOut {
    HandOut {
        max_slots: None,
        n_tokens: None,
        n_more: 0,
        max_lapsed: 0,
        lapsed_since: T0,
        handed_before: None,
        now: after(seconds),
        reserved_until: after(seconds + 5),
        limit,
    }
}

pub(super) async fn take(store: &Arc<dyn RunStore>, slots: &[Slot]) {
    let mut tx = store.begin().await.unwrap();
    tx.take_slots(slots).await.unwrap();
    tx.commit().await.unwrap();
}

pub(super) async fn put_waits(store: &Arc<dyn RunStore>, waits: &[SlotWait]) {
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

pub(super) fn held() -> Run {
    Run { concurrency_limits: vec!["db".to_owned()], ..entered(&queued(), running(), T0) }
}

/// A limit is defined, changed, read, listed by name in pages, and deleted, within its namespace.
pub async fn limits_are_defined_and_listed(store: Arc<dyn RunStore>) {
    let (own, db, gpu) = (Namespace::default(), key("db"), key("gpu's \"one\""));
    let other = LimitKey { namespace: elsewhere(), ..db.clone() };
    let first = store.put_limit(&db, &3.into(), after(1)).await.unwrap();
    assert_eq!((first.settings.clone(), first.created_at, first.updated_at), (3.into(), after(1), after(1)));
    store.put_limit(&gpu, &0.into(), after(2)).await.unwrap();
    store.put_limit(&other, &9.into(), after(3)).await.unwrap();
    let changed = store.put_limit(&db, &1_000_000.into(), after(4)).await.unwrap();
    assert_eq!(
        (changed.settings.clone(), changed.created_at, changed.updated_at),
        (1_000_000.into(), after(1), after(4))
    );

    let listed = store.list_limits(&own, None, T0, 10).await.unwrap();
    assert_eq!(
        listed[0],
        LimitUse {
            key: db.clone(),
            limit: changed.clone(),
            n_used: 0,
            arrival: Arrival::default(),
            is_awaited: false,
            awaits_several: false,
        }
    );
    let keys: Vec<_> = listed.iter().map(|used| used.limit.key.clone()).collect();
    assert_eq!(keys, [db.clone(), gpu.clone()]);
    let page = store.list_limits(&own, None, T0, 1).await.unwrap();
    assert_eq!(page.len(), 1);
    let page = store.list_limits(&own, Some("db"), T0, 10).await.unwrap();
    assert_eq!(page.iter().map(|used| &used.limit.key).collect::<Vec<_>>(), [&gpu]);

    let asked = [gpu.clone(), key("unknown"), other.clone()];
    let mut found = store.get_limits(&asked, T0).await.unwrap();
    found.sort_by(|a, b| a.limit.key.cmp(&b.limit.key));
    assert_eq!(
        found.iter().map(|used| used.limit.settings.max_slots).collect::<Vec<_>>(),
        [Some(0), Some(9)]
    );

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
    store.put_limit(&db, &2.into(), T0).await.unwrap();
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
    store.put_limit(&db, &1.into(), T0).await.unwrap();
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
    let five = 5.into();
    let mut change = Box::pin(store.put_limit(&db, &five, after(1)));
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
    store.put_limit(&db, &9.into(), T0).await.unwrap();
    store.put_limit(&key("none"), &9.into(), T0).await.unwrap();
    let mut found = store.get_limits(&[db.clone(), key("none")], T0).await.unwrap();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(found.iter().map(|used| used.is_awaited).collect::<Vec<_>>(), [true, false]);
    let hand_out = async |before: Option<u64>, seconds: u64, limit: usize| {
        let ask = HandOut { handed_before: before.map(after), ..any(seconds, limit) };
        handed_out(&store, &db, &ask).await
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
            let more = handed_out(&store, &db, &any(100, 3)).await;
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
    store.put_limit(&db, &10.into(), T0).await.unwrap();
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

fn rate(max_starts: u32, seconds: u64) -> Rate {
    let max_starts = NonZeroU32::new(max_starts).unwrap();
    Rate { max_starts, period: Duration::from_secs(seconds), burst: max_starts }
}

fn rated(rate: Rate) -> LimitSettings {
    LimitSettings { max_slots: None, rate: Some(rate), on_collision: Collision::Skip }
}

async fn get(store: &Arc<dyn RunStore>, key: &LimitKey) -> LimitUse {
    store.get_limits(std::slice::from_ref(key), T0).await.unwrap().remove(0)
}

async fn put_arrival(store: &Arc<dyn RunStore>, key: &LimitKey, arrival: Arrival) {
    let mut tx = store.begin().await.unwrap();
    tx.put_arrivals(&[(key.clone(), arrival)]).await.unwrap();
    tx.commit().await.unwrap();
}

/// A template binds the names of its key that have no limit of their own, each with slots of its own, and tells of all
/// together.
pub async fn a_template_binds_each_value(store: Arc<dyn RunStore>) {
    let (template, a, b) = (key("customer=*"), key("customer=a"), key("customer=b=c"));
    let unbound = [key("customer"), key("customer>"), key("customers=a"), key("customer=")];
    store.put_limit(&template, &2.into(), T0).await.unwrap();
    let (first, second) = (held(), held());
    insert(&store, &[&first, &second]).await;
    take(&store, &[slot(&a, &first), slot(&b, &first), slot(&b, &second), slot(&unbound[1], &first)]).await;
    let asked = [&[a.clone(), b.clone()][..], &unbound].concat();
    let mut found = store.get_limits(&asked, T0).await.unwrap();
    found.sort_by(|x, y| x.key.cmp(&y.key));
    let told: Vec<_> = found.iter().map(|used| (&used.key, &used.limit.key, used.n_free())).collect();
    assert_eq!(told, [(&a, &template, 1), (&b, &template, 0)]);
    put_waits(&store, &[wait(&a, 0, 1), wait(&b, 0, 1), wait(&unbound[2], 0, 1)]).await;
    assert_eq!(store.template_use(&template, T0).await.unwrap(), (3, 2));
    assert_eq!(store.list_slots(&template, T0, 10).await.unwrap().len(), 3);

    store.put_limit(&b, &7.into(), T0).await.unwrap();
    assert_eq!(get(&store, &b).await.n_free(), 5, "its own limit comes first");
    assert_eq!(store.template_use(&template, T0).await.unwrap(), (1, 1), "what has its own is left out");
    assert_eq!(store.list_slots(&template, T0, 10).await.unwrap(), [slot(&a, &first)]);
    assert_eq!(store.list_slots(&b, T0, 10).await.unwrap().len(), 2);
    assert!(store.delete_limit(&template).await.unwrap());
    assert_eq!(n_used(&store, &a, 0).await, None);
}

/// Who claims for a value waits for who claims for it, or for another value of the same template.
pub async fn a_locked_template_makes_the_second_wait(store: Arc<dyn RunStore>) {
    store.put_limit(&key("customer=*"), &1.into(), T0).await.unwrap();
    let run = held();
    insert(&store, &[&run]).await;
    let a = [key("customer=a")];
    let mut first = store.begin().await.unwrap();
    assert_eq!(first.lock_limits(&a, T0).await.unwrap()[0].n_free(), 1);
    let mut second = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        tx.lock_limits(&a, T0).await.unwrap()
    });
    assert!(is_waiting(&mut second).await);
    first.take_slots(&[slot(&a[0], &run)]).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(within(second).await[0].n_free(), 0);
}

/// What a rate has left is kept by name, no longer than it matters, and no more of it than a changed rate can leave.
pub async fn rates_are_kept_by_name(store: Arc<dyn RunStore>) {
    let (template, a, own) = (key("customer=*"), key("customer=a"), key("customer=own"));
    let slow = rated(rate(1, 1_000));
    for limit in [&template, &own] {
        let put = store.put_limit(limit, &slow, T0).await.unwrap();
        assert_eq!(put.settings, slow);
    }
    let found = get(&store, &a).await;
    assert_eq!((&found.limit.settings, found.arrival, found.n_free()), (&slow, Arrival::default(), u64::MAX));
    assert_eq!((found.n_tokens(T0), get(&store, &own).await.n_tokens(T0)), (1, 1));
    let full = Arrival::at(after(1_000));
    for limit in [&a, &own] {
        put_arrival(&store, limit, full).await;
        assert_eq!(get(&store, limit).await.n_tokens(T0), 0);
    }
    let mut undone = store.begin().await.unwrap();
    undone.put_arrivals(&[(a.clone(), Arrival::at(after(2_000)))]).await.unwrap();
    drop(undone);
    assert_eq!(get(&store, &a).await.arrival, full);

    store.put_limit(&template, &rated(rate(10, 10)), T0).await.unwrap();
    assert_eq!(get(&store, &a).await.arrival, Arrival::at(after(10)), "an empty bucket of the new rate");
    assert_eq!(get(&store, &own).await.arrival, full, "it has a limit of its own");
    store.put_limit(&template, &rated(rate(10, 10)), T0).await.unwrap();
    assert_eq!(get(&store, &a).await.arrival, Arrival::at(after(10)), "a repeat gives nothing");

    store.put_limit(&a, &slow, T0).await.unwrap();
    put_arrival(&store, &a, full).await;
    assert_eq!(get(&store, &a).await.n_tokens(T0), 0);
    assert!(store.delete_limit(&a).await.unwrap());
    assert_eq!(get(&store, &a).await.n_tokens(T0), 10, "what its own limit had left binds it no more");
    put_arrival(&store, &a, Arrival::at(after(10))).await;
    assert!(!store.delete_limit(&a).await.unwrap());
    assert_eq!(get(&store, &a).await.arrival, Arrival::at(after(10)), "there was no limit of its own");

    assert_eq!(store.purge_rates(after(9), 10).await.unwrap(), 0);
    assert_eq!(store.purge_rates(after(10), 10).await.unwrap(), 1);
    assert_eq!((get(&store, &a).await.arrival, get(&store, &own).await.arrival), (Arrival::default(), full));
    assert_eq!(store.purge_rates(after(1_000), 0).await.unwrap(), 0);
    assert_eq!(store.purge_rates(after(1_000), 1).await.unwrap(), 1);
}

/// Those who have a slot are found in the order in which they give way, are asked once, and no longer once they have it
/// no more.
pub async fn holders_are_asked_once(store: Arc<dyn RunStore>) {
    let (db, gpu) = (key("db"), key("gpu"));
    let mut runs = [held(), held(), held()];
    runs.sort_by_key(|run| run.id);
    let [a, b, c] = runs;
    insert(&store, &[&a, &b, &c]).await;
    let at = |run: &Run, seconds| Slot { acquired_at: after(seconds), ..slot(&db, run) };
    let lease = Slot { owner: RunId::new(), expires_at: Some(after(99)), ..slot(&db, &a) };
    take(&store, &[at(&a, 3), at(&b, 1), at(&c, 2), slot(&gpu, &a), lease]).await;
    put_waits(&store, &[wait(&db, 0, 1)]).await;
    let mut tx = store.begin().await.unwrap();
    let oldest = tx.find_holders(&db, false, 10).await.unwrap();
    let newest = Some(c.id);
    assert_eq!(oldest, Holders { unasked: vec![b.id, c.id, a.id], n_asked: 0, n_waiting: 1, newest });
    assert_eq!(tx.find_holders(&db, true, 2).await.unwrap().unasked, [c.id, b.id], "no lease is asked");
    tx.ask_slots(&[(db.clone(), b.id), (db.clone(), RunId::new())]).await.unwrap();
    tx.commit().await.unwrap();

    let asked = store.slots_to_ask(10).await.unwrap();
    assert_eq!(asked, [at(&b, 1)]);
    assert_eq!(store.slots_to_ask(0).await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.find_holders(&db, false, 10).await.unwrap().n_asked, 1);
    drop(tx);
    store.note_asked(&asked).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.ask_slots(&[(db.clone(), b.id)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.slots_to_ask(10).await.unwrap(), [], "it is not asked again");
    let mut tx = store.begin().await.unwrap();
    let left = tx.find_holders(&db, false, 10).await.unwrap();
    assert_eq!(left, Holders { unasked: vec![c.id, a.id], n_asked: 1, n_waiting: 1, newest });
    tx.put_waits(&[wait(&db, 0, 2), wait(&db, 0, 3)]).await.unwrap();
    let bounded = tx.find_holders(&db, false, 1).await.unwrap();
    assert_eq!(bounded.n_waiting, 2, "as many as could have others asked");
    tx.ask_slots(&[(db.clone(), c.id)]).await.unwrap();
    assert_eq!(tx.find_holders(&db, true, 10).await.unwrap().newest, newest, "asked or not");
    tx.free_slots(&[b.id]).await.unwrap();
    tx.take_slots(&[at(&b, 5)]).await.unwrap();
    assert_eq!(tx.find_holders(&db, false, 10).await.unwrap().unasked, [a.id, b.id], "had anew");
}

/// What an owner has by a lease is found, renewed while it lasts, and not after.
pub async fn leases_are_renewed_while_they_last(store: Arc<dyn RunStore>) {
    let (own, db, gpu) = (Namespace::default(), key("db"), key("gpu"));
    let (owner, run) = (RunId::new(), held());
    insert(&store, &[&run]).await;
    let lease = Slot { owner, expires_at: Some(after(10)), for_run: Some(run.id), ..slot(&db, &run) };
    take(&store, &[lease.clone(), Slot { limit: gpu, ..lease.clone() }, slot(&db, &run)]).await;
    let mut tx = store.begin().await.unwrap();
    let (slots, wait) = tx.lock_owner(owner).await.unwrap();
    assert_eq!((slots.len(), &slots[0], wait), (2, &lease, None));
    assert_eq!(tx.lock_owner(RunId::new()).await.unwrap(), (Vec::new(), None));
    drop(tx);
    assert!(!store.renew_leases(&elsewhere(), owner, after(9), after(30)).await.unwrap(), "another's");
    assert!(store.renew_leases(&own, owner, after(9), after(20)).await.unwrap());
    assert_eq!(n_used(&store, &db, 15).await, None);
    assert_eq!(store.list_slots(&db, after(19), 10).await.unwrap().len(), 2);
    assert!(!store.renew_leases(&own, owner, after(20), after(40)).await.unwrap(), "it has ended");
    assert!(!store.renew_leases(&own, run.id, after(9), after(40)).await.unwrap(), "a run has no lease");
    assert_eq!(store.list_slots(&db, after(20), 10).await.unwrap(), [slot(&db, &run)]);
}

/// Who waits for a lease is in one line with runs, is told when it is its turn, and is forgotten when it is not heard of.
pub async fn waits_for_leases_are_in_line_with_runs(store: Arc<dyn RunStore>) {
    let db = key("db");
    let (early, late) = (wait(&db, 0, 1), wait(&db, 0, 5));
    put_waits(&store, &[early.clone(), late.clone()]).await;
    let lease = |seconds| LeaseWait {
        owner: RunId::new(),
        limit: db.clone(),
        since: after(seconds),
        was_handed: false,
        expires_at: after(60),
        n_slots: 1,
        reserved_until: None,
    };
    let (first, second) = (lease(2), lease(3));
    let mut tx = store.begin().await.unwrap();
    for one in [&second, &first, &first] {
        assert!(tx.put_lease_wait(one).await.unwrap());
    }
    assert_eq!(tx.lock_owner(first.owner).await.unwrap(), (Vec::new(), Some(first.clone())));
    assert_eq!(tx.lock_owner(early.run_id).await.unwrap(), (Vec::new(), None), "a run waits for no lease");
    for (seconds, n_waiting) in [(9, 3), (60, 2)] {
        let keys = std::slice::from_ref(&db);
        let line = tx.count_line(keys, Some(first.owner), T0, after(seconds), 9).await.unwrap()[0];
        assert_eq!(line.n_waiting, n_waiting, "runs, and leases that were heard of");
    }
    tx.commit().await.unwrap();
    assert_eq!(store.count_waits(std::slice::from_ref(&db)).await.unwrap(), [2], "runs only");

    let hand_out = async |seconds: u64| handed_out(&store, &db, &any(seconds, 1)).await;
    assert_eq!(hand_out(10).await, [early.run_id]);
    assert_eq!(store.handed_leases(&[first.owner, second.owner]).await.unwrap(), []);
    assert_eq!(hand_out(10).await, [first.owner]);
    assert_eq!(store.handed_leases(&[first.owner, second.owner]).await.unwrap(), [first.owner]);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.lock_owner(first.owner).await.unwrap().1.unwrap().was_handed);
    let keys = std::slice::from_ref(&db);
    for (owner, seconds, expected) in [(second.owner, 11, 2), (first.owner, 11, 1), (second.owner, 15, 0)] {
        let line = tx.count_line(keys, Some(owner), T0, after(seconds), 9).await.unwrap()[0];
        assert_eq!(line.n_reserved, expected, "whose turn it is: the run and the lease");
    }
    assert!(tx.put_lease_wait(&first).await.unwrap());
    assert!(!tx.lock_owner(first.owner).await.unwrap().1.unwrap().was_handed, "it begins anew");
    tx.commit().await.unwrap();
    assert_eq!(hand_out(60).await, [late.run_id], "the others were not heard of");

    assert_eq!(store.purge_lease_waits(after(59), 10).await.unwrap(), 0);
    assert_eq!(store.purge_lease_waits(after(60), 1).await.unwrap(), 1);
    assert_eq!(store.purge_lease_waits(after(60), 10).await.unwrap(), 1);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_waits(&[early.run_id]).await.unwrap(), [(early.run_id, db.clone())], "runs stay");
    drop(tx);
    let mut commits = store.commits();
    commits.mark_unchanged();
    store.tell_leases().await;
    within(commits.changed()).await.unwrap();
}

/// A lease of several slots counts as that many, also in line.
pub async fn leases_take_several_slots(store: Arc<dyn RunStore>) {
    let db = key("db");
    let run = queued();
    store.put_limit(&db, &LimitSettings::from(5), T0).await.unwrap();
    let several = Slot { owner: RunId::new(), expires_at: Some(after(60)), n_slots: 3, ..slot(&db, &run) };
    take(&store, &[several.clone(), Slot { expires_at: Some(after(60)), ..slot(&db, &run) }]).await;
    let shown = async || {
        let used = store.get_limits(std::slice::from_ref(&db), after(1)).await.unwrap().remove(0);
        (used.n_used, used.is_awaited, used.awaits_several)
    };
    assert_eq!(shown().await, (4, false, false));
    assert_eq!(store.template_use(&db, after(1)).await.unwrap().0, 4);
    let listed = store.list_slots(&db, after(1), 9).await.unwrap();
    assert_eq!(listed.iter().find(|slot| slot.owner == several.owner), Some(&several));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_owner(several.owner).await.unwrap(), (vec![several.clone()], None));
    let lease = |seconds, n_slots| LeaseWait {
        owner: RunId::new(),
        limit: db.clone(),
        since: after(seconds),
        was_handed: false,
        expires_at: after(60),
        n_slots,
        reserved_until: None,
    };
    let (wide, late) = (lease(1, 3), lease(2, 1));
    for one in [&wide, &late] {
        assert!(tx.put_lease_wait(one).await.unwrap());
    }
    assert_eq!(tx.lock_owner(wide.owner).await.unwrap().1, Some(wide.clone()));
    tx.commit().await.unwrap();
    assert_eq!(shown().await, (4, true, true));
    let line = async |but| {
        let mut tx = store.begin().await.unwrap();
        let lines = tx.count_line(std::slice::from_ref(&db), but, T0, after(12), 9).await.unwrap();
        (lines[0].n_waiting, lines[0].n_reserved)
    };
    assert_eq!((line(None).await, line(Some(wide.owner)).await), ((4, 0), (1, 0)));
    let hand_out = async |seconds| {
        let ask = HandOut { max_slots: Some(5), ..any(seconds, 9) };
        handed_out(&store, &db, &ask).await
    };
    assert_eq!(hand_out(10).await, [wide.owner], "one is free");
    assert_eq!(line(None).await, (1, 3));
    let mut tx = store.begin().await.unwrap();
    tx.free_slots(&[several.owner]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(hand_out(11).await, [late.owner], "four are free, of which three are kept");
    let kept = LeaseWait { was_handed: true, reserved_until: Some(after(20)), ..wide.clone() };
    let mut tx = store.begin().await.unwrap();
    assert!(tx.put_lease_wait(&kept).await.unwrap());
    assert_eq!(tx.lock_owner(wide.owner).await.unwrap().1, Some(kept), "it keeps its turn");
    tx.commit().await.unwrap();
    let ask = HandOut { handed_before: Some(after(18)), ..any(19, 9) };
    let handed = handed_out(&store, &db, &ask).await;
    assert_eq!(handed, [late.owner], "no sweep gives it another");
    assert_eq!(store.handed_leases(&[wide.owner]).await.unwrap(), [wide.owner]);
    let of_its_id = SlotWait { run_id: wide.owner, ..wait(&db, 0, 1) };
    put_waits(&store, std::slice::from_ref(&of_its_id)).await;
    assert!(!shown().await.2, "it is a run's");
}

/// A wait for a lease never takes the place of a run's under the same id, nor of another namespace's; that of a run takes
/// its place, and is no lease's any more.
pub async fn waits_for_leases_are_apart_from_those_of_runs(store: Arc<dyn RunStore>) {
    let (own, db) = (Namespace::default(), key("db"));
    let run = wait(&db, 0, 1);
    put_waits(&store, std::slice::from_ref(&run)).await;
    let lease = LeaseWait {
        owner: RunId::new(),
        limit: key("gpu"),
        since: after(2),
        was_handed: false,
        expires_at: after(60),
        n_slots: 1,
        reserved_until: None,
    };
    let theirs =
        LeaseWait { limit: LimitKey { namespace: elsewhere(), ..lease.limit.clone() }, ..lease.clone() };
    let mut tx = store.begin().await.unwrap();
    assert!(tx.put_lease_wait(&lease).await.unwrap());
    assert!(!tx.put_lease_wait(&theirs).await.unwrap(), "another's");
    assert!(!tx.put_lease_wait(&LeaseWait { owner: run.run_id, ..lease.clone() }).await.unwrap(), "a run's");
    assert_eq!(tx.lock_owner(lease.owner).await.unwrap().1, Some(lease.clone()));
    assert_eq!(tx.end_lease_wait(&elsewhere(), lease.owner).await.unwrap(), None, "another's");
    assert_eq!(tx.end_lease_wait(&own, run.run_id).await.unwrap(), None, "a run's");
    assert_eq!(tx.end_waits(&[lease.owner]).await.unwrap(), [], "a lease's");
    assert_eq!(tx.end_lease_wait(&own, lease.owner).await.unwrap(), Some(lease.limit.clone()));
    assert_eq!(tx.end_lease_wait(&own, lease.owner).await.unwrap(), None, "it has ended");
    assert!(tx.put_lease_wait(&lease).await.unwrap());
    let of_its_id = SlotWait { run_id: lease.owner, ..run.clone() };
    tx.put_waits(std::slice::from_ref(&of_its_id)).await.unwrap();
    assert_eq!(tx.lock_owner(lease.owner).await.unwrap(), (Vec::new(), None), "it is a run's");
    tx.commit().await.unwrap();
    assert_eq!(store.count_waits(&[db.clone(), lease.limit]).await.unwrap(), [2, 0]);
    assert_eq!(store.purge_lease_waits(after(60), 10).await.unwrap(), 0);
    let handed = handed_out(&store, &db, &any(99, 10)).await;
    assert_eq!(handed.len(), 2, "no run is forgotten");
}
