//! Rates: how many start in a time.

use std::{sync::Arc, time::Duration};

use tidegate_engine::QueueAsk;
use tidegate_model::{Clock as _, Namespace};
use tidegate_orchestration::{Event, Placement};
use tidegate_store::QueueKey;

use super::{claimed, created, is_handed_over, key, limited, rate, rated, until_handed_over};
use crate::common::Fixture;

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
    fixture.advance(59);
    assert_eq!(fixture.engine.purge_limits(10).await.expect("sweeps"), 0);
    fixture.advance(2);
    assert_eq!(fixture.engine.purge_limits(10).await.expect("sweeps"), 1);
}

/// A claim that has waited for the store is judged by the time of its beginning, whatever was swept meanwhile.
#[tokio::test]
async fn a_claim_that_began_before_its_token_was_there_is_not_granted_after_a_sweep() {
    let fixture = Fixture::new().await;
    let sweeps = Fixture::over(Arc::clone(fixture.engine.store()));
    fixture.engine.put_limit(key("api"), rated(rate(2, 10))).await.expect("is defined");
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(created(&fixture, &["api"]).await);
    }
    for run in &runs[..2] {
        assert!(claimed(&fixture, run).await.is_granted());
    }
    sweeps.advance(30);
    assert_eq!(sweeps.engine.purge_limits(10).await.expect("sweeps"), 0);
    assert!(claimed(&fixture, &runs[2]).await.is_waiting());
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
