//! A run's life through the engine: claims, reports, retries, crashes, timeouts, cancels, waits.

mod common;

use std::time::Duration;

use common::{Fixture, task};
use futures::future::join_all;
use tidegate_engine::EngineError;
use tidegate_model::{Clock as _, Namespace, Payload, RunId, SessionId};
use tidegate_orchestration::{Event, Failure, ParentPolicies, ParentPolicy, Placement, Rejection};
use tidegate_testkit::vanish;
use tokio::time::{Instant, timeout};

fn crashed() -> Event {
    Event::Crashed { cause: "signal 9 (SIGKILL)".to_owned() }
}

fn failed() -> Event {
    Event::Failed(Failure { error_type: "ValueError".into(), message: "odd".into(), ..Failure::default() })
}

#[tokio::test]
async fn a_run_goes_from_creation_to_its_result() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.parameters = Some(Payload::inline("[1]"));
    let run = fixture.create(create).await.expect("is created").run;
    let claimed = fixture.claim(&run, "w").await.expect("is claimed");
    assert_eq!(claimed.parameters, Some(Payload::inline("[1]")));
    let running = fixture.report(&claimed.run, Event::Started).await.expect("starts").run;
    let result = Some(Payload::inline("2"));
    fixture.report_with(&running, Event::Completed, result.clone()).await.expect("completes");
    let detail = fixture.engine.get(&run.namespace, run.id).await.expect("is there");
    assert_eq!(detail.result, result);
    assert_eq!(detail.run.attempt, 1);
    let history: Vec<_> = fixture.history(&run).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(history, [1, 2, 3, 4]);
}

#[tokio::test]
async fn fenced_an_older_epoch_changes_nothing() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let first = fixture.start(&run).await;
    let lost = fixture.report(&first, crashed()).await.expect("is redelivered").run;
    let second = fixture.start(&lost).await;
    for late in [Event::Completed, failed(), crashed(), Event::Started] {
        let refused = fixture.report(&first, late).await.expect_err("is stale");
        assert!(matches!(refused, EngineError::Rejected(Rejection::StaleEpoch { .. })), "{refused:?}");
    }
    assert_eq!(fixture.get(&run).await, second);
    fixture.report(&second, Event::Completed).await.expect("completes");
    assert!(fixture.report(&first, Event::Completed).await.is_err(), "a run never completes twice");
}

#[tokio::test]
async fn a_run_is_claimed_by_one_worker_only() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let workers: Vec<String> = (0..50).map(|idx| format!("w{idx}")).collect();
    let claims = join_all(workers.iter().map(|worker| fixture.claim(&run, worker))).await;
    assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1);
    let winner = claims.iter().position(Result::is_ok).expect("one has it");
    let again = fixture.claim(&run, &workers[winner]).await.expect("a repeat is answered alike");
    assert!(!again.changed);
}

#[tokio::test]
async fn a_report_is_accepted_once_and_answered_alike() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let running = fixture.start(&run).await;
    let first =
        fixture.report_with(&running, Event::Completed, Some(Payload::inline("1"))).await.expect("completes");
    let again =
        fixture.report_with(&running, Event::Completed, Some(Payload::inline("2"))).await.expect("is known");
    assert!(first.changed && !again.changed);
    let detail = fixture.engine.get(&run.namespace, run.id).await.expect("is there");
    assert_eq!(detail.result, Some(Payload::inline("1")), "the first result stands");
}

#[tokio::test]
async fn a_failure_is_tried_again_after_its_delay_and_keeps_the_last_error() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.policies.retry.max_retries = 1;
    create.draft.policies.retry.delays = vec![Duration::from_secs(10)];
    let run = fixture.create(create).await.expect("is created").run;
    let running = fixture.start(&run).await;
    let waiting = fixture.report(&running, failed()).await.expect("is reported").run;
    assert_eq!(fixture.state(&run).await, "SCHEDULED/AwaitingRetry");
    fixture.until_noted(|notes| notes.enqueued.lock().unwrap().contains(&(run.id, waiting.epoch))).await;
    assert!(fixture.claim(&waiting, "w").await.is_err(), "not before the delay");
    fixture.advance(10);
    let running = fixture.start(&waiting).await;
    assert_eq!(running.attempt, 2);
    fixture.report(&running, failed()).await.expect("is reported");
    assert_eq!(fixture.state(&run).await, "FAILED/Failed");
    let failure = fixture.engine.get(&run.namespace, run.id).await.expect("is there").failure;
    assert_eq!(failure.expect("is kept").error_type, "ValueError");
}

#[tokio::test]
async fn the_way_of_a_report_is_no_part_of_the_delay_of_a_retry() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.policies.retry.max_retries = 2;
    create.draft.policies.retry.delays = vec![Duration::from_secs(10)];
    let run = fixture.create(create).await.expect("is created").run;
    let claimed_at = fixture.clock.now();
    let claimed = fixture.claim(&run, "w").await.expect("is claimed").run;
    fixture.advance(5);
    // It began 3 s after the claim, and failed 1 s later.
    let seconds = Duration::from_secs;
    let running = fixture.report_late(&claimed, Event::Started, seconds(2)).await.expect("is started").run;
    assert_eq!(running.started_at, Some(claimed_at + seconds(3)));
    let waiting = fixture.report_late(&running, failed(), seconds(1)).await.expect("is reported").run;
    assert_eq!(waiting.due_at, claimed_at + seconds(4 + 10));
    assert_eq!(fixture.get(&run).await.due_at, waiting.due_at, "as it is stored");
    assert_eq!(waiting.state.at, claimed_at + seconds(5));
    fixture.advance(8);
    let early = fixture.claim(&waiting, "w").await.expect_err("1 s is left");
    assert!(matches!(early, EngineError::Rejected(Rejection::NotDue { .. })), "{early:?}");
    fixture.advance(1);
    let running = fixture.start(&waiting).await;
    // A holder that is wrong by a day does not get a retry before the attempt.
    fixture.advance(1);
    let waiting = fixture.report_late(&running, failed(), seconds(86_400)).await.expect("is reported").run;
    assert_eq!(waiting.due_at, claimed_at + seconds(14 + 10));
}

#[tokio::test]
async fn timers_fire_for_starts_runs_and_cancels() {
    let fixture = Fixture::new().await;
    let mut create = task();
    create.draft.policies.run_timeout = Some(Duration::from_secs(60));
    let timed = fixture.create(create).await.expect("is created").run;
    let timed = fixture.start(&timed).await;
    let claimed = fixture.queued().await;
    let claimed = fixture.claim(&claimed, "w").await.expect("is claimed").run;
    let cancelling = fixture.queued().await;
    let cancelling = fixture.start(&cancelling).await;
    fixture.cancel(&cancelling).await;

    assert_eq!(fixture.engine.fire_timers(100).await.expect("sweeps"), 0);
    fixture.advance(31);
    assert_eq!(fixture.engine.fire_timers(100).await.expect("sweeps"), 1);
    assert_eq!(fixture.state(&claimed).await, "SCHEDULED/Released");
    fixture.advance(40);
    assert_eq!(fixture.engine.fire_timers(100).await.expect("sweeps"), 2);
    assert_eq!(fixture.state(&timed).await, "FAILED/TimedOut");
    let failure = fixture.engine.get(&timed.namespace, timed.id).await.expect("is there").failure;
    assert_eq!(failure.expect("is kept").error_type, "TimedOut");
    assert_eq!(fixture.state(&cancelling).await, "CANCELLED/Cancelled");
    fixture.until_noted(|notes| notes.stopped.lock().unwrap().len() == 4).await;
}

#[tokio::test]
async fn a_whole_tree_is_cancelled_but_for_what_is_detached_or_ended() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let root = fixture.start(&root).await;
    let (middle, done, detached) = {
        let middle = fixture.child_of(&root).await;
        let done = fixture.child_of(&root).await;
        let done = fixture.start(&done).await;
        fixture.report(&done, Event::Completed).await.expect("completes");
        let mut create = task();
        create.draft.parent = Some(root.id);
        create.draft.policies.parent = ParentPolicies::all(ParentPolicy::Detach);
        (fixture.start(&middle).await, done, fixture.create(create).await.expect("is created").run)
    };
    let mut leaves = Vec::new();
    for _ in 0..5 {
        leaves.push(fixture.child_of(&middle).await);
    }
    assert!(fixture.cancel(&root).await.changed);
    let n_below = fixture.engine.cascade_from(root.id).await.expect("cascades");
    assert_eq!(n_below, 6);
    assert_eq!(fixture.state(&root).await, "CANCELLING/Cancelling");
    assert_eq!(fixture.state(&middle).await, "CANCELLING/Cancelling");
    assert_eq!(fixture.state(&done).await, "COMPLETED/Completed");
    assert_eq!(fixture.state(&detached).await, "SCHEDULED/Scheduled");
    for leaf in &leaves {
        assert_eq!(fixture.state(leaf).await, "CANCELLED/Cancelled");
    }
    assert_eq!(fixture.engine.cascade_from(root.id).await.expect("cascades"), 0, "nothing is done twice");
    assert!(!fixture.cancel(&root).await.changed);
}

#[tokio::test]
async fn a_wide_and_a_deep_tree_end_with_their_root() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let wide = join_all((0..2_500).map(|_| fixture.child_of(&root))).await;
    let mut deep = vec![wide[0].clone()];
    for _ in 0..50 {
        let child = fixture.child_of(deep.last().expect("has one")).await;
        deep.push(child);
    }
    fixture.cancel(&root).await;
    let n_below = fixture.engine.cascade_from(root.id).await.expect("cascades");
    assert_eq!(n_below, 2_550);
    let ids: Vec<RunId> = wide.iter().chain(&deep).map(|run| run.id).collect();
    let runs = fixture.store.get_runs(None, &ids).await.expect("reads");
    assert!(runs.iter().all(|run| run.state.state_type().is_terminal()));
}

#[tokio::test]
async fn an_open_run_below_an_ended_one_is_cancelled_too_and_told_by_whom() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let middle = fixture.child_of(&root).await;
    let middle = fixture.start(&middle).await;
    let leaf = fixture.child_of(&middle).await;
    fixture.report(&middle, Event::Completed).await.expect("completes");
    fixture.cancel(&root).await;
    assert_eq!(fixture.engine.cascade_from(root.id).await.expect("cascades"), 1);
    let message = fixture.get(&leaf).await.state.message;
    assert_eq!(message, format!("run {} ({}), which is above it, was cancelled", root.run_name, root.id));
    assert!(!fixture.get(&root).await.cascade_pending);
}

#[tokio::test]
async fn what_a_cascade_stops_leaves_no_further_cascade_when_its_worker_is_done() {
    let fixture = Fixture::new().await;
    let root = fixture.queued().await;
    let running = fixture.child_of(&root).await;
    let running = fixture.start(&running).await;
    let leaf = fixture.child_of(&running).await;
    fixture.cancel(&root).await;
    assert_eq!(fixture.engine.cascade_from(root.id).await.expect("cascades"), 2);
    assert_eq!(fixture.state(&running).await, "CANCELLING/Cancelling");
    assert_eq!(fixture.state(&leaf).await, "CANCELLED/Cancelled");
    let closed = fixture.report(&running, Event::Cancelled).await.expect("is over").run;
    assert!(!closed.cascade_pending, "what was below it is cancelled already");
    assert_eq!(fixture.engine.cascade_all().await.expect("sweeps"), 0);
}

#[tokio::test]
async fn children_end_with_a_parent_that_fails_also_when_the_process_that_took_the_report_died() {
    let fixture = Fixture::new().await;
    let parent = fixture.queued().await;
    let parent = fixture.start(&parent).await;
    let child = fixture.child_of(&parent).await;
    fixture.report(&parent, failed()).await.expect("is reported");
    // Nothing in this fixture runs cascades by itself: as after a crash, only the sweep knows.
    assert_eq!(fixture.state(&child).await, "SCHEDULED/Scheduled");
    assert_eq!(fixture.engine.cascade_all().await.expect("sweeps"), 1);
    assert_eq!(fixture.state(&child).await, "CANCELLED/Cancelled");
    assert!(fixture.get(&child).await.state.message.contains("failed"));
}

#[tokio::test]
async fn a_lost_session_crashes_its_open_local_runs() {
    let fixture = Fixture::new().await;
    let session = fixture.session().await;
    let local = |session: SessionId| {
        let mut create = task();
        create.draft.placement = Placement::Session(session);
        fixture.create(create)
    };
    let held = local(session).await.expect("is created").run;
    fixture.report(&held, Event::Started).await.expect("starts");
    let mut retried = task();
    retried.draft.placement = Placement::Session(session);
    retried.draft.policies.retry.max_retries = 1;
    let retried = fixture.create(retried).await.expect("is created").run;
    fixture.report(&retried, Event::Started).await.expect("starts");
    fixture.report(&retried, failed()).await.expect("waits for its retry");
    let unknown = local(SessionId::new()).await;
    assert!(matches!(unknown, Err(EngineError::SessionLost)), "nobody would execute it: {unknown:?}");
    fixture.engine.crash_lost_sessions(100).await.expect("sweeps");
    assert_eq!(fixture.state(&held).await, "RUNNING/Running");
    fixture.advance(16);
    assert_eq!(fixture.engine.crash_lost_sessions(100).await.expect("sweeps"), 2);
    assert_eq!(fixture.state(&held).await, "CRASHED/Crashed");
    assert_eq!(fixture.state(&retried).await, "CRASHED/Crashed");
}

#[tokio::test]
async fn held_runs_without_a_lease_crash_and_are_delivered_again() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    fixture.start(&run).await;
    fixture.advance(60);
    let entered_before = fixture.engine.clock().now() - Duration::from_secs(45);
    fixture.notes.has_leases.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(fixture.engine.crash_unleased(entered_before, 10).await.expect("sweeps"), 0);
    fixture.notes.has_leases.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(fixture.engine.crash_unleased(entered_before, 10).await.expect("sweeps"), 1);
    assert_eq!(fixture.state(&run).await, "SCHEDULED/Rescheduled");
    let states: Vec<_> = fixture.history(&run).await.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states[3..], ["CRASHED/Crashed", "SCHEDULED/Rescheduled"]);
}

#[tokio::test]
async fn a_waiter_is_woken_by_the_end_and_told_once() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.queued().await, fixture.queued().await);
    let namespace = Namespace::default();
    let mut wait =
        fixture.engine.wait(&namespace, &[first.id, second.id], None).await.expect("both are there");
    let running = fixture.start(&first).await;
    fixture.report(&running, Event::Completed).await.expect("completes");
    // Well below the slow poll behind the wake-ups.
    let ended = timeout(Duration::from_secs(5), wait.next(None)).await.expect("is woken").expect("waits");
    assert_eq!(ended, [first.id]);
    assert_eq!(wait.n_pending(), 1);
    let nothing = wait.next(Some(Instant::now() + Duration::from_millis(20))).await.expect("waits");
    assert_eq!(nothing, Vec::<RunId>::new());

    let mut late = fixture.engine.wait(&namespace, &[first.id], None).await.expect("is there");
    assert_eq!(late.next(None).await.expect("waits"), [first.id], "an end of before is told at once");
    let unknown = fixture.engine.wait(&namespace, &[RunId::new()], None).await;
    assert!(matches!(unknown.err(), Some(EngineError::NotFound { .. })));
}

/// No wake-up tells of it: the wait finds it when it looks for itself.
#[tokio::test]
async fn a_wait_for_a_run_that_is_deleted_ends() {
    let fixture = Fixture::new().await;
    let (gone, ended, open) = (fixture.queued().await, fixture.queued().await, fixture.queued().await);
    let namespace = Namespace::default();
    let ids = [gone.id, ended.id, open.id];
    let mut wait = fixture.engine.wait(&namespace, &ids, None).await.expect("all are there");
    vanish(&*fixture.store, gone.id, fixture.clock.now()).await;
    fixture.cancel(&ended).await;
    let told = timeout(Duration::from_secs(60), wait.next(None)).await.expect("is woken").expect("waits");
    assert_eq!(told, [ended.id]);
    let lost = timeout(Duration::from_secs(60), wait.next(None)).await.expect("ends").expect_err("is gone");
    assert!(matches!(lost, EngineError::NotFound { run_id } if run_id == gone.id), "{lost:?}");
}

#[tokio::test]
async fn another_namespace_sees_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let run = fixture.queued().await;
    let other: Namespace = "other".parse().expect("is a namespace");
    assert!(fixture.engine.get(&other, run.id).await.is_err());
    let cancel = tidegate_engine::Operation::Cancel {
        namespace: other.clone(),
        run_id: run.id,
        reason: String::new(),
        actor: None,
    };
    assert!(matches!(fixture.engine.operate(cancel).await, Err(EngineError::NotFound { .. })));
    let mut child = task();
    child.draft.namespace = other;
    child.draft.parent = Some(run.id);
    assert!(matches!(fixture.create(child).await, Err(EngineError::ParentNotFound { .. })));
}
