use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{
    Explanation, UsedKey, Wait,
    used_key::Scope,
    wait::{self, Subject},
};

use super::{
    concurrency::rate_json,
    json::{event_json, failure_json, run_json, time_json},
    table::Table,
    text::{printable, state_text, time_text},
};

/// `run explain`: the answer, and below it what happened.
pub fn explanation_text(explanation: &Explanation) -> String {
    let run = explanation.run.clone().unwrap_or_default();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}  {}", printable(&run.run_name), state_text(run.state.as_ref()));
    let _ = writeln!(text, "{}", printable(&explanation.summary));
    if !explanation.happenings.is_empty() {
        let mut table = Table::new(&["TIME", "STATE", "BY", "WHERE", "MESSAGE"]);
        for event in &explanation.happenings {
            let state = event.state.clone().unwrap_or_default();
            table.row(vec![
                time_text(state.occurred_at),
                state_text(Some(&state)),
                printable(&event.actor),
                printable(&event.holder),
                printable(&state.message),
            ]);
        }
        let _ = write!(text, "\n{}", table.text());
    }
    text
}

/// The same for programs.
pub fn explanation_json(explanation: &Explanation) -> Value {
    json!({
        "run": explanation.run.as_ref().map(run_json),
        "summary": explanation.summary,
        "waits": explanation.waits.iter().map(wait_json).collect::<Vec<_>>(),
        "happenings": explanation.happenings.iter().map(event_json).collect::<Vec<_>>(),
        "failure": explanation.failure.as_ref().map(failure_json),
        "idempotency_key": explanation.idempotency_key.as_ref().map(key_json),
    })
}

fn key_json(key: &UsedKey) -> Value {
    let scope = match &key.scope {
        None => Value::Null,
        Some(Scope::Deployment(name)) => json!({ "deployment": name }),
        Some(Scope::ParentRunId(id)) => json!({ "parent_run_id": id }),
        Some(Scope::Flow(name)) => json!({ "flow": name }),
        Some(Scope::Task(name)) => json!({ "task": name }),
    };
    json!({
        "key": key.key,
        "scope": scope,
        "answered_calls": key.answered_calls,
        "last_answered_at": time_json(key.last_answered_at),
    })
}

fn limit_json(limit: &wait::Limit) -> Value {
    json!({
        "name": limit.name,
        "max_slots": limit.max_slots,
        "used_slots": limit.used_slots,
        "run_ids": limit.run_ids,
        "bound_by": limit.bound_by,
        "rate": limit.rate.as_ref().map(rate_json),
        "next_token_at": time_json(limit.next_token_at),
    })
}

fn wait_json(wait: &Wait) -> Value {
    match &wait.subject {
        None => Value::Null,
        Some(Subject::Time(time)) => json!({ "time": { "until": time_json(time.until) } }),
        Some(Subject::Slot(slot)) => json!({ "slot": {
            "concurrency_limits": slot.concurrency_limits,
            "limits": slot.limits.iter().map(limit_json).collect::<Vec<_>>(),
        } }),
        Some(Subject::Handover(handover)) => json!({ "handover": { "cause": handover.cause } }),
        Some(Subject::Worker(worker)) => json!({ "worker": {
            "n_ahead": worker.n_ahead,
            "n_workers": worker.n_workers,
            "n_free_slots": worker.n_free_slots,
            "n_serving": worker.n_serving,
        } }),
        Some(Subject::Start(start)) => {
            json!({ "start": {
                "holder": start.holder,
                "start_by": time_json(start.start_by),
                "hindrance": start.hindrance,
            } })
        }
        Some(Subject::Code(code)) => json!({ "code": {
            "holder": code.holder,
            "lease_left_seconds": code.lease_left.as_ref().map(|left| left.seconds),
            "deadline": time_json(code.deadline),
            "hindrance": code.hindrance,
        } }),
        Some(Subject::Resume(resume)) => json!({ "resume": {
            "key": resume.key,
            "holder": resume.holder,
            "expires_at": time_json(resume.expires_at),
        } }),
        Some(Subject::QueuePaused(paused)) => json!({ "queue_paused": {
            "queue": paused.queue,
            "paused_at": time_json(paused.paused_at),
            "paused_by": paused.paused_by,
            "reason": paused.reason,
        } }),
        Some(Subject::WorkPoolPaused(paused)) => json!({ "work_pool_paused": {
            "work_pool": paused.work_pool,
            "paused_at": time_json(paused.paused_at),
            "paused_by": paused.paused_by,
            "reason": paused.reason,
        } }),
        Some(Subject::Stop(stop)) => {
            json!({ "stop": { "holder": stop.holder, "close_at": time_json(stop.close_at) } })
        }
    }
}
