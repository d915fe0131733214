//! Paused queues: what waits in one costs nothing, keeps its place, and goes on as soon as it may; and what a queue says.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::time::Duration;

use support::{PATIENCE, Suite, Worker, config, hello, start_with};
use tidegate_model::RunId;
use tidegate_proto::{
    internal::{
        DescribeQueueRequest, DescribeQueueResponse, ListQueueDepthsRequest, QueueDepth, ResumeQueueRequest,
    },
    v1::{Assign, Function, Hello, RunKind},
};
use tidegate_service_kit::HumanDuration;
use tonic::Code;

const QUEUE: &str = "default";
const N_CREDITS: u32 = 4;
const N_RUNS: usize = 20;

/// Looks at its queues all the time, and probes a paused one after `probe_interval`.
async fn start(probe_interval: Duration) -> Suite {
    let mut config = config();
    config.assign.poll_interval = HumanDuration::new(Duration::from_millis(5));
    config.assign.probe_interval = HumanDuration::new(probe_interval);
    start_with(config).await
}

/// A worker of the paused queue and of another one. It has flows, too, of which none waits.
async fn worker(suite: &Suite) -> Worker {
    let queues = vec![QUEUE.to_owned(), "other".to_owned()];
    let mut hello = Hello { queues, ..hello("w", &["f", "g"]) };
    hello.functions.push(Function { kind: RunKind::Flow.into(), name: "f".to_owned() });
    let worker = Worker::open(suite, hello).await;
    worker.credits(N_CREDITS, 1).await;
    worker
}

async fn paused(suite: &mut Suite) -> Vec<RunId> {
    suite.api.pause("f");
    let mut runs = Vec::new();
    for _ in 0..N_RUNS {
        runs.push(suite.task("f").await);
    }
    runs
}

async fn describe(suite: &mut Suite, queue: &str) -> DescribeQueueResponse {
    let request = DescribeQueueRequest { namespace: "default".to_owned(), queue: queue.to_owned() };
    suite.deliveries.describe_queue(request).await.unwrap().into_inner()
}

async fn resume(suite: &mut Suite) {
    suite.api.resume("f");
    let request = ResumeQueueRequest { namespace: "default".to_owned(), queue: QUEUE.to_owned() };
    suite.deliveries.resume_queue(request).await.unwrap();
}

fn ids(assigns: &[Assign]) -> Vec<RunId> {
    assigns.iter().map(|assign| assign.run_id.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_paused_queue_costs_nothing_and_blocks_nobody_and_goes_on_in_order() {
    let mut suite = start(Duration::from_secs(3_600)).await;
    let runs = paused(&mut suite).await;
    let mut worker = worker(&suite).await;
    suite.api.until_paused_claims(1).await;
    // Each of these shows that the pool has looked at its queues again, and that what it took before came back.
    for _ in 0..30 {
        let other = suite.task_in("other", "g").await;
        assert_eq!(ids(&worker.assigned().await), [other]);
        worker.credits(1, 0).await;
    }
    assert!(suite.api.n_paused_claims() <= N_CREDITS as usize, "{} claims", suite.api.n_paused_claims());
    let further = suite.task("f").await;
    let other = suite.task_in("other", "g").await;
    assert_eq!(ids(&worker.assigned().await), [other]);
    assert!(suite.api.n_paused_claims() <= N_CREDITS as usize, "what is enqueued meanwhile is not claimed");
    let depth = describe(&mut suite, QUEUE).await.depth.unwrap();
    // Due times are rounded up, so that what is due now may still be delayed.
    assert_eq!(
        (depth.ready + depth.delayed + depth.claimed) as usize,
        N_RUNS + 1,
        "nothing is lost: {depth:?}"
    );

    worker.credits(N_RUNS as u32, 0).await;
    resume(&mut suite).await;
    let expected: Vec<_> = runs.into_iter().chain([further]).collect();
    assert_eq!(ids(&worker.assigned_n(N_RUNS + 1).await), expected, "each keeps its place");
    suite.end().await;
}

#[tokio::test]
async fn a_resume_that_was_not_heard_of_is_found_by_a_probe() {
    let mut suite = start(Duration::from_millis(20)).await;
    let runs = paused(&mut suite).await;
    let mut worker = worker(&suite).await;
    // More than were taken at once: some of them were probes.
    suite.api.until_paused_claims(2 * N_CREDITS as usize).await;
    worker.credits(N_RUNS as u32, 0).await;
    suite.api.resume("f");
    let mut assigned = ids(&worker.assigned_n(N_RUNS).await);
    assigned.sort();
    assert_eq!(assigned, runs);
    suite.end().await;
}

#[tokio::test]
async fn an_answer_from_before_the_resume_holds_up_nothing() {
    let mut suite = start(Duration::from_secs(3_600)).await;
    suite.api.hold_up_claims(true);
    let runs = paused(&mut suite).await;
    let mut worker = worker(&suite).await;
    suite.api.until_paused_claims(1).await;
    resume(&mut suite).await;
    worker.credits(N_RUNS as u32, 0).await;
    suite.api.hold_up_claims(false);
    let mut assigned = ids(&worker.assigned_n(N_RUNS).await);
    assigned.sort();
    assert_eq!(assigned, runs);
    suite.end().await;
}

#[tokio::test]
async fn a_queue_says_how_much_waits_and_who_serves_it() {
    let mut suite = start(Duration::from_secs(3_600)).await;
    let empty = DescribeQueueResponse {
        depth: Some(QueueDepth { queue: "other".to_owned(), ..QueueDepth::default() }),
        ..DescribeQueueResponse::default()
    };
    assert_eq!(describe(&mut suite, "other").await, empty);
    for queue in ["b", "a", "b"] {
        suite.task_in(queue, "f").await;
    }
    let worker = worker(&suite).await;
    let serving = async {
        while describe(&mut suite, "other").await.n_free_task_slots != N_CREDITS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, serving).await.unwrap();
    assert_eq!(describe(&mut suite, "other").await.n_workers, 1);
    assert_eq!(describe(&mut suite, "b").await.n_workers, 0);

    let request = |after: &str, limit| ListQueueDepthsRequest {
        namespace: "default".to_owned(),
        after: after.to_owned(),
        limit,
    };
    let mut list = async |after: &str, limit| {
        let depths =
            suite.deliveries.list_queue_depths(request(after, limit)).await.unwrap().into_inner().depths;
        depths.into_iter().map(|depth| (depth.queue, depth.ready + depth.delayed)).collect::<Vec<_>>()
    };
    assert_eq!(list("", 1).await, [("a".to_owned(), 1)]);
    assert_eq!(list("a", 10).await, [("b".to_owned(), 2)]);
    for limit in [0, 1_001] {
        let refused = suite.deliveries.list_queue_depths(request("", limit)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    drop(worker);
    suite.end().await;
}
