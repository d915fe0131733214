//! `WorkPoolService` over gRPC, and what a pool means for the runs of its deployments.

mod common;

use common::{Api, fields, reason};
use tidegate_proto::{
    internal::claim_outcome::Outcome,
    v1::{self, DeploymentSpec, NewRun, WorkPoolSpec, WorkPoolType, new_run::Placement, wait::Subject},
};
use tonic::{Code, Response, Status};

const POOL: &str = "site";
const NIGHTLY: &str = "etl/nightly";

fn spec() -> WorkPoolSpec {
    WorkPoolSpec {
        r#type: WorkPoolType::Process.into(),
        queues: vec!["urgent".into(), "plain".into()],
        job_variables: r#"{"env":{"A":"pool","B":"pool"},"cleanup":true}"#.into(),
        ..Default::default()
    }
}

async fn create(api: &Api, name: &str, spec: WorkPoolSpec) -> Result<v1::CreateWorkPoolResponse, Status> {
    let request = v1::CreateWorkPoolRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
    api.work_pools.clone().create_work_pool(request).await.map(Response::into_inner)
}

async fn update(api: &Api, spec: WorkPoolSpec, paths: &[&str], etag: &str) -> Result<v1::WorkPool, Status> {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let request = v1::UpdateWorkPoolRequest {
        name: POOL.into(),
        spec: Some(spec),
        update_mask: Some(prost_types::FieldMask { paths }),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let updated = api.work_pools.clone().update_work_pool(request).await?;
    Ok(updated.into_inner().work_pool.expect("is told"))
}

async fn get(api: &Api, name: &str) -> Result<v1::GetWorkPoolResponse, Status> {
    let request = v1::GetWorkPoolRequest { name: name.to_owned(), ..Default::default() };
    api.work_pools.clone().get_work_pool(request).await.map(Response::into_inner)
}

async fn delete(api: &Api, name: &str) -> Result<(), Status> {
    let request = v1::DeleteWorkPoolRequest { name: name.to_owned(), ..Default::default() };
    api.work_pools.clone().delete_work_pool(request).await.map(|_| ())
}

fn deployment() -> DeploymentSpec {
    let git = v1::GitSource { url: "https://example.org/etl".into(), ..Default::default() };
    DeploymentSpec {
        entrypoint: "flows.py:etl".into(),
        work_pool: POOL.into(),
        source: Some(v1::Source { source: Some(v1::source::Source::Git(git)) }),
        job_variables: r#"{"env":{"B":"deployment"}}"#.into(),
        ..Default::default()
    }
}

async fn deploy(api: &Api, spec: DeploymentSpec) -> Result<v1::CreateDeploymentResponse, Status> {
    let request = v1::CreateDeploymentRequest {
        name: NIGHTLY.into(),
        spec: Some(spec),
        update_if_exists: true,
        ..Default::default()
    };
    api.deployments.clone().create_deployment(request).await.map(Response::into_inner)
}

fn run() -> NewRun {
    NewRun { deployment: NIGHTLY.into(), ..Default::default() }
}

#[tokio::test]
async fn a_pool_is_made_read_changed_and_taken_away() {
    let api = Api::start().await;
    let made = create(&api, POOL, spec()).await.expect("is made");
    let pool = made.work_pool.expect("is told");
    assert!(made.created);
    assert_eq!((pool.name.as_str(), pool.spec), (POOL, Some(spec())));
    let status = create(&api, POOL, spec()).await.expect_err("is there");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "WORK_POOL_EXISTS"));
    let status = get(&api, "sitee").await.expect_err("is not there");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "WORK_POOL_NOT_FOUND"));
    assert!(status.message().contains("`site`"), "{}", status.message());

    let new = WorkPoolSpec { max_slots: Some(3), ..Default::default() };
    let changed =
        update(&api, new.clone(), &["max_slots", "job_variables"], &pool.etag).await.expect("changes");
    let expected = WorkPoolSpec { max_slots: Some(3), job_variables: String::new(), ..spec() };
    assert_eq!(changed.spec, Some(expected.clone()));
    let status = update(&api, new.clone(), &["max_slots"], &pool.etag).await.expect_err("was changed");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "ETAG_MISMATCH"));
    let status = update(&api, new.clone(), &["type", "nothing"], "").await.expect_err("cannot be");
    assert_eq!(fields(&status), ["update_mask.paths[0]", "update_mask.paths[1]"]);
    let all = update(&api, new, &["*"], "").await.expect("changes");
    let only_slots =
        WorkPoolSpec { r#type: WorkPoolType::Process.into(), max_slots: Some(3), ..Default::default() };
    assert_eq!(all.spec, Some(only_slots));
    let request = v1::CreateWorkPoolRequest {
        name: POOL.into(),
        spec: Some(WorkPoolSpec { r#type: WorkPoolType::Docker.into(), ..Default::default() }),
        update_if_exists: true,
        ..Default::default()
    };
    let status = api.work_pools.clone().create_work_pool(request).await.expect_err("has another type");
    assert_eq!(fields(&status), ["spec.type"]);

    create(&api, "other", spec()).await.expect("is made");
    let request = v1::ListWorkPoolsRequest { page_size: 1, ..Default::default() };
    let page = api.work_pools.clone().list_work_pools(request).await.expect("lists").into_inner();
    assert_eq!((page.work_pools.len(), page.work_pools[0].name.as_str()), (1, "other"));
    let request = v1::ListWorkPoolsRequest { page_token: page.next_page_token, ..Default::default() };
    let page = api.work_pools.clone().list_work_pools(request).await.expect("lists").into_inner();
    assert_eq!((page.work_pools.len(), page.next_page_token.as_str()), (1, ""));

    deploy(&api, DeploymentSpec { job_variables: String::new(), ..deployment() }).await.expect("is made");
    let status = delete(&api, POOL).await.expect_err("is named");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "WORK_POOL_IN_USE"));
    assert!(status.message().contains(NIGHTLY), "{}", status.message());
    delete(&api, "other").await.expect("goes");
    let status = delete(&api, "other").await.expect_err("is gone");
    assert_eq!(reason(&status), "WORK_POOL_NOT_FOUND");
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let api = Api::start().await;
    create(&api, POOL, spec()).await.expect("is made");
    let pause = |reason: &str, request_id: &str| v1::PauseWorkPoolRequest {
        name: POOL.into(),
        reason: reason.into(),
        request_id: request_id.into(),
        ..Default::default()
    };
    let id = "0197f3a0-0000-7000-8000-000000000001";
    let paused = api.work_pools.clone().pause_work_pool(pause("why", id)).await.expect("pauses").into_inner();
    assert_eq!(
        paused.work_pool.and_then(|pool| pool.pause).map(|pause| pause.reason).as_deref(),
        Some("why")
    );
    let resume = v1::ResumeWorkPoolRequest { name: POOL.into(), ..Default::default() };
    let resumed = api.work_pools.clone().resume_work_pool(resume).await.expect("resumes").into_inner();
    assert_eq!(resumed.work_pool.expect("is told").pause, None);
    let repeat =
        api.work_pools.clone().pause_work_pool(pause("why", id)).await.expect("is told").into_inner();
    assert_eq!(repeat.work_pool.expect("is told").pause, None);
    let unknown = v1::PauseWorkPoolRequest { name: "unknown".into(), ..Default::default() };
    let status = api.work_pools.clone().pause_work_pool(unknown).await.expect_err("is not there");
    assert_eq!(reason(&status), "WORK_POOL_NOT_FOUND");
}

#[tokio::test]
async fn a_wrong_pool_is_refused_with_all_that_is_wrong() {
    let api = Api::start().await;
    let text = |text: &str| text.to_owned();
    let docker = || WorkPoolSpec { r#type: WorkPoolType::Docker.into(), ..Default::default() };
    let cases = [
        (WorkPoolSpec::default(), vec!["spec.type"]),
        (
            WorkPoolSpec { queues: vec![text("a/b"), text("q"), text("q")], ..docker() },
            vec!["spec.queues[0]", "spec.queues[2]"],
        ),
        (WorkPoolSpec { max_slots: Some(1_000_001), ..docker() }, vec!["spec.max_slots"]),
        (WorkPoolSpec { job_variables: text("[]"), ..docker() }, vec!["spec.job_variables"]),
        (
            WorkPoolSpec { job_variables: text(r#"{"env":{"A":1}}"#), ..docker() },
            vec!["spec.job_variables.env.A"],
        ),
        (
            WorkPoolSpec { job_variable_schema: text("{\"type\":1}"), ..docker() },
            vec!["spec.job_variable_schema"],
        ),
        (WorkPoolSpec { job_template: text("no"), ..docker() }, vec!["spec.job_template"]),
        (
            WorkPoolSpec { job_template: text(r#"{"a":"{{ imagee }}"}"#), ..docker() },
            vec!["spec.job_template"],
        ),
        (WorkPoolSpec { job_template: text("{}"), ..spec() }, vec!["spec.job_template"]),
    ];
    for (spec, expected) in cases {
        let status = create(&api, POOL, spec).await.expect_err("is refused");
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, expected.iter().map(|field| text(field)).collect())
        );
    }
    let fits = WorkPoolSpec { job_template: text(r#"{"Image":"{{ image }}"}"#), ..docker() };
    create(&api, POOL, fits).await.expect("is made");
}

#[tokio::test]
async fn a_run_has_its_pool_and_its_job_is_given_at_the_claim() {
    let api = Api::start().await;
    create(&api, POOL, spec()).await.expect("is made");
    deploy(&api, deployment()).await.expect("is made");
    let job_variables = r#"{"cleanup":false,"env":{"C":"run","A":null}}"#.to_owned();
    let made = api.created(NewRun { job_variables, ..run() }).await;
    assert_eq!(made.work_pool, POOL);
    assert_eq!(made.concurrency_limits, ["pool:site", "deployment:etl/nightly"]);
    assert_eq!(made.queue, "urgent", "the first of the pool");
    // As it was when the run was created.
    deploy(&api, DeploymentSpec { entrypoint: "other.py:etl".into(), ..deployment() })
        .await
        .expect("changes");
    let Outcome::Assign(assign) = api.claim(&made).await else { panic!("is assigned") };
    let job = assign.job.expect("is given");
    assert_eq!((job.work_pool.as_str(), job.entrypoint.as_str()), (POOL, "flows.py:etl"));
    assert_eq!(job.source, deployment().source);
    let variables: serde_json::Value = serde_json::from_str(&job.job_variables).expect("is JSON");
    assert_eq!(variables, serde_json::json!({"env": {"B": "deployment", "C": "run"}, "cleanup": false}));
    let plain = api.created(run()).await;
    let Outcome::Assign(assign) = api.claim(&plain).await else { panic!("is assigned") };
    let variables: serde_json::Value =
        serde_json::from_str(&assign.job.expect("is given").job_variables).expect("is JSON");
    let env = serde_json::json!({"A": "pool", "B": "deployment"});
    assert_eq!(
        variables,
        serde_json::json!({"env": env, "cleanup": true}),
        "each key goes over that of before"
    );

    let request = v1::ListRunsRequest { filter: "work_pool = \"site\"".into(), ..Default::default() };
    let found = api.runs.clone().list_runs(request).await.expect("lists").into_inner();
    assert_eq!(found.runs.len(), 2);
    let facts = get(&api, POOL).await.expect("is there");
    assert_eq!((facts.waiting_runs, facts.held_runs), (0, 2));
    assert_eq!(facts.waiting_precision(), v1::CountPrecision::Exact);
}

#[tokio::test]
async fn a_run_goes_through_a_queue_of_its_pool() {
    let api = Api::start().await;
    create(&api, POOL, spec()).await.expect("is made");
    let queue_of = async |spec: DeploymentSpec, asked: Option<&str>| {
        deploy(&api, spec).await.expect("is made");
        let placement = asked.map(|queue| Placement::Queue(queue.to_owned()));
        api.create(NewRun { placement, ..run() }).await
    };
    let of = |queue: &str| DeploymentSpec { queue: queue.to_owned(), ..deployment() };
    for (spec, asked, expected) in [
        (of(""), None, "urgent"),
        (of("plain"), None, "plain"),
        (of("elsewhere"), None, "urgent"),
        (of("plain"), Some("urgent"), "urgent"),
    ] {
        let made = queue_of(spec, asked).await.expect("is made").run.expect("is told");
        assert_eq!(made.queue, expected);
    }
    let status = queue_of(of(""), Some("elsewhere")).await.expect_err("is none of the pool's");
    assert_eq!(fields(&status), ["run.queue"]);
    assert!(status.message().contains("`urgent`, `plain`"), "{}", status.message());
}

#[tokio::test]
async fn what_does_not_fit_the_pool_is_told_by_its_path() {
    let api = Api::start().await;
    let status = deploy(&api, deployment()).await.expect_err("has no pool");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "WORK_POOL_NOT_FOUND"));
    create(&api, POOL, spec()).await.expect("is made");
    let wrong = |job_variables: &str| DeploymentSpec { job_variables: job_variables.into(), ..deployment() };
    let status = deploy(&api, wrong(r#"{"env":{"A":1}}"#)).await.expect_err("does not fit");
    assert_eq!(fields(&status), ["spec.job_variables.env.A"]);
    let status = deploy(&api, DeploymentSpec { work_pool: String::new(), ..deployment() }).await;
    assert_eq!(fields(&status.expect_err("needs a pool")), ["spec.source", "spec.job_variables"]);
    let both = DeploymentSpec { command: vec!["make".into()], ..deployment() };
    assert_eq!(fields(&deploy(&api, both).await.expect_err("has both")), ["spec.entrypoint"]);
    // A process has no image.
    let image = v1::source::Source::Image("etl:1".into());
    let of_image = DeploymentSpec { source: Some(v1::Source { source: Some(image) }), ..deployment() };
    assert_eq!(fields(&deploy(&api, of_image).await.expect_err("has an image")), ["spec.source.image"]);
    deploy(&api, deployment()).await.expect("fits");
    let made = api.create(NewRun { job_variables: r#"{"cleanup":"no"}"#.into(), ..run() }).await;
    assert_eq!(fields(&made.expect_err("does not fit")), ["run.job_variables.cleanup"]);
    let made = api.create(NewRun { job_variables: "{}".into(), ..common::task() }).await;
    assert_eq!(fields(&made.expect_err("has no pool")), ["run.job_variables"]);
}

#[tokio::test]
async fn a_pod_or_a_container_may_have_its_code_from_anywhere() {
    let api = Api::start().await;
    let of_type = |r#type: WorkPoolType| WorkPoolSpec { r#type: r#type.into(), ..Default::default() };
    create(&api, "cluster", of_type(WorkPoolType::Kubernetes)).await.expect("is made");
    create(&api, "engine", of_type(WorkPoolType::Docker)).await.expect("is made");
    let git = v1::GitSource { url: "https://example.org/etl".into(), ..Default::default() };
    let archive = v1::ArchiveSource { url: "s3://code/etl.zip".into(), ..Default::default() };
    for source in [
        v1::source::Source::Git(git),
        v1::source::Source::Archive(archive),
        v1::source::Source::Image("etl:1".into()),
        v1::source::Source::Path("/srv/etl".into()),
    ] {
        for pool in ["cluster", "engine"] {
            let source = Some(v1::Source { source: Some(source.clone()) });
            deploy(&api, DeploymentSpec { work_pool: pool.into(), source: source.clone(), ..deployment() })
                .await
                .unwrap_or_else(|status| panic!("{source:?} for {pool}: {status}"));
            let made = api.created(run()).await;
            assert_eq!((made.work_pool.as_str(), made.queue.as_str()), (pool, pool));
            let Outcome::Assign(assign) = api.claim(&made).await else { panic!("is assigned") };
            assert_eq!(assign.job.expect("is given").source, source);
        }
    }
}

#[tokio::test]
async fn a_paused_pool_gives_no_run_and_says_so() {
    let api = Api::start().await;
    create(&api, POOL, spec()).await.expect("is made");
    let request =
        v1::PauseWorkPoolRequest { name: POOL.into(), reason: "repairs".into(), ..Default::default() };
    api.work_pools.clone().pause_work_pool(request).await.expect("pauses");
    let deployed = deploy(&api, deployment()).await.expect("is made");
    assert!(deployed.warnings.iter().any(|warning| warning.contains("is paused")), "{:?}", deployed.warnings);
    let made = api.created(run()).await;
    assert!(matches!(api.claim(&made).await, Outcome::WorkPoolPaused(_)));
    let request = v1::ExplainRunRequest { run_id: made.id.clone(), ..Default::default() };
    let told = api.runs.clone().explain_run(request).await.expect("explains").into_inner();
    let told = told.explanation.expect("is told");
    assert!(told.summary.contains("Work pool `site` was paused"), "{}", told.summary);
    let is_pause = |wait: &v1::Wait| matches!(&wait.subject, Some(Subject::WorkPoolPaused(paused)) if paused.work_pool == POOL && paused.reason == "repairs");
    assert!(told.waits.iter().any(is_pause), "{:?}", told.waits);
    let request = v1::ResumeWorkPoolRequest { name: POOL.into(), ..Default::default() };
    api.work_pools.clone().resume_work_pool(request).await.expect("resumes");
    assert!(matches!(api.claim(&made).await, Outcome::Assign(_)));
}

#[tokio::test]
async fn a_pool_holds_no_more_than_it_has_slots() {
    let api = Api::start().await;
    create(&api, POOL, WorkPoolSpec { max_slots: Some(1), ..spec() }).await.expect("is made");
    deploy(&api, deployment()).await.expect("is made");
    let (first, second) = (api.created(run()).await, api.created(run()).await);
    assert!(matches!(api.claim(&first).await, Outcome::Assign(_)));
    assert!(matches!(api.claim(&second).await, Outcome::Waiting(_)));
}
