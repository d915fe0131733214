//! A run from call to result, and its logs.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::proto::{QueryLogsRequest, StateType, TailLogsRequest};
use tokio::time::Instant;

crate::on_both_forms!(
    a_delayed_task_returns_its_result,
    a_flow_gathers_its_tasks,
    the_result_is_pushed,
    what_a_task_logs_can_be_queried_and_followed,
);

const DEADLINE: Duration = Duration::from_secs(30);

async fn a_delayed_task_returns_its_result(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("way");
    let handle = client.task("add").queue("way").tags(["t-1"]).delay(&(2, 3)).await.unwrap();
    let result: i64 = within("the result", DEADLINE, handle.result()).await.unwrap();
    assert_eq!(result, 5);

    let history = client.core().history(handle.id()).await.unwrap();
    let states: Vec<_> = history.iter().map(|event| event.state.as_ref().unwrap().r#type()).collect();
    assert_eq!(states, [StateType::Scheduled, StateType::Pending, StateType::Running, StateType::Completed]);
    assert!(history.iter().map(|event| event.seq).eq(1..=4), "{history:?}");
    let run = client.core().get_run(handle.id()).await.unwrap();
    assert_eq!((run.attempt, run.crashes, run.tags.as_slice()), (1, 0, ["t-1".to_owned()].as_slice()));
    assert_eq!(&run.parameters.unwrap().data[..], b"[2,3]");
}

async fn a_flow_gathers_its_tasks(suite: &Suite) {
    let client = suite.client();
    let (_one, _two) = (suite.worker("way"), suite.worker("way"));
    let numbers: Vec<i64> = (1..=200).collect();
    let handle = client.flow("sum_of_squares").queue("way").delay(&numbers).await.unwrap();
    let sum: i64 = within("the result", DEADLINE, handle.result()).await.unwrap();
    assert_eq!(sum, 200 * 201 * 401 / 6);
    let filter = format!("root_run_id = \"{}\" AND state = COMPLETED", handle.id());
    let request = tidegate_sdk::proto::ListRunsRequest { filter, page_size: 1_000, ..Default::default() };
    let runs = client.core().list_runs(request).await.unwrap().runs;
    assert_eq!(runs.len(), 201);
    assert!(runs.iter().filter(|run| run.id != handle.id()).all(|run| run.parent_run_id == handle.id()));
}

async fn the_result_is_pushed(suite: &Suite) {
    let client = suite.client();
    let _worker = suite.worker("way");
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        let started = Instant::now();
        let handle = client.task("add").queue("way").delay(&(n, 1)).await.unwrap();
        within("the result", DEADLINE, handle.result::<i64>()).await.unwrap();
        fastest = fastest.min(started.elapsed());
    }
    // Every hop is pushed; a poll anywhere on the way would show, even on a slow machine.
    assert!(fastest < Duration::from_millis(400), "the fastest of ten took {fastest:?}");
}

async fn what_a_task_logs_can_be_queried_and_followed(suite: &Suite) {
    const N_LINES: u32 = 60;
    let client = suite.client();
    let core = client.core();
    let handle = client.task("chatter").queue("way").delay(&N_LINES).await.unwrap();
    // Followed from before the first line.
    let tail = TailLogsRequest { run_id: handle.id().to_owned(), ..Default::default() };
    let mut tail = pin!(core.tail_logs(tail));
    let _worker = suite.worker("way");
    let mut followed = Vec::new();
    while followed.len() < N_LINES as usize {
        let batch = within("the next lines", DEADLINE, tail.next()).await.unwrap().unwrap();
        followed.extend(batch.entries.into_iter().map(|entry| entry.message));
    }
    let expected: Vec<_> = (0..N_LINES).map(|line| format!("line {line}")).collect();
    assert_eq!(followed, expected);
    within("the result", DEADLINE, handle.result::<u32>()).await.unwrap();

    let query = |contains: &str, page_token: String| QueryLogsRequest {
        root_run_id: handle.id().to_owned(),
        contains: contains.to_owned(),
        page_size: 25,
        page_token,
        ..Default::default()
    };
    let mut queried = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = core.query_logs(query("", page_token)).await.unwrap();
        queried.extend(page.entries.into_iter().map(|entry| entry.message));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(queried, expected);
    let found = eventually("the search finds its line", DEADLINE, async || {
        let page = core.query_logs(query("LINE 59", String::new())).await.unwrap();
        (!page.entries.is_empty()).then_some(page.entries)
    });
    assert_eq!(found.await.len(), 1);
}
