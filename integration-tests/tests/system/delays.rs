//! A run starts at its time, and never before. That its time is waited for, and not looked for by a poll, is counted by the
//! tests of task-queue (`waking.rs`): what is late on a busy machine says nothing of that.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::gather;

crate::on_both_forms!(no_run_starts_before_its_time);

const DEADLINE: Duration = Duration::from_secs(60);
const N_RUNS: u64 = 20;

async fn no_run_starts_before_its_time(suite: &Suite) {
    let client = suite.client();
    let worker = suite.worker("delayed");
    let warm = client.task("add").queue("delayed").delay(&(1, 1)).await.unwrap();
    within("a run at once", DEADLINE, warm.result::<i64>()).await.unwrap();
    let mut handles = Vec::new();
    for n in 0..N_RUNS {
        // Apart from each other, and from every round interval.
        let delay = Duration::from_millis(700 + 83 * n);
        handles.push(client.task("add").queue("delayed").due_in(delay).delay(&(n, 1)).await.unwrap());
    }
    // And as a retry is delayed: by the server.
    let retry =
        client.task("fail_until").queue("delayed").retries(1).retry_delays([Duration::from_millis(900)]);
    let retried = retry.delay(&2).await.unwrap();
    within("all results", DEADLINE, gather::<i64>(&handles)).await.unwrap();
    within("the retried one", DEADLINE, retried.result::<u32>()).await.unwrap();
    for handle in handles.iter().chain([&retried]) {
        let run = handle.get().await.unwrap();
        let micros = |time: Option<prost_types::Timestamp>| {
            let time = time.unwrap();
            time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
        };
        let late = micros(run.started_at) - micros(run.due_at);
        assert!(late >= 0, "started {} µs too early: {run:?}", -late);
    }
    worker.stop().await;
}
