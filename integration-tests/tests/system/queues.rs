//! Queues that are paused, or that bound how many of their runs are held.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, eventually, within};
use tidegate_sdk::{
    Client, RunHandle, gather,
    proto::{StateType, wait::Subject},
};

use crate::limits::Observer;

crate::on_both_forms!(
    a_paused_queue_starts_nothing_until_it_is_resumed,
    two_slots_of_a_queue_are_never_more_than_two_runs,
);

const DEADLINE: Duration = Duration::from_secs(120);

async fn a_paused_queue_starts_nothing_until_it_is_resumed(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go on");
    let _worker = suite.worker("shop");
    let running = client.task("first_is_late").queue("shop").delay(&file.to_str().unwrap()).await.unwrap();
    suite.until_state(&running, StateType::Running).await;
    let paused = client.core().pause_queue("shop", "stock-taking").await.unwrap();
    assert!(paused.pause.is_some());

    let waiting = client.task("add").queue("shop").delay_many(&[(1, 1), (2, 2), (3, 3)]).await.unwrap();
    let explanation = eventually("the queue's pause is what they wait for", DEADLINE, async || {
        let explanation = client.core().explain_run(waiting[0].id()).await.unwrap();
        matches!(explanation.waits.first()?.subject, Some(Subject::QueuePaused(_))).then_some(explanation)
    });
    let summary = explanation.await.summary;
    assert!(summary.contains("Queue `shop` was paused") && summary.contains("stock-taking"), "{summary}");
    std::fs::write(&file, "").unwrap();
    assert_eq!(within("what runs goes on", DEADLINE, running.result::<u32>()).await.unwrap(), 1);

    // Everything begins anew, and other queues are served meanwhile: what waits is offered to the worker again.
    suite.kill_everything_and_restart().await;
    let _other = suite.worker("next-door");
    let next_door = client.task("add").queue("next-door").delay_many(&[(4, 4); 50]).await.unwrap();
    within("another queue", DEADLINE, gather::<i64>(&next_door)).await.unwrap();
    let queue = eventually("the worker is back", DEADLINE, async || {
        let queue = client.core().get_queue("shop").await.unwrap();
        queue.workers.is_some_and(|workers| workers.n_workers == 1).then_some(queue)
    })
    .await;
    assert_eq!((queue.waiting_runs, queue.held_runs), (3, 0), "{queue:?}");
    for run in &waiting {
        let history = client.core().history(run.id()).await.unwrap();
        assert_eq!(history.len(), 1, "it was created, and no more: {history:#?}");
    }
    let listed = client.core().queues().await.unwrap();
    let names: Vec<_> = listed.iter().map(|queue| (queue.name.as_str(), queue.pause.is_some())).collect();
    assert!(names.contains(&("shop", true)) && names.contains(&("next-door", false)), "{names:?}");

    client.core().resume_queue("shop").await.unwrap();
    assert_eq!(within("all results", DEADLINE, gather::<i64>(&waiting)).await.unwrap(), [2, 4, 6]);
}

async fn two_slots_of_a_queue_are_never_more_than_two_runs(suite: &mut Suite) {
    const N_RUNS: usize = 8;
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer");
    let mut observer = Observer::at(&path);
    let mut workers: Vec<Process> = (0..2).map(|_| suite.worker("narrow")).collect();
    let call = || client.task("occupy").queue("narrow");
    let path = path.to_str().unwrap().to_owned();
    let mut runs: Vec<RunHandle> =
        call().delay_many(&[path.clone(), path.clone(), path.clone()]).await.unwrap();
    observer.see(3).await;
    client.core().put_queue("narrow", Some(2)).await.unwrap();
    runs.extend(call().delay_many(&vec![path; N_RUNS - 3]).await.unwrap());

    until_all_wait(&client, 3, N_RUNS - 3).await;
    observer.see_no_more().await;
    observer.end_one().await;
    until_all_wait(&client, 2, N_RUNS - 3).await;
    observer.see_no_more().await;
    let killed = observer.seen[0].pid;
    let idx = workers.iter().position(|worker| worker.pid() == killed).expect("it is one of the workers");
    workers.remove(idx).kill().await;
    observer.see_end_of(killed).await;
    for n_left in (1..N_RUNS).rev() {
        observer.see(n_left.min(2)).await;
        until_all_wait(&client, n_left.min(2), n_left - n_left.min(2)).await;
        observer.see_no_more().await;
        observer.end_one().await;
    }
    for run in &runs {
        within("the end of a run", DEADLINE, run.result::<()>()).await.unwrap();
    }
    until_all_wait(&client, 0, 0).await;
    client.core().delete_queue("narrow", false).await.unwrap();
    for worker in workers {
        worker.stop().await;
    }
}

/// Waits until so many have a slot of the queue, and the others have been refused one.
async fn until_all_wait(client: &Client, n_held: usize, n_waiting: usize) {
    eventually(&format!("{n_held} are held and {n_waiting} wait for a slot"), DEADLINE, async || {
        let limit = client.core().get_concurrency_limit("queue:narrow").await.unwrap().limit.unwrap();
        ((limit.used_slots, limit.waiting_runs) == (n_held as u64, n_waiting as u64)).then_some(())
    })
    .await;
}
