//! Variables are set once for each request, and never over what somebody else has set unseen.

mod common;

use std::sync::Arc;

use common::Fixture;
use tidegate_engine::{DeleteVariable, EngineError, SetVariable};
use tidegate_model::{ErrorCode, Namespace, RunId, ServiceError as _, VariableRevision};
use tidegate_store::{RunStore, Variable, VariableKey};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;

fn key(name: &str) -> VariableKey {
    VariableKey { namespace: Namespace::default(), name: name.parse().expect("is a name") }
}

fn set_to(value: &str) -> SetVariable {
    SetVariable {
        key: key("threshold"),
        value: value.to_owned(),
        tags: Vec::new(),
        description: String::new(),
        overwrite: false,
        seen: None,
        request_id: None,
    }
}

fn overwrite_by(value: &str) -> SetVariable {
    SetVariable { overwrite: true, ..set_to(value) }
}

fn delete() -> DeleteVariable {
    DeleteVariable { key: key("threshold"), allow_missing: false, seen: None, request_id: None }
}

async fn set(fixture: &Fixture, set: &SetVariable) -> (Variable, bool) {
    fixture.engine.set_variable(set).await.expect("is set")
}

async fn refused(fixture: &Fixture, set: &SetVariable) -> EngineError {
    fixture.engine.set_variable(set).await.expect_err("is refused")
}

async fn value(fixture: &Fixture) -> String {
    fixture.engine.get_variable(&key("threshold")).await.expect("is there").value
}

#[tokio::test]
async fn one_that_is_there_is_only_replaced_where_that_is_meant() {
    let fixture = Fixture::new().await;
    let (first, created) = set(&fixture, &set_to("1")).await;
    assert!(created);
    let exists = refused(&fixture, &set_to("2")).await;
    assert_eq!((exists.code(), exists.reason().as_str()), (ErrorCode::AlreadyExists, "VARIABLE_EXISTS"));
    fixture.advance(1);
    let (second, created) = set(&fixture, &overwrite_by("3")).await;
    assert!(!created && second.created_at == first.created_at && second.updated_at > first.updated_at);
    assert_ne!(second.revision, first.revision);

    let seen = |revision| SetVariable { seen: Some(revision), ..set_to("4") };
    let changed = refused(&fixture, &seen(first.revision)).await;
    assert_eq!((changed.code(), changed.reason().as_str()), (ErrorCode::FailedPrecondition, "ETAG_MISMATCH"));
    let overwriting = SetVariable { overwrite: true, ..seen(first.revision) };
    assert_eq!(refused(&fixture, &overwriting).await.reason().as_str(), "ETAG_MISMATCH");
    set(&fixture, &seen(second.revision)).await;
    assert_eq!(value(&fixture).await, "4");

    let stale = DeleteVariable { seen: Some(second.revision), ..delete() };
    let changed = fixture.engine.delete_variable(&stale).await.expect_err("is refused");
    assert_eq!(changed.reason().as_str(), "ETAG_MISMATCH");
    fixture.engine.delete_variable(&delete()).await.expect("is deleted");
    let gone = fixture.engine.delete_variable(&delete()).await.expect_err("is gone");
    assert_eq!((gone.code(), gone.reason().as_str()), (ErrorCode::NotFound, "VARIABLE_NOT_FOUND"));
    let missing = DeleteVariable { allow_missing: true, ..delete() };
    fixture.engine.delete_variable(&missing).await.expect("that there is none is no error");
    assert_eq!(
        refused(&fixture, &seen(VariableRevision::new())).await.reason().as_str(),
        "VARIABLE_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_request_counts_once() {
    let fixture = Fixture::new().await;
    let request = SetVariable { request_id: Some(RunId::new()), ..set_to("1") };
    let first = set(&fixture, &request).await;
    assert_eq!(set(&fixture, &request).await, first, "the same answer");
    set(&fixture, &overwrite_by("2")).await;
    set(&fixture, &request).await;
    assert_eq!(value(&fixture).await, "2", "a late repeat undoes nothing");
    let deletion = DeleteVariable { request_id: Some(RunId::new()), ..delete() };
    fixture.engine.delete_variable(&deletion).await.expect("is deleted");
    set(&fixture, &set_to("3")).await;
    fixture.engine.delete_variable(&deletion).await.expect("a late repeat is no error");
    assert_eq!(value(&fixture).await, "3");
}

/// Commits that go unanswered are found out: who sets a new one is never told that it exists.
#[tokio::test]
async fn every_answer_is_true_though_commits_break_off() {
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(truth, 0.2));
    let fixture = Fixture::over(Arc::clone(&faulty) as Arc<dyn RunStore>);
    for round in 0..40 {
        assert!(set(&fixture, &set_to(&round.to_string())).await.1, "round {round}");
        assert_eq!(value(&fixture).await, round.to_string());
        fixture.engine.delete_variable(&delete()).await.expect("it was there");
    }
    assert!(faulty.n_faults() > 0, "there are enough commits for a fault");
}

#[tokio::test]
async fn of_many_who_make_one_one_does() {
    let fixture = Fixture::new().await;
    let sets: Vec<_> = (0..20).map(|n| set_to(&n.to_string())).collect();
    let outcomes = futures::future::join_all(sets.iter().map(|set| fixture.engine.set_variable(set))).await;
    let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(value(&fixture).await, winners[0].0.value);
}
