//! A worker of a pool of docker, against a simulated engine (`engine.rs`) and a service that does what the test tells it.
//! The worker and its client are the real ones; the engine is not.

#![cfg(feature = "containers")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod engine;
#[path = "../../../../libs/sdk-core/tests/fake/mod.rs"]
mod fake;
#[path = "../lab/mod.rs"]
mod lab;

use std::{fs, io::Read as _, process::Command, time::Duration};

use engine::Engine;
use fake::{Event, ended};
use lab::{Lab, command};
use serde_json::{Value, json};
use tidegate_sdk_core::proto::{ArchiveSource, Job, Run, Source, WorkPoolType, source};

async fn lab(more: &[&str]) -> (Engine, Lab) {
    let dir = tempfile::tempdir().unwrap();
    let (socket, secrets) = (dir.path().join("docker.sock"), dir.path().join("secrets"));
    let engine = Engine::start(&socket);
    fs::create_dir(&secrets).unwrap();
    let socket = format!("unix://{}", socket.display());
    let fixed = ["--docker-host", &socket, "--secrets-dir", secrets.to_str().unwrap()];
    let options: Vec<_> = fixed.iter().chain(more).map(ToString::to_string).collect();
    (engine, Lab::new(dir, "host", WorkPoolType::Docker, &options).await)
}

fn job() -> Job {
    command(&json!({"image": "etl:1"}))
}

fn job_with(name: &str, value: Value) -> Job {
    command(&json!({"image": "etl:1", name: value}))
}

/// Has the worker begin a job. Gives the run and its container.
async fn begun(engine: &Engine, lab: &mut Lab) -> (String, String) {
    let run_id = lab.assign(job()).await;
    let name = engine.running(&run_id).await;
    lab.started().await;
    (run_id, name)
}

#[tokio::test]
async fn a_command_is_a_container_whose_exit_code_tells_its_end() {
    let (engine, mut lab) = lab(&[]).await;
    lab.start().await;
    let run_id = lab.assign(job_with("memory_mib", json!(64))).await;
    let name = engine.running(&run_id).await;
    let body = engine.body(&name);
    assert_eq!((&body["Entrypoint"], &body["HostConfig"]["Memory"]), (&json!(["load"]), &json!(64 << 20)));
    lab.started().await;
    engine.write(&name, 1, "begun");
    assert_eq!(lab.line().await, "begun");
    engine.write(&name, 1, "done");
    engine.exit(&name, 0, false);
    assert_eq!(lab.line().await, "done");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    engine.until_gone(&name).await;

    let run_id = lab.assign(job_with("cleanup", json!(false))).await;
    let name = engine.running(&run_id).await;
    engine.write(&name, 2, "no such table: orders");
    engine.write(&name, 1, "good bye");
    engine.exit(&name, 3, false);
    assert_eq!(lab.failure().await, "exit code 3: no such table: orders");
    engine.until_there(&format!("{name}-done")).await; // for those who look for it

    let run_id = lab.assign(job_with("memory_mib", json!(64))).await;
    let name = engine.running(&run_id).await;
    engine.exit(&name, 137, true);
    let cause = lab.crash().await;
    assert!(cause.starts_with("OOMKilled: it was out of memory at its limit of 64 MiB"), "{cause}");

    let run_id = lab.assign(job()).await;
    let name = engine.running(&run_id).await;
    engine.exit(&name, 139, false);
    assert_eq!(lab.crash().await, "signal 11 (SIGSEGV)");

    let (_, name) = begun(&engine, &mut lab).await;
    engine.remove(&name);
    assert_eq!(lab.crash().await, "its container was removed before it had told its end");
}

#[tokio::test]
async fn an_entrypoint_speaks_for_itself() {
    let (engine, mut lab) = lab(&["--job-image", "etl:1"]).await;
    lab.start().await;
    let run_id = lab.assign(Job { entrypoint: "etl:nightly".into(), ..Default::default() }).await;
    let name = engine.running(&run_id).await;
    assert_eq!(engine.body(&name)["Entrypoint"], json!(["python3", "-m", "tidegate.execute", "etl:nightly"]));
    engine.exit(&name, 0, false);
    let mut run = ended(&run_id);
    run.epoch = 3;
    lab.fake.tell_run(run).await;
    engine.until_gone(&name).await;
}

#[tokio::test]
async fn images_are_pulled_by_the_policy_and_with_the_login_of_a_secret() {
    let (engine, mut lab) = lab(&[]).await;
    fs::write(lab.dir.path().join("secrets/registry"), "robot:hunter22\n").unwrap();
    lab.start().await;
    let of_registry = |more: Value| {
        let mut variables = json!({"image": "registry.example.com/team/load:7"});
        variables.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        command(&variables)
    };
    lab.assign(of_registry(json!({"pull_policy": "never"}))).await;
    assert!(lab.failure().await.contains("`pull_policy` is `never`"));
    let run_id = lab.assign(of_registry(json!({"registry_secret": "registry"}))).await;
    let name = engine.running(&run_id).await;
    let login = engine.login().unwrap();
    assert!(!login.is_empty() && !login.contains("hunter22"), "it is encoded");
    engine.write(&name, 1, "the password is hunter22");
    assert_eq!(lab.line().await, "the password is ****");
    engine.exit(&name, 0, false);
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    assert_eq!(engine.n_calls("POST images/create"), 1);

    let run_id = lab.assign(of_registry(json!({"pull_policy": "always"}))).await;
    engine.exit(&engine.running(&run_id).await, 0, false);
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    assert_eq!(engine.n_calls("POST images/create"), 2);

    engine.refuse_pulls("pull access denied for team/none, repository does not exist");
    lab.assign(command(&json!({"image": "team/none"}))).await;
    let told =
        "the image team/none cannot be pulled: pull access denied for team/none, repository does not exist";
    assert_eq!(lab.crash().await, told);
}

#[tokio::test]
async fn what_a_container_waits_for_is_told_until_it_begins() {
    let (engine, mut lab) = lab(&[]).await;
    lab.start().await;
    engine.hold_pulls(true);
    let run_id = lab.assign(command(&json!({"image": "load:7"}))).await;
    lab.until_hindered("the image load:7 is pulled").await;
    engine.hold_pulls(false);
    engine.running(&run_id).await;
    lab.started().await;
    lab.until_hindered("").await;
}

#[tokio::test]
async fn secrets_are_given_by_name_and_hidden_in_the_log() {
    let (engine, mut lab) = lab(&[]).await;
    fs::write(lab.dir.path().join("secrets/db"), "hunter22\n").unwrap();
    lab.start().await;
    let run_id = lab.assign(job_with("secret_env", json!({"PASSWORD": "db"}))).await;
    let name = engine.running(&run_id).await;
    assert!(engine.body(&name)["Env"].as_array().unwrap().contains(&json!("PASSWORD=hunter22")));
    engine.write(&name, 1, "with hunter22");
    assert_eq!(lab.line().await, "with ****");
}

#[tokio::test]
async fn fetched_code_is_put_into_the_container() {
    let (engine, mut lab) = lab(&[]).await;
    let dir = lab.dir.path().to_owned();
    fs::write(dir.join("etl.py"), "nightly").unwrap();
    let packed = Command::new("tar").args(["-czf", "code.tar.gz", "etl.py"]).current_dir(&dir).status();
    assert!(packed.unwrap().success());
    lab.start().await;
    let url = format!("file://{}/code.tar.gz", dir.display());
    let archive = ArchiveSource { url, ..Default::default() };
    let source = Some(Source { source: Some(source::Source::Archive(archive)) });
    let run_id = lab.assign(Job { source, ..job() }).await;
    let name = engine.running(&run_id).await;
    let (sent, mut found) = (engine.archive(&name), String::new());
    for entry in tar::Archive::new(sent.as_ref()).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("etl.py") {
            assert_eq!(entry.path().unwrap().to_str().unwrap(), "tidegate/code/etl.py");
            entry.read_to_string(&mut found).unwrap();
        }
    }
    assert_eq!((found.as_str(), &engine.body(&name)["WorkingDir"]), ("nightly", &json!("/tidegate/code")));
}

#[tokio::test]
async fn a_cancel_stops_the_container_within_the_grace() {
    let (engine, mut lab) = lab(&[]).await;
    lab.start().await;
    for is_stubborn in [false, true] {
        if is_stubborn {
            engine.set_stubborn();
        }
        let run_id = lab.assign(job()).await;
        let name = engine.running(&run_id).await;
        lab.started().await;
        lab.cancel(&run_id, Duration::from_secs(20)).await;
        assert!(matches!(lab.report().await.event, Some(Event::Cancelled(_))));
        engine.until_gone(&name).await;
    }
    assert_eq!(engine.n_calls("stop within 20"), 2);
}

#[tokio::test]
async fn containers_go_on_while_their_worker_is_started_anew() {
    let (engine, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, name) = begun(&engine, &mut lab).await;
    for line in ["one", "two"] {
        engine.write(&name, 1, line);
        assert_eq!(lab.line().await, line);
    }
    lab.end().await;
    engine.write(&name, 1, "three");
    engine.exit(&name, 0, false);
    assert_eq!(engine.names(), std::slice::from_ref(&name), "it was not ended");
    lab.start().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    assert_eq!(lab.line().await, "three", "what was taken before is not taken again");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    engine.until_gone(&name).await;
    assert_eq!(engine.n_calls("POST containers/create"), 1);
}

#[tokio::test]
async fn containers_of_another_server_are_left_alone() {
    let (engine, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, name) = begun(&engine, &mut lab).await;
    lab.end().await;
    // A worker of the same name, directory, namespace and pool.
    lab.fake.server_id.send_replace("another".into());
    lab.start().await;
    assert_eq!(lab.heartbeat().await, []);
    lab.end().await;
    assert_eq!(engine.names(), std::slice::from_ref(&name));
    lab.fake.server_id.send_replace("one".into());
    lab.start().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
}

#[tokio::test]
async fn containers_of_an_older_worker_are_taken_on_where_their_run_is_of_this_pool() {
    let (engine, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (ours, name) = begun(&engine, &mut lab).await;
    let (_, of_another_server) = begun(&engine, &mut lab).await;
    lab.end().await;
    // Workers of before did not write which server's their containers are.
    engine.unlabel("tidegate.dev/server");
    let run = Run { id: ours.clone(), work_pool: "lab".into(), ..Default::default() };
    lab.start_asking(2, &[run]).await;
    let held = lab.heartbeat().await;
    assert_eq!(held.iter().map(|run| &run.run_id).collect::<Vec<_>>(), [&ours]);
    engine.exit(&name, 0, false);
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    engine.until_gone(&name).await;
    assert_eq!(engine.names(), [of_another_server], "it is left alone");
}

#[tokio::test]
async fn containers_go_on_when_their_worker_is_killed() {
    let (engine, mut lab) = lab(&[]).await;
    let mut worker = lab.start_program().await;
    let (run_id, name) = begun(&engine, &mut lab).await;
    worker.kill();
    engine.exit(&name, 3, false);
    let _next = lab.start_program().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    assert_eq!(lab.failure().await, "exit code 3");
    engine.until_gone(&name).await;
}

#[tokio::test]
async fn a_later_attempt_ends_what_an_earlier_one_has_left() {
    let (engine, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let run_id = lab.assign(job()).await;
    let earlier = engine.running(&run_id).await;
    lab.started().await;
    lab.end().await;
    let socket = format!("unix://{}", lab.dir.path().join("docker.sock").display());
    let options = ["--docker-host", &socket].map(str::to_owned);
    let other_dir = tempfile::tempdir().unwrap();
    let mut other = Lab::new(other_dir, "other", WorkPoolType::Docker, &options).await;
    other.start().await;
    other.assign_again(&run_id, 4, job()).await;
    engine.until_gone(&earlier).await;
    engine.exit(&engine.running(&run_id).await, 0, false);
    assert!(matches!(other.ended().await, Event::Completed(_)));
}

#[tokio::test]
async fn an_engine_that_is_away_for_a_while_costs_time_alone() {
    let (engine, mut lab) = lab(&[]).await;
    lab.start().await;
    let (_, name) = begun(&engine, &mut lab).await;
    engine.write(&name, 1, "one");
    assert_eq!(lab.line().await, "one");
    engine.break_streams();
    engine.write(&name, 1, "two");
    assert_eq!(lab.line().await, "two");
    engine.set_away(true);
    let note = lab.note().await;
    assert_eq!(note, "the engine does not tell of the job now: the engine is starting");
    engine.write(&name, 1, "while it was away");
    engine.exit(&name, 0, false);
    engine.set_away(false);
    assert_eq!(lab.line().await, "while it was away");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_as_it_says_it() {
    let (engine, mut lab) = lab(&[]).await;
    lab.start().await;
    engine.refuse_starts(400, "exec: \"load\": executable file not found in $PATH");
    lab.assign(job()).await;
    assert_eq!(lab.failure().await, "exec: \"load\": executable file not found in $PATH");
    engine.refuse_starts(500, "driver failed programming external connectivity");
    lab.assign(job()).await;
    assert_eq!(lab.crash().await, "driver failed programming external connectivity");
    lab.assign(command(&json!({}))).await;
    assert!(lab.failure().await.contains("--job-image"));
    // Nothing is left of what did not come to run.
    engine.until_called("DELETE containers", 2).await;
    assert!(engine.names().is_empty());
}

#[tokio::test]
async fn a_worker_without_an_engine_says_how_it_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/none.sock", dir.path().display());
    let options = ["--type", "docker", "--docker-host", &socket].map(str::to_owned);
    let error = Lab::new(dir, "host", WorkPoolType::Docker, &options).await.refused().await;
    assert!(error.contains("--docker-host") && error.contains("none.sock"), "{error}");
}
