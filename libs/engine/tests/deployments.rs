//! Deployments, and what the engine makes of creates that name one.

mod common;

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use common::{Fixture, options, task};
use futures::future::join_all;
use tidegate_engine::{Create, Deploy, Deployed, DeploymentAsk, EngineError, KeyScope, Options, Spec, etag};
use tidegate_model::{
    Clock as _, ErrorCode, FieldViolation, Namespace, Payload, RunId, RunKind, ServiceError as _,
    SystemClock, limits,
};
use tidegate_orchestration::Draft;
use tidegate_store::{Deployment, DeploymentKey, RunStore, WorkPool};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::FaultyStore;

const NIGHTLY: &str = "etl/nightly";

/// Takes the specification for a tag and for the parameters; one that is `wrong` fits nothing.
#[derive(Debug)]
struct TagBySpec(Draft);

impl Deploy for TagBySpec {
    fn deploy(&self, deployment: &Deployment, pool: Option<&WorkPool>) -> Result<Deployed, EngineError> {
        if deployment.spec == "wrong" {
            let violation = FieldViolation { field: "parameters.n".into(), description: "is wrong".into() };
            return Err(EngineError::InvalidFields { violations: vec![violation] });
        }
        let tag = String::from_utf8_lossy(&deployment.spec).into_owned();
        let draft = Draft { tags: vec![tag], ..self.0.clone() };
        let job = pool.map(|pool| pool.spec.clone());
        Ok(Deployed { draft, parameters: Some(Payload::inline(deployment.spec.clone())), job })
    }
}

fn ask(name: &str) -> DeploymentAsk {
    let key = DeploymentKey { namespace: Namespace::default(), name: name.parse().expect("is a name") };
    DeploymentAsk { key, etag: None, actor: None, request_id: None }
}

async fn put(
    fixture: &Fixture,
    ask: &DeploymentAsk,
    spec: &'static str,
) -> Result<(Deployment, bool), EngineError> {
    let spec = Spec { encoded: Bytes::from_static(spec.as_bytes()), limit: None, work_pool: None };
    fixture.engine.change_deployment(ask, &|_| Ok(spec.clone())).await
}

fn run_of(name: &str) -> Create {
    let draft = Draft {
        kind: RunKind::Flow,
        name: "etl".parse().expect("is a name"),
        deployment: Some(name.to_owned()),
        ..task().draft
    };
    Create { deploy: Some(Arc::new(TagBySpec(draft.clone()))), draft, ..task() }
}

fn keyed(name: &str, parent: Option<RunId>) -> Create {
    let mut create = Create { idempotency_key: Some("k".to_owned()), ..run_of(name) };
    create.draft.parent = parent;
    create.deploy = Some(Arc::new(TagBySpec(create.draft.clone())));
    create
}

#[tokio::test]
async fn a_run_is_made_by_the_version_of_its_time() {
    let fixture = Fixture::new().await;
    put(&fixture, &ask(NIGHTLY), "one").await.expect("is made");
    let first = fixture.create(run_of(NIGHTLY)).await.expect("is created").run;
    put(&fixture, &ask(NIGHTLY), "two").await.expect("is changed");
    let second = fixture.create(run_of(NIGHTLY)).await.expect("is created").run;
    for (run, version, tag) in [(&first, 1, "one"), (&second, 2, "two")] {
        let detail = fixture.engine.get(&run.namespace, run.id).await.expect("is there");
        assert_eq!(
            (detail.run.deployment_version, &detail.run.tags[..]),
            (Some(version), &[tag.to_owned()][..])
        );
        assert_eq!(detail.parameters, Some(Payload::inline(tag)));
        assert_eq!(detail.run.concurrency_limits, ["deployment:etl/nightly"]);
    }
}

#[tokio::test]
async fn the_deployments_of_a_batch_are_looked_up_together() {
    let sqlite = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let store = Arc::new(FaultyStore::new(sqlite, 0.0));
    let n_lanes = NonZeroUsize::new(1).expect("is not 0");
    let fixture = Fixture::with(Arc::clone(&store) as Arc<dyn RunStore>, Options { n_lanes, ..options() });
    put(&fixture, &ask(NIGHTLY), "one").await.expect("is made");
    put(&fixture, &ask("etl/daily"), "two").await.expect("is made");
    let first = fixture.engine.create(run_of(NIGHTLY));
    let calls = (0..100).flat_map(|_| [run_of(NIGHTLY), run_of("etl/daily"), task()]);
    let calls: Vec<_> = calls.map(|create| fixture.engine.create(create)).collect();
    first.await.expect("is created");
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert!(store.n_deployment_reads() <= 3, "{} reads", store.n_deployment_reads());
}

#[tokio::test]
async fn one_that_cannot_be_fails_alone() {
    let fixture = Fixture::new().await;
    put(&fixture, &ask(NIGHTLY), "one").await.expect("is made");
    put(&fixture, &ask("etl/wrong"), "wrong").await.expect("is made");
    let calls =
        [NIGHTLY, "etl/wrong", "etl/nightli", NIGHTLY].map(|name| fixture.engine.create(run_of(name)));
    let codes: Vec<_> =
        join_all(calls).await.into_iter().map(|made| made.err().map(|error| error.code())).collect();
    assert_eq!(codes, [None, Some(ErrorCode::InvalidArgument), Some(ErrorCode::NotFound), None]);
    let refused = fixture.create(run_of("etl/nightli")).await.expect_err("is refused");
    assert_eq!(refused.resource(), Some(("deployment", "etl/nightli")));
    assert!(refused.to_string().ends_with("did you mean `etl/nightly`?"), "{refused}");
}

/// All in the lane wait for it.
#[tokio::test]
async fn names_like_wrong_ones_are_looked_for_a_few_times_in_a_batch() {
    let sqlite = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let n_lanes = NonZeroUsize::new(1).expect("is not 0");
    let fixture = Fixture::with(sqlite, Options { n_lanes, ..options() });
    put(&fixture, &ask(NIGHTLY), "one").await.expect("is made");
    let calls: Vec<_> = (0..100).map(|n| fixture.engine.create(run_of(&format!("etl/nightly{n}")))).collect();
    let refused = join_all(calls).await.into_iter().map(|made| made.expect_err("is refused"));
    let texts: Vec<String> = refused.map(|error| error.to_string()).collect();
    assert!(texts.iter().all(|text| text.starts_with("there is no deployment `etl/nightly")), "{texts:?}");
    let n_searched = texts.iter().filter(|text| text.ends_with("did you mean `etl/nightly`?")).count();
    assert!((1..=20).contains(&n_searched), "{n_searched} of 100");
}

#[tokio::test]
async fn a_key_is_the_deployments_whoever_calls_and_whatever_became_of_it() {
    let fixture = Fixture::new().await;
    for name in [NIGHTLY, "etl/daily"] {
        put(&fixture, &ask(name), "one").await.expect("is made");
    }
    let parent = fixture.queued().await.id;
    let mut ids = HashSet::new();
    for (name, parent) in
        [(NIGHTLY, None), ("etl/daily", None), (NIGHTLY, Some(parent)), ("etl/daily", Some(parent))]
    {
        ids.insert(fixture.create(keyed(name, parent)).await.expect("is created or found").run.id);
    }
    assert_eq!(ids.len(), 2, "one of each deployment");
    let scope = KeyScope::Deployment(NIGHTLY.to_owned());
    let first = fixture.engine.find(&Namespace::default(), &scope, "k").await.expect("is found").run;
    assert!(fixture.engine.delete_deployment(&ask(NIGHTLY)).await.expect("is deleted"));
    let again = fixture.create(keyed(NIGHTLY, None)).await.expect("what was created before stands");
    assert_eq!((again.run.id, again.created), (first.id, false));

    // The calls of an attempt are counted by their parent.
    let mut child = Create { is_child_call: true, ..keyed("etl/daily", Some(parent)) };
    child.draft.id = RunId::new();
    child.deploy = Some(Arc::new(TagBySpec(child.draft.clone())));
    assert!(fixture.create(child).await.expect("is created").created);
}

#[tokio::test]
async fn a_namespace_has_no_more_deployments_than_it_may() {
    let store = Arc::new(SqliteStore::in_memory().await.expect("opens"));
    let mut tx = store.begin().await.expect("begins");
    for n in 0..limits::MAX_DEPLOYMENTS {
        let now = SystemClock.now();
        let (key, spec) = (ask(&format!("etl/d{n}")).key, Bytes::from_static(b"one"));
        let deployment =
            Deployment { key, version: 1, spec, work_pool: None, created_at: now, updated_at: now };
        tx.put_deployment(&deployment, None, None, 1).await.expect("is made");
    }
    tx.commit().await.expect("commits");
    let fixture = Fixture::over(store);
    let refused = put(&fixture, &ask(NIGHTLY), "one").await.expect_err("is one too many");
    assert_eq!(
        (refused.code(), refused.reason().as_str()),
        (ErrorCode::FailedPrecondition, "TOO_MANY_DEPLOYMENTS")
    );
    put(&fixture, &ask("etl/d0"), "two").await.expect("is changed");
    assert!(fixture.engine.delete_deployment(&ask("etl/d0")).await.expect("is deleted"));
    put(&fixture, &ask(NIGHTLY), "one").await.expect("has room");
}

#[tokio::test]
async fn changes_are_versions_and_none_is_lost() {
    let fixture = Fixture::new().await;
    let (first, is_new) = put(&fixture, &ask(NIGHTLY), "one").await.expect("is made");
    assert!(is_new && first.version == 1);
    assert_eq!(put(&fixture, &ask(NIGHTLY), "one").await.expect("is there"), (first.clone(), false));
    let stale = DeploymentAsk { etag: Some(etag(&first)), ..ask(NIGHTLY) };
    fixture.advance(1);
    let request = DeploymentAsk { request_id: Some(RunId::new()), ..ask(NIGHTLY) };
    let (second, is_new) = put(&fixture, &request, "two").await.expect("is changed");
    assert!(!is_new && second.version == 2);
    let repeated = put(&fixture, &request, "three").await.expect("is known");
    assert_eq!(repeated, (second.clone(), false));
    let refused = put(&fixture, &stale, "three").await.expect_err("was changed");
    assert!(matches!(refused, EngineError::EtagMismatch { version: 2, .. }), "{refused:?}");
    let refused = fixture.engine.delete_deployment(&stale).await.expect_err("was changed");
    assert_eq!(refused.code(), ErrorCode::FailedPrecondition);

    let key = ask(NIGHTLY).key;
    let calls = ["a", "b", "c", "d"].map(|spec| {
        let fixture = &fixture;
        async move { put(fixture, &ask(NIGHTLY), spec).await.expect("is changed").0.version }
    });
    let made: HashSet<u64> = join_all(calls).await.into_iter().collect();
    assert_eq!(made, HashSet::from([3, 4, 5, 6]), "each has a version of its own");
    let versions = fixture.engine.deployment_versions(&key, None, 10).await.expect("lists");
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    assert!(fixture.engine.delete_deployment(&ask(NIGHTLY)).await.expect("is deleted"));
    assert!(!fixture.engine.delete_deployment(&ask(NIGHTLY)).await.expect("is gone"));
    assert_eq!(fixture.engine.get_deployment(&key).await.expect_err("is gone").code(), ErrorCode::NotFound);
}
