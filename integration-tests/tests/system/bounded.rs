//! P8 [bounded]: nothing grows without a limit, and what is too much is refused with a clear error.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tidegate_integration_tests::{Database, Process, Suite, eventually, free_port, program, within};
use tidegate_sdk::{
    gather,
    proto::{
        CreateRunRequest, CreateRunsRequest, ListRunsRequest, NewRun, RunKind, WaitRunsRequest,
        new_run::Placement, run_service_client::RunServiceClient,
    },
};
use tokio::task::JoinSet;
use tonic::Code;

crate::on_both_forms!(requests_beyond_their_bounds_are_refused_and_named);

const DEADLINE: Duration = Duration::from_secs(120);

/// Nobody takes it.
fn task() -> NewRun {
    NewRun {
        kind: RunKind::Task.into(),
        name: "add".to_owned(),
        placement: Some(Placement::Queue("bounded".to_owned())),
        ..Default::default()
    }
}

async fn requests_beyond_their_bounds_are_refused_and_named(suite: &Suite) {
    let client = suite.client();
    let mut runs = RunServiceClient::connect(suite.address().to_owned()).await.unwrap();
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
async fn who_calls_while_too_many_wait_is_told_to_come_back_and_what_was_taken_in_is_done() {
    const N_CALLS: usize = 100;
    let database = Database::create().await;
    let suite = Suite::separate_on(database.url()).await;
    // A further replica of api, with room for one call behind those that are written.
    let (listen, payloads) = (format!("127.0.0.1:{}", free_port()), tempfile::tempdir().unwrap());
    let env = [
        ("LISTEN", listen.clone()),
        ("POSTGRES__URL", database.url().to_owned()),
        ("OBJECT_STORAGE__URL", format!("file://{}", payloads.path().display())),
        ("DELIVERY_ADDRESS", suite.address_of("task-queue")),
        ("ENGINE__LANES", "1".to_owned()),
        ("ENGINE__LANE_CAPACITY", "1".to_owned()),
    ];
    let env = env.map(|(name, value)| (format!("TIDEGATE__{name}"), value));
    let api = Process::start(&program("tidegate-api"), Vec::<String>::new(), env);
    api.log_line("serving on", DEADLINE).await;
    let mut runs = RunServiceClient::connect(format!("http://{listen}")).await.unwrap();
    let create = || CreateRunRequest { run: Some(task()), ..Default::default() };

    // Nothing can be written until it ends, so the first answer is a refusal.
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE runs IN EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..N_CALLS {
        let (mut runs, create) = (runs.clone(), create());
        calls.spawn(async move { runs.create_run(create).await });
    }
    let answer = within("an answer", DEADLINE, calls.join_next()).await.unwrap().unwrap();
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let details = String::from_utf8_lossy(refused.details());
    assert!(details.contains("OVERLOADED") && details.contains("google.rpc.RetryInfo"), "{details}");
    transaction.rollback().await.unwrap();

    let mut n_created = 0;
    while let Some(answer) = within("an answer", DEADLINE, calls.join_next()).await {
        match answer.unwrap() {
            Ok(_) => n_created += 1,
            Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}"),
        }
    }
    assert!(n_created > 0, "what waited was done");
    runs.create_run(create()).await.unwrap();
    let page = ListRunsRequest { page_size: i32::MAX, ..Default::default() };
    assert_eq!(runs.list_runs(page).await.unwrap().into_inner().runs.len(), n_created + 1);
    api.stop().await;
    suite.stop().await;
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
