use tidegate_engine::{Explanation, KeyFacts, KeyScope, SlotFacts, Wait};
use tidegate_model::RunKind;
use tidegate_proto::v1::{self, used_key::Scope, wait::Subject};
use tidegate_wire::{duration_to_proto, failure_to_proto, run_to_proto, timestamp_to_proto};

use crate::{concurrency_service::rate_to_proto, convert::event_to_proto};

/// An explanation to the wire.
pub(crate) fn explanation_to_proto(explanation: &Explanation) -> v1::Explanation {
    v1::Explanation {
        run: Some(run_to_proto(&explanation.run)),
        summary: explanation.summary.clone(),
        waits: explanation.waits.iter().map(wait_to_proto).collect(),
        happenings: explanation.happenings.iter().map(event_to_proto).collect(),
        failure: explanation.failure.as_ref().map(failure_to_proto),
        idempotency_key: explanation.key.as_ref().map(key_to_proto),
    }
}

fn key_to_proto(key: &KeyFacts) -> v1::UsedKey {
    let scope = match &key.scope {
        KeyScope::Deployment(deployment) => Some(Scope::Deployment(deployment.clone())),
        KeyScope::Parent(parent) => Some(Scope::ParentRunId(parent.to_string())),
        KeyScope::Function(RunKind::Flow, name) => Some(Scope::Flow(name.to_string())),
        KeyScope::Function(RunKind::Task, name) => Some(Scope::Task(name.to_string())),
        // No caller gives these.
        KeyScope::Schedule(_) => None,
    };
    v1::UsedKey {
        key: key.key.clone(),
        scope,
        answered_calls: key.n_answers,
        last_answered_at: key.answered_at.map(timestamp_to_proto),
    }
}

fn wait_to_proto(wait: &Wait) -> v1::Wait {
    let subject = match wait {
        Wait::Time { until } => Subject::Time(v1::wait::Time { until: Some(timestamp_to_proto(*until)) }),
        Wait::Queue { queue, pause } => Subject::QueuePaused(v1::wait::QueuePaused {
            queue: queue.to_string(),
            paused_at: Some(timestamp_to_proto(pause.at)),
            paused_by: pause.by.clone().unwrap_or_default(),
            reason: pause.reason.clone(),
        }),
        Wait::WorkPool { work_pool, pause } => Subject::WorkPoolPaused(v1::wait::WorkPoolPaused {
            work_pool: work_pool.to_string(),
            paused_at: Some(timestamp_to_proto(pause.at)),
            paused_by: pause.by.clone().unwrap_or_default(),
            reason: pause.reason.clone(),
        }),
        Wait::Slot { limits } => Subject::Slot(v1::wait::Slot {
            concurrency_limits: limits.iter().map(|limit| limit.name.clone()).collect(),
            limits: limits.iter().map(limit_to_proto).collect(),
        }),
        Wait::Handover { cause } => {
            Subject::Handover(v1::wait::Handover { cause: cause.clone().unwrap_or_default() })
        }
        Wait::Worker { n_ahead, n_workers, n_free_slots, n_serving } => Subject::Worker(v1::wait::Worker {
            n_ahead: *n_ahead,
            n_workers: *n_workers,
            n_free_slots: *n_free_slots,
            n_serving: *n_serving,
        }),
        Wait::Start { holder, start_by, hindrance } => Subject::Start(v1::wait::Start {
            holder: holder.to_string(),
            start_by: start_by.map(timestamp_to_proto),
            hindrance: hindrance.clone(),
        }),
        Wait::Code { holder, lease_left, deadline, hindrance } => Subject::Code(v1::wait::Code {
            holder: holder.to_string(),
            lease_left: lease_left.map(duration_to_proto),
            deadline: deadline.map(timestamp_to_proto),
            hindrance: hindrance.clone(),
        }),
        Wait::Resume { key, holder, expires_at } => Subject::Resume(v1::wait::Resume {
            key: key.clone().unwrap_or_default(),
            holder: holder.as_ref().map(ToString::to_string).unwrap_or_default(),
            expires_at: expires_at.map(timestamp_to_proto),
        }),
        Wait::Stop { holder, close_at } => Subject::Stop(v1::wait::Stop {
            holder: holder.to_string(),
            close_at: Some(timestamp_to_proto(*close_at)),
        }),
    };
    v1::Wait { subject: Some(subject) }
}

fn limit_to_proto(limit: &SlotFacts) -> v1::wait::Limit {
    v1::wait::Limit {
        name: limit.name.clone(),
        max_slots: limit.max_slots,
        used_slots: limit.n_used,
        run_ids: limit.owners.iter().map(ToString::to_string).collect(),
        bound_by: limit.bound_by.clone().unwrap_or_default(),
        rate: limit.rate.map(rate_to_proto),
        next_token_at: limit.next_token_at.map(timestamp_to_proto),
    }
}
