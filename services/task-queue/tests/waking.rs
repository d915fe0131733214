//! What has a waiting credit served: a hint at once, without a poll; and the poll where no hint comes. Each would hide that
//! the other one is broken, so each is seen without the other. And what is told where neither goes on.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{sync::Arc, time::Duration};

use support::{PATIENCE, Suite, Worker, config, observed::Observed, start_on};
use tidegate_delivery::{Delivery as _, Entry, EntryId, Function, QueueId, Requirements};
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_model::{Clock, Epoch, Namespace, QueueName, RunId, SystemClock, Timestamp};
use tidegate_proto::v1::RunKind;
use tidegate_service_kit::{HumanDuration, Supervisor};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

async fn start(poll: Duration, wrap: fn(Arc<MemoryDelivery>) -> Arc<Observed>) -> (Suite, Arc<Observed>) {
    let mut config = config();
    config.assign.poll_interval = HumanDuration::new(poll);
    let mut seen = None;
    let wrap = |state| Arc::clone(seen.insert(wrap(state)));
    let tasks = Supervisor::with_grace_and_patience(PATIENCE, Duration::from_secs(1));
    let suite = start_on(config, wrap, Arc::new(SystemClock), tasks).await;
    (suite, seen.unwrap())
}

/// As another replica puts it there: what is enqueued here is known here.
async fn enqueue_elsewhere(suite: &Suite, name: &str) -> RunId {
    let run_id = suite.api.create_due(RunKind::Task, name, just_ready());
    let queue = QueueId { namespace: Namespace::default(), queue: QueueName::default() };
    let function = Function::Task(name.parse().unwrap());
    let id = EntryId {
        queue,
        function,
        requires: Requirements::default(),
        fairness_key: None,
        run_id,
        epoch: Epoch(0),
    };
    let due_at = suite.api.get(run_id).due_at;
    let entry = Entry { id, priority: 0, due_at, prefers: None };
    suite.delivery.enqueue(&[entry], SystemClock.now()).await.unwrap();
    run_id
}

/// Times are kept in milliseconds and rounded up: what is due only now is ready in up to one. Until then it would be looked
/// at again, and what is ready already would come before it.
fn just_ready() -> Timestamp {
    SystemClock.now() - Duration::from_millis(2)
}

/// Lets all go on that can, in this thread: what was woken twice has looked twice.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Gives a credit and waits until it has led to a look that finds nothing; the next poll is an hour away. Gives how many
/// looks there have been.
async fn looked_for(seen: &Observed, worker: &Worker) -> usize {
    let before = seen.n_takes();
    worker.credits(1, 0).await;
    seen.until_takes(before + 1).await;
    settle().await;
    seen.n_takes()
}

#[tokio::test]
async fn a_replica_that_hears_no_hint_finds_what_is_ready_by_its_next_poll() {
    let (suite, seen) = start(Duration::from_millis(50), Observed::deaf).await;
    let mut worker = suite.worker("w", &["f"]).await;
    for _ in 0..5 {
        worker.credits(1, 0).await;
        // It looks again and again.
        seen.until_takes(seen.n_takes() + 2).await;
        let before = seen.n_takes();
        let run_id = enqueue_elsewhere(&suite, "f").await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        assert_eq!(assign.run_id, run_id.to_string());
        // The one that was under way may have missed it; the next one has it. Without a credit there are no more.
        let n_takes = seen.n_takes() - before;
        assert!((1..=2).contains(&n_takes), "{n_takes} takes");
    }
    suite.end().await;
}

#[tokio::test]
async fn a_waiting_credit_is_served_by_the_hint_alone_and_with_one_take() {
    let (mut suite, seen) = start(Duration::from_secs(3_600), Observed::new).await;
    let mut worker = suite.worker("w", &["f"]).await;
    for _ in 0..5 {
        let before = looked_for(&seen, &worker).await;
        let run_id = enqueue_elsewhere(&suite, "f").await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        assert_eq!(assign.run_id, run_id.to_string());
        settle().await;
        assert_eq!(seen.n_takes() - before, 1);
    }
    // Also what is enqueued here.
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, run_id.to_string());
    suite.end().await;
}

/// A credit that waits is given what is best when it is served, and not what has woken it.
#[tokio::test]
async fn what_wakes_a_waiting_credit_is_not_served_ahead_of_older_work() {
    let (mut suite, seen) = start(Duration::from_secs(3_600), Observed::new).await;
    let mut worker = suite.worker("w", &["f"]).await;
    seen.set_hangs(true);
    worker.credits(1, 0).await;
    seen.until_takes(1).await;
    // The look that hangs has the time of its beginning: what is delayed until after it would not be seen by it.
    let [older, newer] = [(); 2].map(|()| suite.api.create_due(RunKind::Task, "f", just_ready()));
    for run_id in [older, newer] {
        suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    }
    seen.set_hangs(false);
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, older.to_string());
    let newest = suite.task("f").await;
    for expected in [newer, newest] {
        worker.credits(1, 0).await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        assert_eq!(assign.run_id, expected.to_string());
    }
    suite.end().await;
}

#[tokio::test]
async fn a_replica_whose_takes_hang_does_not_serve_until_they_go_on() {
    let (mut suite, seen) = start(Duration::from_secs(3_600), Observed::new).await;
    let mut health = HealthClient::new(suite.channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut worker = suite.worker("w", &["f"]).await;
    seen.set_hangs(true);
    worker.credits(1, 0).await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    seen.set_hangs(false);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    suite.task("f").await;
    worker.assigned_n(1).await;
    // A pool that ends with its last worker is missed by nobody.
    worker.half_close();
    worker.end().await.unwrap();
    suite.end().await;
}

/// Its time is waited for, and not looked for again and again.
#[tokio::test]
async fn a_delayed_run_costs_a_look_when_it_comes_and_one_when_it_is_due() {
    let (mut suite, seen) = start(Duration::from_secs(3_600), Observed::new).await;
    let mut worker = suite.worker("w", &["f"]).await;
    let before = looked_for(&seen, &worker).await;
    let due_at = SystemClock.now() + Duration::from_millis(800);
    let run_id = suite.api.create_due(RunKind::Task, "f", due_at);
    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, run_id.to_string());
    assert!(SystemClock.now() >= due_at);
    // One or two when it comes (the call and its hint), one or two at its time.
    let n_takes = seen.n_takes() - before;
    assert!((2..=4).contains(&n_takes), "{n_takes} takes");
    suite.end().await;
}
