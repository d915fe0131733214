//! A server that does what the test tells it: each call and stream comes out of a channel, and the test answers.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod service;

use std::time::Duration;

use tidegate_sdk_core::{
    Client, Options,
    proto::{self, *},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tonic::{Status, Streaming};

use service::Service;

type Answer<T> = oneshot::Sender<Result<T, Status>>;

/// One open stream of the client's.
pub struct Conn<In, Out> {
    pub requests: Streaming<In>,
    pub responses: mpsc::Sender<Result<Out, Status>>,
}

impl<In, Out> Conn<In, Out> {
    /// The client's next message.
    pub async fn next(&mut self) -> In {
        soon(self.requests.message()).await.unwrap().expect("the client ended the stream")
    }

    pub async fn say(&self, message: Out) {
        soon(self.responses.send(Ok(message))).await.unwrap();
    }

    /// Waits until the client has left the stream.
    pub async fn left(mut self) {
        while matches!(soon(self.requests.message()).await, Ok(Some(_))) {}
    }

    /// Ends the stream as a server that goes away does.
    pub async fn break_off(self) {
        let _ = self.responses.send(Err(Status::unavailable("gone"))).await;
    }
}

/// Fails the test instead of letting it hang.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it did not happen in time")
}

/// What the client asks for, as it comes.
pub struct Fake {
    pub address: String,
    pub creates: mpsc::Receiver<(CreateRunsRequest, Answer<CreateRunsResponse>)>,
    pub waits: mpsc::Receiver<(WaitRunsRequest, mpsc::Sender<Result<WaitRunsResponse, Status>>)>,
    pub gets: mpsc::Receiver<(GetRunRequest, Answer<GetRunResponse>)>,
    pub workers: mpsc::Receiver<Conn<WorkRequest, WorkResponse>>,
    pub sessions: mpsc::Receiver<Conn<SessionRequest, SessionResponse>>,
    pub logs: mpsc::Receiver<Conn<IngestLogsRequest, IngestLogsResponse>>,
    pub pauses: mpsc::Receiver<(AwaitResumeRequest, Answer<AwaitResumeResponse>)>,
    pub resumes: mpsc::Receiver<(ResumeRunRequest, Answer<ResumeRunResponse>)>,
    pub payloads: mpsc::Receiver<PayloadCall>,
    pub acquires: mpsc::Receiver<(AcquireSlotsRequest, Answer<AcquireSlotsResponse>)>,
    /// Slots that were given back, which it takes.
    pub releases: mpsc::Receiver<ReleaseSlotsRequest>,
    /// What it says of where the others are; `None`: nothing, and the call hangs.
    pub endpoints: watch::Sender<Option<GetEndpointsResponse>>,
    /// Who it says that it is.
    pub server_id: watch::Sender<String>,
    /// What it says that its work pools start.
    pub pool_type: watch::Sender<WorkPoolType>,
}

/// A call of PayloadService. One that is dropped fails for a fault that may pass.
pub enum PayloadCall {
    CreateUpload(CreateUploadRequest, Answer<CreateUploadResponse>),
    /// The object, and what was sent.
    Upload(String, Vec<u8>, Answer<UploadPayloadResponse>),
    CompleteUpload(CompleteUploadRequest, Answer<CompleteUploadResponse>),
    CreateDownload(CreateDownloadRequest, Answer<CreateDownloadResponse>),
    Download(DownloadPayloadRequest, Answer<Vec<u8>>),
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (creates_in, creates) = mpsc::channel(64);
        let (waits_in, waits) = mpsc::channel(64);
        let (gets_in, gets) = mpsc::channel(64);
        let (workers_in, workers) = mpsc::channel(64);
        let (sessions_in, sessions) = mpsc::channel(64);
        let (logs_in, logs) = mpsc::channel(64);
        let (pauses_in, pauses) = mpsc::channel(64);
        let (resumes_in, resumes) = mpsc::channel(64);
        let (payloads_in, payloads) = mpsc::channel(64);
        let (acquires_in, acquires) = mpsc::channel(512);
        let (releases_in, releases) = mpsc::channel(512);
        let (server_id, server_id_out) = watch::channel("one".to_owned());
        let (pool_type, pool_type_out) = watch::channel(WorkPoolType::Process);
        let (endpoints, endpoints_out) = watch::channel(Some(GetEndpointsResponse::default()));
        let service = std::sync::Arc::new(Service {
            creates: creates_in,
            waits: waits_in,
            gets: gets_in,
            workers: workers_in,
            sessions: sessions_in,
            logs: logs_in,
            pauses: pauses_in,
            resumes: resumes_in,
            payloads: payloads_in,
            acquires: acquires_in,
            releases: releases_in,
            endpoints: endpoints_out,
            server_id: server_id_out,
            pool_type: pool_type_out,
        });
        let server = tonic::transport::Server::builder()
            .add_service(run_service_server::RunServiceServer::from_arc(service.clone()))
            .add_service(system_service_server::SystemServiceServer::from_arc(service.clone()))
            .add_service(worker_service_server::WorkerServiceServer::from_arc(service.clone()))
            .add_service(session_service_server::SessionServiceServer::from_arc(service.clone()))
            .add_service(log_service_server::LogServiceServer::from_arc(service.clone()))
            .add_service(work_pool_service_server::WorkPoolServiceServer::from_arc(service.clone()))
            .add_service(concurrency_service_server::ConcurrencyServiceServer::from_arc(service.clone()))
            .add_service(payload_service_server::PayloadServiceServer::from_arc(service))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::runtime::Handle::current().spawn(server); // ends with the test's runtime
        Self {
            address,
            creates,
            waits,
            gets,
            workers,
            sessions,
            logs,
            pauses,
            resumes,
            payloads,
            acquires,
            releases,
            endpoints,
            server_id,
            pool_type,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(Options::new(&self.address, "test").unwrap()).unwrap()
    }

    /// The next worker stream, after its hello and the welcome.
    pub async fn worker(&mut self) -> Conn<WorkRequest, WorkResponse> {
        self.worker_and_hello().await.0
    }

    /// As [`Fake::worker`], with the hello.
    pub async fn worker_and_hello(&mut self) -> (Conn<WorkRequest, WorkResponse>, Hello) {
        let mut conn = soon(self.workers.recv()).await.unwrap();
        let Some(work_request::Message::Hello(hello)) = conn.next().await.message else {
            panic!("the first message is no hello")
        };
        let welcome = Welcome {
            lease_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            heartbeat_interval: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            max_batch_size: 1_000,
        };
        conn.say(WorkResponse { message: Some(work_response::Message::Welcome(welcome)) }).await;
        (conn, hello)
    }

    /// Answers the next question for a run.
    pub async fn tell_run(&mut self, run: Run) {
        let (request, answer) = soon(self.gets.recv()).await.unwrap();
        assert_eq!(request.run_id, run.id);
        answer.send(Ok(GetRunResponse { run: Some(run) })).unwrap();
    }

    /// Answers the next question for a run by what `answer` makes of its id.
    pub async fn answer_run(&mut self, answer: impl FnOnce(&str) -> Result<Run, Status>) {
        let (request, answered) = soon(self.gets.recv()).await.unwrap();
        let run = answer(&request.run_id).map(|run| GetRunResponse { run: Some(run) });
        answered.send(run).unwrap();
    }

    /// The next session stream, after its hello, with the id of the session.
    pub async fn session(&mut self) -> (Conn<SessionRequest, SessionResponse>, String) {
        let mut conn = soon(self.sessions.recv()).await.unwrap();
        let Some(session_request::Message::Hello(hello)) = conn.next().await.message else {
            panic!("the first message is no hello")
        };
        let welcome = SessionWelcome {
            lease_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            heartbeat_interval: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            max_batch_size: 1_000,
        };
        conn.say(SessionResponse { message: Some(session_response::Message::Welcome(welcome)) }).await;
        (conn, hello.session_id)
    }

    pub async fn payload_call(&mut self) -> PayloadCall {
        soon(self.payloads.recv()).await.unwrap()
    }

    /// The next announcement of an upload, which is answered with `request`; what it announces.
    pub async fn announced(&mut self, request: Option<PresignedRequest>) -> PayloadReference {
        let PayloadCall::CreateUpload(announced, answer) = self.payload_call().await else {
            panic!("no upload is announced")
        };
        let reference = PayloadReference {
            object_id: announced.request_id,
            size_bytes: announced.size_bytes,
            sha256: announced.sha256,
        };
        let response = CreateUploadResponse { reference: Some(reference.clone()), request };
        answer.send(Ok(response)).unwrap();
        reference
    }

    /// Takes the next value through the api: its announcement and its bytes.
    pub async fn take_upload(&mut self) -> (PayloadReference, Vec<u8>) {
        let reference = self.announced(None).await;
        (reference.clone(), self.take_bytes(&reference).await)
    }

    pub async fn take_bytes(&mut self, reference: &PayloadReference) -> Vec<u8> {
        let PayloadCall::Upload(object_id, bytes, answer) = self.payload_call().await else {
            panic!("nothing is uploaded")
        };
        assert_eq!(object_id, reference.object_id);
        answer.send(Ok(UploadPayloadResponse { reference: Some(reference.clone()) })).unwrap();
        bytes
    }

    /// Gives the next create the child `run_id` of an earlier attempt of its parent.
    pub async fn hand_on(&mut self, run_id: &str, epoch: u64) {
        let (_, answer) = soon(self.creates.recv()).await.unwrap();
        let outcome = CreateRunOutcome {
            run_id: run_id.to_owned(),
            adopted: true,
            epoch,
            state: Some(State { r#type: StateType::Pending.into(), ..Default::default() }),
            ..Default::default()
        };
        answer.send(Ok(CreateRunsResponse { outcomes: vec![outcome] })).unwrap();
    }

    /// Accepts the next batch of creates; gives its runs.
    pub async fn accept_creates(&mut self) -> Vec<NewRun> {
        let (request, answer) = soon(self.creates.recv()).await.unwrap();
        let outcome = |run: &NewRun| CreateRunOutcome {
            run_id: run.id.clone(),
            created: true,
            epoch: 1,
            ..Default::default()
        };
        let outcomes = request.runs.iter().map(outcome).collect();
        answer.send(Ok(CreateRunsResponse { outcomes })).unwrap();
        request.runs
    }
}

impl Conn<WorkRequest, WorkResponse> {
    /// The client's next reports; credits and heartbeats are passed over.
    pub async fn reports(&mut self) -> Vec<Report> {
        let next = async {
            loop {
                if let Some(work_request::Message::Reports(reports)) = self.next().await.message {
                    return reports.reports;
                }
            }
        };
        soon(next).await
    }

    /// The client's next heartbeat.
    pub async fn heartbeat(&mut self) -> Vec<HeldRun> {
        self.whole_heartbeat().await.runs
    }

    /// The same with all that it says.
    pub async fn whole_heartbeat(&mut self) -> Heartbeat {
        loop {
            if let Some(work_request::Message::Heartbeat(heartbeat)) = self.next().await.message {
                return heartbeat;
            }
        }
    }

    /// The client's next credits.
    pub async fn credits(&mut self) -> Credits {
        loop {
            if let Some(work_request::Message::Credits(credits)) = self.next().await.message {
                return credits;
            }
        }
    }

    pub async fn assign(&self, assign: Assign) {
        let assigns = Assignments { assigns: vec![assign] };
        self.say(WorkResponse { message: Some(work_response::Message::Assignments(assigns)) }).await;
    }

    pub async fn answer(&self, outcomes: Vec<ReportOutcome>) {
        let outcomes = ReportOutcomes { outcomes };
        self.say(WorkResponse { message: Some(work_response::Message::Outcomes(outcomes)) }).await;
    }

    pub async fn cancel(&self, cancel: Cancel) {
        let cancels = Cancels { cancels: vec![cancel] };
        self.say(WorkResponse { message: Some(work_response::Message::Cancels(cancels)) }).await;
    }

    pub async fn reconnect(&self, delay: Duration) {
        let reconnect = Reconnect { delay: delay.try_into().ok() };
        self.say(WorkResponse { message: Some(work_response::Message::Reconnect(reconnect)) }).await;
    }

    /// Asks the worker to drain.
    pub async fn drain(&self) {
        let drain = Drain { message: "a test has asked for it".into() };
        self.say(WorkResponse { message: Some(work_response::Message::Drain(drain)) }).await;
    }

    /// Waits for heartbeats that say that the worker drains.
    pub async fn draining_heartbeats(&mut self, n_heartbeats: u32) {
        let mut n_heard = 0;
        while n_heard < n_heartbeats {
            if let Some(work_request::Message::Heartbeat(heartbeat)) = self.next().await.message {
                n_heard += u32::from(heartbeat.is_draining);
            }
        }
    }
}

impl Conn<SessionRequest, SessionResponse> {
    pub async fn reconnect(&self, delay: Duration) {
        let reconnect = Reconnect { delay: delay.try_into().ok() };
        self.say(SessionResponse { message: Some(session_response::Message::Reconnect(reconnect)) }).await;
    }

    pub async fn cancel(&self, cancel: Cancel) {
        let cancels = Cancels { cancels: vec![cancel] };
        self.say(SessionResponse { message: Some(session_response::Message::Cancels(cancels)) }).await;
    }

    pub async fn reports(&mut self) -> Vec<Report> {
        let next = async {
            loop {
                if let Some(session_request::Message::Reports(reports)) = self.next().await.message {
                    return reports.reports;
                }
            }
        };
        soon(next).await
    }

    pub async fn answer(&self, outcomes: Vec<ReportOutcome>) {
        let outcomes = ReportOutcomes { outcomes };
        self.say(SessionResponse { message: Some(session_response::Message::Outcomes(outcomes)) }).await;
    }
}

/// The outcome of an accepted report.
pub fn accepted(report: &Report) -> ReportOutcome {
    ReportOutcome {
        run_id: report.run_id.clone(),
        epoch: report.epoch,
        accepted: true,
        current_epoch: report.epoch,
        ..Default::default()
    }
}

/// The same reports, sent once more: each is older than it was.
pub fn assert_repeated(before: &[Report], again: &[Report]) {
    let ageless = |reports: &[Report]| -> Vec<Report> {
        reports.iter().map(|report| Report { age: None, ..report.clone() }).collect()
    };
    assert_eq!(ageless(before), ageless(again));
    let age = |report: &Report| Duration::try_from(report.age.expect("is told")).expect("is a span");
    for (before, again) in before.iter().zip(again) {
        assert!(age(before) < age(again), "{before:?} {again:?}");
    }
}

pub fn ended(run_id: &str) -> Run {
    let state = State { r#type: StateType::Completed.into(), ..Default::default() };
    Run { id: run_id.into(), state: Some(state), ..Default::default() }
}

/// Shorthand of the tests.
pub use proto::report::Event;
