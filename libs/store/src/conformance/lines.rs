//! The line of those who wait for a limit: whose turn it is, and what is kept for whom.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_model::RunId;
use tidegate_orchestration::Line;

use super::{
    fixture::*,
    slots::{any, handed_out, held, key, put_waits, slot, take, wait},
};
use crate::{Awaited, HandOut, LeaseWait, LimitKey, RunStore, SlotWait};

/// Waits of a key, as many as asked for, due from these seconds on.
fn waits_of(limit: &LimitKey, fairness_key: &str, n: u64, from: u64) -> Vec<SlotWait> {
    let fairness_key = (!fairness_key.is_empty()).then(|| fairness_key.parse().unwrap());
    let of_key = |seconds| SlotWait { fairness_key: fairness_key.clone(), ..wait(limit, 0, seconds) };
    (from..from + n).map(of_key).collect()
}

/// Those that are handed out one after the other, by where they are in `waits`.
async fn order(store: &Arc<dyn RunStore>, limit: &LimitKey, waits: &[SlotWait], n: usize) -> Vec<usize> {
    let mut order = Vec::new();
    for _ in 0..n {
        let handed = handed_out(store, limit, &any(100, 1)).await;
        order.extend(handed.iter().map(|id| waits.iter().position(|wait| wait.run_id == *id).unwrap()));
    }
    order
}

/// Those of one priority are served in turn by key, whatever waits with one of them; those without a key are one more. One
/// that begins to wait comes behind one of each other.
pub async fn keys_take_turns_for_slots(store: Arc<dyn RunStore>) {
    let db = key("db");
    let (of_x, of_a, of_none) = (waits_of(&db, "x", 6, 0), waits_of(&db, "a", 2, 6), waits_of(&db, "", 2, 8));
    for waits in [&of_x, &of_a, &of_none] {
        put_waits(&store, waits).await;
    }
    let mut waits = [of_x, of_a, of_none].concat();
    assert_eq!(order(&store, &db, &waits, 3).await, [0, 6, 8]);
    waits.push(SlotWait { priority: 1, ..waits_of(&db, "x", 1, 20).remove(0) });
    waits.extend(waits_of(&db, "b", 1, 21));
    put_waits(&store, &waits[10..]).await;
    assert_eq!(order(&store, &db, &waits, 5).await, [10, 1, 7, 9, 11], "the larger priority, then in turn");
    put_waits(&store, &waits[..1]).await;
    assert_eq!(order(&store, &db, &waits, 9).await, [0, 2, 3, 4, 5], "it waits anew, in its place");

    let (other, many) = (key("other"), 9);
    let (mut of_x, of_y) = (waits_of(&other, "x", many, 0), waits_of(&other, "y", 1, 50));
    of_x.extend(waits_of(&other, "z", 1, 51));
    put_waits(&store, &of_x).await;
    put_waits(&store, &of_y).await;
    let at_once = handed_out(&store, &other, &any(100, 4)).await;
    let expected = [&of_x[0], &of_x[1], &of_x[9], &of_y[0]].map(|wait| wait.run_id);
    assert_eq!(BTreeSet::from_iter(at_once), BTreeSet::from(expected), "as one after the other");
}

/// However many keys come, each comes behind those that wait.
pub async fn a_new_key_overtakes_nobody(store: Arc<dyn RunStore>) {
    let db = key("db");
    let mut waits = waits_of(&db, "x", 2, 0);
    put_waits(&store, &waits).await;
    let mut handed = Vec::new();
    for n in 0..6 {
        let new = waits_of(&db, &format!("new-{n}"), 1, 10 + n);
        put_waits(&store, &new).await;
        waits.extend(new);
        handed.extend(order(&store, &db, &waits, 1).await);
    }
    assert_eq!(handed, [0, 2, 1, 3, 4, 5]);
}

/// Of one key those are served first that are due first, in whichever order they began to wait.
pub async fn of_one_key_the_earliest_is_served(store: Arc<dyn RunStore>) {
    let db = key("db");
    let (mut waits, of_y) = (waits_of(&db, "x", 3, 0), waits_of(&db, "y", 2, 50));
    for wait in waits.iter().rev() {
        put_waits(&store, std::slice::from_ref(wait)).await;
    }
    put_waits(&store, &of_y).await;
    waits.extend(of_y);
    assert_eq!(order(&store, &db, &waits, 5).await, [0, 3, 1, 4, 2]);
}

/// Who leaves the line is not counted as served: those behind it with its key move up.
pub async fn who_leaves_takes_no_turn(store: Arc<dyn RunStore>) {
    let db = key("db");
    let mut waits = waits_of(&db, "x", 100, 0);
    put_waits(&store, &waits).await;
    let of_y = waits_of(&db, "y", 4, 200);
    put_waits(&store, &of_y).await;
    waits.extend(of_y);
    let gone: Vec<RunId> = waits[..96].iter().chain(&waits[97..98]).map(|wait| wait.run_id).collect();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_waits(&gone).await.unwrap().len(), 97);
    tx.commit().await.unwrap();
    assert_eq!(order(&store, &db, &waits, 7).await, [96, 100, 98, 101, 99, 102, 103]);
}

/// No more are handed out than there are slots and tokens, less those that are on their way, for as long as theirs are
/// kept for them; who ends a wait learns for what it was.
pub async fn those_on_their_way_count(store: Arc<dyn RunStore>) {
    let db = key("db");
    let waits: Vec<_> = (0..9).map(|n| wait(&db, 0, n)).collect();
    put_waits(&store, &waits).await;
    let hand_out = async |seconds: u64, max_slots: u32| {
        let ask = HandOut { max_slots: Some(max_slots), ..any(seconds, 9) };
        handed_out(&store, &db, &ask).await.len()
    };
    assert_eq!(hand_out(10, 0).await, 0);
    assert_eq!(hand_out(10, 2).await, 2);
    assert_eq!(hand_out(11, 2).await, 0, "both are on their way");
    assert_eq!(hand_out(11, 3).await, 1);
    let mut tx = store.begin().await.unwrap();
    let ended = tx.end_waits(&[waits[0].run_id, RunId::new()]).await.unwrap();
    assert_eq!(ended, [(waits[0].run_id, db.clone())]);
    tx.commit().await.unwrap();
    assert_eq!(hand_out(12, 3).await, 1, "one waits no longer");
    let holders = [held(), held()];
    insert(&store, &[&holders[0], &holders[1]]).await;
    take(&store, &[slot(&db, &holders[0]), slot(&db, &holders[1])]).await;
    assert_eq!(hand_out(13, 5).await, 0, "two are taken, and three are on their way");
    let tokens = HandOut { n_tokens: Some(3), ..any(13, 9) };
    assert_eq!(handed_out(&store, &db, &tokens).await, [], "as many as there are tokens");
    assert_eq!(store.first_lapse(&db, after(13)).await.unwrap(), Some(after(15)));
    assert_eq!(hand_out(15, 5).await, 1, "what was kept for the first is free again");
    assert_eq!(store.first_lapse(&db, after(15)).await.unwrap(), Some(after(16)));
    assert_eq!(store.first_lapse(&key("gpu"), T0).await.unwrap(), None);
    let after_lapses = HandOut { max_slots: Some(3), ..any(17, 9) };
    assert_eq!(handed_out(&store, &db, &after_lapses).await, [], "one is free, and one is on its way");
    let more = HandOut { max_lapsed: 2, ..after_lapses };
    assert_eq!(handed_out(&store, &db, &more).await.len(), 2, "one more for each that did not come");
    let long_ago = HandOut { lapsed_since: after(17), ..more };
    assert_eq!(handed_out(&store, &db, &long_ago).await, [], "they are forgotten");
    assert_eq!(handed_out(&store, &db, &HandOut { n_more: 3, ..long_ago }).await.len(), 1);
}

/// Of a new run's competitors those count that wait and those that are on their way, not those that were passed over; and
/// those that came not in time are known for a while.
pub async fn those_who_wait_come_before_new_ones(store: Arc<dyn RunStore>) {
    let (db, gpu) = (key("db"), key("gpu"));
    let waits: Vec<_> = (0..4).map(|n| wait(&db, 0, n)).collect();
    put_waits(&store, &waits).await;
    let keys = [gpu.clone(), db.clone()];
    let line = async |but: Option<RunId>, since: u64, now: u64, limit: usize| {
        let mut tx = store.begin().await.unwrap();
        let lines = tx.count_line(&keys, but, after(since), after(now), limit).await.unwrap();
        assert_eq!(lines[0], Line::default());
        (lines[1].n_waiting, lines[1].n_reserved, lines[1].n_lapsed)
    };
    assert_eq!(line(None, 0, 10, 9).await, (4, 0, 0));
    assert_eq!(line(None, 0, 10, 3).await, (3, 0, 0), "no more are counted");
    assert_eq!(line(Some(waits[1].run_id), 0, 10, 9).await, (3, 0, 0), "but itself");
    let mut handed = Vec::new();
    for seconds in [4, 5, 6] {
        handed.extend(handed_out(&store, &db, &any(seconds, 1)).await);
    }
    assert_eq!(handed, [waits[0].run_id, waits[1].run_id, waits[2].run_id]);
    assert_eq!(line(None, 0, 9, 9).await, (1, 2, 1), "what is kept is kept before its end");
    assert_eq!(line(Some(waits[2].run_id), 0, 9, 9).await, (1, 1, 1));
    assert_eq!(line(None, 9, 10, 9).await, (1, 1, 1), "those of long ago are forgotten");
    store.pass_over(&gpu, &handed, after(5)).await.unwrap();
    assert_eq!(line(None, 0, 9, 9).await, (1, 2, 1), "they wait for another limit");
    store.pass_over(&db, &handed, after(5)).await.unwrap();
    assert_eq!(line(None, 0, 9, 9).await, (1, 1, 1), "of those that were handed out then");
    assert_eq!(
        line(None, 0, 20, 9).await,
        (1, 0, 2),
        "nothing was kept for it any more, so it did not come too late"
    );

    let mut tx = store.begin().await.unwrap();
    let asked = [waits[2].run_id, waits[3].run_id, RunId::new()];
    for (seconds, expected) in [(9, [true, true]), (11, [false, true])] {
        let mut awaited = tx.awaited_by(&asked, after(seconds)).await.unwrap();
        awaited.sort_by_key(|awaited| awaited.run_id != waits[2].run_id);
        let awaits = |(wait, is_in_line): (&SlotWait, bool)| Awaited {
            run_id: wait.run_id,
            limit: db.clone(),
            is_in_line,
        };
        assert_eq!(awaited, waits[2..].iter().zip(expected).map(awaits).collect::<Vec<_>>());
    }
    drop(tx);
    put_waits(&store, &waits[..1]).await;
    assert_eq!(line(None, 0, 20, 9).await, (2, 0, 1), "it waits anew");
    let mut tx = store.begin().await.unwrap();
    for _ in 0..2 {
        tx.use_lapses(&[(gpu.clone(), 1), (db.clone(), 1)], T0, after(20)).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(line(None, 0, 20, 9).await, (2, 0, 0), "another was let through for it, once");
    let bounded = |max_lapsed| HandOut { max_slots: Some(0), n_more: 1, max_lapsed, ..any(20, 9) };
    assert_eq!(handed_out(&store, &db, &bounded(9)).await, [], "nothing is free");
    let again = HandOut { handed_before: Some(after(7)), ..any(30, 9) };
    assert_eq!(handed_out(&store, &db, &again).await.len(), 4);
    assert_eq!(
        line(None, 25, 30, 9).await,
        (0, 2, 0),
        "nothing is kept for those that were handed out before"
    );
}

/// Leases that leave the line, as they end or are not heard of, take no turns of those behind them.
pub async fn leases_that_leave_take_no_turns(store: Arc<dyn RunStore>) {
    let db = key("db");
    let lease = |seconds, expires_at| LeaseWait {
        owner: RunId::new(),
        limit: db.clone(),
        since: after(seconds),
        was_handed: false,
        expires_at: after(expires_at),
        n_slots: 1,
        reserved_until: None,
    };
    let (of_none, of_x) = (waits_of(&db, "", 2, 60), waits_of(&db, "x", 3, 0));
    put_waits(&store, &of_x).await;
    let leases: Vec<_> = (0..40).map(|n| lease(n, if n < 20 { 50 } else { 200 })).collect();
    let mut tx = store.begin().await.unwrap();
    for lease in &leases {
        assert!(tx.put_lease_wait(lease).await.unwrap());
    }
    tx.commit().await.unwrap();
    put_waits(&store, &of_none).await;
    assert_eq!(store.purge_lease_waits(after(60), 100).await.unwrap(), 20);
    let mut tx = store.begin().await.unwrap();
    for lease in &leases[20..] {
        let ended = tx.end_lease_wait(&lease.limit.namespace, lease.owner).await.unwrap();
        assert_eq!(ended, Some(db.clone()));
    }
    tx.commit().await.unwrap();
    let waits = [of_none, of_x].concat();
    assert_eq!(order(&store, &db, &waits, 5).await, [2, 0, 3, 1, 4], "as if there had been no leases");
}

/// What was handed out and lost is in line again, where it was, and others stay as they are.
pub async fn what_was_lost_is_in_line_again(store: Arc<dyn RunStore>) {
    let (db, gpu) = (key("db"), key("gpu"));
    let mut waits = waits_of(&db, "x", 4, 0);
    waits.extend(waits_of(&db, "y", 2, 10));
    put_waits(&store, &waits).await;
    put_waits(&store, &waits_of(&gpu, "", 1, 0)).await;
    assert_eq!(handed_out(&store, &gpu, &any(20, 1)).await.len(), 1);
    assert_eq!(handed_out(&store, &db, &any(20, 3)).await.len(), 3);
    assert_eq!(handed_out(&store, &db, &any(30, 1)).await.len(), 1);
    assert_eq!(store.return_lost(&db, after(30), 2).await.unwrap(), 2);
    assert_eq!(store.return_lost(&db, after(30), 9).await.unwrap(), 1, "not that which was handed out later");
    assert_eq!(store.first_lapse(&db, after(20)).await.unwrap(), Some(after(35)));
    let order = order(&store, &db, &waits, 6).await;
    assert_eq!(order, [0, 4, 1, 2, 3], "in their turn, and each once");
    assert_eq!(handed_out(&store, &gpu, &any(100, 9)).await, [], "another limit's is on its way");
}
