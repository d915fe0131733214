//! Workers over gRPC, as far as the api alone can say something of them.

mod common;

use common::{Api, fields, reason};
use tidegate_proto::v1;
use tonic::Code;

#[tokio::test]
async fn workers_are_unknown_while_task_queue_does_not_answer() {
    let api = Api::start().await;
    let mut workers = api.work_pools.clone();
    let listed = workers.list_workers(v1::ListWorkersRequest::default()).await;
    let drained =
        workers.drain_worker(v1::DrainWorkerRequest { worker_id: "w".into(), ..Default::default() }).await;
    for status in [listed.expect_err("is not known"), drained.expect_err("is not known")] {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status), "DEPENDENCY_UNAVAILABLE");
        assert!(status.message().contains("task-queue does not answer"), "{status:?}");
    }
}

#[tokio::test]
async fn what_is_asked_of_workers_is_checked() {
    let api = Api::start().await;
    let mut workers = api.work_pools.clone();
    let cases = [
        (v1::ListWorkersRequest { namespace: "no spaces".into(), ..Default::default() }, "namespace"),
        (v1::ListWorkersRequest { work_pool: "no spaces".into(), ..Default::default() }, "work_pool"),
        (v1::ListWorkersRequest { page_size: -1, ..Default::default() }, "page_size"),
        (v1::ListWorkersRequest { page_token: "\n".into(), ..Default::default() }, "page_token"),
    ];
    for (request, field) in cases {
        let status = workers.list_workers(request).await.expect_err("is wrong");
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let wrong =
        v1::DrainWorkerRequest { worker_id: "w".into(), request_id: "again".into(), ..Default::default() };
    let status = workers.drain_worker(wrong).await.expect_err("is no id");
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    let status = workers.drain_worker(v1::DrainWorkerRequest::default()).await.expect_err("names nobody");
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["worker_id".to_owned()]));
}
