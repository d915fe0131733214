use std::{collections::HashMap, time::Duration};

use tidegate_model::{Namespace, RunId};

use super::support::{Fixture, LONG, SHORT, at, entry, eventually, held, queue, take, task};
use crate::{Delivery, Entry, Held, Lease, LeaseQuestion, Standing};

fn lease(held: Held) -> Lease {
    let worker_id = "worker 1/ü".parse().expect("a worker id");
    Lease { held, namespace: Namespace::default(), worker_id }
}

fn some_run() -> Entry {
    entry(&queue("q"), &task("f"))
}

async fn is_held(delivery: &dyn Delivery, held: Held) -> bool {
    let question = LeaseQuestion { queue: queue("q"), held };
    delivery.check(&[question]).await.expect("check") == [true]
}

async fn renews(delivery: &dyn Delivery, held: Held) -> bool {
    delivery.renew(&Namespace::default(), &[held], &HashMap::new(), LONG).await.expect("renew") == [true]
}

/// From any replica.
pub async fn a_lease_lives_until_it_is_released(fixture: Fixture) {
    let held = held(&some_run(), 1);
    assert!(!is_held(&*fixture.delivery, held).await);
    fixture.delivery.lease(&[lease(held)], LONG).await.expect("lease");
    assert!(is_held(&*fixture.other, held).await);
    assert!(renews(&*fixture.other, held).await);
    fixture.other.release(&[held]).await.expect("release");
    assert!(!is_held(&*fixture.delivery, held).await);
    assert!(!renews(&*fixture.delivery, held).await);
    assert_eq!((fixture.footprint)().await, 0);
}

/// Neither a late grant nor a late release.
pub async fn a_lease_under_an_older_epoch_changes_nothing(fixture: Fixture) {
    let run = some_run();
    let (old, new) = (held(&run, 3), held(&run, 5));
    fixture.delivery.lease(&[lease(old)], LONG).await.expect("lease");
    fixture.delivery.lease(&[lease(new)], LONG).await.expect("lease");
    fixture.delivery.lease(&[lease(old)], LONG).await.expect("lease");
    fixture.delivery.release(&[old]).await.expect("release");
    assert!(is_held(&*fixture.delivery, new).await);
    assert!(!is_held(&*fixture.delivery, old).await);
    fixture.delivery.release(&[held(&run, 6)]).await.expect("release");
    assert!(!is_held(&*fixture.delivery, new).await);
}

/// In the order of the question; neither another epoch nor another tenant.
pub async fn a_lease_is_renewed_for_its_holder_only(fixture: Fixture) {
    let runs: Vec<_> = (0..40).map(|_| held(&some_run(), 2)).collect();
    let leases: Vec<_> = runs.iter().step_by(2).copied().map(lease).collect();
    fixture.delivery.lease(&leases, LONG).await.expect("lease");
    let expected: Vec<_> = (0..40).map(|n| n % 2 == 0).collect();
    let known =
        fixture.other.renew(&Namespace::default(), &runs, &HashMap::new(), LONG).await.expect("renew");
    assert_eq!(known, expected);
    let questions: Vec<_> =
        runs.iter().map(|held| LeaseQuestion { queue: queue("q"), held: *held }).collect();
    assert_eq!(fixture.other.check(&questions).await.expect("check"), expected);

    let stale = Held { epoch: tidegate_model::Epoch(1), ..runs[0] };
    assert!(!renews(&*fixture.delivery, stale).await);
    let foreign: Namespace = "foreign".parse().expect("a name");
    let renewed = fixture.delivery.renew(&foreign, &runs[..1], &HashMap::new(), LONG).await;
    assert_eq!(renewed.expect("renew"), [false]);
}

/// Until the next renewal, and no longer than the lease; neither of another epoch nor of another tenant.
pub async fn what_hinders_a_run_is_known_with_its_lease(fixture: Fixture) {
    let run = some_run();
    let (old, new) = (held(&run, 3), held(&run, 5));
    let renew = async |namespace: &Namespace, held: Held, hindrance: &str| {
        let hindrances = HashMap::from([(held, hindrance.to_owned())]);
        fixture.delivery.renew(namespace, &[held], &hindrances, LONG).await.expect("renew");
    };
    let hindrance = async || match fixture.other.standing(&run.id, at(0)).await.expect("standing") {
        Standing::Leased { hindrance, .. } => hindrance,
        other => panic!("{other:?}"),
    };
    let home = Namespace::default();
    fixture.delivery.lease(&[lease(old)], LONG).await.expect("lease");
    assert_eq!(hindrance().await, "");
    renew(&home, old, "Unschedulable:\n0/3 nodes, ü").await;
    assert_eq!(hindrance().await, "Unschedulable:\n0/3 nodes, ü");
    renew(&"foreign".parse().expect("a name"), old, "foreign").await;
    renew(&home, new, "later").await;
    assert_eq!(hindrance().await, "Unschedulable:\n0/3 nodes, ü");
    assert!(renews(&*fixture.other, old).await);
    assert_eq!(hindrance().await, "", "it does not hinder any more");

    renew(&home, old, "again").await;
    fixture.delivery.lease(&[lease(new)], LONG).await.expect("lease");
    assert_eq!(hindrance().await, "", "it was another attempt");
    renew(&home, new, "and again").await;
    fixture.delivery.release(&[new]).await.expect("release");
    assert_eq!((fixture.footprint)().await, 0);
}

/// And a judge that dies loses nothing.
pub async fn an_expired_lease_goes_to_one_judge_at_a_time(fixture: Fixture) {
    let (lost, alive) = (held(&some_run(), 4), held(&some_run(), 4));
    fixture.delivery.lease(&[lease(lost)], SHORT).await.expect("lease");
    fixture.delivery.lease(&[lease(alive)], LONG).await.expect("lease");
    let found = eventually("the expiry", || async {
        let found = fixture.delivery.expired(100, SHORT).await.expect("expired");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found.await, [lease(lost)]);
    let again = eventually("the judge's own expiry", || async {
        let found = fixture.other.expired(100, LONG).await.expect("expired");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(again.await, [lease(lost)]);
    assert_eq!(fixture.delivery.expired(100, LONG).await.expect("expired"), []);
    fixture.delivery.release(&[lost]).await.expect("release");
    assert!(is_held(&*fixture.delivery, alive).await);

    // No more than asked for, but for one more of each part that the state is split into.
    let many: Vec<_> = (0..200).map(|_| lease(Held { run_id: RunId::new(), epoch: lost.epoch })).collect();
    fixture.delivery.lease(&many, Duration::from_millis(1)).await.expect("lease");
    let mut judged = 0;
    while judged < many.len() {
        let found = eventually("more expired leases", || async {
            let found = fixture.delivery.expired(40, LONG).await.expect("expired");
            (!found.is_empty()).then_some(found)
        })
        .await;
        assert!(found.len() <= 60, "{} at once", found.len());
        judged += found.len();
    }
    assert_eq!(judged, many.len());
}

/// Nor one that was renewed after it had expired and before it was judged.
pub async fn a_renewed_lease_does_not_expire(fixture: Fixture) {
    let (renewed, witness) = (held(&some_run(), 1), held(&some_run(), 1));
    fixture.delivery.lease(&[lease(renewed), lease(witness)], SHORT).await.expect("lease");
    assert!(renews(&*fixture.other, renewed).await);
    let found = eventually("the expiry of the other lease", || async {
        let found = fixture.delivery.expired(100, Duration::from_millis(1)).await.expect("expired");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found.await, [lease(witness)]);
    assert!(renews(&*fixture.other, witness).await);
    assert_eq!(fixture.delivery.expired(100, LONG).await.expect("expired"), []);
}

/// Between the claim in the store and the lease here, nobody is to call the run lost.
pub async fn a_claim_under_way_counts_as_held(fixture: Fixture) {
    let entry = some_run();
    let question = |epoch| held(&entry, epoch);
    fixture.delivery.enqueue(std::slice::from_ref(&entry), at(0)).await.expect("enqueue");
    assert!(!is_held(&*fixture.other, question(1)).await);
    take(&fixture.delivery, &queue("q"), &[task("f")], 1, at(0)).await;
    assert!(is_held(&*fixture.other, question(1)).await);
    fixture.delivery.lease(&[lease(question(1))], LONG).await.expect("lease");
    fixture.delivery.forget(std::slice::from_ref(&entry.id)).await.expect("forget");
    assert!(is_held(&*fixture.other, question(1)).await);
    assert!(!is_held(&*fixture.other, question(2)).await);
}

/// Replicas agree on the generation; a wipe starts a new one.
pub async fn a_wipe_forgets_all_and_starts_a_generation(fixture: Fixture) {
    let born = fixture.delivery.generation().await.expect("generation");
    let seen = fixture.other.generation().await.expect("generation");
    assert_eq!(seen.born_at, born.born_at);
    assert!(seen.age >= born.age);
    let held = held(&some_run(), 1);
    let entry = some_run();
    fixture.delivery.lease(&[lease(held)], LONG).await.expect("lease");
    fixture.delivery.enqueue(std::slice::from_ref(&entry), at(0)).await.expect("enqueue");
    eventually("some age", || async {
        let age = fixture.delivery.generation().await.expect("generation").age;
        (age > Duration::from_millis(2)).then_some(())
    })
    .await;

    (fixture.wipe)().await;
    assert!(!is_held(&*fixture.delivery, held).await);
    assert!(!renews(&*fixture.delivery, held).await);
    assert_eq!(take(&fixture.delivery, &queue("q"), &[task("f")], 5, at(0)).await.entries, []);
    let reborn = fixture.other.generation().await.expect("generation");
    assert!(reborn.born_at > born.born_at, "{reborn:?} is later than {born:?}");
    fixture.delivery.enqueue(&[entry], at(0)).await.expect("enqueue");
    assert_eq!(take(&fixture.other, &queue("q"), &[task("f")], 5, at(0)).await.entries.len(), 1);
}

/// Memory follows the backlog, not the history.
pub async fn nothing_is_left_of_finished_runs(fixture: Fixture) {
    let functions = [task("f"), task("g")];
    let mut entries: Vec<_> = (0..100).map(|n| entry(&queue("q"), &functions[n % 2])).collect();
    for (n, entry) in entries.iter_mut().enumerate() {
        entry.priority = (n % 3) as i32;
        entry.due_at = at((n % 5) as i64);
    }
    fixture.delivery.enqueue(&entries, at(2)).await.expect("enqueue");
    let taken = take(&fixture.delivery, &queue("q"), &functions, 1_000, at(5)).await.entries;
    assert_eq!(taken.len(), 100);
    let leases: Vec<_> = taken.iter().map(|entry| lease(held(entry, 1))).collect();
    fixture.delivery.lease(&leases, LONG).await.expect("lease");
    let ids: Vec<_> = taken.iter().map(|entry| entry.id.clone()).collect();
    fixture.delivery.forget(&ids).await.expect("forget");
    let ended: Vec<_> = leases.iter().map(|lease| lease.held).collect();
    fixture.delivery.release(&ended).await.expect("release");
    assert_eq!((fixture.footprint)().await, 0);
}
