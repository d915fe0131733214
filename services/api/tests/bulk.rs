//! What is done to many runs, as a client sees it.

mod common;

use std::time::Duration;

use common::{Api, fields, reason, task};
use tidegate_model::{BulkOperationId, RunId};
use tidegate_proto::v1::{self, bulk_operation, start_bulk_operation_request::Target};
use tonic::{Code, Response, Status};

fn request(action: v1::BulkAction, filter: &str) -> v1::StartBulkOperationRequest {
    v1::StartBulkOperationRequest {
        action: action.into(),
        target: Some(Target::Filter(filter.to_owned())),
        ..Default::default()
    }
}

async fn start(api: &Api, request: v1::StartBulkOperationRequest) -> Result<v1::BulkOperation, Status> {
    let response = api.bulk.clone().start_bulk_operation(request).await.map(Response::into_inner)?;
    Ok(response.operation.expect("is told"))
}

async fn ended(api: &Api, id: &str) -> v1::BulkOperation {
    // Nothing tells of its end.
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        loop {
            looks.tick().await;
            let request = v1::GetBulkOperationRequest { operation_id: id.to_owned(), ..Default::default() };
            let response = api.bulk.clone().get_bulk_operation(request).await.expect("is there").into_inner();
            let operation = response.operation.expect("is told");
            if operation.state() != v1::BulkOperationState::Running {
                return operation;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("ends in time")
}

#[tokio::test]
async fn an_operation_is_counted_started_once_followed_and_listed() {
    let api = Api::start().await;
    let mut new = task();
    new.tags = vec!["nightly".to_owned()];
    let runs = [api.created(new.clone()).await, api.created(new).await, api.created(task()).await];
    let pause = v1::StartBulkOperationRequest {
        pause_timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        reason: "later".to_owned(),
        request_id: BulkOperationId::new().to_string(),
        ..request(v1::BulkAction::Pause, "tags:nightly")
    };
    let counted = start(&api, v1::StartBulkOperationRequest { dry_run: true, ..pause.clone() }).await;
    let counted = counted.expect("counts");
    assert_eq!((counted.id.as_str(), counted.n_matched), ("", 2));
    let started = start(&api, pause.clone()).await.expect("starts");
    assert_eq!((&started.id, started.n_matched), (&pause.request_id, 2));
    let ended = ended(&api, &started.id).await;
    assert_eq!((ended.state(), ended.n_done), (v1::BulkOperationState::Completed, 2));
    assert_eq!(ended.target, Some(bulk_operation::Target::Filter("tags:nightly".to_owned())));
    assert_eq!(start(&api, pause).await.expect("is known"), ended, "the same again starts nothing");
    for (run, expected) in runs.iter().zip(["Paused", "Paused", "Scheduled"]) {
        let request = v1::GetRunRequest { run_id: run.id.clone(), ..Default::default() };
        let run = api.runs.clone().get_run(request).await.expect("is there").into_inner().run;
        assert_eq!(run.and_then(|run| run.state).expect("has one").name, expected);
    }

    let tree = v1::StartBulkOperationRequest {
        target: Some(Target::TreeRunId(runs[2].id.clone())),
        ..request(v1::BulkAction::Delete, "")
    };
    let second = start(&api, tree).await.expect("starts");
    assert_eq!(second.n_matched, 0, "it has not ended");
    let list = v1::ListBulkOperationsRequest { page_size: 1, ..Default::default() };
    let first = api.bulk.clone().list_bulk_operations(list.clone()).await.expect("lists").into_inner();
    let next = v1::ListBulkOperationsRequest { page_token: first.next_page_token.clone(), ..list };
    let next = api.bulk.clone().list_bulk_operations(next).await.expect("lists").into_inner();
    assert_eq!((&first.operations[0].id, &next.operations[0].id), (&second.id, &ended.id));
    let stop = v1::CancelBulkOperationRequest { operation_id: ended.id.clone(), ..Default::default() };
    let stopped = api.bulk.clone().cancel_bulk_operation(stop).await.expect("is over").into_inner();
    assert_eq!(stopped.operation, Some(ended));
}

#[tokio::test]
async fn an_operation_on_more_or_fewer_runs_than_expected_is_not_started() {
    let api = Api::start().await;
    for _ in 0..2 {
        api.created(task()).await;
    }
    let cancel = v1::StartBulkOperationRequest {
        request_id: BulkOperationId::new().to_string(),
        ..request(v1::BulkAction::Cancel, "state = SCHEDULED")
    };
    let expecting = |expected_count, dry_run| v1::StartBulkOperationRequest {
        expected_count: Some(expected_count),
        dry_run,
        ..cancel.clone()
    };
    for (expected_count, dry_run) in [(1, false), (3, false), (0, false), (3, true)] {
        let case = format!("{expected_count} with dry_run {dry_run}");
        let refused = start(&api, expecting(expected_count, dry_run)).await.expect_err(&case);
        let told = (refused.code(), reason(&refused));
        assert_eq!(told, (Code::FailedPrecondition, "BULK_COUNT_MISMATCH".to_owned()), "{case}");
        let counts = format!("2 runs and not {expected_count}");
        assert!(refused.message().contains(&counts), "{case}: {}", refused.message());
    }
    assert_eq!(start(&api, expecting(2, true)).await.expect("counts").n_matched, 2);
    let started = start(&api, expecting(2, false)).await.expect("starts");
    assert_eq!(ended(&api, &started.id).await.n_done, 2, "nothing was done before");
    let known = start(&api, expecting(2, false)).await.expect("is known, though none matches any more");
    assert_eq!(known.id, started.id);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_started() {
    let api = Api::start().await;
    let wrong = v1::StartBulkOperationRequest {
        request_id: "7".to_owned(),
        reason: "r".repeat(2_000),
        pause_timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..request(v1::BulkAction::Unspecified, " ")
    };
    let refused = start(&api, wrong).await.expect_err("is refused");
    let expected = ["request_id", "action", "filter", "reason", "pause_timeout"];
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, expected.map(str::to_owned).to_vec())
    );
    let wrong = start(&api, request(v1::BulkAction::Cancel, "name = ")).await.expect_err("is refused");
    assert_eq!(fields(&wrong), ["filter"]);
    let tree = v1::StartBulkOperationRequest {
        target: Some(Target::TreeRunId(RunId::new().to_string())),
        ..request(v1::BulkAction::Cancel, "")
    };
    let unknown = start(&api, tree).await.expect_err("is refused");
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
    let get = v1::GetBulkOperationRequest {
        operation_id: BulkOperationId::new().to_string(),
        ..Default::default()
    };
    let unknown = api.bulk.clone().get_bulk_operation(get).await.expect_err("is refused");
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "BULK_OPERATION_NOT_FOUND"));
    let list = v1::ListBulkOperationsRequest { page_token: "x".to_owned(), ..Default::default() };
    let list = api.bulk.clone().list_bulk_operations(list).await.expect_err("is refused");
    assert_eq!(fields(&list), ["page_token"]);
}
