//! Concurrency limits: who gets a slot, who waits, and that no slot is ever lost or given twice.

mod common;

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use common::{Fixture, Notes, start_engine, task};
use futures::future::join_all;
use tidegate_engine::{Ask, Create, Engine, EngineError, Operated, Operation, QueueAsk, Wait};
use tidegate_model::{Clock, Namespace, RunId};
use tidegate_orchestration::{Collision, Event, Failure, Holder, Placement, Rate, Run, StateName, StateType};
use tidegate_store::{LimitKey, LimitSettings, QueueKey, RunStore, Slot};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{Draws, ManualClock};
use tokio::task::JoinSet;

fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

fn rate(max_starts: u32, seconds: u64) -> Rate {
    let max_starts = NonZeroU32::new(max_starts).expect("is not 0");
    Rate { max_starts, period: Duration::from_secs(seconds), burst: max_starts }
}

/// Slots, and what becomes of who finds none.
fn colliding(max_slots: u32, on_collision: Collision) -> LimitSettings {
    LimitSettings { on_collision, ..max_slots.into() }
}

/// A rate, and any number of slots.
fn rated(rate: Rate) -> LimitSettings {
    LimitSettings { max_slots: None, rate: Some(rate), on_collision: Collision::Wait }
}

/// A task that needs a slot of each of these limits.
fn limited(limits: &[&str]) -> Create {
    let mut create = task();
    create.draft.concurrency_limits = limits.iter().map(|&name| name.to_owned()).collect();
    create
}

async fn created(fixture: &Fixture, limits: &[&str]) -> Run {
    fixture.create(limited(limits)).await.expect("is created").run
}

async fn claimed(fixture: &Fixture, run: &Run) -> Operated {
    fixture.claim(run, "w").await.expect("is answered")
}

async fn n_used(fixture: &Fixture, name: &str) -> u64 {
    let (facts, slots) = fixture.engine.get_limit(key(name), 100).await.expect("is defined");
    assert_eq!(facts.used.n_used, slots.len() as u64);
    facts.used.n_used
}

/// Waits until the run was handed over under its present epoch.
async fn until_handed_over(fixture: &Fixture, run: &Run) {
    let epoch = fixture.get(run).await.epoch;
    fixture
        .until_noted(|notes| {
            notes.enqueued.lock().expect("no test panicked with it").contains(&(run.id, epoch))
        })
        .await;
}

fn is_handed_over(fixture: &Fixture, run: &Run) -> bool {
    fixture
        .notes
        .enqueued
        .lock()
        .expect("no test panicked with it")
        .iter()
        .any(|(id, epoch)| *id == run.id && epoch.0 > 0)
}

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

#[tokio::test]
async fn a_rate_lets_so_many_start_and_hands_over_the_next_with_each_token() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("api"), rated(rate(2, 10))).await.expect("is defined");
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(created(&fixture, &["api"]).await);
        fixture.clock.advance(Duration::from_millis(1));
    }
    for run in &runs[..2] {
        let held = claimed(&fixture, run).await;
        assert!(held.is_granted());
        fixture.report(&held.run, Event::Released).await.expect("is given back");
        fixture.cancel(run).await;
    }
    for run in &runs[2..] {
        assert!(claimed(&fixture, run).await.is_waiting(), "a token is not given back");
    }
    let waiting = fixture.get(&runs[2]).await;
    assert_eq!(waiting.state.message, "the concurrency limit `api` allows no further start now");
    let explanation = fixture.engine.explain(&Namespace::default(), waiting.id).await.expect("is explained");
    assert!(
        explanation.summary.contains("`api` allows 2 starts in 10 s; the next one at"),
        "{}",
        explanation.summary
    );

    // The first of those who wait leaves, and takes no token with it.
    fixture.cancel(&runs[2]).await;
    fixture.advance(5);
    until_handed_over(&fixture, &runs[3]).await;
    let lost_before = fixture.clock.now() - Duration::from_secs(60);
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 0, "one token, one run");
    assert!(!is_handed_over(&fixture, &runs[4]));
    assert!(claimed(&fixture, &fixture.get(&runs[3]).await).await.is_granted());
    assert!(claimed(&fixture, &fixture.get(&runs[4]).await).await.is_waiting());
    fixture.advance(5);
    until_handed_over(&fixture, &runs[4]).await;
    assert!(claimed(&fixture, &fixture.get(&runs[4]).await).await.is_granted());

    fixture.engine.put_limit(key("api"), rated(rate(1_000, 1))).await.expect("is raised");
    fixture.clock.advance(Duration::from_millis(100));
    until_handed_over(&fixture, &runs[5]).await;
    fixture.advance(60);
    assert_eq!(fixture.engine.purge_limits(10).await.expect("sweeps"), 1);
}

#[tokio::test]
async fn who_is_handed_over_for_a_token_and_is_not_taken_keeps_it_from_others_for_a_while_only() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("api"), rated(rate(1, 10))).await.expect("is defined");
    let runs = [
        created(&fixture, &["api"]).await,
        created(&fixture, &["api"]).await,
        created(&fixture, &["api"]).await,
    ];
    assert!(claimed(&fixture, &runs[0]).await.is_granted());
    for run in &runs[1..] {
        assert!(claimed(&fixture, run).await.is_waiting());
    }
    fixture.advance(10);
    until_handed_over(&fixture, &runs[1]).await;
    let lost_before = fixture.clock.now() - Duration::from_secs(60);
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 0);
    fixture.advance(6);
    fixture.engine.hand_out_slots(lost_before).await.expect("sweeps");
    until_handed_over(&fixture, &runs[2]).await;
}

#[tokio::test]
async fn what_is_kept_for_one_that_is_not_taken_goes_to_the_next_without_a_sweep() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("api"), rated(rate(1, 10))).await.expect("is defined");
    fixture.engine.put_limit(key("other"), 0).await.expect("is defined");
    let (first, second) = (created(&fixture, &["api"]).await, created(&fixture, &["api"]).await);
    assert!(claimed(&fixture, &first).await.is_granted());
    assert!(claimed(&fixture, &second).await.is_waiting());
    fixture.advance(1);
    let third = created(&fixture, &["api"]).await;
    assert!(claimed(&fixture, &third).await.is_waiting());
    fixture.advance(10);
    until_handed_over(&fixture, &second).await;
    fixture.advance(1);
    // The token is looked at again with this one, and found to be on its way.
    let other = created(&fixture, &["other"]).await;
    assert!(claimed(&fixture, &other).await.is_waiting());
    fixture.engine.put_limit(key("other"), 1).await.expect("is raised");
    until_handed_over(&fixture, &other).await;
    assert!(!is_handed_over(&fixture, &third));
    fixture.advance(5);
    until_handed_over(&fixture, &third).await;
}

#[tokio::test]
async fn runs_of_a_paused_queue_keep_no_token_from_others() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("api"), rated(rate(2, 10))).await.expect("is defined");
    for _ in 0..2 {
        assert!(claimed(&fixture, &created(&fixture, &["api"]).await).await.is_granted());
    }
    for _ in 0..7 {
        let mut create = limited(&["api"]);
        create.draft.placement = Placement::Queue("idle".parse().expect("is a name"));
        let run = fixture.create(create).await.expect("is created").run;
        assert!(claimed(&fixture, &run).await.is_waiting());
    }
    fixture.clock.advance(Duration::from_millis(1));
    let mut behind = Vec::new();
    for _ in 0..3 {
        behind.push(created(&fixture, &["api"]).await);
        fixture.clock.advance(Duration::from_millis(1));
    }
    for run in &behind {
        assert!(claimed(&fixture, run).await.is_waiting());
    }
    let idle = QueueKey { namespace: Namespace::default(), name: "idle".parse().expect("is a name") };
    let ask = QueueAsk { key: idle, actor: None, request_id: None };
    fixture.engine.pause_queue(&ask, "").await.expect("is paused");
    fixture.advance(10);
    for run in &behind[..2] {
        until_handed_over(&fixture, run).await;
    }
    let lost_before = fixture.clock.now() - Duration::from_secs(60);
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 0, "two tokens, two runs");
    assert!(!is_handed_over(&fixture, &behind[2]));
    for run in &behind[..2] {
        assert!(claimed(&fixture, &fixture.get(run).await).await.is_granted());
    }
}

#[tokio::test]
async fn who_is_new_takes_no_token_of_those_who_wait() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("api"), rated(rate(2, 20))).await.expect("is defined");
    for _ in 0..2 {
        assert!(claimed(&fixture, &created(&fixture, &["api"]).await).await.is_granted());
    }
    let waiting = created(&fixture, &["api"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    fixture.advance(10);
    until_handed_over(&fixture, &waiting).await;
    let new = created(&fixture, &["api"]).await;
    assert!(claimed(&fixture, &new).await.is_waiting(), "the token is that of the one before it");
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
    fixture.advance(20);
    until_handed_over(&fixture, &new).await;
    let newest = created(&fixture, &["api"]).await;
    assert!(claimed(&fixture, &newest).await.is_granted(), "there is one for each");
    assert!(claimed(&fixture, &fixture.get(&new).await).await.is_granted());
}

#[tokio::test]
async fn what_comes_free_is_given_on_though_the_limit_had_a_slow_rate_before() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), rated(rate(1, 86_400))).await.expect("is defined");
    let holder = fixture.start(&created(&fixture, &["db"]).await).await;
    let waiting = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    // That there is no token is known by now: hand-outs go one after the other.
    fixture.engine.put_limit(key("other"), 0).await.expect("is defined");
    let other = created(&fixture, &["other"]).await;
    assert!(claimed(&fixture, &other).await.is_waiting());
    fixture.engine.put_limit(key("other"), 1).await.expect("is raised");
    until_handed_over(&fixture, &other).await;
    // Another replica changes it.
    fixture.store.put_limit(&key("db"), &1.into(), fixture.clock.now()).await.expect("is changed");
    fixture.advance(2);
    fixture.report(&holder, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &waiting).await;
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
}

#[tokio::test]
async fn what_comes_free_soon_after_a_look_is_given_on_soon() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), rated(rate(1, 86_400))).await.expect("is defined");
    let holder = fixture.start(&created(&fixture, &["db"]).await).await;
    let waiting = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    fixture.engine.put_limit(key("other"), 0).await.expect("is defined");
    let others = [created(&fixture, &["other"]).await, created(&fixture, &["other"]).await];
    for (other, n_slots) in others.iter().zip([1, 2]) {
        assert!(claimed(&fixture, other).await.is_waiting());
        fixture.engine.put_limit(key("other"), n_slots).await.expect("is raised");
        until_handed_over(&fixture, other).await;
        if n_slots == 1 {
            assert!(claimed(&fixture, &fixture.get(other).await).await.is_granted());
            fixture.store.put_limit(&key("db"), &1.into(), fixture.clock.now()).await.expect("is changed");
            fixture.report(&holder, Event::Completed).await.expect("completes");
        }
    }
    fixture.advance(2);
    until_handed_over(&fixture, &waiting).await;
}

#[tokio::test]
async fn a_run_that_ran_before_is_not_skipped() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(1, Collision::Skip)).await.expect("is defined");
    let mut create = limited(&["db"]);
    create.draft.policies.crash.max_crashes = 2;
    let run = fixture.create(create).await.expect("is created").run;
    let running = fixture.start(&run).await;
    fixture.report(&running, Event::Crashed { cause: "killed".to_owned() }).await.expect("is told");
    let holder = fixture.start(&created(&fixture, &["db"]).await).await;
    fixture.advance(600);
    assert!(claimed(&fixture, &fixture.get(&run).await).await.is_waiting());
    let new = created(&fixture, &["db"]).await;
    claimed(&fixture, &new).await;
    assert_eq!(fixture.state(&new).await, "CANCELLED/Skipped");
    fixture.report(&holder, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &run).await;
    assert!(claimed(&fixture, &fixture.get(&run).await).await.is_granted());
}

#[tokio::test]
async fn who_waited_for_another_limit_first_has_somebody_give_way() {
    let fixture = Fixture::new().await;
    for on_collision in [Collision::CancelOldest, Collision::CancelNewest] {
        fixture.engine.put_limit(key("a"), 1).await.expect("is defined");
        fixture.engine.put_limit(key("db"), colliding(1, on_collision)).await.expect("is defined");
        let first = created(&fixture, &["a", "db"]).await;
        let of_a = fixture.start(&created(&fixture, &["a"]).await).await;
        let of_db = fixture.start(&created(&fixture, &["db"]).await).await;
        assert!(claimed(&fixture, &first).await.is_waiting());
        assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 0, "it waits for the other one");
        fixture.report(&of_a, Event::Completed).await.expect("completes");
        until_handed_over(&fixture, &first).await;
        for n_asked in [1, 0] {
            assert!(claimed(&fixture, &fixture.get(&first).await).await.is_waiting());
            assert_eq!(fixture.engine.ask_holders().await.expect("asks"), n_asked);
        }
        fixture.report(&fixture.get(&of_db).await, Event::Cancelled).await.expect("is stopped");
        until_handed_over(&fixture, &first).await;
        fixture.cancel(&first).await;
    }
}

#[tokio::test]
async fn who_is_not_the_newest_does_not_give_way_though_the_newest_was_asked() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(2, Collision::CancelNewest)).await.expect("is defined");
    let oldest = fixture.start(&created(&fixture, &["db"]).await).await;
    let (second, third) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    let newest = fixture.start(&created(&fixture, &["db"]).await).await;
    assert!(claimed(&fixture, &second).await.is_waiting());
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 1);
    assert_eq!(fixture.state(&newest).await, "CANCELLING/Cancelling");
    assert!(claimed(&fixture, &third).await.is_waiting(), "the newest one is that which was asked");
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 0);
    assert_eq!(fixture.state(&oldest).await, "RUNNING/Running", "it came before both");
}

#[tokio::test]
async fn a_limit_that_skips_gives_up_who_finds_nothing_left() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(1, Collision::Skip)).await.expect("is defined");
    let settings = LimitSettings { on_collision: Collision::Skip, ..rated(rate(1, 10)) };
    fixture.engine.put_limit(key("api"), settings).await.expect("is defined");
    for name in ["db", "api"] {
        let (first, second) = (created(&fixture, &[name]).await, created(&fixture, &[name]).await);
        assert!(claimed(&fixture, &first).await.is_granted());
        let skipped = claimed(&fixture, &second).await;
        assert!(!skipped.is_granted() && !skipped.is_waiting());
        assert_eq!(fixture.state(&second).await, "CANCELLED/Skipped");
        assert!(!claimed(&fixture, &second).await.changed, "a repeat is answered alike");
    }
    // It decides also where another limit would have it wait.
    fixture.engine.put_limit(key("all"), 0).await.expect("is defined");
    let both = created(&fixture, &["all", "db"]).await;
    claimed(&fixture, &both).await;
    assert_eq!(fixture.state(&both).await, "CANCELLED/Skipped");
    // One that waits is given up once its limit skips.
    let waiting = created(&fixture, &["all"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    fixture.engine.put_limit(key("all"), colliding(0, Collision::Skip)).await.expect("is changed");
    claimed(&fixture, &fixture.get(&waiting).await).await;
    assert_eq!(fixture.state(&waiting).await, "CANCELLED/Skipped");
    let waits = fixture.store.count_waits(&[key("all")]).await.expect("reads");
    assert_eq!(waits, [0], "it waits no longer");
}

#[tokio::test]
async fn the_oldest_holder_gives_way_once_and_no_more_than_wait() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(2, Collision::CancelOldest)).await.expect("is defined");
    let (first, second) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    // The order of the claims counts, not that of the creations.
    let second = fixture.start(&second).await;
    fixture.advance(1);
    let first = fixture.start(&first).await;
    let newcomer = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &newcomer).await.is_waiting());
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 1);
    assert_eq!(fixture.state(&second).await, "CANCELLING/Cancelling");
    assert_eq!(fixture.state(&first).await, "RUNNING/Running");
    fixture
        .until_noted(|notes| {
            let stopped = notes.stopped.lock().expect("no test panicked with it");
            stopped.iter().any(|order| order.run_id == second.id && order.message.contains("`db`"))
        })
        .await;
    for _ in 0..3 {
        assert!(claimed(&fixture, &fixture.get(&newcomer).await).await.is_waiting());
        assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 0, "one waits, and one was asked");
    }
    let cancelling = fixture.get(&second).await;
    fixture.report(&cancelling, Event::Cancelled).await.expect("is stopped");
    until_handed_over(&fixture, &newcomer).await;
    assert!(claimed(&fixture, &fixture.get(&newcomer).await).await.is_granted());
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 0);
}

#[tokio::test]
async fn the_newest_of_holders_and_newcomer_gives_way() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(1, Collision::CancelNewest)).await.expect("is defined");
    let old = created(&fixture, &["db"]).await;
    let holder = fixture.start(&created(&fixture, &["db"]).await).await;
    let newcomer = created(&fixture, &["db"]).await;
    claimed(&fixture, &newcomer).await;
    assert_eq!(fixture.state(&newcomer).await, "CANCELLED/Cancelled");
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 0);
    assert!(claimed(&fixture, &old).await.is_waiting());
    assert!(claimed(&fixture, &fixture.get(&old).await).await.is_waiting(), "it waits for who was asked");
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 1);
    assert_eq!(fixture.state(&holder).await, "CANCELLING/Cancelling");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_exceed_a_limit_on_sqlite() {
    race(Arc::new(SqliteStore::in_memory().await.expect("a store opens"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_exceed_a_limit_on_postgres() {
    let database = Database::create().await;
    race(Arc::new(connect(database.url()).await)).await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_those_of_held_runs_after_every_step_on_sqlite() {
    histories(Arc::new(SqliteStore::in_memory().await.expect("a store opens")), 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_those_of_held_runs_after_every_step_on_postgres() {
    let database = Database::create().await;
    histories(Arc::new(connect(database.url()).await), 800).await;
    database.remove().await;
}

async fn connect(url: &str) -> PgStore {
    let options = PgOptions { max_connections: 12, ..PgOptions::default() };
    PgStore::connect(url, &options).await.expect("the database opens")
}

/// Two engines over one store.
struct Replicas {
    engines: [Engine; 2],
    clock: Arc<ManualClock>,
    store: Arc<dyn RunStore>,
    _tasks: JoinSet<()>,
}

impl Replicas {
    fn over(store: Arc<dyn RunStore>) -> Self {
        let clock = Arc::new(ManualClock::new());
        let mut tasks = JoinSet::new();
        let engines = [(); 2].map(|()| {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            start_engine(Arc::clone(&store), Arc::new(Notes::default()), clock, &mut tasks)
        });
        Self { engines, clock, store, _tasks: tasks }
    }

    async fn runs(&self, ids: &[RunId]) -> Vec<Run> {
        self.store.get_runs(None, ids).await.expect("reads")
    }
}

fn claim(run: &Run) -> Operation {
    let holder = Holder::Worker("w".parse().expect("is a worker id"));
    Operation::Claim { namespace: run.namespace.clone(), run_id: run.id, epoch: run.epoch, holder }
}

fn report(run: &Run, event: Event) -> Operation {
    let (namespace, run_id, epoch) = (run.namespace.clone(), run.id, run.epoch);
    Operation::Report { namespace, run_id, epoch, event, result: None }
}

/// Many lanes of two replicas claim for two limits at once, and give back at once, in three rounds.
async fn race(store: Arc<dyn RunStore>) {
    let replicas = Replicas::over(store);
    replicas.engines[0].put_limit(key("db"), 7).await.expect("is defined");
    replicas.engines[0].put_limit(key("gpu"), 4).await.expect("is defined");
    let creates = (0..120_usize).map(|idx| {
        let limits: &[&str] = [&["db", "gpu"][..], &["gpu", "db"], &["db"]][idx % 3];
        replicas.engines[idx % 2].create(limited(limits))
    });
    let created: Vec<Run> =
        join_all(creates).await.into_iter().map(|created| created.expect("is created").run).collect();
    let ids: Vec<RunId> = created.iter().map(|run| run.id).collect();
    for _ in 0..3 {
        let waiting = replicas.runs(&ids).await;
        let claims =
            waiting.iter().enumerate().map(|(idx, run)| replicas.engines[idx / 2 % 2].operate(claim(run)));
        let claims = join_all(claims).await.into_iter().map(|claim| claim.expect("is answered"));
        let held: Vec<Run> = claims.filter(Operated::is_granted).map(|claim| claim.run).collect();
        let n_of_gpu = held.iter().filter(|run| run.concurrency_limits.len() == 2).count();
        assert_eq!(held.len(), 7, "each slot is used, and none twice");
        assert!(n_of_gpu <= 4, "{n_of_gpu} have the 4 slots");
        let returns = held.iter().map(|run| replicas.engines[0].operate(report(run, Event::Released)));
        for returned in join_all(returns).await {
            returned.expect("is given back");
        }
    }
    for name in ["db", "gpu"] {
        let (facts, _) = replicas.engines[0].get_limit(key(name), 1).await.expect("is defined");
        assert_eq!(facts.used.n_used, 0);
    }
    // Of tokens there is no more than the burst however often it is claimed, for each value of a template.
    replicas.engines[0].put_limit(key("api=*"), rated(rate(7, 86_400))).await.expect("is defined");
    let creates = (0..60_usize)
        .map(|idx| replicas.engines[idx % 2].create(limited(&[["api=a", "api=b"][idx / 2 % 2]])));
    let created = join_all(creates).await.into_iter().map(|created| created.expect("is created").run);
    let created: Vec<Run> = created.collect();
    let claims = created.iter().enumerate().map(|(idx, run)| replicas.engines[idx % 2].operate(claim(run)));
    let claims = join_all(claims).await.into_iter().map(|claim| claim.expect("is answered"));
    assert_eq!(claims.filter(Operated::is_granted).count(), 14, "each token is used, and none twice");
}

/// Random histories of many runs through two replicas: after every step the slots are those of the held runs, and those
/// who wait are told as waiting.
async fn histories(store: Arc<dyn RunStore>, n_steps: usize) {
    const NAMES: [&str; 4] = ["a", "b", "key=1", "never defined"];
    const LIMITS: [&str; 3] = ["a", "b", "key=*"];
    let (replicas, draws) = (Replicas::over(store), Draws::new());
    let pick = |n: usize| (draws.next() * n as f64) as usize % n;
    let mut ids = Vec::new();
    for idx in 0..24 {
        let limits: Vec<&str> = NAMES.into_iter().filter(|_| pick(2) == 0).collect();
        let mut create = limited(&limits);
        create.draft.policies.retry.max_retries = 2;
        create.draft.policies.crash.max_crashes = 2;
        create.draft.policies.run_timeout = Some(Duration::from_secs(40));
        // A third is below another one, and is cancelled with it.
        create.draft.parent = if idx % 3 == 2 { ids.last().copied() } else { None };
        ids.push(replicas.engines[idx % 2].create(create).await.expect("is created").run.id);
    }
    let (mut n_granted, mut n_refused) = (0, 0);
    for step_idx in 0..n_steps {
        let engine = &replicas.engines[pick(2)];
        let run = replicas.runs(&[ids[pick(ids.len())]]).await.remove(0);
        let ask = Ask::new(run.namespace.clone(), run.id);
        let reason = String::new();
        let is_terminal = run.state.state_type().is_terminal();
        let operation = match pick(16) {
            0..=4 => claim(&run),
            5 | 6 => report(&run, Event::Started),
            7 => report(&run, Event::Completed),
            8 => report(&run, Event::Failed(Failure { error_type: "E".into(), ..Failure::default() })),
            9 => report(&run, Event::Crashed { cause: "killed".to_owned() }),
            10 => report(&run, Event::Released),
            11 => {
                let (key, suspend) = (format!("pause-{step_idx}"), pick(2) == 0);
                report(&run, Event::Paused { key, timeout: Some(Duration::from_secs(30)), suspend })
            }
            12 => Operation::Pause { ask, timeout: None, reason },
            13 => Operation::Resume { ask, key: None, input: None },
            14 if is_terminal => Operation::Retry { ask, reason },
            14 => report(&run, Event::Cancelled),
            _ if pick(4) == 0 => {
                Operation::Cancel { namespace: run.namespace.clone(), run_id: run.id, reason, actor: None }
            }
            _ => {
                replicas.clock.advance(Duration::from_secs(5));
                engine.fire_timers(100).await.expect("sweeps");
                let settings = LimitSettings {
                    max_slots: (pick(4) > 0).then(|| u32::try_from(pick(5)).expect("is small")),
                    rate: (pick(2) == 0).then(|| rate(1 + u32::try_from(pick(5)).expect("is small"), 20)),
                    on_collision: Collision::ALL[pick(Collision::ALL.len())],
                };
                engine.put_limit(key(LIMITS[pick(3)]), settings).await.expect("is changed");
                engine.ask_holders().await.expect("asks");
                check(&replicas, &ids).await;
                continue;
            }
        };
        let is_cancel = matches!(operation, Operation::Cancel { .. });
        let outcome = engine.operate(operation).await;
        if let Ok(Operated { run, changed: true, .. }) = &outcome {
            n_granted += usize::from(run.state.state_type() == StateType::Pending);
            n_refused += usize::from(run.state.name == StateName::AwaitingConcurrencySlot);
        }
        if is_cancel {
            engine.cascade_from(run.id).await.expect("cascades");
        }
        check(&replicas, &ids).await;
    }
    assert!(n_granted > 0 && n_refused > 0, "{n_granted} claims were granted, {n_refused} had to wait");
}

async fn check(replicas: &Replicas, ids: &[RunId]) {
    let runs = replicas.runs(ids).await;
    let mut expected: BTreeMap<LimitKey, Vec<RunId>> = BTreeMap::new();
    let mut n_waiting = 0;
    for run in &runs {
        let is_waiting = run.state.name == StateName::AwaitingConcurrencySlot;
        n_waiting += u64::from(is_waiting && run.state.state_type() == StateType::Scheduled);
        for name in &run.concurrency_limits {
            let owners = expected.entry(key(name)).or_default();
            if run.holder().is_some() {
                owners.push(run.id);
            }
        }
    }
    for (limit, mut owners) in expected.clone() {
        let slots = replicas.store.list_slots(&limit, replicas.clock.now(), 100).await.expect("reads");
        let mut taken: Vec<RunId> = slots.into_iter().map(|slot| slot.owner).collect();
        taken.sort();
        owners.sort();
        assert_eq!(taken, owners, "the slots of {limit:?} are those of the held runs that need one");
    }
    let keys: Vec<LimitKey> = expected.into_keys().collect();
    let waits = replicas.store.count_waits(&keys).await.expect("reads");
    assert_eq!(waits.iter().sum::<u64>(), n_waiting, "who waits is known to wait");
    let cleared = replicas.store.clear_slots(replicas.clock.now(), 100).await.expect("sweeps");
    assert_eq!(cleared, [], "no slot is lost");
}
