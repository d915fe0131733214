//! P2 [fenced]: a run never completes twice: a report of an older epoch is refused and changes nothing.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    Client, RunHandle,
    proto::{
        Assign, Credits, Function, Heartbeat, HeldRun, Hello, Payload, Report, ReportOutcome, Reports,
        RunEvent, RunKind, StateType, WorkRequest, WorkResponse, report::Completed, report::Event,
        report::Started, work_request, work_response, worker_service_client::WorkerServiceClient,
    },
};
use tokio::{sync::mpsc, task::JoinSet, time::interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

crate::on_both_forms!(
    a_frozen_worker_cannot_complete_its_run_again,
    reports_of_an_older_epoch_change_nothing,
);

const DEADLINE: Duration = Duration::from_secs(60);
/// Far below the lease.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

async fn a_frozen_worker_cannot_complete_its_run_again(suite: &mut Suite) {
    let client = suite.client();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go on");
    let first = suite.worker("frozen");
    let handle = client.task("first_is_late").queue("frozen").delay(&file.to_str().unwrap()).await.unwrap();
    suite.until_state(&handle, StateType::Running).await;
    first.signal("STOP");
    let second = suite.worker("frozen");
    assert_eq!(within("the second attempt", DEADLINE, handle.result::<u32>()).await.unwrap(), 2);
    second.stop().await;

    // The first attempt ends late. That its worker goes on to another run shows that it has said so by then.
    std::fs::write(&file, "").unwrap();
    first.signal("CONT");
    let next = client.task("add").queue("frozen").delay(&(1, 1)).await.unwrap();
    within("the next run", DEADLINE, next.result::<i64>()).await.unwrap();
    first.stop().await;
    assert_eq!(within("the result", DEADLINE, handle.result::<u32>()).await.unwrap(), 2);
    completed_once(&client, &handle).await;
}

async fn reports_of_an_older_epoch_change_nothing(suite: &mut Suite) {
    let client = suite.client();
    let address = suite.worker_address();
    let handle = client.task("fence").queue("fenced").delay(&()).await.unwrap();
    let mut first = RawWorker::connect(&address, "first").await;
    let late = first.assignment().await;
    assert!(first.report(&late, Event::Started(Started {})).await.accepted);
    // It falls silent, as one that was cut off would: the stream goes, and no heartbeat comes.
    drop(first);
    suite.until_state(&handle, StateType::Scheduled).await;
    let mut second = RawWorker::connect(&address, "second").await;
    let current = second.assignment().await;
    assert_eq!((current.run_id.as_str(), current.attempt), (handle.id(), 2));
    assert!(current.epoch > late.epoch, "{current:?}");
    let _held = second.keep(&current);

    let mut first = RawWorker::connect(&address, "first").await;
    for event in [Event::Started(Started {}), completed("1"), Event::Cancelled(Default::default())] {
        let refused = first.report(&late, event).await;
        assert_eq!((refused.accepted, refused.reason.as_str()), (false, "STALE_EPOCH"), "{refused:?}");
    }
    assert_eq!(handle.state().await.unwrap().r#type(), StateType::Pending, "the second has not started yet");

    assert!(second.report(&current, Event::Started(Started {})).await.accepted);
    let accepted = second.report(&current, completed("2")).await;
    assert!(accepted.accepted, "{accepted:?}");
    let repeated = second.report(&current, completed("2")).await;
    assert!(repeated.accepted, "a repeat is answered alike: {repeated:?}");
    let refused = first.report(&late, completed("3")).await;
    assert_eq!(refused.reason, "STALE_EPOCH", "{refused:?}");
    assert_eq!(within("the result", DEADLINE, handle.result::<i64>()).await.unwrap(), 2);
    completed_once(&client, &handle).await;
}

async fn completed_once(client: &Client, handle: &RunHandle) {
    let history = client.core().history(handle.id()).await.unwrap();
    let is_completed = |event: &&RunEvent| event.state.as_ref().unwrap().r#type() == StateType::Completed;
    assert_eq!(history.iter().filter(is_completed).count(), 1, "{history:#?}");
    assert!(history.windows(2).all(|pair| pair[1].epoch >= pair[0].epoch), "epochs only grow: {history:#?}");
}

fn completed(json: &'static str) -> Event {
    let metadata = [("encoding".to_owned(), "json/plain".into())].into();
    Event::Completed(Completed { result: Some(Payload { metadata, data: json.into(), reference: None }) })
}

/// A worker that says what the test wants. It sends no heartbeat but for runs that it keeps: others are its own for as
/// long as a lease.
struct RawWorker {
    requests: mpsc::Sender<WorkRequest>,
    responses: Streaming<WorkResponse>,
}

impl RawWorker {
    async fn connect(address: &str, worker_id: &str) -> Self {
        let mut service = WorkerServiceClient::connect(address.to_owned()).await.unwrap();
        let (requests, receiver) = mpsc::channel(8);
        let hello = Hello {
            protocol_version: 1,
            worker_id: worker_id.to_owned(),
            queues: vec!["fenced".to_owned()],
            functions: vec![Function { kind: RunKind::Task.into(), name: "fence".to_owned() }],
            ..Default::default()
        };
        send(&requests, work_request::Message::Hello(hello)).await;
        let responses = service.work(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    /// Offers a slot and waits for a run.
    async fn assignment(&mut self) -> Assign {
        send(&self.requests, work_request::Message::Credits(Credits { tasks: 1, flows: 0 })).await;
        loop {
            if let work_response::Message::Assignments(mut assignments) = self.next().await {
                return assignments.assigns.remove(0);
            }
        }
    }

    /// Sends heartbeats for the run until the set is dropped, so that however slow the test is, no lease ends.
    fn keep(&self, assign: &Assign) -> JoinSet<()> {
        let held = HeldRun { run_id: assign.run_id.clone(), epoch: assign.epoch };
        let requests = self.requests.clone();
        let mut heartbeats = JoinSet::new();
        heartbeats.spawn(async move {
            let mut interval = interval(HEARTBEAT_INTERVAL);
            loop {
                interval.tick().await;
                let heartbeat = Heartbeat { runs: vec![held.clone()] };
                send(&requests, work_request::Message::Heartbeat(heartbeat)).await;
            }
        });
        heartbeats
    }

    async fn report(&mut self, assign: &Assign, event: Event) -> ReportOutcome {
        let report = Report { run_id: assign.run_id.clone(), epoch: assign.epoch, event: Some(event) };
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
