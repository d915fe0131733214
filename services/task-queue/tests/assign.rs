//! Which run goes to which worker, and when.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::time::Duration;

use support::{PATIENCE, Worker, completed, hello, start, started};
use tidegate_model::{Clock, SystemClock};
use tidegate_proto::{
    internal::describe_delivery_response::{Ready, Standing},
    v1::{Function, Hindrance, RunKind, StateType},
};

#[tokio::test]
async fn a_run_goes_to_a_worker_and_nothing_of_it_is_left_behind() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;

    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!((assign.run_id.as_str(), assign.epoch), (run_id.to_string().as_str(), 1));
    assert!(assign.lease_expires_at.is_some());
    assert!(assign.traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{}", assign.traceparent);
    assert!(suite.is_leased(&assign.run_id, 1).await);

    let outcome = worker.settle(&assign, started()).await;
    assert!(outcome.accepted, "{outcome:?}");
    let outcome = worker.settle(&assign, completed()).await;
    assert!(outcome.accepted, "{outcome:?}");
    assert_eq!(suite.api.get(run_id).history, ["started", "completed"]);
    suite.until_nothing_is_kept().await;

    worker.half_close();
    worker.end().await.unwrap();
    suite.end().await;
}

#[tokio::test]
async fn runs_are_assigned_for_credits_of_their_kind_only() {
    let mut suite = start().await;
    let mut both = hello("w", &["work"]);
    both.functions.push(Function { kind: RunKind::Flow.into(), name: "flow".to_owned() });
    let mut worker = Worker::open(&suite, both).await;
    for _ in 0..3 {
        suite.enqueue(RunKind::Task, "work", 0).await;
        suite.enqueue(RunKind::Flow, "flow", 0).await;
    }
    worker.nothing_else_came().await;

    worker.credits(2, 0).await;
    let got = worker.assigned_n(2).await;
    assert!(got.iter().all(|assign| assign.kind() == RunKind::Task), "{got:?}");
    worker.nothing_else_came().await;
    worker.credits(0, 10).await;
    let got = worker.assigned_n(3).await;
    assert!(got.iter().all(|assign| assign.kind() == RunKind::Flow), "{got:?}");
    worker.nothing_else_came().await;
    worker.credits(1, 0).await;
    worker.assigned_n(1).await;
    suite.end().await;
}

#[tokio::test]
async fn what_nobody_serves_waits_and_blocks_nobody() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["served"]).await;
    let unserved = suite.enqueue(RunKind::Task, "unserved", 100).await;
    suite.task("served").await;
    worker.credits(5, 0).await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.name, "served");

    let mut other = suite.worker("other", &["unserved", "more"]).await;
    other.credits(1, 0).await;
    let [assign] = other.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, unserved.to_string());
    suite.end().await;
}

#[tokio::test]
async fn the_most_urgent_run_is_first() {
    let mut suite = start().await;
    let mut expected = Vec::new();
    for priority in [0, 5, -5, 0, 7] {
        let run_id = suite.enqueue(RunKind::Task, "f", priority).await;
        expected.push((-priority, run_id));
    }
    expected.sort();
    let mut worker = suite.worker("w", &["f"]).await;
    for (_, run_id) in expected {
        worker.credits(1, 0).await;
        let [assign] = worker.assigned().await.try_into().unwrap();
        assert_eq!(assign.run_id, run_id.to_string());
    }
    suite.end().await;
}

#[tokio::test]
async fn work_spreads_over_workers_that_serve_the_same() {
    let mut suite = start().await;
    let mut workers = [suite.worker("a", &["f", "g"]).await, suite.worker("b", &["g", "f"]).await];
    for worker in &workers {
        worker.credits(4, 0).await;
    }
    for worker in &mut workers {
        worker.nothing_else_came().await; // its credits are in
    }
    for _ in 0..8 {
        suite.task("f").await;
    }
    for worker in &mut workers {
        worker.assigned_n(4).await;
    }
    suite.end().await;
}

#[tokio::test]
async fn a_delayed_run_comes_when_it_is_due_without_a_poll() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let due_at = SystemClock.now() + Duration::from_millis(300);
    let run_id = suite.api.create_due(RunKind::Task, "f", due_at);
    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    worker.assigned_n(1).await; // the poll is far away
    assert!(SystemClock.now() >= due_at);
    suite.end().await;
}

#[tokio::test]
async fn a_run_that_api_says_is_not_due_comes_later() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let due_at = SystemClock.now() + Duration::from_millis(200);
    let run_id = suite.api.create_due(RunKind::Task, "f", due_at);
    // The delivery says that it is due at once.
    let mut delivery = tidegate_proto::internal::Delivery {
        namespace: "default".to_owned(),
        queue: "default".to_owned(),
        kind: RunKind::Task.into(),
        name: "f".to_owned(),
        run_id: run_id.to_string(),
        ..Default::default()
    };
    delivery.due_at = None;
    let request = tidegate_proto::internal::EnqueueRunsRequest { deliveries: vec![delivery] };
    suite.deliveries.enqueue_runs(request).await.unwrap();
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, run_id.to_string());
    assert!(SystemClock.now() >= due_at);
    suite.end().await;
}

#[tokio::test]
async fn what_api_refuses_is_dropped_and_costs_no_credit() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let old = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;
    worker.settle(&assign, completed()).await;

    worker.credits(1, 0).await;
    // As a sweep does that has looked before the end.
    let delivery = tidegate_proto::internal::Delivery {
        namespace: "default".to_owned(),
        queue: "default".to_owned(),
        kind: RunKind::Task.into(),
        name: "f".to_owned(),
        run_id: old.to_string(),
        ..Default::default()
    };
    let request = tidegate_proto::internal::EnqueueRunsRequest { deliveries: vec![delivery] };
    suite.deliveries.enqueue_runs(request).await.unwrap();
    let new = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, new.to_string());
    suite.end().await;
}

#[tokio::test]
async fn a_burst_goes_through_in_batches() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(2_500, 0).await;
    for _ in 0..3 {
        let deliveries = (0..1_000)
            .map(|_| {
                let run_id = suite.api.create(RunKind::Task, "f");
                tidegate_proto::internal::Delivery {
                    namespace: "default".to_owned(),
                    queue: "default".to_owned(),
                    kind: RunKind::Task.into(),
                    name: "f".to_owned(),
                    run_id: run_id.to_string(),
                    ..Default::default()
                }
            })
            .collect();
        let request = tidegate_proto::internal::EnqueueRunsRequest { deliveries };
        suite.deliveries.enqueue_runs(request).await.unwrap();
    }
    worker.assigned_n(2_500).await;
    worker.nothing_else_came().await;
    suite.end().await;
}

#[tokio::test]
async fn claims_are_put_back_while_api_is_down_and_nothing_is_lost() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    suite.api.set_down(true);
    worker.credits(3, 0).await;
    let runs = [suite.task("f").await, suite.task("f").await, suite.task("f").await];
    // Long enough for the patience of a claim to end, so that entries are put back and taken again.
    tokio::time::timeout(PATIENCE, async {
        let mut n_put_back = 0;
        let mut hints = tidegate_delivery::Delivery::hints(&*suite.delivery);
        while n_put_back < 3 {
            if let tidegate_delivery::Hint::Ready(ready) = hints.next().await {
                n_put_back += ready.len();
            }
        }
    })
    .await
    .unwrap();
    suite.api.set_down(false);
    let mut got: Vec<_> = worker.assigned_n(3).await.into_iter().map(|assign| assign.run_id).collect();
    got.sort();
    let mut expected = runs.map(|run_id| run_id.to_string());
    expected.sort();
    assert_eq!(got, expected);
    suite.end().await;
}

#[tokio::test]
async fn a_claim_that_is_granted_after_its_worker_left_starts_elsewhere() {
    let mut suite = start().await;
    let first = suite.worker("first", &["f"]).await;
    first.credits(1, 0).await;
    suite.api.hold_up_claims(true);
    let run_id = suite.task("f").await;
    suite.api.until(run_id, |run| run.state == StateType::Pending).await;
    drop(first);
    suite.api.hold_up_claims(false);
    let run = suite.api.until(run_id, |run| run.state == StateType::Scheduled).await;
    assert_eq!(run.history, ["released"]);

    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    let mut second = suite.worker("second", &["f"]).await;
    second.credits(1, 0).await;
    let [assign] = second.assigned().await.try_into().unwrap();
    assert_eq!((assign.run_id, assign.epoch), (run_id.to_string(), 3));
    suite.end().await;
}

#[tokio::test]
async fn where_a_run_stands_and_who_could_take_it_is_told() {
    let mut suite = start().await;
    let (first, second) = (suite.task("f").await, suite.task("f").await);
    let told = suite.describe(second, "f").await;
    let Some(Standing::Ready(ready)) = told.standing else { panic!("{told:?}") };
    assert!(ready.n_ahead <= 1, "{ready:?}");
    assert_eq!((told.n_workers, told.n_free_slots), (0, 0));

    let mut worker = suite.worker("w", &["f"]).await;
    let _idle = suite.worker("elsewhere", &["g"]).await;
    worker.credits(1, 0).await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!(assign.run_id, first.to_string());
    suite.until_leased(&assign).await;
    let told = suite.describe(first, "f").await;
    assert_eq!((told.n_workers, told.n_free_slots), (1, 0));
    match told.standing {
        Some(Standing::Leased(leased)) => assert_eq!(leased.worker_id, "w"),
        other => panic!("{other:?}"),
    }
    assert_eq!(suite.describe(second, "f").await.standing, Some(Standing::Ready(Ready { n_ahead: 0 })));
    let unknown = suite.describe(tidegate_model::RunId::new(), "f").await;
    assert_eq!(unknown.standing, None);
    suite.end().await;
}

#[tokio::test]
async fn what_keeps_a_run_from_beginning_is_told_until_it_is_over() {
    let mut suite = start().await;
    let run_id = suite.task("f").await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    suite.until_leased(&assign).await;
    let hindrance = |epoch, message: &str| Hindrance {
        run_id: assign.run_id.clone(),
        epoch,
        message: message.to_owned(),
    };
    let long = format!("{}ü", "x".repeat(511));
    for (told, known) in [
        (hindrance(assign.epoch, "Unschedulable"), "Unschedulable"),
        (hindrance(assign.epoch, &long), &long[..511]),
        (hindrance(assign.epoch - 1, "of an earlier attempt"), ""),
    ] {
        worker.heartbeat_with(&[&assign], vec![told]).await;
        tokio::time::timeout(PATIENCE, async {
            loop {
                match suite.describe(run_id, "f").await.standing {
                    Some(Standing::Leased(leased)) if leased.hindrance == known => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        })
        .await
        .expect("it is known");
    }
    suite.end().await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_slot_is_dropped_until_it_is_enqueued_again() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    suite.api.set_slots_taken(true);
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    suite.api.until(run_id, |run| run.epoch == 1).await;
    suite.until_nothing_is_kept().await;
    worker.nothing_else_came().await;
    assert_eq!(suite.api.epoch(run_id), 1, "it is not asked for again");

    suite.api.set_slots_taken(false);
    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    // For the credit that the first try has not used.
    let [assign] = worker.assigned().await.try_into().unwrap();
    assert_eq!((assign.run_id.as_str(), assign.epoch), (run_id.to_string().as_str(), 2));
    suite.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_read_its_stream_holds_up_nobody() {
    /// More assignments than fit into the window of a stream.
    const N_UNREAD: u32 = 3_000;
    let mut suite = start().await;
    let mut runs = Vec::new();
    for _ in 0..N_UNREAD {
        runs.push(suite.api.create(RunKind::Task, "f"));
    }
    suite.enqueue_all(&runs, "f").await;
    let deaf = suite.worker("deaf", &["f"]).await;
    deaf.credits(N_UNREAD, 0).await;
    for run_id in runs {
        suite.api.until(run_id, |run| run.epoch > 0).await;
    }
    // It serves the same, so both are filled by one task, and their runs claimed and sent by one.
    let mut other = suite.worker("w", &["f"]).await;
    other.credits(3, 0).await;
    for _ in 0..3 {
        let run_id = suite.task("f").await;
        let assign = other.assigned().await.remove(0);
        assert_eq!(assign.run_id, run_id.to_string());
        assert!(other.settle(&assign, started()).await.accepted);
        assert!(other.settle(&assign, completed()).await.accepted);
    }
    drop(deaf);
    suite.end().await;
}
