//! Schedules: each of their times makes one run, whoever looks, whatever breaks off, and whatever people do meanwhile.

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{Fixture, Notes, start_engine, task};
use tidegate_engine::{
    Create, Deploy, Deployed, DeploymentAsk, EngineError, Fire, Fires, ScheduleAsk, ScheduleVerb, Spec,
    Timetables, schedule_etag,
};
use tidegate_model::{
    Clock as _, ErrorCode, FieldViolation, Namespace, RunId, RunKind, ScheduleId, ServiceError as _,
    Timestamp, limits,
};
use tidegate_orchestration::{Collision, Draft, Event, Run};
use tidegate_store::{
    Deployment, DeploymentKey, Filter, LimitSettings, ListQuery, RunStore, Schedule, ScheduleKey,
    SchedulePause, ScheduleProgress, WorkPool,
};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{FaultyStore, ManualClock};
use tokio::task::JoinSet;

const NIGHTLY: &str = "etl/nightly";

/// Of one that fires so seldom many times were missed.
const LONG_MISSED: u64 = 999;

/// Every so many seconds, as the specification says; runs are due a second later. `wrong` means nothing.
#[derive(Debug)]
struct EverySeconds;

impl Timetables for EverySeconds {
    fn come(&self, schedule: &Schedule, now: Timestamp, most: usize) -> Result<Fires, EngineError> {
        let text = String::from_utf8_lossy(&schedule.spec);
        let seconds =
            text.parse().map_err(|_| EngineError::InvalidFilter { cause: "no number".to_owned() })?;
        let mut next = schedule.progress.next_fire_at;
        let mut fires = Fires::default();
        while let Some(fire_at) = next.filter(|fire_at| *fire_at <= now && fires.now.len() < most) {
            fires.now.push(Fire { fire_at, due_at: fire_at + Duration::from_secs(1) });
            next = Some(fire_at + Duration::from_secs(seconds));
        }
        fires.next_fire_at = next;
        // Told with the first of them, so that it is seen that they add up.
        fires.n_missed = if seconds == LONG_MISSED { 4_000 } else { 2 };
        Ok(fires)
    }

    fn run_of(&self, schedule: &Schedule, fire: Fire) -> Result<Create, EngineError> {
        let draft = Draft {
            kind: RunKind::Flow,
            name: "etl".parse().expect("is a name"),
            deployment: Some(schedule.key.deployment.name.to_string()),
            due_at: Some(fire.due_at),
            schedule: Some(schedule.key.name.clone()),
            fire_at: Some(fire.fire_at),
            concurrency_limits: vec![schedule.key.limit().name],
            ..task().draft
        };
        Ok(Create {
            deploy: Some(Arc::new(AsItIs(draft.clone()))),
            draft,
            idempotency_key: Some(fire.fire_at.to_string()),
            use_existing: true,
            schedule: Some(schedule.id),
            actor: Some(format!("schedule:{}", schedule.key.name)),
            ..task()
        })
    }
}

/// A deployment that is `refusing` fits nothing.
#[derive(Debug)]
struct AsItIs(Draft);

impl Deploy for AsItIs {
    fn deploy(&self, deployment: &Deployment, _: Option<&WorkPool>) -> Result<Deployed, EngineError> {
        if deployment.spec == "refusing" {
            let violation = FieldViolation { field: "parameters.n".into(), description: "is wrong".into() };
            return Err(EngineError::InvalidFields { violations: vec![violation] });
        }
        Ok(Deployed { draft: self.0.clone(), parameters: None, job: None })
    }
}

async fn deploy(fixture: &Fixture, spec: &'static str) {
    let key = DeploymentKey { namespace: Namespace::default(), name: NIGHTLY.parse().expect("is a name") };
    let ask = DeploymentAsk { key, etag: None, actor: None, request_id: None };
    let spec = Spec { encoded: Bytes::from_static(spec.as_bytes()), limit: None, work_pool: None };
    fixture.engine.change_deployment(&ask, &|_| Ok(spec.clone())).await.expect("is deployed");
}

fn key(name: &str) -> ScheduleKey {
    let deployment =
        DeploymentKey { namespace: Namespace::default(), name: NIGHTLY.parse().expect("is a name") };
    ScheduleKey { deployment, name: name.parse().expect("is a name") }
}

fn ask(name: &str) -> ScheduleAsk {
    ScheduleAsk { key: key(name), etag: None, actor: None, request_id: None }
}

/// The schedule with this specification, whose first time is in 10 s.
fn with_spec(key: &ScheduleKey, before: Option<&Schedule>, spec: &'static str, now: Timestamp) -> Schedule {
    let spec = Bytes::from_static(spec.as_bytes());
    match before {
        Some(before) => Schedule { spec, ..before.clone() },
        None => Schedule {
            key: key.clone(),
            id: ScheduleId::new(),
            version: 0,
            spec,
            pause: None,
            created_at: now,
            updated_at: now,
            progress: ScheduleProgress {
                next_fire_at: Some(now + Duration::from_secs(10)),
                ..ScheduleProgress::default()
            },
        },
    }
}

async fn put(
    fixture: &Fixture,
    ask: &ScheduleAsk,
    spec: &'static str,
    limit: Option<LimitSettings>,
) -> Result<(Schedule, bool), EngineError> {
    let change = |_: &Deployment, _: Option<&WorkPool>, before: Option<&Schedule>, now| {
        Ok((with_spec(&ask.key, before, spec, now), limit.clone()))
    };
    fixture.engine.change_schedule(&EverySeconds, ask, ScheduleVerb::Create, &change).await
}

async fn runs(store: &Arc<dyn RunStore>) -> Vec<Run> {
    let all = ListQuery::newest(Namespace::default(), Filter::And(Vec::new()), 10_000);
    store.list_runs(&all).await.expect("are listed")
}

/// How many runs each time has.
async fn by_time(store: &Arc<dyn RunStore>) -> BTreeMap<Option<Timestamp>, usize> {
    let mut n_runs = BTreeMap::new();
    for run in runs(store).await {
        *n_runs.entry(run.fire_at).or_default() += 1;
    }
    n_runs
}

#[tokio::test]
async fn a_time_that_comes_makes_a_run_and_the_next_one_is_waited_for() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    let (made, is_new) = put(&fixture, &ask("s"), "60", None).await.expect("is made");
    assert_eq!((is_new, made.version), (true, 1));
    let first = made.progress.next_fire_at.expect("fires");
    fixture.advance(9);
    assert_eq!(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("looks"), 0);
    fixture.advance(1);
    assert_eq!(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires"), 1);
    assert_eq!(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("looks"), 0);
    let made_runs = runs(&fixture.store).await;
    let [run] = &made_runs[..] else { panic!("{made_runs:?}") };
    assert_eq!(run.schedule, Some(key("s").name));
    assert_eq!((run.fire_at, run.due_at), (Some(first), first + Duration::from_secs(1)));
    assert_eq!(run.deployment_version, Some(1));
    let history = fixture.store.list_events(&run.namespace, run.id, 0, 10).await.expect("reads");
    assert_eq!(history[0].actor.as_deref(), Some("schedule:s"));
    let after = fixture.engine.get_schedule(&key("s")).await.expect("is there");
    let wanted = ScheduleProgress {
        next_fire_at: Some(first + Duration::from_secs(60)),
        last_fire_at: Some(first),
        last_run: Some(run.id),
        n_missed: 2,
        last_error: None,
    };
    assert_eq!(after, Schedule { progress: wanted, ..made });
    fixture.until_noted(|notes| notes.enqueued.lock().expect("no panic").len() == 1).await;
}

#[tokio::test]
async fn more_times_than_fit_into_a_turn_come_in_the_next() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    for name in ["a", "b"] {
        put(&fixture, &ask(name), "1", None).await.expect("is made");
    }
    fixture.advance(10 + 1_199);
    let mut n_turns = 0;
    while fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires") > 0 {
        n_turns += 1;
    }
    assert_eq!(n_turns, 3, "of 1,000 runs at most");
    let n_runs = by_time(&fixture.store).await;
    assert_eq!((n_runs.len(), n_runs.values().all(|n| *n == 2)), (1_200, true));
}

/// What somebody does to a schedule whose times nobody has got to yet.
async fn change_when_overdue(change: impl Fn(Schedule) -> Schedule + Send + Sync) -> (Fixture, Schedule) {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    put(&fixture, &ask("s"), "1", None).await.expect("is made");
    // More times than one turn takes.
    fixture.advance(10 + 1_199);
    let change = |_: &Deployment, _: Option<&WorkPool>, before: Option<&Schedule>, _| {
        Ok((change(before.expect("is there").clone()), None))
    };
    let asked = ask("s");
    let changed = fixture.engine.change_schedule(&EverySeconds, &asked, ScheduleVerb::Update, &change);
    let (changed, _) = changed.await.expect("is changed");
    assert_eq!(changed, fixture.engine.get_schedule(&key("s")).await.expect("is there"));
    (fixture, changed)
}

#[tokio::test]
async fn a_time_that_came_before_a_pause_makes_its_run() {
    let pause = |mut schedule: Schedule| {
        let at = schedule.created_at;
        schedule.pause = Some(SchedulePause { at, by: None, reason: String::new() });
        schedule.progress.next_fire_at = None;
        schedule
    };
    let (fixture, paused) = change_when_overdue(pause).await;
    assert_eq!((paused.pause.is_some(), paused.progress.next_fire_at), (true, None));
    assert_eq!(paused.progress.last_fire_at, Some(fixture.clock.now()));
    let n_runs = by_time(&fixture.store).await;
    assert_eq!((n_runs.len(), n_runs.values().all(|n| *n == 1)), (1_200, true));
    fixture.advance(60);
    assert_eq!(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("looks"), 0);
}

#[tokio::test]
async fn a_time_that_came_before_other_times_were_set_makes_its_run() {
    let (fixture, changed) = change_when_overdue(|mut schedule: Schedule| {
        schedule.progress.next_fire_at = Some(schedule.created_at + Duration::from_secs(86_400));
        schedule
    })
    .await;
    assert_eq!(by_time(&fixture.store).await.len(), 1_200);
    assert_eq!(changed.progress.last_fire_at, Some(fixture.clock.now()));
}

#[tokio::test]
async fn what_leaves_the_times_as_they_are_waits_for_none() {
    let (fixture, _) = change_when_overdue(|schedule| Schedule { spec: "01".into(), ..schedule }).await;
    assert_eq!(by_time(&fixture.store).await.len(), 0);
}

#[tokio::test]
async fn a_turn_goes_through_so_many_missed_times_and_leaves_the_rest_to_the_next() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    for name in ["a", "b", "c", "d", "e"] {
        put(&fixture, &ask(name), "999", None).await.expect("is made");
    }
    fixture.advance(10);
    let mut turns = Vec::new();
    while turns.last() != Some(&0) {
        turns.push(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires"));
    }
    assert_eq!(turns, [3, 2, 0]);
    assert_eq!(runs(&fixture.store).await.len(), 5);
}

#[tokio::test]
async fn what_the_deployment_refuses_is_told_and_the_schedule_goes_on() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "refusing").await;
    let made = put(&fixture, &ask("s"), "60", None).await.expect("is made").0;
    fixture.advance(10);
    fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires");
    let after = fixture.engine.get_schedule(&key("s")).await.expect("is there").progress;
    assert_eq!(after.last_error.as_deref(), Some("parameters.n: is wrong"));
    assert_eq!((after.last_fire_at, after.last_run), (None, None));
    assert_eq!(after.next_fire_at, made.progress.next_fire_at.map(|first| first + Duration::from_secs(60)));
    deploy(&fixture, "").await;
    fixture.advance(60);
    fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires");
    let later = fixture.engine.get_schedule(&key("s")).await.expect("is there").progress;
    assert_eq!((later.last_error, later.last_fire_at), (None, after.next_fire_at));
}

#[tokio::test]
async fn one_that_means_nothing_any_more_says_so_and_holds_up_nobody() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    put(&fixture, &ask("bad"), "wrong", None).await.expect("is made");
    put(&fixture, &ask("good"), "60", None).await.expect("is made");
    fixture.advance(10);
    assert_eq!(fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires"), 2);
    let bad = fixture.engine.get_schedule(&key("bad")).await.expect("is there").progress;
    assert_eq!((bad.next_fire_at, bad.last_error.as_deref()), (None, Some("filter: no number")));
    assert_eq!(runs(&fixture.store).await.len(), 1);
}

/// Engines of several replicas over a store whose commits break off at times: each time makes one run.
async fn fires_once(truth: Arc<dyn RunStore>) {
    let fixture = Fixture::over(Arc::clone(&truth));
    deploy(&fixture, "").await;
    for name in ["a", "b", "c"] {
        put(&fixture, &ask(name), "1", None).await.expect("is made");
    }
    fixture.advance(10 + 299);
    let clock = Arc::new(ManualClock::new());
    clock.advance(fixture.clock.now().since(clock.now()));
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), 0.2));
    let (mut background, mut loops) = (JoinSet::new(), JoinSet::new());
    for _ in 0..3 {
        let store = Arc::clone(&faulty) as Arc<dyn RunStore>;
        let engine =
            start_engine(store, Arc::new(Notes::default()), Arc::clone(&clock) as _, &mut background);
        loops.spawn(async move {
            // A turn that breaks off is followed by the next, as in the scheduler.
            while engine.store().next_schedule_at().await.is_ok_and(|next| next <= Some(engine.clock().now()))
            {
                let _ = engine.fire_schedules(&EverySeconds, 2).await;
            }
        });
    }
    loops.join_all().await;
    let n_runs = by_time(&truth).await;
    assert_eq!((n_runs.len(), n_runs.values().all(|n| *n == 3)), (300, true), "{n_runs:?}");
    for name in ["a", "b", "c"] {
        let progress = fixture.engine.get_schedule(&key(name)).await.expect("is there").progress;
        assert_eq!(progress.last_fire_at, n_runs.keys().next_back().copied().flatten());
    }
}

#[tokio::test]
async fn each_time_makes_one_run_on_sqlite() {
    fires_once(Arc::new(SqliteStore::in_memory().await.expect("a store opens"))).await;
}

#[tokio::test]
async fn each_time_makes_one_run_on_postgres() {
    let database = Database::create().await;
    let store = PgStore::connect(database.url(), &PgOptions { max_connections: 12, ..PgOptions::default() })
        .await
        .expect("connects");
    fires_once(Arc::new(store)).await;
    database.remove().await;
}

#[tokio::test]
async fn a_time_has_one_run_also_by_another_way_and_one_made_anew_begins_afresh() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    let made = put(&fixture, &ask("s"), "60", None).await.expect("is made").0;
    let fire_at = made.progress.next_fire_at.expect("fires");
    let fire = Fire { fire_at, due_at: fire_at };
    let create = |schedule: &Schedule| EverySeconds.run_of(schedule, fire).expect("is made");
    let first = fixture.create(create(&made)).await.expect("is created");
    assert!(first.created);
    fixture.advance(10);
    fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires");
    assert_eq!(runs(&fixture.store).await.len(), 1);
    let progress = fixture.engine.get_schedule(&key("s")).await.expect("is there").progress;
    assert_eq!(progress.last_run, Some(first.run.id));
    // However long ago.
    fixture.advance(365 * 86_400);
    assert!(!fixture.create(create(&made)).await.expect("is found").created);

    assert!(fixture.engine.delete_schedule(&ask("s")).await.expect("is deleted"));
    assert!(!fixture.engine.delete_schedule(&ask("s")).await.expect("is gone"));
    let anew = put(&fixture, &ask("s"), "60", None).await.expect("is made").0;
    assert!(fixture.create(create(&anew)).await.expect("is created").created);
}

#[tokio::test]
async fn runs_of_a_schedule_that_are_not_to_overlap_need_its_slot() {
    let fixture = Fixture::new().await;
    deploy(&fixture, "").await;
    let limit = LimitSettings { on_collision: Collision::Wait, ..LimitSettings::from(1) };
    put(&fixture, &ask("s"), "1", Some(limit)).await.expect("is made");
    fixture.advance(11);
    fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires");
    fixture.advance(1);
    let mut made = runs(&fixture.store).await;
    made.sort_by_key(|run| std::cmp::Reverse(run.fire_at));
    let [second, first] = &made[..] else { panic!("{made:?}") };
    let first = fixture.claim(first, "w").await.expect("is claimed").run;
    fixture.claim(second, "w").await.expect("is answered");
    assert_eq!(fixture.state(second).await, "SCHEDULED/AwaitingConcurrencySlot");
    let told = fixture.engine.explain(&Namespace::default(), second.id).await.expect("is explained").summary;
    assert!(told.contains("`schedule:etl/nightly/s`") && told.contains(&first.id.to_string()), "{told}");
    fixture.report(&first, Event::Started).await.expect("is started");
    fixture.report(&first, Event::Completed).await.expect("is completed");
    fixture
        .until_noted(|notes| {
            notes.enqueued.lock().expect("no panic").iter().filter(|(id, _)| *id == second.id).count() == 2
        })
        .await;

    let skip = LimitSettings { on_collision: Collision::Skip, ..LimitSettings::from(1) };
    put(&fixture, &ask("s"), "01", Some(skip)).await.expect("is changed");
    let second = fixture.get(second).await;
    fixture.claim(&second, "w").await.expect("is claimed");
    fixture.engine.fire_schedules(&EverySeconds, 10).await.expect("fires");
    fixture.advance(1);
    let third = runs(&fixture.store).await.into_iter().max_by_key(|run| run.fire_at).expect("is there");
    fixture.claim(&third, "w").await.expect("is answered");
    assert_eq!(fixture.state(&third).await, "CANCELLED/Skipped");
}

#[tokio::test]
async fn a_change_says_what_keeps_it_from_being_made() {
    let fixture = Fixture::new().await;
    let error = put(&fixture, &ask("s"), "60", None).await.expect_err("has no deployment");
    assert_eq!((error.code(), error.reason().as_str()), (ErrorCode::NotFound, "DEPLOYMENT_NOT_FOUND"));
    deploy(&fixture, "").await;
    let unchanged = |_: &Deployment, _: Option<&WorkPool>, before: Option<&Schedule>, _| match before {
        Some(before) => Ok((before.clone(), None)),
        None => Err(ask("s").not_found()),
    };
    let error =
        fixture.engine.change_schedule(&EverySeconds, &ask("s"), ScheduleVerb::Pause, &unchanged).await;
    assert_eq!(error.expect_err("is not there").reason().as_str(), "SCHEDULE_NOT_FOUND");

    let named = ScheduleAsk { request_id: Some(RunId::new()), ..ask("s") };
    let (made, is_new) = put(&fixture, &named, "60", None).await.expect("is made");
    assert!(is_new);
    fixture.advance(1);
    assert_eq!(put(&fixture, &named, "61", None).await.expect("is repeated"), (made.clone(), false));
    let same =
        fixture.engine.change_schedule(&EverySeconds, &ask("s"), ScheduleVerb::Resume, &unchanged).await;
    assert_eq!(same.expect("changes nothing").0, made);
    let (changed, is_new) = put(&fixture, &ask("s"), "61", None).await.expect("is changed");
    assert_eq!((changed.version, is_new, changed.updated_at), (2, false, fixture.clock.now()));
    let old = ScheduleAsk { etag: Some(schedule_etag(&made)), ..ask("s") };
    for error in [
        put(&fixture, &old, "62", None).await.expect_err("is older"),
        fixture.engine.delete_schedule(&old).await.expect_err("is older"),
    ] {
        assert_eq!((error.code(), error.reason().as_str()), (ErrorCode::FailedPrecondition, "ETAG_MISMATCH"));
        assert!(error.metadata().contains(&("schedule", "s".to_owned())));
    }
    let new = ScheduleAsk { etag: Some(schedule_etag(&changed)), ..ask("s") };
    put(&fixture, &new, "62", None).await.expect("is changed");

    for idx in 1..limits::MAX_SCHEDULES {
        put(&fixture, &ask(&format!("s{idx}")), "60", None).await.expect("is made");
    }
    let error = put(&fixture, &ask("more"), "60", None).await.expect_err("is one too many");
    assert_eq!(
        (error.code(), error.reason().as_str()),
        (ErrorCode::FailedPrecondition, "TOO_MANY_SCHEDULES")
    );
    assert!(error.to_string().contains("100 schedules"), "{error}");
}
