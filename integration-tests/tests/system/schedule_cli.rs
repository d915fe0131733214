//! `tidegate schedule`: what people do with schedules that a file has made.

use serde_json::Value;
use tidegate_integration_tests::{Ended, Suite};

use crate::cli::tidegate;

/// Once a year, so that nothing fires meanwhile.
const FILE: &str = r#"
[[deployment]]
flow = "add"
name = "yearly"
entrypoint = "flows.py:add"

[[deployment.schedule]]
cron = "0 3 1 1 *"
time_zone = "Europe/Berlin"
"#;

/// A server with the schedule.
async fn suite() -> Suite {
    let suite = Suite::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidegate.toml"), FILE).unwrap();
    let deployed = tidegate(suite.address(), &["deploy", folder.path().to_str().unwrap()]).await;
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    suite
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[tokio::test]
async fn schedules_are_shown_paused_resumed_and_deleted() {
    let suite = suite().await;
    let schedule = async |args: &[&str]| tidegate(suite.address(), &[&["schedule"], args].concat()).await;
    let listed = schedule(&["ls"]).await;
    assert!(listed.stdout.contains("add/yearly"), "{}", listed.stdout);
    assert!(
        listed.stdout.contains("0 3 1 1 *") && listed.stdout.contains("Europe/Berlin"),
        "{}",
        listed.stdout
    );
    let paused = json(&schedule(&["pause", "add/yearly", "--reason", "holidays", "-o", "json"]).await);
    assert_eq!(paused["pause"]["reason"], "holidays");
    assert!(paused["next_fire_at"].is_null(), "{paused}");
    let resumed = json(&schedule(&["resume", "add/yearly", "-o", "json"]).await);
    assert!(resumed["pause"].is_null() && resumed["next_fire_at"].is_string(), "{resumed}");
    let unknown = schedule(&["get", "add/yearly", "nightly"]).await;
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.stderr.contains("nightly"), "{}", unknown.stderr);
    assert_eq!(schedule(&["delete", "add/yearly"]).await.code, Some(0));
    assert_eq!(schedule(&["delete", "add/yearly"]).await.code, Some(3));
    assert_eq!(json(&schedule(&["ls", "-o", "json"]).await), Value::Array(vec![]));
}

#[tokio::test]
async fn times_are_told_and_past_ones_made_once() {
    let suite = suite().await;
    let schedule = async |args: &[&str]| tidegate(suite.address(), &[&["schedule"], args].concat()).await;
    let preview = ["preview", "add/yearly", "--count", "2", "--after", "2026-06-01T00:00:00Z", "-o", "json"];
    let times = json(&schedule(&preview).await);
    assert_eq!(times[0]["fire_at"], "2027-01-01T02:00:00.000000Z");
    assert_eq!(times[1]["fire_at"], "2028-01-01T02:00:00.000000Z");
    let range = ["backfill", "add/yearly", "--from", "2020-06-01T00:00:00Z", "--to", "2025-06-01T00:00:00Z"];
    let backfill = async |more: &[&str]| schedule(&[&range, more].concat()).await;
    let dry = json(&backfill(&["--dry-run", "-o", "json"]).await);
    assert_eq!((&dry["count"], &dry["created_count"]), (&5.into(), &5.into()), "{dry}");
    let nobody = backfill(&[]).await;
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.stderr.contains("would make 5 runs"), "{}", nobody.stderr);
    let made = backfill(&["--yes"]).await;
    assert!(made.stdout.contains("5 times, of which 5 runs were made"), "{}{}", made.stdout, made.stderr);
    let again = json(&backfill(&["--yes", "-o", "json"]).await);
    assert_eq!((&again["count"], &again["created_count"]), (&5.into(), &0.into()), "{again}");
    let runs = tidegate(suite.address(), &["run", "count", "--filter", "schedule = default"]).await;
    assert!(runs.stdout.contains('5'), "{}", runs.stdout);
    let wrong = schedule(&["preview", "add/yearly", "--after", "tomorrow"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("RFC 3339"), "{}", wrong.stderr);
}

#[tokio::test]
async fn schedules_are_made_and_changed_field_by_field() {
    let suite = suite().await;
    let schedule = async |args: &[&str]| tidegate(suite.address(), &[&["schedule"], args].concat()).await;
    let create = ["create", "add/yearly", "weekly", "--rrule", "FREQ=WEEKLY;BYDAY=MO;BYHOUR=7", "-p", "n=1"];
    let zone = ["--time-zone", "America/New_York", "--start-at", "2026-06-01T00:00:00Z"];
    let dry = schedule(&[&create[..], &zone, &["--dry-run", "-o", "name"]].concat()).await;
    assert_eq!((dry.code, dry.stdout.lines().count()), (Some(0), 10), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(schedule(&["get", "add/yearly", "weekly"]).await.code, Some(3), "a dry run makes nothing");

    let made = json(&schedule(&[&create[..], &zone, &["--paused", "-o", "json"]].concat()).await);
    assert_eq!(made["spec"]["time_zone"], "America/New_York", "{made}");
    assert_eq!(made["spec"]["parameters"], serde_json::json!({"n": 1}), "{made}");
    assert!(made["pause"].is_object(), "{made}");
    let again = schedule(&[&create[..], &zone].concat()).await;
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("weekly"), "{}", again.stderr);
    let over = ["create", "add/yearly", "weekly", "--interval", "2h", "--update-if-exists", "-o", "json"];
    let replaced = json(&schedule(&over).await);
    assert_eq!(replaced["spec"], serde_json::json!({"interval": "7200s"}), "{replaced}");
    assert!(replaced["pause"].is_object(), "what pauses it stays: {replaced}");

    let etag = replaced["etag"].as_str().unwrap();
    let update = async |args: &[&str]| schedule(&[&["update", "add/yearly", "weekly"], args].concat()).await;
    let changed = json(&update(&["--jitter", "5m", "--overlap", "skip", "--etag", etag, "-o", "json"]).await);
    let expected = serde_json::json!({"interval": "7200s", "jitter": "300s", "overlap": "skip"});
    assert_eq!(changed["spec"], expected, "{changed}");
    let stale = update(&["--jitter", "6m", "--etag", etag]).await;
    assert_eq!(stale.code, Some(1), "{}", stale.stderr);
    let changed = json(&update(&["--cron", "@daily", "--unset", "jitter", "-o", "json"]).await);
    assert_eq!(changed["spec"], serde_json::json!({"cron": "@daily", "overlap": "skip"}), "{changed}");

    for (args, told) in [
        (&["--cron", "0 25 * * *"][..], "cron"),
        (&["--time-zone", "Europe/Atlantis"], "Europe/Atlantis"),
        (&["--end-at", "2026-01-01T00:00:00Z", "--start-at", "2026-06-01T00:00:00Z"], "end_at"),
        (&["--jitter", "5m", "--unset", "jitter"], "set and unset at once"),
        (&[], "names nothing that changes"),
    ] {
        let refused = update(args).await;
        assert_eq!(refused.code, Some(2), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{args:?}: {}", refused.stderr);
    }
    let unknown = schedule(&["create", "add/monthly", "--cron", "@monthly"]).await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    let timeless = schedule(&["create", "add/yearly", "never"]).await;
    assert_eq!(timeless.code, Some(2), "{}", timeless.stderr);
    assert!(timeless.stderr.contains("--cron"), "{}", timeless.stderr);
    suite.stop().await;
}
