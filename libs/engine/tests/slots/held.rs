//! Slots: who gets one, who waits, who is next.

use std::time::Duration;

use tidegate_engine::{EngineError, Wait};
use tidegate_model::{Clock as _, Namespace};
use tidegate_orchestration::{Event, StateType};
use tidegate_store::Slot;

use super::{claimed, created, is_handed_over, key, limited, n_used, until_handed_over};
use crate::common::Fixture;

#[tokio::test]
async fn a_run_takes_its_slot_with_its_claim_and_gives_it_up_with_its_end() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (first, second) = (created(&fixture, &["db"]).await, created(&fixture, &["db", "db"]).await);
    let held = claimed(&fixture, &first).await;
    assert!(held.is_granted() && !held.is_waiting());
    let refused = claimed(&fixture, &second).await;
    assert!(refused.is_waiting() && !refused.is_granted());
    assert_eq!(fixture.state(&second).await, "SCHEDULED/AwaitingConcurrencySlot");
    let repeated = claimed(&fixture, &second).await;
    assert!(repeated.is_waiting() && !repeated.changed, "a repeat is answered alike: {repeated:?}");
    let again = claimed(&fixture, &refused.run).await;
    assert!(again.is_waiting(), "{again:?}");
    let told = fixture.history(&second).await;
    assert_eq!(told.len(), 2, "that it waits is told once: {told:?}");

    let explanation = fixture.engine.explain(&Namespace::default(), second.id).await.expect("is explained");
    let Wait::Slot { limits } = &explanation.waits[0] else { panic!("{explanation:?}") };
    assert_eq!((limits[0].max_slots, &limits[0].owners[..]), (Some(1), &[first.id][..]));
    assert!(explanation.summary.contains(&first.id.to_string()), "{}", explanation.summary);

    let running = fixture.report(&held.run, Event::Started).await.expect("starts").run;
    fixture.report(&running, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &second).await;
    let waiting = fixture.get(&second).await;
    assert!(claimed(&fixture, &waiting).await.is_granted());
    assert_eq!(n_used(&fixture, "db").await, 1, "one slot, though it names the limit twice");
}

#[tokio::test]
async fn a_limit_that_is_not_defined_does_not_bind_and_counts_what_is_held_once_it_is() {
    let fixture = Fixture::new().await;
    let runs = [created(&fixture, &["db"]).await, created(&fixture, &["db"]).await];
    for run in &runs {
        assert!(claimed(&fixture, run).await.is_granted());
    }
    assert!(matches!(
        fixture.engine.get_limit(key("db"), 1).await,
        Err(EngineError::LimitNotFound { name }) if name == "db"
    ));
    fixture.engine.put_limit(key("db"), 2).await.expect("is defined");
    assert_eq!(n_used(&fixture, "db").await, 2);
    let third = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &third).await.is_waiting());
}

#[tokio::test]
async fn a_free_slot_goes_to_the_first_by_priority_and_due_time() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let holder = created(&fixture, &["db"]).await;
    let held = claimed(&fixture, &holder).await.run;
    let mut urgent = limited(&["db"]);
    urgent.draft.priority = 7;
    let early = created(&fixture, &["db"]).await;
    fixture.advance(1);
    let late = created(&fixture, &["db"]).await;
    let urgent = fixture.create(urgent).await.expect("is created").run;
    let unlimited = created(&fixture, &[]).await;
    for run in [&late, &early, &urgent] {
        assert!(claimed(&fixture, run).await.is_waiting());
    }
    assert!(claimed(&fixture, &unlimited).await.is_granted(), "who waits stands before nobody");

    let mut held = held;
    for next in [&urgent, &early, &late] {
        fixture.report(&held, Event::Released).await.expect("is given back");
        until_handed_over(&fixture, next).await;
        held = claimed(&fixture, &fixture.get(next).await).await.run;
        assert_eq!(held.state.state_type(), StateType::Pending);
    }
}

#[tokio::test]
async fn all_slots_are_taken_or_none_and_what_cannot_be_used_goes_on_to_the_next() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.engine.put_limit(key(name), 1).await.expect("is defined");
    }
    let of_b = created(&fixture, &["b"]).await;
    let holds_b = claimed(&fixture, &of_b).await.run;
    let both = created(&fixture, &["a", "b"]).await;
    assert!(claimed(&fixture, &both).await.is_waiting());
    assert_eq!((n_used(&fixture, "a").await, n_used(&fixture, "b").await), (0, 1), "all or none");
    let of_a = created(&fixture, &["a"]).await;
    let holds_a = claimed(&fixture, &of_a).await;
    assert!(holds_a.is_granted(), "it does not wait behind one that waits for another limit");
    let next_of_a = created(&fixture, &["a"]).await;
    assert!(claimed(&fixture, &next_of_a).await.is_waiting());

    // `both` is handed the slot of b, cannot use it, and waits for a; then a slot of a comes free.
    fixture.report(&holds_b, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &both).await;
    assert!(claimed(&fixture, &fixture.get(&both).await).await.is_waiting());
    fixture.report(&holds_a.run, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &both).await;
    let retaken = claimed(&fixture, &fixture.get(&of_b).await).await;
    assert!(retaken.is_granted(), "the slot of b was free");
    // Now `both` cannot use that of a, so the next one gets it.
    assert!(claimed(&fixture, &fixture.get(&both).await).await.is_waiting());
    until_handed_over(&fixture, &next_of_a).await;
    assert!(claimed(&fixture, &fixture.get(&next_of_a).await).await.is_granted());
}

#[tokio::test]
async fn raising_or_deleting_a_limit_lets_those_go_who_wait() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 0).await.expect("is defined");
    let mut runs = Vec::new();
    for _ in 0..4 {
        let run = created(&fixture, &["db"]).await;
        assert!(claimed(&fixture, &run).await.is_waiting(), "0 stops all");
        runs.push(run);
        fixture.advance(1);
    }
    fixture.engine.put_limit(key("db"), 1).await.expect("is raised");
    until_handed_over(&fixture, &runs[0]).await;
    assert!(!is_handed_over(&fixture, &runs[1]), "one slot, one run");
    assert!(claimed(&fixture, &fixture.get(&runs[0]).await).await.is_granted());
    fixture.engine.put_limit(key("db"), 0).await.expect("is lowered");
    assert_eq!(n_used(&fixture, "db").await, 1, "who has a slot keeps it");
    assert!(claimed(&fixture, &fixture.get(&runs[1]).await).await.is_waiting());

    assert!(fixture.engine.delete_limit(key("db")).await.expect("is deleted"));
    for run in &runs[1..] {
        until_handed_over(&fixture, run).await;
        assert!(claimed(&fixture, &fixture.get(run).await).await.is_granted());
    }
    assert!(!fixture.engine.delete_limit(key("db")).await.expect("is answered"), "it is gone");
}

#[tokio::test]
async fn the_sweep_hands_over_what_was_not_handed_over_or_was_lost() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (first, second) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    let held = claimed(&fixture, &first).await.run;
    assert!(claimed(&fixture, &second).await.is_waiting());
    let (begin, namespace) = (fixture.clock.now(), Namespace::default());
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 0, "there is no free slot");
    assert_eq!(fixture.engine.enqueue_due(begin + Duration::from_secs(9), 10).await.expect("sweeps"), 0);

    // Given up by a process that died before it handed the slot on.
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.free_slots(&[held.id]).await.expect("frees");
    tx.commit().await.expect("commits");
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 1);
    assert!(is_handed_over(&fixture, &second));
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 0, "it is on its way");
    fixture.advance(60);
    let lost_before = fixture.clock.now();
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 1, "it was lost");
    let waiting = fixture.engine.get(&namespace, second.id).await.expect("is there").run;
    assert!(claimed(&fixture, &waiting).await.is_granted());
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_freed() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (run, waiting) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 0);
    let stray = Slot {
        limit: key("db"),
        owner: run.id,
        acquired_at: fixture.clock.now(),
        expires_at: None,
        for_run: None,
        n_slots: 1,
    };
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.take_slots(&[stray]).await.expect("takes");
    tx.commit().await.expect("commits");
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 1);
    until_handed_over(&fixture, &waiting).await;
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
}

#[tokio::test]
async fn each_value_of_a_template_has_slots_of_its_own() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("customer=*"), 1).await.expect("is defined");
    let (a, b) = (["customer=a"], ["customer=b"]);
    let holders = [created(&fixture, &a).await, created(&fixture, &b).await];
    for run in &holders {
        assert!(claimed(&fixture, run).await.is_granted(), "one does not bind the other");
    }
    let waiting = [created(&fixture, &a).await, created(&fixture, &b).await];
    for run in &waiting {
        assert!(claimed(&fixture, run).await.is_waiting());
    }
    assert_eq!((n_used(&fixture, "customer=a").await, n_used(&fixture, "customer=*").await), (1, 2));
    let explanation =
        fixture.engine.explain(&Namespace::default(), waiting[0].id).await.expect("is explained");
    let summary = explanation.summary;
    assert!(summary.contains("`customer=a` (by `customer=*`) has 1 slot, taken by run"), "{summary}");

    let held = fixture.get(&holders[0]).await;
    fixture.report(&held, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &waiting[0]).await;
    assert!(claimed(&fixture, &fixture.get(&waiting[0]).await).await.is_granted());
    // Its own limit takes the place of the template, and the template that of its own limit.
    fixture.engine.put_limit(key("customer=b"), 2).await.expect("is defined");
    until_handed_over(&fixture, &waiting[1]).await;
    assert!(claimed(&fixture, &fixture.get(&waiting[1]).await).await.is_granted());
    assert!(fixture.engine.delete_limit(key("customer=b")).await.expect("is deleted"));
    let third = created(&fixture, &b).await;
    assert!(claimed(&fixture, &third).await.is_waiting());
    fixture.engine.put_limit(key("customer=*"), 3).await.expect("is raised");
    until_handed_over(&fixture, &third).await;
}

#[tokio::test]
async fn raising_a_template_lets_those_go_who_wait_for_any_of_many_values() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("customer=*"), 0).await.expect("is defined");
    let mut runs = Vec::new();
    for customer in 0..60 {
        let run = created(&fixture, &[&format!("customer={customer}")]).await;
        assert!(claimed(&fixture, &run).await.is_waiting());
        runs.push(run);
    }
    fixture.engine.put_limit(key("customer=*"), 1).await.expect("is raised");
    for run in &runs {
        until_handed_over(&fixture, run).await;
    }
}
