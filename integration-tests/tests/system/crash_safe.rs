//! P3 [crash-safe]: a worker that dies is noticed within its lease, and its runs are delivered again.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{gather, proto::StateType};

crate::on_both_forms!(a_killed_workers_run_is_delivered_again, a_poison_pill_ends_as_crashed);

const DEADLINE: Duration = Duration::from_secs(120);

async fn a_killed_workers_run_is_delivered_again(suite: &Suite) {
    let client = suite.client();
    let mut first = suite.worker("crash");
    let handle = client.task("hold_first").queue("crash").delay(&()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    first.kill().await;
    let second = suite.worker("crash");
    let (attempt, pid): (u32, u32) = within("the result", DEADLINE, handle.result()).await.unwrap();
    assert_eq!((attempt, pid), (2, second.pid()));

    let history = client.core().history(handle.id()).await.unwrap();
    let states: Vec<_> = history.iter().map(|event| event.state.as_ref().unwrap().r#type()).collect();
    use StateType::{Completed, Crashed, Pending, Running, Scheduled};
    let expected = [Scheduled, Pending, Running, Crashed, Scheduled, Pending, Running, Completed];
    assert_eq!(states, expected, "{history:#?}");
    assert!(history.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1), "P7: {history:#?}");
    assert!(history.windows(2).all(|pair| pair[1].epoch >= pair[0].epoch), "P2: {history:#?}");
    let run = client.core().get_run(handle.id()).await.unwrap();
    assert_eq!((run.crashes, run.attempt), (1, 2));
}

async fn a_poison_pill_ends_as_crashed(suite: &Suite) {
    let client = suite.client();
    let mut worker = suite.worker("poison");
    let handle = client.task("hold_first").queue("poison").max_crashes(0).delay(&()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    worker.kill().await;
    let error = within("the end", DEADLINE, handle.result::<(u32, u32)>()).await.unwrap_err();
    assert!(error.is_run_crashed(), "{error}");
}

#[tokio::test]
async fn killed_services_lose_nothing() {
    const N_TASKS: i64 = 400;
    let mut suite = Suite::separate().await;
    let client = suite.client();
    let params: Vec<_> = (0..N_TASKS).map(|n| (n, 1)).collect();
    let _worker = suite.worker("killed");
    for service in ["api", "task-queue", "scheduler", "log-ingest"] {
        let handles = client.task("add").queue("killed").delay_many(&params).await.unwrap();
        suite.kill_and_restart(service).await;
        let what = format!("all results after the kill of {service}");
        let sums = within(&what, DEADLINE, gather::<i64>(&handles)).await.unwrap();
        assert!(sums.into_iter().eq(1..=N_TASKS), "{service}");
    }
    suite.stop().await;
}
