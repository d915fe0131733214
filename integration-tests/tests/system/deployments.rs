//! Deployments: flows that are started by name.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, eventually, within};
use tidegate_sdk::{
    gather,
    proto::{DeploymentSpec, StateType},
};

use crate::limits::Observer;

crate::on_both_forms!(
    a_run_has_what_the_version_of_its_deployment_says,
    a_parent_that_is_killed_starts_no_run_again,
    a_deployment_bounds_its_runs_whoever_executes_them,
);

const DEADLINE: Duration = Duration::from_secs(120);

fn spec(queue: &str, parameters: &str) -> DeploymentSpec {
    DeploymentSpec { queue: queue.into(), parameters: parameters.into(), ..Default::default() }
}

async fn a_run_has_what_the_version_of_its_deployment_says(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    let defaults = serde_json::json!({ "path": path, "name": "first" }).to_string();
    let deployed =
        client.core().create_deployment("jot/nightly", spec("deployed", &defaults), false).await.unwrap();
    assert!(deployed.1 && deployed.0.version == 1);
    let none = serde_json::json!({});
    let run = client.deployment("jot/nightly").delay(&none).await.unwrap();
    let changed = defaults.replace("first", "second");
    client.core().create_deployment("jot/nightly", spec("deployed", &changed), true).await.unwrap();

    // What was said is in the store: only that is left.
    suite.kill_everything_and_restart().await;
    let _worker = suite.worker("deployed");
    assert_eq!(within("the first", DEADLINE, run.result::<String>()).await.unwrap(), "first");
    let second = client.deployment("jot/nightly").delay(&none).await.unwrap();
    assert_eq!(within("the second", DEADLINE, second.result::<String>()).await.unwrap(), "second");
    let rolled_back = client.core().rollback_deployment("jot/nightly", 1).await.unwrap();
    assert_eq!(rolled_back.version, 3);
    let third = client.deployment("jot/nightly").delay(&none).await.unwrap();
    assert_eq!(within("the third", DEADLINE, third.result::<String>()).await.unwrap(), "first");
    for (handle, version) in [(&run, 1), (&second, 2), (&third, 3)] {
        let run = handle.get().await.unwrap();
        assert_eq!((run.deployment.as_str(), run.deployment_version), ("jot/nightly", version));
    }
    let error = client.deployment("jot/nightli").delay(&none).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("did you mean `jot/nightly`?"), "{error}");
}

async fn a_parent_that_is_killed_starts_no_run_again(suite: &Suite) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    let client = suite.client();
    client.core().create_deployment("jot/each", spec("each", ""), false).await.unwrap();
    let mut first = suite.worker("parents");
    let _children = suite.worker("each");
    let handle = client.flow("fan_out").queue("parents").delay(&path.to_str().unwrap()).await.unwrap();
    eventually("all were started", DEADLINE, async || lines().contains("whole").then_some(())).await;
    first.kill().await;
    let _second = suite.worker("parents");
    let names: Vec<String> = within("the results", DEADLINE, handle.result()).await.unwrap();
    assert!(names.iter().eq((0..200).map(|n| format!("n{n}")).collect::<Vec<_>>().iter()), "{names:?}");
    let counted = client.core().count_runs("deployment = jot/each").await.unwrap();
    assert_eq!(counted.count, 200, "not 400");
    let mut noted: Vec<_> = lines().lines().filter(|&line| line != "whole").map(str::to_owned).collect();
    noted.sort_unstable();
    noted.dedup();
    assert_eq!(
        (noted.len(), lines().lines().count()),
        (200, 202),
        "each was executed once, and the parent twice"
    );
}

async fn a_deployment_bounds_its_runs_whoever_executes_them(suite: &Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observer");
    let mut observer = Observer::at(&path);
    let bounded = DeploymentSpec { max_concurrent_runs: Some(2), ..spec("bounded", "") };
    client.core().create_deployment("occupied/narrow", bounded, false).await.unwrap();
    let _workers: Vec<Process> = (0..2).map(|_| suite.worker("bounded")).collect();
    let path = path.to_str().unwrap().to_owned();
    let runs = client.deployment("occupied/narrow").delay_many(&vec![path; 5]).await.unwrap();
    for n_left in (1..=5).rev() {
        observer.see(usize::min(n_left, 2)).await;
        observer.see_no_more().await;
        observer.end_one().await;
    }
    within("all ends", DEADLINE, gather::<()>(&runs)).await.unwrap();
    for run in &runs {
        suite.until_state(run, StateType::Completed).await;
    }
}
