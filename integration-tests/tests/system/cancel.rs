//! A cancel reaches the worker, and takes the tree with it.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::proto::{QueryLogsRequest, StateType};

crate::on_both_forms!(a_cancel_reaches_the_worker, a_cancel_takes_what_waits_below);

const DEADLINE: Duration = Duration::from_secs(30);

async fn a_cancel_reaches_the_worker(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("cancel");
    let handle = client.task("hold").queue("cancel").delay(&()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    handle.cancel("enough").await.unwrap();
    let error = within("the end", DEADLINE, handle.result::<()>()).await.unwrap_err();
    assert!(error.is_run_cancelled(), "{error}");
    // The code had its time to clean up.
    eventually("the task's last words", DEADLINE, async || {
        let request = QueryLogsRequest { run_id: handle.id().to_owned(), ..Default::default() };
        let lines = client.core().query_logs(request).await.unwrap().entries;
        lines.iter().any(|line| line.message == "cancelled while holding").then_some(())
    })
    .await;
}

async fn a_cancel_takes_what_waits_below(suite: &Suite) {
    let client = suite.client();
    // Nobody serves the children's queue.
    let parent = client.task("hold").queue("cancel").delay(&()).await.unwrap();
    let children =
        client.task("add").queue("nobody").parent(parent.id()).delay_many(&[(1, 1), (2, 2)]).await.unwrap();
    let cancelled = client.core().cancel_run(parent.id(), "enough").await.unwrap();
    assert_eq!(cancelled.n_cancelled, 3);
    for run in children.iter().chain([&parent]) {
        let error = within("the end", DEADLINE, run.result::<i64>()).await.unwrap_err();
        assert!(error.is_run_cancelled(), "{error}");
    }
}
