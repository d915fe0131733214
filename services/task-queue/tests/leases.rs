//! Who holds a run, and what happens when nobody does.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use support::{
    KEPT_LEASE, LEASE, PATIENCE, Worker, cancelled, completed, config, hello, leased_for, start, start_with,
    started,
};
use tidegate_model::RunId;
use tidegate_proto::{
    internal::GetGenerationRequest,
    v1::{Assign, CancelCause, RunKind, StateType},
};
use tidegate_service_kit::HumanDuration;
use tokio::time::Instant;
use tonic::Code;

#[tokio::test]
async fn a_lost_lease_is_reported_once_and_the_run_goes_elsewhere() {
    let mut suite = start_with(leased_for(LEASE)).await;
    let mut worker = suite.worker("silent", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;

    let run = suite.api.until(run_id, |run| run.state == StateType::Scheduled).await;
    assert_eq!(run.history, ["started", "lease lost: worker silent was silent for 1.5s"]);
    suite.enqueue_again(run_id, RunKind::Task, "f", 0).await;
    let mut second = suite.worker("second", &["f"]).await;
    second.credits(1, 0).await;
    let [again] = second.assigned().await.try_into().unwrap();
    assert_eq!(again.epoch, 3);

    // What the silent one still says is refused, and it is told to stop.
    let outcome = worker.settle(&assign, completed()).await;
    assert_eq!((outcome.accepted, outcome.reason.as_str()), (false, "STALE_EPOCH"));
    worker.heartbeat(&[&assign]).await;
    assert_eq!(worker.cancelled().await.cause(), CancelCause::Lost);
    assert_eq!(suite.api.get(run_id).history.len(), 2);
    suite.end().await;
}

#[tokio::test]
async fn heartbeats_keep_a_lease() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(KEPT_LEASE / 10);
    while begun.elapsed() < KEPT_LEASE * 2 {
        ticks.tick().await;
        worker.heartbeat(&[&assign]).await;
    }
    assert!(worker.settle(&assign, completed()).await.accepted);
    assert_eq!(suite.api.get(run_id).history, ["started", "completed"]);
    suite.end().await;
}

/// An assignment can be lost on its way, by a proxy that took it and died.
#[tokio::test]
async fn what_a_worker_never_lists_starts_elsewhere_at_no_cost() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    let mut worker = suite.worker("w", &["f", "g"]).await;
    worker.credits(2, 0).await;
    let (lost, listed) = (suite.task("f").await, suite.task("g").await);
    let assigned = worker.assigned_n(2).await;
    let listed = assigned.iter().find(|assign| assign.run_id == listed.to_string()).unwrap();
    let mut ticks = tokio::time::interval(KEPT_LEASE / 20);
    while suite.api.get(lost).state != StateType::Scheduled {
        ticks.tick().await;
        worker.heartbeat(&[listed]).await;
    }
    assert_eq!(suite.api.get(lost).history, ["released"]);
    suite.enqueue_again(lost, RunKind::Task, "f", 0).await;
    let mut second = suite.worker("second", &["f"]).await;
    second.credits(1, 0).await;
    let [again] = second.assigned().await.try_into().unwrap();
    assert!(second.settle(&again, started()).await.accepted);
    assert!(worker.settle(listed, started()).await.accepted, "it is still held");
    suite.end().await;
}

#[tokio::test]
async fn a_worker_that_reconnects_in_time_keeps_its_runs() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    suite.until_judging().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;
    drop(worker);

    let mut worker = suite.worker("w", &["f"]).await;
    worker.heartbeat(&[&assign]).await;
    assert!(worker.settle(&assign, completed()).await.accepted);
    assert_eq!(suite.api.get(run_id).history, ["started", "completed"]);
    suite.end().await;
}

#[tokio::test]
async fn a_second_stream_of_a_worker_replaces_the_first() {
    let mut suite = start().await;
    let mut first = suite.worker("w", &["f"]).await;
    first.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = first.assigned().await.try_into().unwrap();
    first.credits(5, 0).await;

    let mut second = suite.worker("w", &["f"]).await;
    assert_eq!(first.end().await.unwrap_err().code(), Code::Aborted);
    // Credits belong to the stream; what is held belongs to the worker.
    suite.task("f").await;
    second.nothing_else_came().await;
    second.settle(&assign, started()).await;
    suite.api.set_cancelling(run_id);
    suite.cancel(run_id, "f").await;
    assert_eq!(second.cancelled().await.run_id, assign.run_id);
    suite.end().await;
}

#[tokio::test]
async fn a_cancel_reaches_the_worker_once() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;
    suite.api.set_cancelling(run_id);
    suite.cancel(run_id, "f").await;
    suite.cancel(run_id, "f").await;
    let cancel = worker.cancelled().await;
    assert_eq!((cancel.run_id.as_str(), cancel.epoch), (assign.run_id.as_str(), assign.epoch));
    assert_eq!((cancel.cause(), cancel.message.as_str()), (CancelCause::Requested, "asked by a test"));
    assert_eq!(cancel.grace.unwrap().seconds, 7);
    worker.nothing_else_came().await;
    assert!(worker.settle(&assign, cancelled()).await.accepted);
    suite.until_nothing_is_kept().await;
    suite.end().await;
}

#[tokio::test]
async fn a_worker_is_told_that_a_run_was_taken_away() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    suite.until_leased(&assign).await;
    suite.stop(run_id, "f", None).await;
    let cancel = worker.cancelled().await;
    assert_eq!((cancel.cause(), cancel.run_id), (CancelCause::Lost, assign.run_id));
    suite.until_nothing_is_kept().await;
    suite.end().await;
}

#[tokio::test]
async fn a_cancel_waits_for_a_worker_that_is_reconnecting() {
    let mut suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;
    worker.half_close();
    worker.end().await.unwrap();
    suite.api.set_cancelling(run_id);
    suite.cancel(run_id, "f").await;

    let mut worker = suite.worker("w", &["f"]).await;
    worker.heartbeat(&[&assign]).await;
    assert_eq!(worker.cancelled().await.run_id, assign.run_id);
    suite.end().await;
}

#[tokio::test]
async fn a_cancelled_run_that_waits_is_not_delivered() {
    let mut suite = start().await;
    let run_id = suite.task("f").await;
    suite.cancel(run_id, "f").await;
    suite.until_nothing_is_kept().await;
    suite.end().await;
}

#[tokio::test]
async fn after_a_wipe_workers_announce_what_they_hold_before_leases_are_judged() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    suite.until_judging().await;
    let born_at =
        suite.deliveries.get_generation(GetGenerationRequest {}).await.unwrap().into_inner().born_at;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(2, 0).await;
    let (running, stopping) = (suite.task("f").await, suite.task("f").await);
    let assigns = worker.assigned_n(2).await;
    for assign in &assigns {
        worker.settle(assign, started()).await;
    }
    suite.delivery.wipe();
    suite.api.set_cancelling(stopping);

    // Nothing is called lost, though nothing is known.
    assert!(suite.is_leased(&running.to_string(), 1).await);
    let reborn = suite.deliveries.get_generation(GetGenerationRequest {}).await.unwrap().into_inner().born_at;
    assert_ne!(reborn, born_at);

    let unknown = Assign { run_id: RunId::new().to_string(), epoch: 4, ..Assign::default() };
    worker.heartbeat(&[&assigns[0], &assigns[1], &unknown]).await;
    for assign in &assigns {
        suite.until_leased(assign).await;
    }
    let mut cancels = Vec::new();
    while cancels.len() < 2 {
        let Some(tidegate_proto::v1::work_response::Message::Cancels(more)) = worker.next().await.unwrap()
        else {
            panic!("cancels")
        };
        cancels.extend(more.cancels);
    }
    let cause_of = |run_id: &str| {
        let cancel = cancels.iter().find(|cancel| cancel.run_id == run_id);
        cancel.map(tidegate_proto::v1::Cancel::cause)
    };
    assert_eq!(cause_of(&stopping.to_string()), Some(CancelCause::Requested));
    assert_eq!(cause_of(&unknown.run_id), Some(CancelCause::Lost));
    assert_eq!(cause_of(&running.to_string()), None);
    suite.end().await;
}

#[tokio::test]
async fn reports_are_kept_while_api_is_down() {
    let mut suite = start_with(leased_for(KEPT_LEASE)).await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(1, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    suite.api.set_down(true);
    worker.report(&assign, started()).await;
    worker.report(&assign, completed()).await;
    // The stream goes on meanwhile: heartbeats renew the lease for longer than it lasts.
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(KEPT_LEASE / 10);
    while begun.elapsed() < KEPT_LEASE + KEPT_LEASE / 2 {
        ticks.tick().await;
        worker.heartbeat(&[&assign]).await;
    }
    suite.api.set_down(false);
    // They go on until the reports are repeated, which may take longer than a lease.
    let heartbeats = async {
        loop {
            ticks.tick().await;
            worker.heartbeat(&[&assign]).await;
        }
    };
    let run = tokio::select! {
        run = suite.api.until(run_id, |run| run.state == StateType::Completed) => run,
        () = heartbeats => unreachable!("they have no end"),
    };
    assert_eq!(run.history, ["started", "completed"]);
    let mut n_accepted = 0;
    while n_accepted < 2 {
        let Some(tidegate_proto::v1::work_response::Message::Outcomes(outcomes)) =
            worker.next().await.unwrap()
        else {
            panic!("outcomes")
        };
        n_accepted += outcomes.outcomes.iter().filter(|outcome| outcome.accepted).count();
    }
    suite.end().await;
}

#[tokio::test]
async fn a_stop_moves_workers_and_takes_their_last_reports() {
    let mut config = config();
    config.drain.streams = HumanDuration::new(PATIENCE);
    let mut suite = start_with(config).await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(2, 0).await;
    let run_id = suite.task("f").await;
    let [assign] = worker.assigned().await.try_into().unwrap();
    worker.settle(&assign, started()).await;

    suite.tasks.stop();
    let message = worker.next().await.unwrap();
    assert!(matches!(message, Some(tidegate_proto::v1::work_response::Message::Reconnect(_))), "{message:?}");
    assert!(worker.settle(&assign, completed()).await.accepted);
    assert_eq!(suite.api.get(run_id).history, ["started", "completed"]);
    worker.half_close();
    worker.end().await.unwrap();
    suite.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_move_is_let_go_at_the_end_of_the_drain() {
    let suite = start().await;
    let mut worker = Worker::open(&suite, hello("w", &["f"])).await;
    suite.tasks.stop();
    let status = worker.end().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("shutting down"), "{status:?}");
    suite.end().await;
}
