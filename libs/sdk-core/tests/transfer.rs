//! Large values on their way through a server, or an object storage, that answers in the ways that those do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::{Event, Fake, PayloadCall, soon};
use tidegate_proto::v1::{
    self as proto, Assign, Function, Payload, PresignedRequest, ResumeRunResponse, RunKind,
};
use tidegate_sdk_core::{Attempts, Client, End, Error, Worker, WorkerOptions, new_run_id, payload};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const SIZE: usize = 100 << 10;

fn large() -> Payload {
    payload::json(vec![b'1'; SIZE])
}

fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(code, "no", ErrorDetails::with_error_info(reason, "tidegate", []))
}

/// Answers every request with a page, as what stands between a worker and its object storage may.
async fn proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::runtime::Handle::current().spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 2 * SIZE];
            let (mut n_read, mut n_wanted) = (0, usize::MAX);
            while n_read < n_wanted {
                n_read += connection.read(&mut request[n_read..]).await.unwrap();
                let head = String::from_utf8_lossy(&request[..n_read]).to_lowercase();
                if let Some((head, _)) = head.split_once("\r\n\r\n") {
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    n_wanted = head.len() + 4 + length.map_or(0, |length| length.parse().unwrap());
                }
            }
            let page = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\nplease wait";
            connection.write_all(page).await.unwrap();
        }
    });
    format!("http://{address}/object")
}

/// A worker whose only attempt has completed with a large result.
async fn completed(
    fake: &mut Fake,
) -> (Worker, Attempts, fake::Conn<proto::WorkRequest, proto::WorkResponse>) {
    let options = WorkerOptions {
        name: String::new(),
        queues: vec!["default".into()],
        functions: vec![Function { kind: RunKind::Task.into(), name: "count".into() }],
        work_pool: String::new(),
        labels: std::collections::BTreeMap::new(),
        task_slots: 1,
        flow_slots: 0,
        drain_grace: std::time::Duration::from_secs(5),
    };
    let (worker, mut attempts) = Worker::start(&fake.client(), options).unwrap();
    let conn = fake.worker().await;
    let kind = RunKind::Task.into();
    conn.assign(Assign { run_id: new_run_id(), epoch: 3, kind, name: "count".into(), ..Default::default() })
        .await;
    soon(attempts.next()).await.unwrap().finish(End::Completed(Some(large())));
    (worker, attempts, conn)
}

#[tokio::test]
async fn a_result_whose_upload_is_refused_is_uploaded_anew() {
    let mut fake = Fake::start().await;
    let (_worker, _attempts, mut conn) = completed(&mut fake).await;
    let mut ids = Vec::new();
    for (code, reason) in [
        (Code::Internal, "INTERNAL"),
        (Code::Unknown, ""),
        (Code::NotFound, "PAYLOAD_NOT_FOUND"),
        (Code::FailedPrecondition, "CHECKSUM_MISMATCH"),
        (Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        ids.push(fake.announced(None).await.object_id);
        let PayloadCall::Upload(_, _, answer) = fake.payload_call().await else { panic!() };
        answer.send(Err(refusal(code, reason))).unwrap();
    }
    let (reference, bytes) = fake.take_upload().await;
    assert_eq!(bytes.len(), SIZE);
    ids.push(reference.object_id.clone());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each under an id of its own");
    let reports = conn.reports().await;
    let Some(Event::Completed(end)) = &reports[0].event else { panic!("{reports:?}") };
    assert_eq!(end.result.as_ref().unwrap().reference.as_ref(), Some(&reference));
}

#[tokio::test]
async fn a_result_that_the_server_does_not_take_for_good_is_a_failure() {
    let mut fake = Fake::start().await;
    let (_worker, _attempts, mut conn) = completed(&mut fake).await;
    let PayloadCall::CreateUpload(_, answer) = fake.payload_call().await else { panic!() };
    answer.send(Err(Status::permission_denied("not you"))).unwrap();
    let reports = conn.reports().await;
    let Some(Event::Failed(failure)) = &reports[0].event else { panic!("{reports:?}") };
    assert!(!failure.non_retryable && failure.message.contains("not you"), "{failure:?}");
}

#[tokio::test]
async fn what_object_storage_did_not_keep_goes_through_the_api() {
    let mut fake = Fake::start().await;
    let (_worker, _attempts, mut conn) = completed(&mut fake).await;
    let request = PresignedRequest { method: "PUT".into(), url: proxy().await, ..Default::default() };
    let reference = fake.announced(Some(request)).await;
    let PayloadCall::CompleteUpload(_, answer) = fake.payload_call().await else { panic!() };
    answer.send(Err(refusal(Code::FailedPrecondition, "CHECKSUM_MISMATCH"))).unwrap();
    assert_eq!(fake.take_bytes(&reference).await.len(), SIZE);
    let reports = conn.reports().await;
    assert!(matches!(reports[0].event, Some(Event::Completed(_))), "{reports:?}");
}

/// Downloads a value of which the proxy gives a page and the api gives `from_api`.
async fn downloaded(from_api: Vec<u8>) -> Result<Payload, Error> {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let uploading = resume(&client);
    let (reference, bytes) = fake.take_upload().await;
    drop(uploading);
    let mut value = Payload { reference: Some(reference.clone()), ..Default::default() };
    let mut resolving = JoinSet::new();
    resolving.spawn(async move { client.resolve(&mut value).await.map(|()| value) });
    let PayloadCall::CreateDownload(_, answer) = fake.payload_call().await else { panic!() };
    let request = Some(PresignedRequest { method: "GET".into(), url: proxy().await, ..Default::default() });
    answer.send(Ok(proto::CreateDownloadResponse { reference: Some(reference), request })).unwrap();
    let PayloadCall::Download(_, answer) = fake.payload_call().await else { panic!() };
    assert_eq!(bytes.len(), SIZE);
    answer.send(Ok(from_api)).unwrap();
    soon(resolving.join_next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_object_storage_does_not_give_is_had_from_the_api() {
    assert_eq!(downloaded(vec![b'1'; SIZE]).await.unwrap().data.len(), SIZE);
    assert_eq!(downloaded(vec![b'2'; SIZE]).await.unwrap_err().reason(), "CHECKSUM_MISMATCH");
}

fn resume(client: &Client) -> JoinSet<Result<proto::Run, Error>> {
    let client = client.clone();
    JoinSet::from_iter([async move { client.resume_run(&new_run_id(), "", Some(large())).await }])
}

#[tokio::test]
async fn a_large_input_of_a_resume_is_uploaded() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let mut resuming = resume(&client);
    let (reference, _) = fake.take_upload().await;
    let (request, answer) = soon(fake.resumes.recv()).await.unwrap();
    let input = request.input.unwrap();
    assert_eq!((input.reference, input.data.len()), (Some(reference), 0));
    answer.send(Ok(ResumeRunResponse { run: None })).unwrap();
    let error = soon(resuming.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(error.message().contains("answered without a run"), "{error}");
}
