//! What the command `tidegate` does, by the client of the Rust SDK.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    CancellationToken, Client, ConcurrencySettings, Context, Level, RunHandle, Worker, flow,
    proto::{
        BulkAction, FindRunRequest, QueryLogsRequest, StartBulkOperationRequest, StateType,
        find_run_request::Scope, start_bulk_operation_request::Target,
    },
};
use tokio::task::JoinSet;

crate::on_both_forms!(runs_are_found_looked_at_and_changed, queues_and_limits_are_set_and_seen);

const DEADLINE: Duration = Duration::from_secs(60);

#[flow(queue = "client")]
async fn asks(ctx: Context, question: String) -> anyhow::Result<String> {
    ctx.log(Level::Info, format!("asking {question}"));
    let answer: String = ctx.pause("answer").request(&question).input().await?;
    anyhow::ensure!(answer != "no", "the answer is no");
    Ok(answer)
}

fn work(client: &Client) -> (CancellationToken, JoinSet<Result<(), tidegate_sdk::Error>>) {
    let worker = Worker::builder(client.clone()).function(asks).queues(["client"]).build().unwrap();
    let stop = CancellationToken::new();
    let working = JoinSet::from_iter([worker.run(stop.clone())]);
    (stop, working)
}

async fn runs_are_found_looked_at_and_changed(suite: &Suite) {
    let client = suite.client();
    let (stop, mut working) = work(&client);
    let call = |question: &str| asks(question.to_owned()).with_client(&client);
    let run: RunHandle<String> = call("who?").idempotency_key("the-one").delay().await.unwrap();
    suite.until_state(&run.typed(), StateType::Paused).await;
    let key = FindRunRequest {
        idempotency_key: "the-one".to_owned(),
        scope: Some(Scope::Flow("asks".to_owned())),
        ..FindRunRequest::default()
    };
    assert_eq!(client.find_run(key).await.unwrap().id(), run.id());
    let [input] = &run.inputs().await.unwrap()[..] else { panic!("it asks for one thing") };
    assert_eq!(client.value::<String>(input.request.as_ref().unwrap()).await.unwrap(), "who?");
    assert!(!run.explain().await.unwrap().summary.is_empty());
    run.resume("answer", "no").await.unwrap();
    let error = within("the end", DEADLINE, run.result()).await.unwrap_err();
    assert!(error.is_run_failed(), "{error}");

    // The history, as it is and as it is told.
    let history = run.history().await.unwrap();
    let told: Vec<_> = within("the end of the watch", DEADLINE, run.watch().try_collect()).await.unwrap();
    assert_eq!(
        told.iter().map(|event| event.seq).collect::<Vec<_>>(),
        (1..=history.len() as u64).collect::<Vec<_>>()
    );
    let line = within("the first line", DEADLINE, run.follow_logs(true).next()).await.unwrap().unwrap();
    assert_eq!(line.message, "asking who?");
    let request = QueryLogsRequest { run_id: run.id().to_owned(), ..QueryLogsRequest::default() };
    assert_eq!(client.query_logs(request).await.unwrap().entries[0].message, "asking who?");

    // One that has ended is tried again, and reads what it was given; then it is deleted.
    run.retry("once more").await.unwrap();
    assert!(within("the second end", DEADLINE, run.result()).await.unwrap_err().is_run_failed());
    assert_eq!(run.get().await.unwrap().attempt, 2);
    run.delete().await.unwrap();
    assert!(run.state().await.unwrap_err().is_not_found());
    stop.cancel();
    within("the worker ends", DEADLINE, working.join_next()).await.unwrap().unwrap().unwrap();

    // Many at once.
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(call(&n.to_string()).queue("nobody").tags(["many"]).delay().await.unwrap());
    }
    waiting[0].pause(Some(Duration::from_secs(60)), "later").await.unwrap();
    assert_eq!(client.count_runs("tags:many").await.unwrap().count, 5);
    let mut ids: Vec<_> = client.runs("tags:many").map_ok(|run| run.id).try_collect().await.unwrap();
    ids.reverse();
    assert!(ids.iter().eq(waiting.iter().map(|run| run.id())), "newest first: {ids:?}");
    let cancel = StartBulkOperationRequest {
        action: BulkAction::Cancel.into(),
        target: Some(Target::Filter("tags:many".to_owned())),
        ..StartBulkOperationRequest::default()
    };
    let operation = client.start_bulk_operation(cancel).await.unwrap();
    for run in &waiting {
        assert!(within("the end", DEADLINE, run.result()).await.unwrap_err().is_run_cancelled());
    }
    assert_eq!(client.bulk_operation(&operation.id).await.unwrap().id, operation.id);
    assert_eq!(client.bulk_operations(10).await.unwrap().len(), 1);
}

async fn queues_and_limits_are_set_and_seen(suite: &Suite) {
    let client = suite.client();
    client.put_queue("slow", Some(2)).await.unwrap();
    client.pause_queue("slow", "for a while").await.unwrap();
    let queue = client.queue("slow").await.unwrap().queue.unwrap();
    assert_eq!(queue.max_slots, Some(2));
    assert!(client.queues().await.unwrap().iter().any(|queue| queue.name == "slow"));
    client.resume_queue("slow").await.unwrap();
    client.delete_queue("slow", false).await.unwrap();

    client.put_concurrency_limit("api", 3).await.unwrap();
    let other = ConcurrencySettings { max_slots: Some(1), ..ConcurrencySettings::default() };
    client.put_concurrency_limit("database", other).await.unwrap();
    assert_eq!(client.concurrency_limit("api").await.unwrap().limit.unwrap().max_slots, Some(3));
    assert_eq!(client.concurrency_limits().await.unwrap().len(), 2);
    client.delete_concurrency_limit("api", false).await.unwrap();
    assert!(client.limits().await.is_ok() && client.version().await.is_ok());
}
