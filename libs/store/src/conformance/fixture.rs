//! Runs, events and waits for the cases.

use std::{sync::Arc, time::Duration};

use tidegate_model::{Namespace, Payload, QueueName, RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{Draft, Holder, Phase, Placement, Run, State, create};

use crate::{EventRow, FeedCursor, FeedEvent, InputQuery, NewRun, RunStore};

/// The time at which the runs of a case are made.
pub const T0: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);

/// How long a case waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a case watches that something does not come.
const SHORT: Duration = Duration::from_millis(200);

/// `T0` and some seconds.
pub fn after(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

/// Another namespace than the default one.
pub fn elsewhere() -> Namespace {
    "elsewhere".parse().unwrap()
}

/// A payload of these bytes.
pub fn payload(bytes: &'static [u8]) -> Payload {
    Payload::inline(bytes)
}

/// A draft of a task for the default queue.
pub fn draft() -> Draft {
    let queue = Placement::Queue(QueueName::default());
    Draft::new(RunId::new(), RunKind::Task, "resize".parse().unwrap(), queue)
}

/// The run of a draft without a parent.
pub fn made(draft: Draft) -> Run {
    create(draft, None, T0).unwrap().run
}

/// A queued run, due at `T0`.
pub fn queued() -> Run {
    made(draft())
}

/// A queued run below another.
pub fn child(parent: &Run) -> Run {
    create(Draft { parent: Some(parent.id), ..draft() }, Some(parent), T0).unwrap().run
}

/// A local run of a session, PENDING.
pub fn local(session: SessionId) -> Run {
    made(Draft { placement: Placement::Session(session), ..draft() })
}

/// The same run in another phase since `at`.
pub fn entered(run: &Run, phase: Phase, at: Timestamp) -> Run {
    Run { state: State::new(phase, at), ..run.clone() }
}

/// Some worker.
pub fn worker() -> Holder {
    Holder::Worker("host-1:4711".parse().unwrap())
}

/// RUNNING under some worker.
pub fn running() -> Phase {
    Phase::Running { holder: worker(), deadline: None }
}

/// A run without parameters that was never handed over.
pub fn bare(run: &Run) -> NewRun {
    NewRun { run: run.clone(), parameters: None, job: None, enqueued_at: None }
}

/// Inserts runs in a transaction of their own.
pub async fn insert(store: &Arc<dyn RunStore>, runs: &[&Run]) {
    let runs: Vec<NewRun> = runs.iter().map(|run| bare(run)).collect();
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_runs(&runs).await.unwrap().into_iter().all(|inserted| inserted));
    tx.commit().await.unwrap();
}

/// Changes runs in a transaction of their own.
pub async fn update(store: &Arc<dyn RunStore>, runs: &[(Run, Option<Timestamp>)]) {
    let mut tx = store.begin().await.unwrap();
    tx.update_runs(runs).await.unwrap();
    tx.commit().await.unwrap();
}

/// The one run of this id.
pub async fn get(store: &Arc<dyn RunStore>, id: RunId) -> Run {
    let runs = store.get_runs(None, &[id]).await.unwrap();
    assert_eq!(runs.len(), 1);
    runs.into_iter().next().unwrap()
}

/// All payloads of a run's pauses.
pub fn inputs_of(run: &Run) -> InputQuery {
    InputQuery { namespace: run.namespace.clone(), run_id: run.id, key: None, after: None, limit: 100 }
}

/// Ids in the order of the runs.
pub fn ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.id).collect()
}

/// An event that tells of the run's present state.
pub fn event(run: &Run, seq: u64) -> EventRow {
    EventRow {
        run_id: run.id,
        root: run.root,
        namespace: run.namespace.clone(),
        kind: run.kind,
        name: run.name.clone(),
        seq,
        state_type: run.state.state_type(),
        state_name: run.state.name,
        message: run.state.message.clone(),
        at: run.state.at,
        holder: run.holder().cloned(),
        attempt: run.attempt,
        epoch: run.epoch,
        ended: run.state.state_type().is_terminal(),
        actor: None,
    }
}

/// Appends events in a transaction of their own.
pub async fn append(store: &Arc<dyn RunStore>, events: &[EventRow]) {
    let mut tx = store.begin().await.unwrap();
    tx.append_events(events).await.unwrap();
    tx.commit().await.unwrap();
}

/// Reads the feed until it has given `n` events. Other transactions on the server, those of other cases
/// too, can hold it back for a moment.
pub async fn read_feed(
    store: &Arc<dyn RunStore>,
    cursor: &FeedCursor,
    root: Option<RunId>,
    n: usize,
) -> Vec<FeedEvent> {
    let mut read = Vec::new();
    let mut cursor = cursor.clone();
    within(async {
        loop {
            let events = store.read_feed(&cursor, root, n - read.len()).await.unwrap();
            cursor = events.last().map_or(cursor, |event| event.cursor.clone());
            read.extend(events);
            if read.len() == n {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    read
}

/// Waits for what must come.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// True when the future is still waiting after a while.
pub async fn is_waiting<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    at_once(future).await.is_none()
}

/// What the future gives, where it does not have to wait.
pub async fn at_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::time::timeout(SHORT, future).await.ok()
}
