//! Connections break while commits are under way. Every caller gets a definite and true answer all the same.
//!
//! Each test prints its seed. `TIDEGATE_TEST_POSTGRES_URL` names the server for those that need one.

mod common;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{Notes, keyed_task, start_engine, task};
use futures::{StreamExt as _, future::join_all, stream};
use tidegate_engine::{Create, Created, Engine, EngineError, Operated, Operation};
use tidegate_model::{Clock, Epoch, Namespace, Payload, RunId, SystemClock, Timestamp};
use tidegate_orchestration::{Event, Failure, Holder, Run, StateType};
use tidegate_store::{EventRow, RunStore};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{FaultyStore, PostgresProxy};
use tokio::{task::JoinSet, time::timeout};

/// Runs of a storm, and how many of them are under way at a time.
const N_RUNS: usize = 1_200;
const N_AT_ONCE: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_sqlite_when_one_commit_in_fifty_breaks_off() {
    storm_on_sqlite(0.02).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_sqlite_when_one_commit_in_five_breaks_off() {
    storm_on_sqlite(0.2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_postgres_when_one_commit_in_fifty_breaks_off() {
    storm_on_postgres(0.02).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_postgres_when_one_commit_in_five_breaks_off() {
    storm_on_postgres(0.2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_when_connections_to_postgres_are_cut_after_the_commit_was_sent() {
    let database = Database::create().await;
    // Its migrations are not what is cut.
    let truth: Arc<dyn RunStore> = Arc::new(connect(database.url()).await);
    let (login, rest) = database.url().rsplit_once('@').expect("the URL names a user");
    let (server, name) = rest.split_once('/').expect("the URL names a database");
    let proxy = PostgresProxy::start(server.to_owned(), 0.02).await;
    let cut = connect(&format!("{login}@{}/{name}", proxy.address())).await;
    storm(Arc::new(cut), truth).await;
    eprintln!("{} of {} commits were cut", proxy.n_cuts(), proxy.n_commits());
    assert!(proxy.n_cuts() > 0, "the storm makes enough commits for a cut: {}", proxy.n_commits());
    database.remove().await;
}

async fn storm_on_sqlite(rate: f64) {
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), rate));
    storm(Arc::clone(&faulty) as Arc<dyn RunStore>, truth).await;
    assert!(faulty.n_faults() > 0, "the storm makes enough commits for a fault");
}

async fn storm_on_postgres(rate: f64) {
    let database = Database::create().await;
    let truth: Arc<dyn RunStore> = Arc::new(connect(database.url()).await);
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), rate));
    storm(Arc::clone(&faulty) as Arc<dyn RunStore>, truth).await;
    assert!(faulty.n_faults() > 0, "the storm makes enough commits for a fault");
    database.remove().await;
}

async fn connect(url: &str) -> PgStore {
    let options = PgOptions { max_connections: 12, ..PgOptions::default() };
    PgStore::connect(url, &options).await.expect("the database opens")
}

/// Drives runs of every kind through two engines over `store`, as two replicas would, and then compares every
/// answer with what `truth` (the same store without faults) holds.
async fn storm(store: Arc<dyn RunStore>, truth: Arc<dyn RunStore>) {
    let storm = Storm::new(store, truth);
    let runs: Vec<Vec<Lived>> =
        stream::iter(0..N_RUNS).map(|idx| live(&storm, idx)).buffer_unordered(N_AT_ONCE).collect().await;
    let runs: Vec<Lived> = runs.into_iter().flatten().collect();
    let (mut due, mut cancelled) = (HashSet::new(), HashSet::new());
    for lived in &runs {
        let history = storm.history(lived.id).await;
        check_history(&history);
        check_row(&storm, lived, &history).await;
        let scheduled = history.iter().filter(|event| event.state_type == StateType::Scheduled);
        due.extend(scheduled.map(|event| (event.run_id, event.epoch)));
        if lived.is_cancelled {
            cancelled.insert(lived.id);
        }
    }
    check_dispatch(&storm, &due, &cancelled).await;
    let all: HashSet<RunId> = runs.iter().map(|lived| lived.id).collect();
    assert_eq!(storm.all_runs().await, all, "what no caller was told of is not there");
    eprintln!(
        "{} runs; {} calls had no answer and were repeated",
        runs.len(),
        storm.n_repeated.load(Ordering::SeqCst)
    );
}

/// What a run is known to have come to, by the answers alone.
struct Lived {
    id: RunId,
    state: StateType,
    n_events: u64,
    result: Option<Payload>,
    is_cancelled: bool,
}

struct Storm {
    engines: [Engine; 2],
    truth: Arc<dyn RunStore>,
    notes: Arc<Notes>,
    /// Calls that ended with UNAVAILABLE, so that the caller asked again.
    n_repeated: AtomicU32,
    _tasks: JoinSet<()>,
}

/// A clock that never shows a time twice, as replicas do not write within one microsecond.
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// An answer, and whether it took more than one call.
struct Answer<T> {
    outcome: Result<T, EngineError>,
    is_repeat: bool,
}

impl Storm {
    fn new(store: Arc<dyn RunStore>, truth: Arc<dyn RunStore>) -> Self {
        let (notes, mut tasks) = (Arc::new(Notes::default()), JoinSet::new());
        let clock: Arc<dyn Clock> = Arc::new(TickingClock(AtomicI64::new(SystemClock.now().as_micros())));
        let mut engine =
            || start_engine(Arc::clone(&store), Arc::clone(&notes), Arc::clone(&clock), &mut tasks);
        let engines = [engine(), engine()];
        Self { engines, truth, notes, n_repeated: AtomicU32::new(0), _tasks: tasks }
    }

    /// Asks until there is an answer, as every client does: UNAVAILABLE says that it may.
    async fn ask<T, Fut: Future<Output = Result<T, EngineError>>>(
        &self,
        call: impl Fn() -> Fut,
    ) -> Answer<T> {
        for n_asked in 0..20 {
            match call().await {
                Err(EngineError::StoreUnavailable { .. }) => self.n_repeated.fetch_add(1, Ordering::SeqCst),
                outcome => return Answer { outcome, is_repeat: n_asked > 0 },
            };
        }
        panic!("twenty calls had no answer");
    }

    async fn create(&self, replica: usize, create: &Create) -> Answer<Created> {
        self.ask(|| self.engines[replica % 2].create(create.clone())).await
    }

    async fn operate(&self, replica: usize, operation: Operation) -> Answer<Operated> {
        self.ask(|| self.engines[replica % 2].operate(operation.clone())).await
    }

    async fn claim(&self, replica: usize, run: &Run, worker: &str) -> Answer<Operated> {
        let holder = Holder::Worker(worker.parse().expect("is a worker id"));
        let (namespace, run_id, epoch) = (Namespace::default(), run.id, run.epoch);
        self.operate(replica, Operation::Claim { namespace, run_id, epoch, holder }).await
    }

    async fn report(&self, replica: usize, run: &Run, event: Event, result: Option<Payload>) -> Run {
        let (namespace, run_id, epoch) = (Namespace::default(), run.id, run.epoch);
        let report = Operation::Report { namespace, run_id, epoch, event, happened_at: None, result };
        let answer = self.operate(replica, report).await;
        let operated = answer.outcome.expect("a report under the current epoch is accepted");
        assert!(operated.changed || answer.is_repeat, "the first report is the one that counts");
        operated.run
    }

    async fn cancel(&self, replica: usize, run: &Run) -> Run {
        let (namespace, reason) = (Namespace::default(), "enough".to_owned());
        let cancel = Operation::Cancel { namespace, run_id: run.id, reason, actor: None };
        let answer = self.operate(replica, cancel).await;
        let operated = answer.outcome.expect("can be cancelled");
        assert!(operated.changed || answer.is_repeat, "the first cancel is the one that counts");
        operated.run
    }

    /// Two workers ask for the run at two replicas; one gets it.
    async fn claimed(&self, replica: usize, run: &Run) -> Run {
        let (one, two) = tokio::join!(self.claim(replica, run, "one"), self.claim(replica + 1, run, "two"));
        let mut granted = [one, two].into_iter().filter_map(|answer| answer.outcome.ok());
        let claimed = granted.next().expect("one of two workers gets the run");
        assert!(granted.next().is_none(), "and the other does not");
        assert_eq!(claimed.parameters, Some(parameters(run.id)), "it comes with its parameters");
        claimed.run
    }

    async fn started(&self, replica: usize, run: &Run) -> Run {
        let claimed = self.claimed(replica, run).await;
        self.report(replica, &claimed, Event::Started, None).await
    }

    async fn history(&self, id: RunId) -> Vec<EventRow> {
        self.truth.list_events(&Namespace::default(), id, 0, 1_000).await.expect("reads")
    }

    async fn all_runs(&self) -> HashSet<RunId> {
        let cursor = self.truth.feed_start(RunId::new()).await.expect("reads");
        let mut ids = HashSet::new();
        let mut cursor = cursor;
        loop {
            let page = self.truth.read_feed(&cursor, None, 1_000).await.expect("reads");
            let Some(last) = page.last() else { return ids };
            cursor = last.cursor.clone();
            ids.extend(page.iter().map(|event| event.event.run_id));
        }
    }
}

fn parameters(id: RunId) -> Payload {
    Payload::inline(id.to_string())
}

fn with_parameters(mut create: Create) -> Create {
    create.parameters = Some(parameters(create.draft.id));
    create
}

/// One caller and its workers: creates runs, and brings them to an end of the kind `idx`.
async fn live(storm: &Storm, idx: usize) -> Vec<Lived> {
    let run = created(storm, idx).await;
    let lived = |run: Run, result: Option<Payload>| Lived {
        id: run.id,
        state: run.state.state_type(),
        n_events: run.event_seq,
        result,
        is_cancelled: run.state.state_type() == StateType::Cancelled,
    };
    match idx % 7 {
        0 => {
            let running = storm.started(idx, &run).await;
            let result = Some(Payload::inline("done"));
            vec![lived(storm.report(idx, &running, Event::Completed, result.clone()).await, result)]
        }
        1 => {
            let running = storm.started(idx, &run).await;
            let waiting = storm.report(idx, &running, Event::Failed(Failure::default()), None).await;
            assert_eq!(waiting.retries, 1);
            let running = storm.started(idx + 1, &waiting).await;
            vec![lived(storm.report(idx + 1, &running, Event::Completed, None).await, None)]
        }
        2 => {
            let running = storm.started(idx, &run).await;
            let crash = Event::Crashed { cause: "signal 9 (SIGKILL)".to_owned() };
            let again = storm.report(idx, &running, crash, None).await;
            assert_eq!(again.crashes, 1);
            let claimed = storm.claimed(idx + 1, &again).await;
            vec![lived(storm.report(idx, &claimed, Event::Released, None).await, None)]
        }
        3 => {
            let running = storm.started(idx, &run).await;
            let cancelling = storm.cancel(idx + 1, &running).await;
            vec![lived(storm.report(idx, &cancelling, Event::Cancelled, None).await, None)]
        }
        4 => vec![lived(storm.cancel(idx, &run).await, None)],
        5 => {
            let children = join_all((0..5).map(|n| child(storm, idx + n, &run))).await;
            let root = storm.cancel(idx, &run).await;
            let cascaded = storm.ask(|| storm.engines[0].cascade_from(run.id)).await;
            let n_below = cascaded.outcome.expect("cascades");
            assert!(n_below == children.len() || cascaded.is_repeat, "{n_below} were cancelled below");
            let below = children.iter().map(|child| Lived {
                id: child.id,
                state: StateType::Cancelled,
                n_events: 2,
                result: None,
                is_cancelled: true,
            });
            below.chain([lived(root, None)]).collect()
        }
        _ => vec![lived(run, None)],
    }
}

/// A new run: with a key that others use as well, with a call that is made twice, or simply.
async fn created(storm: &Storm, idx: usize) -> Run {
    let mut create = with_parameters(task());
    create.draft.policies.retry.max_retries = 1;
    let answers = match idx % 3 {
        0 => vec![storm.create(idx, &create).await],
        1 => {
            // The caller had no patience: the same call, at two replicas.
            join_all((0..2).map(|n| storm.create(idx + n, &create))).await
        }
        _ => {
            let key = format!("order-{idx}");
            let creates: Vec<Create> = (0..3)
                .map(|_| {
                    let mut keyed = with_parameters(keyed_task(&key));
                    keyed.draft.policies.retry.max_retries = 1;
                    keyed
                })
                .collect();
            join_all(creates.iter().enumerate().map(|(n, create)| storm.create(idx + n, create))).await
        }
    };
    let has_repeat = answers.iter().any(|answer| answer.is_repeat);
    let created: Vec<Created> =
        answers.into_iter().map(|answer| answer.outcome.expect("is created or found")).collect();
    let ids: HashSet<RunId> = created.iter().map(|created| created.run.id).collect();
    assert_eq!(ids.len(), 1, "one run, whoever asked");
    let n_created = created.iter().filter(|created| created.created).count();
    assert!(n_created == 1 || (n_created == 0 && has_repeat), "{n_created} of {} made it", created.len());
    created.into_iter().next().expect("there was a call").run
}

async fn child(storm: &Storm, replica: usize, parent: &Run) -> Run {
    let mut create = with_parameters(task());
    create.draft.parent = Some(parent.id);
    storm.create(replica, &create).await.outcome.expect("is created").run
}

/// P7 without a gap, and P2: one completion at most, epochs that only grow.
fn check_history(history: &[EventRow]) {
    let numbers: Vec<u64> = history.iter().map(|event| event.seq).collect();
    assert!(numbers.iter().copied().eq(1..=history.len() as u64), "{numbers:?}");
    assert!(history.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "{history:#?}");
    let n_completed = history.iter().filter(|event| event.state_type == StateType::Completed).count();
    assert!(n_completed <= 1, "{history:#?}");
    assert!(history.iter().rev().skip(1).all(|event| !event.ended), "{history:#?}");
}

/// Row, history and payloads say what the answers said.
async fn check_row(storm: &Storm, lived: &Lived, history: &[EventRow]) {
    let found = storm.truth.get_details(Some(&Namespace::default()), &[lived.id]).await.expect("reads");
    let detail = found.into_iter().next().expect("what was created is there");
    let last = history.last().expect("it has a history");
    assert_eq!(detail.run.state.state_type(), lived.state, "{history:#?}");
    assert_eq!((detail.run.event_seq, last.seq), (lived.n_events, lived.n_events), "{history:#?}");
    assert_eq!((last.state_type, last.epoch), (lived.state, detail.run.epoch), "{history:#?}");
    assert_eq!(detail.parameters, Some(parameters(lived.id)));
    assert_eq!(detail.result, lived.result);
}

/// Every time a run became due it was handed over, and every cancel was told, once.
async fn check_dispatch(storm: &Storm, due: &HashSet<(RunId, Epoch)>, cancelled: &HashSet<RunId>) {
    let missing = || {
        let enqueued: HashSet<_> = lock(&storm.notes.enqueued).iter().copied().collect();
        let stopped: HashSet<_> = lock(&storm.notes.stopped).iter().map(|order| order.run_id).collect();
        (due.difference(&enqueued).count(), cancelled.difference(&stopped).count())
    };
    let all_there = async {
        loop {
            let changed = storm.notes.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if missing() == (0, 0) {
                return;
            }
            changed.await;
        }
    };
    let waited = timeout(Duration::from_secs(10), all_there).await;
    assert!(waited.is_ok(), "runs that were due and not handed over, cancels not told: {:?}", missing());
    assert_eq!(lock(&storm.notes.stopped).len(), cancelled.len(), "each cancel is told once");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no test panicked with it")
}
