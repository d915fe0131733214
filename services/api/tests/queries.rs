//! Lists and counts as a client sees them.

mod common;

use common::{Api, fields, payload, reason, task};
use tidegate_proto::v1::{self, NewRun, find_run_request::Scope};
use tonic::Code;

async fn list(api: &Api, request: v1::ListRunsRequest) -> v1::ListRunsResponse {
    api.runs.clone().list_runs(request).await.expect("lists").into_inner()
}

/// Run names of a filter, in this order.
async fn listed(api: &Api, filter: &str, order_by: &str) -> Vec<String> {
    let request = v1::ListRunsRequest {
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        ..Default::default()
    };
    list(api, request).await.runs.into_iter().map(|run| run.run_name).collect()
}

fn named(run_name: &str, priority: i32) -> NewRun {
    NewRun { run_name: run_name.to_owned(), priority: Some(priority), ..task() }
}

#[tokio::test]
async fn a_list_is_ordered_by_a_field_and_what_has_none_comes_last() {
    let api = Api::start().await;
    let waiting = api.created(named("b", 1)).await;
    let first = api.created(named("c", 2)).await;
    let second = api.created(named("a", 2)).await;
    api.complete(&first, b"1").await;
    api.complete(&second, b"1").await;
    assert_eq!(listed(&api, "", "").await, ["a", "c", "b"]);
    assert_eq!(listed(&api, "", "id").await, ["b", "c", "a"]);
    assert_eq!(listed(&api, "", "run_name").await, ["a", "b", "c"]);
    assert_eq!(listed(&api, "", "priority desc").await, ["a", "c", "b"]);
    assert_eq!(listed(&api, "", "ended_at").await, ["c", "a", "b"]);
    assert_eq!(listed(&api, "", "ended_at desc").await, ["a", "c", "b"]);
    assert_eq!(listed(&api, &format!("id != {}", waiting.id), "started_at").await, ["c", "a"]);
}

#[tokio::test]
async fn a_wrong_order_is_pointed_at() {
    let api = Api::start().await;
    let request = v1::ListRunsRequest { order_by: "name, id".into(), ..Default::default() };
    let refused = api.runs.clone().list_runs(request).await.expect_err("is refused");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["order_by".to_owned()]));
    assert!(refused.message().contains("at column 5"), "{}", refused.message());
}

#[tokio::test]
async fn a_page_token_belongs_to_its_list() {
    let api = Api::start().await;
    for n in 0..3 {
        api.created(named("run", n)).await;
    }
    let first = v1::ListRunsRequest {
        filter: "priority >= 0".into(),
        order_by: "priority".into(),
        page_size: 2,
        ..Default::default()
    };
    let page_token = list(&api, first.clone()).await.next_page_token;
    // A text in place of the priority, at the end.
    let forged = format!("{}7361", &page_token[..page_token.len() - 18]);
    let next = v1::ListRunsRequest { page_token, ..first };
    // Another size of the page is none of its business.
    let rest = list(&api, v1::ListRunsRequest { page_size: 50, ..next.clone() }).await;
    assert_eq!((rest.runs.len(), rest.next_page_token.as_str()), (1, ""));
    for (request, told) in [
        (
            v1::ListRunsRequest { filter: "priority >= 1".into(), ..next.clone() },
            "another namespace and filter",
        ),
        (v1::ListRunsRequest { namespace: "other".into(), ..next.clone() }, "another namespace and filter"),
        (v1::ListRunsRequest { order_by: "priority desc".into(), ..next.clone() }, "another order_by"),
        (v1::ListRunsRequest { page_token: "2".into(), ..next.clone() }, "is no next_page_token"),
        (v1::ListRunsRequest { page_token: forged, ..next.clone() }, "is no next_page_token"),
    ] {
        let refused = api.runs.clone().list_runs(request).await.expect_err("is refused");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["page_token".to_owned()])
        );
        assert!(refused.message().contains(told), "{}", refused.message());
    }
}

#[tokio::test]
async fn now_is_that_of_the_first_page() {
    let api = Api::start().await;
    for n in 0..3 {
        api.created(named(&n.to_string(), 0)).await;
    }
    let mut request = v1::ListRunsRequest {
        filter: "created_at <= now".into(),
        order_by: "id".into(),
        page_size: 2,
        ..Default::default()
    };
    let first = list(&api, request.clone()).await;
    api.created(named("later", 0)).await;
    request.page_token = first.next_page_token;
    let rest = list(&api, request).await.runs;
    assert_eq!(rest.iter().map(|run| run.run_name.as_str()).collect::<Vec<_>>(), ["2"]);
}

#[tokio::test]
async fn a_filter_finds_by_each_kind_of_field() {
    let api = Api::start().await;
    let flow = NewRun {
        kind: v1::RunKind::Flow.into(),
        name: "etl".into(),
        deployment: "etl/nightly".into(),
        tags: vec!["eu".into(), "nightly".into()],
        labels: [("team.x/y".to_owned(), "ml".to_owned())].into(),
        ..named("flow", 5)
    };
    api.deployed("etl/nightly", v1::DeploymentSpec::default()).await;
    let flow = api.created(flow).await;
    let child = NewRun { parent_run_id: flow.id.clone(), cache_key: "k".into(), ..named("child", 0) };
    api.created(child).await;
    for (filter, expected) in [
        ("flow = etl", "flow"),
        ("task = etl", ""),
        ("task = res*", "child"),
        ("name = (etl OR other)", "flow"),
        ("deployment = etl/nightly", "flow"),
        ("tags:(eu AND nightly)", "flow"),
        ("tags:(eu AND other)", ""),
        ("-tags:*", "child"),
        ("labels.team.x/y = ml", "flow"),
        ("labels.team.x/y:* priority > 4", "flow"),
        ("NOT labels:team.x/y", "child"),
        ("parent_run_id:*", "child"),
        ("depth = 1 AND cache_key = k", "child"),
        ("due_at > -1h due_at < +1h run_name = *il*", "child"),
        ("created_at < -1h", ""),
        ("crashes = 0 retries = 0 attempt = 0 -started_at:* kind = FLOW", "flow"),
    ] {
        assert_eq!(listed(&api, filter, "").await.join(" "), expected, "{filter}");
    }
    assert_eq!(listed(&api, &format!("root_run_id = {}", flow.id), "run_name").await, ["child", "flow"]);
}

#[tokio::test]
async fn a_count_is_exact_up_to_its_bound_and_says_so() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    let (most, n_batch) = (limits.max_exact_count, usize::try_from(limits.max_batch_size).expect("fits"));
    let count = async |filter: &str| {
        let request = v1::CountRunsRequest { filter: filter.to_owned(), ..Default::default() };
        let counted = api.runs.clone().count_runs(request).await.expect("counts").into_inner();
        assert_eq!(counted.exact_up_to, most);
        (counted.count, counted.precision())
    };
    assert_eq!(count("").await, (0, v1::CountPrecision::Exact));
    let mut n_missing = usize::try_from(most).expect("fits");
    while n_missing > 0 {
        let n_runs = n_missing.min(n_batch);
        let request = v1::CreateRunsRequest { runs: vec![task(); n_runs], ..Default::default() };
        api.runs.clone().create_runs(request).await.expect("are created");
        n_missing -= n_runs;
    }
    assert_eq!(count("state = SCHEDULED").await, (most, v1::CountPrecision::Exact));
    api.created(named("one more", 0)).await;
    assert_eq!(count("state = SCHEDULED").await, (most + 1, v1::CountPrecision::AtLeast));
    assert_eq!(count("run_name = \"one more\"").await, (1, v1::CountPrecision::Exact));
    let wrong = v1::CountRunsRequest { filter: "state".into(), ..Default::default() };
    let refused = api.runs.clone().count_runs(wrong).await.expect_err("is refused");
    assert!(refused.message().contains("at column 6"), "{}", refused.message());
}

#[tokio::test]
async fn filters_and_orders_hold_to_the_unit() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    let size = |limit: u32| usize::try_from(limit).expect("fits");
    let sized = |n: usize| format!("{:n$}", "name = a");
    let nested = |n: usize| format!("{}name = a{}", "(".repeat(n - 1), ")".repeat(n - 1));
    let many = |n: usize| format!("depth = ({})", vec!["1"; n].join(" OR "));
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let filters: [(usize, Text<'_>); 3] = [
        (size(limits.max_filter_size_bytes), &sized),
        (size(limits.max_filter_depth), &nested),
        (size(limits.max_filter_comparisons), &many),
    ];
    for (most, filter) in filters {
        let request = |n| v1::ListRunsRequest { filter: filter(n), ..Default::default() };
        api.runs.clone().list_runs(request(most)).await.expect("is at the bound");
        let refused = api.runs.clone().list_runs(request(most + 1)).await.expect_err("is above the bound");
        assert_eq!(fields(&refused), ["filter"]);
        assert!(refused.message().contains(&most.to_string()), "{}", refused.message());
    }
    let order = |n| v1::ListRunsRequest { order_by: format!("{:n$}", "name desc"), ..Default::default() };
    let most = size(limits.max_order_size_bytes);
    api.runs.clone().list_runs(order(most)).await.expect("is at the bound");
    let refused = api.runs.clone().list_runs(order(most + 1)).await.expect_err("is above the bound");
    assert_eq!(fields(&refused), ["order_by"]);
    assert!(refused.message().contains(&most.to_string()), "{}", refused.message());
}

async fn find(api: &Api, key: &str, scope: Scope) -> Result<v1::Run, tonic::Status> {
    let request =
        v1::FindRunRequest { idempotency_key: key.to_owned(), scope: Some(scope), ..Default::default() };
    api.runs.clone().find_run(request).await.map(|found| found.into_inner().run.expect("is told"))
}

#[tokio::test]
async fn a_run_is_found_by_its_key_and_what_the_key_is_unique_in() {
    let api = Api::start().await;
    let keyed = |kind: v1::RunKind, deployment: &str| NewRun {
        kind: kind.into(),
        name: "etl".into(),
        deployment: deployment.to_owned(),
        idempotency_key: "order-7".into(),
        parameters: Some(payload(b"1")),
        ..task()
    };
    for name in ["etl/daily", "etl/nightly"] {
        api.deployed(name, v1::DeploymentSpec::default()).await;
    }
    // One key, five runs: two deployments of one flow do not share theirs.
    let flow = api.created(keyed(v1::RunKind::Flow, "")).await;
    let other_kind = api.created(keyed(v1::RunKind::Task, "")).await;
    let daily = api.created(keyed(v1::RunKind::Flow, "etl/daily")).await;
    let nightly = api.created(keyed(v1::RunKind::Flow, "etl/nightly")).await;
    let child =
        |deployment| NewRun { parent_run_id: flow.id.clone(), ..keyed(v1::RunKind::Flow, deployment) };
    let below = api.created(child("")).await;
    for (scope, run) in [
        (Scope::Flow("etl".into()), &flow),
        (Scope::Task("etl".into()), &other_kind),
        (Scope::Deployment("etl/daily".into()), &daily),
        (Scope::Deployment("etl/nightly".into()), &nightly),
        (Scope::ParentRunId(flow.id.clone()), &below),
    ] {
        let found = find(&api, "order-7", scope).await.expect("is found");
        assert_eq!((&found.id, found.parameters), (&run.id, Some(payload(b"1"))));
    }
    // A deployment's key is one run of it, wherever it is called from; another deployment's never matches.
    for (deployment, run) in [("etl/daily", &daily), ("etl/nightly", &nightly)] {
        let found = api.create(child(deployment)).await.expect("is found");
        assert_eq!((found.run.expect("is told").id, found.created), (run.id.clone(), false));
    }

    for scope in [Scope::Flow("other".into()), Scope::Deployment("etl/other".into())] {
        let missing = find(&api, "order-7", scope).await.expect_err("is none");
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
        assert!(missing.message().contains("`order-7`"), "{}", missing.message());
    }
    for deployment in ["nightly", "etl/\0"] {
        let scope = Some(Scope::Deployment(deployment.to_owned()));
        let wrong = v1::FindRunRequest { idempotency_key: "k".to_owned(), scope, ..Default::default() };
        let refused = api.runs.clone().find_run(wrong).await.expect_err("is refused");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["deployment".to_owned()])
        );
    }
    let unscoped = v1::FindRunRequest { idempotency_key: String::new(), ..Default::default() };
    let refused = api.runs.clone().find_run(unscoped).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["idempotency_key", "scope"]);
}

#[tokio::test]
async fn a_run_of_another_kind_is_not_found_at_once() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let kind = v1::RunKind::Flow.into();
    let get = v1::GetRunRequest { run_id: run.id.clone(), kind, ..Default::default() };
    let wait = v1::WaitRunsRequest { run_ids: vec![run.id.clone()], kind, ..Default::default() };
    for refused in [
        api.runs.clone().get_run(get.clone()).await.expect_err("is refused"),
        api.runs.clone().wait_runs(wait.clone()).await.expect_err("is refused"),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
        assert!(refused.message().contains("is a task run, no flow run"), "{}", refused.message());
    }
    let kind = v1::RunKind::Task.into();
    api.runs.clone().get_run(v1::GetRunRequest { kind, ..get.clone() }).await.expect("is a task run");
    api.runs.clone().wait_runs(v1::WaitRunsRequest { kind, ..wait }).await.expect("is a task run");
    let unknown = v1::GetRunRequest { kind: 9, ..get };
    assert_eq!(fields(&api.runs.clone().get_run(unknown).await.expect_err("is no kind")), ["kind"]);
}
