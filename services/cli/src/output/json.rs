//! Field names as in the API (`proto/tidegate/v1`, snake case), enum values as filters name them (`RUNNING`,
//! `TASK`), times in RFC 3339, an unset field as null. A JSON payload is the value itself; any other is an
//! object with `encoding` and `size_bytes`, and with the `object_id` of one that was left in object storage.

use serde_json::{Value, json};
use tidegate_proto::v1::{
    CountPrecision, CountRunsResponse, Failure, LogEntry, Payload, Run, RunEvent, RunInput, RunKind, State,
};
use tidegate_sdk_core::payload;

use super::{
    deployment::policies_json,
    detail::log_level_word,
    text::{instant, state_word},
    tree::RunTree,
};

/// A run.
pub fn run_json(run: &Run) -> Value {
    // All fields by name: one that is new cannot be left out.
    let Run {
        id,
        namespace,
        kind: _,
        name,
        run_name,
        queue,
        session_id,
        parent_run_id,
        root_run_id,
        depth,
        state,
        attempt,
        epoch,
        crashes,
        retries,
        priority,
        tags,
        policies,
        created_at,
        due_at,
        started_at,
        ended_at,
        holder,
        traceparent,
        parameters,
        result,
        failure,
        event_seq,
        labels,
        deployment,
        expires_at,
        cache_key,
        concurrency_limits,
        pause_key,
        pause_expires_at,
        fairness_key,
        required_worker_labels,
        preferred_worker,
        deployment_version,
        work_pool,
        schedule,
        fire_at,
    } = run;
    json!({
        "id": id,
        "namespace": namespace,
        "kind": kind_json(run.kind()),
        "name": name,
        "run_name": run_name,
        "queue": queue,
        "session_id": session_id,
        "parent_run_id": parent_run_id,
        "root_run_id": root_run_id,
        "depth": depth,
        "state": state.as_ref().map(state_json),
        "attempt": attempt,
        "epoch": epoch,
        "crashes": crashes,
        "retries": retries,
        "priority": priority,
        "tags": tags,
        "labels": labels,
        "deployment": deployment,
        "deployment_version": deployment_version,
        "work_pool": work_pool,
        "schedule": schedule,
        "fire_at": time_json(*fire_at),
        "policies": policies.as_ref().map(policies_json),
        "cache_key": cache_key,
        "concurrency_limits": concurrency_limits,
        "fairness_key": fairness_key,
        "required_worker_labels": required_worker_labels,
        "preferred_worker": preferred_worker,
        "created_at": time_json(*created_at),
        "due_at": time_json(*due_at),
        "started_at": time_json(*started_at),
        "ended_at": time_json(*ended_at),
        "expires_at": time_json(*expires_at),
        "pause_key": pause_key,
        "pause_expires_at": time_json(*pause_expires_at),
        "holder": holder,
        "traceparent": traceparent,
        "parameters": parameters.as_ref().map(payload_json),
        "result": result.as_ref().map(payload_json),
        "failure": failure.as_ref().map(failure_json),
        "event_seq": event_seq,
    })
}

/// What a count is worth.
pub fn precision_text(precision: CountPrecision) -> &'static str {
    precision.as_str_name().trim_start_matches("COUNT_PRECISION_")
}

/// How many runs there are.
pub fn count_json(counted: &CountRunsResponse) -> Value {
    json!({
        "count": counted.count,
        "precision": precision_text(counted.precision()),
        "exact_up_to": counted.exact_up_to,
    })
}

/// A fact in a run's history.
pub fn event_json(event: &RunEvent) -> Value {
    json!({
        "run_id": event.run_id,
        "seq": event.seq,
        "state": event.state.as_ref().map(state_json),
        "attempt": event.attempt,
        "epoch": event.epoch,
        "holder": event.holder,
        "root_run_id": event.root_run_id,
        "kind": kind_json(event.kind()),
        "name": event.name,
        "ended": event.ended,
        "actor": event.actor,
    })
}

/// What a pause asks for, and what it was given.
pub fn input_json(input: &RunInput) -> Value {
    json!({
        "pause_key": input.pause_key,
        "request": input.request.as_ref().map(payload_json),
        "input": input.input.as_ref().map(payload_json),
    })
}

/// A log line.
pub fn log_json(entry: &LogEntry) -> Value {
    json!({
        "run_id": entry.run_id,
        "root_run_id": entry.root_run_id,
        "attempt": entry.attempt,
        "seq": entry.seq,
        "logged_at": time_json(entry.logged_at),
        "level": log_level_word(entry.level()),
        "logger": entry.logger,
        "message": entry.message,
        "trace_id": entry.trace_id,
        "span_id": entry.span_id,
    })
}

/// A run with the runs below it in `children`, oldest first.
pub fn tree_json(tree: &RunTree) -> Value {
    let mut value = run_json(&tree.run);
    value["children"] = tree.children.iter().map(tree_json).collect();
    value
}

pub(super) fn state_json(state: &State) -> Value {
    json!({
        "type": state_word(state.r#type()),
        "name": state.name,
        "message": state.message,
        "occurred_at": time_json(state.occurred_at),
    })
}

pub(super) fn failure_json(failure: &Failure) -> Value {
    json!({
        "error_type": failure.error_type,
        "message": failure.message,
        "traceback": failure.traceback,
        "non_retryable": failure.non_retryable,
    })
}

pub(super) fn payload_json(value: &Payload) -> Value {
    let encoding = payload::encoding(value);
    if let Some(reference) = &value.reference {
        let (size, id) = (reference.size_bytes, &reference.object_id);
        return json!({ "encoding": encoding, "size_bytes": size, "object_id": id });
    }
    let parsed = match encoding {
        payload::NULL => Some(Value::Null),
        payload::JSON => serde_json::from_slice(&value.data).ok(),
        _ => None,
    };
    parsed.unwrap_or_else(|| json!({ "encoding": encoding, "size_bytes": value.data.len() }))
}

pub(super) fn time_json(time: Option<prost_types::Timestamp>) -> Value {
    time.and_then(instant).map_or(Value::Null, |time| Value::String(format!("{time:.6}")))
}

fn kind_json(kind: RunKind) -> &'static str {
    kind.as_str_name().trim_start_matches("RUN_KIND_")
}
