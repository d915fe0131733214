//! RunService as a client sees it.

mod common;

use common::{Api, fields, payload, reason, task};
use tidegate_proto::v1;
use tonic::Code;

#[tokio::test]
async fn a_run_is_created_listed_completed_and_read_with_its_history() {
    let api = Api::start().await;
    let mut new = task();
    new.parameters = Some(payload(b"[1]"));
    new.tags = vec!["nightly".to_owned()];
    let run = api.created(new).await;
    assert_eq!(run.state.as_ref().expect("has one").r#type(), v1::StateType::Scheduled);
    assert!(run.run_name.starts_with("resize-"));
    api.complete(&run, b"2").await;

    let request = v1::GetRunRequest { run_id: run.id.clone(), ..Default::default() };
    let full = api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    assert_eq!(full.state.as_ref().expect("has one").r#type(), v1::StateType::Completed);
    assert_eq!(full.parameters, Some(payload(b"[1]")));
    assert_eq!(full.result, Some(payload(b"2")));
    assert_eq!(full.attempt, 1);
    assert!(full.ended_at.is_some());

    let request =
        v1::ListRunsRequest { filter: "state = COMPLETED AND tags:nightly".into(), ..Default::default() };
    let listed = api.runs.clone().list_runs(request).await.expect("lists").into_inner().runs;
    assert_eq!(listed.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), [run.id.as_str()]);
    assert_eq!(listed[0].parameters, None, "lists have no payloads");

    let request = v1::ListRunEventsRequest { run_id: run.id.clone(), page_size: 3, ..Default::default() };
    let first = api.runs.clone().list_run_events(request.clone()).await.expect("lists").into_inner();
    let request = v1::ListRunEventsRequest { page_token: first.next_page_token.clone(), ..request };
    let second = api.runs.clone().list_run_events(request).await.expect("lists").into_inner();
    let numbers: Vec<_> = first.events.iter().chain(&second.events).map(|event| event.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(second.next_page_token, "");
    assert!(second.events[0].ended);
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once_and_nothing_is_created() {
    let api = Api::start().await;
    let new = v1::NewRun {
        id: "x".to_owned(),
        name: String::new(),
        placement: Some(v1::new_run::Placement::Queue("no spaces".to_owned())),
        priority: Some(101),
        tags: vec![String::new()],
        idempotency_key: "k".repeat(600),
        fairness_key: "a\nb".to_owned(),
        required_worker_labels: [("no key".to_owned(), String::new())].into(),
        prefer_parent_worker: true,
        policies: Some(v1::Policies {
            retry: Some(v1::RetryPolicy { jitter_factor: 2.0, ..Default::default() }),
            run_timeout: Some(prost_types(-1)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = api.create(new).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert_eq!(
        fields(&refused),
        [
            "run.id",
            "run.kind",
            "run.name",
            "run.queue",
            "run.policies.retry.jitter_factor",
            "run.policies.run_timeout",
            "run.priority",
            "run.tags[0]",
            "run.fairness_key",
            "run.required_worker_labels",
            "run.prefer_parent_worker",
            "run.idempotency_key"
        ]
    );
    let listed =
        api.runs.clone().list_runs(v1::ListRunsRequest::default()).await.expect("lists").into_inner();
    assert_eq!(listed.runs, []);
}

fn prost_types(seconds: i64) -> ::prost_types::Duration {
    ::prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn a_key_makes_one_run_and_its_misuse_is_told() {
    let api = Api::start().await;
    let keyed = |data| v1::NewRun {
        idempotency_key: "order-7".to_owned(),
        parameters: Some(payload(data)),
        ..task()
    };
    let first = api.create(keyed(b"1")).await.expect("is created");
    let again = api.create(keyed(b"1")).await.expect("is found");
    assert!(first.created && !again.created);
    assert_eq!(first.run.expect("is told").id, again.run.as_ref().expect("is told").id);
    let misused = api.create(keyed(b"2")).await.expect_err("is refused");
    assert_eq!((misused.code(), reason(&misused).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    let mut existing = keyed(b"2");
    existing.use_existing = true;
    let existing = api.create(existing).await.expect("is found");
    assert_eq!(existing.run, again.run);
}

#[tokio::test]
async fn one_bad_item_of_a_batch_fails_alone() {
    let api = Api::start().await;
    let runs = vec![task(), v1::NewRun { name: String::new(), ..task() }, task()];
    let request = v1::CreateRunsRequest { runs, ..Default::default() };
    let outcomes = api.runs.clone().create_runs(request).await.expect("answers").into_inner().outcomes;
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.error_reason.as_str()).collect();
    assert_eq!(reasons, ["", "INVALID_FIELD", ""]);
    assert!(outcomes[1].error_message.starts_with("name: "), "{:?}", outcomes[1]);
    assert!(outcomes[0].created && outcomes[2].created);
}

#[tokio::test]
async fn waiting_is_told_of_each_end_once_and_of_the_time_that_passed() {
    let api = Api::start().await;
    let (first, second) = (api.created(task()).await, api.created(task()).await);
    let request =
        v1::WaitRunsRequest { run_ids: vec![first.id.clone(), second.id.clone()], ..Default::default() };
    let mut wait = api.runs.clone().wait_runs(request.clone()).await.expect("opens").into_inner();
    api.complete(&first, b"1").await;
    let message = wait.message().await.expect("goes on").expect("has one");
    assert_eq!((message.runs.len(), message.n_pending), (1, 1));
    assert_eq!(message.runs[0].result, Some(payload(b"1")));

    let brief = v1::WaitRunsRequest { timeout: Some(prost_types(0)), ..request.clone() };
    let mut brief = api.runs.clone().wait_runs(brief).await.expect("opens").into_inner();
    assert_eq!(brief.message().await.expect("goes on").expect("has one").runs.len(), 1);
    let last = brief.message().await.expect("goes on").expect("has one");
    assert!(last.timed_out && last.n_pending == 1 && last.runs.is_empty());
    assert_eq!(brief.message().await.expect("ends"), None);

    let any = v1::WaitRunsRequest { mode: v1::WaitMode::Any.into(), ..request };
    let mut any = api.runs.clone().wait_runs(any).await.expect("opens").into_inner();
    assert_eq!(any.message().await.expect("goes on").expect("has one").runs.len(), 1);
    assert_eq!(any.message().await.expect("ends"), None);

    api.complete(&second, b"2").await;
    assert_eq!(wait.message().await.expect("goes on").expect("has one").runs[0].id, second.id);
    assert_eq!(wait.message().await.expect("ends"), None);
}

#[tokio::test]
async fn waiting_for_an_unknown_run_is_an_error_at_once() {
    let api = Api::start().await;
    let run_ids = vec!["01890a5d-ac96-774b-bcce-b302099a8057".to_owned()];
    let request = v1::WaitRunsRequest { run_ids, ..Default::default() };
    let refused = api.runs.clone().wait_runs(request).await.expect_err("is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
}

#[tokio::test]
async fn a_watch_from_the_start_sees_each_event_once_and_ends_with_the_run() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let by_id = v1::WatchRunsRequest {
        run_ids: vec![run.id.clone()],
        from_start: true,
        until_ended: true,
        ..Default::default()
    };
    let by_root = v1::WatchRunsRequest { run_ids: Vec::new(), root_run_id: run.id.clone(), ..by_id.clone() };
    let mut watches = Vec::new();
    for request in [by_id, by_root] {
        watches.push(api.runs.clone().watch_runs(request).await.expect("opens").into_inner());
    }
    api.complete(&run, b"1").await;
    for mut watch in watches {
        let mut seen = Vec::new();
        while let Some(message) = watch.message().await.expect("goes on") {
            seen.extend(message.events.into_iter().map(|event| (event.seq, event.ended)));
        }
        assert_eq!(seen, [(1, false), (2, false), (3, false), (4, true)]);
    }
}

#[tokio::test]
async fn a_watch_resumes_where_it_was() {
    let api = Api::start().await;
    let mut watch =
        api.runs.clone().watch_runs(v1::WatchRunsRequest::default()).await.expect("opens").into_inner();
    let first = api.created(task()).await;
    let message = watch.message().await.expect("goes on").expect("has one");
    assert_eq!(message.events[0].run_id, first.id);
    drop(watch);
    let second = api.created(task()).await;
    let request = v1::WatchRunsRequest { resume_token: message.resume_token, ..Default::default() };
    let mut watch = api.runs.clone().watch_runs(request).await.expect("opens").into_inner();
    let message = watch.message().await.expect("goes on").expect("has one");
    assert_eq!(
        message.events.iter().map(|event| event.run_id.as_str()).collect::<Vec<_>>(),
        [second.id.as_str()]
    );
}

#[tokio::test]
async fn a_wrong_resume_token_is_the_callers_mistake() {
    let api = Api::start().await;
    let request = v1::WatchRunsRequest { resume_token: "x".to_owned(), ..Default::default() };
    let mut watch = api.runs.clone().watch_runs(request).await.expect("opens").into_inner();
    assert_eq!(watch.message().await.expect_err("is refused").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_of_a_tree_wants_its_uppermost_run() {
    let api = Api::start().await;
    let root = api.created(task()).await;
    let child = api.created(v1::NewRun { parent_run_id: root.id.clone(), ..task() }).await;
    let request = v1::WatchRunsRequest { root_run_id: child.id, until_ended: true, ..Default::default() };
    let refused = api.runs.clone().watch_runs(request).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["root_run_id"]);
    assert!(refused.message().contains(&root.id), "{}", refused.message());
}

#[tokio::test]
async fn a_repeated_create_finds_its_run_also_after_the_parent_has_ended() {
    let api = Api::start().await;
    let parent = api.created(task()).await;
    let child = v1::NewRun { parent_run_id: parent.id.clone(), idempotency_key: "k".to_owned(), ..task() };
    let first = api.created(child.clone()).await;
    let request = v1::CancelRunRequest { run_id: parent.id, ..Default::default() };
    api.runs.clone().cancel_run(request).await.expect("cancels");
    let again = api.create(child.clone()).await.expect("is found");
    assert_eq!((again.run.expect("is told").id, again.created), (first.id.clone(), false));
    let by_id = v1::NewRun { id: first.id.clone(), idempotency_key: String::new(), ..child };
    let again = api.create(by_id).await.expect("is found");
    assert_eq!((again.run.expect("is told").id, again.created), (first.id, false));
}

#[tokio::test]
async fn a_cancel_takes_the_whole_tree_and_can_be_repeated() {
    let api = Api::start().await;
    let root = api.created(task()).await;
    let mut leaves = Vec::new();
    for _ in 0..3 {
        leaves.push(api.created(v1::NewRun { parent_run_id: root.id.clone(), ..task() }).await);
    }
    let request =
        v1::CancelRunRequest { run_id: root.id.clone(), reason: "enough".into(), ..Default::default() };
    let cancelled = api.runs.clone().cancel_run(request.clone()).await.expect("cancels").into_inner();
    assert_eq!(cancelled.n_cancelled, 4);
    let again = api.runs.clone().cancel_run(request).await.expect("succeeds").into_inner();
    assert_eq!(again.n_cancelled, 0);
    let request = v1::ListRunsRequest { filter: "state = CANCELLED".into(), ..Default::default() };
    let listed = api.runs.clone().list_runs(request).await.expect("lists").into_inner().runs;
    assert_eq!(listed.len(), 4);
    let child = api.create(v1::NewRun { parent_run_id: root.id, ..task() }).await.expect_err("is refused");
    assert_eq!((child.code(), reason(&child).as_str()), (Code::FailedPrecondition, "PARENT_ENDED"));
}

#[tokio::test]
async fn pages_are_stable_while_runs_are_added() {
    let api = Api::start().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(api.created(task()).await.id);
    }
    expected.reverse();
    let mut request = v1::ListRunsRequest { page_size: 2, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = api.runs.clone().list_runs(request.clone()).await.expect("lists").into_inner();
        seen.extend(page.runs.into_iter().map(|run| run.id));
        api.created(task()).await;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_wrong_filter_is_pointed_at() {
    let api = Api::start().await;
    let request = v1::ListRunsRequest { filter: "state = DONE".into(), ..Default::default() };
    let refused = api.runs.clone().list_runs(request).await.expect_err("is refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("at column 9"), "{}", refused.message());
}

#[tokio::test]
async fn limits_are_told_and_kept() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    let size = usize::try_from(limits.max_message_payload_size_bytes).expect("fits");
    let with_payload = |size| v1::NewRun {
        parameters: Some(v1::Payload { data: vec![b'x'; size].into(), ..Default::default() }),
        ..task()
    };
    api.create(with_payload(size)).await.expect("is within the bound");
    let refused = api.create(with_payload(size + 1)).await.expect_err("is above the bound");
    assert_eq!(fields(&refused), ["run.parameters"]);
    let version =
        api.system.clone().get_version(v1::GetVersionRequest {}).await.expect("answers").into_inner();
    assert_eq!(version.store, "sqlite");
}

#[tokio::test]
async fn a_run_is_explained_in_words_and_in_fields() {
    let api = Api::start().await;
    let explain = async |run_id: &str| {
        let request = v1::ExplainRunRequest { run_id: run_id.to_owned(), ..Default::default() };
        let response = api.runs.clone().explain_run(request).await?;
        Ok::<_, tonic::Status>(response.into_inner().explanation.expect("is told"))
    };
    let run = api.created(task()).await;
    let waiting = explain(&run.id).await.expect("is there");
    // There is no task-queue in this test.
    assert!(waiting.summary.contains("task-queue does not answer"), "{}", waiting.summary);
    assert!(
        matches!(&waiting.waits[0].subject, Some(v1::wait::Subject::Handover(handover)) if !handover.cause.is_empty()),
        "{waiting:?}"
    );
    api.complete(&run, b"2").await;
    let completed = explain(&run.id).await.expect("is there");
    assert_eq!(completed.summary, "It completed with attempt 1.");
    assert_eq!(completed.waits, []);
    assert_eq!(completed.happenings.len(), 4);
    assert_eq!(completed.happenings[1].holder, "worker:w");

    let unknown = explain(&tidegate_model::RunId::new().to_string()).await.expect_err("there is none");
    assert_eq!((unknown.code(), reason(&unknown)), (Code::NotFound, "RUN_NOT_FOUND".to_owned()));
    let malformed = explain("x").await.expect_err("that is no id");
    assert_eq!(malformed.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_run_with_the_cache_key_of_a_completed_one_has_its_result() {
    let api = Api::start().await;
    let cached = |key: &str| v1::NewRun { cache_key: key.to_owned(), ..task() };
    let first = api.created(cached("k")).await;
    api.complete(&first, b"42").await;
    let second = api.created(cached("k")).await;
    assert_eq!(second.state.as_ref().expect("is told").name, "Cached");
    let request = v1::GetRunRequest { run_id: second.id, ..Default::default() };
    let second =
        api.runs.clone().get_run(request).await.expect("is there").into_inner().run.expect("is told");
    assert_eq!(second.result.expect("is there").data, "42");
    let other = api.created(cached("another")).await;
    assert_eq!(other.state.expect("is told").name, "Scheduled");
}
