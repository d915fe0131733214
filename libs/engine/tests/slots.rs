//! Concurrency limits: who gets a slot, who waits, and that no slot is ever lost or given twice.

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{Fixture, Notes, start_engine, task};
use futures::future::join_all;
use tidegate_engine::{Ask, Create, Engine, EngineError, Operated, Operation, Wait};
use tidegate_model::{Clock, Namespace, RunId};
use tidegate_orchestration::{Event, Failure, Holder, Run, StateName, StateType};
use tidegate_store::{LimitKey, RunStore, Slot};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{Draws, ManualClock};
use tokio::task::JoinSet;

fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

/// A task that needs a slot of each of these limits.
fn limited(limits: &[&str]) -> Create {
    let mut create = task();
    create.draft.concurrency_limits = limits.iter().map(|&name| name.to_owned()).collect();
    create
}

async fn created(fixture: &Fixture, limits: &[&str]) -> Run {
    fixture.create(limited(limits)).await.expect("is created").run
}

async fn claimed(fixture: &Fixture, run: &Run) -> Operated {
    fixture.claim(run, "w").await.expect("is answered")
}

async fn n_used(fixture: &Fixture, name: &str) -> u64 {
    let (facts, slots) = fixture.engine.get_limit(key(name), 100).await.expect("is defined");
    assert_eq!(facts.used.n_used, slots.len() as u64);
    facts.used.n_used
}

/// Waits until the run was handed over under its present epoch.
async fn until_handed_over(fixture: &Fixture, run: &Run) {
    let epoch = fixture.get(run).await.epoch;
    fixture
        .until_noted(|notes| {
            notes.enqueued.lock().expect("no test panicked with it").contains(&(run.id, epoch))
        })
        .await;
}

fn is_handed_over(fixture: &Fixture, run: &Run) -> bool {
    fixture
        .notes
        .enqueued
        .lock()
        .expect("no test panicked with it")
        .iter()
        .any(|(id, epoch)| *id == run.id && epoch.0 > 0)
}

#[tokio::test]
async fn a_run_takes_its_slot_with_its_claim_and_gives_it_up_with_its_end() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (first, second) = (created(&fixture, &["db"]).await, created(&fixture, &["db", "db"]).await);
    let held = claimed(&fixture, &first).await;
    assert!(held.is_granted() && !held.is_waiting());
    let refused = claimed(&fixture, &second).await;
    assert!(refused.is_waiting() && !refused.is_granted());
    assert_eq!(fixture.state(&second).await, "SCHEDULED/AwaitingConcurrencySlot");
    let repeated = claimed(&fixture, &second).await;
    assert!(repeated.is_waiting() && !repeated.changed, "a repeat is answered alike: {repeated:?}");
    let again = claimed(&fixture, &refused.run).await;
    assert!(again.is_waiting(), "{again:?}");
    let told = fixture.history(&second).await;
    assert_eq!(told.len(), 2, "that it waits is told once: {told:?}");

    let explanation = fixture.engine.explain(&Namespace::default(), second.id).await.expect("is explained");
    let Wait::Slot { limits } = &explanation.waits[0] else { panic!("{explanation:?}") };
    assert_eq!((limits[0].max_slots, &limits[0].owners[..]), (Some(1), &[first.id][..]));
    assert!(explanation.summary.contains(&first.id.to_string()), "{}", explanation.summary);

    let running = fixture.report(&held.run, Event::Started).await.expect("starts").run;
    fixture.report(&running, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &second).await;
    let waiting = fixture.get(&second).await;
    assert!(claimed(&fixture, &waiting).await.is_granted());
    assert_eq!(n_used(&fixture, "db").await, 1, "one slot, though it names the limit twice");
}

#[tokio::test]
async fn a_limit_that_is_not_defined_does_not_bind_and_counts_what_is_held_once_it_is() {
    let fixture = Fixture::new().await;
    let runs = [created(&fixture, &["db"]).await, created(&fixture, &["db"]).await];
    for run in &runs {
        assert!(claimed(&fixture, run).await.is_granted());
    }
    assert!(matches!(
        fixture.engine.get_limit(key("db"), 1).await,
        Err(EngineError::LimitNotFound { name }) if name == "db"
    ));
    fixture.engine.put_limit(key("db"), 2).await.expect("is defined");
    assert_eq!(n_used(&fixture, "db").await, 2);
    let third = created(&fixture, &["db"]).await;
    assert!(claimed(&fixture, &third).await.is_waiting());
}

#[tokio::test]
async fn a_free_slot_goes_to_the_first_by_priority_and_due_time() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let holder = created(&fixture, &["db"]).await;
    let held = claimed(&fixture, &holder).await.run;
    let mut urgent = limited(&["db"]);
    urgent.draft.priority = 7;
    let early = created(&fixture, &["db"]).await;
    fixture.advance(1);
    let late = created(&fixture, &["db"]).await;
    let urgent = fixture.create(urgent).await.expect("is created").run;
    let unlimited = created(&fixture, &[]).await;
    for run in [&late, &early, &urgent] {
        assert!(claimed(&fixture, run).await.is_waiting());
    }
    assert!(claimed(&fixture, &unlimited).await.is_granted(), "who waits stands before nobody");

    let mut held = held;
    for next in [&urgent, &early, &late] {
        fixture.report(&held, Event::Released).await.expect("is given back");
        until_handed_over(&fixture, next).await;
        held = claimed(&fixture, &fixture.get(next).await).await.run;
        assert_eq!(held.state.state_type(), StateType::Pending);
    }
}

#[tokio::test]
async fn all_slots_are_taken_or_none_and_what_cannot_be_used_goes_on_to_the_next() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.engine.put_limit(key(name), 1).await.expect("is defined");
    }
    let of_b = created(&fixture, &["b"]).await;
    let holds_b = claimed(&fixture, &of_b).await.run;
    let both = created(&fixture, &["a", "b"]).await;
    assert!(claimed(&fixture, &both).await.is_waiting());
    assert_eq!((n_used(&fixture, "a").await, n_used(&fixture, "b").await), (0, 1), "all or none");
    let of_a = created(&fixture, &["a"]).await;
    let holds_a = claimed(&fixture, &of_a).await;
    assert!(holds_a.is_granted(), "it does not wait behind one that waits for another limit");
    let next_of_a = created(&fixture, &["a"]).await;
    assert!(claimed(&fixture, &next_of_a).await.is_waiting());

    // `both` is handed the slot of b, cannot use it, and waits for a; then a slot of a comes free.
    fixture.report(&holds_b, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &both).await;
    assert!(claimed(&fixture, &fixture.get(&both).await).await.is_waiting());
    fixture.report(&holds_a.run, Event::Released).await.expect("is given back");
    until_handed_over(&fixture, &both).await;
    let retaken = claimed(&fixture, &fixture.get(&of_b).await).await;
    assert!(retaken.is_granted(), "the slot of b was free");
    // Now `both` cannot use that of a, so the next one gets it.
    assert!(claimed(&fixture, &fixture.get(&both).await).await.is_waiting());
    until_handed_over(&fixture, &next_of_a).await;
    assert!(claimed(&fixture, &fixture.get(&next_of_a).await).await.is_granted());
}

#[tokio::test]
async fn raising_or_deleting_a_limit_lets_those_go_who_wait() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 0).await.expect("is defined");
    let mut runs = Vec::new();
    for _ in 0..4 {
        let run = created(&fixture, &["db"]).await;
        assert!(claimed(&fixture, &run).await.is_waiting(), "0 stops all");
        runs.push(run);
        fixture.advance(1);
    }
    fixture.engine.put_limit(key("db"), 1).await.expect("is raised");
    until_handed_over(&fixture, &runs[0]).await;
    assert!(!is_handed_over(&fixture, &runs[1]), "one slot, one run");
    assert!(claimed(&fixture, &fixture.get(&runs[0]).await).await.is_granted());
    fixture.engine.put_limit(key("db"), 0).await.expect("is lowered");
    assert_eq!(n_used(&fixture, "db").await, 1, "who has a slot keeps it");
    assert!(claimed(&fixture, &fixture.get(&runs[1]).await).await.is_waiting());

    assert!(fixture.engine.delete_limit(key("db")).await.expect("is deleted"));
    for run in &runs[1..] {
        until_handed_over(&fixture, run).await;
        assert!(claimed(&fixture, &fixture.get(run).await).await.is_granted());
    }
    assert!(!fixture.engine.delete_limit(key("db")).await.expect("is answered"), "it is gone");
}

#[tokio::test]
async fn the_sweep_hands_over_what_was_not_handed_over_or_was_lost() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (first, second) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    let held = claimed(&fixture, &first).await.run;
    assert!(claimed(&fixture, &second).await.is_waiting());
    let (begin, namespace) = (fixture.clock.now(), Namespace::default());
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 0, "there is no free slot");
    assert_eq!(fixture.engine.enqueue_due(begin + Duration::from_secs(9), 10).await.expect("sweeps"), 0);

    // Given up by a process that died before it handed the slot on.
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.free_slots(&[held.id]).await.expect("frees");
    tx.commit().await.expect("commits");
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 1);
    assert!(is_handed_over(&fixture, &second));
    assert_eq!(fixture.engine.hand_out_slots(begin).await.expect("sweeps"), 0, "it is on its way");
    fixture.advance(60);
    let lost_before = fixture.clock.now();
    assert_eq!(fixture.engine.hand_out_slots(lost_before).await.expect("sweeps"), 1, "it was lost");
    let waiting = fixture.engine.get(&namespace, second.id).await.expect("is there").run;
    assert!(claimed(&fixture, &waiting).await.is_granted());
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_freed() {
    let fixture = Fixture::new().await;
    fixture.engine.put_limit(key("db"), 1).await.expect("is defined");
    let (run, waiting) = (created(&fixture, &["db"]).await, created(&fixture, &["db"]).await);
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 0);
    let stray = Slot { limit: key("db"), owner: run.id, acquired_at: fixture.clock.now(), expires_at: None };
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.take_slots(&[stray]).await.expect("takes");
    tx.commit().await.expect("commits");
    assert!(claimed(&fixture, &waiting).await.is_waiting());
    assert_eq!(fixture.engine.clear_slots(10).await.expect("sweeps"), 1);
    until_handed_over(&fixture, &waiting).await;
    assert!(claimed(&fixture, &fixture.get(&waiting).await).await.is_granted());
}

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
    Operation::Report { namespace, run_id, epoch, event, result: None }
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
}

/// Random histories of many runs through two replicas: after every step the slots are those of the held runs, and those
/// who wait are told as waiting.
async fn histories(store: Arc<dyn RunStore>, n_steps: usize) {
    const NAMES: [&str; 3] = ["a", "b", "never defined"];
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
                engine
                    .put_limit(key(NAMES[pick(2)]), u32::try_from(pick(5)).expect("is small"))
                    .await
                    .expect("is changed");
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
