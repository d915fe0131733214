//! A run takes the result of a completed one with the same cache key, instead of being executed.

mod common;

use std::time::Duration;

use common::{Fixture, task};
use tidegate_engine::{Ask, Create, Operation};
use tidegate_model::{Namespace, Payload};
use tidegate_orchestration::{CachePolicy, Event, Placement, Run};

const HOUR: Duration = Duration::from_secs(3_600);

/// A task whose result serves those with the same key for an hour.
fn cached_task(key: &str) -> Create {
    let mut create = task();
    create.draft.cache = Some(CachePolicy { key: key.to_owned(), expires_after: Some(HOUR) });
    create
}

fn result() -> Payload {
    Payload::inline(&b"42"[..])
}

impl Fixture {
    async fn created(&self, create: Create) -> Run {
        self.create(create).await.expect("is created").run
    }

    /// Executes a run to its end.
    async fn complete(&self, run: &Run) -> Run {
        let started = self.start(run).await;
        self.report_with(&started, Event::Completed, Some(result())).await.expect("completes").run
    }

    async fn result(&self, run: &Run) -> Option<Payload> {
        self.engine.get(&Namespace::default(), run.id).await.expect("is there").result
    }

    async fn retry(&self, run: &Run) -> Run {
        let ask = Ask { namespace: Namespace::default(), run_id: run.id, actor: None, request_id: None };
        let retry = Operation::Retry { ask, reason: "anew".to_owned() };
        self.engine.operate(retry).await.expect("can be tried again").run
    }
}

#[tokio::test]
async fn a_run_with_the_key_of_a_completed_one_is_not_executed() {
    let fixture = Fixture::new().await;
    let first = fixture.created(cached_task("k")).await;
    fixture.complete(&first).await;
    let second = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&second).await, "COMPLETED/Cached");
    assert_eq!(fixture.result(&second).await, Some(result()));
    assert!(second.state.message.contains(&first.id.to_string()), "{}", second.state.message);
    let states = ["SCHEDULED/Scheduled", "COMPLETED/Cached"].map(str::to_owned);
    assert!(fixture.history(&second).await.into_iter().eq((1..).zip(states)));
    let other = fixture.created(cached_task("another")).await;
    fixture
        .until_noted(|notes| notes.enqueued.lock().expect("is whole").iter().any(|(id, _)| *id == other.id))
        .await;
    let enqueued = fixture.notes.enqueued.lock().expect("is whole").clone();
    assert!(enqueued.iter().all(|(id, _)| *id != second.id), "nobody is to execute it");
}

#[tokio::test]
async fn a_run_made_while_the_first_still_ran_takes_its_result_at_its_turn() {
    let fixture = Fixture::new().await;
    let first = fixture.created(cached_task("k")).await;
    let second = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&second).await, "SCHEDULED/Scheduled");
    fixture.complete(&first).await;
    let claimed = fixture.claim(&second, "w").await.expect("is answered");
    assert!(!claimed.is_granted(), "no worker has to execute it");
    assert_eq!(fixture.state(&second).await, "COMPLETED/Cached");
    assert_eq!(fixture.result(&second).await, Some(result()));
}

#[tokio::test]
async fn a_run_that_is_to_refresh_a_result_is_executed_and_serves_the_next() {
    let fixture = Fixture::new().await;
    let first = fixture.created(cached_task("k")).await;
    fixture.complete(&first).await;
    let anew = fixture.created(Create { refresh_cache: true, ..cached_task("k") }).await;
    assert_eq!(fixture.state(&anew).await, "SCHEDULED/Scheduled");
    fixture.complete(&anew).await;
    assert_eq!(fixture.state(&anew).await, "COMPLETED/Completed", "nor has it taken the result at its turn");
    let next = fixture.created(cached_task("k")).await;
    assert!(next.state.message.contains(&anew.id.to_string()), "{}", next.state.message);
}

#[tokio::test]
async fn a_result_serves_until_it_expires() {
    let fixture = Fixture::new().await;
    fixture.complete(&fixture.created(cached_task("k")).await).await;
    fixture.advance(HOUR.as_secs() - 1);
    let within = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&within).await, "COMPLETED/Cached");
    fixture.advance(1);
    let after = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&after).await, "SCHEDULED/Scheduled", "a cached run is no new source");
    fixture.complete(&after).await;
    let again = fixture.created(cached_task("k")).await;
    assert!(again.state.message.contains(&after.id.to_string()), "the later result serves");
}

#[tokio::test]
async fn neither_a_failure_nor_a_run_that_is_tried_again_serves() {
    let fixture = Fixture::new().await;
    let failed = fixture.start(&fixture.created(cached_task("f")).await).await;
    fixture.report(&failed, Event::Failed(Default::default())).await.expect("fails");
    let next = fixture.created(cached_task("f")).await;
    assert_eq!(fixture.state(&next).await, "SCHEDULED/Scheduled");

    let first = fixture.created(cached_task("k")).await;
    fixture.complete(&first).await;
    let again = fixture.retry(&first).await;
    let next = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&next).await, "SCHEDULED/Scheduled", "its result is being made anew");
    assert!(fixture.claim(&again, "w").await.expect("is answered").is_granted(), "not by its own old result");
}

#[tokio::test]
async fn a_result_outlives_the_run_that_it_was_taken_from() {
    let fixture = Fixture::new().await;
    let first = fixture.created(cached_task("k")).await;
    fixture.complete(&first).await;
    let second = fixture.created(cached_task("k")).await;
    let mut tx = fixture.store.begin().await.expect("begins");
    tx.delete_runs(&[first.id]).await.expect("is deleted");
    tx.commit().await.expect("commits");
    assert_eq!(fixture.result(&second).await, Some(result()));
    let third = fixture.created(cached_task("k")).await;
    assert_eq!(fixture.state(&third).await, "SCHEDULED/Scheduled", "there is nothing to take any more");
}

#[tokio::test]
async fn a_local_run_is_told_at_once_that_it_has_its_result() {
    let fixture = Fixture::new().await;
    fixture.complete(&fixture.created(cached_task("k")).await).await;
    let mut create = cached_task("k");
    create.draft.placement = Placement::Session(fixture.session().await);
    let local = fixture.created(create).await;
    assert_eq!(fixture.state(&local).await, "COMPLETED/Cached");
    assert_eq!(fixture.result(&local).await, Some(result()));
}

#[tokio::test]
async fn a_run_that_is_due_later_takes_a_result_only_then() {
    let fixture = Fixture::new().await;
    fixture.complete(&fixture.created(cached_task("k")).await).await;
    let mut create = cached_task("k");
    create.draft.due_at = Some(fixture.engine.clock().now() + Duration::from_secs(60));
    let later = fixture.created(create).await;
    assert_eq!(fixture.state(&later).await, "SCHEDULED/Scheduled");
    fixture.claim(&later, "w").await.expect_err("is not due");
    fixture.advance(60);
    assert!(!fixture.claim(&later, "w").await.expect("is answered").is_granted());
    assert_eq!(fixture.state(&later).await, "COMPLETED/Cached");
}
