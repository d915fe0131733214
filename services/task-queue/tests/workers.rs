//! Who the workers are, as every replica tells it, and how they are drained.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use support::{PATIENCE, Replica, Suite, Worker, config, hello, start, start_with};
use tidegate_proto::{
    internal::{DrainWorkerRequest, ListWorkersRequest, delivery_service_client::DeliveryServiceClient},
    v1::{self, Assign, Heartbeat, HeldRun, Hello, WorkerEnd, work_request, work_response},
};
use tidegate_service_kit::HumanDuration;
use tidegate_task_queue::Config;
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

type Deliveries = DeliveryServiceClient<Channel>;

async fn list(deliveries: &Deliveries) -> Vec<v1::Worker> {
    let request = ListWorkersRequest { namespace: "default".into(), limit: 250, ..Default::default() };
    deliveries.clone().list_workers(request).await.unwrap().into_inner().workers
}

/// Waits until the worker is as `is` wants it.
async fn until(deliveries: &Deliveries, id: &str, is: impl Fn(&v1::Worker) -> bool) -> v1::Worker {
    let looking = async {
        loop {
            if let Some(worker) =
                list(deliveries).await.into_iter().find(|worker| worker.id == id && is(worker))
            {
                return worker;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looking).await.expect("the worker comes to it in time")
}

async fn drain(deliveries: &Deliveries, id: &str) -> bool {
    let request = DrainWorkerRequest { namespace: "default".into(), worker_id: id.into() };
    deliveries.clone().drain_worker(request).await.unwrap().into_inner().is_live
}

async fn told_to_drain(worker: &mut Worker) {
    let message = worker.next().await.unwrap();
    assert!(matches!(message, Some(work_response::Message::Drain(_))), "{message:?}");
}

fn pooled(id: &str) -> Hello {
    Hello { work_pool: "site".into(), queues: vec!["z".into(), "a".into()], ..hello(id, &[]) }
}

async fn two_replicas() -> (Suite, Replica) {
    two_replicas_with(config()).await
}

async fn two_replicas_with(config: Config) -> (Suite, Replica) {
    let suite = start_with(config).await;
    let other = suite.replica().await;
    (suite, other)
}

async fn end(suite: Suite, other: Replica) {
    other.tasks.stop();
    other.tasks.finished(PATIENCE).await.unwrap();
    suite.end().await;
}

#[tokio::test]
async fn every_replica_tells_of_the_workers_of_all() {
    let (mut suite, other) = two_replicas().await;
    let introduced = Hello {
        name: "nightly".into(),
        host: "node-1".into(),
        process_id: 77,
        task_slots: 9,
        flow_slots: 0,
        labels: [("gpu".to_owned(), "a100".to_owned())].into(),
        ..hello("w-1", &["f", "g"])
    };
    let mut first = Worker::open(&suite, introduced).await;
    let _second = Worker::open_at(&other.channel, pooled("w-2")).await;
    first.credits(9, 0).await;
    suite.task("f").await;
    let [assign] = first.assigned().await.try_into().unwrap();

    let told =
        until(&suite.deliveries, "w-1", |worker| worker.n_runs == 1 && worker.n_free_task_slots == 8).await;
    let expected = v1::Worker {
        id: "w-1".into(),
        queues: vec!["default".into()],
        labels: [("gpu".to_owned(), "a100".to_owned())].into(),
        sdk: "test/0".into(),
        n_free_task_slots: 8,
        n_runs: 1,
        is_live: true,
        n_functions: 2,
        name: "nightly".into(),
        host: "node-1".into(),
        process_id: 77,
        n_task_slots: 9,
        last_seen_at: told.last_seen_at,
        came_at: told.came_at,
        ..Default::default()
    };
    assert_eq!(told, expected);
    assert!(told.came_at.unwrap().seconds > 1_700_000_000 && told.last_seen_at.is_some());
    for deliveries in [&suite.deliveries, &other.deliveries] {
        let second = until(deliveries, "w-2", |_| true).await;
        assert_eq!((second.work_pool.as_str(), second.n_functions, second.is_live), ("site", 0, true));
        assert_eq!(second.queues, ["z", "a"], "in the order in which they are served");
        let ids: Vec<_> = list(deliveries).await.into_iter().map(|worker| worker.id).collect();
        assert_eq!(ids, ["w-1", "w-2"]);
    }
    // A process that executes a run for a worker is none.
    let executes = vec![HeldRun { run_id: assign.run_id.clone(), epoch: assign.epoch }];
    let process = Hello { executes, queues: Vec::new(), functions: Vec::new(), ..hello("w-3", &[]) };
    let _process = Worker::open(&suite, process).await;
    let page = ListWorkersRequest {
        namespace: "default".into(),
        after: "w-1".into(),
        limit: 250,
        ..Default::default()
    };
    let page = suite.deliveries.list_workers(page).await.unwrap().into_inner().workers;
    assert_eq!(page.iter().map(|worker| worker.id.as_str()).collect::<Vec<_>>(), ["w-2"]);
    end(suite, other).await;
}

#[tokio::test]
async fn a_worker_is_drained_through_any_replica_and_gets_nothing_more() {
    let (mut suite, other) = two_replicas().await;
    let mut worker = Worker::open_at(&other.channel, hello("w", &["f"])).await;
    worker.credits(5, 0).await;
    suite.task("f").await;
    let [held] = worker.assigned().await.try_into().unwrap();
    until(&suite.deliveries, "w", |_| true).await;
    for _ in 0..2 {
        assert!(drain(&suite.deliveries, "w").await);
    }
    told_to_drain(&mut worker).await;
    let told = until(&other.deliveries, "w", |worker| worker.is_draining).await;
    assert_eq!((told.is_live, told.n_free_task_slots, told.n_runs), (true, 0, 1));

    // What it has credits for goes to another one, also where it gives new ones.
    worker.credits(3, 0).await;
    worker.nothing_else_came().await;
    let run = suite.task("f").await;
    let mut next = Worker::open_at(&other.channel, hello("next", &["f"])).await;
    next.credits(1, 0).await;
    assert_eq!(next.assigned().await[0].run_id, run.to_string());
    worker.nothing_else_came().await;

    // On another stream, at another replica, it still is to drain.
    drop(worker);
    let mut worker = Worker::open(&suite, hello("w", &["f"])).await;
    told_to_drain(&mut worker).await;
    worker.credits(5, 0).await;
    suite.task("f").await;
    worker.heartbeat(&[&held]).await;
    worker.nothing_else_came().await;
    assert!(worker.settle(&held, support::started()).await.accepted);
    assert!(worker.settle(&held, support::completed()).await.accepted);
    worker.half_close();
    worker.end().await.unwrap();
    for deliveries in [&suite.deliveries, &other.deliveries] {
        let told = until(deliveries, "w", |worker| !worker.is_live).await;
        assert_eq!((told.end(), told.is_draining), (WorkerEnd::Drained, false));
        assert!(!drain(deliveries, "w").await, "it is gone");
        assert!(!drain(deliveries, "nobody").await);
    }
    end(suite, other).await;
}

#[tokio::test]
async fn how_a_worker_has_ended_is_told() {
    let (suite, other) = two_replicas().await;
    let mut drained = Worker::open(&suite, hello("drained", &["f"])).await;
    let mut left = Worker::open(&suite, hello("left", &["f"])).await;
    let lost = Worker::open(&suite, pooled("lost")).await;
    let heartbeat = Heartbeat { is_draining: true, ..Heartbeat::default() };
    drained.say(work_request::Message::Heartbeat(heartbeat)).await;
    until(&suite.deliveries, "drained", |worker| worker.is_draining).await;
    drained.nothing_else_came().await;
    for worker in [&mut drained, &mut left] {
        worker.half_close();
        worker.end().await.unwrap();
    }
    drop(lost);
    for (id, end) in [("drained", WorkerEnd::Drained), ("left", WorkerEnd::Left), ("lost", WorkerEnd::Lost)] {
        let told = until(&other.deliveries, id, |worker| !worker.is_live).await;
        assert_eq!(told.end(), end, "{id}");
    }
    // One that comes back is live, and came when it first did.
    let before = until(&other.deliveries, "lost", |_| true).await;
    let _back = Worker::open_at(&other.channel, pooled("lost")).await;
    let back = until(&other.deliveries, "lost", |worker| worker.is_live).await;
    assert_eq!((back.end(), back.came_at), (WorkerEnd::Unspecified, before.came_at));
    end(suite, other).await;
}

#[tokio::test]
async fn a_worker_that_is_sent_to_another_replica_has_not_ended() {
    let mut config = config();
    config.drain.streams = HumanDuration::new(PATIENCE);
    let (mut suite, other) = two_replicas_with(config).await;
    let mut worker = Worker::open_at(&other.channel, hello("w", &["f"])).await;
    worker.credits(1, 0).await;
    suite.task("f").await;
    let [held]: [Assign; 1] = worker.assigned().await.try_into().unwrap();
    other.tasks.stop();
    let message = worker.next().await.unwrap();
    assert!(matches!(message, Some(work_response::Message::Reconnect(_))), "{message:?}");
    worker.half_close();
    worker.end().await.unwrap();
    other.tasks.finished(PATIENCE).await.unwrap();
    let [told] = list(&suite.deliveries).await.try_into().unwrap();
    assert!(told.is_live, "{told:?}");
    let mut worker = Worker::open(&suite, hello("w", &["f"])).await;
    worker.heartbeat(&[&held]).await;
    let told = until(&suite.deliveries, "w", |worker| worker.n_runs == 1).await;
    assert!(told.is_live);
    worker.half_close();
    worker.end().await.unwrap();
    suite.end().await;
}

#[tokio::test]
async fn what_is_asked_of_workers_is_checked() {
    let mut suite = start().await;
    let good = ListWorkersRequest { namespace: "default".into(), limit: 1, ..Default::default() };
    let cases = [
        ListWorkersRequest { namespace: String::new(), ..good.clone() },
        ListWorkersRequest { limit: 0, ..good.clone() },
        ListWorkersRequest { limit: 251, ..good.clone() },
        ListWorkersRequest { work_pool: "no spaces".into(), ..good.clone() },
        ListWorkersRequest { after: "\n".into(), ..good },
    ];
    for request in cases {
        let status = suite.deliveries.list_workers(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
    }
    let status = suite.deliveries.drain_worker(DrainWorkerRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let long = Hello { name: "n".repeat(129), host: "h\n".into(), ..hello("w", &["f"]) };
    let first = work_request::Message::Hello(long);
    let status = Worker::open_with(&suite, first).await.end().await.unwrap_err();
    assert!(status.message().contains("hello.name") && status.message().contains("hello.host"), "{status:?}");
    suite.end().await;
}
