use std::{collections::HashMap, time::Duration};

use tidegate_model::{Namespace, RunId};

use super::support::{Fixture, at, entry, held, queue, runs, take, task, with_epoch};
use crate::{Function, QueueId};

/// Larger priority first, then earlier due, then smaller id.
pub async fn best_come_first_by_priority_then_time_then_id(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let mut ids = [RunId::new(), RunId::new(), RunId::new(), RunId::new(), RunId::new(), RunId::new()];
    ids.sort();
    let order = [(100, 9, 5), (1, 8, 4), (0, 1, 0), (0, 1, 3), (0, 2, 1), (-100, 0, 2)];
    let expected: Vec<_> = order
        .map(|(priority, due, id)| {
            let mut entry = entry(&q, &f);
            (entry.priority, entry.due_at, entry.id.run_id) = (priority, at(due), ids[id]);
            entry
        })
        .into();
    let mut shuffled = expected.clone();
    shuffled.rotate_left(2);
    shuffled.swap(0, 3);
    fixture.delivery.enqueue(&shuffled, at(10)).await.expect("enqueue");

    let first = take(&fixture.delivery, &q, std::slice::from_ref(&f), 4, at(10)).await;
    assert_eq!(first.entries, expected[..4]);
    let rest = take(&fixture.other, &q, &[f], 10, at(10)).await;
    assert_eq!(rest.entries, expected[4..]);
    assert_eq!(rest.next_in, None);
}

/// The best of several functions come first, however many each has.
pub async fn order_holds_across_functions(fixture: Fixture) {
    let q = queue("q");
    let functions = [task("a"), task("b"), task("c")];
    let mut expected = Vec::new();
    for n in 0..300 {
        let mut entry = entry(&q, &functions[if n < 200 { 0 } else { n % 3 }]);
        entry.priority = if n % 50 == 7 { 5 } else { 0 };
        expected.push(entry);
    }
    fixture.delivery.enqueue(&expected, at(0)).await.expect("enqueue");
    expected.sort_by_key(|entry| (-entry.priority, entry.id.run_id));

    let got = take(&fixture.delivery, &q, &functions, 250, at(0)).await;
    assert_eq!(runs(&got.entries), runs(&expected[..250]));
}

/// Also where another replica says it, and whatever the rest of the entry says.
pub async fn the_same_entry_twice_is_once(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let (now, later) = (entry(&q, &f), entry(&q, &f));
    let mut delayed = later.clone();
    delayed.due_at = at(50);
    let batch = [now.clone(), now.clone(), delayed.clone()];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    fixture.other.enqueue(&[now.clone(), later], at(0)).await.expect("enqueue");

    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(0)).await;
    assert_eq!(got.entries, [now]);
    let got = take(&fixture.delivery, &q, &[f], 10, at(50)).await;
    assert_eq!(got.entries, [delayed]);
}

/// An older one is ignored.
pub async fn a_higher_epoch_replaces_a_lower_one(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let first = with_epoch(&entry(&q, &f), 4);
    let mut second = with_epoch(&first, 6);
    second.priority = 3;
    fixture.delivery.enqueue(std::slice::from_ref(&first), at(0)).await.expect("enqueue");
    fixture.delivery.enqueue(std::slice::from_ref(&second), at(0)).await.expect("enqueue");
    fixture.delivery.enqueue(std::slice::from_ref(&first), at(0)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(0)).await;
    assert_eq!(got.entries, [second]);

    // Also while it is claimed: the new entry can be taken, and the old claim is void.
    let mut third = with_epoch(&first, 8);
    third.due_at = at(5);
    fixture.delivery.enqueue(&[with_epoch(&first, 5)], at(0)).await.expect("enqueue");
    assert!(take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(0)).await.entries.is_empty());
    fixture.delivery.enqueue(std::slice::from_ref(&third), at(0)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(5)).await;
    assert_eq!(got.entries, [third]);

    // And while it is delayed: a later epoch that is due at once is.
    let mut delayed = entry(&q, &f);
    delayed.due_at = at(90);
    let mut sooner = with_epoch(&delayed, 1);
    sooner.due_at = at(6);
    fixture.delivery.enqueue(&[delayed], at(6)).await.expect("enqueue");
    fixture.delivery.enqueue(std::slice::from_ref(&sooner), at(6)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(6)).await;
    assert_eq!((got.entries, got.next_in), (vec![sooner], None));
}

/// A head that no worker can execute does not hold up what is behind it.
pub async fn functions_nobody_serves_block_nobody(fixture: Fixture) {
    let q = queue("q");
    let mut unserved: Vec<_> = (0..100).map(|_| entry(&q, &task("unserved"))).collect();
    unserved.iter_mut().for_each(|entry| entry.priority = 100);
    fixture.delivery.enqueue(&unserved, at(0)).await.expect("enqueue");
    let served = entry(&q, &task("served"));
    fixture.delivery.enqueue(std::slice::from_ref(&served), at(0)).await.expect("enqueue");

    let got = take(&fixture.delivery, &q, &[task("served"), task("other")], 10, at(0)).await;
    assert_eq!(got.entries, [served]);
    let got = take(&fixture.delivery, &q, &[task("unserved")], 200, at(0)).await;
    assert_eq!(got.entries.len(), 100);
}

/// One never gets what is another's.
pub async fn kinds_queues_and_tenants_are_apart(fixture: Fixture) {
    let q = queue("q");
    let elsewhere = queue("q.elsewhere");
    let foreign = QueueId { namespace: "foreign".parse::<Namespace>().expect("a name"), ..q.clone() };
    let flow = Function::Flow("f".parse().expect("a function name"));
    let pool = Function::Pool("f".parse().expect("a name"));
    // What a flow may be called, so that it looks like the pool.
    let like_it = Function::Flow("pool:f".parse().expect("a function name"));
    let places = [
        (&q, task("f")),
        (&q, flow.clone()),
        (&q, pool.clone()),
        (&q, like_it),
        (&elsewhere, task("f")),
        (&elsewhere, pool),
        (&foreign, task("f")),
    ];
    let entries: Vec<_> = places.iter().map(|(queue, function)| entry(queue, function)).collect();
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    for ((queue, function), expected) in places.into_iter().zip(entries) {
        let got = take(&fixture.delivery, queue, &[function], 10, at(0)).await;
        assert_eq!(got.entries, [expected]);
    }
}

/// And the taker learns when to come again.
pub async fn delayed_entries_wait_until_they_are_due(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let (mut near, mut far, mut unserved) = (entry(&q, &f), entry(&q, &f), entry(&q, &task("g")));
    (near.due_at, far.due_at, unserved.due_at) = (at(10), at(100), at(1));
    let batch = [far.clone(), near.clone(), unserved];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");

    let just_before = at(10) - Duration::from_millis(1);
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, just_before).await;
    assert_eq!((got.entries, got.next_in), (Vec::new(), Some(Duration::from_millis(1))));
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 10, at(10)).await;
    assert_eq!((got.entries, got.next_in), (vec![near], Some(Duration::from_secs(90))));
    let got = take(&fixture.delivery, &q, &[f], 10, at(1_000)).await;
    assert_eq!((got.entries, got.next_in), (vec![far], None));
}

/// Once due, it overtakes what is less urgent, and stands behind what was due before it.
pub async fn a_delayed_entry_keeps_its_priority(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let (mut urgent, mut plain, waiting) = (entry(&q, &f), entry(&q, &f), entry(&q, &f));
    (urgent.priority, urgent.due_at, plain.due_at) = (1, at(20), at(10));
    let batch = [plain.clone(), urgent.clone(), waiting.clone()];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, &[f], 10, at(20)).await;
    assert_eq!(got.entries, [urgent, waiting, plain]);
}

/// Names are the user's: braces, spaces and other scripts included.
pub async fn any_name_that_the_model_allows_works(fixture: Fixture) {
    let q = queue("a.b_c-D9");
    for name in ["{x}:y", "a b", "größe", "流れ", "*", "a:b:c", &"n".repeat(256)] {
        let entry = with_epoch(&entry(&q, &task(name)), 3);
        fixture.delivery.enqueue(std::slice::from_ref(&entry), at(0)).await.expect("enqueue");
        let got = take(&fixture.delivery, &q, &[task(name), task("plain")], 10, at(0)).await;
        assert_eq!(got.entries, std::slice::from_ref(&entry));
        fixture.delivery.forget(&[entry.id]).await.expect("forget");
    }
    assert_eq!((fixture.footprint)().await, 0);
}

/// More than a batch of the protocol, in one call.
pub async fn a_large_batch_goes_through(fixture: Fixture) {
    let q = queue("q");
    let functions = [task("a"), task("b")];
    let entries: Vec<_> = (0..3_000).map(|n| entry(&q, &functions[n % 2])).collect();
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    let mut got = Vec::new();
    while got.len() < entries.len() {
        let taken = take(&fixture.delivery, &q, &functions, 1_000, at(0)).await.entries;
        assert!(!taken.is_empty(), "{} of {} came", got.len(), entries.len());
        got.extend(taken);
    }
    assert_eq!(runs(&got), runs(&entries));
}

/// A worker may serve far more functions than have work.
pub async fn many_functions_can_be_served_at_once(fixture: Fixture) {
    let q = queue("q");
    let functions: Vec<_> = (0..2_000).map(|n| task(&format!("f{n}"))).collect();
    let entries: Vec<_> = (0..100).map(|n| entry(&q, &functions[n * 19])).collect();
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, &functions, 1_000, at(0)).await;
    assert_eq!(runs(&got.entries), runs(&entries));
}

/// Ready, delayed and claimed ones alike; a newer one stays.
pub async fn forgotten_entries_are_gone_wherever_they_wait(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let functions = std::slice::from_ref(&f);
    let claimed = entry(&q, &f);
    fixture.delivery.enqueue(std::slice::from_ref(&claimed), at(0)).await.expect("enqueue");
    assert_eq!(take(&fixture.delivery, &q, functions, 1, at(0)).await.entries.len(), 1);
    let (ready, mut delayed, newer) =
        (entry(&q, &f), with_epoch(&entry(&q, &f), 2), with_epoch(&entry(&q, &f), 9));
    delayed.due_at = at(50);
    let batch = [ready.clone(), delayed.clone(), newer.clone()];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");

    let older_than_newer = with_epoch(&newer, 8);
    let unknown = entry(&q, &f);
    let forgotten = [claimed, ready, with_epoch(&delayed, 3), older_than_newer, unknown];
    let forgotten = forgotten.map(|entry| entry.id);
    fixture.delivery.forget(&forgotten).await.expect("forget");
    fixture.delivery.forget(&forgotten).await.expect("forget again");
    let got = take(&fixture.delivery, &q, functions, 10, at(100)).await;
    assert_eq!(got.entries, std::slice::from_ref(&newer));
    fixture.delivery.forget(&[newer.id]).await.expect("forget");
    assert_eq!((fixture.footprint)().await, 0);
}

/// The gauges never lose sight of a queue that has just been drained.
pub async fn depths_count_and_a_drained_queue_is_zero(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let mut batch: Vec<_> = (0..5).map(|_| entry(&q, &f)).collect();
    (batch[3].due_at, batch[4].due_at) = (at(50), at(60));
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    take(&fixture.delivery, &q, &[f], 1, at(0)).await;
    let depths = fixture.other.depths(at(0)).await.expect("depths");
    let [depth] = depths.as_slice() else { panic!("one queue, not {depths:?}") };
    assert_eq!((&depth.queue, depth.ready, depth.delayed, depth.claimed), (&q, 2, 2, 1));

    let ids: Vec<_> = batch.iter().map(|entry| entry.id.clone()).collect();
    fixture.delivery.forget(&ids).await.expect("forget");
    let depths = fixture.other.depths(at(60)).await.expect("depths");
    let [depth] = depths.as_slice() else { panic!("one queue, not {depths:?}") };
    assert_eq!((depth.ready, depth.delayed, depth.claimed), (0, 0, 0));
    assert_eq!(fixture.other.depths(at(2 * 3_600)).await.expect("depths"), []);
}

/// Nothing to do is done.
pub async fn empty_batches_are_answered(fixture: Fixture) {
    let q = queue("q");
    let delivery = &fixture.delivery;
    delivery.enqueue(&[], at(0)).await.expect("enqueue");
    delivery.put_back(&[], at(0)).await.expect("put back");
    delivery.forget(&[]).await.expect("forget");
    delivery.lease(&[], super::support::LONG).await.expect("lease");
    delivery.release(&[]).await.expect("release");
    delivery.stop(&[]).await.expect("stop");
    let none = Namespace::default();
    assert_eq!(delivery.renew(&none, &[], &HashMap::new(), super::support::LONG).await.expect("renew"), []);
    assert_eq!(delivery.check(&[]).await.expect("check"), []);
    assert_eq!(take(delivery, &q, &[], 10, at(0)).await.entries, []);
    assert_eq!(take(delivery, &q, &[task("f")], 0, at(0)).await.entries, []);
    let nobody = held(&entry(&q, &task("f")), 1);
    delivery.release(&[nobody]).await.expect("release of an unknown lease");
}
