//! P4: one idempotency key, one run.

use std::collections::HashSet;

use tidegate_integration_tests::Suite;
use tokio::task::JoinSet;

crate::on_both_forms!(concurrent_calls_with_one_key_make_one_run, a_key_with_other_parameters_is_refused);

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
