//! Local runs and log lines against a server that breaks their streams.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{Event, Fake, accepted, assert_repeated, soon};
use tidegate_proto::v1::{
    self as proto, Cancel, CancelCause, IngestLogsResponse, NewRun, ReportOutcome, State, StateType,
};
use tidegate_sdk_core::{
    Client, End, LocalRun, LogLine, Options, Session, Stop, Verdict, new_run_id, wall_clock,
};
use tokio::time::Instant;
use tonic_types::{ErrorDetails, StatusExt};

fn task(name: &str) -> NewRun {
    NewRun { name: name.into(), ..Default::default() }
}

async fn create(session: &Session, name: &str) -> LocalRun {
    session.create(task(name)).await.unwrap().await.unwrap()
}

#[tokio::test]
async fn local_runs_are_reported_in_order_and_again_after_a_break() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, session_id) = fake.session().await;
    let created = fake.accept_creates().await;
    assert_eq!(created[0].placement, Some(proto::new_run::Placement::SessionId(session_id.clone())));
    let mut run = soon(creating.join_all()).await.remove(0);
    run.start().await;
    let outcome = run.finish(End::Completed(None)).await;
    let mut first = conn.reports().await;
    if first.len() == 1 {
        first.extend(conn.reports().await);
    }
    assert!(matches!(first[0].event, Some(Event::Started(_))));
    assert!(matches!(first[1].event, Some(Event::Completed(_))));
    conn.break_off().await;

    let (mut conn, resumed_id) = fake.session().await;
    assert_eq!(resumed_id, session_id);
    let second = conn.reports().await;
    assert_repeated(&first, &second);
    let mut outcomes: Vec<_> = second.iter().map(accepted).collect();
    outcomes[1].state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    conn.answer(outcomes).await;
    let (verdict, _) = soon(outcome.verdict()).await.unwrap();
    assert!(matches!(verdict, Verdict::Ended(state) if state.r#type() == StateType::Completed));
}

#[tokio::test]
async fn a_session_that_is_told_to_reconnect_does_so_after_the_delay_under_its_id() {
    const DELAY: Duration = Duration::from_millis(200);

    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, session_id) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    run.start().await;
    let started = conn.reports().await;
    conn.answer(started.iter().map(accepted).collect()).await;
    let told_at = Instant::now();
    conn.reconnect(DELAY).await;
    let outcome = run.finish(End::Completed(None)).await;
    let unanswered = conn.reports().await; // the stream goes on until there is another

    let (mut next, resumed_id) = fake.session().await;
    assert!(told_at.elapsed() >= DELAY, "{:?}", told_at.elapsed());
    assert_eq!(resumed_id, session_id);
    conn.left().await;
    assert_repeated(&unanswered, &next.reports().await);
    let state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    next.answer(vec![ReportOutcome { state, ..accepted(&unanswered[0]) }]).await;
    let (verdict, _) = soon(outcome.verdict()).await.unwrap();
    assert!(matches!(verdict, Verdict::Ended(state) if state.r#type() == StateType::Completed));
}

#[tokio::test]
async fn a_failed_upstream_ends_a_run_that_has_not_started() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    let upstream = new_run_id();
    let end = End::UpstreamFailed { run_id: upstream.clone(), cause: "ValueError: no".into() };
    let outcome = run.finish(end).await;
    let reports = conn.reports().await;
    let [report] = &reports[..] else { panic!("there is one: {reports:?}") };
    let Some(Event::UpstreamFailed(failed)) = &report.event else { panic!("{report:?}") };
    assert_eq!((&*failed.upstream_run_id, &*failed.cause), (&*upstream, "ValueError: no"));
    let state =
        State { r#type: StateType::Failed.into(), name: "UpstreamFailed".into(), ..Default::default() };
    conn.answer(vec![ReportOutcome { state: Some(state.clone()), ..accepted(report) }]).await;
    assert_eq!(soon(outcome.verdict()).await.unwrap(), (Verdict::Ended(state), 1));
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_server_says() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    let outcome = run.finish(End::Failed(proto::Failure::default())).await;
    let failed = conn.reports().await;
    // Its clock is a day off ours; only the difference of its own two times counts.
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let mut answer = accepted(&failed[0]);
    answer.state =
        Some(State { r#type: StateType::Scheduled.into(), occurred_at: at(1_000), ..Default::default() });
    answer.due_at = at(1_007);
    answer.current_epoch = 2;
    conn.answer(vec![answer]).await;
    assert_eq!(soon(outcome.verdict()).await.unwrap(), (Verdict::Retry(Duration::from_secs(7)), 2));
    run.begin_again(2);
    run.start().await;
    assert_eq!(conn.reports().await[0].epoch, 2);
}

#[tokio::test]
async fn a_lost_session_tells_its_runs_and_is_followed_by_another() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (conn, first_id) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    run.start().await;
    let outcome = run.finish(End::Completed(None)).await;
    conn.break_off().await;
    let conn = soon(fake.sessions.recv()).await.unwrap();
    let details = ErrorDetails::with_error_info("SESSION_LOST", "tidegate", []);
    let lost = tonic::Status::with_error_details(tonic::Code::FailedPrecondition, "lease expired", details);
    conn.responses.send(Err(lost)).await.unwrap();
    assert!(matches!(soon(run.stop_signal().next()).await, Stop::Lost { .. }));
    assert!(soon(outcome.verdict()).await.unwrap_err().is_session_lost());
    let (_conn, second_id) = fake.session().await;
    assert_ne!(first_id, second_id);
}

#[tokio::test]
async fn a_run_that_is_dropped_is_ended_where_it_stands() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    drop(soon(creating.join_all()).await.remove(0));
    let crashed = conn.reports().await;
    assert!(matches!(crashed[0].event, Some(Event::Crashed(_))), "{crashed:?}");

    // While its create is under way.
    let create = client.session().create(task("count")).await.unwrap();
    drop(create);
    let created = fake.accept_creates().await;
    let crashed = conn.reports().await;
    assert_eq!(crashed[0].run_id, created[0].id);
    assert!(matches!(crashed[0].event, Some(Event::Crashed(_))), "{crashed:?}");

    // When the server has granted a retry, under the epoch of that.
    let create = client.session().create(task("count")).await.unwrap();
    fake.accept_creates().await;
    let mut run = soon(create).await.unwrap();
    let outcome = run.finish(End::Failed(proto::Failure::default())).await;
    let failed = conn.reports().await;
    drop(run);
    let state = Some(State { r#type: StateType::Scheduled.into(), ..Default::default() });
    conn.answer(vec![proto::ReportOutcome { state, current_epoch: 2, ..accepted(&failed[0]) }]).await;
    assert!(matches!(soon(outcome.verdict()).await.unwrap(), (Verdict::Retry(_), 2)));
    let crashed = conn.reports().await;
    assert_eq!(crashed[0].epoch, 2);
    assert!(matches!(crashed[0].event, Some(Event::Crashed(_))), "{crashed:?}");
}

#[tokio::test]
async fn a_run_that_has_ended_is_dropped_without_a_word() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    drop(run.finish(End::Completed(None)).await);
    let completed = conn.reports().await;
    drop(run);
    let state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    conn.answer(vec![proto::ReportOutcome { state, ..accepted(&completed[0]) }]).await;
    let create = client.session().create(task("next")).await.unwrap();
    let next = fake.accept_creates().await;
    soon(create).await.unwrap().finish(End::Completed(None)).await;
    assert_eq!(conn.reports().await[0].run_id, next[0].id);
}

#[tokio::test]
async fn a_session_that_does_not_open_is_not_waited_for_without_end() {
    let mut fake = Fake::start().await;
    let mut options = Options::new(&fake.address, "test").unwrap();
    options.call_deadline = Duration::from_millis(200);
    let client = Client::new(options).unwrap();
    let creating = client.session().create(task("count"));
    let opening = async { (fake.sessions.recv().await, std::future::pending::<()>().await) }; // never welcome
    let created = tokio::select! {
        created = soon(creating) => created.map(|_| ()),
        _ = opening => unreachable!(),
    };
    assert!(created.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn log_lines_are_sent_again_under_the_same_numbers() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let run_id = new_run_id();
    let write = |message: &str| {
        client.logs().write(LogLine {
            run_id: run_id.clone(),
            root_run_id: run_id.clone(),
            attempt: 1,
            level: proto::LogLevel::Info,
            logger: "count".into(),
            message: message.into(),
            logged_at: wall_clock(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        });
    };
    write("one");
    let mut conn = soon(fake.logs.recv()).await.unwrap();
    let first = conn.next().await;
    assert_eq!((first.batch_seq, first.entries[0].message.as_str()), (1, "one"));
    assert_eq!(first.entries[0].trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    conn.break_off().await;
    write("two");
    let mut conn = soon(fake.logs.recv()).await.unwrap();
    let again = conn.next().await;
    assert_eq!((again.batch_seq, &again.entries), (1, &first.entries));
    assert_eq!(again.writer_id, first.writer_id);
    let next = conn.next().await;
    assert_eq!((next.batch_seq, next.entries[0].message.as_str()), (2, "two"));
    conn.say(IngestLogsResponse { acked_batch_seq: 2 }).await;
    assert!(client.logs().flush(Duration::from_secs(10)).await);
    write("three");
    assert_eq!(conn.next().await.batch_seq, 3);
    assert!(!client.logs().flush(Duration::from_millis(1)).await, "not acknowledged");
}

#[tokio::test]
async fn a_child_that_this_process_is_given_is_executed_here_and_only_once() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let child = new_run_id();
    let (mut conn, mut runs) = (None, Vec::new());
    for _ in 0..2 {
        let session = client.session().clone();
        let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
        if conn.is_none() {
            conn = Some(fake.session().await.0);
        }
        fake.hand_on(&child, 5).await;
        runs.extend(soon(creating.join_all()).await);
    }
    assert!(runs.iter().all(|run| run.id() == child));
    assert_eq!((runs[0].is_existing(), runs[0].epoch()), (false, 5));
    assert!(runs[1].is_existing(), "an earlier attempt in this process still executes it");
    drop(runs.remove(1));
    runs[0].start().await;
    let conn = conn.as_mut().unwrap();
    let started = conn.reports().await;
    assert!(matches!(started[0].event, Some(Event::Started(_))), "{started:?}");
    assert_eq!((started[0].run_id.as_str(), started[0].epoch), (child.as_str(), 5));
    conn.answer(started.iter().map(accepted).collect()).await;
    drop(runs);
    let crashed = conn.reports().await;
    assert!(matches!(crashed[0].event, Some(Event::Crashed(_))), "{crashed:?}");
    assert_eq!((crashed[0].run_id.as_str(), crashed[0].epoch), (child.as_str(), 5));
}

/// A run that has failed here, and that the next attempt of its parent is given.
async fn failed_and_handed_on(fake: &mut Fake) -> (Client, Conn, LocalRun, LocalRun) {
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut first = soon(creating.join_all()).await.remove(0);
    let outcome = first.finish(End::Failed(proto::Failure::default())).await;
    let failed = conn.reports().await;
    let state = Some(State { r#type: StateType::Failed.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&failed[0]) }]).await;
    soon(outcome.verdict()).await.unwrap();
    let next = client.session().create(task("count")).await.unwrap();
    fake.hand_on(first.id(), 2).await;
    let next = soon(next).await.unwrap();
    assert_eq!((next.id(), next.epoch(), next.is_existing()), (first.id(), 2, false));
    (client, conn, first, next)
}

type Conn = fake::Conn<proto::SessionRequest, proto::SessionResponse>;

#[tokio::test]
async fn a_late_drop_by_an_earlier_attempt_does_not_end_the_run_of_the_next() {
    let mut fake = Fake::start().await;
    let (_client, mut conn, first, mut next) = failed_and_handed_on(&mut fake).await;
    drop(first);
    next.start().await;
    let started = conn.reports().await;
    assert_eq!(started.len(), 1, "{started:?}");
    assert!(matches!(started[0].event, Some(Event::Started(_))), "{started:?}");
    assert_eq!(started[0].epoch, 2);
}

#[tokio::test]
async fn what_is_said_to_an_earlier_attempt_is_not_for_the_next() {
    let mut fake = Fake::start().await;
    let (_client, mut conn, mut first, next) = failed_and_handed_on(&mut fake).await;
    let outcome = first.finish(End::Completed(None)).await; // code that had been given up
    let late = conn.reports().await;
    let state = Some(State { r#type: StateType::Pending.into(), ..Default::default() });
    let stale = ReportOutcome {
        accepted: false,
        reason: "STALE_EPOCH".into(),
        current_epoch: 2,
        state,
        ..accepted(&late[0])
    };
    conn.answer(vec![stale]).await;
    assert_eq!(soon(outcome.verdict()).await.unwrap_err().reason(), "STALE_EPOCH");
    let cancel = |epoch, cause: CancelCause| Cancel {
        run_id: next.id().to_owned(),
        epoch,
        cause: cause.into(),
        message: format!("of epoch {epoch}"),
        grace: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
    };
    conn.cancel(cancel(1, CancelCause::Lost)).await;
    conn.cancel(cancel(2, CancelCause::Requested)).await;
    let grace = Duration::from_secs(7);
    assert_eq!(soon(next.stop_signal().next()).await, Stop::Cancel { message: "of epoch 2".into(), grace });
}

#[tokio::test]
async fn a_child_is_handed_on_before_the_answer_to_its_end_has_come() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut first = soon(creating.join_all()).await.remove(0);
    let _outcome = first.finish(End::Failed(proto::Failure::default())).await;
    let failed = conn.reports().await;
    let next = client.session().create(task("count")).await.unwrap();
    fake.hand_on(first.id(), 2).await;
    let mut next = soon(next).await.unwrap();
    assert!(!next.is_existing(), "nobody else executes it");
    let state = Some(State { r#type: StateType::Failed.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&failed[0]) }]).await;
    drop(next.finish(End::Completed(None)).await);
    let completed = conn.reports().await;
    assert_eq!(completed[0].epoch, 2);
    drop(first);
    drop(next);
    let state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&completed[0]) }]).await;
}

#[tokio::test]
async fn a_large_result_is_uploaded_without_keeping_its_reporter() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    let result = tidegate_sdk_core::payload::json(vec![b'1'; 100 << 10]);
    let outcome = soon(run.finish(End::Completed(Some(result)))).await;
    let reference = fake.announced(None).await;
    drop(run); // who executed it may go on
    let closing =
        tokio::task::JoinSet::from_iter([async move { client.close(Duration::from_secs(20)).await }]);
    assert_eq!(fake.take_bytes(&reference).await.len(), 100 << 10);
    let completed = conn.reports().await;
    let Some(Event::Completed(end)) = &completed[0].event else { panic!("{completed:?}") };
    assert_eq!(end.result.as_ref().unwrap().reference.as_ref(), Some(&reference));
    let state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&completed[0]) }]).await;
    assert!(matches!(soon(outcome.verdict()).await.unwrap(), (Verdict::Ended(_), 1)));
    while soon(conn.requests.message()).await.unwrap().is_some() {} // the session ends after the report, not before
    drop(conn);
    soon(closing.join_all()).await;
}

#[tokio::test]
async fn large_results_wait_until_those_before_them_are_uploaded() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut runs = soon(creating.join_all()).await;
    for _ in 0..2 {
        let create = client.session().create(task("count")).await.unwrap();
        fake.accept_creates().await;
        runs.push(soon(create).await.unwrap());
    }
    // Two of them are more than this process holds at a time.
    let large = || tidegate_sdk_core::payload::json(vec![b'1'; 33 << 20]);
    let [mut first, mut second, mut third] = <[LocalRun; 3]>::try_from(runs).unwrap();
    drop(soon(first.finish(End::Completed(Some(large())))).await);
    let reference = fake.announced(None).await;
    let outcome = {
        let mut waiting = std::pin::pin!(second.finish(End::Completed(Some(large()))));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        // What travels in its report waits for nobody.
        drop(soon(third.finish(End::Completed(Some(tidegate_sdk_core::payload::json("7"))))).await);
        let reports = conn.reports().await;
        assert_eq!(reports.iter().map(|report| &*report.run_id).collect::<Vec<_>>(), [third.id()]);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        fake.take_bytes(&reference).await;
        soon(waiting).await
    };
    assert_eq!(conn.reports().await[0].run_id, first.id());
    let (reference, _) = fake.take_upload().await;
    let completed = conn.reports().await;
    let Some(Event::Completed(end)) = &completed[0].event else { panic!("{completed:?}") };
    assert_eq!(end.result.as_ref().unwrap().reference.as_ref(), Some(&reference));
    let state = Some(State { r#type: StateType::Completed.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&completed[0]) }]).await;
    assert!(matches!(soon(outcome.verdict()).await.unwrap(), (Verdict::Ended(_), 1)));
}

#[tokio::test]
async fn a_run_whose_report_meets_a_fault_for_long_is_crashed() {
    let mut fake = Fake::start().await;
    let mut options = Options::new(&fake.address, "test").unwrap();
    options.call_deadline = Duration::from_secs(5);
    let client = Client::new(options).unwrap();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    let outcome = run.finish(End::Completed(None)).await;
    let mut n_faults = 0;
    let crashed = loop {
        let report = conn.reports().await.remove(0);
        if matches!(report.event, Some(Event::Crashed(_))) {
            break report;
        }
        n_faults += 1;
        let fault = ReportOutcome { accepted: false, reason: "INTERNAL".into(), ..accepted(&report) };
        conn.answer(vec![fault]).await;
    };
    assert!(n_faults > 1, "it is not repeated");
    assert_eq!(soon(outcome.verdict()).await.unwrap_err().reason(), "INTERNAL");
    assert_eq!(crashed.run_id, run.id());
}

#[tokio::test]
async fn a_run_that_is_made_with_a_cached_result_is_not_executed() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (_conn, _) = fake.session().await;
    let (request, answer) = soon(fake.creates.recv()).await.unwrap();
    let outcome = proto::CreateRunOutcome {
        run_id: request.runs[0].id.clone(),
        created: true,
        state: Some(State { r#type: StateType::Completed.into(), ..Default::default() }),
        ..Default::default()
    };
    answer.send(Ok(proto::CreateRunsResponse { outcomes: vec![outcome] })).unwrap();
    assert!(soon(creating.join_all()).await[0].is_existing());
}

#[tokio::test]
async fn a_pause_that_is_given_up_leaves_the_run_its_timeout() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let run_timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let policies = Some(proto::Policies { run_timeout, ..Default::default() });
    let timed = NewRun { policies, ..task("count") };
    let creating =
        tokio::task::JoinSet::from_iter([async move { session.create(timed).await.unwrap().await.unwrap() }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let mut run = soon(creating.join_all()).await.remove(0);
    run.start().await;
    let started = conn.reports().await;
    conn.answer(started.iter().map(accepted).collect()).await;
    let pauser = run.pauser();
    let pause = proto::report::Paused { key: "approve".into(), ..Default::default() };
    let pausing = tokio::task::JoinSet::from_iter([async move { pauser.pause(pause).await }]);
    let paused = conn.reports().await;
    let state = Some(State { r#type: StateType::Paused.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&paused[0]) }]).await;
    let (_, _answer) = soon(fake.pauses.recv()).await.unwrap();
    drop(pausing);
    assert_eq!(soon(run.stop_signal().next()).await, Stop::TimedOut);
}

#[tokio::test]
async fn a_local_run_waits_in_its_process_until_it_is_resumed() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let session = client.session().clone();
    let creating = tokio::task::JoinSet::from_iter([async move { create(&session, "count").await }]);
    let (mut conn, _) = fake.session().await;
    fake.accept_creates().await;
    let run = soon(creating.join_all()).await.remove(0);
    let pauser = run.pauser();
    let pause = proto::report::Paused { key: "approve".into(), ..Default::default() };
    let mut pausing = tokio::task::JoinSet::from_iter([async move { pauser.pause(pause).await }]);
    let paused = conn.reports().await;
    assert!(matches!(paused[0].event, Some(Event::Paused(_))), "{paused:?}");
    let state = Some(State { r#type: StateType::Paused.into(), ..Default::default() });
    conn.answer(vec![ReportOutcome { state, ..accepted(&paused[0]) }]).await;
    let (request, answer) = soon(fake.pauses.recv()).await.unwrap();
    assert_eq!((request.run_id.as_str(), request.pause_key.as_str()), (run.id(), "approve"));
    let input = Some(tidegate_sdk_core::payload::json("7"));
    answer.send(Ok(proto::AwaitResumeResponse { resumed: true, input: input.clone() })).unwrap();
    assert_eq!(soon(pausing.join_next()).await.unwrap().unwrap().unwrap(), input);
    drop(run); // it is still this session's
    assert!(matches!(conn.reports().await[0].event, Some(Event::Crashed(_))));
}
