//! Verbs of the command line that change something, by what they leave and by how they end.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_integration_tests::{Ended, Suite, eventually, within};
use tidegate_sdk::proto::{DeploymentSpec, StateType};

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(60);

/// What a call tells that must succeed and say nothing on stderr.
async fn told(at: &str, args: &[&str]) -> Value {
    let ended = tidegate(at, &[args, &["-o", "json"]].concat()).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}: {}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ended.stdout))
}

/// Asserts that a call fails so, and with this sentence.
#[track_caller]
fn refused(ended: &Ended, code: i32, sentence: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(sentence), "{}", ended.stderr);
}

#[tokio::test]
async fn a_work_pool_is_changed_paused_resumed_and_deleted() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let pool = async |args: &[&str]| told(at, &[&["pool"], args].concat()).await;
    let failing = async |args: &[&str]| tidegate(at, &[&["pool"], args].concat()).await;
    pool(&["create", "site", "--description", "the lab's", "--queue", "urgent"]).await;

    let changed = pool(&["update", "site", "--slots", "3", "--queue", "fast", "--queue", "slow"]).await;
    assert_eq!(
        (&changed["spec"]["max_slots"], &changed["spec"]["queues"], &changed["spec"]["description"]),
        (&json!(3), &json!(["fast", "slow"]), &json!("the lab's")),
        "what is not named stays"
    );
    assert_eq!(pool(&["update", "site", "--no-limit"]).await["spec"]["max_slots"], Value::Null);
    refused(&failing(&["update", "site"]).await, 2, "update_mask");
    refused(&failing(&["update", "site", "--job-variables", "[]"]).await, 2, "job_variables");
    refused(&failing(&["update", "sitte", "--slots", "1"]).await, 3, "did you mean `site`?");
    assert_eq!(failing(&["update", "site", "--slots", "1", "--no-limit"]).await.code, Some(2));

    let paused = pool(&["pause", "site", "--reason", "repairs"]).await;
    assert_eq!(paused["pause"]["reason"], "repairs");
    assert!(failing(&["ls"]).await.stdout.contains("repairs"));
    let spec =
        DeploymentSpec { work_pool: "site".into(), command: vec!["true".into()], ..Default::default() };
    client.core().create_deployment("report/weekly", spec, false).await.unwrap();
    let started = told(at, &["deployment", "run", "report/weekly"]).await;
    let explained = tidegate(at, &["run", "explain", started["run_id"].as_str().unwrap()]).await;
    assert!(explained.stdout.contains("Work pool `site` was paused"), "{}", explained.stdout);
    assert!(explained.stdout.contains("repairs"), "{}", explained.stdout);
    assert_eq!(pool(&["resume", "site"]).await["pause"], Value::Null);
    let explained = told(at, &["run", "explain", started["run_id"].as_str().unwrap()]).await;
    let summary = explained["summary"].as_str().unwrap();
    assert!(summary.contains("tidegate worker start --pool site"), "{summary}");

    refused(&failing(&["delete", "site"]).await, 1, "deployment `report/weekly` names work pool `site`");
    client.core().delete_deployment("report/weekly", false).await.unwrap();
    assert_eq!(pool(&["delete", "site"]).await, json!({ "deleted": "site" }));
    refused(&failing(&["delete", "site"]).await, 3, "`site`");
    assert_eq!(failing(&["delete", "site", "--allow-missing"]).await.code, Some(0));
    for verb in ["pause", "resume"] {
        refused(&failing(&[verb, "site"]).await, 3, "`site`");
    }
    suite.stop().await;
}

#[tokio::test]
async fn a_run_is_explained_paused_resumed_and_tried_again() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let verb = async |args: &[&str]| told(at, &[&["run"], args].concat()).await;
    let run = client.task("refuse").queue("verbs").delay(&"not today").await.unwrap();
    let id = run.id();
    let explained = verb(&["explain", id]).await;
    assert_eq!(explained["run"]["id"], id);
    assert!(explained["waits"].as_array().is_some_and(|waits| !waits.is_empty()), "{explained}");

    let paused = verb(&["pause", id, "--reason", "the source moves"]).await;
    assert_eq!(paused[0]["run"]["state"]["type"], "PAUSED", "{paused}");
    let text = tidegate(at, &["run", "explain", id]).await.stdout;
    assert!(text.contains("PAUSED") && text.contains("the source moves"), "{text}");
    let _worker = suite.worker("verbs");
    let resumed = verb(&["resume", id]).await;
    assert_eq!(resumed[0]["run"]["id"], id);
    suite.until_state(&run, StateType::Failed).await;
    let explained = verb(&["explain", id]).await;
    assert!(explained["failure"]["message"].as_str().unwrap().contains("not today"), "{explained}");

    let retried = verb(&["retry", id, "--reason", "another day"]).await;
    assert_eq!(retried[0]["run"]["id"], id);
    eventually("it has failed again", DEADLINE, async || {
        let run = client.core().get_run(id).await.unwrap();
        let state = run.state.unwrap().r#type();
        (run.attempt == 2 && state == StateType::Failed).then_some(())
    })
    .await;
    let text = tidegate(at, &["run", "explain", id]).await.stdout;
    assert!(text.contains("another day"), "the history has both: {text}");

    let missing = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b";
    for verb in ["explain", "pause", "resume", "retry"] {
        let ended = tidegate(at, &["run", verb, missing]).await;
        assert_eq!(ended.code, Some(3), "{verb}: {}", ended.stderr);
        assert_eq!(tidegate(at, &["run", verb, "no-id"]).await.code, Some(2), "{verb}");
    }
    // What does not fit its state is refused with that.
    for verb in ["pause", "resume"] {
        let ended = tidegate(at, &["run", verb, id]).await;
        assert!(ended.code == Some(1) && ended.stderr.contains("FAILED"), "{verb}: {}", ended.stderr);
    }
    suite.stop().await;
}

#[tokio::test]
async fn a_run_of_a_deployment_is_started_with_all_that_is_said_and_followed_to_its_end() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    let spec = DeploymentSpec {
        queue: "started".into(),
        parameters: json!({ "path": path, "name": "ada" }).to_string(),
        ..Default::default()
    };
    client.core().create_deployment("jot/nightly", spec, false).await.unwrap();
    let start = ["deployment", "run", "jot/nightly"];
    let begin = async |more: &[&str]| tidegate(at, &[&start, more].concat()).await;

    // A start of later, by a time and by a span.
    let at_time = ["--at", "2031-05-06T07:08:09Z", "--name", "may", "--idempotency-key", "k"];
    let planned = told(at, &[&start[..], &at_time, &["--queue", "other", "--tag", "x"]].concat()).await;
    let run = client.core().get_run(planned["run_id"].as_str().unwrap()).await.unwrap();
    assert_eq!(
        (run.run_name.as_str(), run.queue.as_str(), &run.tags[..]),
        ("may", "other", &["x".into()][..])
    );
    assert_eq!(run.due_at.unwrap().to_string(), "2031-05-06T07:08:09Z");
    let again = told(at, &[&start[..], &at_time].concat()).await;
    assert_eq!((&again["run_id"], &again["created"]), (&planned["run_id"], &json!(false)));
    let later = told(at, &[&start[..], &["--in", "2h"]].concat()).await;
    let run = client.core().get_run(later["run_id"].as_str().unwrap()).await.unwrap();
    let ahead = run.due_at.unwrap().seconds - run.created_at.unwrap().seconds;
    assert!((7_000..=7_200).contains(&ahead), "{ahead}");

    // Nobody serves it: a follower gives up, and the run goes on.
    let given_up = begin(&["--watch", "--timeout", "300ms"]).await;
    assert_eq!(given_up.code, Some(6), "{}{}", given_up.stdout, given_up.stderr);
    let id = given_up.stdout.lines().next().unwrap();
    assert!(given_up.stderr.contains(&format!("`tidegate run watch {id}`")), "{}", given_up.stderr);
    assert_eq!(client.core().get_run(id).await.unwrap().state.unwrap().r#type(), StateType::Scheduled);

    let _worker = suite.worker("started");
    let followed = within("the end", DEADLINE, begin(&["--watch"])).await;
    assert_eq!(followed.code, Some(0), "{}{}", followed.stdout, followed.stderr);
    let lines: Vec<&str> = followed.stdout.lines().collect();
    assert!(lines[0].len() == 36 && lines.last().unwrap().contains("COMPLETED"), "{lines:?}");
    let nowhere = folder.path().join("none/names");
    let param = format!("path={}", nowhere.display());
    let failed = begin(&["--watch", "--timeout", "1m", "-p", &param, "-o", "json"]).await;
    assert_eq!(failed.code, Some(4), "{}{}", failed.stdout, failed.stderr);
    let documents: Vec<Value> =
        failed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents[0]["created"], true);
    assert_eq!(documents.last().unwrap()["state"]["type"], "FAILED", "{documents:?}");

    // Job variables are for a deployment with a pool.
    refused(&begin(&["--job-variable", "env={\"A\": \"1\"}"]).await, 2, "job_variables");
    let made = tidegate(at, &["pool", "create", "site", "--job-variables", r#"{"env": {"A": "1"}}"#]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let spec =
        DeploymentSpec { work_pool: "site".into(), command: vec!["true".into()], ..Default::default() };
    client.core().create_deployment("report/weekly", spec, false).await.unwrap();
    let args = ["deployment", "run", "report/weekly", "--job-variable", "env={\"B\": \"2\"}"];
    told(at, &args).await;
    let wrong = tidegate(at, &["deployment", "run", "report/weekly", "--job-variable", "image=x"]).await;
    refused(&wrong, 2, "image");
    suite.stop().await;
}

#[tokio::test]
async fn an_automation_is_set_shown_paused_resumed_and_deleted() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "Authorization: Bearer abc\n").unwrap();
    let headers = headers.to_str().unwrap();
    let automation = async |args: &[&str]| told(at, &[&["automation"], args].concat()).await;
    let failing = async |args: &[&str]| tidegate(at, &[&["automation"], args].concat()).await;
    let hook = ["--webhook", "https://hooks.example.com/page"];
    let of_nobody = ["--filter", "queue = nobody"];

    let set = ["set", "page-me", "--state", "crashed", "--state-name", "Late", "--header-file", headers];
    let set = [&set[..], &hook, &of_nobody].concat();
    let made = automation(&[&set[..], &["--timeout", "2s", "--description", "wakes Ada"]].concat()).await;
    assert_eq!(
        made["trigger"],
        json!({ "states": ["CRASHED"], "state_names": ["Late"], "filter": "queue = nobody", "each_attempt": false })
    );
    assert_eq!(made["webhook"]["url"], "https://hooks.example.com/page");
    assert_eq!(made["webhook"]["timeout_seconds"], 2.0);
    assert!(made["webhook"]["headers"][0].as_str().unwrap().eq_ignore_ascii_case("authorization"), "{made}");
    assert_eq!(automation(&["get", "page-me"]).await, made);
    let shown = failing(&["get", "page-me"]).await.stdout;
    assert!(shown.contains("wakes Ada") && !shown.contains("abc"), "{shown}");

    refused(&failing(&set).await, 1, "`page-me`");
    refused(&failing(&[&["set", "page-me"][..], &hook].concat()).await, 2, "--state");
    refused(&failing(&["set", "a", "--state", "CRASHED", "--webhook", "ftp://a.example"]).await, 2, "url");
    let wrong = ["set", "a", "--state", "CRASHED", "--filter", "nmae = x"];
    refused(&failing(&[&wrong[..], &hook].concat()).await, 2, "filter");
    refused(&failing(&["get", "page-mee"]).await, 3, "did you mean `page-me`?");
    refused(&failing(&["firings", "page-mee"]).await, 3, "did you mean `page-me`?");

    assert_eq!(automation(&["pause", "page-me"]).await["is_paused"], true);
    let etag = automation(&["get", "page-me"]).await["etag"].as_str().unwrap().to_owned();
    let other = [&["set", "page-me", "--state", "FAILED", "--each-attempt", "--etag", &etag][..], &hook];
    let changed = automation(&[&other.concat()[..], &of_nobody].concat()).await;
    assert_eq!((&changed["is_paused"], &changed["webhook"]["headers"]), (&json!(true), &json!([])));
    refused(&failing(&other.concat()).await, 1, "etag");
    assert_eq!(automation(&["resume", "page-me"]).await["is_paused"], false);
    let names = async |filter: &str| failing(&["ls", "--filter", filter, "-o", "name"]).await.stdout;
    assert_eq!(names("trigger.states = FAILED").await, "page-me\n");
    assert_eq!(names("trigger.states = CRASHED").await, "");

    // Nobody listens there: what it is to do is tried, and waits for the next try.
    let unheard = ["set", "unheard", "--state", "SCHEDULED", "--webhook", "http://127.0.0.1:1/"];
    automation(&[&unheard[..], &["--filter", "queue = unheard"]].concat()).await;
    assert_eq!(automation(&["firings", "unheard"]).await, json!([]));
    let run = client.task("refuse").queue("unheard").delay(&"not today").await.unwrap();
    let firing = eventually("it was tried", DEADLINE, async || {
        let firings = automation(&["firings", "unheard"]).await;
        firings[0]["last_error"].as_str().filter(|error| !error.is_empty())?;
        Some(firings[0].clone())
    })
    .await;
    assert_eq!((&firing["run_id"], &firing["state"]["type"]), (&json!(run.id()), &json!("SCHEDULED")));
    assert_eq!(automation(&["get", "unheard"]).await["last_error"], firing["last_error"]);
    assert!(failing(&["firings", "unheard"]).await.stdout.contains(run.id()));
    assert_eq!(automation(&["firings", "unheard", "--filter", "state.type = CRASHED"]).await, json!([]));

    for name in ["page-me", "unheard"] {
        assert_eq!(automation(&["delete", name]).await, json!({ "deleted": name }));
        refused(&failing(&["delete", name]).await, 3, &format!("`{name}`"));
        assert_eq!(failing(&["delete", name, "--allow-missing"]).await.code, Some(0));
        for verb in ["pause", "resume", "get", "firings"] {
            refused(&failing(&[verb, name]).await, 3, &format!("`{name}`"));
        }
    }
    suite.stop().await;
}
