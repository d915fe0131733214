//! Machines whose clocks differ by minutes: what is lost and what has come is judged by one clock, that of the store.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::{sync::Arc, time::Duration};

use tidegate_dispatch::GrpcDispatch;
use tidegate_engine::{Create, Engine, Operation, Options};
use tidegate_model::{Clock, Namespace, QueueName, RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{
    Draft, Event, Holder, Placement, Run, SILENT_HOLDER_GRACE, StateName, StateType,
};
use tidegate_payload::ObjectStorage;
use tidegate_scheduler::Config;
use tidegate_service_kit::{HumanDuration, SharedClock, Supervisor, channel, config::defaults};
use tidegate_store::{RunStore, Session};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::SkewedClock;
use tokio::time::{Instant, timeout};

/// How much the clock of a machine is wrong (s).
const SKEW: i64 = 300;
const PATIENCE: Duration = Duration::from_secs(60);
/// Less than the skew by far: what would come before this by one of the clocks does not come by the other.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(100);
/// Clocks are compared by messages that take time.
const TOLERANCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_scheduler_with_a_wrong_clock_judges_by_that_of_the_store_on_sqlite() {
    let (one, other) = (SqliteStore::in_memory().await.unwrap(), SqliteStore::in_memory().await.unwrap());
    tokio::join!(judges_by_the_store(Arc::new(one), SKEW), judges_by_the_store(Arc::new(other), -SKEW));
}

#[tokio::test]
async fn a_scheduler_with_a_wrong_clock_judges_by_that_of_the_store_on_postgres() {
    let (one, other) = (Database::create().await, Database::create().await);
    let options = PgOptions::default();
    let store = async |database: &Database| PgStore::connect(database.url(), &options).await.unwrap();
    let stores = (Arc::new(store(&one).await), Arc::new(store(&other).await));
    tokio::join!(judges_by_the_store(stores.0, SKEW), judges_by_the_store(stores.1, -SKEW));
    one.remove().await;
    other.remove().await;
}

/// The machine of the scheduler is `ahead` (s) of the store, that of the api as much behind, or the other way round.
async fn judges_by_the_store(store: Arc<dyn RunStore>, ahead: i64) {
    let tasks = Supervisor::with_grace(PATIENCE);
    let engine = engine_of_an_api(&store, SkewedClock(-ahead), &tasks).await;
    let now = store.now().await.unwrap();
    let (live, lost) = (open_session(&*store, now + LONG).await, open_session(&*store, now + LONG).await);
    let kept = local(&engine, &live).await;
    let crashing = local(&engine, &lost).await;
    assert!(store.put_session(&Session { expires_at: store.now().await.unwrap(), ..lost }).await.unwrap());
    let endless = running(&engine, LONG).await;
    let begun = Instant::now();
    let timed = running(&engine, SHORT).await;

    let (nowhere, storage) = (channel("http://127.0.0.1:1").unwrap(), ObjectStorage::in_memory());
    let clock = Arc::new(SkewedClock(ahead));
    tidegate_scheduler::start_with_clock(&config(), Arc::clone(&store), storage, nowhere, clock, &tasks)
        .await
        .unwrap();
    let namespace = Namespace::default();
    let mut ends = engine.wait(&namespace, &[crashing.id, timed.id], None).await.unwrap();
    let both = async {
        while ends.n_pending() > 0 {
            ends.next(None).await.unwrap();
        }
    };
    timeout(PATIENCE, both).await.expect("what is lost and what has timed out ends");
    let took = begun.elapsed();
    assert!(took + TOLERANCE >= SHORT + SILENT_HOLDER_GRACE, "{ahead}: timed out after {took:?}");

    let state = async |run: &Run| engine.get(&namespace, run.id).await.unwrap().run.state;
    let timed_out = state(&timed).await;
    assert_eq!(timed_out.name, StateName::TimedOut, "{ahead}");
    assert_eq!(state(&crashing).await.state_type(), StateType::Crashed, "{ahead}");
    // The turns that judged have left those alone that live and that have time.
    for run in [&kept, &endless] {
        assert_eq!(state(run).await.state_type(), StateType::Running, "{ahead}");
    }
    // What it writes it writes by that clock, too.
    let (written, now) = (timed_out.at, store.now().await.unwrap());
    assert!(
        written <= now + TOLERANCE && now.since(written) < PATIENCE,
        "{ahead}: {written} is written at {now}"
    );

    drop((ends, engine));
    tasks.stop();
    tasks.finished(PATIENCE).await.unwrap();
}

/// What an api has, whose machine has this clock.
async fn engine_of_an_api(store: &Arc<dyn RunStore>, own: SkewedClock, tasks: &Supervisor) -> Engine {
    let asked = Arc::clone(store);
    let there = move || {
        let store = Arc::clone(&asked);
        async move { store.now().await }
    };
    let clock: Arc<dyn Clock> = SharedClock::start(Arc::new(own), "the store", there, tasks).await;
    let nowhere = channel("http://127.0.0.1:1").unwrap();
    let dispatch = Arc::new(GrpcDispatch::new(nowhere, Arc::clone(&clock)));
    let (engine, background) = Engine::new(Arc::clone(store), dispatch, clock, Options::default());
    for (name, task) in background {
        tasks.essential(name, |_stop| async {
            task.await;
            Ok(())
        });
    }
    let feeder = engine.clone();
    tasks.essential("feed", |stop| async {
        feeder.run_feed(stop).await;
        Ok(())
    });
    engine
}

/// Sweeps often, and forgives for a moment only.
fn config() -> Config {
    let mut config: Config = defaults();
    let often = HumanDuration::new(Duration::from_millis(50));
    config.sweeps.sessions_interval = often;
    config.sweeps.timers_interval = often;
    config.sweeps.sessions_after = often;
    config
}

async fn open_session(store: &dyn RunStore, expires_at: Timestamp) -> Session {
    let (namespace, identity) = (Namespace::default(), "host:1".to_owned());
    let session = Session { id: SessionId::new(), namespace, identity, expires_at };
    assert!(store.put_session(&session).await.unwrap());
    session
}

/// A run that the process of this session executes.
async fn local(engine: &Engine, session: &Session) -> Run {
    let run = create(engine, draft(Placement::Session(session.id))).await;
    start(engine, run).await
}

/// A run that a worker executes, which may take so long.
async fn running(engine: &Engine, run_timeout: Duration) -> Run {
    let mut draft = draft(Placement::Queue(QueueName::default()));
    draft.policies.run_timeout = Some(run_timeout);
    let run = create(engine, draft).await;
    let holder = Holder::Worker("w".parse().unwrap());
    let claim = Operation::Claim { namespace: run.namespace, run_id: run.id, epoch: run.epoch, holder };
    let claimed = engine.operate(claim).await.unwrap().run;
    start(engine, claimed).await
}

fn draft(placement: Placement) -> Draft {
    Draft::new(RunId::new(), RunKind::Task, "resize".parse().unwrap(), placement)
}

async fn create(engine: &Engine, draft: Draft) -> Run {
    let create = Create {
        draft,
        parameters: None,
        params_hash: [0; 32],
        idempotency_key: None,
        use_existing: false,
        refresh_cache: false,
        schedule: None,
        is_child_call: false,
        parent_epoch: None,
        actor: None,
        job: None,
        deploy: None,
    };
    engine.create(create).await.unwrap().run
}

async fn start(engine: &Engine, run: Run) -> Run {
    let Run { namespace, id: run_id, epoch, .. } = run;
    let event = Event::Started;
    let report = Operation::Report { namespace, run_id, epoch, event, happened_at: None, result: None };
    engine.operate(report).await.unwrap().run
}
