//! P4 [idempotent]: one idempotency key, one run.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tidegate_integration_tests::{Suite, eventually, within};
use tokio::task::JoinSet;

crate::on_both_forms!(
    concurrent_calls_with_one_key_make_one_run,
    a_key_with_other_parameters_is_refused,
    a_flow_that_is_killed_repeats_no_child_that_completed,
);

const DEADLINE: Duration = Duration::from_secs(120);

async fn concurrent_calls_with_one_key_make_one_run(suite: &Suite) {
    let mut calls = JoinSet::new();
    for _ in 0..30 {
        let client = suite.client(); // a connection each
        calls.spawn(async move {
            let call = client.task("add").queue("nobody").idempotency_key("order-7");
            call.delay(&(1, 2)).await.unwrap().id().to_owned()
        });
    }
    let ids: HashSet<_> = calls.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

async fn a_key_with_other_parameters_is_refused(suite: &Suite) {
    let client = suite.client();
    let call = || client.task("add").queue("nobody").idempotency_key("order-8");
    let first = call().delay(&(1, 2)).await.unwrap();
    let error = call().delay(&(1, 3)).await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    let existing = call().use_existing(true).delay(&(1, 3)).await.unwrap();
    assert_eq!(existing.id(), first.id());
}

async fn a_flow_that_is_killed_repeats_no_child_that_completed(suite: &Suite) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    let client = suite.client();
    let mut first = suite.worker("children");
    let call = client.flow("twenty_of_each").queue("children");
    let handle = call.delay(&path.to_str().unwrap()).await.unwrap();
    eventually("all children completed", DEADLINE, async || lines().contains("whole").then_some(())).await;
    first.kill().await;
    let _second = suite.worker("children");
    let mut names: Vec<String> = within("the result", DEADLINE, handle.result()).await.unwrap();

    let mut executions = BTreeMap::<String, u32>::new();
    for line in lines().lines() {
        *executions.entry(line.to_owned()).or_default() += 1;
    }
    assert_eq!(executions.remove("whole"), Some(2), "the flow itself was executed twice");
    assert!(executions.values().all(|&n| n == 1), "{executions:?}");
    names.sort_unstable();
    assert!(names.iter().eq(executions.keys()), "all results came back: {names:?}");
    assert_eq!(names.len(), 40);
    let run = handle.get().await.unwrap();
    assert_eq!((run.crashes, run.attempt), (1, 2));
}
