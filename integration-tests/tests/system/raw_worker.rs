//! A worker of a few lines, for what no SDK does.

use std::time::Duration;

use tidegate_integration_tests::within;
use tidegate_sdk::proto::{
    Assign, Credits, Function, Heartbeat, HeldRun, Hello, Hindrance, Report, ReportOutcome, Reports, RunKind,
    WorkRequest, WorkResponse, report::Event, work_request, work_response,
    worker_service_client::WorkerServiceClient,
};
use tokio::{sync::mpsc, task::JoinSet, time::interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const DEADLINE: Duration = Duration::from_secs(60);
/// Far below the lease.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A worker that says what the test wants. It sends no heartbeat but for runs that it keeps: others are its own for as
/// long as a lease.
pub(crate) struct RawWorker {
    requests: mpsc::Sender<WorkRequest>,
    responses: Streaming<WorkResponse>,
}

impl RawWorker {
    /// A worker of one task in one queue.
    pub(crate) async fn connect(address: &str, worker_id: &str, queue: &str, task: &str) -> Self {
        let functions = vec![Function { kind: RunKind::Task.into(), name: task.to_owned() }];
        let queues = vec![queue.to_owned()];
        let hello = Hello { worker_id: worker_id.to_owned(), queues, functions, ..Default::default() };
        Self::open(address, hello).await
    }

    /// A worker that says this of itself.
    pub(crate) async fn open(address: &str, hello: Hello) -> Self {
        let mut service = WorkerServiceClient::connect(address.to_owned()).await.unwrap();
        let (requests, receiver) = mpsc::channel(8);
        let hello = Hello { protocol_version: 1, ..hello };
        send(&requests, work_request::Message::Hello(hello)).await;
        let responses = service.work(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    /// Offers a slot of each kind and waits for a run.
    pub(crate) async fn assignment(&mut self) -> Assign {
        send(&self.requests, work_request::Message::Credits(Credits { tasks: 1, flows: 1 })).await;
        loop {
            if let work_response::Message::Assignments(mut assignments) = self.next().await {
                return assignments.assigns.remove(0);
            }
        }
    }

    /// Sends heartbeats for the run until the set is dropped, so that however slow the test is, no lease ends.
    pub(crate) fn keep(&self, assign: &Assign) -> JoinSet<()> {
        self.keep_hindered(assign, "")
    }

    /// The same, saying what keeps the run from beginning.
    pub(crate) fn keep_hindered(&self, assign: &Assign, hindrance: &str) -> JoinSet<()> {
        let held = HeldRun { run_id: assign.run_id.clone(), epoch: assign.epoch };
        let (run_id, epoch, message) = (assign.run_id.clone(), assign.epoch, hindrance.to_owned());
        let hindrance = Hindrance { run_id, epoch, message };
        let requests = self.requests.clone();
        let mut heartbeats = JoinSet::new();
        heartbeats.spawn(async move {
            let mut interval = interval(HEARTBEAT_INTERVAL);
            loop {
                interval.tick().await;
                let (runs, hindrances) = (vec![held.clone()], vec![hindrance.clone()]);
                let heartbeat = Heartbeat { runs, hindrances, ..Heartbeat::default() };
                send(&requests, work_request::Message::Heartbeat(heartbeat)).await;
            }
        });
        heartbeats
    }

    pub(crate) async fn report(&mut self, assign: &Assign, event: Event) -> ReportOutcome {
        let (run_id, epoch) = (assign.run_id.clone(), assign.epoch);
        let report = Report { run_id, epoch, event: Some(event), age: None };
        send(&self.requests, work_request::Message::Reports(Reports { reports: vec![report] })).await;
        loop {
            if let work_response::Message::Outcomes(mut outcomes) = self.next().await {
                return outcomes.outcomes.remove(0);
            }
        }
    }

    async fn next(&mut self) -> work_response::Message {
        let response = within("a message", DEADLINE, self.responses.message()).await.unwrap();
        response.expect("the stream goes on").message.expect("is set")
    }
}

async fn send(requests: &mpsc::Sender<WorkRequest>, message: work_request::Message) {
    requests.send(WorkRequest { message: Some(message) }).await.expect("the stream goes on");
}
