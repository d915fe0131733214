//! Several replicas at once: no slot is lost or given twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tidegate_engine::{Ask, Engine, Operated, Operation};
use tidegate_model::{Clock, RunId};
use tidegate_orchestration::{Collision, Event, Failure, Holder, Run, StateName, StateType};
use tidegate_store::{LimitKey, LimitSettings, RunStore};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{Draws, ManualClock};
use tokio::task::JoinSet;

use super::{key, limited, rate, rated};
use crate::common::{Notes, start_engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_exceed_a_limit_on_sqlite() {
    race(Arc::new(SqliteStore::in_memory().await.expect("a store opens"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_exceed_a_limit_on_postgres() {
    let database = Database::create().await;
    race(Arc::new(connect(database.url()).await)).await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_those_of_held_runs_after_every_step_on_sqlite() {
    histories(Arc::new(SqliteStore::in_memory().await.expect("a store opens")), 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_those_of_held_runs_after_every_step_on_postgres() {
    let database = Database::create().await;
    histories(Arc::new(connect(database.url()).await), 800).await;
    database.remove().await;
}

async fn connect(url: &str) -> PgStore {
    let options = PgOptions { max_connections: 12, ..PgOptions::default() };
    PgStore::connect(url, &options).await.expect("the database opens")
}

/// Two engines over one store.
struct Replicas {
    engines: [Engine; 2],
    clock: Arc<ManualClock>,
    store: Arc<dyn RunStore>,
    _tasks: JoinSet<()>,
}

impl Replicas {
    fn over(store: Arc<dyn RunStore>) -> Self {
        let clock = Arc::new(ManualClock::new());
        let mut tasks = JoinSet::new();
        let engines = [(); 2].map(|()| {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            start_engine(Arc::clone(&store), Arc::new(Notes::default()), clock, &mut tasks)
        });
        Self { engines, clock, store, _tasks: tasks }
    }

    async fn runs(&self, ids: &[RunId]) -> Vec<Run> {
        self.store.get_runs(None, ids).await.expect("reads")
    }
}

fn claim(run: &Run) -> Operation {
    let holder = Holder::Worker("w".parse().expect("is a worker id"));
    Operation::Claim { namespace: run.namespace.clone(), run_id: run.id, epoch: run.epoch, holder }
}

fn report(run: &Run, event: Event) -> Operation {
    let (namespace, run_id, epoch) = (run.namespace.clone(), run.id, run.epoch);
    Operation::Report { namespace, run_id, epoch, event, happened_at: None, result: None }
}

/// Many lanes of two replicas claim for two limits at once, and give back at once, in three rounds.
async fn race(store: Arc<dyn RunStore>) {
    let replicas = Replicas::over(store);
    replicas.engines[0].put_limit(key("db"), 7).await.expect("is defined");
    replicas.engines[0].put_limit(key("gpu"), 4).await.expect("is defined");
    let creates = (0..120_usize).map(|idx| {
        let limits: &[&str] = [&["db", "gpu"][..], &["gpu", "db"], &["db"]][idx % 3];
        replicas.engines[idx % 2].create(limited(limits))
    });
    let created: Vec<Run> =
        join_all(creates).await.into_iter().map(|created| created.expect("is created").run).collect();
    let ids: Vec<RunId> = created.iter().map(|run| run.id).collect();
    for _ in 0..3 {
        let waiting = replicas.runs(&ids).await;
        let claims =
            waiting.iter().enumerate().map(|(idx, run)| replicas.engines[idx / 2 % 2].operate(claim(run)));
        let claims = join_all(claims).await.into_iter().map(|claim| claim.expect("is answered"));
        let held: Vec<Run> = claims.filter(Operated::is_granted).map(|claim| claim.run).collect();
        let n_of_gpu = held.iter().filter(|run| run.concurrency_limits.len() == 2).count();
        assert_eq!(held.len(), 7, "each slot is used, and none twice");
        assert!(n_of_gpu <= 4, "{n_of_gpu} have the 4 slots");
        let returns = held.iter().map(|run| replicas.engines[0].operate(report(run, Event::Released)));
        for returned in join_all(returns).await {
            returned.expect("is given back");
        }
    }
    for name in ["db", "gpu"] {
        let (facts, _) = replicas.engines[0].get_limit(key(name), 1).await.expect("is defined");
        assert_eq!(facts.used.n_used, 0);
    }
    // Of tokens there is no more than the burst however often it is claimed, for each value of a template.
    replicas.engines[0].put_limit(key("api=*"), rated(rate(7, 86_400))).await.expect("is defined");
    let creates = (0..60_usize)
        .map(|idx| replicas.engines[idx % 2].create(limited(&[["api=a", "api=b"][idx / 2 % 2]])));
    let created = join_all(creates).await.into_iter().map(|created| created.expect("is created").run);
    let created: Vec<Run> = created.collect();
    let claims = created.iter().enumerate().map(|(idx, run)| replicas.engines[idx % 2].operate(claim(run)));
    let claims = join_all(claims).await.into_iter().map(|claim| claim.expect("is answered"));
    assert_eq!(claims.filter(Operated::is_granted).count(), 14, "each token is used, and none twice");
}

/// Random histories of many runs through two replicas: after every step the slots are those of the held runs, and those
/// who wait are told as waiting.
async fn histories(store: Arc<dyn RunStore>, n_steps: usize) {
    const NAMES: [&str; 4] = ["a", "b", "key=1", "never defined"];
    const LIMITS: [&str; 3] = ["a", "b", "key=*"];
    let (replicas, draws) = (Replicas::over(store), Draws::new());
    let pick = |n: usize| (draws.next() * n as f64) as usize % n;
    let mut ids = Vec::new();
    for idx in 0..24 {
        let limits: Vec<&str> = NAMES.into_iter().filter(|_| pick(2) == 0).collect();
        let mut create = limited(&limits);
        create.draft.policies.retry.max_retries = 2;
        create.draft.policies.crash.max_crashes = 2;
        create.draft.policies.run_timeout = Some(Duration::from_secs(40));
        // A third is below another one, and is cancelled with it.
        create.draft.parent = if idx % 3 == 2 { ids.last().copied() } else { None };
        ids.push(replicas.engines[idx % 2].create(create).await.expect("is created").run.id);
    }
    let (mut n_granted, mut n_refused) = (0, 0);
    for step_idx in 0..n_steps {
        let engine = &replicas.engines[pick(2)];
        let run = replicas.runs(&[ids[pick(ids.len())]]).await.remove(0);
        let ask = Ask::new(run.namespace.clone(), run.id);
        let reason = String::new();
        let is_terminal = run.state.state_type().is_terminal();
        let operation = match pick(16) {
            0..=4 => claim(&run),
            5 | 6 => report(&run, Event::Started),
            7 => report(&run, Event::Completed),
            8 => report(&run, Event::Failed(Failure { error_type: "E".into(), ..Failure::default() })),
            9 => report(&run, Event::Crashed { cause: "killed".to_owned() }),
            10 => report(&run, Event::Released),
            11 => {
                let (key, suspend) = (format!("pause-{step_idx}"), pick(2) == 0);
                report(&run, Event::Paused { key, timeout: Some(Duration::from_secs(30)), suspend })
            }
            12 => Operation::Pause { ask, timeout: None, reason },
            13 => Operation::Resume { ask, key: None, input: None },
            14 if is_terminal => Operation::Retry { ask, reason },
            14 => report(&run, Event::Cancelled),
            _ if pick(4) == 0 => {
                Operation::Cancel { namespace: run.namespace.clone(), run_id: run.id, reason, actor: None }
            }
            _ => {
                replicas.clock.advance(Duration::from_secs(5));
                engine.fire_timers(100).await.expect("sweeps");
                let settings = LimitSettings {
                    max_slots: (pick(4) > 0).then(|| u32::try_from(pick(5)).expect("is small")),
                    rate: (pick(2) == 0).then(|| rate(1 + u32::try_from(pick(5)).expect("is small"), 20)),
                    on_collision: Collision::ALL[pick(Collision::ALL.len())],
                };
                engine.put_limit(key(LIMITS[pick(3)]), settings).await.expect("is changed");
                engine.ask_holders().await.expect("asks");
                check(&replicas, &ids).await;
                continue;
            }
        };
        let is_cancel = matches!(operation, Operation::Cancel { .. });
        let outcome = engine.operate(operation).await;
        if let Ok(Operated { run, changed: true, .. }) = &outcome {
            n_granted += usize::from(run.state.state_type() == StateType::Pending);
            n_refused += usize::from(run.state.name == StateName::AwaitingConcurrencySlot);
        }
        if is_cancel {
            engine.cascade_from(run.id).await.expect("cascades");
        }
        check(&replicas, &ids).await;
    }
    assert!(n_granted > 0 && n_refused > 0, "{n_granted} claims were granted, {n_refused} had to wait");
}

async fn check(replicas: &Replicas, ids: &[RunId]) {
    let runs = replicas.runs(ids).await;
    let mut expected: BTreeMap<LimitKey, Vec<RunId>> = BTreeMap::new();
    let mut n_waiting = 0;
    for run in &runs {
        let is_waiting = run.state.name == StateName::AwaitingConcurrencySlot;
        n_waiting += u64::from(is_waiting && run.state.state_type() == StateType::Scheduled);
        for name in &run.concurrency_limits {
            let owners = expected.entry(key(name)).or_default();
            if run.holder().is_some() {
                owners.push(run.id);
            }
        }
    }
    for (limit, mut owners) in expected.clone() {
        let slots = replicas.store.list_slots(&limit, replicas.clock.now(), 100).await.expect("reads");
        let mut taken: Vec<RunId> = slots.into_iter().map(|slot| slot.owner).collect();
        taken.sort();
        owners.sort();
        assert_eq!(taken, owners, "the slots of {limit:?} are those of the held runs that need one");
    }
    let keys: Vec<LimitKey> = expected.into_keys().collect();
    let waits = replicas.store.count_waits(&keys).await.expect("reads");
    assert_eq!(waits.iter().sum::<u64>(), n_waiting, "who waits is known to wait");
    let cleared = replicas.store.clear_slots(replicas.clock.now(), 100).await.expect("sweeps");
    assert_eq!(cleared, [], "no slot is lost");
}
