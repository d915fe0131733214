//! Reports on their way to api, while it takes long over some of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{num::NonZeroU32, time::Duration};

use support::{Suite, Worker, cancelled, completed, completed_large, config, start_with, started};
use tidegate_model::RunId;
use tidegate_proto::v1::{Assign, Report, Reports, work_request};
use tidegate_service_kit::ByteSize;
use tidegate_task_queue::Config;

/// All runs share a lane.
fn one_lane() -> Config {
    let mut config = config();
    config.report.lanes = NonZeroU32::MIN;
    config
}

/// A worker that has started so many runs.
async fn working(suite: &mut Suite, n_runs: u32) -> (Worker, Vec<Assign>) {
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(n_runs, 0).await;
    for _ in 0..n_runs {
        suite.task("f").await;
    }
    let assigns = worker.assigned_n(n_runs as usize).await;
    for assign in &assigns {
        assert!(worker.settle(assign, started()).await.accepted);
    }
    (worker, assigns)
}

fn id(assign: &Assign) -> RunId {
    assign.run_id.parse().unwrap()
}

#[tokio::test]
async fn a_large_result_holds_up_its_own_run_alone() {
    let mut suite = start_with(one_lane()).await;
    let (mut worker, assigns) = working(&mut suite, 3).await;
    suite.api.hold_up_large(true);
    worker.report(&assigns[0], completed_large()).await;
    worker.report(&assigns[0], cancelled()).await;
    for assign in &assigns[1..] {
        let outcome = worker.settle(assign, completed()).await;
        assert_eq!((outcome.accepted, &outcome.run_id), (true, &assign.run_id));
    }
    assert_eq!(suite.api.get(id(&assigns[0])).history, ["started"]);
    suite.api.hold_up_large(false);
    let (first, second) = (worker.outcome().await, worker.outcome().await);
    assert_eq!((&first.run_id, first.accepted), (&assigns[0].run_id, true));
    assert_eq!((second.run_id, second.reason.as_str()), (first.run_id, "TRANSITION_NOT_ALLOWED"));
    suite.end().await;
}

#[tokio::test]
async fn a_large_result_comes_after_the_start_of_its_run() {
    let mut suite = start_with(one_lane()).await;
    let mut worker = suite.worker("w", &["f"]).await;
    worker.credits(2, 0).await;
    let runs = [suite.task("f").await, suite.task("f").await];
    let assigns = worker.assigned_n(2).await;
    let of = |assign: &Assign, event| Report {
        run_id: assign.run_id.clone(),
        epoch: assign.epoch,
        event: Some(event),
        age: None,
    };
    let reports = assigns.iter().flat_map(|assign| [of(assign, started()), of(assign, completed_large())]);
    worker.say(work_request::Message::Reports(Reports { reports: reports.collect() })).await;
    for run_id in runs {
        let run = suite.api.until(run_id, |run| run.history.len() == 2).await;
        assert_eq!(run.history, ["started", "completed"]);
    }
    suite.end().await;
}

#[tokio::test]
async fn large_results_leave_room_to_others() {
    let mut config = one_lane();
    config.report.max_waiting = ByteSize::from_bytes(1 << 20);
    let mut suite = start_with(config).await;
    let (mut worker, assigns) = working(&mut suite, 7).await;
    suite.api.hold_up_large(true);
    for assign in &assigns[..6] {
        worker.report(assign, completed_large()).await;
    }
    let refused = worker.outcome().await;
    assert_eq!((&refused.run_id, refused.reason.as_str()), (&assigns[5].run_id, "OVERLOADED"));
    assert!(worker.settle(&assigns[6], completed()).await.accepted);
    suite.api.hold_up_large(false);
    for assign in &assigns[..5] {
        suite.api.until(id(assign), |run| run.history == ["started", "completed"]).await;
    }
    suite.end().await;
}

#[tokio::test]
async fn what_a_report_waits_here_is_added_to_its_age() {
    const TOLD: Duration = Duration::from_secs(5);
    let mut suite = start_with(one_lane()).await;
    let (mut worker, assigns) = working(&mut suite, 1).await;
    let n_before = suite.api.until_ages(1).await.len();
    suite.api.set_down(true);
    worker.report_late(&assigns[0], completed(), TOLD.try_into().ok()).await;
    suite.api.until_ages(n_before + 2).await;
    suite.api.set_down(false);
    assert!(worker.outcome().await.accepted);
    let ages = suite.api.until_ages(n_before + 3).await;
    let mut sent = ages[n_before..].windows(2);
    assert!(ages[n_before] > TOLD && sent.all(|pair| pair[0] < pair[1]), "{ages:?}");
    suite.end().await;
}
