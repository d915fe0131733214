//! Large values over the wire: uploads, downloads, and what a run may refer to.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Api, fields, payload, reason, report, silent_storage, task};
use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidegate_proto::{internal::claim_outcome::Outcome, v1};
use tidegate_service_kit::config;
use tidegate_store_sqlite::SqliteStore;
use tonic::{Code, Status};

const MIB: usize = 1 << 20;

fn bytes(n: usize) -> Bytes {
    (0..n).map(|at| (at % 251) as u8).collect()
}

fn announcement(data: &[u8]) -> v1::CreateUploadRequest {
    v1::CreateUploadRequest {
        size_bytes: data.len() as u64,
        sha256: Sha256::digest(data).to_vec().into(),
        ..Default::default()
    }
}

/// The messages of an upload.
fn messages(namespace: &str, object_id: &str, chunks: Vec<Bytes>) -> Vec<v1::UploadPayloadRequest> {
    use v1::upload_payload_request::Message;
    let start = v1::UploadStart { namespace: namespace.to_owned(), object_id: object_id.to_owned() };
    let chunks = chunks.into_iter().map(Message::Chunk);
    let all = [Message::Start(start)].into_iter().chain(chunks);
    all.map(|message| v1::UploadPayloadRequest { message: Some(message) }).collect()
}

async fn send(api: &Api, messages: Vec<v1::UploadPayloadRequest>) -> Result<v1::PayloadReference, Status> {
    let response = api.payloads.clone().upload_payload(tokio_stream::iter(messages)).await?;
    Ok(response.into_inner().reference.expect("is told"))
}

async fn announce(api: &Api, request: v1::CreateUploadRequest) -> Result<v1::PayloadReference, Status> {
    let response = api.payloads.clone().create_upload(request).await?.into_inner();
    assert_eq!(response.request, None, "memory grants no requests");
    Ok(response.reference.expect("is told"))
}

async fn upload(api: &Api, namespace: &str, data: &Bytes) -> v1::PayloadReference {
    let request = v1::CreateUploadRequest { namespace: namespace.to_owned(), ..announcement(data) };
    let announced = announce(api, request).await.expect("is announced");
    let chunks = data.chunks(MIB).map(|chunk| data.slice_ref(chunk)).collect();
    let reference = send(api, messages(namespace, &announced.object_id, chunks)).await.expect("is taken");
    assert_eq!(reference, announced);
    reference
}

async fn download(api: &Api, namespace: &str, object_id: &str) -> Result<Vec<u8>, Status> {
    let (namespace, object_id) = (namespace.to_owned(), object_id.to_owned());
    let request = v1::DownloadPayloadRequest { namespace, object_id };
    let mut chunks = api.payloads.clone().download_payload(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(message) = chunks.message().await? {
        all.extend_from_slice(&message.chunk);
    }
    Ok(all)
}

/// A payload whose value is in an object.
fn referring(reference: &v1::PayloadReference) -> Option<v1::Payload> {
    Some(v1::Payload { reference: Some(reference.clone()), ..payload(b"") })
}

#[tokio::test]
async fn a_run_carries_its_large_values_by_reference() {
    let api = Api::start().await;
    let (parameters, result) = (bytes(5 * MIB), bytes(5 * MIB + 1));
    let reference = upload(&api, "", &parameters).await;
    let run = api.created(v1::NewRun { parameters: referring(&reference), ..task() }).await;
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is not granted") };
    assert_eq!(assign.parameters, referring(&reference), "the worker resolves it");
    assert_eq!(download(&api, "", &reference.object_id).await.expect("is there"), parameters);

    let started = v1::report::Event::Started(v1::report::Started {});
    assert!(api.report(report(&run.id, assign.epoch, started)).await.accepted);
    let returned = upload(&api, "", &result).await;
    let completed = v1::report::Completed { result: referring(&returned), ..Default::default() };
    let completed = v1::report::Event::Completed(completed);
    for _ in 0..2 {
        assert!(
            api.report(report(&run.id, assign.epoch, completed.clone())).await.accepted,
            "repeats are too"
        );
    }
    let request = v1::GetRunRequest { run_id: run.id, ..Default::default() };
    let full = api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    assert_eq!((full.parameters, full.result), (referring(&reference), referring(&returned)));
    assert_eq!(download(&api, "", &returned.object_id).await.expect("is there"), result);
}

#[tokio::test]
async fn a_value_in_a_message_is_put_into_an_object_by_the_server() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    let inline = usize::try_from(limits.max_inline_payload_size_bytes).expect("fits");
    let most = usize::try_from(limits.max_message_payload_size_bytes).expect("fits");
    let read = async |run_id: &str| {
        let request = v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() };
        let response = api.runs.clone().get_run(request).await.expect("is there").into_inner();
        response.run.expect("is told").parameters.expect("has some")
    };
    let with = |n| v1::NewRun { parameters: Some(v1::Payload { data: bytes(n), ..payload(b"") }), ..task() };
    let small = api.created(with(inline)).await;
    assert_eq!(read(&small.id).await, v1::Payload { data: bytes(inline), ..payload(b"") });
    for n in [inline + 1, most] {
        let run = api.created(with(n)).await;
        let kept = read(&run.id).await;
        assert_eq!((kept.data.len(), &kept.metadata), (0, &payload(b"").metadata));
        let reference = kept.reference.expect("refers to an object");
        assert_eq!(reference.size_bytes, n as u64);
        assert_eq!(download(&api, "", &reference.object_id).await.expect("is there"), bytes(n));
    }
    // A result too, in a batch with what needs no object.
    let run = api.created(task()).await;
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is not granted") };
    let started = v1::report::Event::Started(v1::report::Started {});
    assert!(api.report(report(&run.id, assign.epoch, started)).await.accepted);
    let result = Some(v1::Payload { data: bytes(most), ..payload(b"") });
    let completed = v1::report::Event::Completed(v1::report::Completed { result, ..Default::default() });
    assert!(api.report(report(&run.id, assign.epoch, completed)).await.accepted);
    let request = v1::GetRunRequest { run_id: run.id, ..Default::default() };
    let full = api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    let reference = full.result.expect("has one").reference.expect("refers to an object");
    assert_eq!(download(&api, "", &reference.object_id).await.expect("is there"), bytes(most));
}

#[tokio::test]
async fn equal_parameters_are_equal_wherever_they_are_kept() {
    let api = Api::start().await;
    let data = bytes(MIB);
    let call = |parameters| v1::NewRun { parameters, idempotency_key: "order-7".to_owned(), ..task() };
    let in_message = Some(v1::Payload { data: data.clone(), ..payload(b"") });
    let first = api.created(call(in_message.clone())).await;
    let reference = upload(&api, "", &data).await;
    for parameters in [referring(&reference), in_message] {
        let again = api.create(call(parameters)).await.expect("is the same");
        assert_eq!((again.run.expect("is told").id, again.created), (first.id.clone(), false));
    }
    let other = upload(&api, "", &bytes(MIB - 1)).await;
    let refused = api.create(call(referring(&other))).await.expect_err("has other parameters");
    assert_eq!(reason(&refused), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_run_refers_to_finished_uploads_of_its_namespace_alone() {
    let api = Api::start().await;
    let data = bytes(100_000);
    let own = upload(&api, "", &data).await;
    let foreign = upload(&api, "elsewhere", &data).await;
    let unfinished = announce(&api, announcement(&data)).await.expect("is announced");
    let invented = v1::PayloadReference { object_id: uuid(), ..own.clone() };
    let (longer, another) = (
        v1::PayloadReference { size_bytes: own.size_bytes + 1, ..own.clone() },
        v1::PayloadReference { sha256: vec![7; 32].into(), ..own.clone() },
    );
    let cases = [
        (&foreign, Code::NotFound, "PAYLOAD_NOT_FOUND"),
        (&unfinished, Code::NotFound, "PAYLOAD_NOT_FOUND"),
        (&invented, Code::NotFound, "PAYLOAD_NOT_FOUND"),
        (&longer, Code::FailedPrecondition, "CHECKSUM_MISMATCH"),
        (&another, Code::FailedPrecondition, "CHECKSUM_MISMATCH"),
    ];
    let run = api.created(task()).await;
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is not granted") };
    let started = v1::report::Event::Started(v1::report::Started {});
    assert!(api.report(report(&run.id, assign.epoch, started)).await.accepted);
    for (reference, code, name) in cases {
        let refused = api
            .create(v1::NewRun { parameters: referring(reference), ..task() })
            .await
            .expect_err("refers to what it must not");
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, name), "{reference:?}");
        let completed = v1::report::Completed { result: referring(reference), ..Default::default() };
        let outcome =
            api.report(report(&run.id, assign.epoch, v1::report::Event::Completed(completed))).await;
        assert_eq!((outcome.accepted, outcome.reason.as_str()), (false, name), "{reference:?}");
    }
    let stale = v1::report::Completed { result: referring(&invented), ..Default::default() };
    let outcome = api.report(report(&run.id, assign.epoch - 1, v1::report::Event::Completed(stale))).await;
    assert_eq!(outcome.reason, "STALE_EPOCH", "that the run is another's comes first");
    let completed = v1::report::Completed { result: referring(&own), ..Default::default() };
    assert!(
        api.report(report(&run.id, assign.epoch, v1::report::Event::Completed(completed))).await.accepted
    );
}

#[tokio::test]
async fn wrong_references_name_their_field() {
    let api = Api::start().await;
    let own = upload(&api, "", &bytes(10)).await;
    let escape = v1::PayloadReference { object_id: "../../etc/passwd".to_owned(), ..own.clone() };
    let short = v1::PayloadReference { sha256: vec![1; 31].into(), ..own.clone() };
    let both = v1::Payload { data: "1".into(), ..referring(&own).expect("is one") };
    let cases = [
        (referring(&escape), "run.parameters.reference.object_id"),
        (referring(&short), "run.parameters.reference.sha256"),
        (Some(both), "run.parameters"),
    ];
    for (parameters, field) in cases {
        let refused = api.create(v1::NewRun { parameters, ..task() }).await.expect_err("is refused");
        assert_eq!(fields(&refused), [field], "{refused:?}");
    }
}

#[tokio::test]
async fn another_namespace_reads_and_writes_nothing() {
    let api = Api::start().await;
    let own = upload(&api, "", &bytes(10)).await;
    let (namespace, object_id) = ("elsewhere".to_owned(), own.object_id.clone());
    let name = || (namespace.clone(), object_id.clone());
    let refused = [
        download(&api, &namespace, &object_id).await.expect_err("is refused"),
        send(&api, messages(&namespace, &object_id, vec![bytes(10)])).await.expect_err("is refused"),
        {
            let (namespace, object_id) = name();
            let request = v1::CreateDownloadRequest { namespace, object_id };
            api.payloads.clone().create_download(request).await.expect_err("is refused")
        },
        {
            let (namespace, object_id) = name();
            let request = v1::CompleteUploadRequest { namespace, object_id };
            api.payloads.clone().complete_upload(request).await.expect_err("is refused")
        },
    ];
    for status in refused {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "PAYLOAD_NOT_FOUND"));
    }
}

#[tokio::test]
async fn an_upload_is_held_to_its_word_and_its_bounds() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    for (request, field) in [
        (v1::CreateUploadRequest { size_bytes: 0, ..announcement(b"x") }, "size_bytes"),
        (
            v1::CreateUploadRequest { size_bytes: limits.max_payload_size_bytes + 1, ..announcement(b"x") },
            "size_bytes",
        ),
        (v1::CreateUploadRequest { sha256: Bytes::new(), ..announcement(b"x") }, "sha256"),
        (v1::CreateUploadRequest { request_id: "../x".to_owned(), ..announcement(b"x") }, "request_id"),
    ] {
        let refused = announce(&api, request).await.expect_err("is refused");
        assert_eq!(fields(&refused), [field], "{refused:?}");
    }
    assert_eq!(limits.max_payload_size_bytes, 256 << 20);

    let data = bytes(3 * MIB);
    let request = v1::CreateUploadRequest { request_id: uuid(), ..announcement(&data) };
    let announced = announce(&api, request.clone()).await.expect("is announced");
    assert_eq!(announced.object_id, request.request_id);
    assert_eq!(announce(&api, request.clone()).await.expect("a repeat is too"), announced);
    let other = v1::CreateUploadRequest { request_id: request.request_id, ..announcement(b"other") };
    assert_eq!(reason(&announce(&api, other).await.expect_err("is used")), "IDEMPOTENCY_KEY_REUSED");

    let id = &announced.object_id;
    let chunk = usize::try_from(limits.max_payload_chunk_size_bytes).expect("fits");
    let too_large = send(&api, messages("", id, vec![data.slice(..=chunk)])).await.expect_err("is refused");
    assert_eq!(fields(&too_large), ["chunk"]);
    let headless = messages("", id, vec![data.slice(..chunk)]).split_off(1);
    assert_eq!(fields(&send(&api, headless).await.expect_err("is refused")), ["start"]);
    for chunks in [vec![data.slice(..chunk)], vec![data.slice(..chunk); 3], vec![data.slice(..chunk); 4]] {
        let refused = send(&api, messages("", id, chunks)).await.expect_err("is refused");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "CHECKSUM_MISMATCH")
        );
        assert_eq!(reason(&download(&api, "", id).await.expect_err("is not there")), "PAYLOAD_NOT_FOUND");
    }
    let chunks: Vec<_> = data.chunks(chunk).map(|chunk| data.slice_ref(chunk)).collect();
    send(&api, messages("", id, chunks)).await.expect("is taken");
    assert_eq!(download(&api, "", id).await.expect("is there"), data);
}

#[tokio::test]
async fn an_upload_that_falls_silent_may_be_repeated() {
    use tokio_stream::StreamExt as _;

    let api = Api::start().await;
    let data = bytes(32 * MIB);
    let id = announce(&api, announcement(&data)).await.expect("is announced").object_id;
    let chunks = data.chunks(MIB).take(20).map(|chunk| data.slice_ref(chunk)).collect();
    let (sent, all_sent) = tokio::sync::oneshot::channel::<()>();
    let mut sent = Some(sent);
    // What the service has not read is held up by the connection, so that it reads when the last one is asked for.
    let messages = tokio_stream::iter(messages("", &id, chunks)).chain(silence(move || drop(sent.take())));
    let mut client = api.payloads.clone();
    let (refused, ()) = tokio::join!(client.upload_payload(messages), async {
        let _ = all_sent.await; // dropped
        tokio::time::pause(); // time goes on when nothing else does
    });
    let refused = refused.expect_err("is not waited for");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::DeadlineExceeded, "UPLOAD_TOO_SLOW"));
}

/// A stream that never goes on, and tells when it is first asked to.
fn silence<T>(
    mut asked: impl FnMut() + Send + 'static,
) -> impl tokio_stream::Stream<Item = T> + Send + Unpin {
    Box::pin(futures::stream::poll_fn(move |_| {
        asked();
        std::task::Poll::Pending
    }))
}

#[tokio::test]
async fn an_upload_that_has_not_begun_does_not_hold_up_a_stop() {
    let api = Api::start().await;
    let mut client = api.payloads.clone();
    let call = client.upload_payload(tokio_stream::pending());
    let stop = async {
        // Comes after the upload on the same connection.
        api.system.clone().get_version(v1::GetVersionRequest {}).await.expect("answers");
        api.stop();
    };
    let both = async { tokio::join!(call, stop) };
    let (refused, ()) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("is answered in time");
    assert_eq!(refused.expect_err("is refused").code(), Code::Unavailable);
}

#[tokio::test]
async fn object_storage_that_does_not_answer_holds_up_nobody_for_long() {
    let store = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let (_silent, storage) = silent_storage();
    let api = Api::with(store, storage, config::defaults()).await;
    let run = api.created(task()).await;
    let Outcome::Assign(assign) = api.claim(&run).await else { panic!("is not granted") };
    let started = v1::report::Event::Started(v1::report::Started {});
    assert!(api.report(report(&run.id, assign.epoch, started)).await.accepted);
    let result = Some(v1::Payload { data: bytes(MIB), ..payload(b"") });
    let completed = v1::report::Event::Completed(v1::report::Completed { result, ..Default::default() });
    let reported = api.report(report(&run.id, assign.epoch, completed));
    // As long as task-queue waits for its batch.
    let outcome = tokio::time::timeout(Duration::from_secs(10), reported).await.expect("is answered in time");
    assert_eq!((outcome.accepted, outcome.reason.as_str()), (false, "DEPENDENCY_UNAVAILABLE"));
}

#[tokio::test]
async fn object_storage_that_does_not_answer_does_not_hold_up_a_stop() {
    let store = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let (silent, storage) = silent_storage();
    let api = Api::with(store, storage, config::defaults()).await;
    let announced = api.payloads.clone().create_upload(announcement(b"x")).await.expect("is announced");
    let object_id = announced.into_inner().reference.expect("is told").object_id;
    let request = v1::CompleteUploadRequest { object_id, ..Default::default() };
    let mut client = api.payloads.clone();
    let call = client.complete_upload(request);
    let stop = async {
        let asked =
            tokio::task::spawn_blocking(move || silent.accept().map(|connection| (silent, connection)));
        let asked = asked.await.expect("is not cut short").expect("is asked");
        api.stop();
        asked
    };
    let both = async { tokio::join!(call, stop) };
    let (refused, _asked) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("is answered in time");
    let refused = refused.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "DRAINING"));
}

fn uuid() -> String {
    tidegate_model::ObjectId::new().to_string()
}
