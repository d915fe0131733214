//! Queues: a paused one starts nothing, and a bounded one never holds more than it may, whatever goes on meanwhile.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Fixture, task};
use futures::future::join_all;
use tidegate_engine::{Create, EngineError, Operation, QueueAsk, QueueDepth, QueueTraffic, Wait};
use tidegate_model::{Clock, Namespace, RunId};
use tidegate_orchestration::{Event, Holder, Placement, Run, apply};
use tidegate_store::{Count, LimitKey, QueueKey, RunStore};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;

fn queue(name: &str) -> QueueKey {
    QueueKey { namespace: Namespace::default(), name: name.parse().expect("is a name") }
}

fn ask(name: &str) -> QueueAsk {
    QueueAsk { key: queue(name), actor: Some("ada".to_owned()), request_id: None }
}

fn task_in(queue: &str) -> Create {
    let mut create = task();
    create.draft.placement = Placement::Queue(queue.parse().expect("is a name"));
    create
}

async fn created(fixture: &Fixture, queue: &str) -> Run {
    fixture.create(task_in(queue)).await.expect("is created").run
}

async fn is_paused(fixture: &Fixture, run: &Run) -> bool {
    matches!(fixture.claim(run, "w").await, Err(EngineError::QueuePaused { name }) if name == "q")
}

/// Who has the slots of the queue's limit.
async fn owners(store: &dyn RunStore, queue: &QueueKey, clock: &dyn Clock) -> Vec<RunId> {
    let slots = store.list_slots(&queue.limit(), clock.now(), 1_000).await.expect("reads");
    let mut owners: Vec<_> = slots.into_iter().map(|slot| slot.owner).collect();
    owners.sort();
    owners
}

async fn until_handed_over(fixture: &Fixture, run: &Run) {
    let epoch = fixture.get(run).await.epoch;
    fixture
        .until_noted(|notes| {
            notes.enqueued.lock().expect("no test panicked with it").contains(&(run.id, epoch))
        })
        .await;
}

#[tokio::test]
async fn nothing_of_a_paused_queue_is_claimed_and_what_is_held_goes_on() {
    let fixture = Fixture::new().await;
    let (held, waiting) = (created(&fixture, "q").await, created(&fixture, "q").await);
    let held = fixture.start(&held).await;
    let paused = fixture.engine.pause_queue(&ask("q"), "full disk").await.expect("is paused");
    let pause = paused.settings.and_then(|settings| settings.pause).expect("is told");
    assert_eq!(
        (pause.at, pause.by.as_deref(), pause.reason.as_str()),
        (fixture.clock.now(), Some("ada"), "full disk")
    );
    fixture.advance(9);
    let again = QueueAsk { actor: Some("bob".to_owned()), ..ask("q") };
    let again = fixture.engine.pause_queue(&again, "").await.expect("is paused");
    assert_eq!(
        again.settings.and_then(|settings| settings.pause),
        Some(pause),
        "since when and by whom stays"
    );

    assert!(is_paused(&fixture, &waiting).await);
    assert!(is_paused(&fixture, &created(&fixture, "q").await).await);
    let elsewhere = created(&fixture, "p").await;
    assert!(fixture.claim(&elsewhere, "w").await.expect("is answered").is_granted(), "another queue");
    fixture.report(&held, Event::Completed).await.expect("what is held goes on");
    let stale = fixture.claim(&held, "w").await;
    assert!(matches!(stale, Err(EngineError::Rejected(_))), "a void delivery is to be dropped: {stale:?}");
    let explanation = fixture.engine.explain(&Namespace::default(), waiting.id).await.expect("is explained");
    assert!(
        matches!(&explanation.waits[0], Wait::Queue { queue, .. } if queue.as_str() == "q"),
        "{explanation:?}"
    );
    assert!(explanation.summary.contains("was paused by ada"), "{}", explanation.summary);

    fixture.engine.resume_queue(&ask("q")).await.expect("is resumed");
    fixture.until_noted(|notes| !notes.resumed.lock().expect("no test panicked with it").is_empty()).await;
    assert_eq!(fixture.history(&waiting).await.len(), 1, "a pause of its queue is no event of a run");
    assert!(fixture.claim(&waiting, "w").await.expect("is answered").is_granted(), "under the epoch it had");
}

#[tokio::test]
async fn a_run_of_a_paused_queue_expires_and_takes_no_cached_result() {
    let fixture = Fixture::new().await;
    let cached = || {
        let mut create = task_in("q");
        create.draft.cache =
            Some(tidegate_orchestration::CachePolicy { key: "k".to_owned(), expires_after: None });
        create
    };
    // Created before there is a result, so that its claim looks for one.
    let second = fixture.create(cached()).await.expect("is created").run;
    let first = fixture.create(cached()).await.expect("is created").run;
    let running = fixture.start(&first).await;
    fixture.report(&running, Event::Completed).await.expect("completes");
    let mut expiring = task_in("q");
    expiring.draft.expires_at = Some(fixture.clock.now() + Duration::from_secs(5));
    let expiring = fixture.create(expiring).await.expect("is created").run;
    fixture.engine.pause_queue(&ask("q"), "").await.expect("is paused");
    assert!(is_paused(&fixture, &second).await);
    fixture.advance(6);
    fixture.claim(&expiring, "w").await.expect("is answered");
    assert_eq!(fixture.state(&expiring).await, "CANCELLED/Expired");
    fixture.engine.resume_queue(&ask("q")).await.expect("is resumed");
    fixture.claim(&second, "w").await.expect("is answered");
    assert_eq!(fixture.state(&second).await, "COMPLETED/Cached");
}

#[tokio::test]
async fn a_queue_holds_no_more_runs_than_it_may_and_hands_each_slot_on() {
    let fixture = Fixture::new().await;
    let early = created(&fixture, "q").await;
    let early = fixture.start(&early).await;
    let unbound = fixture.engine.put_queue(&ask("q"), None).await.expect("is put");
    assert_eq!(unbound.settings.and_then(|settings| settings.max_slots), None);
    assert!(owners(&*fixture.store, &queue("q"), &*fixture.clock).await.is_empty(), "no limit, no slots");

    fixture.engine.put_queue(&ask("q"), Some(2)).await.expect("is put");
    assert_eq!(owners(&*fixture.store, &queue("q"), &*fixture.clock).await, [early.id], "it was held before");
    let runs = [created(&fixture, "q").await, created(&fixture, "q").await, created(&fixture, "q").await];
    let second = fixture.claim(&runs[0], "w").await.expect("is answered");
    assert!(second.is_granted());
    for run in &runs[1..] {
        assert!(fixture.claim(run, "w").await.expect("is answered").is_waiting());
    }
    assert!(fixture.claim(&created(&fixture, "p").await, "w").await.expect("is answered").is_granted());
    let facts = fixture.engine.get_queue(&queue("q")).await.expect("is told");
    assert_eq!((facts.waiting, facts.n_awaiting_slot, facts.n_held), (Some(Count::Exact(2)), 2, 2));

    fixture.report(&early, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &runs[1]).await;
    assert!(fixture.claim(&fixture.get(&runs[1]).await, "w").await.expect("is answered").is_granted());
    fixture.cancel(&runs[2]).await;
    let facts = fixture.engine.get_queue(&queue("q")).await.expect("is told");
    assert_eq!((facts.waiting, facts.n_awaiting_slot, facts.n_held), (Some(Count::Exact(0)), 0, 2));

    // Lowered and taken away while runs are held: they keep their slots until they end, and nothing is left of them.
    fixture.engine.put_queue(&ask("q"), Some(0)).await.expect("is put");
    let last = created(&fixture, "q").await;
    assert!(fixture.claim(&last, "w").await.expect("is answered").is_waiting());
    assert!(fixture.engine.delete_queue(&ask("q")).await.expect("is deleted"));
    assert!(!fixture.engine.delete_queue(&ask("q")).await.expect("is answered"), "it is gone");
    until_handed_over(&fixture, &last).await;
    assert!(fixture.claim(&fixture.get(&last).await, "w").await.expect("is answered").is_granted());
    for run in [&second.run, &runs[1], &last] {
        let running = fixture.report(&fixture.get(run).await, Event::Started).await.expect("starts").run;
        fixture.report(&running, Event::Completed).await.expect("completes");
    }
    assert!(owners(&*fixture.store, &queue("q"), &*fixture.clock).await.is_empty());
    assert_eq!(fixture.store.count_waits(&[queue("q").limit()]).await.expect("reads"), [0]);
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let fixture = Fixture::new().await;
    let (pause, put) = (Some(RunId::new()), Some(RunId::new()));
    let by = |request_id| QueueAsk { request_id, ..ask("q") };
    fixture.engine.pause_queue(&by(pause), "").await.expect("is paused");
    fixture.engine.put_queue(&by(put), Some(3)).await.expect("is put");
    fixture.engine.resume_queue(&by(Some(RunId::new()))).await.expect("is resumed");
    fixture.engine.put_queue(&by(Some(RunId::new())), Some(5)).await.expect("is put");
    let repeated =
        fixture.engine.pause_queue(&by(pause), "").await.expect("is answered").settings.expect("is told");
    assert_eq!(repeated.pause, None, "it was resumed since");
    let repeated =
        fixture.engine.put_queue(&by(put), Some(3)).await.expect("is answered").settings.expect("is told");
    assert_eq!(repeated.max_slots, Some(5));
    let delete = by(Some(RunId::new()));
    assert!(fixture.engine.delete_queue(&delete).await.expect("is deleted"));
    assert!(fixture.engine.delete_queue(&delete).await.expect("is answered"), "a repeat is answered alike");
}

#[tokio::test]
async fn a_slot_that_a_paused_queue_cannot_use_goes_to_another() {
    let fixture = Fixture::new().await;
    let db = LimitKey { namespace: Namespace::default(), name: "db".to_owned() };
    fixture.engine.put_limit(db, 1).await.expect("is defined");
    let limited = |name: &str| {
        let mut create = task_in(name);
        create.draft.concurrency_limits = vec!["db".to_owned()];
        create
    };
    let holder = fixture.create(limited("p")).await.expect("is created").run;
    let holder = fixture.start(&holder).await;
    // More than are passed over in a turn.
    let blocked = join_all((0..600).map(|_| fixture.create(limited("q")))).await;
    join_all(blocked.into_iter().map(async |blocked| {
        let blocked = blocked.expect("is created").run;
        assert!(fixture.claim(&blocked, "w").await.expect("is answered").is_waiting());
    }))
    .await;
    fixture.advance(1);
    let behind = fixture.create(limited("p")).await.expect("is created").run;
    assert!(fixture.claim(&behind, "w").await.expect("is answered").is_waiting());
    fixture.engine.pause_queue(&ask("q"), "").await.expect("is paused");
    fixture.report(&holder, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &behind).await;
    assert!(fixture.claim(&fixture.get(&behind).await, "w").await.expect("is answered").is_granted());
}

#[tokio::test]
async fn nobody_is_handed_over_for_a_slot_of_a_paused_queue_before_it_is_resumed() {
    let fixture = Fixture::new().await;
    fixture.engine.put_queue(&ask("q"), Some(1)).await.expect("is put");
    let holder = created(&fixture, "q").await;
    let holder = fixture.start(&holder).await;
    let waiting = [created(&fixture, "q").await, created(&fixture, "q").await];
    for run in &waiting {
        assert!(fixture.claim(run, "w").await.expect("is answered").is_waiting());
    }
    fixture.engine.pause_queue(&ask("q"), "").await.expect("is paused");
    fixture.report(&holder, Event::Completed).await.expect("completes");
    fixture.advance(1);
    assert_eq!(fixture.engine.hand_out_slots(fixture.clock.now()).await.expect("is swept"), 0);

    fixture.engine.resume_queue(&ask("q")).await.expect("is resumed");
    until_handed_over(&fixture, &waiting[0]).await;
    assert!(fixture.claim(&fixture.get(&waiting[0]).await, "w").await.expect("is answered").is_granted());
}

#[tokio::test]
async fn the_wait_of_a_run_that_a_replica_without_queue_limits_cancelled_takes_no_slot_from_others() {
    let fixture = Fixture::new().await;
    fixture.engine.put_queue(&ask("q"), Some(1)).await.expect("is put");
    let holder = created(&fixture, "q").await;
    let holder = fixture.start(&holder).await;
    let waiting = [created(&fixture, "q").await, created(&fixture, "q").await];
    for run in &waiting {
        assert!(fixture.claim(run, "w").await.expect("is answered").is_waiting());
    }
    let cancel = Event::CancelRequested { reason: String::new(), actor: None };
    let mut tx = fixture.store.begin().await.expect("begins");
    let locked = tx.lock_runs(&[waiting[0].id]).await.expect("is locked");
    let step = apply(&locked[0], None, &cancel, fixture.clock.now(), 0.0).expect("is cancelled");
    tx.update_runs(&[(step.run, None)]).await.expect("is written");
    tx.commit().await.expect("is committed");
    assert_eq!(fixture.state(&waiting[0]).await, "CANCELLED/Cancelled");

    fixture.report(&holder, Event::Completed).await.expect("completes");
    until_handed_over(&fixture, &waiting[1]).await;
    assert!(fixture.claim(&fixture.get(&waiting[1]).await, "w").await.expect("is answered").is_granted());
    assert_eq!(fixture.store.count_waits(&[queue("q").limit()]).await.expect("reads"), [0]);
}

#[tokio::test]
async fn a_change_whose_commit_went_unanswered_is_answered_as_it_was_made() {
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(truth, 0.2));
    let fixture = Fixture::over(Arc::clone(&faulty) as Arc<dyn RunStore>);
    for _ in 0..100 {
        fixture.engine.put_queue(&ask("q"), Some(1)).await.expect("is put");
        assert!(fixture.engine.delete_queue(&ask("q")).await.expect("is deleted"));
    }
    assert!(faulty.n_faults() > 0, "so many commits make for a fault");
    let missing = QueueAsk { request_id: Some(RunId::new()), ..ask("q") };
    assert!(!fixture.engine.delete_queue(&missing).await.expect("is answered"));
    assert!(!fixture.engine.delete_queue(&missing).await.expect("is answered"), "a repeat is answered alike");
}

#[tokio::test]
async fn more_changes_than_can_wait_are_told_to_come_back() {
    let inner: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let store = Arc::new(FaultyStore::new(inner, 0.0));
    let fixture = Fixture::over(Arc::clone(&store) as Arc<dyn RunStore>);
    store.hold_commits();
    let asks: Vec<QueueAsk> = (0..17).map(|n| ask(&format!("q{n}"))).collect();
    let mut waiting = Box::pin(join_all(asks.iter().map(|ask| fixture.engine.put_queue(ask, Some(1)))));
    assert!(futures::poll!(&mut waiting).is_pending());
    let refused = fixture.engine.put_queue(&ask("q"), Some(1)).await;
    assert!(matches!(refused, Err(EngineError::Overloaded)), "{refused:?}");
    store.release_commits();
    assert!(waiting.await.into_iter().all(|put| put.is_ok()));
    fixture.engine.put_queue(&ask("q"), Some(1)).await.expect("is put");
}

#[tokio::test]
async fn a_queue_is_told_without_how_many_wait_where_the_count_takes_too_long() {
    let inner: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let store = Arc::new(FaultyStore::new(inner, 0.0));
    let fixture = Fixture::over(Arc::clone(&store) as Arc<dyn RunStore>);
    let held = created(&fixture, "q").await;
    fixture.start(&held).await;
    store.slow_counts();
    let facts = fixture.engine.get_queue(&queue("q")).await.expect("is told");
    assert_eq!((facts.waiting, facts.n_held), (None, 1));
}

#[tokio::test]
async fn queues_with_settings_and_queues_in_use_are_listed() {
    let fixture = Fixture::new().await;
    fixture.engine.put_queue(&ask("b"), Some(1)).await.expect("is put");
    fixture.engine.pause_queue(&ask("d"), "").await.expect("is paused");
    let depth = QueueDepth { n_ready: 7, ..QueueDepth::default() };
    let in_use = ["a", "b", "c"].map(|name| (name.parse().expect("is a name"), depth));
    *fixture.notes.in_use.lock().expect("no test panicked with it") = in_use.to_vec();
    let list = async |after: Option<&str>, limit| {
        let after = after.map(|name| name.parse().expect("is a name"));
        let found =
            fixture.engine.list_queues(&Namespace::default(), after.as_ref(), limit).await.expect("is told");
        found
            .into_iter()
            .map(|view| (view.key.name.to_string(), view.settings.is_some(), view.depth))
            .collect::<Vec<_>>()
    };
    let (used, idle) = (Some(depth), Some(QueueDepth::default()));
    let all = [("a", false, used), ("b", true, used), ("c", false, used), ("d", true, idle)]
        .map(|(name, has_settings, depth)| (name.to_owned(), has_settings, depth));
    assert_eq!(list(None, 10).await, all);
    assert_eq!(list(None, 2).await, all[..2]);
    assert_eq!(list(Some("b"), 2).await, all[2..]);

    let traffic = QueueTraffic { depth, n_workers: 3, n_free_task_slots: 2, n_free_flow_slots: 1 };
    *fixture.notes.traffic.lock().expect("no test panicked with it") = Some(traffic);
    assert_eq!(
        fixture.engine.get_queue(&queue("a")).await.expect("is told").traffic.expect("answers"),
        traffic
    );
    fixture.notes.is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(fixture.engine.get_queue(&queue("a")).await.expect("is told without it").traffic.is_err());
    let refused = fixture.engine.list_queues(&Namespace::default(), None, 10).await;
    assert!(matches!(refused, Err(EngineError::DeliveryUnavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_defined_among_claims_is_never_exceeded_on_sqlite() {
    defined_among_claims(Arc::new(SqliteStore::in_memory().await.expect("a store opens"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_defined_among_claims_is_never_exceeded_on_postgres() {
    let database = Database::create().await;
    let options = PgOptions { max_connections: 12, ..PgOptions::default() };
    let store = PgStore::connect(database.url(), &options).await.expect("the database opens");
    defined_among_claims(Arc::new(store)).await;
    database.remove().await;
}

/// In each turn two engines claim and end runs while the limit is defined or taken away. Afterwards, and so at every
/// moment, those with a slot are those that are held, but for runs claimed while there was no limit.
async fn defined_among_claims(store: Arc<dyn RunStore>) {
    const N_RUNS: usize = 24;
    const N_SLOTS: u32 = 3;
    let replicas = [Fixture::over(Arc::clone(&store)), Fixture::over(Arc::clone(&store))];
    for turn in 0..12 {
        let runs: Vec<Run> = join_all((0..N_RUNS).map(|_| created(&replicas[0], "q"))).await;
        let claim_and_end = async |(idx, run): (usize, &Run)| {
            let replica = &replicas[idx % 2];
            let claimed = replica.claim(run, "w").await.expect("is answered");
            if claimed.is_granted() && idx % 3 == 0 {
                let event = if idx % 2 == 0 { Event::Released } else { Event::Started };
                replica.report(&claimed.run, event).await.expect("is taken");
            }
        };
        let define = async {
            let slots = (turn % 3 != 0).then_some(N_SLOTS);
            replicas[turn % 2].engine.put_queue(&ask("q"), slots).await.expect("is put");
        };
        tokio::join!(join_all(runs.iter().enumerate().map(claim_and_end)), define);
        replicas[0].engine.put_queue(&ask("q"), Some(N_SLOTS)).await.expect("is put");

        let mut held = Vec::new();
        for run in &runs {
            let run = replicas[0].get(run).await;
            held.extend(run.holder().is_some().then_some(run));
        }
        let mut ids: Vec<_> = held.iter().map(|run| run.id).collect();
        ids.sort();
        assert_eq!(owners(&*store, &queue("q"), &*replicas[0].clock).await, ids, "turn {turn}");
        let more = created(&replicas[1], "q").await;
        // What is free is for those in line.
        let n_in_line = store.count_waits(&[queue("q").limit()]).await.expect("reads")[0];
        let is_full = held.len() as u64 + n_in_line >= u64::from(N_SLOTS);
        assert_eq!(
            replicas[1].claim(&more, "w").await.expect("is answered").is_waiting(),
            is_full,
            "turn {turn}"
        );
        for run in runs.iter().chain([&more]) {
            let run = replicas[0].get(run).await;
            let operation = Operation::Cancel {
                namespace: Namespace::default(),
                run_id: run.id,
                reason: String::new(),
                actor: None,
            };
            replicas[0].engine.operate(operation).await.expect("can be cancelled");
            if let Some(Holder::Worker(_)) = replicas[0].get(&run).await.holder() {
                replicas[0].report(&replicas[0].get(&run).await, Event::Cancelled).await.expect("ends");
            }
        }
        assert!(owners(&*store, &queue("q"), &*replicas[0].clock).await.is_empty(), "turn {turn}");
        assert_eq!(store.count_waits(&[queue("q").limit()]).await.expect("reads"), [0], "turn {turn}");
        if turn % 4 == 1 {
            replicas[1].engine.delete_queue(&ask("q")).await.expect("is deleted");
        }
    }
}
