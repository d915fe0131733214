//! P3 [crash-safe]: a worker that dies is noticed within its lease, and its runs are delivered again.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{RunHandle, gather, proto::StateType};

use crate::limits::Observer;

crate::on_both_forms!(
    a_killed_workers_run_is_delivered_again,
    a_poison_pill_ends_as_crashed,
    each_run_of_the_process_bears_a_crash_of_a_poison_pill,
);

const DEADLINE: Duration = Duration::from_secs(120);
/// How many crashes the default policy forgives.
const FORGIVEN: u32 = 3;

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

/// The pill is started four times and then ends. Beside it are runs that complete after the first time, and others that
/// execute all the while, which only a policy that forgives more keeps from the pill's end.
async fn each_run_of_the_process_bears_a_crash_of_a_poison_pill(suite: &Suite) {
    const N_LONG: usize = 4;
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("observer");
    let mut observer = Observer::at(&socket);
    let noted = folder.path().join("starts");
    let n_starts = || std::fs::read_to_string(&noted).unwrap_or_default().lines().count();
    let short = client.task("hold_first").queue("pills").delay_many(&[(); 16]).await.unwrap();
    let sockets = vec![socket.to_str().unwrap().to_owned(); N_LONG];
    let long = client.task("occupy").queue("pills").max_crashes(FORGIVEN + 1);
    let long = long.delay_many(&sockets).await.unwrap();
    let pill = client.task("abort").queue("pills").delay(&folder.path().to_str().unwrap()).await.unwrap();
    for attempt in 1..=FORGIVEN as usize + 1 {
        let worker = suite.worker_with_slots("pills", 32);
        observer.see(N_LONG).await;
        if attempt == 1 {
            for run in &short {
                suite.until_state(run, StateType::Running).await;
            }
        } else {
            within("all short ones", DEADLINE, gather::<(u32, u32)>(&short)).await.unwrap();
        }
        eventually("the pill starts", DEADLINE, async || (n_starts() == attempt).then_some(())).await;
        // Before the server has heard of the start, the end of its process would cost it no attempt.
        suite.until_state(&pill, StateType::Running).await;
        std::fs::write(folder.path().join(attempt.to_string()), "").unwrap();
        let pid = worker.pid();
        assert_eq!(worker.ended(DEADLINE).await.code, None, "a signal ends it");
        observer.see_end_of(pid).await;
    }
    let error = within("the end of the pill", DEADLINE, pill.result::<()>()).await.unwrap_err();
    assert!(error.is_run_crashed(), "{error}");

    let _last = suite.worker("pills");
    observer.see(N_LONG).await;
    for _ in 0..N_LONG {
        observer.end_one().await;
    }
    within("all long ones", DEADLINE, gather::<()>(&long)).await.unwrap();
    assert_eq!(n_starts(), 4);
    let crashes = async |runs: &[RunHandle]| {
        let mut crashes = Vec::new();
        for run in runs {
            crashes.push(client.core().get_run(run.id()).await.unwrap().crashes);
        }
        crashes
    };
    assert_eq!(crashes(&[pill]).await, [4]);
    assert_eq!(crashes(&short).await, [1; 16]);
    assert_eq!(crashes(&long).await, [4; N_LONG]);
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
