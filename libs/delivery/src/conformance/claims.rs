use std::{collections::HashSet, sync::Arc, time::Duration};

use super::support::{Fixture, SHORT, at, entry, eventually, queue, runs, take, task, with_epoch};
use crate::{Labels, Want};

/// Many takers at two replicas at once.
pub async fn each_entry_goes_to_one_taker(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let entries: Vec<_> = (0..500).map(|_| entry(&q, &f)).collect();
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    let takers = (0..8).map(|n| {
        let delivery = Arc::clone(if n % 2 == 0 { &fixture.delivery } else { &fixture.other });
        let (q, f) = (&q, std::slice::from_ref(&f));
        async move {
            let mut got = Vec::new();
            loop {
                let taken = take(&delivery, q, f, 7, at(0)).await.entries;
                if taken.is_empty() {
                    return got;
                }
                got.extend(runs(&taken));
            }
        }
    });
    let got: Vec<_> = futures::future::join_all(takers).await.concat();
    assert_eq!(got.len(), entries.len());
    assert_eq!(got.into_iter().collect::<HashSet<_>>(), runs(&entries).into_iter().collect());
}

/// A replica that dies between take and claim loses nothing.
pub async fn an_expired_claim_is_ready_again_as_it_was(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let mut lost = with_epoch(&entry(&q, &f), 7);
    (lost.priority, lost.due_at) = (-3, at(4));
    lost.id.fairness_key = Some("a key".parse().expect("a fairness key"));
    lost.prefers = Some("worker 1".parse().expect("a worker id"));
    fixture.delivery.enqueue(std::slice::from_ref(&lost), at(5)).await.expect("enqueue");
    let functions = [f];
    let labels = Labels::new();
    let want =
        Want { queue: &q, functions: &functions, labels: &labels, limit: 5, now: at(5), claim_lease: SHORT };
    let got = fixture.delivery.take(want).await.expect("take");
    assert_eq!(got.entries, [lost.clone()]);
    let again = eventually("the return of the claim", || async {
        let taken = take(&fixture.other, &q, &functions, 5, at(5)).await.entries;
        (!taken.is_empty()).then_some(taken)
    });
    assert_eq!(again.await, [lost]);
}

/// However many functions there are: what is beyond the bound comes with the takes that follow.
pub async fn a_take_moves_no_more_than_its_bound(fixture: Fixture) {
    const BOUND: u64 = 1_000;
    let (q, functions) = (queue("q"), ["f", "g", "h"].map(task));
    let mut entries = Vec::new();
    for n in 0..2_400 {
        let mut entry = entry(&q, &functions[n % 3]);
        entry.due_at = at(10);
        entries.push(entry);
    }
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    let mut got = take(&fixture.delivery, &q, &functions, 1, at(20)).await;
    assert_eq!((got.entries.len(), got.next_in), (1, Some(Duration::ZERO)));
    let depth = fixture.other.depth(&q).await.expect("depth");
    assert_eq!((depth.ready, depth.delayed, depth.claimed), (BOUND - 1, 2_400 - BOUND, 1));
    while got.entries.len() < entries.len() {
        let more = take(&fixture.delivery, &q, &functions, 2_400, at(20)).await.entries;
        assert_ne!(more, []);
        got.entries.extend(more);
    }
    fixture.delivery.put_back(&got.entries, at(20)).await.expect("put back");

    let labels = Labels::new();
    let want = Want {
        queue: &q,
        functions: &functions,
        labels: &labels,
        limit: 2_400,
        now: at(20),
        claim_lease: SHORT,
    };
    assert_eq!(fixture.delivery.take(want).await.expect("take").entries.len(), 2_400);
    // All of these claims expire at the same time.
    eventually("the return of the claims", || async {
        let taken = take(&fixture.other, &q, &functions, 1, at(20)).await.entries;
        (!taken.is_empty()).then_some(())
    })
    .await;
    let depth = fixture.other.depth(&q).await.expect("depth");
    assert_eq!((depth.ready, depth.claimed), (BOUND - 1, 2_401 - BOUND));
}

/// Enqueueing what is being claimed changes nothing.
pub async fn a_claimed_entry_is_known(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let entry = entry(&q, &f);
    fixture.delivery.enqueue(std::slice::from_ref(&entry), at(0)).await.expect("enqueue");
    take(&fixture.delivery, &q, std::slice::from_ref(&f), 5, at(0)).await;
    fixture.other.enqueue(&[entry], at(0)).await.expect("enqueue");
    assert_eq!(take(&fixture.delivery, &q, &[f], 5, at(0)).await.entries, []);
}

/// Claimed, waiting and unknown ones alike.
pub async fn put_back_waits_for_its_new_time(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let functions = std::slice::from_ref(&f);
    let mut claimed = with_epoch(&entry(&q, &f), 2);
    claimed.priority = 8;
    fixture.delivery.enqueue(std::slice::from_ref(&claimed), at(0)).await.expect("enqueue");
    take(&fixture.delivery, &q, functions, 5, at(0)).await;
    let (mut waiting, mut unknown) = (entry(&q, &f), entry(&q, &f));
    fixture.delivery.enqueue(std::slice::from_ref(&waiting), at(0)).await.expect("enqueue");

    (claimed.due_at, waiting.due_at, unknown.due_at) = (at(10), at(20), at(30));
    let batch = [claimed.clone(), waiting.clone(), unknown.clone()];
    fixture.delivery.put_back(&batch, at(0)).await.expect("put back");
    let got = take(&fixture.delivery, &q, functions, 5, at(0)).await;
    assert_eq!((got.entries, got.next_in), (Vec::new(), Some(Duration::from_secs(10))));
    let got = take(&fixture.delivery, &q, functions, 5, at(20)).await;
    assert_eq!(got.entries, [claimed.clone(), waiting]);

    // A time that has come means at once.
    claimed.due_at = at(1);
    fixture.delivery.put_back(std::slice::from_ref(&claimed), at(20)).await.expect("put back");
    let got = take(&fixture.other, &q, functions, 5, at(30)).await;
    assert_eq!(got.entries, [claimed, unknown]);
}

/// A late put-back of an old delivery does not undo a newer one.
pub async fn put_back_never_brings_back_an_old_epoch(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let old = entry(&q, &f);
    let new = with_epoch(&old, 2);
    fixture.delivery.enqueue(std::slice::from_ref(&new), at(0)).await.expect("enqueue");
    fixture.delivery.put_back(std::slice::from_ref(&old), at(0)).await.expect("put back");
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 5, at(0)).await;
    assert_eq!(got.entries, [new]);
    fixture.delivery.put_back(&[old], at(0)).await.expect("put back");
    assert_eq!(take(&fixture.delivery, &q, &[f], 5, at(0)).await.entries, []);
}
