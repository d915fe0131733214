//! A worker against a service that breaks its stream, cancels, and drains.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::{net::SocketAddr, time::Duration};

use fake::{Event, Fake, accepted, assert_repeated, soon};
use tidegate_proto::v1::{self as proto, Assign, Cancel, CancelCause, Function, RunKind};
use tidegate_sdk_core::{Attempts, End, HealthListener, Stop, Worker, WorkerOptions, new_run_id};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic_types::{ErrorDetails, StatusExt};

fn options(task_slots: u32) -> WorkerOptions {
    WorkerOptions {
        name: String::new(),
        queues: vec!["default".into()],
        functions: vec![Function { kind: RunKind::Task.into(), name: "count".into() }],
        work_pool: String::new(),
        labels: std::collections::BTreeMap::new(),
        task_slots,
        flow_slots: 0,
        drain_grace: Duration::from_secs(5),
    }
}

fn start(fake: &Fake, task_slots: u32) -> (Worker, Attempts) {
    Worker::start(&fake.client(), options(task_slots)).unwrap()
}

fn assign(run_id: &str) -> Assign {
    Assign {
        run_id: run_id.into(),
        epoch: 3,
        kind: RunKind::Task.into(),
        name: "count".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_report_is_kept_over_a_broken_stream_until_it_is_answered() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 2);
    let mut conn = fake.worker().await;
    assert_eq!(conn.credits().await.tasks, 2);
    let run_id = new_run_id();
    conn.assign(assign(&run_id)).await;
    let mut attempt = soon(attempts.next()).await.unwrap();
    attempt.start();
    let started = conn.reports().await;
    assert!(matches!(started[0].event, Some(Event::Started(_))));
    conn.answer(vec![accepted(&started[0])]).await;
    attempt.finish(End::Completed(None));
    let first = conn.reports().await;
    conn.break_off().await; // not answered

    let mut conn = fake.worker().await;
    let held = conn.heartbeat().await;
    assert_eq!(
        (held[0].run_id.as_str(), held[0].epoch),
        (run_id.as_str(), 3),
        "still held, and said so at once"
    );
    let second = conn.reports().await;
    assert_repeated(&first, &second);
    assert!(matches!(second[0].event, Some(Event::Completed(_))));
    conn.answer(vec![accepted(&second[0])]).await;
    while !conn.heartbeat().await.is_empty() {} // no longer held once it is answered
}

#[tokio::test]
async fn a_worker_that_is_told_to_reconnect_does_so_after_the_delay_and_keeps_its_run() {
    const DELAY: Duration = Duration::from_millis(200);

    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let mut conn = fake.worker().await;
    let run_id = new_run_id();
    conn.assign(assign(&run_id)).await;
    let mut attempt = soon(attempts.next()).await.unwrap();
    attempt.start();
    let started = conn.reports().await;
    conn.answer(started.iter().map(accepted).collect()).await;
    let told_at = Instant::now();
    conn.reconnect(DELAY).await;

    let mut next = fake.worker().await;
    assert!(told_at.elapsed() >= DELAY, "{:?}", told_at.elapsed());
    let held = next.heartbeat().await;
    assert_eq!((held[0].run_id.as_str(), held[0].epoch), (run_id.as_str(), 3));
    conn.left().await;
    attempt.finish(End::Completed(None));
    let completed = next.reports().await;
    assert!(matches!(completed[0].event, Some(Event::Completed(_))), "{completed:?}");
    next.answer(completed.iter().map(accepted).collect()).await;
    while !next.heartbeat().await.is_empty() {}
}

/// A way to the service that can go silent: what is open then stays open, and nothing passes. New connections are taken.
async fn silenceable(fake: &Fake) -> (String, watch::Sender<u32>, JoinSet<()>) {
    let target = fake.address.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (silenced, silence) = watch::channel(0);
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut silence, target) = (silence.clone(), target.clone());
            silence.mark_unchanged();
            connections.spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = silence.changed() => std::future::pending().await,
                }
            });
        }
    });
    (address, silenced, server)
}

#[tokio::test]
async fn a_service_that_goes_silent_is_left_within_a_lease() {
    const DEFAULT_LEASE: Duration = Duration::from_secs(15);

    let mut fake = Fake::start().await;
    let (task_queue_address, silenced, _server) = silenceable(&fake).await;
    fake.endpoints
        .send_replace(Some(proto::GetEndpointsResponse { task_queue_address, ..Default::default() }));
    let (_worker, mut attempts) = start(&fake, 1);
    let conn = fake.worker().await;
    let run_id = new_run_id();
    conn.assign(assign(&run_id)).await;
    let _attempt = soon(attempts.next()).await.unwrap();
    silenced.send_replace(1);
    let mut other = timeout(DEFAULT_LEASE, fake.worker()).await.expect("it goes elsewhere in time");
    assert_eq!(other.heartbeat().await[0].run_id, run_id, "and says what it holds");
}

#[tokio::test]
async fn a_worker_comes_back_while_the_api_does_not_answer() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let conn = fake.worker().await;
    let run_id = new_run_id();
    conn.assign(assign(&run_id)).await;
    let _attempt = soon(attempts.next()).await.unwrap();
    fake.endpoints.send_replace(None);
    conn.break_off().await;
    let mut conn = fake.worker().await;
    assert_eq!(conn.heartbeat().await[0].run_id, run_id);
}

#[test]
fn heartbeats_go_on_while_the_executor_blocks_its_thread() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (n_heartbeats, enough) = std::sync::mpsc::channel();
    let (client_sender, client) = std::sync::mpsc::channel();
    // The service has a thread of its own, since that of the executor will block.
    let service = std::thread::spawn(move || {
        runtime().block_on(async move {
            let mut fake = Fake::start().await;
            client_sender.send(fake.client()).unwrap();
            let mut conn = fake.worker().await;
            conn.assign(assign(&new_run_id())).await;
            let mut n_seen = 0;
            while n_seen < 5 {
                n_seen += conn.heartbeat().await.len();
            }
            n_heartbeats.send(n_seen).unwrap();
        });
    });
    let client = client.recv().unwrap();
    runtime().block_on(async move {
        let (_worker, mut attempts) = Worker::start(&client, options(1)).unwrap();
        let attempt = soon(attempts.next()).await.unwrap();
        assert_eq!(enough.recv_timeout(Duration::from_secs(20)), Ok(5)); // blocks the runtime of the executor
        attempt.finish(End::Completed(None));
    });
    service.join().unwrap();
}

#[tokio::test]
async fn a_cancel_and_a_lost_lease_reach_the_executor() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 2);
    let mut conn = fake.worker().await;
    let (asked, lost) = (new_run_id(), new_run_id());
    conn.assign(assign(&asked)).await;
    conn.assign(assign(&lost)).await;
    let mut first = soon(attempts.next()).await.unwrap();
    let mut second = soon(attempts.next()).await.unwrap();
    first.start();
    second.start();
    let cancel = |run_id: &str, epoch, cause: CancelCause| Cancel {
        run_id: run_id.into(),
        epoch,
        cause: cause.into(),
        message: "because".into(),
        grace: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
    };
    conn.cancel(cancel(&asked, 2, CancelCause::Lost)).await; // of an older epoch: not for this attempt
    conn.cancel(cancel(&asked, 3, CancelCause::Requested)).await;
    conn.cancel(cancel(&lost, 3, CancelCause::Lost)).await;
    let grace = Duration::from_secs(7);
    assert_eq!(soon(first.stop_signal().next()).await, Stop::Cancel { message: "because".into(), grace });
    assert_eq!(soon(second.stop_signal().next()).await, Stop::Lost { message: "because".into() });
    second.finish(End::Completed(None)); // nothing is to be reported of it
    first.finish(End::Cancelled);
    let mut ends = Vec::new();
    while ends.is_empty() {
        let reports = conn.reports().await;
        ends.extend(reports.into_iter().filter(|report| !matches!(report.event, Some(Event::Started(_)))));
    }
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].run_id, asked);
    assert!(matches!(ends[0].event, Some(Event::Cancelled(_))));
}

#[tokio::test]
async fn an_attempt_hears_when_its_time_is_over() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let conn = fake.worker().await;
    let run_timeout = Some(prost_types::Duration { seconds: 0, nanos: 30_000_000 });
    conn.assign(Assign { run_timeout, ..assign(&new_run_id()) }).await;
    let mut attempt = soon(attempts.next()).await.unwrap();
    attempt.start();
    assert_eq!(soon(attempt.stop_signal().next()).await, Stop::TimedOut);
}

#[tokio::test]
async fn a_report_that_meets_a_fault_of_the_server_is_repeated() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let mut conn = fake.worker().await;
    conn.assign(assign(&new_run_id())).await;
    soon(attempts.next()).await.unwrap().finish(End::Completed(None));
    let completed = conn.reports().await;
    let reason = "INTERNAL".into();
    conn.answer(vec![proto::ReportOutcome { accepted: false, reason, ..accepted(&completed[0]) }]).await;
    assert_repeated(&completed, &conn.reports().await);
    conn.answer(vec![accepted(&completed[0])]).await;
    while !conn.heartbeat().await.is_empty() {}
}

#[tokio::test]
async fn an_end_that_crosses_a_cancel_becomes_cancelled() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let mut conn = fake.worker().await;
    conn.assign(assign(&new_run_id())).await;
    let mut attempt = soon(attempts.next()).await.unwrap();
    attempt.start();
    let started = conn.reports().await;
    conn.answer(vec![accepted(&started[0])]).await;
    attempt.finish(End::Completed(None));
    let completed = conn.reports().await;
    let state = proto::State { r#type: proto::StateType::Cancelling.into(), ..Default::default() };
    let refused = proto::ReportOutcome {
        accepted: false,
        reason: "TRANSITION_NOT_ALLOWED".into(),
        state: Some(state),
        ..accepted(&completed[0])
    };
    conn.answer(vec![refused]).await;
    let cancelled = conn.reports().await;
    assert!(matches!(cancelled[0].event, Some(Event::Cancelled(_))));
}

/// What a probe is told: the status line and the text.
async fn probed(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.trim_end().to_owned())
}

async fn until_told(address: SocketAddr, status: &str, text: &str) {
    let told = async {
        while probed(address, "/readyz").await != (format!("HTTP/1.1 {status}"), text.to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(told).await;
    assert_eq!(probed(address, "/livez").await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn probes_are_told_of_a_stream_that_is_lost_for_longer_than_a_lease() {
    const UNAVAILABLE: &str = "503 Service Unavailable";

    let mut fake = Fake::start().await;
    let client = fake.client();
    let listener = HealthListener::bind(&client, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let (mut worker, mut attempts) = Worker::start(&client, options(1)).unwrap();
    worker.serve_health(listener);
    until_told(address, UNAVAILABLE, "not connected to the server yet").await;
    let conn = fake.worker().await;
    until_told(address, "200 OK", "takes runs").await;
    let run_id = new_run_id();
    conn.assign(assign(&run_id)).await;
    let attempt = soon(attempts.next()).await.unwrap();
    conn.break_off().await;
    until_told(address, UNAVAILABLE, "the stream to the server has been lost for longer than a lease").await;
    let mut conn = fake.worker().await;
    until_told(address, "200 OK", "takes runs").await;
    worker.drain();
    until_told(address, UNAVAILABLE, "takes no more runs").await;

    let taken = HealthListener::bind(&client, address).unwrap_err();
    assert!(taken.is_invalid_argument() && taken.message().contains("a port that is free"), "{taken}");
    drop(attempt);
    let released = conn.reports().await;
    conn.answer(released.iter().map(accepted).collect()).await;
    drop(conn);
    let _ = soon(worker.stopped()).await;
    until_told(address, UNAVAILABLE, "has ended").await;
    drop(worker);
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn a_drain_gives_back_what_was_not_started_and_lets_the_rest_end() {
    let mut fake = Fake::start().await;
    let (worker, mut attempts) = start(&fake, 2);
    let mut conn = fake.worker().await;
    let (running, waiting) = (new_run_id(), new_run_id());
    conn.assign(assign(&running)).await;
    let mut attempt = soon(attempts.next()).await.unwrap();
    attempt.start();
    let started = conn.reports().await;
    conn.answer(vec![accepted(&started[0])]).await;
    worker.drain();
    conn.assign(assign(&waiting)).await;
    assert!(soon(attempts.next()).await.is_none());
    let released = conn.reports().await;
    assert_eq!(released[0].run_id, waiting);
    assert!(matches!(released[0].event, Some(Event::Released(_))));
    conn.answer(vec![accepted(&released[0])]).await;
    attempt.finish(End::Completed(None));
    let completed = conn.reports().await;
    assert_eq!(completed[0].run_id, running);
    conn.answer(vec![accepted(&completed[0])]).await;
    while soon(conn.requests.message()).await.unwrap().is_some() {} // the worker half-closes
    drop(conn);
    soon(worker.stopped()).await.unwrap();
}

#[tokio::test]
async fn a_drain_by_the_server_bounds_no_run_until_it_is_bounded_here() {
    let mut fake = Fake::start().await;
    let options = WorkerOptions { drain_grace: Duration::ZERO, name: "nightly".into(), ..options(2) };
    let (worker, mut attempts) = Worker::start(&fake.client(), options).unwrap();
    let (mut conn, hello) = fake.worker_and_hello().await;
    assert_eq!((hello.name.as_str(), hello.process_id), ("nightly", std::process::id()));
    assert_eq!((hello.task_slots, hello.flow_slots, hello.host.is_empty()), (2, 0, false));
    conn.assign(assign(&new_run_id())).await;
    let mut first = soon(attempts.next()).await.unwrap();
    first.start();
    let reports = conn.reports().await;
    conn.answer(reports.iter().map(accepted).collect()).await;
    conn.drain().await;
    assert!(soon(attempts.next()).await.is_none());
    conn.draining_heartbeats(3).await;
    assert_eq!(first.stop_signal().now(), Stop::Go, "it may take as long as it needs");

    // On the next stream it says at once that it drains, and gives no credits.
    conn.break_off().await;
    let mut conn = fake.worker().await;
    conn.draining_heartbeats(1).await;
    conn.drain().await;
    conn.draining_heartbeats(2).await;
    assert_eq!(first.stop_signal().now(), Stop::Go);

    worker.drain();
    assert_eq!(soon(first.stop_signal().next()).await, Stop::Shutdown);
    first.finish(End::Completed(None));
    let completed = conn.reports().await;
    conn.answer(completed.iter().map(accepted).collect()).await;
    while let Some(request) = soon(conn.requests.message()).await.unwrap() {
        assert!(!matches!(request.message, Some(proto::work_request::Message::Credits(_))));
    }
    drop(conn);
    soon(worker.stopped()).await.unwrap();
}

#[tokio::test]
async fn an_idle_worker_that_is_drained_says_so_before_it_goes() {
    let mut fake = Fake::start().await;
    let (worker, _attempts) = start(&fake, 1);
    let mut conn = fake.worker().await;
    conn.credits().await;
    worker.drain();
    conn.draining_heartbeats(1).await;
    while soon(conn.requests.message()).await.unwrap().is_some() {}
    drop(conn);
    soon(worker.stopped()).await.unwrap();
}

#[tokio::test]
async fn a_refused_worker_says_why() {
    let mut fake = Fake::start().await;
    let (worker, mut attempts) = start(&fake, 1);
    let conn = soon(fake.workers.recv()).await.unwrap();
    let details = ErrorDetails::with_error_info("PROTOCOL_VERSION", "tidegate", []);
    let message = "protocol version 1 is too old";
    let refused = tonic::Status::with_error_details(tonic::Code::FailedPrecondition, message, details);
    conn.responses.send(Err(refused)).await.unwrap();
    let error = soon(worker.stopped()).await.unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
    assert!(soon(attempts.next()).await.is_none());
}

#[tokio::test]
async fn what_something_in_between_answers_does_not_end_a_worker() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    for code in [tonic::Code::Unimplemented, tonic::Code::Aborted] {
        let conn = soon(fake.workers.recv()).await.unwrap();
        conn.responses.send(Err(tonic::Status::new(code, "a proxy's page"))).await.unwrap();
    }
    fake.worker().await.assign(assign(&new_run_id())).await;
    assert!(soon(attempts.next()).await.is_some());
}

#[tokio::test]
async fn an_assignment_that_comes_twice_is_executed_once() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 3);
    let conn = fake.worker().await;
    let (twice, other) = (new_run_id(), new_run_id());
    for run_id in [&twice, &twice, &other] {
        conn.assign(assign(run_id)).await;
    }
    let first = soon(attempts.next()).await.unwrap();
    let second = soon(attempts.next()).await.unwrap();
    assert_eq!((&first.assign().run_id, &second.assign().run_id), (&twice, &other));
}

#[tokio::test]
async fn an_assignment_that_comes_again_after_its_end_is_not_executed() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 3);
    let mut conn = fake.worker().await;
    let (again, other) = (new_run_id(), new_run_id());
    conn.assign(assign(&again)).await;
    let mut first = soon(attempts.next()).await.unwrap();
    first.start();
    first.finish(End::Completed(None));
    let mut n_answered = 0;
    while n_answered < 2 {
        let reports = conn.reports().await;
        n_answered += reports.len();
        conn.answer(reports.iter().map(accepted).collect()).await;
    }
    // The answers come before it on the stream, so the worker has forgotten the run by then.
    conn.assign(assign(&again)).await;
    conn.assign(assign(&other)).await;
    assert_eq!(soon(attempts.next()).await.unwrap().assign().run_id, other);
    conn.assign(proto::Assign { epoch: assign(&again).epoch + 1, ..assign(&again) }).await;
    assert_eq!(
        soon(attempts.next()).await.unwrap().assign().run_id,
        again,
        "another epoch is another attempt"
    );
}

#[tokio::test]
async fn a_worker_that_is_given_up_gives_back_what_never_started() {
    let mut fake = Fake::start().await;
    let options = WorkerOptions { drain_grace: Duration::ZERO, ..options(2) };
    let (worker, mut attempts) = Worker::start(&fake.client(), options).unwrap();
    let mut conn = fake.worker().await;
    let (started, waiting) = (new_run_id(), new_run_id());
    conn.assign(assign(&started)).await;
    conn.assign(assign(&waiting)).await;
    let mut first = soon(attempts.next()).await.unwrap();
    let _second = soon(attempts.next()).await.unwrap();
    first.start();
    worker.drain();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let reports = conn.reports().await;
        ends.extend(reports.into_iter().filter(|report| !matches!(report.event, Some(Event::Started(_)))));
    }
    for end in ends {
        match end.event {
            Some(Event::Crashed(_)) => assert_eq!(end.run_id, started),
            Some(Event::Released(_)) => assert_eq!(end.run_id, waiting),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn no_more_runs_are_taken_while_too_many_reports_are_unanswered() {
    const N_RUNS: u32 = 6_000; // with two reports each, 2,000 over the bound
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, N_RUNS);
    let mut conn = fake.worker().await;
    let mut n_credits = conn.credits().await.tasks;
    let assigns = (0..N_RUNS).map(|_| assign(&new_run_id())).collect();
    let assigns = proto::Assignments { assigns };
    let message = Some(proto::work_response::Message::Assignments(assigns));
    conn.say(proto::WorkResponse { message }).await;
    for _ in 0..N_RUNS {
        let mut attempt = soon(attempts.next()).await.unwrap();
        attempt.start();
        attempt.finish(End::Completed(None));
    }
    let (mut reports, mut n_heartbeats) = (Vec::new(), 0);
    while reports.len() < 12_000 || n_heartbeats < 2 {
        match conn.next().await.message {
            Some(proto::work_request::Message::Reports(more)) => {
                (reports, n_heartbeats) = ([reports, more.reports].concat(), 0);
            }
            Some(proto::work_request::Message::Heartbeat(_)) => n_heartbeats += 1,
            Some(proto::work_request::Message::Credits(more)) => n_credits += more.tasks,
            other => panic!("{other:?}"),
        }
    }
    assert!(n_credits < 2 * N_RUNS, "{n_credits}");
    conn.answer(reports.iter().map(accepted).collect()).await;
    while n_credits < 2 * N_RUNS {
        n_credits += conn.credits().await.tasks;
    }
}

/// It costs the run nothing, and the worker no slot.
#[tokio::test]
async fn a_run_of_a_function_that_is_not_served_is_given_back() {
    let mut fake = Fake::start().await;
    let (_worker, mut attempts) = start(&fake, 1);
    let mut conn = fake.worker().await;
    assert_eq!(conn.credits().await.tasks, 1);
    let unserved = [
        Assign { name: "other".into(), ..assign(&new_run_id()) },
        Assign { kind: RunKind::Flow.into(), ..assign(&new_run_id()) },
    ];
    for unserved in unserved {
        let run_id = unserved.run_id.clone();
        conn.assign(unserved).await;
        let reports = conn.reports().await;
        assert_eq!((reports[0].run_id.as_str(), reports[0].epoch), (run_id.as_str(), 3));
        assert!(matches!(reports[0].event, Some(Event::Released(_))), "{reports:?}");
        conn.answer(vec![accepted(&reports[0])]).await;
    }
    let served = new_run_id();
    conn.assign(assign(&served)).await;
    assert_eq!(soon(attempts.next()).await.unwrap().assign().run_id, served);
}
