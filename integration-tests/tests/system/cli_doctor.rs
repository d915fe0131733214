//! `tidegate doctor`: what it finds where all is well, and where a part is away.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration_tests::{Database, Process, Suite, eventually, free_port, program};

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(60);

/// What was found of one thing.
fn finding<'a>(found: &'a Value, name: &str) -> Option<&'a Value> {
    found.as_array().unwrap().iter().find(|finding| finding["name"] == name)
}

#[tokio::test]
async fn the_doctor_tells_what_is_well_and_what_to_do() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let run = suite.client().task("add").queue("nobody").delay(&(1, 2)).await.unwrap();
    let ended = tidegate(at, &["doctor", "-o", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let status = |name| finding(&found, name).map(|finding| finding["status"].clone());
    for name in [
        "address",
        "server",
        "clock",
        "api > store",
        "api > task-queue",
        "task-queue > delivery",
        "api > scheduler",
        "schema",
        "task-queue",
        "log-ingest",
        "scheduler",
    ] {
        assert_eq!(status(name), Some("ok".into()), "{name}: {found}");
    }
    assert_eq!(status("workers"), Some("warning".into()), "{} waits for a worker: {found}", run.id());
    suite.stop().await;

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let ended = tidegate(&nowhere, &["doctor"]).await;
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("failed   address") && ended.stdout.contains("tidegate dev"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn the_doctor_names_the_part_that_is_away() {
    let mut suite = Suite::separate().await;
    let at = suite.address().to_owned();
    // What it finds, and what it finds of these: `ok`, `warning` or `failed`.
    let look = async |names: [&str; 4]| {
        let ended = tidegate(&at, &["doctor", "-o", "json"]).await;
        let found: Value = serde_json::from_str(&ended.stdout).unwrap();
        let status = names.map(|name| finding(&found, name).unwrap()["status"].as_str().unwrap().to_owned());
        (ended.code, status, found)
    };
    let names = ["api > store", "api > task-queue", "task-queue > delivery", "task-queue"];
    let (code, status, found) = look(names).await;
    assert_eq!((code, status), (Some(0), ["ok"; 4].map(str::to_owned)), "{found}");
    assert!(
        finding(&found, "api > store").unwrap()["message"].as_str().unwrap().contains("postgres"),
        "{found}"
    );

    suite.redis_mut().unwrap().process().kill().await;
    let (code, status, found) = look(names).await;
    assert_eq!((code, status), (Some(1), ["ok", "ok", "failed", "ok"].map(str::to_owned)), "{found}");
    let mend = finding(&found, "task-queue > delivery").unwrap()["mend"].as_str().unwrap();
    assert!(mend.contains("check that Redis runs"), "{found}");

    suite.kill("task-queue").await;
    let (code, status, found) = look(names).await;
    assert_eq!(
        (code, status),
        (Some(1), ["ok", "failed", "warning", "failed"].map(str::to_owned)),
        "{found}"
    );
}

#[tokio::test]
async fn the_doctor_finds_a_store_that_is_away_and_a_scheduler_that_is() {
    let database = Database::create().await;
    let mut suite = Suite::separate_on(database.url()).await;
    let at = suite.address().to_owned();
    let look = async || {
        let args = ["doctor", "-o", "json", "--address", &at];
        let ended = Process::start(&program("tidegate"), args, []).ended(DEADLINE).await;
        let found: Value = serde_json::from_str(&ended.stdout).unwrap();
        (ended.code, found)
    };
    let (code, found) = look().await;
    assert_eq!(
        (code, &finding(&found, "api > scheduler").unwrap()["status"]),
        (Some(0), &"ok".into()),
        "{found}"
    );

    suite.kill("scheduler").await;
    let (code, found) = look().await;
    let scheduler = finding(&found, "api > scheduler").unwrap();
    assert_eq!((code, &scheduler["status"]), (Some(1), &"failed".into()), "{found}");
    assert!(scheduler["mend"].as_str().unwrap().contains("start a scheduler"), "{found}");
    suite.restart("scheduler").await;

    database.shut().await;
    let (code, found) = look().await;
    let store = finding(&found, "api > store").unwrap();
    assert_eq!((code, &store["status"]), (Some(1), &"failed".into()), "{found}");
    assert!(store["mend"].as_str().unwrap().contains("check that postgres runs"), "{found}");
    // What it does not need the store for is as it was.
    for name in ["address", "api > task-queue", "task-queue > delivery"] {
        assert_eq!(finding(&found, name).unwrap()["status"], "ok", "{name}: {found}");
    }
    assert_eq!(finding(&found, "log-ingest").unwrap()["status"], "failed", "{found}");
    database.open().await;
    eventually("all is well again", DEADLINE, async || {
        let (code, found) = look().await;
        (code == Some(0) && finding(&found, "api > store").unwrap()["status"] == "ok").then_some(())
    })
    .await;
}
