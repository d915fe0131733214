//! Creates and waits against a server that fails in the ways that servers do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{Fake, ended, soon};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tidegate_proto::v1::{CreateRunOutcome, CreateRunsResponse, NewRun, WaitRunsResponse};
use tidegate_sdk_core::{Client, Options, new_run_id};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

fn task(name: &str) -> NewRun {
    NewRun { name: name.into(), ..Default::default() }
}

#[tokio::test]
async fn a_create_is_repeated_under_the_same_id() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let creating = tokio::task::JoinSet::from_iter([async move { client.create_run(task("count")).await }]);
    let (first, answer) = soon(fake.creates.recv()).await.unwrap();
    answer.send(Err(Status::unavailable("the reply was lost"))).unwrap();
    let (second, answer) = soon(fake.creates.recv()).await.unwrap();
    assert!(!first.runs[0].id.is_empty());
    assert_eq!(first.runs, second.runs);
    let outcome = CreateRunOutcome { run_id: first.runs[0].id.clone(), created: false, ..Default::default() };
    answer.send(Ok(CreateRunsResponse { outcomes: vec![outcome] })).unwrap();
    let created = soon(creating.join_all()).await.remove(0).unwrap();
    assert_eq!((&created.id, created.created), (&first.runs[0].id, true), "the first try has made it");
}

#[tokio::test]
async fn concurrent_creates_travel_together() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let runs: Vec<NewRun> = (0..2_500).map(|n| task(&format!("task-{n}"))).collect();
    let creating = tokio::task::JoinSet::from_iter([async move { client.create_runs(runs).await }]);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 2_500 {
        sizes.push(fake.accept_creates().await.len());
    }
    assert!(sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
    assert!(sizes.len() < 100, "{} requests for 2,500 runs", sizes.len());
    assert!(soon(creating.join_all()).await.remove(0).iter().all(Result::is_ok));
}

#[tokio::test]
async fn one_bad_item_fails_alone_and_a_passing_fault_is_repeated() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let runs = vec![task("good"), task("bad"), task("later")];
    let creating = tokio::task::JoinSet::from_iter([async move { client.create_runs(runs).await }]);
    let mut outcomes = Vec::new();
    for _ in 0..8 {
        let (request, answer) = soon(fake.creates.recv()).await.unwrap();
        let outcome = |run: &NewRun| {
            let reason = match run.name.as_str() {
                "bad" => "INVALID_FIELD",
                "later" if !outcomes.contains(&run.name) => "OVERLOADED",
                _ => "",
            };
            CreateRunOutcome { run_id: run.id.clone(), error_reason: reason.into(), ..Default::default() }
        };
        let response = request.runs.iter().map(outcome).collect();
        outcomes.extend(request.runs.into_iter().map(|run| run.name));
        answer.send(Ok(CreateRunsResponse { outcomes: response })).unwrap();
        if outcomes.iter().filter(|name| *name == "later").count() == 2 {
            break;
        }
    }
    let results = soon(creating.join_all()).await.remove(0);
    assert!(results[0].is_ok());
    assert!(results[1].as_ref().unwrap_err().is_invalid_argument());
    assert!(results[2].is_ok());
}

#[tokio::test]
async fn waits_share_streams_that_are_opened_again() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let ids: Vec<String> = (0..50).map(|_| new_run_id()).collect();
    let asked = ids.clone();
    let waiting = tokio::task::JoinSet::from_iter([async move { client.wait_many(&asked).await }]);
    let (request, responses) = soon(fake.waits.recv()).await.unwrap();
    assert_eq!(request.run_ids.len(), 50, "one stream for all");
    let half =
        WaitRunsResponse { runs: ids[..25].iter().map(|id| ended(id)).collect(), ..Default::default() };
    responses.send(Ok(half)).await.unwrap();
    responses.send(Err(Status::unavailable("gone"))).await.unwrap();
    let (request, responses) = soon(fake.waits.recv()).await.unwrap();
    assert_eq!(request.run_ids.len(), 25, "what has come is not asked for again");
    let rest =
        WaitRunsResponse { runs: ids[25..].iter().map(|id| ended(id)).collect(), ..Default::default() };
    responses.send(Ok(rest)).await.unwrap();
    drop(responses);
    let runs = soon(waiting.join_all()).await.remove(0);
    let got: Vec<String> = runs.into_iter().map(|run| run.unwrap().id.clone()).collect();
    assert_eq!(got, ids);
}

#[tokio::test]
async fn an_unknown_run_fails_its_own_wait_alone() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let ids: Vec<String> = (0..4).map(|_| new_run_id()).collect();
    let unknown = ids[2].clone();
    let asked = ids.clone();
    let waiting = tokio::task::JoinSet::from_iter([async move { client.wait_many(&asked).await }]);
    let mut n_known = 0;
    let mut unknown_told = false;
    while n_known < 3 || !unknown_told {
        let (request, responses) = soon(fake.waits.recv()).await.unwrap();
        if request.run_ids.contains(&unknown) {
            unknown_told |= request.run_ids.len() == 1;
            responses.send(Err(Status::not_found("no such run"))).await.unwrap();
        } else {
            n_known += request.run_ids.len();
            let runs = request.run_ids.iter().map(|id| ended(id)).collect();
            responses.send(Ok(WaitRunsResponse { runs, ..Default::default() })).await.unwrap();
        }
    }
    let runs = soon(waiting.join_all()).await.remove(0);
    for (id, run) in ids.iter().zip(runs) {
        match run {
            Ok(run) => assert_eq!(run.id, *id),
            Err(error) => assert!(error.is_not_found() && *id == unknown, "{id}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_server_the_error_says_how_to_start_one() {
    let mut options = Options::new("http://127.0.0.1:1", "").unwrap();
    options.first_contact = Duration::from_millis(200);
    let client = Client::new(options).unwrap();
    let error = soon(client.create_run(task("count"))).await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().contains("tidegate dev"), "{error}");
    let error = soon(client.wait(&new_run_id())).await.unwrap_err();
    assert!(error.to_string().contains("tidegate dev"), "{error}");
    let error = soon(client.session().create(task("count"))).await.err().unwrap();
    assert!(error.to_string().contains("tidegate dev"), "{error}");
}

/// What another program says that speaks gRPC.
struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_grpc_server_of_another_kind_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector));
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    let _serving = tokio::task::JoinSet::from_iter([serving]);
    let client = Client::new(Options::new(&address, "").unwrap()).unwrap();
    let said = format!("no Tidegate server answers at {address}: what is there speaks another gRPC");
    let error = soon(client.create_run(task("count"))).await.unwrap_err();
    assert!(error.is_unavailable() && error.message().starts_with(&said), "{error}");
    let error = soon(client.wait(&new_run_id())).await.unwrap_err();
    assert!(error.is_unavailable() && error.message().starts_with(&said), "{error}");
}

#[tokio::test]
async fn a_call_is_repeated_no_sooner_than_the_server_asks_for() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let creating = tokio::task::JoinSet::from_iter([async move { client.create_run(task("count")).await }]);
    let mut details = ErrorDetails::with_error_info("OVERLOADED", "tidegate", []);
    details.set_retry_info(Some(Duration::from_secs(3_600)));
    let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
    let (_, answer) = soon(fake.creates.recv()).await.unwrap();
    answer.send(Err(full)).unwrap();
    // An hour is longer than the call may take, so it is not repeated at all; without the hint it would be at once.
    let error = soon(creating.join_all()).await.remove(0).unwrap_err();
    assert_eq!((error.reason(), error.retry_after()), ("OVERLOADED", Some(Duration::from_secs(3_600))));
    assert!(fake.creates.try_recv().is_err(), "it was repeated");
}

#[tokio::test]
async fn a_call_is_repeated_until_its_deadline() {
    let mut fake = Fake::start().await;
    let mut options = Options::new(&fake.address, "").unwrap();
    options.call_deadline = Duration::ZERO;
    options.first_contact = Duration::from_secs(20);
    let client = Client::new(options).unwrap();
    let creating = tokio::task::JoinSet::from_iter([async move {
        client.create_run(task("count")).await.unwrap();
        client.create_run(task("count")).await.unwrap_err()
    }]);
    fake.accept_creates().await;
    let (_, answer) = soon(fake.creates.recv()).await.unwrap();
    answer.send(Err(Status::unavailable("gone"))).unwrap();
    let error = soon(creating.join_all()).await.remove(0);
    assert!(error.is_unavailable() && error.message() == "gone", "{error}");
}
