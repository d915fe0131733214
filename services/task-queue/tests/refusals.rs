//! What the service does not take, and how it says so.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::time::Duration;

use support::{Suite, Worker, completed, hello, start};
use tidegate_model::RunId;
use tidegate_proto::{
    internal::{Delivery, EnqueueRunsRequest},
    v1::{
        Assign, Credits, Function, Heartbeat, HeldRun, Hello, Hindrance, Report, Reports,
        work_request::Message, worker_service_client::WorkerServiceClient,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

async fn refusal(suite: &Suite, first: Message) -> Status {
    Worker::open_with(suite, first).await.end().await.unwrap_err()
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations.iter().map(|violation| violation.field.clone()).collect()
}

#[tokio::test]
async fn a_wrong_hello_is_refused_with_all_its_faults() {
    let suite = start().await;
    let good = hello("w", &["f"]);

    let old = Hello { protocol_version: 0, ..good.clone() };
    let status = refusal(&suite, Message::Hello(old)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PROTOCOL_VERSION"));

    let newer = Hello { protocol_version: 2, ..good.clone() };
    let status = refusal(&suite, Message::Hello(newer)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PROTOCOL_VERSION"));
    assert!(status.message().ends_with("update the server"), "{}", status.message());

    let nothing =
        Hello { queues: Vec::new(), functions: Vec::new(), worker_id: String::new(), ..good.clone() };
    let status = refusal(&suite, Message::Hello(nothing)).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["hello.worker_id", "hello.queues", "hello.functions"]);

    let wrong = Hello {
        namespace: "no spaces".to_owned(),
        queues: vec!["ok".to_owned(), "a/b".to_owned()],
        functions: vec![Function { kind: 0, name: "a\nb".to_owned() }],
        ..good.clone()
    };
    let status = refusal(&suite, Message::Hello(wrong)).await;
    assert_eq!(fields(&status), ["hello.namespace"]);
    let wrong = Hello {
        queues: vec!["ok".to_owned(), "a/b".to_owned()],
        functions: vec![Function { kind: 0, name: "a\nb".to_owned() }],
        ..good.clone()
    };
    let status = refusal(&suite, Message::Hello(wrong)).await;
    assert_eq!(fields(&status), ["hello.queues[1]", "hello.functions[0].kind", "hello.functions[0].name"]);

    let task = |name: &str| Function { kind: 2, name: name.to_owned() };
    let unnamed = Hello { functions: vec![task("f"), task(""), task(&"x".repeat(257))], ..good.clone() };
    let status = refusal(&suite, Message::Hello(unnamed)).await;
    assert_eq!(fields(&status), ["hello.functions[1].name", "hello.functions[2].name"]);
    let many = Hello { functions: vec![task("f"); 10_001], ..good.clone() };
    assert_eq!(fields(&refusal(&suite, Message::Hello(many)).await), ["hello.functions"]);
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let wrong = Hello { labels: [label("no key", ""), label("k", "a\nb")].into(), ..good.clone() };
    let status = refusal(&suite, Message::Hello(wrong)).await;
    assert_eq!(fields(&status), ["hello.labels[k]", "hello.labels"]);
    let labels = (0..51).map(|n| label(&format!("k{n}"), "")).collect();
    let many = Hello { labels, ..good.clone() };
    assert_eq!(fields(&refusal(&suite, Message::Hello(many)).await), ["hello.labels"]);

    let many = Hello { task_slots: 10_001, flow_slots: u32::MAX, ..good.clone() };
    assert_eq!(
        fields(&refusal(&suite, Message::Hello(many)).await),
        ["hello.task_slots", "hello.flow_slots"]
    );
    let many = Hello { queues: vec!["q".to_owned(); 65], ..good };
    assert_eq!(fields(&refusal(&suite, Message::Hello(many)).await), ["hello.queues"]);

    let status = refusal(&suite, Message::Credits(Credits::default())).await;
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["message".to_owned()]));
    suite.end().await;
}

#[tokio::test]
async fn a_wrong_message_ends_the_stream() {
    let suite = start().await;
    let too_many = Reports { reports: vec![Report::default(); 1_001] };
    let hindrance = Hindrance { run_id: "x".to_owned(), epoch: 1, message: String::new() };
    let bad_run = HeldRun { run_id: "x".to_owned(), epoch: 1 };
    let cases = [
        (Message::Hello(hello("w", &["f"])), "hello"),
        (Message::Credits(Credits { tasks: 10_001, flows: 0 }), "credits.tasks"),
        (Message::Credits(Credits { tasks: 0, flows: u32::MAX }), "credits.flows"),
        (Message::Reports(too_many), "reports.reports"),
        (
            Message::Heartbeat(Heartbeat { runs: vec![bad_run], ..Heartbeat::default() }),
            "heartbeat.runs[0].run_id",
        ),
        (
            Message::Heartbeat(Heartbeat { hindrances: vec![hindrance.clone()], ..Heartbeat::default() }),
            "heartbeat.hindrances[0].run_id",
        ),
        (
            Message::Heartbeat(Heartbeat { hindrances: vec![hindrance; 1_001], ..Heartbeat::default() }),
            "heartbeat.hindrances",
        ),
    ];
    for (message, field) in cases {
        let mut worker = suite.worker("w", &["f"]).await;
        worker.say(message).await;
        let status = worker.end().await.unwrap_err();
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    suite.end().await;
}

#[tokio::test]
async fn a_wrong_report_is_answered_alone() {
    let suite = start().await;
    let mut worker = suite.worker("w", &["f"]).await;
    let nameless = Assign { run_id: "x".to_owned(), ..Assign::default() };
    let outcome = worker.settle(&nameless, completed()).await;
    assert_eq!((outcome.accepted, outcome.reason.as_str()), (false, "INVALID_FIELD"));
    let unknown = Assign { run_id: RunId::new().to_string(), epoch: 1, ..Assign::default() };
    let outcome = worker.settle(&unknown, completed()).await;
    assert_eq!((outcome.accepted, outcome.reason.as_str()), (false, "RUN_NOT_FOUND"));
    suite.end().await;
}

#[tokio::test]
async fn a_wrong_delivery_is_refused_with_all_its_faults() {
    let mut suite = start().await;
    let deliveries = vec![Delivery::default(); 2];
    let status = suite.deliveries.enqueue_runs(EnqueueRunsRequest { deliveries }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status).len(), 10, "{status:?}");
    assert!(fields(&status).contains(&"deliveries[1].run_id".to_owned()));
    let deliveries = vec![Delivery::default(); 1_001];
    let status = suite.deliveries.enqueue_runs(EnqueueRunsRequest { deliveries }).await.unwrap_err();
    assert_eq!(fields(&status), ["deliveries"]);
    suite.end().await;
}

/// Longer than a worker has for its Hello, on a busy machine.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);

/// Beside the others, as it waits for as long as a worker may take.
#[tokio::test]
async fn who_opens_a_stream_and_says_nothing_is_told_so_and_let_go() {
    let suite = start().await;
    let (requests, outgoing) = mpsc::channel(1);
    let mut client = WorkerServiceClient::new(suite.channel.clone());
    // The answer has begun by now: a client may wait for that before it says Hello.
    let mut responses = client.work(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let end = timeout(HELLO_PATIENCE, responses.message()).await.expect("the end in time");
    let status = end.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(status.message(), "no Hello within 10s: it comes first on a stream");
    // Nobody listens to it any more, and a stop has nobody to wait for.
    timeout(HELLO_PATIENCE, requests.closed()).await.expect("the stream is closed");
    suite.end().await;
}
