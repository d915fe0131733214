//! P6 [reattach]: any process can find a run again and wait for its result, after every process of the first day has
//! died.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, program, within};
use tidegate_sdk::{
    Client,
    proto::{FindRunRequest, ListRunsRequest, find_run_request::Scope},
};

crate::on_both_forms!(what_was_started_on_the_first_day_is_found_on_the_second);

const DEADLINE: Duration = Duration::from_secs(60);

async fn what_was_started_on_the_first_day_is_found_on_the_second(suite: &mut Suite) {
    // The first day: one run has ended, one waits for a worker, and a process waits for a third.
    let client = suite.client();
    let mut worker = suite.worker("served");
    let ended = client.task("add").queue("served").tags(["day-1"]).delay(&(1, 2)).await.unwrap();
    assert_eq!(within("the result", DEADLINE, ended.result::<i64>()).await.unwrap(), 3);
    let ended = ended.id().to_owned();
    let waiting = client.task("add").queue("later").idempotency_key("order-9").delay(&(3, 4)).await.unwrap();
    let waiting = waiting.id().to_owned();
    client.close(DEADLINE).await;
    let address = [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned())];
    let mut caller = Process::start(&program("tidegate-test-worker"), ["call", "later"], address.clone());
    let called = caller.line("", DEADLINE).await;
    caller.kill().await;
    worker.kill().await;
    suite.kill_everything_and_restart().await;

    // The second day, other processes.
    let client = suite.client();
    let _worker = suite.worker("later");
    assert_eq!(result(&client, &ended).await, 3, "by its id");
    let task = Some(Scope::Task("add".to_owned()));
    let request = FindRunRequest { idempotency_key: "order-9".to_owned(), scope: task, ..Default::default() };
    assert_eq!(client.core().find_run(request).await.unwrap().id, waiting, "by its key");
    assert_eq!(result(&client, &waiting).await, 7);
    assert_eq!(result(&client, called.trim()).await, 14, "that whose caller was killed while it waited");
    let request = ListRunsRequest { filter: "tags:day-1".to_owned(), ..Default::default() };
    let tagged = client.core().list_runs(request).await.unwrap().runs;
    assert!(tagged.iter().map(|run| &run.id).eq([&ended]), "by its tag: {tagged:#?}");

    // And from the command line.
    let args = ["run", "find", "--key", "order-9", "--task", "add", "-o", "json"];
    let found = Process::start(&program("tidegate"), args, address).ended(DEADLINE).await;
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&found["id"], &found["state"]["type"]), (&waiting.into(), &"COMPLETED".into()), "{found}");
}

async fn result(client: &Client, id: &str) -> i64 {
    within("the result", DEADLINE, client.handle(id).result()).await.unwrap()
}
