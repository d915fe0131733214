//! Failures are retried by the server, which keeps the delay.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{RunHandle, proto::Run};

crate::on_both_forms!(
    a_failure_is_retried_after_its_delay,
    a_failure_that_says_so_is_final,
    delays_of_retries_are_kept_across_a_restart_of_everything,
);

const DEADLINE: Duration = Duration::from_secs(30);

async fn a_failure_is_retried_after_its_delay(suite: &Suite) {
    const DELAY: Duration = Duration::from_millis(300);
    let client = suite.client();
    let _worker = suite.worker("retries");
    let call = client.task("fail_until").queue("retries").retries(2).retry_delays([DELAY]);
    let handle = call.delay(&3).await.unwrap();
    assert_eq!(within("the result", DEADLINE, handle.result::<u32>()).await.unwrap(), 3);
    let history = client.core().history(handle.id()).await.unwrap();
    let n_waits =
        history.iter().filter(|event| event.state.as_ref().unwrap().name == "AwaitingRetry").count();
    assert_eq!(n_waits, 2, "{history:#?}");
    let run = client.core().get_run(handle.id()).await.unwrap();
    assert_eq!((run.attempt, run.retries), (3, 2));
    let span = |from: Option<prost_types::Timestamp>, to: Option<prost_types::Timestamp>| {
        let micros = |time: prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000);
        micros(to.unwrap()) - micros(from.unwrap())
    };
    let took = span(run.created_at, run.ended_at);
    assert!(took >= 2 * i64::try_from(DELAY.as_micros()).unwrap(), "took {took} µs");
}

async fn a_failure_that_says_so_is_final(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("retries");
    let handle = client.task("refuse").queue("retries").retries(5).delay(&"no such file").await.unwrap();
    let error = within("the end", DEADLINE, handle.result::<()>()).await.unwrap_err();
    assert!(error.is_run_failed() && error.to_string().contains("no such file"), "{error}");
    assert_eq!(client.core().get_run(handle.id()).await.unwrap().attempt, 1);
}

async fn delays_of_retries_are_kept_across_a_restart_of_everything(suite: &mut Suite) {
    const DAY: Duration = Duration::from_secs(86_400);
    let client = suite.client();
    let worker = suite.worker("kept");
    let call = |delay| client.task("fail_until").queue("kept").retries(2).retry_delays([delay]);
    let short = call(Duration::from_millis(100)).delay(&3).await.unwrap();
    let long = call(DAY).delay(&3).await.unwrap();
    let waiting = awaiting_retry(&long).await;
    worker.stop().await;
    let due_at = waiting.due_at.unwrap();
    let micros = |time: prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000);
    // The delay counts from the failure: after the start, and before that was stored.
    let (started_at, stored_at) = (waiting.started_at, waiting.state.as_ref().unwrap().occurred_at);
    let counts_from = micros(due_at) - i64::try_from(DAY.as_micros()).unwrap();
    let is_in_time = (micros(started_at.unwrap())..=micros(stored_at.unwrap())).contains(&counts_from);
    assert!(is_in_time, "{waiting:?}");

    suite.kill_everything_and_restart().await;
    let _worker = suite.worker("kept");
    assert_eq!(within("the short one", DEADLINE, short.result::<u32>()).await.unwrap(), 3);
    let kept = awaiting_retry(&long).await;
    assert_eq!((kept.due_at, kept.attempt, kept.retries), (Some(due_at), 1, 1), "{kept:?}");
}

async fn awaiting_retry(handle: &RunHandle) -> Run {
    eventually("it waits for its retry", DEADLINE, async || {
        let run = handle.get().await.unwrap();
        (run.state.as_ref().unwrap().name == "AwaitingRetry").then_some(run)
    })
    .await
}
