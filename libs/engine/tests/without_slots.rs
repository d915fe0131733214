//! Runs without concurrency limits cost no statement about slots. A program of its own: the statements remember for the
//! whole process whether they were used.

mod common;

use common::Fixture;
use tidegate_orchestration::Event;
use tidegate_store::adapter::Statement;
use tidegate_store_sqlite::STATEMENTS;

#[tokio::test]
async fn runs_without_limits_cost_no_statement_about_slots() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.queued().await, fixture.queued().await);
    let running = fixture.start(&first).await;
    fixture.report(&running, Event::Completed).await.expect("completes");
    fixture.start(&second).await;
    fixture.cancel(&second).await;
    fixture.advance(60);
    fixture.engine.fire_timers(10).await.expect("sweeps");
    let about_slots =
        STATEMENTS.iter().copied().filter(|statement| statement.name().starts_with("concurrency_"));
    let (used, unused): (Vec<&Statement>, Vec<&Statement>) =
        about_slots.partition(|statement| statement.was_used());
    assert!(used.is_empty(), "{used:?}");
    assert!(!unused.is_empty(), "they go by this name");
}
