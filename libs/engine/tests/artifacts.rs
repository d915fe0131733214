//! Artifacts are made under the epoch of their run, once, and within bounds.

mod common;

use std::sync::Arc;

use common::Fixture;
use tidegate_engine::{ArtifactChange, EngineError, MadeArtifact, NewArtifact};
use tidegate_model::{
    ArtifactId, ErrorCode, Namespace, ObjectId, ObjectRef, Payload, ServiceError as _, limits,
};
use tidegate_orchestration::{Event, Run};
use tidegate_store::{ArtifactName, ArtifactQuery, ArtifactType, RunStore};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;

fn text() -> NewArtifact {
    NewArtifact {
        id: ArtifactId::new(),
        key: None,
        artifact_type: ArtifactType::Markdown,
        description: String::new(),
        progress: None,
        labels: [].into(),
        data: Some(Payload::inline("\"# All is well\"")),
        run: None,
    }
}

fn of_run(run: &Run) -> NewArtifact {
    NewArtifact { run: Some((run.id, run.epoch)), ..text() }
}

fn keyed(key: &str) -> NewArtifact {
    NewArtifact { key: Some(key.parse().expect("is a key")), ..text() }
}

fn progress() -> NewArtifact {
    NewArtifact { artifact_type: ArtifactType::Progress, progress: Some(0.0), data: None, ..text() }
}

fn every() -> ArtifactQuery {
    ArtifactQuery {
        namespace: Namespace::default(),
        run: None,
        root: None,
        key: None,
        artifact_type: None,
        latest: false,
        oldest_first: true,
        after: None,
        limit: 10_000,
    }
}

async fn create(fixture: &Fixture, new: &[NewArtifact]) -> Vec<Result<MadeArtifact, EngineError>> {
    fixture.engine.create_artifacts(&Namespace::default(), new).await.expect("the store answers")
}

async fn created(fixture: &Fixture, new: NewArtifact) -> MadeArtifact {
    create(fixture, &[new]).await.remove(0).expect("is created")
}

async fn refused(fixture: &Fixture, new: NewArtifact) -> EngineError {
    create(fixture, &[new]).await.remove(0).expect_err("is refused")
}

#[tokio::test]
async fn an_artifact_of_a_run_is_made_under_its_current_epoch() {
    let fixture = Fixture::new().await;
    let parent = fixture.queued().await;
    let run = fixture.start(&fixture.child_of(&parent).await).await;
    let made = created(&fixture, of_run(&run)).await;
    assert_eq!((made.artifact.run, made.artifact.root, made.created), (Some(run.id), Some(parent.id), true));

    let earlier = Run { epoch: tidegate_model::Epoch(run.epoch.0 - 1), ..run.clone() };
    let stale = refused(&fixture, of_run(&earlier)).await;
    assert_eq!((stale.code(), stale.reason().as_str()), (ErrorCode::FailedPrecondition, "STALE_EPOCH"));
    let unknown = refused(&fixture, of_run(&Run { id: tidegate_model::RunId::new(), ..run.clone() })).await;
    assert_eq!(unknown.reason().as_str(), "RUN_NOT_FOUND");
    let elsewhere: Namespace = "elsewhere".parse().expect("is a name");
    let foreign = fixture.engine.create_artifacts(&elsewhere, &[of_run(&run)]).await.expect("answers");
    assert!(matches!(foreign[..], [Err(EngineError::NotFound { .. })]), "{foreign:?}");

    fixture.report(&run, Event::Completed).await.expect("ends");
    created(&fixture, of_run(&run)).await; // as its hooks do
}

#[tokio::test]
async fn a_repeat_gives_what_is_there_and_another_use_of_its_id_is_refused() {
    let fixture = Fixture::new().await;
    let new = keyed("report");
    let first = created(&fixture, new.clone()).await;
    let other = NewArtifact { key: Some("other".parse().expect("is a key")), ..new.clone() };
    let outcomes = create(&fixture, &[new.clone(), other.clone(), keyed("report"), new]).await;
    let [Ok(again), Err(used), Ok(next), Ok(twice)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((again, twice), (&MadeArtifact { created: false, ..first }, again));
    assert_eq!((used.code(), used.reason().as_str()), (ErrorCode::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!((next.artifact.version, next.created), (2, true));
    let both = NewArtifact { id: ArtifactId::new(), ..other };
    let outcomes = create(&fixture, &[both.clone(), both]).await;
    let made: Vec<_> = outcomes.into_iter().map(|made| made.expect("is made")).collect();
    assert_eq!((made[0].created, made[1].created), (true, false));
    assert_eq!((made[0].artifact.version, made[1].artifact.version), (1, 1));
}

#[tokio::test]
async fn a_run_has_no_more_artifacts_than_it_may() {
    let fixture = Fixture::new().await;
    let (run, other) =
        (fixture.start(&fixture.queued().await).await, fixture.start(&fixture.queued().await).await);
    let most = usize::try_from(limits::MAX_ARTIFACTS).expect("fits");
    let many: Vec<_> = (0..most - 1).map(|_| of_run(&run)).collect();
    assert!(create(&fixture, &many).await.iter().all(Result::is_ok));
    let outcomes = create(&fixture, &[of_run(&run), of_run(&run), of_run(&other)]).await;
    assert!(
        matches!(outcomes[..], [Ok(_), Err(EngineError::TooManyArtifacts { .. }), Ok(_)]),
        "{outcomes:?}"
    );
    let error = refused(&fixture, of_run(&run)).await;
    assert_eq!(
        (error.code(), error.reason().as_str()),
        (ErrorCode::FailedPrecondition, "TOO_MANY_ARTIFACTS")
    );
    assert!(error.to_string().contains(&run.id.to_string()), "{error}");
    created(&fixture, many[0].clone()).await; // a repeat makes none
    created(&fixture, text()).await; // nor is one without a run of its
}

#[tokio::test]
async fn of_a_key_the_newest_versions_are_kept() {
    let fixture = Fixture::new().await;
    let most = limits::MAX_ARTIFACT_VERSIONS;
    let many: Vec<_> = (0..=most).map(|_| keyed("report")).collect();
    let made = create(&fixture, &many).await;
    let versions: Vec<_> = made.iter().map(|made| made.as_ref().expect("is made").artifact.version).collect();
    assert_eq!(versions, (1..=most + 1).collect::<Vec<_>>());
    created(&fixture, keyed("other")).await;
    let of_key = ArtifactQuery { key: many[0].key.clone(), ..every() };
    let kept = fixture.engine.list_artifacts(&of_key).await.expect("answers");
    assert_eq!(kept.iter().map(|one| one.version).collect::<Vec<_>>(), (2..=most + 1).collect::<Vec<_>>());
    assert_eq!(created(&fixture, keyed("report")).await.artifact.version, most + 2);
    assert_eq!(fixture.engine.list_artifacts(&of_key).await.expect("answers").len() as u64, most);
}

#[tokio::test]
async fn a_change_is_fenced_and_fits_the_type() {
    let fixture = Fixture::new().await;
    let own = Namespace::default();
    let run = fixture.start(&fixture.queued().await).await;
    let new = NewArtifact { run: Some((run.id, run.epoch)), ..progress() };
    let id = created(&fixture, new).await.artifact.id;
    let to = |percent, epoch| ArtifactChange { progress: Some(percent), epoch, ..ArtifactChange::default() };
    fixture.advance(1);
    let changed =
        fixture.engine.update_artifact(&own, id, &to(40.0, Some(run.epoch))).await.expect("is changed");
    assert_eq!((changed.progress, changed.updated_at), (Some(40.0), fixture.engine.clock().now()));
    let stale = Some(tidegate_model::Epoch(run.epoch.0 - 1));
    let error = fixture.engine.update_artifact(&own, id, &to(99.0, stale)).await.expect_err("is refused");
    assert_eq!(error.reason().as_str(), "STALE_EPOCH");
    fixture.engine.update_artifact(&own, id, &to(50.0, None)).await.expect("anyone may");

    let data = ArtifactChange { data: text().data, ..ArtifactChange::default() };
    let error = fixture.engine.update_artifact(&own, id, &data).await.expect_err("is refused");
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let text_id = created(&fixture, text()).await.artifact.id;
    let error = fixture.engine.update_artifact(&own, text_id, &to(1.0, None)).await.expect_err("is refused");
    assert!(error.to_string().contains("set `data`"), "{error}");
    let gone = fixture.engine.update_artifact(&own, ArtifactId::new(), &data).await.expect_err("is refused");
    assert_eq!(gone.reason().as_str(), "ARTIFACT_NOT_FOUND");
    let kept = fixture.engine.get_artifact(&own, &ArtifactName::Id(id)).await.expect("is there");
    assert_eq!(kept.progress, Some(50.0));
}

#[tokio::test]
async fn a_run_changes_the_artifact_of_another_under_its_own_epoch() {
    let fixture = Fixture::new().await;
    let own = Namespace::default();
    let task = fixture.start(&fixture.queued().await).await;
    let claimed = fixture.claim(&fixture.queued().await, "w").await.expect("is claimed").run;
    let flow = fixture.report(&claimed, Event::Released).await.expect("is given back").run;
    let flow = fixture.start(&flow).await;
    assert_ne!(flow.epoch, task.epoch, "that of the other one is of no use");
    let new = NewArtifact { run: Some((flow.id, flow.epoch)), ..progress() };
    let id = created(&fixture, new).await.artifact.id;
    let by = |run: &Run, epoch| ArtifactChange {
        progress: Some(40.0),
        epoch: Some(epoch),
        run: Some(run.id),
        ..ArtifactChange::default()
    };
    fixture.engine.update_artifact(&own, id, &by(&task, task.epoch)).await.expect("is changed");
    let error =
        fixture.engine.update_artifact(&own, id, &by(&task, flow.epoch)).await.expect_err("is refused");
    assert_eq!(error.reason().as_str(), "STALE_EPOCH");
}

#[tokio::test]
async fn data_may_only_refer_to_an_upload_of_the_namespace() {
    let fixture = Fixture::new().await;
    let object = ObjectRef { id: ObjectId::new(), size: 5 << 20, sha256: [7; 32] };
    let data = Some(Payload { data: "metadata".into(), object: Some(object) });
    let error = refused(&fixture, NewArtifact { data: data.clone(), ..text() }).await;
    assert_eq!(error.reason().as_str(), "PAYLOAD_NOT_FOUND");
    let id = created(&fixture, text()).await.artifact.id;
    let change = ArtifactChange { data, ..ArtifactChange::default() };
    let error =
        fixture.engine.update_artifact(&Namespace::default(), id, &change).await.expect_err("is refused");
    assert_eq!(error.reason().as_str(), "PAYLOAD_NOT_FOUND");
}

/// Commits that go unanswered are found out: each artifact is there once, and versions have no gap.
#[tokio::test]
async fn an_artifact_is_made_once_though_commits_break_off() {
    let truth: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), 0.2));
    let fixture = Fixture::over(Arc::clone(&faulty) as Arc<dyn RunStore>);
    let own = Namespace::default();
    let mut ids = Vec::new();
    for _ in 0..60 {
        let new = keyed("report");
        ids.push(new.id);
        assert!(fixture.engine.create_artifacts(&own, &[new]).await.expect("answers")[0].is_ok());
    }
    let found = truth.list_artifacts(&every()).await.expect("reads");
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    assert_eq!(found.iter().map(|one| one.version).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    for id in ids {
        assert!(fixture.engine.delete_artifact(&own, id).await.expect("answers"), "it was there");
    }
    assert!(faulty.n_faults() > 0, "there are enough commits for a fault");
}
