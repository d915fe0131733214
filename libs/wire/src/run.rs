use tidegate_model::{RunKind, Timestamp};
use tidegate_orchestration::{ParentPolicy, Phase, Placement, Policies, Run, State, StateName, StateType};
use tidegate_proto::v1;

use crate::{duration_to_proto, timestamp_to_proto};

/// A run without payloads.
pub fn run_to_proto(run: &Run) -> v1::Run {
    let (queue, session_id) = match &run.placement {
        Placement::Queue(queue) => (queue.to_string(), String::new()),
        Placement::Session(session) => (String::new(), session.to_string()),
    };
    let state_type = run.state.state_type();
    let pause_expires_at = match run.state.phase {
        Phase::Paused { expires_at, .. } => expires_at.map(timestamp_to_proto),
        _ => None,
    };
    v1::Run {
        id: run.id.to_string(),
        namespace: run.namespace.to_string(),
        kind: kind_to_proto(run.kind).into(),
        name: run.name.to_string(),
        run_name: run.run_name.clone(),
        queue,
        session_id,
        parent_run_id: run.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        root_run_id: run.root.to_string(),
        depth: run.depth,
        state: Some(state_to_proto(&run.state)),
        attempt: run.attempt,
        epoch: run.epoch.0,
        crashes: run.crashes,
        retries: run.retries,
        priority: run.priority,
        tags: run.tags.clone(),
        policies: Some(policies_to_proto(&run.policies)),
        created_at: Some(timestamp_to_proto(run.created_at)),
        due_at: Some(timestamp_to_proto(run.due_at)),
        started_at: run.started_at.map(timestamp_to_proto),
        ended_at: state_type.is_terminal().then(|| timestamp_to_proto(run.state.at)),
        holder: run.holder().map(ToString::to_string).unwrap_or_default(),
        traceparent: run.traceparent.clone().unwrap_or_default(),
        parameters: None,
        result: None,
        failure: None,
        event_seq: run.event_seq,
        labels: run.labels.clone().into_iter().collect(),
        deployment: run.deployment.clone().unwrap_or_default(),
        deployment_version: run.deployment_version.unwrap_or_default(),
        work_pool: run.work_pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        schedule: run.schedule.as_ref().map(ToString::to_string).unwrap_or_default(),
        fire_at: run.fire_at.map(timestamp_to_proto),
        expires_at: run.expires_at.map(timestamp_to_proto),
        cache_key: run.cache.as_ref().map(|cache| cache.key.clone()).unwrap_or_default(),
        concurrency_limits: run.concurrency_limits.clone(),
        pause_key: run.pause_key.clone().unwrap_or_default(),
        pause_expires_at,
        fairness_key: run.fairness_key.as_ref().map(ToString::to_string).unwrap_or_default(),
        required_worker_labels: run.required_labels.clone(),
        preferred_worker: run.preferred_worker.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A state.
pub fn state_to_proto(state: &State) -> v1::State {
    state_parts_to_proto(state.state_type(), state.name, &state.message, state.at)
}

/// A state from its parts, as an event has them.
pub fn state_parts_to_proto(
    state_type: StateType,
    name: StateName,
    message: &str,
    at: Timestamp,
) -> v1::State {
    v1::State {
        r#type: state_type_to_proto(state_type).into(),
        name: name.to_string(),
        message: message.to_owned(),
        occurred_at: Some(timestamp_to_proto(at)),
    }
}

/// A state's type.
pub const fn state_type_to_proto(state_type: StateType) -> v1::StateType {
    match state_type {
        StateType::Scheduled => v1::StateType::Scheduled,
        StateType::Pending => v1::StateType::Pending,
        StateType::Running => v1::StateType::Running,
        StateType::Paused => v1::StateType::Paused,
        StateType::Cancelling => v1::StateType::Cancelling,
        StateType::Completed => v1::StateType::Completed,
        StateType::Failed => v1::StateType::Failed,
        StateType::Crashed => v1::StateType::Crashed,
        StateType::Cancelled => v1::StateType::Cancelled,
    }
}

/// A state's type. `None`: unspecified, or a number that is none.
pub fn state_type_from_proto(state_type: i32) -> Option<StateType> {
    let is_it = |known: &StateType| i32::from(state_type_to_proto(*known)) == state_type;
    StateType::ALL.iter().copied().find(is_it)
}

/// A kind.
pub const fn kind_to_proto(kind: RunKind) -> v1::RunKind {
    match kind {
        RunKind::Flow => v1::RunKind::Flow,
        RunKind::Task => v1::RunKind::Task,
    }
}

/// A kind. `None`: unspecified, or a number that is none.
pub fn kind_from_proto(kind: i32) -> Option<RunKind> {
    match v1::RunKind::try_from(kind).ok()? {
        v1::RunKind::Flow => Some(RunKind::Flow),
        v1::RunKind::Task => Some(RunKind::Task),
        v1::RunKind::Unspecified => None,
    }
}

fn policies_to_proto(policies: &Policies) -> v1::Policies {
    let retry = &policies.retry;
    v1::Policies {
        retry: Some(v1::RetryPolicy {
            max_retries: retry.max_retries,
            delays: retry.delays.iter().copied().map(duration_to_proto).collect(),
            backoff_factor: retry.backoff_factor,
            max_delay: Some(duration_to_proto(retry.max_delay)),
            jitter_factor: retry.jitter_factor,
            retry_on: retry.retry_on.clone(),
            never_retry_on: retry.never_retry_on.clone(),
        }),
        crash: Some(v1::CrashPolicy { max_crashes: Some(policies.crash.max_crashes) }),
        run_timeout: policies.run_timeout.map(duration_to_proto),
        start_timeout: Some(duration_to_proto(policies.start_timeout)),
        cancel_grace: Some(duration_to_proto(policies.cancel_grace)),
        parent: parent_policy_to_proto(policies.parent.on_cancel).into(),
        parent_on_failure: parent_policy_to_proto(policies.parent.on_failure).into(),
        parent_on_crash: parent_policy_to_proto(policies.parent.on_crash).into(),
        late_after: Some(duration_to_proto(policies.late_after.unwrap_or_default())),
    }
}

const fn parent_policy_to_proto(policy: ParentPolicy) -> v1::ParentPolicy {
    match policy {
        ParentPolicy::Cancel => v1::ParentPolicy::Cancel,
        ParentPolicy::Detach => v1::ParentPolicy::Detach,
    }
}
