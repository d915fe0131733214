//! `DeploymentService` over gRPC, and the runs of deployments.

mod common;

use common::{Api, fields, payload, reason};
use tidegate_proto::{
    internal::claim_outcome::Outcome,
    v1::{self, DeploymentSpec, NewRun},
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const NIGHTLY: &str = "etl/nightly";

fn spec() -> DeploymentSpec {
    DeploymentSpec {
        description: "loads\nwhat came".into(),
        entrypoint: "flows.py:etl".into(),
        parameters: r#"{"n":1}"#.into(),
        parameter_schema: r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["day"]}"#
            .into(),
        tags: vec!["etl".into()],
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        queue: "large".into(),
        priority: 7,
        ..Default::default()
    }
}

async fn create(
    api: &Api,
    name: &str,
    spec: DeploymentSpec,
    update_if_exists: bool,
) -> Result<v1::CreateDeploymentResponse, Status> {
    let request = v1::CreateDeploymentRequest {
        name: name.to_owned(),
        spec: Some(spec),
        update_if_exists,
        ..Default::default()
    };
    api.deployments.clone().create_deployment(request).await.map(tonic::Response::into_inner)
}

async fn get(api: &Api, name: &str) -> Result<v1::Deployment, Status> {
    let request = v1::GetDeploymentRequest { name: name.to_owned(), ..Default::default() };
    api.deployments
        .clone()
        .get_deployment(request)
        .await
        .map(|got| got.into_inner().deployment.expect("is told"))
}

async fn update(
    api: &Api,
    spec: DeploymentSpec,
    paths: &[&str],
    etag: &str,
) -> Result<v1::Deployment, Status> {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let request = v1::UpdateDeploymentRequest {
        name: NIGHTLY.into(),
        spec: Some(spec),
        update_mask: Some(prost_types::FieldMask { paths }),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let updated = api.deployments.clone().update_deployment(request).await;
    updated.map(|updated| updated.into_inner().deployment.expect("is told"))
}

async fn versions(api: &Api) -> Vec<(u64, String)> {
    let request = v1::ListDeploymentVersionsRequest { name: NIGHTLY.into(), ..Default::default() };
    let found = api.deployments.clone().list_deployment_versions(request).await.expect("lists").into_inner();
    let queue = |version: v1::DeploymentVersion| (version.version, version.spec.expect("is told").queue);
    found.versions.into_iter().map(queue).collect()
}

fn run_of(deployment: &str) -> NewRun {
    NewRun { deployment: deployment.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn what_is_only_checked_changes_nothing_and_an_etag_is_minded_by_a_create_too() {
    let api = Api::start().await;
    let ask = async |request: v1::CreateDeploymentRequest| {
        let request = v1::CreateDeploymentRequest { name: NIGHTLY.into(), ..request };
        api.deployments.clone().create_deployment(request).await.map(tonic::Response::into_inner)
    };
    let checked =
        v1::CreateDeploymentRequest { spec: Some(spec()), validate_only: true, ..Default::default() };
    let told = ask(checked.clone()).await.expect("is right");
    assert_eq!((told.created, told.deployment), (true, None));
    let wrong = DeploymentSpec { parameters: r#"{"n":"x"}"#.into(), ..spec() };
    let wrong = ask(v1::CreateDeploymentRequest { spec: Some(wrong), ..checked.clone() }).await;
    assert_eq!(wrong.expect_err("does not fit").code(), Code::InvalidArgument);
    assert_eq!(get(&api, NIGHTLY).await.expect_err("was not made").code(), Code::NotFound);

    let first = create(&api, NIGHTLY, spec(), false).await.expect("is made").deployment.expect("is told");
    assert_eq!(reason(&ask(checked.clone()).await.expect_err("is there")), "DEPLOYMENT_EXISTS");
    let put = |queue: &str, etag: &str| v1::CreateDeploymentRequest {
        spec: Some(DeploymentSpec { queue: queue.into(), ..spec() }),
        update_if_exists: true,
        etag: etag.to_owned(),
        ..Default::default()
    };
    let told = ask(v1::CreateDeploymentRequest { validate_only: true, ..put("other", "") }).await;
    assert_eq!(told.expect("is right").deployment, Some(first.clone()), "as it is");
    let second = ask(put("other", &first.etag)).await.expect("is changed").deployment.expect("is told");
    for request in [
        put("third", &first.etag),
        v1::CreateDeploymentRequest { validate_only: true, ..put("third", &first.etag) },
    ] {
        assert_eq!(reason(&ask(request).await.expect_err("is older")), "ETAG_MISMATCH");
    }
    assert_eq!(get(&api, NIGHTLY).await.expect("is there"), second);
    let alone = v1::CreateDeploymentRequest { update_if_exists: false, ..put("x", &second.etag) };
    assert_eq!(ask(alone).await.expect_err("means nothing").code(), Code::InvalidArgument);
    let delete = v1::DeleteDeploymentRequest { name: NIGHTLY.into(), ..Default::default() };
    api.deployments.clone().delete_deployment(delete).await.expect("is deleted");
    let gone = ask(put("third", &second.etag)).await.expect_err("is gone");
    assert_eq!(reason(&gone), "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn a_deployment_is_made_changed_rolled_back_and_deleted() {
    let api = Api::start().await;
    let mut request = Request::new(v1::CreateDeploymentRequest {
        name: NIGHTLY.into(),
        spec: Some(spec()),
        ..Default::default()
    });
    request.metadata_mut().insert("tidegate-actor", "ada".parse().expect("is ASCII"));
    let made = api.deployments.clone().create_deployment(request).await.expect("is made").into_inner();
    let first = made.deployment.expect("is told");
    assert!(made.created);
    assert_eq!((first.name.as_str(), first.version, first.spec.clone()), (NIGHTLY, 1, Some(spec())));
    assert_eq!(get(&api, NIGHTLY).await.expect("is there"), first);

    let refused = create(&api, NIGHTLY, spec(), false).await.expect_err("is there");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "DEPLOYMENT_EXISTS"));
    let same = create(&api, NIGHTLY, spec(), true).await.expect("is there");
    assert_eq!((same.created, same.deployment.expect("is told")), (false, first.clone()), "no version");

    let changed = DeploymentSpec { queue: "small".into(), tags: Vec::new(), ..Default::default() };
    let second = update(&api, changed, &["queue", "tags"], &first.etag).await.expect("is changed");
    let expected = DeploymentSpec { queue: "small".into(), tags: Vec::new(), ..spec() };
    assert_eq!((second.version, second.spec.clone()), (2, Some(expected)));
    assert_ne!(second.etag, first.etag);
    let stale = update(&api, spec(), &["*"], &first.etag).await.expect_err("is refused");
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::FailedPrecondition, "ETAG_MISMATCH"));
    let wrong = update(&api, spec(), &["queue", "spec.tags"], "").await.expect_err("is refused");
    assert_eq!(fields(&wrong), ["update_mask.paths[1]"]);

    let roll_back = |version| {
        let request = v1::RollbackDeploymentRequest { name: NIGHTLY.into(), version, ..Default::default() };
        let mut deployments = api.deployments.clone();
        async move { deployments.rollback_deployment(request).await }
    };
    let third = roll_back(1).await.expect("is rolled back").into_inner().deployment.expect("is told");
    assert_eq!((third.version, third.spec), (3, Some(spec())));
    let missing = roll_back(9).await.expect_err("is none");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "DEPLOYMENT_NOT_FOUND"));
    let queues = [(3, "large"), (2, "small"), (1, "large")].map(|(n, queue)| (n, queue.to_owned()));
    assert_eq!(versions(&api).await, queues);

    let run = api.created(NewRun { parameters: Some(payload(b"{\"day\":\"x\"}")), ..run_of(NIGHTLY) }).await;
    assert_eq!((run.deployment.as_str(), run.deployment_version), (NIGHTLY, 3));
    let delete = |allow_missing| {
        let request =
            v1::DeleteDeploymentRequest { name: NIGHTLY.into(), allow_missing, ..Default::default() };
        let mut deployments = api.deployments.clone();
        async move { deployments.delete_deployment(request).await }
    };
    delete(false).await.expect("is deleted");
    assert_eq!(delete(false).await.expect_err("is gone").code(), Code::NotFound);
    delete(true).await.expect("is no error");
    assert!(matches!(api.claim(&run).await, Outcome::Assign(_)), "its runs stay");
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let api = Api::start().await;
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = v1::CreateDeploymentRequest {
        name: NIGHTLY.into(),
        spec: Some(spec()),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let mut deployments = api.deployments.clone();
    deployments.create_deployment(request.clone()).await.expect("is made");
    let changed = DeploymentSpec { queue: "small".into(), ..Default::default() };
    update(&api, changed, &["queue"], "").await.expect("is changed");
    let again = deployments.create_deployment(request).await.expect("is known").into_inner();
    assert_eq!((again.created, again.deployment.expect("is told").version), (false, 2));
}

#[tokio::test]
async fn what_is_wrong_in_a_specification_is_named() {
    let api = Api::start().await;
    let wrong = DeploymentSpec {
        tags: vec![String::new()],
        queue: "no spaces".into(),
        priority: 101,
        on_collision: v1::CollisionPolicy::Skip.into(),
        enforce_parameter_schema: true,
        policies: Some(v1::Policies {
            crash: Some(v1::CrashPolicy { max_crashes: Some(5_000) }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = create(&api, NIGHTLY, wrong, false).await.expect_err("is refused");
    assert_eq!(
        fields(&refused),
        [
            "spec.tags[0]",
            "spec.queue",
            "spec.priority",
            "spec.on_collision",
            "spec.policies.crash.max_crashes",
            "spec.enforce_parameter_schema"
        ]
    );
    for (parameters, schema, field, told) in [
        ("[1]", "", "spec.parameters", "are no JSON object"),
        ("{", "", "spec.parameters", "are no JSON"),
        ("", r#"{"type":"integr"}"#, "spec.parameter_schema", "is no JSON Schema: at `/type`"),
        (r#"{"n":"x"}"#, r#"{"properties":{"n":{"type":"integer"}}}"#, "spec.parameters.n", "is not of type"),
    ] {
        let wrong = DeploymentSpec {
            parameters: parameters.into(),
            parameter_schema: schema.into(),
            ..Default::default()
        };
        let refused = create(&api, NIGHTLY, wrong, false).await.expect_err("is refused");
        assert_eq!(fields(&refused), [field], "{parameters} {schema}");
        assert!(refused.message().contains(told), "{}", refused.message());
    }
    for name in ["nightly", "etl/", "/nightly", "etl/a\nb"] {
        assert_eq!(fields(&create(&api, name, spec(), false).await.expect_err("is no name")), ["name"]);
    }
}

#[tokio::test]
async fn deployments_are_listed_by_filter_and_page() {
    let api = Api::start().await;
    for name in ["etl/daily", NIGHTLY, "report/weekly"] {
        let queue = name.split('/').next_back().unwrap_or_default();
        api.deployed(name, DeploymentSpec { queue: queue.into(), ..spec() }).await;
    }
    let list = |filter: &str, page_size, page_token: &str| {
        let request = v1::ListDeploymentsRequest {
            filter: filter.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        let mut deployments = api.deployments.clone();
        async move {
            let page = deployments.list_deployments(request).await?.into_inner();
            let names: Vec<_> = page.deployments.into_iter().map(|deployment| deployment.name).collect();
            Ok::<_, Status>((names, page.next_page_token))
        }
    };
    let (first, next) = list("", 2, "").await.expect("lists");
    assert_eq!(first, ["etl/daily", NIGHTLY]);
    assert_eq!(list("", 2, &next).await.expect("lists"), (vec!["report/weekly".to_owned()], String::new()));
    for (filter, names) in [
        ("flow = etl", vec!["etl/daily", NIGHTLY]),
        (
            "deployment = \"*ly\" tags:etl labels.team = blue priority > 6",
            vec!["etl/daily", NIGHTLY, "report/weekly"],
        ),
        ("queue = weekly OR deployment = etl/n*", vec![NIGHTLY, "report/weekly"]),
        ("created_at > +1d", vec![]),
    ] {
        assert_eq!(list(filter, 0, "").await.expect("lists").0, names, "{filter}");
    }
    let of_type = v1::WorkPoolSpec { r#type: v1::WorkPoolType::Process.into(), ..Default::default() };
    let pool = v1::CreateWorkPoolRequest { name: "site".into(), spec: Some(of_type), ..Default::default() };
    api.work_pools.clone().create_work_pool(pool).await.expect("is made");
    api.deployed("etl/of-site", DeploymentSpec { work_pool: "site".into(), ..spec() }).await;
    assert_eq!(list("work_pool = site", 0, "").await.expect("lists").0, ["etl/of-site"]);
    let refused = list("state = RUNNING", 0, "").await.expect_err("is refused");
    assert!(refused.message().contains("`state` is no field of a deployment"), "{}", refused.message());
}

#[tokio::test]
async fn each_field_takes_what_is_at_its_published_bound_and_no_more() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    assert_eq!((limits.max_deployments, limits.max_deployment_versions), (5_000, 100));
    let size = |bound: u32| usize::try_from(bound).expect("fits");
    let json = |size: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(size - 8));
    let text = |size: usize| "x".repeat(size);
    type Change<'a> = &'a dyn Fn(&mut DeploymentSpec, usize);
    let bounds: [(&str, u32, Change<'_>); 5] = [
        ("parameters", limits.max_deployment_json_size_bytes, &|spec, n| spec.parameters = json(n)),
        ("parameter_schema", limits.max_deployment_json_size_bytes, &|spec, n| {
            spec.parameter_schema = json(n)
        }),
        ("description", limits.max_deployment_description_size_bytes, &|spec, n| spec.description = text(n)),
        ("entrypoint", limits.max_entrypoint_size_bytes, &|spec, n| spec.entrypoint = text(n)),
        ("version_label", limits.max_version_label_size_bytes, &|spec, n| spec.version_label = text(n)),
    ];
    for (field, most, change) in bounds {
        let with = |n| {
            let mut spec = DeploymentSpec::default();
            change(&mut spec, n);
            create(&api, NIGHTLY, spec, true)
        };
        with(size(most)).await.unwrap_or_else(|refused| panic!("{field}: {}", refused.message()));
        let refused = with(size(most) + 1).await.expect_err("is refused");
        assert_eq!(common::fields(&refused), [format!("spec.{field}")]);
    }
}

/// A server that checked it would be busy for years.
#[tokio::test]
async fn a_schema_that_takes_very_long_is_not_enforced() {
    let api = Api::start().await;
    let parameter_schema = r##"{"properties":{"x":{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##.to_owned();
    let shown = DeploymentSpec { parameter_schema, ..DeploymentSpec::default() };
    let enforced = DeploymentSpec { enforce_parameter_schema: true, ..shown.clone() };
    let refused = create(&api, NIGHTLY, enforced, false).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["spec.parameter_schema"]);
    assert!(refused.message().contains("or deploy with enforce_parameter_schema false"), "{refused}");
    create(&api, NIGHTLY, shown, false).await.expect("people may read it");
    api.create(run_of(NIGHTLY)).await.expect("is not checked");
}

#[tokio::test]
async fn a_run_has_what_its_deployment_says_beside_what_it_says_itself() {
    let api = Api::start().await;
    let policies = v1::Policies {
        retry: Some(v1::RetryPolicy { max_retries: 4, ..Default::default() }),
        run_timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    api.deployed(NIGHTLY, DeploymentSpec { policies: Some(policies), ..spec() }).await;
    let bare = api.created(run_of(NIGHTLY)).await;
    assert_eq!((bare.kind(), bare.name.as_str(), bare.queue.as_str()), (v1::RunKind::Flow, "etl", "large"));
    assert_eq!((bare.priority, &bare.tags, &bare.labels), (7, &spec().tags, &spec().labels));
    assert_eq!(bare.policies.expect("is told").retry.expect("is told").max_retries, 4);

    let own = NewRun {
        placement: Some(v1::new_run::Placement::Queue("small".into())),
        priority: Some(0),
        tags: vec!["now".into()],
        labels: [("by".to_owned(), "ada".to_owned())].into(),
        policies: Some(v1::Policies { retry: Some(v1::RetryPolicy::default()), ..Default::default() }),
        parameters: Some(payload(b"{\"day\":\"x\"}")),
        ..run_of(NIGHTLY)
    };
    let run = api.created(own).await;
    assert_eq!((run.queue.as_str(), run.priority), ("small", 0));
    assert_eq!(run.tags, ["now", "etl"]);
    assert_eq!(run.labels.len(), 2);
    let policies = run.policies.expect("is told");
    assert_eq!(policies.retry.expect("is told").max_retries, 0);
    assert_eq!(policies.run_timeout.expect("is told").seconds, 60);
    let get = v1::GetRunRequest { run_id: run.id, ..Default::default() };
    let full = api.runs.clone().get_run(get).await.expect("is there").into_inner().run.expect("is told");
    assert_eq!(full.parameters, Some(payload(b"{\"day\":\"x\",\"n\":1}")));
}

#[tokio::test]
async fn parameters_that_do_not_fit_an_enforced_schema_are_refused_with_their_path() {
    let api = Api::start().await;
    api.deployed(NIGHTLY, DeploymentSpec { enforce_parameter_schema: true, ..spec() }).await;
    let with = |data: &'static [u8]| NewRun { parameters: Some(payload(data)), ..run_of(NIGHTLY) };
    let wrong = api.create(with(b"{\"day\":1,\"n\":\"x\"}")).await.expect_err("is refused");
    assert_eq!((wrong.code(), fields(&wrong)), (Code::InvalidArgument, vec!["run.parameters.n".to_owned()]));
    assert!(wrong.message().contains("(deployment `etl/nightly`, version 1)"), "{}", wrong.message());
    let missing = api.create(run_of(NIGHTLY)).await.expect_err("is refused");
    assert_eq!(fields(&missing), ["run.parameters"]);
    assert!(missing.message().contains("\"day\""), "{}", missing.message());
    api.create(with(b"{\"day\":1}")).await.expect("fits");

    // One bad item fails alone.
    let request = v1::CreateRunsRequest {
        runs: vec![with(b"{\"day\":1}"), with(b"{\"n\":1.5}"), with(b"{\"day\":2}")],
        ..Default::default()
    };
    let outcomes = api.runs.clone().create_runs(request).await.expect("answers").into_inner().outcomes;
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.error_reason.as_str()).collect();
    assert_eq!(reasons, ["", "INVALID_FIELD", ""]);
}

#[tokio::test]
async fn an_unknown_deployment_is_refused_with_names_like_it() {
    let api = Api::start().await;
    let none = api.create(run_of("etl/nightli")).await.expect_err("is refused");
    assert!(none.message().contains("there is none at all yet"), "{}", none.message());
    api.deployed(NIGHTLY, spec()).await;
    for refused in [
        api.create(run_of("etl/nightli")).await.expect_err("is refused"),
        get(&api, "etl/nightli").await.expect_err("is none"),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "DEPLOYMENT_NOT_FOUND"));
        assert_eq!(
            refused.message(),
            "there is no deployment `etl/nightli` in this namespace: did you mean `etl/nightly`?"
        );
        let resource = refused.get_error_details().resource_info().cloned().expect("is named");
        assert_eq!(
            (resource.resource_type.as_str(), resource.resource_name.as_str()),
            ("deployment", "etl/nightli")
        );
    }
    let mut elsewhere = v1::CreateRunRequest { run: Some(run_of(NIGHTLY)), ..Default::default() };
    elsewhere.namespace = "elsewhere".into();
    assert_eq!(
        api.runs.clone().create_run(elsewhere).await.expect_err("is another's").code(),
        Code::NotFound
    );

    let wrong = NewRun { kind: v1::RunKind::Task.into(), ..run_of(NIGHTLY) };
    assert_eq!(fields(&api.create(wrong).await.expect_err("is of a flow")), ["run.kind"]);
    let wrong = NewRun { name: "report".into(), ..run_of(NIGHTLY) };
    assert_eq!(fields(&api.create(wrong).await.expect_err("is of another")), ["run.name"]);
    let local = v1::new_run::Placement::SessionId(uuid::Uuid::now_v7().to_string());
    let wrong = NewRun { placement: Some(local), ..run_of(NIGHTLY) };
    assert_eq!(fields(&api.create(wrong).await.expect_err("is local")), ["run.deployment"]);
}

#[tokio::test]
async fn a_deployment_bounds_how_many_of_its_runs_are_held() {
    let api = Api::start().await;
    api.deployed(NIGHTLY, DeploymentSpec { max_concurrent_runs: Some(1), ..spec() }).await;
    let (first, second) = (api.created(run_of(NIGHTLY)).await, api.created(run_of(NIGHTLY)).await);
    assert!(matches!(api.claim(&first).await, Outcome::Assign(_)));
    assert!(matches!(api.claim(&second).await, Outcome::Waiting(_)));
    let limit =
        v1::GetConcurrencyLimitRequest { name: "deployment:etl/nightly".into(), ..Default::default() };
    let got = api.concurrency.clone().get_concurrency_limit(limit).await.expect("is there").into_inner();
    assert_eq!(got.limit.expect("is told").max_slots, Some(1));
    assert_eq!(got.slots.iter().map(|slot| slot.run_id.as_str()).collect::<Vec<_>>(), [first.id.as_str()]);

    let skipping = DeploymentSpec {
        max_concurrent_runs: Some(1),
        on_collision: v1::CollisionPolicy::Skip.into(),
        ..Default::default()
    };
    update(&api, skipping, &["on_collision"], "").await.expect("is changed");
    let third = api.created(run_of(NIGHTLY)).await;
    assert!(!matches!(api.claim(&third).await, Outcome::Assign(_)));
    let get = v1::GetRunRequest { run_id: third.id, ..Default::default() };
    let third = api.runs.clone().get_run(get).await.expect("is there").into_inner().run.expect("is told");
    assert_eq!(third.state.expect("is told").name, "Skipped");

    let put = v1::PutConcurrencyLimitRequest {
        name: "deployment:etl/nightly".into(),
        max_slots: Some(3),
        ..Default::default()
    };
    let refused = api.concurrency.clone().put_concurrency_limit(put).await.expect_err("is the deployment's");
    assert_eq!(fields(&refused), ["name"]);
}
