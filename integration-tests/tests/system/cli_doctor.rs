//! `tidegate doctor`: what it finds where all is well, and where a part is away.

use serde_json::Value;
use tidegate_integration_tests::{Suite, free_port};

use crate::cli::tidegate;

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
