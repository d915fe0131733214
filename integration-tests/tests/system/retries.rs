//! Failures are retried by the server, which keeps the delay.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};

crate::on_both_forms!(a_failure_is_retried_after_its_delay, a_failure_that_says_so_is_final);

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
