//! What runs have to show: kept with them, versioned by key, and gone with them.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    Artifact,
    core::ArtifactName,
    proto::{ArtifactType, ListArtifactsRequest, NewArtifact},
};

use crate::cli::tidegate;

crate::on_both_forms!(
    artifacts_of_a_run_are_kept_until_it_goes,
    a_fan_out_shows_what_it_has_in_one_request,
    large_artifacts_survive_all_but_the_store,
);

const DEADLINE: Duration = Duration::from_secs(60);

async fn artifacts_of_a_run_are_kept_until_it_goes(suite: &mut Suite) {
    let client = suite.client();
    let runs = {
        let mut worker = suite.worker("show");
        let mut runs = Vec::new();
        for _ in 0..2 {
            let run = client.task("show").queue("show").delay("daily-report").await.unwrap();
            let id = within("the result", DEADLINE, run.result::<String>()).await.unwrap();
            eventually("the last progress arrives", DEADLINE, async || {
                let artifact = client.core().artifact(ArtifactName::Id(id.clone())).await.unwrap();
                (artifact.progress == Some(100.0) && artifact.description == "of the import").then_some(())
            })
            .await;
            runs.push(run);
        }
        worker.kill().await;
        runs
    };
    suite.kill_everything_and_restart().await;

    let latest = client.artifact("daily-report").await.unwrap();
    assert_eq!((latest.version, latest.run_id.as_str()), (2, runs[1].id()));
    assert_eq!((latest.r#type(), latest.labels["team"].as_str()), (ArtifactType::Table, "ml"));
    assert_eq!(&latest.data.unwrap().data[..], b"[[\"a\",1],[\"b\",2]]");
    let request = ListArtifactsRequest { run_id: runs[0].id().to_owned(), ..Default::default() };
    let of_first = client.core().artifacts(request.clone(), 10).await.unwrap();
    assert_eq!(of_first.len(), 2);
    let late = NewArtifact { epoch: 99, run_id: runs[0].id().to_owned(), ..any() };
    let refused = client.core().create_artifact(late).await.unwrap_err();
    assert_eq!(refused.reason(), "STALE_EPOCH");

    client.core().delete_run(runs[1].id()).await.unwrap();
    assert_eq!(client.artifact("daily-report").await.unwrap().version, 1, "the newest that is left");
    client.core().delete_run(runs[0].id()).await.unwrap();
    assert_eq!(client.core().artifacts(request, 10).await.unwrap(), []);
    assert!(client.artifact("daily-report").await.unwrap_err().is_not_found());
}

fn any() -> NewArtifact {
    NewArtifact { r#type: ArtifactType::Progress.into(), progress: Some(1.0), ..Default::default() }
}

async fn a_fan_out_shows_what_it_has_in_one_request(suite: &Suite) {
    let core = suite.client().core().clone();
    let new = |n: usize| NewArtifact {
        r#type: ArtifactType::Json.into(),
        key: format!("part-{}", n % 500),
        data: Some(tidegate_sdk::core::payload::json(n.to_string())),
        ..Default::default()
    };
    let outcomes = core.create_artifacts((0..1_500).map(new).collect()).await;
    assert_eq!(outcomes.len(), 1_500);
    let versions: Vec<u64> = outcomes.into_iter().map(|made| made.unwrap().version).collect();
    let expected: Vec<u64> = (0..1_500).map(|n| n / 500 + 1).collect();
    assert_eq!(versions, expected);
    let latest = ListArtifactsRequest { latest: true, ..Default::default() };
    let found = core.artifacts(latest, 10_000).await.unwrap();
    assert_eq!((found.len(), found.iter().all(|one| one.version == 3)), (500, true));
    let part = core.artifact(ArtifactName::Version("part-7".to_owned(), 2)).await.unwrap();
    assert_eq!(&part.data.unwrap().data[..], b"507");
}

async fn large_artifacts_survive_all_but_the_store(suite: &mut Suite) {
    let client = suite.client();
    let text = "0123456789abcdef".repeat(64 << 10);
    client.create_artifact(Artifact::markdown(&text).key("large")).await.unwrap();
    suite.kill_everything_and_restart().await;
    let data = client.artifact("large").await.unwrap().data.unwrap();
    assert!(data.data == serde_json::to_vec(&text).unwrap(), "it is not what was sent");
}

#[tokio::test]
async fn artifacts_are_listed_shown_and_deleted_by_command() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    let at = suite.address();
    for text in ["# First", "# Second\n\nand more"] {
        client.create_artifact(Artifact::markdown(text).key("report")).await.unwrap();
    }
    let link = client.create_artifact(Artifact::link("https://example.com", "here")).await.unwrap();
    let artifact = async |args: &[&str]| tidegate(at, &[&["artifact"], args].concat()).await;
    let json = async |args: &[&str]| -> Value {
        let ended = artifact(&[args, &["-o", "json"]].concat()).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    assert_eq!(artifact(&["ls"]).await.stdout.lines().count(), 4);
    assert_eq!(json(&["ls", "--type", "link"]).await[0]["id"], link.id.as_str());
    let latest = json(&["ls", "--latest"]).await;
    assert_eq!((latest.as_array().unwrap().len(), &latest[0]["version"]), (1, &2.into()));
    assert_eq!(json(&["get", "report"]).await["data"], "# Second\n\nand more");
    assert_eq!(json(&["get", "report", "--version", "1"]).await["data"], "# First");
    let shown = artifact(&["get", "report"]).await.stdout;
    assert!(shown.ends_with("\n\n# Second\n\nand more\n"), "{shown}");
    assert_eq!(json(&["get", &link.id]).await["data"]["link_text"], "here");
    assert_eq!(artifact(&["get", &link.id, "--version", "1"]).await.code, Some(2));
    assert_eq!(json(&["delete", &link.id]).await, serde_json::json!({ "deleted": link.id }));
    let missing = artifact(&["delete", &link.id]).await;
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert!(missing.stderr.contains(&link.id), "{}", missing.stderr);
    assert_eq!(artifact(&["delete", &link.id, "--allow-missing"]).await.code, Some(0));
    assert_eq!(artifact(&["get", "unknown"]).await.code, Some(3));
    suite.stop().await;
}
