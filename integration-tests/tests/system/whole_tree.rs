//! P5 [whole tree]: cancelling a run cancels its descendants, wherever they run, at once; and what else is done to whole
//! trees.

use std::time::Duration;

use tidegate_integration_tests::{Suite, eventually, within};
use tidegate_sdk::{
    RunHandle,
    core::payload,
    proto::{
        BulkAction, BulkOperation, BulkOperationState, NewRun, ParentPolicy, Policies, RunKind,
        StartBulkOperationRequest, StateType, new_run::Placement, start_bulk_operation_request::Target,
    },
};

crate::on_both_forms!(
    a_tree_ends_wherever_it_runs_but_for_what_is_detached,
    cancel_of_ten_thousand_is_finished_after_the_api_was_killed,
    a_run_that_waits_goes_on_with_what_it_is_given,
);

const DEADLINE: Duration = Duration::from_secs(60);

async fn a_tree_ends_wherever_it_runs_but_for_what_is_detached(suite: &Suite) {
    let client = suite.client();
    let _workers = [suite.worker("tree"), suite.worker("branch")];
    // The upper ones run on one worker, what is below on another, and leaves wait for nobody.
    let root = client.task("hold").queue("tree").delay(&()).await.unwrap();
    let branch = client.task("hold").queue("branch").parent(root.id()).delay(&()).await.unwrap();
    let leaves: Vec<(i64, i64)> = (0..50).map(|n| (n, n)).collect();
    let leaves = client.task("add").queue("nobody").parent(branch.id()).delay_many(&leaves).await.unwrap();
    let detached = NewRun {
        kind: RunKind::Task.into(),
        name: "add".to_owned(),
        placement: Some(Placement::Queue("nobody".to_owned())),
        parent_run_id: branch.id().to_owned(),
        policies: Some(Policies { parent: ParentPolicy::Detach.into(), ..Policies::default() }),
        ..NewRun::default()
    };
    let detached = client.core().create_runs(vec![detached]).await.remove(0).unwrap();
    for run in [&root, &branch] {
        suite.until_state(run, StateType::Running).await;
    }
    let cancelled = client.core().cancel_run(root.id(), "enough").await.unwrap();
    // The scheduler's sweep may have come to some of them first.
    assert!((1..=52).contains(&cancelled.n_cancelled), "{}", cancelled.n_cancelled);
    for run in leaves.iter().chain([&root, &branch]) {
        let error = within("the end", DEADLINE, run.result::<serde_json::Value>()).await.unwrap_err();
        assert!(error.is_run_cancelled(), "{error}");
    }
    let detached = client.handle(&detached.id).state().await.unwrap();
    assert_eq!(detached.r#type(), StateType::Scheduled);
}

async fn cancel_of_ten_thousand_is_finished_after_the_api_was_killed(suite: &mut Suite) {
    const N_CHILDREN: usize = 10_000;

    let client = suite.client();
    let root = client.task("hold").queue("nobody").delay(&()).await.unwrap();
    let parameters = vec![(1_i64, 1_i64); N_CHILDREN];
    let call = client.task("add").queue("nobody").parent(root.id());
    let children = within("the creates", DEADLINE, call.delay_many(&parameters)).await.unwrap();
    let request = StartBulkOperationRequest {
        action: BulkAction::Cancel.into(),
        target: Some(Target::TreeRunId(root.id().to_owned())),
        dry_run: true,
        ..StartBulkOperationRequest::default()
    };
    let counted = client.core().start_bulk_operation(request.clone()).await.unwrap();
    assert_eq!(counted.n_matched, N_CHILDREN as u64 + 1);
    let request = StartBulkOperationRequest { dry_run: false, ..request };
    let started = client.core().start_bulk_operation(request).await.unwrap();
    // It is killed after the first of many steps.
    eventually("the first step", DEADLINE, async || {
        (client.core().bulk_operation(&started.id).await.unwrap().n_done > 0).then_some(())
    })
    .await;
    let name = if suite.redis().is_some() { "api" } else { "dev" };
    suite.kill_and_restart(name).await;
    let ended = eventually("the end of the operation", DEADLINE, async || {
        let operation = client.core().bulk_operation(&started.id).await.ok()?;
        (operation.state() != BulkOperationState::Running).then_some(operation)
    })
    .await;
    let BulkOperation { n_done, ref skipped, .. } = ended;
    assert_eq!(ended.state(), BulkOperationState::Completed);
    assert_eq!((n_done, skipped.len()), (N_CHILDREN as u64 + 1, 0), "each is counted once");
    for run in children.iter().step_by(499).chain([&root]) {
        assert_eq!(run.state().await.unwrap().r#type(), StateType::Cancelled);
    }
}

async fn a_run_that_waits_goes_on_with_what_it_is_given(suite: &Suite) {
    let client = suite.client();
    let first = suite.worker("asks");
    let waiting = client.task("ask").queue("asks").delay(&false).await.unwrap();
    let suspended = client.task("ask").queue("asks").delay(&true).await.unwrap();
    for run in [&waiting, &suspended] {
        suite.until_state(run, StateType::Paused).await;
    }
    let resume = async |run: &RunHandle, name: &str| {
        let input = Some(payload::json(serde_json::to_string(name).unwrap()));
        client.core().resume_run(run.id(), "", input).await.unwrap();
    };
    resume(&waiting, "Ada").await;
    let answer = within("the answer", DEADLINE, waiting.result::<(u32, String)>()).await.unwrap();
    assert_eq!(answer, (1, "Ada".to_owned()), "it went on where it was");

    // Nobody holds the other one: it goes on at a worker that was not there when it paused.
    first.stop().await;
    let _second = suite.worker("asks");
    resume(&suspended, "Grace").await;
    let answer = within("the answer", DEADLINE, suspended.result::<(u32, String)>()).await.unwrap();
    assert_eq!(answer, (2, "Grace".to_owned()));
}
