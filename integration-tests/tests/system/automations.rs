//! Automations: the server tells of a run, whatever has become of the process that executed it.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_integration_tests::{Process, Suite, eventually, program, within};
use tidegate_sdk::{
    Automation, Client, RunHandle, Webhook,
    proto::{self, DeploymentSpec, StateType, WorkPoolSpec, WorkPoolType},
};
use tidegate_testkit::{WebRequest, WebServer};

crate::on_both_forms!(
    a_crash_is_told_although_the_worker_died_with_the_run,
    who_cannot_take_it_now_is_told_again,
);

const NAME: &str = "page-me";
/// Longer than a firing is left to a scheduler that went away with it (60 s).
const DEADLINE: Duration = Duration::from_secs(120);

/// The worker of a pool, its jobs, and what these have started: of all that could tell, nothing is left.
async fn a_crash_is_told_although_the_worker_died_with_the_run(suite: &Suite) {
    let (client, web_server) = (suite.client(), WebServer::start().await);
    page_of_nightly(&client, &web_server, StateType::Crashed).await;
    let pool = WorkPoolSpec { r#type: WorkPoolType::Process.into(), ..Default::default() };
    client.core().create_work_pool("harbour", pool, false).await.unwrap();
    let command = ["sh", "-c", "sleep 600; true"].map(str::to_owned).to_vec();
    let spec = DeploymentSpec { work_pool: "harbour".to_owned(), command, ..Default::default() };
    client.core().create_deployment("hold/here", spec, false).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let args = ["worker", "start", "--pool", "harbour", "--data-dir", data.path().to_str().unwrap()];
    let env = [("TIDEGATE_ADDRESS".to_owned(), suite.address().to_owned())];
    let worker = Process::start(&program("tidegate"), args, env);
    let call = || client.deployment("hold/here").max_crashes(0);
    let nightly = call().tags(["nightly"]).delay(&json!({})).await.unwrap();
    let daily = call().tags(["daily"]).delay(&json!({})).await.unwrap();
    for run in [&nightly, &daily] {
        suite.until_state(run, StateType::Running).await;
    }
    let tree = eventually("both jobs have started something", DEADLINE, async || {
        let tree = tree_of(worker.pid());
        (tree.iter().filter(|(_, name)| name == "sleep").count() == 2).then_some(tree)
    })
    .await;
    let pids = tree.iter().map(|(pid, _)| pid.to_string());
    std::process::Command::new("kill").arg("-KILL").args(pids).status().unwrap();
    assert_eq!(worker.ended(DEADLINE).await.code, None, "a signal ends it");
    eventually("nothing is left of them", DEADLINE, async || {
        let processes = processes();
        tree.iter()
            .all(|(pid, name)| !processes.iter().any(|it| it.pid == *pid && it.name == *name))
            .then_some(())
    })
    .await;
    for run in [&nightly, &daily] {
        ends_as(run, StateType::Crashed).await;
    }

    let automation = until_nothing_is_left_to_do(&client).await;
    assert_eq!((automation.n_succeeded, automation.n_given_up), (1, 0), "{automation:#?}");
    let seen = web_server.seen();
    let [told] = &seen[..] else { panic!("the one of `daily` is not told: {seen:#?}") };
    assert_eq!((told.target.as_str(), told.headers["authorization"].as_str()), ("POST /page", "Bearer abc"));
    assert!(told.headers["webhook-id"].starts_with(&format!("msg_{}_", nightly.id())), "{told:#?}");
    let body = body_of(told);
    assert_eq!(body["type"], "tidegate.run.state");
    assert!(body["text"].as_str().unwrap().contains("CRASHED: lease"), "the cause is named: {body:#}");
    let (event, run) = (&body["data"]["event"], &body["data"]["run"]);
    assert_eq!((&event["state"], &event["ended"]), (&json!("CRASHED"), &json!(true)), "{body:#}");
    assert_eq!((&run["id"], &run["name"]), (&json!(nightly.id()), &json!("hold")), "{body:#}");
    assert_eq!((&run["deployment"], &run["work_pool"]), (&json!("hold/here"), &json!("harbour")), "{body:#}");
    assert_eq!((&run["tags"], &run["crashes"]), (&json!(["nightly"]), &json!(1)), "{body:#}");
}

/// Not even the process that has tried has to live.
async fn who_cannot_take_it_now_is_told_again(suite: &mut Suite) {
    let (client, web_server) = (suite.client(), WebServer::start().await);
    web_server.answer("503 Service Unavailable\r\nRetry-After: 1", "out for lunch");
    page_of_nightly(&client, &web_server, StateType::Failed).await;
    let _worker = suite.worker("paged");
    let run = client.task("refuse").queue("paged").tags(["nightly"]).delay(&"out of paper").await.unwrap();
    ends_as(&run, StateType::Failed).await;
    let waiting = eventually("a try has failed", DEADLINE, async || {
        let firings = client.firings(NAME, 10).await.unwrap();
        firings.into_iter().find(|firing| !firing.last_error.is_empty())
    })
    .await;
    assert_eq!((waiting.run_id.as_str(), waiting.given_up_at), (run.id(), None), "{waiting:#?}");
    assert!(waiting.last_error.contains("503"), "{waiting:#?}");

    let scheduler = if suite.redis().is_some() { "scheduler" } else { "dev" };
    suite.kill(scheduler).await;
    web_server.answer("200 OK", "");
    suite.restart(scheduler).await;
    let automation = until_nothing_is_left_to_do(&client).await;
    assert_eq!((automation.n_succeeded, automation.last_error.as_str()), (1, ""), "{automation:#?}");
    let seen = web_server.seen();
    assert!(seen.len() > 1, "{seen:#?}");
    for again in &seen[1..] {
        assert_eq!(again.headers["webhook-id"], seen[0].headers["webhook-id"], "it is the same message");
        assert_eq!(body_of(again)["data"]["event"], body_of(&seen[0])["data"]["event"]);
    }
}

/// Event and firing are one commit, so nobody has to live who would carry it out.
#[tokio::test]
async fn a_crash_while_no_scheduler_lives_is_told_once_by_the_next_one() {
    let mut suite = Suite::separate().await;
    let (client, web_server) = (suite.client(), WebServer::start().await);
    page_of_nightly(&client, &web_server, StateType::Crashed).await;
    let mut worker = suite.worker("paged");
    let call = client.task("hold").queue("paged").max_crashes(0);
    let run = call.tags(["nightly"]).delay(&()).await.unwrap();
    suite.until_state(&run, StateType::Running).await;
    suite.kill("scheduler").await;
    worker.kill().await;
    ends_as(&run, StateType::Crashed).await;
    let firings = client.firings(NAME, 10).await.unwrap();
    let [firing] = &firings[..] else { panic!("{firings:#?}") };
    assert_eq!((firing.run_id.as_str(), firing.n_tries), (run.id(), 0), "{firing:#?}");
    assert!(web_server.seen().is_empty());

    suite.restart("scheduler").await;
    let automation = until_nothing_is_left_to_do(&client).await;
    assert_eq!((automation.n_succeeded, automation.n_given_up), (1, 0), "{automation:#?}");
    let seen = web_server.seen();
    let [told] = &seen[..] else { panic!("not once: {seen:#?}") };
    assert_eq!(body_of(told)["data"]["run"]["id"], run.id());
    suite.stop().await;
}

/// Has the web server told of each run tagged `nightly` that ends so.
async fn page_of_nightly(client: &Client, web_server: &WebServer, end: StateType) {
    let page = Webhook::new(web_server.url("/page")).header("Authorization", "Bearer abc");
    let automation = Automation::new(NAME, page).states([end]).filter(r#"tags:"nightly""#);
    client.set_automation(automation).await.unwrap();
}

async fn ends_as(run: &RunHandle, end: StateType) {
    let ended = within("the end", DEADLINE, run.wait()).await.unwrap();
    assert_eq!(ended.state.as_ref().unwrap().r#type(), end);
}

/// Waits until all that has set the automation off by now is told, or need not be, and gives how it went.
async fn until_nothing_is_left_to_do(client: &Client) -> proto::Automation {
    eventually("nothing is left to do", DEADLINE, async || {
        client.firings(NAME, 10).await.unwrap().is_empty().then_some(())
    })
    .await;
    client.automation(NAME).await.unwrap()
}

fn body_of(told: &WebRequest) -> Value {
    serde_json::from_slice(&told.body).unwrap()
}

struct Listed {
    pid: u32,
    parent: u32,
    name: String,
}

/// The processes of this machine that have not ended.
fn processes() -> Vec<Listed> {
    let pids = std::fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let seen = pids.filter_map(|pid: u32| {
        // One that is gone by now is none.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        let mut after = after.split(' ');
        let has_ended = ["Z", "X"].contains(&after.next()?);
        let (parent, name) = (after.next()?.parse().ok()?, before.split_once('(')?.1.to_owned());
        (!has_ended).then_some(Listed { pid, parent, name })
    });
    seen.collect()
}

/// A process and all that it has started, each with its name.
fn tree_of(root: u32) -> Vec<(u32, String)> {
    let processes = processes();
    let mut tree: Vec<(u32, String)> =
        processes.iter().filter(|it| it.pid == root).map(|it| (it.pid, it.name.clone())).collect();
    let mut idx = 0;
    while idx < tree.len() {
        let parent = tree[idx].0;
        let children = processes.iter().filter(|it| it.parent == parent);
        tree.extend(children.map(|it| (it.pid, it.name.clone())));
        idx += 1;
    }
    tree
}
