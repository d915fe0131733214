//! Automations are set once for each request; what sets one off is committed with it, and is carried out by whoever takes it.

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{Fixture, task};
use tidegate_engine::{
    Ask, Create, DeleteAutomation, EngineError, Operation, SetAutomation, TakenFiring, TakenFirings,
};
use tidegate_model::{
    AutomationRevision, Clock as _, ErrorCode, Namespace, RunId, ServiceError as _, limits,
};
use tidegate_orchestration::{Event, Failure, Run, StateName, StateType};
use tidegate_store::{
    Automation, AutomationKey, AutomationRecord, Firing, FiringKey, FiringOutcome, FiringQuery, RunStore,
    Trigger,
};
use tidegate_store_postgres::{PgOptions, PgStore, testing::Database};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;

/// How long firings are left to who took them.
const LEASE: Duration = Duration::from_secs(60);

/// What an action may hold, and nobody is told.
const SECRET: &[u8] = b"hunter2";

async fn on_each_store(test: impl AsyncFn(Fixture)) {
    test(Fixture::new().await).await;
    eprintln!("on Postgres:");
    let database = Database::create().await;
    let store = PgStore::connect(database.url(), &PgOptions::default()).await.expect("the database opens");
    test(Fixture::over(Arc::new(store))).await;
    database.remove().await;
}

fn key(name: &str) -> AutomationKey {
    AutomationKey { namespace: Namespace::default(), name: name.parse().expect("is a name") }
}

/// One that is set off by these types of states.
fn on(name: &str, states: &[StateType]) -> SetAutomation {
    let trigger = Trigger {
        states: states.to_vec(),
        state_names: Vec::new(),
        filter: String::new(),
        each_attempt: false,
    };
    SetAutomation {
        key: key(name),
        description: String::new(),
        trigger,
        action: Bytes::from_static(SECRET),
        overwrite: false,
        seen: None,
        request_id: None,
    }
}

/// One that is set off by new runs for which the filter holds.
fn on_new(name: &str, filter: &str) -> SetAutomation {
    let mut set = on(name, &[StateType::Scheduled]);
    filter.clone_into(&mut set.trigger.filter);
    set
}

fn described(description: &str) -> SetAutomation {
    SetAutomation { description: description.to_owned(), ..on("page-me", &[StateType::Crashed]) }
}

fn overwrite_by(description: &str) -> SetAutomation {
    SetAutomation { overwrite: true, ..described(description) }
}

fn delete(name: &str) -> DeleteAutomation {
    DeleteAutomation { key: key(name), allow_missing: false, seen: None, request_id: None }
}

async fn set(fixture: &Fixture, set: &SetAutomation) -> (Automation, bool) {
    fixture.engine.set_automation(set).await.expect("is set")
}

async fn refused(fixture: &Fixture, set: &SetAutomation) -> EngineError {
    fixture.engine.set_automation(set).await.expect_err("is refused")
}

async fn get(fixture: &Fixture, name: &str) -> Automation {
    fixture.engine.get_automation(&key(name)).await.expect("is there")
}

async fn pause(fixture: &Fixture, name: &str, paused: bool) -> Automation {
    fixture.engine.pause_automation(&key(name), paused, None).await.expect("is there")
}

async fn filter(fixture: &Fixture, limit: usize) -> usize {
    fixture.engine.filter_firings(limit).await.expect("asks")
}

async fn look_for(fixture: &Fixture, limit: usize) -> TakenFirings {
    filter(fixture, 100).await;
    let now = fixture.clock.now();
    let query = FiringQuery { now, until: now + LEASE, limit, limit_each: limit, except: Vec::new() };
    fixture.engine.take_firings(&query).await.expect("takes")
}

async fn take_up_to(fixture: &Fixture, limit: usize) -> Vec<TakenFiring> {
    look_for(fixture, limit).await.taken
}

/// All that are due, by the names of their automations.
async fn take(fixture: &Fixture) -> Vec<TakenFiring> {
    let mut taken = take_up_to(fixture, 100).await;
    taken.sort_by_key(|taken| taken.automation.key.name.clone());
    taken
}

/// The one that is due.
async fn take_one(fixture: &Fixture) -> TakenFiring {
    let mut taken = take(fixture).await;
    assert_eq!(taken.len(), 1, "{taken:?}");
    taken.remove(0)
}

async fn finish(fixture: &Fixture, taken: &TakenFiring, outcome: FiringOutcome) {
    let firing = &taken.firing;
    fixture.engine.finish_firings(&[(firing.key.clone(), firing.n_tries, outcome)]).await.expect("is kept");
}

async fn listed(fixture: &Fixture, name: &str) -> Vec<Firing> {
    fixture.engine.list_firings(&key(name), None, 1_000).await.expect("lists")
}

fn names(taken: &[TakenFiring]) -> Vec<&str> {
    taken.iter().map(|taken| taken.automation.key.name.as_str()).collect()
}

fn crashed() -> Event {
    Event::Crashed { cause: "signal 9 (SIGKILL)".to_owned() }
}

fn failed() -> Event {
    Event::Failed(Failure { error_type: "ValueError".into(), message: "odd".into(), ..Failure::default() })
}

fn tagged(tag: &str) -> Create {
    let mut create = task();
    create.draft.tags = vec![tag.to_owned()];
    create
}

async fn create(fixture: &Fixture, create: Create) -> Run {
    fixture.create(create).await.expect("is created").run
}

/// A run whose process went away once too often.
async fn crashed_run(fixture: &Fixture) -> Run {
    let mut new = task();
    new.draft.policies.crash.max_crashes = 0;
    let running = fixture.start(&create(fixture, new).await).await;
    fixture.report(&running, crashed()).await.expect("is reported").run
}

#[tokio::test]
async fn one_that_is_there_is_only_replaced_where_that_is_meant() {
    on_each_store(async |fixture| {
        let (first, created) = set(&fixture, &described("1")).await;
        assert!(created && !first.is_paused && first.record == AutomationRecord::default());
        assert_eq!(get(&fixture, "page-me").await, first);
        let exists = refused(&fixture, &described("2")).await;
        let code_and_reason = (exists.code(), exists.reason().as_str());
        assert_eq!(code_and_reason, (ErrorCode::AlreadyExists, "AUTOMATION_EXISTS"));
        assert_eq!(exists.metadata(), [("automation", "page-me".to_owned())]);
        fixture.advance(1);
        let (second, created) = set(&fixture, &overwrite_by("3")).await;
        assert!(!created && second.created_at == first.created_at && second.updated_at > first.updated_at);
        assert_ne!(second.revision, first.revision);
        assert_eq!(get(&fixture, "page-me").await, second);

        let seen = |revision| SetAutomation { seen: Some(revision), ..described("4") };
        let changed = refused(&fixture, &seen(first.revision)).await;
        let code_and_reason = (changed.code(), changed.reason().as_str());
        assert_eq!(code_and_reason, (ErrorCode::FailedPrecondition, "ETAG_MISMATCH"));
        let overwriting = SetAutomation { overwrite: true, ..seen(first.revision) };
        assert_eq!(refused(&fixture, &overwriting).await.reason().as_str(), "ETAG_MISMATCH");
        set(&fixture, &seen(second.revision)).await;
        assert_eq!(get(&fixture, "page-me").await.description, "4");

        let stale = DeleteAutomation { seen: Some(second.revision), ..delete("page-me") };
        let changed = fixture.engine.delete_automation(&stale).await.expect_err("is refused");
        assert_eq!(changed.reason().as_str(), "ETAG_MISMATCH");
        fixture.engine.delete_automation(&delete("page-me")).await.expect("is deleted");
        let gone = fixture.engine.delete_automation(&delete("page-me")).await.expect_err("is gone");
        let code_and_reason = (gone.code(), gone.reason().as_str());
        assert_eq!(code_and_reason, (ErrorCode::NotFound, "AUTOMATION_NOT_FOUND"));
        let missing = DeleteAutomation { allow_missing: true, ..delete("page-me") };
        fixture.engine.delete_automation(&missing).await.expect("that there is none is no error");
        for gone in [
            refused(&fixture, &seen(AutomationRevision::new())).await,
            fixture.engine.get_automation(&key("page-me")).await.expect_err("is gone"),
            fixture.engine.pause_automation(&key("page-me"), true, None).await.expect_err("is gone"),
            fixture.engine.list_firings(&key("page-me"), None, 10).await.expect_err("is gone"),
        ] {
            assert_eq!(gone.reason().as_str(), "AUTOMATION_NOT_FOUND");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_counts_once() {
    let fixture = Fixture::new().await;
    let request = SetAutomation { request_id: Some(RunId::new()), ..described("1") };
    let first = set(&fixture, &request).await;
    assert_eq!(set(&fixture, &request).await, first, "the same answer");
    set(&fixture, &overwrite_by("2")).await;
    set(&fixture, &request).await;
    assert_eq!(get(&fixture, "page-me").await.description, "2", "a late repeat undoes nothing");

    let pausing = Some(RunId::new());
    for is_paused in [true, false, false] {
        let told = fixture.engine.pause_automation(&key("page-me"), true, pausing).await.expect("is there");
        assert_eq!(told.is_paused, is_paused, "a late repeat undoes nothing");
        pause(&fixture, "page-me", false).await;
    }

    let deletion = DeleteAutomation { request_id: Some(RunId::new()), ..delete("page-me") };
    fixture.engine.delete_automation(&deletion).await.expect("is deleted");
    set(&fixture, &described("3")).await;
    fixture.engine.delete_automation(&deletion).await.expect("a late repeat is no error");
    assert_eq!(get(&fixture, "page-me").await.description, "3");
}

#[tokio::test]
async fn a_pause_is_no_change_of_what_was_set() {
    on_each_store(async |fixture| {
        let (made, _) = set(&fixture, &described("1")).await;
        fixture.advance(1);
        let paused = Automation { is_paused: true, ..made.clone() };
        for _ in 0..2 {
            assert_eq!(
                pause(&fixture, "page-me", true).await,
                paused,
                "pausing a paused one changes nothing"
            );
        }
        let (changed, _) =
            set(&fixture, &SetAutomation { seen: Some(made.revision), ..described("2") }).await;
        assert!(changed.is_paused, "what is set says nothing of that");
        let resumed = pause(&fixture, "page-me", false).await;
        assert_eq!(resumed, Automation { is_paused: false, ..changed });
        assert_eq!(get(&fixture, "page-me").await, resumed);
    })
    .await;
}

/// Commits that go unanswered are found out: who sets a new one is never told that it exists.
#[tokio::test]
async fn every_answer_is_true_though_commits_break_off() {
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(truth, 0.1));
    let fixture = Fixture::over(Arc::clone(&faulty) as Arc<dyn RunStore>);
    for round in 0..40 {
        assert!(set(&fixture, &described(&round.to_string())).await.1, "round {round}");
        assert_eq!(get(&fixture, "page-me").await.description, round.to_string());
        assert!(pause(&fixture, "page-me", true).await.is_paused);
        fixture.engine.delete_automation(&delete("page-me")).await.expect("it was there");
    }
    assert!(faulty.n_faults() > 0, "there are enough commits for a fault");
}

#[tokio::test]
async fn of_many_who_make_one_one_does() {
    on_each_store(async |fixture| {
        let sets: Vec<_> = (0..20).map(|n| described(&n.to_string())).collect();
        let outcomes =
            futures::future::join_all(sets.iter().map(|set| fixture.engine.set_automation(set))).await;
        let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(get(&fixture, "page-me").await, winners[0].0);
    })
    .await;
}

#[tokio::test]
async fn a_namespace_has_as_many_as_it_may_and_no_more() {
    on_each_store(async |fixture| {
        for n in 0..limits::MAX_AUTOMATIONS {
            assert!(set(&fixture, &on(&format!("a{n:03}"), &[StateType::Failed])).await.1);
        }
        let more = on("more", &[StateType::Failed]);
        let refusal = refused(&fixture, &more).await;
        let code_and_reason = (refusal.code(), refusal.reason().as_str());
        assert_eq!(code_and_reason, (ErrorCode::FailedPrecondition, "TOO_MANY_AUTOMATIONS"));
        assert!(refusal.to_string().contains("100 automations"), "{refusal}");
        set(&fixture, &SetAutomation { overwrite: true, ..on("a007", &[StateType::Crashed]) }).await;
        let elsewhere: Namespace = "elsewhere".parse().expect("is a name");
        let key = AutomationKey { namespace: elsewhere.clone(), ..more.key.clone() };
        set(&fixture, &SetAutomation { key, ..more.clone() }).await;

        let default = Namespace::default();
        let page = fixture.engine.list_automations(&default, None, 8).await.expect("lists");
        let last = page.last().expect("has some").key.name.clone();
        assert_eq!((page.len(), last.as_str()), (8, "a007"));
        let rest = fixture.engine.list_automations(&default, Some(&last), 1_000).await.expect("lists");
        assert_eq!((rest.len(), rest[0].key.name.as_str()), (92, "a008"));
        assert_eq!(fixture.engine.list_automations(&elsewhere, None, 10).await.expect("lists").len(), 1);

        fixture.engine.delete_automation(&delete("a000")).await.expect("is deleted");
        assert!(set(&fixture, &more).await.1);
    })
    .await;
}

#[tokio::test]
async fn only_runs_for_which_its_filter_holds_set_it_off() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("nightly", "tags:\"nightly\" AND kind = \"task\"")).await;
        let nightly = create(&fixture, tagged("nightly")).await;
        let hourly = create(&fixture, tagged("hourly")).await;
        let mut elsewhere = tagged("nightly");
        elsewhere.draft.namespace = "elsewhere".parse().expect("is a name");
        create(&fixture, elsewhere).await;
        let mut set_off: Vec<_> =
            listed(&fixture, "nightly").await.iter().map(|firing| firing.key.run_id).collect();
        let mut both = [nightly.id, hourly.id];
        set_off.sort();
        both.sort();
        assert_eq!(set_off, both, "the filter is asked by the scheduler, and other namespaces never");
        let taken = take_one(&fixture).await;
        assert_eq!(taken.run.id, nightly.id);
        assert_eq!(taken.automation, get(&fixture, "nightly").await);
        assert_eq!(taken.firing.key, FiringKey { automation: key("nightly"), run_id: nightly.id, seq: 1 });
        assert_eq!((taken.firing.n_tries, taken.firing.due_at), (1, fixture.clock.now() + LEASE));
        assert_eq!(listed(&fixture, "nightly").await, [taken.firing], "what does not match is gone");
    })
    .await;
}

#[tokio::test]
async fn many_that_do_not_match_do_not_hide_one_that_does() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("nightly", "tags:nightly")).await;
        for _ in 0..5 {
            create(&fixture, tagged("hourly")).await;
            fixture.advance(1);
        }
        let nightly = create(&fixture, tagged("nightly")).await;
        for expected in [2, 2, 2, 0] {
            assert_eq!(filter(&fixture, 2).await, expected);
        }
        let TakenFirings { taken, any_due } = look_for(&fixture, 2).await;
        assert_eq!(taken.iter().map(|taken| taken.run.id).collect::<Vec<_>>(), [nightly.id]);
        assert!(any_due, "there may be more");
        assert!(!look_for(&fixture, 2).await.any_due);
    })
    .await;
}

#[tokio::test]
async fn an_end_of_an_attempt_that_is_not_the_runs_end_sets_off_only_what_asks_for_each() {
    on_each_store(async |fixture| {
        set(&fixture, &on("end", &[StateType::Crashed, StateType::Failed])).await;
        let mut each = on("each", &[StateType::Crashed, StateType::Failed]);
        each.trigger.each_attempt = true;
        set(&fixture, &each).await;

        let mut new = task();
        new.draft.policies.crash.max_crashes = 1;
        new.draft.policies.retry.max_retries = 1;
        let running = fixture.start(&create(&fixture, new).await).await;
        let rescheduled = fixture.report(&running, crashed()).await.expect("is delivered again").run;
        assert_eq!(fixture.state(&rescheduled).await, "SCHEDULED/Rescheduled");
        assert_eq!(names(&take(&fixture).await), ["each"]);

        let running = fixture.start(&rescheduled).await;
        let retried = fixture.report(&running, failed()).await.expect("is tried again").run;
        assert_eq!(fixture.state(&retried).await, "SCHEDULED/AwaitingRetry");
        assert_eq!(names(&take(&fixture).await), ["each"]);

        let running = fixture.start(&retried).await;
        let ended = fixture.report(&running, crashed()).await.expect("is reported").run;
        assert_eq!(fixture.state(&ended).await, "CRASHED/Crashed");
        let taken = take(&fixture).await;
        assert_eq!(names(&taken), ["each", "end"]);
        let firing = &taken[1].firing;
        let state = (firing.state_type, firing.state_name, firing.message.as_str());
        assert_eq!(state, (StateType::Crashed, StateName::Crashed, "signal 9 (SIGKILL)"));
        assert_eq!((firing.at, firing.attempt, firing.ended), (fixture.clock.now(), 3, true));
        assert_eq!((firing.key.run_id, firing.key.seq), (ended.id, ended.event_seq));
        assert_eq!((taken[1].run.id, taken[1].run.crashes), (ended.id, 2));
    })
    .await;
}

#[tokio::test]
async fn a_state_sets_it_off_by_its_name_too() {
    on_each_store(async |fixture| {
        let mut late = on("late", &[]);
        late.trigger.state_names = vec![StateName::Late, StateName::TimedOut];
        set(&fixture, &late).await;
        let mut new = task();
        new.draft.policies.late_after = Some(Duration::from_secs(60));
        let run = create(&fixture, new).await;
        fixture.advance(61);
        assert_eq!(fixture.engine.fire_timers(100).await.expect("sweeps"), 1);
        let taken = take_one(&fixture).await;
        assert_eq!((taken.run.id, taken.firing.ended), (run.id, false));
        let state = (taken.firing.state_type, taken.firing.state_name);
        assert_eq!(state, (StateType::Scheduled, StateName::Late));
    })
    .await;
}

#[tokio::test]
async fn a_paused_one_is_not_set_off_and_its_firings_wait() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("a", "")).await;
        let before = create(&fixture, task()).await;
        pause(&fixture, "a", true).await;
        create(&fixture, task()).await;
        assert!(take(&fixture).await.is_empty());
        assert_eq!(listed(&fixture, "a").await.len(), 1);
        pause(&fixture, "a", false).await;
        let after = create(&fixture, task()).await;
        let mut taken: Vec<_> = take(&fixture).await.iter().map(|taken| taken.run.id).collect();
        taken.sort();
        let mut set_off = [before.id, after.id];
        set_off.sort();
        assert_eq!(taken, set_off);
    })
    .await;
}

#[tokio::test]
async fn what_a_deleted_run_or_a_deleted_automation_leaves_is_dropped() {
    on_each_store(async |fixture| {
        set(&fixture, &on("a", &[StateType::Cancelled])).await;
        set(&fixture, &on("b", &[StateType::Cancelled])).await;
        let run = create(&fixture, task()).await;
        let kept = create(&fixture, task()).await;
        fixture.cancel(&run).await;
        fixture.cancel(&kept).await;
        fixture.engine.delete(&Ask::new(Namespace::default(), run.id)).await.expect("is deleted");
        fixture.engine.delete_automation(&delete("b")).await.expect("is deleted");
        let taken = take_one(&fixture).await;
        assert_eq!((names(std::slice::from_ref(&taken)), taken.run.id), (vec!["a"], kept.id));
        assert_eq!(listed(&fixture, "a").await, [taken.firing]);
        assert_eq!(get(&fixture, "a").await.record, AutomationRecord::default(), "nothing is said of it");
        set(&fixture, &on("b", &[StateType::Cancelled])).await;
        assert!(listed(&fixture, "b").await.is_empty(), "they have gone with it");
    })
    .await;
}

#[tokio::test]
async fn the_filter_is_asked_once_and_before_the_first_try() {
    on_each_store(async |fixture| {
        let mut crash = on("crash", &[StateType::Crashed]);
        "state = CRASHED".clone_into(&mut crash.trigger.filter);
        set(&fixture, &crash).await;
        let retry = async |run: &Run| {
            let ask = Ask::new(Namespace::default(), run.id);
            fixture.engine.operate(Operation::Retry { ask, reason: String::new() }).await.expect("goes on");
        };

        let run = crashed_run(&fixture).await;
        let taken = take_one(&fixture).await;
        let due_at = fixture.clock.now() + Duration::from_secs(5);
        finish(&fixture, &taken, FiringOutcome::Failed { error: "503".to_owned(), due_at }).await;
        retry(&run).await;
        assert!(take(&fixture).await.is_empty(), "it is not due");
        fixture.advance(5);
        let again = take_one(&fixture).await;
        assert_eq!((again.firing.key.clone(), again.firing.n_tries), (taken.firing.key, 2));
        assert_eq!(
            (again.run.state.state_type(), again.firing.last_error.as_str()),
            (StateType::Scheduled, "503")
        );
        finish(&fixture, &again, FiringOutcome::Succeeded).await;

        let run = crashed_run(&fixture).await;
        take_one(&fixture).await;
        retry(&run).await;
        fixture.advance(LEASE.as_secs());
        let again = take_one(&fixture).await;
        assert_eq!((again.firing.n_tries, again.run.state.state_type()), (2, StateType::Scheduled));
        finish(&fixture, &again, FiringOutcome::Succeeded).await;

        let run = crashed_run(&fixture).await;
        retry(&run).await;
        assert!(take(&fixture).await.is_empty(), "it was no crash any more");
        assert!(listed(&fixture, "crash").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_any_more_is_told() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("a", "stat = CRASHED")).await;
        create(&fixture, task()).await;
        assert!(take(&fixture).await.is_empty());
        let shown = listed(&fixture, "a").await;
        let [firing] = &shown[..] else { panic!("it is one: {shown:?}") };
        assert!(firing.is_given_up && firing.last_error.contains("`stat` is no field"), "{firing:?}");
        let record = get(&fixture, "a").await.record;
        assert_eq!((record.n_given_up, record.last_error), (1, firing.last_error.clone()));
    })
    .await;
}

#[tokio::test]
async fn what_becomes_of_a_firing_is_kept() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("a", "")).await;
        create(&fixture, task()).await;
        let taken = take_one(&fixture).await;
        assert!(take(&fixture).await.is_empty(), "it is another's until then");
        let due_at = fixture.clock.now() + Duration::from_secs(5);
        let long = "é".repeat(limits::MAX_FIRING_ERROR_SIZE);
        finish(&fixture, &taken, FiringOutcome::Failed { error: long, due_at }).await;
        let record = get(&fixture, "a").await.record;
        let kept = "é".repeat(limits::MAX_FIRING_ERROR_SIZE / 2);
        let told = AutomationRecord { last_error: kept.clone(), ..AutomationRecord::default() };
        assert_eq!(record, told);
        let failed = Firing { last_error: kept, due_at, ..taken.firing };
        assert_eq!(listed(&fixture, "a").await, [failed]);

        fixture.advance(5);
        let again = take_one(&fixture).await;
        finish(&fixture, &again, FiringOutcome::Succeeded).await;
        assert!(listed(&fixture, "a").await.is_empty());
        let told = AutomationRecord {
            n_succeeded: 1,
            last_succeeded_at: Some(fixture.clock.now()),
            ..AutomationRecord::default()
        };
        assert_eq!(get(&fixture, "a").await.record, told);

        create(&fixture, task()).await;
        let first = take_one(&fixture).await;
        fixture.advance(LEASE.as_secs());
        let second = take_one(&fixture).await;
        assert_eq!((first.firing.n_tries, second.firing.n_tries), (1, 2));
        finish(&fixture, &first, FiringOutcome::Succeeded).await;
        assert_eq!(
            listed(&fixture, "a").await,
            std::slice::from_ref(&second.firing),
            "who was too late changes nothing"
        );
        finish(&fixture, &second, FiringOutcome::GivenUp { error: String::new() }).await;
        let shown = listed(&fixture, "a").await;
        let [given_up] = &shown[..] else { panic!("it is one: {shown:?}") };
        assert!(given_up.is_given_up && given_up.due_at == fixture.clock.now(), "{given_up:?}");
        assert!(!given_up.last_error.is_empty(), "an empty one would say that none has failed");
        let record = get(&fixture, "a").await.record;
        assert_eq!((record.n_succeeded, record.n_given_up), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn what_was_given_up_is_shown_for_a_week() {
    on_each_store(async |fixture| {
        set(&fixture, &on_new("a", "")).await;
        for _ in 0..3 {
            create(&fixture, task()).await;
        }
        for taken in take(&fixture).await.iter().take(2) {
            finish(&fixture, taken, FiringOutcome::GivenUp { error: "410".to_owned() }).await;
        }
        fixture.advance(limits::GIVEN_UP_FIRINGS_KEPT.as_secs());
        assert_eq!(fixture.engine.purge_firings(10).await.expect("sweeps"), 0);
        assert_eq!(take(&fixture).await.len(), 1, "what was given up is not taken");
        fixture.advance(1);
        assert_eq!(fixture.engine.purge_firings(1).await.expect("sweeps"), 1);
        assert_eq!(fixture.engine.purge_firings(10).await.expect("sweeps"), 1);
        assert_eq!(fixture.engine.purge_firings(10).await.expect("sweeps"), 0);
        let left = listed(&fixture, "a").await;
        assert!(left.len() == 1 && !left[0].is_given_up, "{left:?}");
    })
    .await;
}

/// The event and the firing are one commit, and each firing counts once, also where nobody knows what became of a commit.
#[tokio::test]
async fn each_event_is_carried_out_though_commits_break_off() {
    const N_RUNS: u64 = 40;
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(truth, 0.1));
    let fixture = Fixture::over(Arc::clone(&faulty) as Arc<dyn RunStore>);
    let mut running = on("a", &[StateType::Running]);
    "state = RUNNING".clone_into(&mut running.trigger.filter);
    set(&fixture, &running).await;
    for _ in 0..N_RUNS {
        fixture.start(&create(&fixture, task()).await).await;
    }
    for _ in 0..100 {
        if listed(&fixture, "a").await.is_empty() {
            break;
        }
        let taken = take_up_to(&fixture, 3).await;
        if taken.is_empty() {
            // What a commit without an answer has taken is due again.
            fixture.advance(LEASE.as_secs());
        }
        for taken in &taken {
            finish(&fixture, taken, FiringOutcome::Succeeded).await;
        }
    }
    assert!(listed(&fixture, "a").await.is_empty(), "all of them come to their end");
    assert_eq!(get(&fixture, "a").await.record.n_succeeded, N_RUNS);
    assert!(faulty.n_faults() > 0, "there are enough commits for a fault");
}

#[tokio::test]
async fn what_is_printed_has_no_secrets() {
    let fixture = Fixture::new().await;
    let set_off = on_new("a", "");
    let (automation, _) = set(&fixture, &set_off).await;
    create(&fixture, task()).await;
    let printed = format!("{set_off:?} {automation:?} {:?}", take(&fixture).await);
    assert_eq!(automation.action, SECRET);
    assert!(printed.contains("<7 bytes>") && !printed.contains("hunter2"), "{printed}");
}
