//! SessionService as an SDK process sees it.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Api, fields, payload, reason, report, silent_storage, task};
use tidegate_model::{Namespace, SessionId};
use tidegate_payload::ObjectStorage;
use tidegate_proto::v1::{self, session_request, session_response};
use tidegate_service_kit::{HumanDuration, config};
use tidegate_store::RunStore;
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::SkewedClock;
use tidegate_wire::timestamp_from_proto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

const SESSION_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

struct Session {
    sender: mpsc::Sender<v1::SessionRequest>,
    inbound: Streaming<v1::SessionResponse>,
}

impl Session {
    async fn open(api: &Api) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let hello = v1::SessionHello {
            protocol_version: 1,
            session_id: SESSION_ID.to_owned(),
            identity: "host:1".to_owned(),
            ..Default::default()
        };
        let session = Self::send_to(&sender, session_request::Message::Hello(hello));
        session.await;
        let inbound = api.sessions.clone().session(ReceiverStream::new(receiver)).await.expect("opens");
        let mut session = Self { sender, inbound: inbound.into_inner() };
        assert!(matches!(session.next().await, session_response::Message::Welcome(_)));
        session
    }

    async fn send_to(sender: &mpsc::Sender<v1::SessionRequest>, message: session_request::Message) {
        sender.send(v1::SessionRequest { message: Some(message) }).await.expect("is open");
    }

    async fn next(&mut self) -> session_response::Message {
        let message = self.inbound.message().await.expect("goes on").expect("is open");
        message.message.expect("is set")
    }

    /// Reports and gives the outcomes.
    async fn report(&mut self, reports: Vec<v1::Report>) -> Vec<v1::ReportOutcome> {
        Self::send_to(&self.sender, session_request::Message::Reports(v1::Reports { reports })).await;
        match self.next().await {
            session_response::Message::Outcomes(outcomes) => outcomes.outcomes,
            other => panic!("{other:?} instead of outcomes"),
        }
    }
}

fn local() -> v1::NewRun {
    v1::NewRun { placement: Some(v1::new_run::Placement::SessionId(SESSION_ID.to_owned())), ..task() }
}

fn started() -> v1::report::Event {
    v1::report::Event::Started(v1::report::Started {})
}

fn completed() -> v1::report::Event {
    v1::report::Event::Completed(v1::report::Completed { result: Some(payload(b"1")), ..Default::default() })
}

fn state_name(outcome: &v1::ReportOutcome) -> &str {
    outcome.state.as_ref().map_or("", |state| state.name.as_str())
}

#[tokio::test]
async fn a_process_reports_its_local_runs_in_batches() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    assert_eq!((run.epoch, run.session_id.as_str()), (1, SESSION_ID));
    let outcomes = session.report(vec![report(&run.id, 1, started()), report(&run.id, 1, completed())]).await;
    assert!(outcomes.iter().all(|outcome| outcome.accepted), "{outcomes:?}");
    assert_eq!(outcomes.iter().map(state_name).collect::<Vec<_>>(), ["Running", "Completed"]);
    // A repeat after a broken stream is answered alike.
    let again = session.report(vec![report(&run.id, 1, completed())]).await;
    assert!(again[0].accepted);
}

#[tokio::test]
async fn what_chooses_a_worker_is_refused_for_a_local_run() {
    let api = Api::start().await;
    let _session = Session::open(&api).await;
    let parent = api.created(local()).await;
    let new = v1::NewRun {
        parent_run_id: parent.id,
        fairness_key: "customer".to_owned(),
        required_worker_labels: [("gpu".to_owned(), "true".to_owned())].into(),
        prefer_parent_worker: true,
        ..local()
    };
    let refused = api.create(new).await.expect_err("is refused");
    let named = ["run.fairness_key", "run.required_worker_labels", "run.prefer_parent_worker"];
    assert_eq!(fields(&refused), named);
}

#[tokio::test]
async fn a_retry_is_the_servers_verdict_and_the_process_carries_it_out() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let policies = v1::Policies {
        retry: Some(v1::RetryPolicy { max_retries: 1, ..Default::default() }),
        ..Default::default()
    };
    let run = api.created(v1::NewRun { policies: Some(policies), ..local() }).await;
    let failure = v1::Failure { error_type: "ValueError".into(), ..Default::default() };
    let failed = v1::report::Event::Failed(failure);
    let outcomes =
        session.report(vec![report(&run.id, 1, started()), report(&run.id, 1, failed.clone())]).await;
    assert_eq!(state_name(&outcomes[1]), "AwaitingRetry");
    assert!(outcomes[1].due_at.is_some());
    let epoch = outcomes[1].current_epoch;
    let outcomes =
        session.report(vec![report(&run.id, epoch, started()), report(&run.id, epoch, failed)]).await;
    assert_eq!(outcomes.iter().map(state_name).collect::<Vec<_>>(), ["Retrying", "Failed"]);
    assert_eq!(outcomes[1].attempt, 2);
}

/// Its process says that the attempt is an hour old: it counts as old as the run is.
#[tokio::test]
async fn the_age_of_a_failure_is_no_part_of_the_delay_before_the_retry() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let retry = v1::RetryPolicy { max_retries: 1, delays: vec![hour], ..Default::default() };
    let policies = v1::Policies { retry: Some(retry), ..Default::default() };
    let run = api.created(v1::NewRun { policies: Some(policies), ..local() }).await;
    let failed = v1::report::Event::Failed(v1::Failure::default());
    let aged = |event, age| v1::Report { age: Some(age), ..report(&run.id, 1, event) };
    let wrong = prost_types::Duration { seconds: -1, nanos: 0 };
    let outcomes =
        session.report(vec![aged(started(), hour), aged(failed.clone(), wrong), aged(failed, hour)]).await;
    assert_eq!(outcomes[1].reason, "INVALID_FIELD");
    assert!(outcomes[1].message.starts_with("age: "), "{outcomes:?}");
    assert_eq!(state_name(&outcomes[2]), "AwaitingRetry");
    let time = |time: Option<prost_types::Timestamp>| timestamp_from_proto(&time.expect("is told"));
    let created_at = time(run.created_at).expect("is a time");
    assert_eq!(time(outcomes[2].due_at), Some(created_at + Duration::from_secs(3_600)));
}

#[tokio::test]
async fn a_cancel_reaches_the_process() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    session.report(vec![report(&run.id, 1, started())]).await;
    let request =
        v1::CancelRunRequest { run_id: run.id.clone(), reason: "enough".into(), ..Default::default() };
    api.runs.clone().cancel_run(request).await.expect("cancels");
    let session_response::Message::Cancels(cancels) = session.next().await else { panic!("no cancel") };
    assert_eq!((cancels.cancels[0].run_id.as_str(), cancels.cancels[0].epoch), (run.id.as_str(), 1));
    assert_eq!(cancels.cancels[0].cause(), v1::CancelCause::Requested);
    let cancelled = v1::report::Event::Cancelled(v1::report::Cancelled {});
    let outcomes = session.report(vec![report(&run.id, 1, cancelled)]).await;
    assert_eq!(state_name(&outcomes[0]), "Cancelled");
}

#[tokio::test]
async fn a_cancel_made_while_the_process_was_away_is_told_when_it_is_back() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    session.report(vec![report(&run.id, 1, started())]).await;
    drop(session);
    let request = v1::CancelRunRequest { run_id: run.id.clone(), ..Default::default() };
    api.runs.clone().cancel_run(request).await.expect("cancels");
    let mut session = Session::open(&api).await;
    let session_response::Message::Cancels(cancels) = session.next().await else { panic!("no cancel") };
    assert_eq!((cancels.cancels[0].run_id.as_str(), cancels.cancels[0].epoch), (run.id.as_str(), 1));
    assert!(cancels.cancels[0].grace.is_some());
}

#[tokio::test]
async fn a_local_run_that_waits_is_taken_away_by_a_cancel() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    let request = v1::CancelRunRequest { run_id: run.id.clone(), ..Default::default() };
    api.runs.clone().cancel_run(request).await.expect("cancels");
    let session_response::Message::Cancels(cancels) = session.next().await else { panic!("no cancel") };
    assert_eq!(cancels.cancels[0].cause(), v1::CancelCause::Lost);
    assert_eq!(cancels.cancels[0].epoch, 1, "the epoch under which the process has it");
}

#[tokio::test]
async fn a_bad_report_fails_alone_with_its_reason() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8058";
    let outcomes = session
        .report(vec![
            report("x", 1, started()),
            report(unknown, 1, started()),
            report(&run.id, 7, started()),
            report(&run.id, 1, completed()),
            report(&run.id, 1, started()),
        ])
        .await;
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.reason.as_str()).collect();
    assert_eq!(reasons, ["INVALID_FIELD", "RUN_NOT_FOUND", "STALE_EPOCH", "TRANSITION_NOT_ALLOWED", ""]);
    assert_eq!(outcomes[2].current_epoch, 1, "a refused report tells how things stand");
}

#[tokio::test]
async fn a_pause_with_a_large_request_keeps_its_place() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    let request = Some(v1::Payload { data: vec![b'x'; 1 << 20].into(), ..payload(b"") });
    let paused = v1::report::Paused { key: "ask".to_owned(), request, ..Default::default() };
    let paused = v1::report::Event::Paused(paused);
    let first = vec![report(&run.id, 1, started()), report(&run.id, 1, paused)];
    let second = vec![report(&run.id, 1, completed())];
    for reports in [first, second] {
        let message = session_request::Message::Reports(v1::Reports { reports });
        Session::send_to(&session.sender, message).await;
    }
    let mut names = Vec::new();
    for _ in 0..2 {
        let session_response::Message::Outcomes(outcomes) = session.next().await else {
            panic!("no outcomes")
        };
        assert!(outcomes.outcomes.iter().all(|outcome| outcome.accepted), "{outcomes:?}");
        names.extend(outcomes.outcomes.iter().map(|outcome| state_name(outcome).to_owned()));
    }
    assert_eq!(names, ["Running", "Paused", "Completed"]);
}

#[tokio::test]
async fn a_process_is_alive_while_its_reports_wait_for_object_storage() {
    let store = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let (_silent, storage) = silent_storage();
    let mut config = config::defaults::<tidegate_api::Config>();
    config.session.lease_duration = HumanDuration::new(Duration::from_secs(3));
    config.session.heartbeat_interval = HumanDuration::new(Duration::from_millis(500));
    let api = Api::with(store, storage, config).await;
    let mut session = Session::open(&api).await;
    let run = api.created(local()).await;
    session.report(vec![report(&run.id, 1, started())]).await;
    let result = Some(v1::Payload { data: vec![b'x'; 1 << 20].into(), ..payload(b"") });
    let large = v1::report::Event::Completed(v1::report::Completed { result, ..Default::default() });
    // As many batches as are taken at once; all wait for longer than the lease lasts, and no heartbeat is read.
    for _ in 0..8 {
        let reports = vec![report(&run.id, 1, large.clone())];
        let message = session_request::Message::Reports(v1::Reports { reports });
        Session::send_to(&session.sender, message).await;
    }
    let session_response::Message::Outcomes(outcomes) = session.next().await else { panic!("no outcomes") };
    assert_eq!(outcomes.outcomes[0].reason, "DEPENDENCY_UNAVAILABLE");
    api.created(local()).await; // which a session that is lost cannot
}

#[tokio::test]
async fn an_unknown_session_gets_no_runs_and_an_old_protocol_no_session() {
    let api = Api::start().await;
    let refused = api.create(local()).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "SESSION_LOST"));

    let hello = v1::SessionHello { protocol_version: 9, ..Default::default() };
    let request = v1::SessionRequest { message: Some(session_request::Message::Hello(hello)) };
    let refused = api.sessions.clone().session(tokio_stream::once(request)).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PROTOCOL_VERSION"));
}

#[tokio::test]
async fn the_next_attempt_of_a_parent_gets_its_local_children() {
    let api = Api::start().await;
    let mut session = Session::open(&api).await;
    let parent = api.created(local()).await;
    let call = || v1::NewRun {
        parent_run_id: parent.id.clone(),
        parent_epoch: 1,
        child_call: 1,
        parameters: Some(payload(b"1")),
        ..local()
    };
    let first = api.create(call()).await.expect("is created");
    let child = first.run.expect("is told");
    assert!(first.created && !first.adopted);
    let failed = v1::report::Event::Failed(v1::Failure::default());
    session.report(vec![report(&child.id, 1, started()), report(&child.id, 1, failed)]).await;

    let again = api.create(call()).await.expect("is found");
    let adopted = again.run.expect("is told");
    assert_eq!((&adopted.id, adopted.epoch, again.created, again.adopted), (&child.id, 2, false, true));
    let outcomes =
        session.report(vec![report(&child.id, 2, started()), report(&child.id, 2, completed())]).await;
    assert!(outcomes.iter().all(|outcome| outcome.accepted), "{outcomes:?}");
    let request = v1::CreateRunsRequest { runs: vec![call()], ..Default::default() };
    let outcome =
        api.runs.clone().create_runs(request).await.expect("answers").into_inner().outcomes.remove(0);
    assert!(!outcome.created && !outcome.adopted, "its result is there");
    assert_eq!((outcome.run_id, outcome.epoch), (child.id, 2));

    let other = v1::NewRun { parameters: Some(payload(b"2")), ..call() };
    assert!(api.create(other).await.expect("is created").created, "with other parameters it is another call");
    let stale = v1::NewRun { parent_epoch: 7, child_call: 2, ..call() };
    let refused = api.create(stale).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STALE_EPOCH"));
}

/// The scheduler may be on another machine, and calls it lost by the store's clock.
#[tokio::test]
async fn a_session_ends_by_the_clock_of_the_store_whatever_the_machine_of_the_api_says() {
    const LEASE: Duration = Duration::from_secs(60);
    const TOLERANCE: Duration = Duration::from_secs(20);

    for ahead in [300, -300] {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("opens"));
        let mut config = config::defaults::<tidegate_api::Config>();
        config.session.lease_duration = HumanDuration::new(LEASE);
        let clock = Arc::new(SkewedClock(ahead));
        let api = Api::on_machine(clock, Arc::clone(&store), ObjectStorage::in_memory(), config).await;
        let _session = Session::open(&api).await;
        let now = store.now().await.expect("answers");
        let ids: [SessionId; 1] = [SESSION_ID.parse().expect("is an id")];
        let mut tx = store.begin().await.expect("begins");
        let live = tx.live_sessions(&ids, now + LEASE - TOLERANCE).await.expect("reads");
        assert_eq!(live, [(ids[0], Namespace::default())], "{ahead}");
        let lost = tx.live_sessions(&ids, now + LEASE + TOLERANCE).await.expect("reads");
        assert!(lost.is_empty(), "{ahead}");
        drop(tx);

        let request = v1::GetVersionRequest {};
        let version = api.system.clone().get_version(request).await.expect("answers").into_inner();
        let told = version.server_time.as_ref().and_then(timestamp_from_proto).expect("is told");
        assert!((now - TOLERANCE..now + TOLERANCE).contains(&told), "{ahead}: {told} at {now}");
    }
}
