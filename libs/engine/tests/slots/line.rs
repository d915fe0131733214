//! The line of those who wait: whose turn it is, and that what is handed out to one is kept for it, and not for long.

use std::{collections::BTreeMap, time::Duration};

use tidegate_model::{Clock as _, RunId};
use tidegate_orchestration::{Event, Run};

use super::{claimed, created, key, limited, until_handed_over};
use crate::common::Fixture;

/// A run of a customer that needs a slot of `db`.
async fn of_customer(fixture: &Fixture, customer: &str) -> Run {
    let mut create = limited(&["db"]);
    create.draft.fairness_key = Some(customer.parse().expect("is a key"));
    fixture.create(create).await.expect("is created").run
}

/// Frees the slot of a run, as a process does that dies before it hands it out.
async fn free_silently(fixture: &Fixture, run: &Run) {
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.free_slots(&[run.id]).await.expect("frees");
    tx.commit().await.expect("commits");
}

#[tokio::test]
async fn no_new_run_takes_the_slot_that_was_handed_out_to_another() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let held = claimed(&fixture, &created(&fixture, &["db"]).await).await.run;
    let waiting = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    fixture.report(&held, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &waiting).await;
    let mut new = Vec::new();
    for _ in 0..20 {
        new.push(created(&fixture, &["db"]).await);
        assert!(claimed(&fixture, new.last().expect("is there")).await.is_waiting(), "it is the other's");
    }
    let granted = claimed(&fixture, &fixture.get(&waiting).await).await;
    assert!(granted.is_granted());
    fixture.report(&granted.run, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &new[0]).await;
}

#[tokio::test]
async fn a_new_run_that_finds_others_in_line_has_the_slot_handed_out_to_them() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let held = claimed(&fixture, &created(&fixture, &["db"]).await).await.run;
    let waiting = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    free_silently(&fixture, &held).await;
    let new = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &new).await.is_waiting());
    until_handed_over(&fixture, &waiting).await;
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
}

#[tokio::test]
async fn what_is_kept_for_one_that_does_not_come_is_for_the_next_and_for_new_ones_after_a_while() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let held = claimed(&fixture, &created(&fixture, &["db"]).await).await.run;
    let lost = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &lost).await.is_waiting());
    fixture.cancel(&held).await;
    until_handed_over(&fixture, &lost).await;
    let next = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &next).await.is_waiting());
    let lost_before = fixture.clock.now() - Duration::from_secs(600);
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 0, "it is on its way");
    assert!(!is_handed_over_anew(&fixture, &next).await);
    fixture.advance(6);
    until_handed_over(&fixture, &next).await;
    let new = created(&fixture, &["db"]).await;
    let granted = claimed(&fixture, &new).await;
    assert!(granted.is_granted(), "one did not come, so one is let through");
    assert!(claimed(&fixture, &fixture.get(&next).await).await.is_waiting(), "it has the next slot");
    fixture.report(&granted.run, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &next).await;
    assert!(claimed(&fixture, &fixture.get(&lost).await).await.is_granted(), "it is late, and came first");
}

async fn is_handed_over_anew(fixture: &Fixture, run: &Run) -> bool {
    let epoch = fixture.get(run).await.epoch;
    fixture.notes.enqueued.lock().expect("no test panicked with it").contains(&(run.id, epoch))
}

#[tokio::test]
async fn a_long_line_of_runs_that_nobody_takes_is_gone_through_in_a_few_turns() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let held = claimed(&fixture, &created(&fixture, &["db"]).await).await.run;
    for _ in 0..60 {
        let dead = created(&fixture, &["db"]).await;
        assert!(claimed(&fixture, &dead).await.is_waiting());
    }
    fixture.advance(1);
    let living = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &living).await.is_waiting());
    free_silently(&fixture, &held).await;
    let mut n_turns = 0;
    while !is_handed_over_anew(&fixture, &living).await {
        n_turns += 1;
        assert!(n_turns <= 8, "each turn hands out more");
        let lost_before = fixture.clock.now() - Duration::from_secs(600);
        fixture.engine.hand_out_slots(lost_before).await.expect("sweeps");
        fixture.advance(6);
    }
    assert!(claimed(&fixture, &fixture.get(&living).await).await.is_granted());
}

#[tokio::test]
async fn customers_are_served_in_turn_whatever_waits_for_one_of_them() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 2).await.expect("is defined");
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(claimed(&fixture, &of_customer(&fixture, "large").await).await.run);
    }
    let mut customers = BTreeMap::<RunId, &str>::new();
    for (customer, n_runs) in [("large", 60), ("a", 5), ("b", 5), ("c", 5)] {
        for _ in 0..n_runs {
            let run = of_customer(&fixture, customer).await;
            assert!(claimed(&fixture, &run).await.is_waiting());
            customers.insert(run.id, customer);
        }
    }
    let mut served = Vec::new();
    while served.len() < 24 {
        let done = held.remove(0);
        fixture.cancel(&done).await;
        let handed_over = || {
            let enqueued = fixture.notes.enqueued.lock().expect("no test panicked with it");
            let waited = enqueued.iter().filter(|(id, epoch)| customers.contains_key(id) && epoch.0 > 0);
            waited.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let n_served = served.len();
        fixture
            .until_noted(|notes| {
                let enqueued = notes.enqueued.lock().expect("no test panicked with it");
                let waited = enqueued.iter().filter(|(id, epoch)| customers.contains_key(id) && epoch.0 > 0);
                waited.count() > n_served
            })
            .await;
        let next = handed_over()[n_served];
        served.push(customers[&next]);
        let run = fixture.store.get_runs(None, &[next]).await.expect("reads").remove(0);
        let granted = claimed(&fixture, &run).await;
        assert!(granted.is_granted(), "the slot is kept for it");
        held.push(granted.run);
    }
    for customer in ["a", "b", "c"] {
        let n_served = served[..20].iter().filter(|one| **one == customer).count();
        assert_eq!(n_served, 5, "as if the large one had as few: {served:?}");
    }
    let n_handed_over = customers.keys().filter(|id| {
        let enqueued = fixture.notes.enqueued.lock().expect("no test panicked with it");
        enqueued.iter().any(|(enqueued, epoch)| enqueued == *id && epoch.0 > 0)
    });
    assert_eq!(n_handed_over.count(), served.len(), "one for each slot");
}

#[tokio::test]
async fn one_that_does_not_come_lets_one_new_run_through_and_no_more() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 5).await.expect("is defined");
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(claimed(&fixture, &created(&fixture, &["db"]).await).await.run);
    }
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(created(&fixture, &["db"]).await);
        assert!(claimed(&fixture, &waiting[waiting.len() - 1]).await.is_waiting());
    }
    fixture.cancel(&held[0]).await;
    until_handed_over(&fixture, &waiting[0]).await;
    fixture.advance(6);
    for run in &held[1..] {
        free_silently(&fixture, run).await;
    }
    let mut n_granted = 0;
    for _ in 0..20 {
        let new = created(&fixture, &["db"]).await;
        n_granted += usize::from(claimed(&fixture, &new).await.is_granted());
    }
    assert_eq!(n_granted, 1, "four slots are for those in line");
}

#[tokio::test]
async fn one_that_needs_two_slots_has_its_turn_though_both_have_a_line() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.engine.put_limit(key(name), 1).await.expect("is defined");
    }
    let holders = [created(&fixture, &["a"]).await, created(&fixture, &["b"]).await];
    let mut held = Vec::new();
    for holder in &holders {
        held.push(claimed(&fixture, holder).await.run);
    }
    let both = created(&fixture, &["a", "b"]).await;
    assert!(claimed(&fixture, &both).await.is_waiting());
    let mut of_b = Vec::new();
    for name in ["a", "b", "a", "b", "b"] {
        let one = created(&fixture, &[name]).await;
        assert!(claimed(&fixture, &one).await.is_waiting());
        if name == "b" {
            of_b.push(one);
        }
    }
    for holder in &held {
        fixture.cancel(holder).await;
    }
    until_handed_over(&fixture, &both).await;
    until_handed_over(&fixture, &of_b[0]).await;
    let granted = claimed(&fixture, &fixture.get(&both).await).await;
    assert!(granted.is_granted(), "it waits for the one, and gives way to nobody for the other");
    assert!(claimed(&fixture, &fixture.get(&of_b[0]).await).await.is_waiting());
    fixture.cancel(&granted.run).await;
    until_handed_over(&fixture, &of_b[0]).await;
    assert!(claimed(&fixture, &fixture.get(&of_b[0]).await).await.is_granted(), "it has kept its turn");
}

#[tokio::test]
async fn what_delivery_has_lost_is_handed_out_again_as_slots_come_free() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 0).await.expect("is defined");
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(created(&fixture, &["db"]).await);
        assert!(claimed(&fixture, &runs[runs.len() - 1]).await.is_waiting());
    }
    fixture.engine.put_limit(key("db"), 4).await.expect("is raised");
    for run in &runs {
        until_handed_over(&fixture, run).await;
    }
    fixture.engine.put_limit(key("db"), 1).await.expect("is lowered");
    fixture.notes.enqueued.lock().expect("no test panicked with it").clear();
    fixture.advance(30);
    let born_at = fixture.clock.now();
    assert_eq!(fixture.engine.return_lost_waits(born_at).await.expect("sweeps"), 4);
    let lost_before = fixture.clock.now() - Duration::from_secs(600);
    fixture.engine.hand_out_slots(lost_before).await.expect("sweeps");
    assert_eq!(fixture.engine.return_lost_waits(born_at).await.expect("sweeps"), 0, "once");
    for run in &runs {
        until_handed_over(&fixture, run).await;
        let granted = claimed(&fixture, &fixture.get(run).await).await;
        assert!(granted.is_granted());
        fixture.cancel(&granted.run).await;
    }
}
