//! A worker of a pool, and the process that executes a run for it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::{collections::BTreeMap, time::Duration};

use fake::{Event, Fake, accepted, soon};
use tidegate_proto::v1::{Assign, Run, RunKind, State, StateType, work_request};
use tidegate_sdk_core::{Attempts, End, Error, ErrorKind, Stop, Worker, WorkerOptions, new_run_id, payload};

const GRACE: Duration = Duration::from_secs(5);

fn run(id: &str, state: StateType, epoch: u64) -> Run {
    Run {
        id: id.into(),
        kind: RunKind::Flow.into(),
        name: "etl".into(),
        attempt: 1,
        epoch,
        state: Some(State { r#type: state.into(), ..Default::default() }),
        parameters: Some(payload::json(b"{}".to_vec())),
        ..Default::default()
    }
}

/// An executor of the run, as soon as the server has told it what that is.
async fn executor(fake: &mut Fake, run: Run, epoch: u64) -> Result<(Worker, Attempts), Error> {
    let client = fake.client();
    let id = run.id.clone();
    let (started, ()) = tokio::join!(Worker::execute(&client, &id, epoch, GRACE), fake.tell_run(run));
    started
}

#[tokio::test]
async fn an_executor_holds_one_run_and_ends_with_it() {
    let (mut fake, id) = (Fake::start().await, new_run_id());
    let (worker, mut attempts) = executor(&mut fake, run(&id, StateType::Pending, 4), 4).await.unwrap();
    let (mut conn, hello) = fake.worker_and_hello().await;
    assert_eq!((hello.executes[0].run_id.as_str(), hello.executes[0].epoch), (id.as_str(), 4));
    assert!(hello.queues.is_empty() && hello.functions.is_empty());
    assert_eq!(conn.heartbeat().await[0].run_id, id);
    let mut attempt = soon(attempts.next()).await.unwrap();
    assert_eq!((attempt.assign().attempt, attempt.assign().name.as_str()), (2, "etl"));
    attempt.start();
    attempt.finish(End::Completed(None));
    let mut n_reports = 0;
    while n_reports < 2 {
        let message = conn.next().await.message;
        assert!(!matches!(message, Some(work_request::Message::Credits(_))), "it takes no other runs");
        if let Some(work_request::Message::Reports(reports)) = message {
            n_reports += reports.reports.len();
            conn.answer(reports.reports.iter().map(accepted).collect()).await;
        }
    }
    drop(conn);
    soon(worker.stopped()).await.unwrap();
}

#[tokio::test]
async fn a_run_that_was_taken_away_is_not_executed() {
    let (mut fake, id) = (Fake::start().await, new_run_id());
    for (state, epoch) in [(StateType::Pending, 5), (StateType::Completed, 4), (StateType::Scheduled, 4)] {
        let error = executor(&mut fake, run(&id, state, epoch), 4).await.unwrap_err();
        assert!(error.kind() == ErrorKind::FailedPrecondition, "{error}");
        assert!(error.to_string().contains("under epoch 4"), "{error}");
    }
}

#[tokio::test]
async fn an_executor_hears_of_a_cancel_that_came_before_it() {
    let (mut fake, id) = (Fake::start().await, new_run_id());
    let (_worker, mut attempts) = executor(&mut fake, run(&id, StateType::Cancelling, 4), 4).await.unwrap();
    let attempt = soon(attempts.next()).await.unwrap();
    assert!(matches!(attempt.stop_signal().now(), Stop::Cancel { .. }));
    assert_eq!(attempt.assign().attempt, 1, "it had started");
}

fn options() -> WorkerOptions {
    WorkerOptions {
        name: "rack-7".into(),
        queues: vec!["fast".into()],
        functions: Vec::new(),
        work_pool: "lab".into(),
        labels: BTreeMap::new(),
        task_slots: 0,
        flow_slots: 2,
        drain_grace: GRACE,
    }
}

#[tokio::test]
async fn a_worker_of_a_pool_leaves_a_run_to_the_process_that_has_reported_it() {
    let (mut fake, id) = (Fake::start().await, new_run_id());
    let (_worker, mut attempts) = Worker::start(&fake.client(), options()).unwrap();
    let (mut conn, hello) = fake.worker_and_hello().await;
    assert_eq!((hello.work_pool.as_str(), hello.functions.len()), ("lab", 0));
    assert!(hello.worker_id.starts_with("rack-7:"), "{}", hello.worker_id);
    assert_eq!(conn.credits().await.flows, 2);
    conn.assign(Assign { run_id: id.clone(), epoch: 3, kind: RunKind::Flow.into(), ..Default::default() })
        .await;
    let attempt = soon(attempts.next()).await.unwrap();
    while conn.heartbeat().await.first().is_none_or(|held| held.run_id != id) {}
    attempt.leave();
    loop {
        match conn.next().await.message {
            Some(work_request::Message::Reports(reports)) => panic!("it was reported: {reports:?}"),
            Some(work_request::Message::Credits(credits)) => break assert_eq!(credits.flows, 1),
            _ => {}
        }
    }
    while !conn.heartbeat().await.is_empty() {}
}

#[tokio::test]
async fn a_worker_of_a_pool_has_the_runs_that_an_earlier_one_left() {
    let (mut fake, id) = (Fake::start().await, new_run_id());
    let left = Assign { run_id: id.clone(), epoch: 3, kind: RunKind::Flow.into(), ..Default::default() };
    let (_worker, mut attempts) = Worker::start_holding(&fake.client(), options(), vec![left]).unwrap();
    let mut conn = fake.worker().await;
    assert_eq!(conn.heartbeat().await[0].run_id, id);
    let attempt = soon(attempts.next()).await.unwrap();
    attempt.finish(End::Crashed("signal 9 (SIGKILL)".into()));
    let reports = conn.reports().await;
    assert!(matches!(reports[0].event, Some(Event::Crashed(_))), "{reports:?}");
}

#[tokio::test]
async fn a_worker_of_a_pool_serves_no_functions() {
    let fake = Fake::start().await;
    let function = tidegate_proto::v1::Function { kind: RunKind::Flow.into(), name: "etl".into() };
    let both = WorkerOptions { functions: vec![function], ..options() };
    let error = Worker::start(&fake.client(), both).unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
    let neither = WorkerOptions { work_pool: String::new(), ..options() };
    assert!(Worker::start(&fake.client(), neither).unwrap_err().is_invalid_argument());
}
