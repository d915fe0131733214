//! Who finds no slot, or has somebody give way.

use tidegate_orchestration::{Collision, Event};
use tidegate_store::LimitSettings;

use super::{claimed, colliding, created, key, limited, rate, rated, until_handed_over};
use crate::common::Fixture;

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

#[tokio::test]
async fn nobody_gives_way_to_one_for_whom_something_comes_free() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), colliding(3, Collision::CancelOldest)).await.expect("is defined");
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push(fixture.start(&created(&fixture, &["db"]).await).await);
        fixture.advance(1);
    }
    let waiting = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    assert_eq!(fixture.engine.ask_holders().await.expect("asks"), 1);
    fixture.report(&holders[1], Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &waiting).await;
    let new = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &new).await.is_waiting(), "what is free is kept for the one before it");
    assert_eq!(
        fixture.engine.ask_holders().await.expect("asks"),
        0,
        "it has the slot of the one that was asked"
    );
    assert_eq!(fixture.state(&holders[2]).await, "RUNNING/Running");
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
    fixture.report(&fixture.get(&holders[0]).await, Event::Cancelled).await.expect("is stopped");
    until_handed_over(&fixture, &new).await;
}
