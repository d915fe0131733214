//! Workers as people see them: listed, and drained one by one, while their runs go on.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, eventually, free_port, program, within};
use tidegate_sdk::{
    Client,
    proto::{DeploymentSpec, StateType, WorkPoolSpec, WorkPoolType, Worker, WorkerEnd},
};

use crate::cli::tidegate;

crate::on_both_forms!(
    a_worker_of_functions_is_drained_while_its_run_goes_on,
    a_pools_worker_is_drained_while_its_job_goes_on,
    a_worker_that_was_killed_is_told_as_lost,
);

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until some worker is as `is` wants it.
async fn until(client: &Client, what: &str, is: impl Fn(&Worker) -> bool) -> Worker {
    eventually(what, DEADLINE, async || {
        client.core().workers("").await.unwrap().into_iter().find(|worker| is(worker))
    })
    .await
}

/// It ends in order, and is told as drained.
async fn ends_drained(client: &Client, worker: Process, id: &str) {
    let ended = worker.ended(DEADLINE).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = until(client, "the end of the worker", |worker| worker.id == id && !worker.is_live).await;
    assert_eq!((told.end(), told.n_runs), (WorkerEnd::Drained, 0));
    let error = client.core().drain_worker(id).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains(id), "{error}");
}

async fn a_worker_of_functions_is_drained_while_its_run_goes_on(suite: &Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go");
    let first = suite.worker_with_labels("drained", 16, &["site=harbour"]);
    let late = client.task("first_is_late").queue("drained").delay(&path).await.unwrap();
    suite.until_state(&late, StateType::Running).await;
    let told = until(&client, "a worker with a run", |worker| worker.n_runs == 1).await;
    assert_eq!((told.process_id, &told.queues[..]), (first.pid(), &["drained".to_owned()][..]));
    assert_eq!((told.n_task_slots, told.is_live, told.is_draining), (16, true, false));
    assert_eq!(told.labels["site"], "harbour");
    assert!(told.n_functions > 10 && told.last_seen_at.is_some() && told.came_at.is_some(), "{told:?}");

    for _ in 0..2 {
        client.core().drain_worker(&told.id).await.unwrap();
    }
    let draining = until(&client, "a worker that drains", |worker| worker.is_draining).await;
    assert_eq!((&draining.id, draining.is_live, draining.n_free_task_slots), (&told.id, true, 0));
    let second = suite.worker("drained");
    let next = client.task("whoami").queue("drained").delay(&1_u32).await.unwrap();
    let pid: u32 = within("the next run", DEADLINE, next.result()).await.unwrap();
    assert_eq!(pid, second.pid());
    suite.until_state(&late, StateType::Running).await;
    std::fs::write(&path, "").unwrap();
    assert_eq!(within("the late run", DEADLINE, late.result::<u32>()).await.unwrap(), 1);
    ends_drained(&client, first, &told.id).await;
    second.stop().await;
}

async fn a_pools_worker_is_drained_while_its_job_goes_on(suite: &Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go");
    let pool = WorkPoolSpec { r#type: WorkPoolType::Process.into(), ..Default::default() };
    client.core().create_work_pool("harbour", pool, false).await.unwrap();
    let wait = format!("while ! test -e {}; do sleep 0.05; done", path.display());
    for (name, script) in [("wait/here", wait.as_str()), ("next/here", "true")] {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let spec = DeploymentSpec { work_pool: "harbour".into(), command, ..Default::default() };
        client.core().create_deployment(name, spec, false).await.unwrap();
    }
    let start = |name: &str| {
        let data = folder.path().join(name);
        let data = data.to_str().unwrap();
        // Its runs are not bounded by this, because it is the server that asks.
        let args = [
            "worker",
            "start",
            "--pool",
            "harbour",
            "--name",
            name,
            "--drain-seconds",
            "0",
            "--data-dir",
            data,
        ];
        let env = [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned())];
        Process::start(&program("tidegate"), args, env)
    };
    let first = start("first");
    let waiting = client.deployment("wait/here").delay(&serde_json::json!({})).await.unwrap();
    suite.until_state(&waiting, StateType::Running).await;
    let told = until(&client, "a worker with a run", |worker| worker.n_runs == 1).await;
    assert_eq!((told.name.as_str(), told.work_pool.as_str(), told.n_functions), ("first", "harbour", 0));
    assert_eq!((told.process_id, told.n_flow_slots), (first.pid(), 10));
    client.core().drain_worker(&told.id).await.unwrap();
    until(&client, "a worker that drains", |worker| worker.id == told.id && worker.is_draining).await;

    let second = start("second");
    let next = client.deployment("next/here").delay(&serde_json::json!({})).await.unwrap();
    suite.until_state(&next, StateType::Completed).await;
    suite.until_state(&waiting, StateType::Running).await;
    let of_pool = client.core().workers("harbour").await.unwrap();
    assert_eq!(of_pool.iter().filter(|worker| worker.is_live).count(), 2, "{of_pool:?}");
    assert!(client.core().workers("elsewhere").await.unwrap().is_empty());
    std::fs::write(&path, "").unwrap();
    suite.until_state(&waiting, StateType::Completed).await;
    ends_drained(&client, first, &told.id).await;
    second.stop().await;
}

async fn a_worker_that_was_killed_is_told_as_lost(suite: &Suite) {
    let client = suite.client();
    let mut worker = suite.worker("killed");
    let pid = worker.pid();
    let told = until(&client, "the worker", |worker| worker.process_id == pid).await;
    worker.kill().await;
    let lost = until(&client, "the loss", |worker| worker.id == told.id && !worker.is_live).await;
    assert_eq!(lost.end(), WorkerEnd::Lost);
}

/// Of a process that listens nowhere, or of a worker that takes no runs, it is 1.
async fn health(port: u16) -> Option<i32> {
    let address = format!("--health-address=127.0.0.1:{port}");
    let args = ["worker", "start", "--check-health", &address];
    Process::start(&program("tidegate"), args, []).ended(DEADLINE).await.code
}

#[tokio::test]
async fn a_worker_is_healthy_while_it_takes_runs() {
    let mut suite = Suite::embedded().await;
    let (client, port) = (suite.client(), free_port());
    let pool = WorkPoolSpec { r#type: WorkPoolType::Process.into(), ..Default::default() };
    client.core().create_work_pool("harbour", pool, false).await.unwrap();
    assert_eq!(health(port).await, Some(1));
    let data = tempfile::tempdir().unwrap();
    let address = format!("--health-address=127.0.0.1:{port}");
    let args =
        ["worker", "start", "--pool", "harbour", &address, "--data-dir", data.path().to_str().unwrap()];
    let env = [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned())];
    let worker = Process::start(&program("tidegate"), args, env);
    let until = async |code: i32| {
        let what = format!("exit code {code}");
        eventually(&what, DEADLINE, async || (health(port).await == Some(code)).then_some(())).await;
    };
    until(0).await;
    suite.kill("dev").await;
    until(1).await;
    suite.restart("dev").await;
    until(0).await;
    worker.stop().await;
    suite.stop().await;
}

#[tokio::test]
async fn workers_are_listed_shown_and_drained_by_the_command() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go");
    let worker = suite.worker("by-command");
    let late = client.task("first_is_late").queue("by-command").delay(&path).await.unwrap();
    suite.until_state(&late, StateType::Running).await;
    let told = until(&client, "a worker with a run", |worker| worker.n_runs == 1).await;
    let listed = tidegate(at, &["worker", "ls", "-o", "name"]).await;
    assert_eq!((listed.code, listed.stdout.trim()), (Some(0), told.id.as_str()), "{}", listed.stderr);
    for (filter, n_found) in [("n_runs = 1", 1), ("n_runs > 1", 0)] {
        let found = tidegate(at, &["worker", "ls", "--filter", filter, "-o", "name"]).await;
        assert_eq!((found.code, found.stdout.lines().count()), (Some(0), n_found), "{}", found.stderr);
    }
    let none = tidegate(at, &["worker", "ls", "--pool", "harbour", "-o", "json"]).await;
    assert_eq!(none.stdout.trim(), "[]");
    let shown = tidegate(at, &["worker", "get", &told.id]).await.stdout;
    assert!(shown.contains("live") && shown.contains("from by-command"), "{shown}");

    let args = ["worker", "drain", "--wait", &told.id, "--address", at];
    let drain = Process::start(&program("tidegate"), args, []);
    drain.log_line("1 runs of worker", DEADLINE).await;
    suite.until_state(&late, StateType::Running).await;
    std::fs::write(&path, "").unwrap();
    let ended = drain.ended(DEADLINE).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("drained"), "{}", ended.stdout);
    assert_eq!(worker.ended(DEADLINE).await.code, Some(0));
    let gone = tidegate(at, &["worker", "drain", &told.id]).await;
    assert_eq!(gone.code, Some(3), "{}", gone.stderr);
    assert_eq!(tidegate(at, &["worker", "ls", "--live", "-o", "json"]).await.stdout.trim(), "[]");
    suite.stop().await;
}
