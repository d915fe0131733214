//! `tidegate run …` against a server: answers on stdout, the rest on stderr, exit codes that mean something.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration_tests::{Ended, Process, Suite, free_port, program, within};
use tidegate_sdk::proto::DeploymentSpec;

const DEADLINE: Duration = Duration::from_secs(30);

async fn run(address: &str, args: &[&str]) -> Ended {
    tidegate(address, &[&["run"], args].concat()).await
}

pub async fn tidegate(address: &str, args: &[&str]) -> Ended {
    let env = [("TIDEGATE_ADDRESS".to_owned(), address.to_owned())];
    Process::start(&program("tidegate"), args, env).ended(DEADLINE).await
}

async fn json(address: &str, args: &[&str]) -> Value {
    let ended = run(address, &[args, &["-o", "json"]].concat()).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[tokio::test]
async fn what_there_is_can_be_listed_shown_and_followed() {
    let suite = Suite::embedded().await;
    let _worker = suite.worker("cli");
    let client = suite.client();
    let at = suite.address();
    let flow = client.flow("sum_of_squares").queue("cli").delay(&[1, 2, 3]).await.unwrap();
    within("the result", DEADLINE, flow.result::<i64>()).await.unwrap();
    let chatter = client.task("chatter").queue("cli").delay(&3).await.unwrap();
    within("the result", DEADLINE, chatter.result::<u32>()).await.unwrap();

    let tasks = json(at, &["ls", "--filter", "kind = TASK AND name = \"add\""]).await;
    assert_eq!(tasks.as_array().unwrap().len(), 3);
    assert!(tasks.as_array().unwrap().iter().all(|run| run["state"]["type"] == "COMPLETED"));
    assert_eq!(json(at, &["ls", "--limit", "2"]).await.as_array().unwrap().len(), 2);
    let table = run(at, &["ls", "--limit", "2"]).await;
    assert_eq!(table.stdout.lines().count(), 3, "{}", table.stdout);
    assert!(table.stderr.contains("there are more"), "{}", table.stderr);

    let shown = json(at, &["get", flow.id()]).await;
    assert_eq!(shown["parameters"], serde_json::json!([1, 2, 3]));
    assert_eq!(shown["result"], 14);
    assert_eq!(shown["history"].as_array().unwrap().len(), 4);
    let text = run(at, &["get", flow.id()]).await.stdout;
    assert!(text.contains("\nattempt ") && !text.contains("\npolicies "), "it was started without: {text}");
    let tree = json(at, &["tree", flow.id()]).await;
    assert_eq!(tree["children"].as_array().unwrap().len(), 3);
    let tree = run(at, &["tree", flow.id()]).await.stdout;
    assert!(tree.starts_with("sum_of_squares  COMPLETED"), "{tree}");

    let logs = run(at, &["logs", chatter.id()]).await;
    assert_eq!((logs.code, logs.stdout.lines().count()), (Some(0), 3), "{}", logs.stdout);
    let logs = run(at, &["logs", chatter.id(), "--contains", "line 2", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&logs.stdout).unwrap()["message"], "line 2");
    let follow = |run_id: &str| {
        let env = [("TIDEGATE_ADDRESS".to_owned(), at.to_owned())];
        Process::start(&program("tidegate"), ["run", "logs", "--follow", run_id], env)
    };
    let of_ended = follow(chatter.id());
    of_ended.line("line 2", DEADLINE).await;
    let held = client.task("hold").queue("cli").delay(&()).await.unwrap();
    let of_live = follow(held.id());
    of_live.line("holding", DEADLINE).await;
    // What is written after the first line was shown can be in no history that the command began with.
    json(at, &["cancel", held.id()]).await;
    of_live.line("cancelled while holding", DEADLINE).await;
    for followed in [of_ended, of_live] {
        followed.signal("INT");
        assert_eq!(followed.ended(DEADLINE).await.code, Some(0));
    }

    let watched = run(at, &["watch", flow.id(), chatter.id()]).await;
    assert_eq!((watched.code, watched.stdout.lines().count()), (Some(0), 8), "{}", watched.stdout);
    suite.stop().await;
}

#[tokio::test]
async fn a_cancel_is_told_and_a_watch_of_it_says_so() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let handle = suite.client().task("add").queue("nobody").delay(&(1, 2)).await.unwrap();
    let cancelled = json(at, &["cancel", handle.id(), "--reason", "a test"]).await;
    assert_eq!(
        (&cancelled[0]["n_cancelled"], &cancelled[0]["run"]["state"]["type"]),
        (&1.into(), &"CANCELLED".into())
    );
    let watched = run(at, &["watch", handle.id()]).await;
    assert_eq!(watched.code, Some(4), "{}{}", watched.stdout, watched.stderr);
    assert!(watched.stdout.contains("a test"), "{}", watched.stdout);
    suite.stop().await;
}

#[tokio::test]
async fn concurrency_limits_are_set_shown_and_deleted() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let concurrency = async |args: &[&str]| tidegate(at, &[&["concurrency"], args].concat()).await;
    let set = concurrency(&["set", "db", "3"]).await;
    assert_eq!((set.code, set.stdout.lines().count()), (Some(0), 2), "{}{}", set.stdout, set.stderr);
    let shown = concurrency(&["get", "db", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["name"], &shown["max_slots"], &shown["used_slots"]),
        (&"db".into(), &3.into(), &0.into())
    );
    let listed = concurrency(&["ls", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let deleted = concurrency(&["delete", "db", "-o", "json"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    assert_eq!(
        serde_json::from_str::<Value>(&deleted.stdout).unwrap(),
        serde_json::json!({ "deleted": "db" })
    );
    for command in ["get", "delete"] {
        let missing = concurrency(&[command, "db"]).await;
        assert_eq!(missing.code, Some(3), "{command}: {}", missing.stderr);
        assert!(missing.stderr.contains("`db`"), "{command}: {}", missing.stderr);
    }
    assert_eq!(concurrency(&["delete", "db", "--allow-missing"]).await.code, Some(0));
    assert_eq!(
        concurrency(&["set", "db", "1000001"]).await.code,
        Some(2),
        "more slots than a limit may have"
    );
    let args =
        ["set", "customer=*", "--slots", "2", "--rate", "10/s", "--burst", "20", "--on-collision", "skip"];
    let set = concurrency(&[&args[..], &["-o", "json"]].concat()).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    for (name, template, free_tokens) in
        [("customer=*", "", Value::Null), ("customer=a", "customer=*", 20.into())]
    {
        let shown = concurrency(&["get", name, "-o", "json"]).await;
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        let rate = serde_json::json!({ "max_starts": 10, "period_seconds": 1.0, "burst": 20 });
        assert_eq!((&shown["rate"], &shown["max_slots"]), (&rate, &2.into()), "{shown}");
        assert_eq!((&shown["template"], &shown["free_tokens"]), (&template.into(), &free_tokens), "{shown}");
        assert_eq!(shown["on_collision"], "SKIP");
    }
    for args in [&["set", "db"][..], &["set", "db", "--rate", "often"], &["set", "a*b", "3"]] {
        assert_ne!(concurrency(args).await.code, Some(0), "{args:?}");
    }
    suite.stop().await;
}

#[tokio::test]
async fn queues_are_set_shown_paused_resumed_and_deleted() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let queue = async |args: &[&str]| tidegate(at, &[&["queue"], args].concat()).await;
    let shown = async |args: &[&str]| -> Value {
        let ended = queue(&[args, &["-o", "json"]].concat()).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    assert_eq!(shown(&["set", "gpu", "--slots", "2"]).await["max_slots"], 2);
    let paused = shown(&["pause", "gpu", "--reason", "maintenance"]).await;
    assert_eq!((&paused["pause"]["reason"], &paused["max_slots"]), (&"maintenance".into(), &2.into()));
    let got = shown(&["get", "gpu"]).await;
    assert_eq!((&got["waiting_runs"], &got["workers"]["n_workers"]), (&0.into(), &0.into()), "{got}");
    let listed = shown(&["ls"]).await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &"gpu".into()), "{listed}");
    assert_eq!(shown(&["resume", "gpu"]).await["pause"], Value::Null);
    assert_eq!(shown(&["set", "gpu", "--no-limit"]).await["max_slots"], Value::Null);
    assert_eq!(queue(&["ls"]).await.stdout.lines().count(), 2);
    assert_eq!(shown(&["delete", "gpu"]).await, serde_json::json!({ "deleted": "gpu" }));
    let missing = queue(&["delete", "gpu"]).await;
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert!(missing.stderr.contains("`gpu`"), "{}", missing.stderr);
    assert_eq!(queue(&["delete", "gpu", "--allow-missing"]).await.code, Some(0));
    for wrong in [&["set", "gpu"][..], &["set", "gpu", "--slots", "1", "--no-limit"]] {
        assert_eq!(queue(wrong).await.code, Some(2), "{wrong:?}");
    }
    suite.stop().await;
}

#[tokio::test]
async fn a_deployment_is_shown_started_rolled_back_and_deleted() {
    let suite = Suite::embedded().await;
    let (client, at) = (suite.client(), suite.address());
    let spec = |n: u32| DeploymentSpec {
        parameters: format!("{{\"n\":{n},\"day\":\"any\"}}"),
        tags: vec!["etl".into()],
        ..Default::default()
    };
    client.core().create_deployment("etl/nightly", spec(1), false).await.unwrap();
    client.core().create_deployment("etl/nightly", spec(2), true).await.unwrap();
    let json = async |args: &[&str]| {
        let ended = tidegate(at, &[&["deployment"], args, &["-o", "json"]].concat()).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let listed = json(&["ls", "--filter", "tags:etl AND flow = etl"]).await;
    assert_eq!((&listed[0]["name"], &listed[0]["version"]), (&"etl/nightly".into(), &2.into()));
    assert_eq!(json(&["ls", "--filter", "flow = other"]).await, serde_json::json!([]));
    assert_eq!(json(&["get", "etl/nightly"]).await["spec"]["parameters"]["n"], 2);
    let rolled_back = json(&["rollback", "etl/nightly", "1"]).await;
    assert_eq!((&rolled_back["version"], &rolled_back["spec"]["parameters"]["n"]), (&3.into(), &1.into()));
    assert_eq!(json(&["versions", "etl/nightly"]).await.as_array().unwrap().len(), 3);

    let start = [
        "run",
        "etl/nightly",
        "--param",
        "day=monday",
        "--params",
        "{\"m\": [1]}",
        "--tag",
        "now",
        "--key",
        "k",
    ];
    let started = json(&start).await;
    assert_eq!(started["created"], true);
    assert_eq!(json(&start).await["run_id"], started["run_id"], "one key, one run");
    let run = client.core().get_run(started["run_id"].as_str().unwrap()).await.unwrap();
    let parameters: Value = serde_json::from_slice(&run.parameters.unwrap().data).unwrap();
    assert_eq!(parameters, serde_json::json!({ "day": "monday", "m": [1], "n": 1 }));
    assert_eq!((run.tags, run.deployment_version), (vec!["now".to_owned(), "etl".to_owned()], 3));

    let unknown = tidegate(at, &["deployment", "run", "etl/nightli"]).await;
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.stderr.contains("did you mean `etl/nightly`?"), "{}", unknown.stderr);
    let deleted = tidegate(at, &["deployment", "delete", "etl/nightly"]).await;
    assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(0), "etl/nightly  deleted\n"));
    assert_eq!(tidegate(at, &["deployment", "get", "etl/nightly"]).await.code, Some(3));
    suite.stop().await;
}

#[tokio::test]
async fn many_runs_are_cancelled_by_filter_once_the_count_is_meant() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let handles = suite.client().task("add").queue("nobody").delay_many(&[(1, 1), (2, 2)]).await.unwrap();
    let by_filter = ["cancel", "--filter", "state = SCHEDULED"];
    let counted = run(at, &[&by_filter[..], &["--dry-run"]].concat()).await;
    assert_eq!(counted.code, Some(0), "{}", counted.stderr);
    assert!(counted.stdout.contains('2'), "{}", counted.stdout);
    let unasked = run(at, &by_filter).await;
    assert_ne!(unasked.code, Some(0), "nobody can be asked here");
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(handles[0].state().await.unwrap().name, "Scheduled");
    let done = run(at, &[&by_filter[..], &["--yes"]].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for handle in &handles {
        assert_eq!(handle.state().await.unwrap().name, "Cancelled");
    }

    let bulk = async |args: &[&str]| tidegate(at, &[&["bulk"], args, &["-o", "json"]].concat()).await;
    let listed: Value = serde_json::from_str(&bulk(&["ls"]).await.stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    assert!(done.stderr.contains(id), "{}", done.stderr);
    for command in ["get", "cancel"] {
        let shown = bulk(&[command, id]).await;
        assert_eq!(shown.code, Some(0), "{command}: {}", shown.stderr);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!((&shown["state"], &shown["n_done"]), (&"COMPLETED".into(), &2.into()), "{command}");
    }
    let unknown = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b";
    assert_eq!(bulk(&["cancel", unknown]).await.code, Some(3));
    suite.stop().await;
}

#[tokio::test]
async fn what_was_done_before_a_fault_is_told() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let task = || suite.client().task("add").queue("nobody");
    let (ended, open) = (task().delay(&(1, 2)).await.unwrap(), task().delay(&(3, 4)).await.unwrap());
    json(at, &["cancel", ended.id()]).await;
    let deleted = run(at, &["delete", ended.id(), open.id(), "-o", "json"]).await;
    assert_eq!(deleted.code, Some(1), "{}", deleted.stderr);
    assert!(deleted.stderr.contains(open.id()), "{}", deleted.stderr);
    let told: Value = serde_json::from_str(&deleted.stdout).unwrap();
    assert_eq!(told, serde_json::json!([{ "deleted": ended.id() }]));
    suite.stop().await;
}

#[tokio::test]
async fn a_large_value_is_shown_by_its_reference_unless_it_is_asked_for() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let task = || suite.client().task("echo").queue("nobody");
    let (small, large) = ("x".repeat(200 << 10), "x".repeat(3 << 20));
    let (some, much) = (task().delay(&small).await.unwrap(), task().delay(&large).await.unwrap());
    assert_eq!(json(at, &["get", some.id()]).await["parameters"], small.as_str());
    let shown = &json(at, &["get", much.id()]).await["parameters"];
    assert_eq!((&shown["size_bytes"], &shown["encoding"]), (&(large.len() + 2).into(), &"json/plain".into()));
    let text = run(at, &["get", much.id()]).await.stdout;
    assert!(text.contains(shown["object_id"].as_str().unwrap()) && text.contains("--full"), "{text}");
    assert!(json(at, &["get", much.id(), "--full"]).await["parameters"] == large.as_str());
    suite.stop().await;
}

#[tokio::test]
async fn faults_have_their_exit_codes_and_sentences() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let unknown = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b";
    for command in ["get", "tree", "logs", "watch", "cancel"] {
        let ended = run(at, &[command, unknown]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains(unknown), "{command}: {}", ended.stderr);
        let ended = run(at, &[command, "no-id"]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{command}: {}", ended.stderr);
    }
    let ended = run(at, &["ls", "--filter", "colour = blue"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("colour"), "{}", ended.stderr);
    suite.stop().await;

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let ended = run(&nowhere, &["ls"]).await;
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains(&nowhere) && ended.stderr.contains("tidegate dev"), "{}", ended.stderr);
}
