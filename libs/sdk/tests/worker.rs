//! What becomes of user code, against a service that the test plays.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../sdk-core/tests/fake/mod.rs"]
mod fake;

use std::time::Duration;

use fake::{Conn, Event, Fake, accepted, soon};
use serde::{Deserialize, Serialize};
use tidegate_sdk::{
    CancellationToken, Client, Context, NonRetryable, Worker,
    core::{self, payload},
    proto::{
        self, Assign, AwaitResumeResponse, Cancel, CancelCause, Report, ReportOutcome, RunKind, State,
        StateType, WorkRequest, WorkResponse, new_run,
    },
};
use tokio::task::JoinSet;

type Stream = Conn<WorkRequest, WorkResponse>;

#[derive(Serialize, Deserialize)]
struct Params {
    n: i64,
}

async fn double(_: Context, params: Params) -> anyhow::Result<i64> {
    match params.n {
        0 => panic!("zero"),
        1 => anyhow::bail!("one"),
        2 => Err(NonRetryable::new("two"))?,
        n => Ok(2 * n),
    }
}

async fn sleeps(_: Context, (): ()) -> Result<(), String> {
    std::future::pending().await
}

async fn cleans_up(ctx: Context, (): ()) -> Result<(), String> {
    ctx.cancellation().cancelled().await;
    ctx.task("cleanup").delay(&()).await.map(drop).map_err(|error| error.to_string())
}

async fn asks(ctx: Context, suspends: bool) -> anyhow::Result<String> {
    let wait = ctx.pause("name").request("who?").timeout(Duration::from_secs(60));
    Ok(if suspends { wait.suspend() } else { wait }.input().await?)
}

async fn fans_out(ctx: Context, n: usize) -> anyhow::Result<Vec<String>> {
    let params: Vec<Params> = (0..n).map(|n| Params { n: n as i64 }).collect();
    let handles = ctx.task("double").delay_many(&params).await?;
    Ok(handles.iter().map(|handle| handle.id().to_owned()).collect())
}

/// A worker at work, and the service's end of its stream.
async fn start(fake: &mut Fake) -> (Stream, CancellationToken, JoinSet<Result<(), core::Error>>) {
    let client = Client::connect(&fake.address, "test").unwrap();
    let worker = Worker::builder(client)
        .task("double", double)
        .task("sleeps", sleeps)
        .task("cleans_up", cleans_up)
        .task("asks", asks)
        .flow("fans_out", fans_out)
        .drain_grace(Duration::from_secs(5))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let working = JoinSet::from_iter([worker.run(stop.clone())]);
    (fake.worker().await, stop, working)
}

fn assign(name: &str, parameters: &str) -> Assign {
    Assign {
        run_id: core::new_run_id(),
        epoch: 1,
        kind: RunKind::Task.into(),
        name: name.into(),
        attempt: 1,
        parameters: Some(payload::json(parameters.to_owned())),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        ..Default::default()
    }
}

/// Answers reports until that of the run's end.
async fn end_of(conn: &mut Stream) -> Report {
    loop {
        let reports = conn.reports().await;
        conn.answer(reports.iter().map(accepted).collect()).await;
        for report in reports {
            if !matches!(report.event, Some(Event::Started(_))) {
                return report;
            }
        }
    }
}

#[tokio::test]
async fn two_functions_of_one_name_are_refused() {
    let client = Client::connect("http://127.0.0.1:1", "test").unwrap();
    let builder = Worker::builder(client).task("double", double).task("double", sleeps);
    let error = builder.build().unwrap_err();
    assert!(error.message().starts_with("two tasks are served as `double`: give one"), "{error}");
}

#[tokio::test]
async fn values_errors_and_panics_are_reported() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, _working) = start(&mut fake).await;
    conn.assign(assign("double", r#"{"n":21}"#)).await;
    let Some(Event::Completed(completed)) = end_of(&mut conn).await.event else {
        panic!("it did not complete")
    };
    assert_eq!(completed.result.unwrap().data, "42");

    let mut failures = Vec::new();
    for parameters in [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"m":2}"#] {
        conn.assign(assign("double", parameters)).await;
        let Some(Event::Failed(failure)) = end_of(&mut conn).await.event else { panic!("it did not fail") };
        failures.push((failure.error_type, failure.message, failure.non_retryable));
    }
    assert_eq!(failures[0], ("panic".into(), "zero".into(), false));
    assert_eq!(failures[1], ("anyhow::Error".into(), "one".into(), false));
    assert_eq!(failures[2], ("anyhow::Error".into(), "two".into(), true));
    assert!(failures[3].1.contains("missing field `n`") && failures[3].2, "{:?}", failures[3]);
}

#[tokio::test]
async fn code_is_stopped_when_its_time_is_over() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, _working) = start(&mut fake).await;
    let run_timeout = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    conn.assign(Assign { run_timeout, ..assign("sleeps", "null") }).await;
    assert!(matches!(end_of(&mut conn).await.event, Some(Event::TimedOut(_))));
}

#[tokio::test]
async fn code_that_asks_for_the_token_may_clean_up_and_other_code_is_dropped() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, _working) = start(&mut fake).await;
    for name in ["sleeps", "cleans_up"] {
        let run = assign(name, "null");
        conn.assign(run.clone()).await;
        let started = conn.reports().await;
        conn.answer(started.iter().map(accepted).collect()).await;
        let grace = Some(prost_types::Duration { seconds: 20, nanos: 0 });
        let cause = CancelCause::Requested.into();
        conn.cancel(Cancel { run_id: run.run_id.clone(), epoch: 1, cause, message: String::new(), grace })
            .await;
        if name == "cleans_up" {
            let created = fake.accept_creates().await;
            assert_eq!((created[0].name.as_str(), &created[0].parent_run_id), ("cleanup", &run.run_id));
        }
        assert!(matches!(end_of(&mut conn).await.event, Some(Event::Cancelled(_))), "{name}");
    }
}

#[tokio::test]
async fn children_have_their_parent_its_trace_and_their_numbers() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, _working) = start(&mut fake).await;
    let flow = Assign { kind: RunKind::Flow.into(), ..assign("fans_out", "3") };
    conn.assign(flow.clone()).await;
    let mut created: Vec<proto::NewRun> = Vec::new();
    while created.len() < 3 {
        created.extend(fake.accept_creates().await);
    }
    for run in &created {
        assert_eq!((&run.parent_run_id, run.parent_epoch), (&flow.run_id, flow.epoch));
        assert_eq!((run.child_call, run.idempotency_key.as_str()), (1, ""), "the first with its parameters");
        assert_eq!(
            run.traceparent, flow.traceparent,
            "nothing is exported here, so it is passed on as it is"
        );
        assert_eq!(run.placement, Some(new_run::Placement::Queue("default".into())));
    }
    assert!(matches!(end_of(&mut conn).await.event, Some(Event::Completed(_))));
}

#[tokio::test]
async fn a_drained_worker_ends_once_its_runs_have() {
    let mut fake = Fake::start().await;
    let (mut conn, stop, working) = start(&mut fake).await;
    let run = assign("cleans_up", "null");
    conn.assign(run.clone()).await;
    let started = conn.reports().await;
    conn.answer(started.iter().map(accepted).collect()).await;
    stop.cancel();
    let grace = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let cause = CancelCause::Requested.into();
    conn.cancel(Cancel { run_id: run.run_id, epoch: 1, cause, message: String::new(), grace }).await;
    fake.accept_creates().await;
    end_of(&mut conn).await;
    while soon(conn.requests.message()).await.unwrap().is_some() {} // it half-closes
    drop(conn);
    soon(working.join_all()).await.remove(0).unwrap();
}

#[tokio::test]
async fn a_worker_that_the_server_drains_ends_once_its_runs_have() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, working) = start(&mut fake).await;
    let run = assign("cleans_up", "null");
    conn.assign(run.clone()).await;
    let started = conn.reports().await;
    conn.answer(started.iter().map(accepted).collect()).await;
    conn.drain().await;
    conn.draining_heartbeats(2).await;
    let grace = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let cause = CancelCause::Requested.into();
    conn.cancel(Cancel { run_id: run.run_id, epoch: 1, cause, message: String::new(), grace }).await;
    fake.accept_creates().await;
    let end = end_of(&mut conn).await;
    assert!(matches!(end.event, Some(Event::Cancelled(_))), "it was not stopped before: {end:?}");
    while soon(conn.requests.message()).await.unwrap().is_some() {} // it half-closes
    drop(conn);
    soon(working.join_all()).await.remove(0).unwrap();
}

/// The report of the pause that comes after the start.
async fn paused(conn: &mut Stream) -> Report {
    let report = loop {
        let mut reports = conn.reports().await;
        if let Some(paused) = reports.pop_if(|report| matches!(report.event, Some(Event::Paused(_)))) {
            conn.answer(reports.iter().map(accepted).collect()).await;
            break paused;
        }
        conn.answer(reports.iter().map(accepted).collect()).await;
    };
    let Some(Event::Paused(pause)) = &report.event else { panic!("{report:?}") };
    assert_eq!((pause.key.as_str(), pause.timeout.map(|timeout| timeout.seconds)), ("name", Some(60)));
    assert_eq!(pause.request.as_ref().unwrap().data, "\"who?\"");
    report
}

fn state(r#type: StateType) -> Option<State> {
    Some(State { r#type: r#type.into(), ..State::default() })
}

#[tokio::test]
async fn code_that_waits_goes_on_with_what_it_is_resumed_with_and_its_clock_stands_meanwhile() {
    let mut fake = Fake::start().await;
    let (mut conn, _stop, _working) = start(&mut fake).await;
    let run_timeout = Some(prost_types::Duration { seconds: 4, nanos: 0 });
    conn.assign(Assign { run_timeout, ..assign("asks", "false") }).await;
    let report = paused(&mut conn).await;
    conn.answer(vec![ReportOutcome { state: state(StateType::Paused), ..accepted(&report) }]).await;
    let (asked, answer) = soon(fake.pauses.recv()).await.unwrap();
    assert_eq!((asked.run_id.as_str(), asked.pause_key.as_str()), (report.run_id.as_str(), "name"));
    // An api that goes away is asked again.
    drop(answer);
    let (_, answer) = soon(fake.pauses.recv()).await.unwrap();
    // Longer than the run timeout: heartbeats tell the time here.
    for _ in 0..90 {
        assert_eq!(conn.heartbeat().await.len(), 1);
    }
    let input = Some(payload::json("\"Ada\"".to_owned()));
    answer.send(Ok(AwaitResumeResponse { resumed: true, input })).unwrap();
    let Some(Event::Completed(completed)) = end_of(&mut conn).await.event else {
        panic!("it did not complete")
    };
    assert_eq!(completed.result.unwrap().data, "\"Ada\"");
}

#[tokio::test]
async fn code_that_suspends_is_dropped_and_its_slot_is_free() {
    let mut fake = Fake::start().await;
    let (mut conn, stop, mut working) = start(&mut fake).await;
    conn.assign(assign("asks", "true")).await;
    let report = paused(&mut conn).await;
    assert!(matches!(&report.event, Some(Event::Paused(pause)) if pause.suspend));
    let suspended = ReportOutcome { state: state(StateType::Paused), current_epoch: 2, ..accepted(&report) };
    conn.answer(vec![suspended]).await;
    while !conn.heartbeat().await.is_empty() {}
    // It holds nothing that a drain would wait for.
    stop.cancel();
    soon(working.join_next()).await.unwrap().unwrap().unwrap();
}
