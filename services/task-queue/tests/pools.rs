//! Workers of work pools, and the processes that execute runs for them.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use support::{KEPT_LEASE, Suite, Worker, hello, leased_for, start, start_with};
use tidegate_model::RunId;
use tidegate_proto::{
    internal::{
        CancelRunsRequest, CancelledRun, Delivery, DescribeDeliveryRequest, DescribeWorkPoolRequest,
        EnqueueRunsRequest, ResumeWorkPoolRequest,
    },
    v1::{Assign, CancelCause, Function, HeldRun, Hello, RunKind, work_request::Message},
};
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

const POOL: &str = "site";

/// A worker of the pool that serves these queues.
async fn pool_worker(suite: &Suite, id: &str, queues: &[&str]) -> Worker {
    let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let hello = Hello { work_pool: POOL.to_owned(), queues, functions: Vec::new(), ..hello(id, &[]) };
    Worker::open(suite, hello).await
}

/// A process that executes a run for such a worker.
async fn process(suite: &Suite, id: &str, assign: &Assign) -> Worker {
    Worker::open(suite, executing(id, assign)).await
}

fn executing(id: &str, assign: &Assign) -> Hello {
    let executes = vec![HeldRun { run_id: assign.run_id.clone(), epoch: assign.epoch }];
    Hello { executes, queues: Vec::new(), functions: Vec::new(), ..hello(id, &[]) }
}

/// A delivery of a new run of a flow; in the pool, or for those who serve the flow.
fn delivery(suite: &Suite, queue: &str, flow: &str, work_pool: &str) -> Delivery {
    Delivery {
        namespace: "default".to_owned(),
        queue: queue.to_owned(),
        kind: RunKind::Flow.into(),
        name: flow.to_owned(),
        run_id: suite.api.create(RunKind::Flow, flow).to_string(),
        work_pool: work_pool.to_owned(),
        ..Delivery::default()
    }
}

async fn enqueue(suite: &mut Suite, deliveries: &[Delivery]) {
    let request = EnqueueRunsRequest { deliveries: deliveries.to_vec() };
    suite.deliveries.enqueue_runs(request).await.unwrap();
}

fn ids(assigns: &[Assign]) -> Vec<&str> {
    let mut ids: Vec<_> = assigns.iter().map(|assign| assign.run_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn stop(suite: &mut Suite, run: &Delivery, grace: Option<prost_types::Duration>) {
    let run_id: RunId = run.run_id.parse().unwrap();
    let run = CancelledRun {
        namespace: run.namespace.clone(),
        queue: run.queue.clone(),
        run_id: run.run_id.clone(),
        epoch: suite.api.epoch(run_id),
        grace,
        message: "asked by a test".to_owned(),
        kind: run.kind,
        name: run.name.clone(),
        work_pool: run.work_pool.clone(),
        ..CancelledRun::default()
    };
    suite.deliveries.cancel_runs(CancelRunsRequest { runs: vec![run] }).await.unwrap();
}

#[tokio::test]
async fn a_pools_worker_gets_all_runs_of_its_pool_and_no_others() {
    let mut suite = start().await;
    let serves_f = Function { kind: RunKind::Flow.into(), name: "f".to_owned() };
    let named = Hello { functions: vec![serves_f], ..hello("named", &[]) };
    let mut named = Worker::open(&suite, named).await;
    let mut pooled = pool_worker(&suite, "pooled", &["default"]).await;
    named.credits(9, 9).await;
    pooled.credits(9, 9).await;

    let own = [delivery(&suite, "default", "f", POOL), delivery(&suite, "default", "g", POOL)];
    let elsewhere = [delivery(&suite, "other", "f", POOL), delivery(&suite, "default", "f", "another")];
    let plain = delivery(&suite, "default", "f", "");
    enqueue(&mut suite, &[&elsewhere[..], &own, std::slice::from_ref(&plain)].concat()).await;
    assert_eq!(ids(&pooled.assigned_n(2).await), own.each_ref().map(|run| run.run_id.as_str()));
    let [assign] = named.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, plain.run_id);
    pooled.nothing_else_came().await;
    named.nothing_else_came().await;

    // Who could take it is asked of the pool's workers.
    let request = DescribeDeliveryRequest { delivery: Some(delivery(&suite, "default", "f", POOL)) };
    let told = suite.deliveries.describe_delivery(request).await.unwrap().into_inner();
    assert_eq!((told.n_serving, told.n_workers, told.n_free_slots), (1, 1, 7));
    suite.end().await;
}

#[tokio::test]
async fn the_queues_of_a_pool_are_served_in_their_order() {
    let mut suite = start().await;
    let mut runs = Vec::new();
    for queue in ["a-last", "z-first", "a-last", "z-first"] {
        runs.push(delivery(&suite, queue, "f", POOL));
    }
    enqueue(&mut suite, &runs).await;
    let mut worker = pool_worker(&suite, "w", &["z-first", "a-last"]).await;
    for expected in [[&runs[1], &runs[3]], [&runs[0], &runs[2]]] {
        worker.credits(0, 2).await;
        let got = worker.assigned_n(2).await;
        assert_eq!(ids(&got), expected.map(|run| run.run_id.as_str()));
    }
    suite.end().await;
}

#[tokio::test]
async fn a_paused_pool_holds_up_its_own_runs_alone() {
    let mut suite = start().await;
    suite.api.pause_pool_of("f");
    let mut worker = pool_worker(&suite, "w", &["default", "other"]).await;
    let serves_g = Function { kind: RunKind::Flow.into(), name: "g".to_owned() };
    let mut named = Worker::open(&suite, Hello { functions: vec![serves_g], ..hello("named", &[]) }).await;
    worker.credits(0, 9).await;
    named.credits(0, 9).await;
    let first = delivery(&suite, "default", "f", POOL);
    enqueue(&mut suite, std::slice::from_ref(&first)).await;
    suite.api.until_paused_claims(1).await;
    // Another queue of the pool is not asked for, and others who use the queue are served.
    let second = delivery(&suite, "other", "f", POOL);
    let plain = delivery(&suite, "default", "g", "");
    enqueue(&mut suite, &[second.clone(), plain.clone()]).await;
    let [assign] = named.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, plain.run_id);
    worker.nothing_else_came().await;
    assert_eq!(suite.api.n_paused_claims(), 1);

    suite.api.resume_pool_of("f");
    let request = ResumeWorkPoolRequest { namespace: "default".to_owned(), work_pool: POOL.to_owned() };
    suite.deliveries.resume_work_pool(request).await.unwrap();
    assert_eq!(ids(&worker.assigned_n(2).await), [first.run_id, second.run_id]);

    let request = DescribeWorkPoolRequest { namespace: "default".to_owned(), work_pool: POOL.to_owned() };
    let told = suite.deliveries.describe_work_pool(request).await.unwrap().into_inner();
    assert_eq!((told.n_workers, told.n_free_slots), (1, 7));
    suite.end().await;
}

#[tokio::test]
async fn a_cancelled_run_of_a_pool_is_forgotten() {
    let mut suite = start().await;
    let run = delivery(&suite, "default", "f", POOL);
    enqueue(&mut suite, std::slice::from_ref(&run)).await;
    stop(&mut suite, &run, Some(prost_types::Duration::default())).await;
    suite.until_nothing_is_kept().await;
    suite.end().await;
}

#[tokio::test]
async fn a_stop_reaches_the_worker_and_the_process_that_executes() {
    let mut suite = start().await;
    let mut worker = pool_worker(&suite, "w", &["default"]).await;
    worker.credits(0, 9).await;
    for grace in [Some(prost_types::Duration { seconds: 7, nanos: 0 }), None] {
        let run = delivery(&suite, "default", "f", POOL);
        enqueue(&mut suite, std::slice::from_ref(&run)).await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        let id = format!("process of {}", assign.run_id);
        let mut first = process(&suite, "a process that ends early", &assign).await;
        let mut process = process(&suite, &id, &assign).await;
        // One that leaves takes nothing from the others.
        first.half_close();
        first.end().await.unwrap();
        stop(&mut suite, &run, grace).await;
        let cause = if grace.is_some() { CancelCause::Requested } else { CancelCause::Lost };
        for stream in [&mut worker, &mut process] {
            let cancel = stream.cancelled().await;
            assert_eq!((&cancel.run_id, cancel.epoch), (&assign.run_id, assign.epoch));
            assert_eq!((cancel.cause(), cancel.grace), (cause, grace));
        }
        // One that comes later is told at once.
        let mut late = Worker::open(&suite, executing("late", &assign)).await;
        assert_eq!(late.cancelled().await.run_id, assign.run_id);
    }
    suite.end().await;
}

#[tokio::test]
async fn the_process_alone_keeps_the_lease() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    suite.until_judging().await;
    let mut worker = pool_worker(&suite, "w", &["default"]).await;
    worker.credits(0, 1).await;
    let run = delivery(&suite, "default", "f", POOL);
    enqueue(&mut suite, std::slice::from_ref(&run)).await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    suite.until_leased(&assign).await;
    let mut process = process(&suite, "p", &assign).await;
    drop(worker);
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(KEPT_LEASE / 10);
    while begun.elapsed() < KEPT_LEASE + KEPT_LEASE / 2 {
        ticks.tick().await;
        process.heartbeat(&[&assign]).await;
    }
    let outcome = process.settle(&assign, support::started()).await;
    assert!(outcome.accepted, "{outcome:?}");
    // Also where it is not listed: what has begun is not given back.
    process.nothing_else_came().await;
    assert!(suite.is_leased(&assign.run_id, assign.epoch).await);
    let outcome = process.settle(&assign, support::completed()).await;
    assert!(outcome.accepted, "{outcome:?}");
    suite.end().await;
}

#[tokio::test]
async fn what_a_process_or_a_pools_worker_may_not_say_is_refused() {
    let suite = start().await;
    let assign = Assign { run_id: RunId::new().to_string(), epoch: 1, ..Assign::default() };
    let good = executing("p", &assign);
    let function = Function { kind: RunKind::Flow.into(), name: "f".to_owned() };
    let pooled = Hello { work_pool: POOL.to_owned(), ..hello("w", &[]) };
    let cases = [
        (Hello { queues: vec!["q".to_owned()], ..good.clone() }, "hello.queues"),
        (Hello { functions: vec![function.clone()], ..good.clone() }, "hello.functions"),
        (Hello { executes: vec![good.executes[0].clone(); 2], ..good.clone() }, "hello.executes"),
        (Hello { executes: vec![HeldRun::default()], ..good.clone() }, "hello.executes[0].run_id"),
        (Hello { functions: vec![function], ..pooled.clone() }, "hello.functions"),
        (Hello { work_pool: "no spaces".to_owned(), ..pooled.clone() }, "hello.work_pool"),
        (Hello { queues: Vec::new(), ..pooled }, "hello.queues"),
    ];
    for (hello, field) in cases {
        let status = Worker::open_with(&suite, Message::Hello(hello)).await.end().await.unwrap_err();
        let details = status.get_error_details();
        let fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|at| at.field.as_str()).collect();
        assert_eq!((status.code(), fields), (Code::InvalidArgument, vec![field]));
    }
    let mut process = Worker::open(&suite, good).await;
    process.credits(1, 0).await;
    let status = process.end().await.unwrap_err();
    assert!(status.message().contains("takes no others"), "{status:?}");
    suite.end().await;
}
