//! Every published bound holds to the unit: what is at it passes, what is one above it is refused with the field, its
//! measure and the bound.

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{Api, fields, payload, reason, task};
use prost::bytes::Bytes;
use tidegate_proto::v1::{self, NewRun};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

struct Bound {
    field: &'static str,
    /// As `GetLimits` publishes it.
    most: usize,
    /// A run that measures so much there.
    run: fn(usize) -> NewRun,
}

/// `n` texts, none like another.
fn words(n: usize) -> Vec<String> {
    (0..n).map(|idx| format!("w{idx}")).collect()
}

fn labels(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().collect()
}

fn retry(policy: v1::RetryPolicy) -> NewRun {
    NewRun { policies: Some(v1::Policies { retry: Some(policy), ..Default::default() }), ..task() }
}

/// Parameters with this metadata.
fn described(metadata: impl IntoIterator<Item = (String, Bytes)>) -> NewRun {
    let metadata = metadata.into_iter().collect();
    NewRun { parameters: Some(v1::Payload { metadata, ..payload(b"1") }), ..task() }
}

fn bounds(limits: &v1::GetLimitsResponse) -> Vec<Bound> {
    let bound = |field, most: u32, run| Bound { field, most: usize::try_from(most).expect("fits"), run };
    vec![
        bound("run.name", limits.max_name_size_bytes, |size| NewRun { name: "n".repeat(size), ..task() }),
        bound("run.run_name", limits.max_name_size_bytes, |size| NewRun {
            run_name: "n".repeat(size),
            ..task()
        }),
        bound("run.tags", limits.max_tags, |n| NewRun { tags: words(n), ..task() }),
        bound("run.tags[0]", limits.max_tag_size_bytes, |size| NewRun {
            tags: vec!["t".repeat(size)],
            ..task()
        }),
        bound("run.labels", limits.max_labels, |n| NewRun {
            labels: labels(words(n).into_iter().map(|word| (word, String::new()))),
            ..task()
        }),
        bound("run.labels", limits.max_label_key_size_bytes, |size| NewRun {
            labels: labels([("k".repeat(size), String::new())]),
            ..task()
        }),
        bound("run.labels[k]", limits.max_label_value_size_bytes, |size| NewRun {
            labels: labels([("k".to_owned(), "v".repeat(size))]),
            ..task()
        }),
        bound("run.fairness_key", limits.max_fairness_key_size_bytes, |size| NewRun {
            fairness_key: "f".repeat(size),
            ..task()
        }),
        bound("run.required_worker_labels", limits.max_required_worker_labels, |n| NewRun {
            required_worker_labels: labels(words(n).into_iter().map(|word| (word, String::new()))),
            ..task()
        }),
        bound("run.required_worker_labels", limits.max_label_key_size_bytes, |size| NewRun {
            required_worker_labels: labels([("k".repeat(size), String::new())]),
            ..task()
        }),
        bound("run.required_worker_labels[k]", limits.max_label_value_size_bytes, |size| NewRun {
            required_worker_labels: labels([("k".to_owned(), "v".repeat(size))]),
            ..task()
        }),
        bound("run.concurrency_limits", limits.max_concurrency_limits, |n| NewRun {
            concurrency_limits: words(n),
            ..task()
        }),
        bound("run.cache_key", limits.max_cache_key_size_bytes, |size| NewRun {
            cache_key: "c".repeat(size),
            ..task()
        }),
        bound("run.idempotency_key", limits.max_idempotency_key_size_bytes, |size| NewRun {
            idempotency_key: "i".repeat(size),
            ..task()
        }),
        bound("run.concurrency_limits[0]", limits.max_concurrency_limit_size_bytes, |size| NewRun {
            concurrency_limits: vec!["l".repeat(size)],
            ..task()
        }),
        bound("run.parameters", limits.max_payload_metadata_entries, |n| {
            described(words(n).into_iter().map(|word| (word, Bytes::new())))
        }),
        bound("run.parameters", limits.max_payload_metadata_key_size_bytes, |size| {
            described([("k".repeat(size), Bytes::new())])
        }),
        bound("run.parameters", limits.max_payload_metadata_value_size_bytes, |size| {
            described([("k".to_owned(), vec![b'v'; size].into())])
        }),
        bound("run.policies.retry.retry_on", limits.max_error_types, |n| {
            retry(v1::RetryPolicy { retry_on: words(n), ..Default::default() })
        }),
        bound("run.policies.retry.never_retry_on", limits.max_error_types, |n| {
            retry(v1::RetryPolicy { never_retry_on: words(n), ..Default::default() })
        }),
    ]
}

async fn published(api: &Api) -> v1::GetLimitsResponse {
    api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner()
}

/// What an error says of each field.
fn descriptions(status: &Status) -> HashMap<String, String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

#[tokio::test]
async fn each_field_of_a_run_takes_what_is_at_its_bound_and_no_more() {
    let api = Api::start().await;
    for Bound { field, most, run } in bounds(&published(&api).await) {
        api.create(run(most)).await.unwrap_or_else(|status| panic!("{most} of {field}: {status:?}"));
        let refused = api.create(run(most + 1)).await.expect_err(field);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert_eq!(fields(&refused), [field], "{refused:?}");
        let description = &descriptions(&refused)[field];
        assert!(description.contains(&most.to_string()), "{field} does not name its bound: {description}");
    }
}

#[tokio::test]
async fn what_is_said_of_a_run_has_bounds() {
    let api = Api::start().await;
    let limits = published(&api).await;
    let run_id = api.created(task()).await.id;
    let most = usize::try_from(limits.max_reason_size_bytes).expect("fits");
    let pause = async |size| {
        let request =
            v1::PauseRunRequest { run_id: run_id.clone(), reason: "r".repeat(size), ..Default::default() };
        api.runs.clone().pause_run(request).await
    };
    pause(most).await.expect("is at the bound");
    assert_eq!(fields(&pause(most + 1).await.expect_err("is above it")), ["reason"]);

    let most = usize::try_from(limits.max_pause_key_size_bytes).expect("fits");
    let resume = async |size| {
        let pause_key = "k".repeat(size);
        let request = v1::ResumeRunRequest { run_id: run_id.clone(), pause_key, ..Default::default() };
        api.runs.clone().resume_run(request).await.expect_err("is at no pause of its code")
    };
    assert_eq!(resume(most).await.code(), Code::FailedPrecondition);
    assert_eq!(fields(&resume(most + 1).await), ["pause_key"]);
}

#[tokio::test]
async fn a_concurrency_limit_has_bounds() {
    let api = Api::start().await;
    let limits = published(&api).await;
    let put = async |name: String, max_slots| {
        let request =
            v1::PutConcurrencyLimitRequest { name, max_slots: Some(max_slots), ..Default::default() };
        api.concurrency.clone().put_concurrency_limit(request).await
    };
    let longest = "l".repeat(usize::try_from(limits.max_concurrency_limit_size_bytes).expect("fits"));
    put(longest.clone(), limits.max_concurrency_slots).await.expect("is at both bounds");
    let refused = put(longest.clone(), limits.max_concurrency_slots + 1).await.expect_err("is above one");
    assert_eq!(fields(&refused), ["max_slots"], "{refused:?}");
    let refused = put(longest + "l", 1).await.expect_err("is above the other");
    assert_eq!(fields(&refused), ["name"], "{refused:?}");
}

#[tokio::test]
async fn a_batch_has_a_bound() {
    let api = Api::start().await;
    let most = usize::try_from(published(&api).await.max_batch_size).expect("fits");
    let create = async |n| {
        let request = v1::CreateRunsRequest { runs: vec![task(); n], ..Default::default() };
        api.runs.clone().create_runs(request).await
    };
    let outcomes = create(most).await.expect("is at the bound").into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| outcome.created));
    for n in [0, most + 1] {
        let refused = create(n).await.expect_err("is out of bounds");
        assert_eq!(fields(&refused), ["runs"]);
        assert!(refused.message().contains(&format!("{n} runs; 1 to {most}")), "{refused:?}");
    }
}

#[tokio::test]
async fn an_id_has_a_latest_time() {
    let api = Api::start().await;
    let ahead = published(&api).await.max_id_ahead.expect("is published");
    let ahead = u64::try_from(ahead.seconds).expect("is positive");
    let now = uuid::Uuid::now_v7();
    let (seconds, nanos) = now.get_timestamp().expect("has a time").to_unix();
    let id_at = |seconds| {
        let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos);
        uuid::Uuid::new_v7(time).to_string()
    };
    for seconds in [seconds - 400 * 86_400, seconds + ahead - 3_600] {
        let run = api.created(NewRun { id: id_at(seconds), ..task() }).await;
        assert_eq!(run.id, id_at(seconds)[..13].to_owned() + &run.id[13..]);
    }
    let refused =
        api.create(NewRun { id: id_at(seconds + ahead + 3_600), ..task() }).await.expect_err("is ahead");
    assert_eq!(fields(&refused), ["run.id"], "{refused:?}");
    let description = &descriptions(&refused)["run.id"];
    assert!(description.contains("set the clock of the machine"), "{description}");
}

#[tokio::test]
async fn a_tree_has_a_deepest_level() {
    let api = Api::start().await;
    let deepest = published(&api).await.max_tree_depth;
    let mut run = api.created(task()).await;
    for depth in 1..=deepest {
        run = api.created(NewRun { parent_run_id: run.id, ..task() }).await;
        assert_eq!(run.depth, depth);
    }
    let refused = api.create(NewRun { parent_run_id: run.id, ..task() }).await.expect_err("is too deep");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "TREE_TOO_DEEP"),
        "{refused:?}"
    );
    assert!(refused.message().contains(&deepest.to_string()), "{refused:?}");
}

#[tokio::test]
async fn a_message_has_a_bound() {
    let api = Api::start().await;
    let most = usize::try_from(published(&api).await.max_message_size_bytes).expect("fits");
    let part = vec![b'x'; 512 << 10];
    let n_parts = most / part.len() + 1;
    let runs = (0..n_parts)
        .map(|_| NewRun {
            parameters: Some(v1::Payload { data: part.clone().into(), ..payload(b"") }),
            ..task()
        })
        .collect();
    let refused = api.runs.clone().create_runs(v1::CreateRunsRequest { runs, ..Default::default() }).await;
    let refused = refused.expect_err("is too large");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
        "{refused:?}"
    );
    assert!(refused.message().contains(&most.to_string()), "{refused:?}");
}
