//! P8 [bounded]: nothing grows without a limit, and what is too much is refused with a clear error.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    gather,
    proto::{
        CreateRunsRequest, ListRunsRequest, NewRun, RunKind, WaitRunsRequest, new_run::Placement,
        run_service_client::RunServiceClient,
    },
};
use tonic::Code;

crate::on_both_forms!(requests_beyond_their_bounds_are_refused_and_named);

const DEADLINE: Duration = Duration::from_secs(120);

async fn requests_beyond_their_bounds_are_refused_and_named(suite: &Suite) {
    let client = suite.client();
    let mut runs = RunServiceClient::connect(suite.address().to_owned()).await.unwrap();
    let task = || NewRun {
        kind: RunKind::Task.into(),
        name: "add".to_owned(),
        placement: Some(Placement::Queue("bounded".to_owned())),
        ..Default::default()
    };
    let batch = |n| CreateRunsRequest { runs: vec![task(); n], ..Default::default() };
    let refused = runs.create_runs(batch(1_001)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("runs") && refused.message().contains("1000"),
        "{}",
        refused.message()
    );
    let long = ListRunsRequest { filter: format!("name = \"{}\"", "x".repeat(4_096)), ..Default::default() };
    let refused = runs.list_runs(long).await.unwrap_err();
    assert!(refused.message().contains("filter"), "{}", refused.message());
    let ids = vec!["0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".to_owned(); 10_001];
    let refused = runs.wait_runs(WaitRunsRequest { run_ids: ids, ..Default::default() }).await.unwrap_err();
    assert!(refused.message().contains("run_ids"), "{}", refused.message());

    // What was refused has left nothing behind, and the bound itself is taken.
    assert_eq!(client.core().list_runs(ListRunsRequest::default()).await.unwrap().runs.len(), 0);
    for _ in 0..2 {
        let created = runs.create_runs(batch(1_000)).await.unwrap().into_inner();
        assert_eq!(created.outcomes.len(), 1_000);
    }
    let page = ListRunsRequest { page_size: i32::MAX, ..Default::default() };
    let page = runs.list_runs(page).await.unwrap().into_inner();
    assert_eq!((page.runs.len(), page.next_page_token.is_empty()), (1_000, false), "no page is larger");
}

#[tokio::test]
async fn redis_keeps_nothing_of_what_has_ended() {
    const N_TASKS: i64 = 1_000;
    let suite = Suite::separate().await;
    let client = suite.client();
    let worker = suite.worker("drained");
    let params: Vec<_> = (0..N_TASKS).map(|n| (n, 1)).collect();
    let redis = suite.redis().unwrap();
    let mut n_keys = Vec::new();
    for _ in 0..2 {
        let handles = client.task("add").queue("drained").delay_many(&params).await.unwrap();
        within("all results", DEADLINE, gather::<i64>(&handles)).await.unwrap();
        let left = eventually("the queue and its leases are gone", DEADLINE, async || {
            let keys = redis.keys().await;
            let is_backlog = |key: &String| {
                key.starts_with('{') && ![":workers/", "born_at"].iter().any(|part| key.contains(part))
            };
            (!keys.iter().any(is_backlog)).then_some(keys)
        });
        n_keys.push(left.await.len());
    }
    assert_eq!(n_keys[0], n_keys[1], "what is left does not grow with what has ended");
    worker.stop().await;
    suite.stop().await;
}
