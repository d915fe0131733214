//! Snapshots of what people and programs see.

use jiff::Timestamp;
use serde_json::json;
use tidegate_proto::v1::{
    CollisionPolicy, ConcurrencyLimit, ConcurrencySlot, CountPrecision, CountRunsResponse, CrashPolicy,
    Explanation, Failure, LogEntry, LogLevel, ParentPolicy, Payload, PayloadReference, Policies, RateLimit,
    RetryPolicy, Run, RunEvent, RunInput, RunKind, State, StateType, Wait,
    wait::{self, Subject},
};
use tidegate_sdk_core::payload;

use super::*;

const NOW: i64 = 1_800_000_100;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn at(second: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_800_000_000 + second, nanos: 250_000_000 })
}

fn state(r#type: StateType, name: &str, message: &str, second: i64) -> Option<State> {
    Some(State { r#type: r#type.into(), name: name.into(), message: message.into(), occurred_at: at(second) })
}

fn id(n: u32) -> String {
    format!("0190b6a4-7d3c-7e1f-8a2b-{n:012}")
}

fn flow() -> Run {
    Run {
        id: id(1),
        namespace: "default".into(),
        kind: RunKind::Flow.into(),
        name: "inventory".into(),
        run_name: "inventory of tidegate".into(),
        queue: "default".into(),
        root_run_id: id(1),
        state: state(StateType::Running, "Running", "", 3),
        attempt: 2,
        epoch: 4,
        crashes: 1,
        tags: vec!["demo".into(), "night\u{1b}ly".into()],
        created_at: at(0),
        due_at: at(0),
        started_at: at(3),
        holder: "host-1-7f".into(),
        parameters: Some(payload::json(r#"{"root":"/src"}"#)),
        event_seq: 7,
        ..Run::default()
    }
}

fn policies() -> Policies {
    let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let retry = RetryPolicy {
        max_retries: 3,
        delays: vec![span(10), span(20)],
        never_retry_on: vec!["ValueError".into()],
        ..RetryPolicy::default()
    };
    Policies {
        retry: Some(retry),
        crash: Some(CrashPolicy { max_crashes: Some(0) }),
        run_timeout: Some(span(90)),
        parent: ParentPolicy::Cancel.into(),
        parent_on_failure: ParentPolicy::Cancel.into(),
        parent_on_crash: ParentPolicy::Detach.into(),
        ..Policies::default()
    }
}

fn child(n: u32, parent: u32, name: &str, r#type: StateType) -> Run {
    let ended = !matches!(r#type, StateType::Running | StateType::Scheduled);
    Run {
        id: id(n),
        kind: RunKind::Task.into(),
        name: name.into(),
        run_name: format!("{name}-{n:012}"),
        queue: "default".into(),
        parent_run_id: id(parent),
        root_run_id: id(1),
        depth: 1,
        state: state(r#type, "", "", 5),
        attempt: 1,
        crashes: u32::from(n.is_multiple_of(5)),
        created_at: at(4),
        started_at: if r#type == StateType::Scheduled { None } else { at(4) },
        ended_at: if ended { at(5) } else { None },
        ..Run::default()
    }
}

fn tree() -> RunTree {
    let mut runs = vec![flow(), child(2, 1, "inventory_folder", StateType::Running)];
    runs.push(child(3, 1, "inventory_folder", StateType::Scheduled));
    runs.extend((10..30).map(|n| child(n, 2, "file_facts", StateType::Completed)));
    runs.extend((30..33).map(|n| child(n, 2, "file_facts", StateType::Running)));
    runs.push(child(40, 2, "summary", StateType::Failed));
    runs.reverse(); // the order of a list: newest first
    RunTree::of(&id(1), runs).unwrap()
}

fn events() -> Vec<RunEvent> {
    let event = |seq, state, holder: &str| RunEvent {
        run_id: id(1),
        seq,
        state,
        attempt: u32::from(seq > 1),
        epoch: seq / 2,
        holder: holder.into(),
        root_run_id: id(1),
        kind: RunKind::Flow.into(),
        name: "inventory".into(),
        ended: false,
        actor: String::new(),
    };
    vec![
        event(1, state(StateType::Scheduled, "Scheduled", "", 0), ""),
        event(
            2,
            state(StateType::Crashed, "Crashed", "lease lost: worker host-1-7e was silent for 5s", 2),
            "host-1-7e",
        ),
    ]
}

#[test]
fn a_list_of_runs() {
    let runs = [
        flow(),
        child(2, 1, "file_facts", StateType::Completed),
        child(3, 1, "file_facts", StateType::Scheduled),
    ];
    insta::assert_snapshot!(run_table(&runs, now()));
}

#[test]
fn a_run_in_detail() {
    insta::assert_snapshot!(run_detail(&flow(), &events(), now()));
}

#[test]
fn a_failed_run_in_detail() {
    let failure = Failure {
        error_type: "ValueError".into(),
        message: "no lines".into(),
        traceback: "Traceback (most recent call last):\n  File \"x.py\", line 3\nValueError: no lines".into(),
        non_retryable: false,
    };
    let failed = state(StateType::Failed, "Failed", "ValueError: no lines", 9);
    let run = Run { state: failed, failure: Some(failure), ended_at: at(9), ..flow() };
    insta::assert_snapshot!(run_detail(&run, &[], now()));
}

#[test]
fn a_run_as_json() {
    let run = Run { result: Some(payload::encoded(payload::PICKLE, "xyz")), ..flow() };
    insta::assert_snapshot!(format!("{:#}", run_json(&run)));
}

#[test]
fn what_a_run_is_bound_to_and_waits_for_is_shown() {
    let run = Run {
        state: state(StateType::Paused, "Paused", "", 7),
        labels: [("team".to_owned(), "ml".to_owned()), ("tier".to_owned(), String::new())].into(),
        deployment: "inventory/nightly".into(),
        cache_key: "inventory-7".into(),
        concurrency_limits: vec!["db".into(), "gpu".into()],
        fairness_key: "customer-7".into(),
        required_worker_labels: [("gpu".to_owned(), "true".to_owned())].into(),
        preferred_worker: "host-1:4711".into(),
        expires_at: at(60),
        pause_key: "approve".into(),
        pause_expires_at: at(90),
        work_pool: "site".into(),
        schedule: "night\u{1b}ly".into(),
        fire_at: at(-30),
        policies: Some(policies()),
        ..flow()
    };
    insta::assert_snapshot!(run_detail(&run, &[], now()));
    let value = run_json(&run);
    let names = [
        "labels",
        "deployment",
        "cache_key",
        "concurrency_limits",
        "fairness_key",
        "required_worker_labels",
        "preferred_worker",
        "expires_at",
        "pause_key",
        "pause_expires_at",
        "work_pool",
        "schedule",
        "fire_at",
    ];
    let shown: serde_json::Map<_, _> =
        names.map(|name| (name.to_owned(), value[name].clone())).into_iter().collect();
    insta::assert_snapshot!(serde_json::Value::Object(shown));
    assert_eq!(value["policies"]["max_retries"], 3);
}

#[test]
fn policies_that_are_as_they_are_for_all_are_not_shown() {
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    // As the server gives them of a run that was started without any.
    let filled = |max_retries, late_after| Policies {
        retry: Some(RetryPolicy {
            max_retries,
            backoff_factor: 1.0,
            max_delay: span(3_600),
            ..RetryPolicy::default()
        }),
        crash: Some(CrashPolicy { max_crashes: Some(3) }),
        run_timeout: None,
        start_timeout: span(30),
        cancel_grace: span(30),
        parent: ParentPolicy::Cancel.into(),
        parent_on_failure: ParentPolicy::Cancel.into(),
        parent_on_crash: ParentPolicy::Cancel.into(),
        late_after: span(late_after),
    };
    for (kind, late_after) in [(RunKind::Flow, 15), (RunKind::Task, 0)] {
        let run = |policies| Run { policies, kind: kind.into(), ..flow() };
        let detail = |policies| run_detail(&run(policies), &[], now());
        assert_eq!(detail(Some(filled(0, late_after))), detail(None));
        let retried = detail(Some(filled(2, late_after)));
        assert!(retried.contains("\npolicies    max_retries=2\n"), "{retried}");
        assert!(detail(Some(filled(0, 60))).contains("\npolicies    late_after=60s\n"));
    }
}

#[test]
fn a_value_that_was_left_in_object_storage_is_shown_by_its_reference() {
    let reference = PayloadReference { object_id: id(9), size_bytes: 5 << 20, ..Default::default() };
    let left = Payload { reference: Some(reference), ..payload::json("") };
    let run = Run { result: Some(left.clone()), ..flow() };
    let detail = run_detail(&run, &[], now());
    insta::assert_snapshot!(detail.lines().last().unwrap());
    insta::assert_snapshot!(run_json(&run)["result"]);
    let input = RunInput {
        pause_key: "approve".into(),
        request: Some(payload::json("\"sure?\"")),
        input: Some(left),
    };
    insta::assert_snapshot!(input_table(std::slice::from_ref(&input)));
    insta::assert_snapshot!(input_json(&input));
}

#[test]
fn a_tree() {
    insta::assert_snapshot!(tree_text(&tree(), false, now()));
}

#[test]
fn a_tree_in_full() {
    insta::assert_snapshot!(tree_text(&tree(), true, now()));
}

#[test]
fn a_tree_as_json_is_nested() {
    let tree = tree_json(&tree());
    assert_eq!(tree["children"][0]["children"].as_array().unwrap().len(), 24);
    assert_eq!(tree["children"][1]["children"], json!([]));
}

#[test]
fn events_and_log_lines() {
    let entry = LogEntry {
        run_id: id(2),
        root_run_id: id(1),
        attempt: 1,
        seq: 1,
        logged_at: at(4),
        level: LogLevel::Info.into(),
        logger: "inventory".into(),
        message: "read 3 files".into(),
        trace_id: String::new(),
        span_id: String::new(),
    };
    let lines: Vec<_> =
        events().iter().map(event_line).chain([log_line(&entry, false), log_line(&entry, true)]).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let values: Vec<_> = events().iter().map(event_json).chain([log_json(&entry)]).collect();
    insta::assert_snapshot!(format!("{:#}", json!(values)));
}

#[test]
fn an_explanation() {
    let explanation = Explanation {
        run: Some(flow()),
        summary: "Attempt 1 runs in worker `w-1` since 10:00, for 3 s.".into(),
        waits: vec![
            Wait {
                subject: Some(Subject::Code(wait::Code {
                    holder: "worker:w-1".into(),
                    ..Default::default()
                })),
            },
            Wait { subject: Some(Subject::Slot(slot_wait())) },
        ],
        happenings: events(),
        failure: None,
        idempotency_key: None,
    };
    insta::assert_snapshot!(explanation_text(&explanation));
    insta::assert_snapshot!(format!("{:#}", explanation_json(&explanation)["waits"]));
}

#[test]
fn counts() {
    let counted = |count, precision: CountPrecision| CountRunsResponse {
        count,
        precision: precision.into(),
        exact_up_to: 10_000,
    };
    let counts = [
        counted(7, CountPrecision::Exact),
        counted(1_234_567, CountPrecision::Estimated),
        counted(10_001, CountPrecision::AtLeast),
    ];
    insta::assert_snapshot!(counts.iter().map(count_text).collect::<String>());
    insta::assert_snapshot!(format!("{:#}", json!(counts.iter().map(count_json).collect::<Vec<_>>())));
}

fn slot_wait() -> wait::Slot {
    let limit = |name: &str, max_slots, run_ids: Vec<String>| wait::Limit {
        name: name.into(),
        max_slots,
        used_slots: run_ids.len() as u64,
        run_ids,
        ..Default::default()
    };
    wait::Slot {
        concurrency_limits: vec!["db".into(), "gpu".into()],
        limits: vec![limit("db", Some(1), vec![id(2)]), limit("gpu", None, Vec::new())],
    }
}

#[test]
fn concurrency_limits() {
    let limit = |name: &str, max_slots, used_slots, waiting_runs| ConcurrencyLimit {
        name: name.into(),
        max_slots,
        used_slots,
        waiting_runs,
        created_at: at(0),
        updated_at: at(9),
        ..Default::default()
    };
    let rate = |burst| RateLimit {
        max_starts: 10,
        period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        burst,
    };
    let limits = [
        limit("db", Some(3), 3, 27),
        limit("night\u{1b}ly", Some(0), 0, 0),
        ConcurrencyLimit {
            rate: Some(rate(20)),
            free_tokens: Some(0),
            next_token_at: at(10),
            ..limit("api", None, 7, 400)
        },
        ConcurrencyLimit {
            rate: Some(rate(10)),
            on_collision: CollisionPolicy::CancelOldest.into(),
            ..limit("customer=*", Some(2), 5, 6)
        },
    ];
    insta::assert_snapshot!(limit_table(&limits));
    let slots = [2, 3].map(|n| ConcurrencySlot {
        run_id: id(n),
        acquired_at: at(i64::from(n)),
        limit: "db".into(),
        ..Default::default()
    });
    insta::assert_snapshot!(limit_detail(&limits[0], &slots, now()));
    let of_template =
        ConcurrencyLimit { name: "customer=a".into(), template: "customer=*".into(), ..limits[2].clone() };
    insta::assert_snapshot!(limit_detail(&of_template, &[], now()));
    let mut value = limit_json(&limits[0]);
    value["slots"] = slots.iter().map(slot_json).collect();
    insta::assert_snapshot!(format!("{value:#}"));
    let of_code =
        ConcurrencySlot { run_id: String::new(), owner_id: id(4), slot_count: 2, ..slots[0].clone() };
    insta::assert_snapshot!(limit_detail(&limits[0], &[of_code], now()));
}

#[test]
fn queues() {
    use tidegate_proto::v1::{GetQueueResponse, Queue, QueueDepth, QueuePause, QueueWorkers};

    let depth = QueueDepth { ready_runs: 12, delayed_runs: 3, claimed_runs: 1 };
    let pause = QueuePause { paused_at: at(5), paused_by: "ada".into(), reason: "full\u{1b} disk".into() };
    let plain = Queue { name: "default".into(), depth: Some(depth), ..Queue::default() };
    let paused = Queue {
        name: "gpu".into(),
        max_slots: Some(2),
        pause: Some(pause),
        created_at: at(0),
        updated_at: at(9),
        ..Queue::default()
    };
    insta::assert_snapshot!(queue_table(&[plain.clone(), paused.clone()]));
    let found = GetQueueResponse {
        queue: Some(plain),
        waiting_runs: 10_001,
        waiting_precision: CountPrecision::AtLeast.into(),
        awaiting_slot_runs: 0,
        held_runs: 4,
        workers: Some(QueueWorkers { n_workers: 2, n_free_task_slots: 16, n_free_flow_slots: 100 }),
    };
    insta::assert_snapshot!(queue_detail(&found));
    insta::assert_snapshot!(queue_detail(&GetQueueResponse { workers: None, ..found.clone() }));
    let uncounted =
        GetQueueResponse { waiting_precision: CountPrecision::Unspecified.into(), ..found.clone() };
    assert!(queue_detail(&uncounted).contains("\nan unknown number of runs wait, 0 of them for a slot"));
    assert!(queue_detail_json(&uncounted)["waiting_runs"].is_null());
    let shown = [queue_json(&paused), queue_detail_json(&found)];
    insta::assert_snapshot!(format!("{:#}", json!(shown)));
}

#[test]
fn deployments() {
    use tidegate_proto::v1::{Deployment, DeploymentSpec, DeploymentVersion, GitSource, Source, source};

    let spec = DeploymentSpec {
        description: "Loads\nwhat came".into(),
        entrypoint: "flows.py:etl".into(),
        parameters: r#"{"n":1}"#.into(),
        parameter_schema: r#"{"type":"object"}"#.into(),
        enforce_parameter_schema: true,
        tags: vec!["etl".into(), "eu\u{1b}".into()],
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        queue: "large".into(),
        priority: 7,
        max_concurrent_runs: Some(2),
        on_collision: CollisionPolicy::Skip.into(),
        policies: Some(Policies { run_timeout: policies().run_timeout, ..Policies::default() }),
        version_label: "v1.4".into(),
        ..DeploymentSpec::default()
    };
    let nightly = Deployment {
        name: "etl/nightly".into(),
        spec: Some(spec.clone()),
        version: 3,
        etag: "3-5".into(),
        created_at: at(0),
        updated_at: at(9),
    };
    let plain = Deployment { name: "report/weekly".into(), spec: None, version: 1, ..nightly.clone() };
    insta::assert_snapshot!(deployment_table(&[nightly.clone(), plain.clone()]));
    insta::assert_snapshot!(deployment_detail(&nightly));
    insta::assert_snapshot!(deployment_detail(&plain));
    let versions = [
        DeploymentVersion { version: 3, spec: Some(spec), created_at: at(9), created_by: "ada".into() },
        DeploymentVersion { version: 2, spec: None, created_at: at(5), created_by: String::new() },
    ];
    insta::assert_snapshot!(version_table(&versions));
    let shown = [deployment_json(&nightly), version_json(&versions[1])];
    insta::assert_snapshot!(format!("{:#}", json!(shown)));
    let git =
        GitSource { url: "https://example.org/etl".into(), r#ref: "main".into(), ..GitSource::default() };
    let of_pool = DeploymentSpec {
        command: vec!["make".into(), "re\u{1b}port".into()],
        work_pool: "site".into(),
        source: Some(Source { source: Some(source::Source::Git(git)) }),
        job_variables: r#"{"env":{"A":"1"}}"#.into(),
        policies: Some(policies()),
        ..DeploymentSpec::default()
    };
    insta::assert_snapshot!(deployment_detail(&Deployment { spec: Some(of_pool), ..plain }));
}

#[test]
fn artifacts() {
    use tidegate_proto::v1::{Artifact, ArtifactType};

    let progress = Artifact {
        id: "0190b6a4-7d3c-7e1f-8a2b-000000000001".into(),
        namespace: "default".into(),
        r#type: ArtifactType::Progress.into(),
        progress: Some(62.5),
        description: "import\u{1b}\nof today".into(),
        created_at: at(1),
        updated_at: at(9),
        ..Artifact::default()
    };
    let report = Artifact {
        id: "0190b6a4-7d3c-7e1f-8a2b-000000000002".into(),
        key: "daily-report".into(),
        version: 3,
        r#type: ArtifactType::Markdown.into(),
        description: String::new(),
        progress: None,
        labels: [("team".into(), "ml".into())].into(),
        data: Some(payload::json("\"# Report\\n\\nall\\u001b well\"")),
        run_id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
        root_run_id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
        ..progress.clone()
    };
    let link = Artifact {
        r#type: ArtifactType::Link.into(),
        data: Some(payload::json("{\"link\":\"https://example.com\"}")),
        ..report.clone()
    };
    insta::assert_snapshot!(artifact_table(&[progress.clone(), report.clone()]));
    insta::assert_snapshot!(artifact_detail(&progress));
    insta::assert_snapshot!(artifact_detail(&report));
    insta::assert_snapshot!(artifact_detail(&link));
    let shown = [artifact_json(&progress), artifact_json(&link)];
    insta::assert_snapshot!(format!("{:#}", json!(shown)));
}

#[test]
fn variables() {
    use tidegate_proto::v1::Variable;

    let variable = Variable {
        name: "regions".into(),
        value_json: "[\"eu\", 2.5]".into(),
        tags: vec!["prod".into(), "geo".into()],
        description: "where we\u{1b} are".into(),
        etag: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
        created_at: at(1),
        updated_at: at(9),
    };
    let long = Variable { name: "long".into(), value_json: "1".repeat(80), ..Variable::default() };
    insta::assert_snapshot!(variable_table(&[variable.clone(), long]));
    insta::assert_snapshot!(format!("{:#}", variable_json(&variable)));
}

#[test]
fn automations() {
    use tidegate_proto::v1::{Automation, Firing, RunTrigger, Webhook, automation::Action};

    let trigger = RunTrigger {
        states: vec![StateType::Failed.into(), StateType::Crashed.into()],
        state_names: vec!["Late".into()],
        filter: "tags:\"nightly\"".into(),
        each_attempt: true,
    };
    let webhook = Webhook {
        url: "https://hooks.example.com/page".into(),
        headers: [("Authorization".into(), String::new()), ("X-Team".into(), String::new())].into(),
        signing_secret: "whsec_".into(),
        timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
    };
    let page_me = Automation {
        name: "page-me".into(),
        description: "wakes\u{1b} Ada".into(),
        trigger: Some(trigger),
        action: Some(Action::Webhook(webhook)),
        is_paused: true,
        n_succeeded: 7,
        n_given_up: 1,
        last_error: "the server answered 503".into(),
        last_succeeded_at: at(5),
        etag: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
        created_at: at(1),
        updated_at: at(9),
    };
    let plain = Automation {
        name: "plain".into(),
        trigger: Some(RunTrigger { states: vec![StateType::Completed.into()], ..RunTrigger::default() }),
        action: Some(Action::Webhook(Webhook { url: "https://a.example".into(), ..Webhook::default() })),
        ..Automation::default()
    };
    insta::assert_snapshot!(automation_table(&[page_me.clone(), plain.clone()]));
    insta::assert_snapshot!(automation_detail(&page_me));
    insta::assert_snapshot!(automation_detail(&plain));
    insta::assert_snapshot!(format!("{:#}", automation_json(&page_me)));
    let due = Firing {
        run_id: id(1),
        event_seq: 4,
        state: state(StateType::Crashed, "Crashed", "lease lost", 2),
        n_tries: 2,
        last_error: "the server answered 503".into(),
        due_at: at(30),
        given_up_at: None,
    };
    let late = state(StateType::Scheduled, "Late", "", 3);
    let given_up = Firing { run_id: id(2), state: late, due_at: None, given_up_at: at(40), ..due.clone() };
    insta::assert_snapshot!(firing_table(&[due.clone(), given_up]));
    insta::assert_snapshot!(format!("{:#}", firing_json(&due)));
}
