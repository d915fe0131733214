//! What filters may ask of schedules, work pools, workers, queues and concurrency limits. The fields are those of the
//! messages, with what is text of JSON there taken apart.

use serde_json::{Value, json};
use tidegate_filter::{
    FieldType::{Flag, Group, Map, Number, Span, Text, Time, Word},
    JsonFilter, Things,
};
use tidegate_proto::v1::{
    CatchUpPolicy, CollisionPolicy, ConcurrencyLimit, OverlapPolicy, Queue, QueuePause, Schedule,
    ScheduleSpec, WorkPool, WorkPoolSpec, WorkPoolType, Worker, WorkerEnd, schedule_spec::Timetable,
};
use tidegate_wire::duration_from_proto;

pub(crate) const SCHEDULES: Things = Things {
    one: "a schedule",
    fields: &[
        ("deployment", Text),
        ("name", Text),
        ("spec", Group),
        ("spec.cron", Text),
        ("spec.day_and", Flag),
        ("spec.interval", Span),
        ("spec.anchor", Time),
        ("spec.rrule", Text),
        ("spec.time_zone", Text),
        ("spec.start_at", Time),
        ("spec.end_at", Time),
        ("spec.jitter", Span),
        ("spec.parameters", Map),
        ("spec.catch_up", Word(&["SKIP", "LATEST", "ALL"])),
        ("spec.max_catch_up", Number),
        ("spec.catch_up_grace", Span),
        ("spec.overlap", Word(&["ALLOW", "SKIP", "QUEUE", "CANCEL_RUNNING"])),
        ("spec.tags", Text),
        ("spec.queue", Text),
        ("spec.job_variables", Map),
        ("spec.description", Text),
        ("pause", Group),
        ("pause.paused_at", Time),
        ("pause.paused_by", Text),
        ("pause.reason", Text),
        ("next_fire_at", Time),
        ("last_fire_at", Time),
        ("last_run_id", Text),
        ("missed_count", Number),
        ("last_error", Text),
        ("etag", Text),
        ("created_at", Time),
        ("updated_at", Time),
    ],
};

pub(crate) fn schedule(schedule: &Schedule, filter: &JsonFilter) -> Value {
    let pause = schedule.pause.as_ref().map(|pause| {
        json!({ "paused_at": text(pause.paused_at.as_ref()), "paused_by": pause.paused_by, "reason": pause.reason })
    });
    json!({
        "deployment": schedule.deployment,
        "name": schedule.name,
        "spec": schedule.spec.as_ref().map(|spec| schedule_spec(spec, filter)),
        "pause": pause,
        "next_fire_at": text(schedule.next_fire_at.as_ref()),
        "last_fire_at": text(schedule.last_fire_at.as_ref()),
        "last_run_id": schedule.last_run_id,
        "missed_count": schedule.missed_count,
        "last_error": schedule.last_error,
        "etag": schedule.etag,
        "created_at": text(schedule.created_at.as_ref()),
        "updated_at": text(schedule.updated_at.as_ref()),
    })
}

fn schedule_spec(spec: &ScheduleSpec, filter: &JsonFilter) -> Value {
    let catch_up = match spec.catch_up() {
        CatchUpPolicy::Unspecified | CatchUpPolicy::Skip => "SKIP",
        CatchUpPolicy::Latest => "LATEST",
        CatchUpPolicy::All => "ALL",
    };
    let overlap = match spec.overlap() {
        OverlapPolicy::Unspecified | OverlapPolicy::Allow => "ALLOW",
        OverlapPolicy::Skip => "SKIP",
        OverlapPolicy::Queue => "QUEUE",
        OverlapPolicy::CancelRunning => "CANCEL_RUNNING",
    };
    let mut told = json!({
        "cron": null, "day_and": false, "interval": null, "anchor": null, "rrule": null,
        "time_zone": if spec.time_zone.is_empty() { "UTC" } else { &spec.time_zone },
        "start_at": text(spec.start_at.as_ref()),
        "end_at": text(spec.end_at.as_ref()),
        "jitter": seconds(spec.jitter.as_ref()),
        "parameters": object("parameters", &spec.parameters, filter),
        "catch_up": catch_up,
        "max_catch_up": spec.max_catch_up,
        "catch_up_grace": seconds(spec.catch_up_grace.as_ref()),
        "overlap": overlap,
        "tags": spec.tags,
        "queue": spec.queue,
        "job_variables": object("job_variables", &spec.job_variables, filter),
        "description": spec.description,
    });
    match &spec.timetable {
        None => {}
        Some(Timetable::Cron(cron)) => {
            told["cron"] = cron.expression.as_str().into();
            told["day_and"] = cron.day_and.into();
        }
        Some(Timetable::Interval(interval)) => {
            told["interval"] = seconds(interval.every.as_ref());
            told["anchor"] = text(interval.anchor.as_ref());
        }
        Some(Timetable::Rrule(rrule)) => told["rrule"] = rrule.rule.as_str().into(),
    }
    told
}

pub(crate) const WORK_POOLS: Things = Things {
    one: "a work pool",
    fields: &[
        ("name", Text),
        ("spec", Group),
        ("spec.type", Word(&["PROCESS", "DOCKER", "KUBERNETES"])),
        ("spec.description", Text),
        ("spec.queues", Text),
        ("spec.max_slots", Number),
        ("spec.job_template", Map),
        ("spec.job_variable_schema", Map),
        ("spec.job_variables", Map),
        ("pause", Group),
        ("pause.paused_at", Time),
        ("pause.paused_by", Text),
        ("pause.reason", Text),
        ("etag", Text),
        ("created_at", Time),
        ("updated_at", Time),
    ],
};

pub(crate) fn work_pool(pool: &WorkPool, filter: &JsonFilter) -> Value {
    let none = WorkPoolSpec::default();
    let spec = pool.spec.as_ref().unwrap_or(&none);
    let job_type = match spec.r#type() {
        WorkPoolType::Unspecified => "",
        WorkPoolType::Process => "PROCESS",
        WorkPoolType::Docker => "DOCKER",
        WorkPoolType::Kubernetes => "KUBERNETES",
    };
    json!({
        "name": pool.name,
        "spec": {
            "type": job_type,
            "description": spec.description,
            "queues": spec.queues,
            "max_slots": spec.max_slots,
            "job_template": object("job_template", &spec.job_template, filter),
            "job_variable_schema": object("job_variable_schema", &spec.job_variable_schema, filter),
            "job_variables": object("job_variables", &spec.job_variables, filter),
        },
        "pause": pause(pool.pause.as_ref()),
        "etag": pool.etag,
        "created_at": text(pool.created_at.as_ref()),
        "updated_at": text(pool.updated_at.as_ref()),
    })
}

pub(crate) const WORKERS: Things = Things {
    one: "a worker",
    fields: &[
        ("id", Text),
        ("name", Text),
        ("host", Text),
        ("process_id", Number),
        ("sdk", Text),
        ("work_pool", Text),
        ("queues", Text),
        ("labels", Map),
        ("n_functions", Number),
        ("n_task_slots", Number),
        ("n_flow_slots", Number),
        ("n_free_task_slots", Number),
        ("n_free_flow_slots", Number),
        ("n_runs", Number),
        ("is_live", Flag),
        ("is_draining", Flag),
        ("end", Word(&["UNSPECIFIED", "DRAINED", "LEFT", "LOST"])),
        ("came_at", Time),
        ("last_seen_at", Time),
    ],
};

pub(crate) fn worker(worker: &Worker, _: &JsonFilter) -> Value {
    let end = match worker.end() {
        WorkerEnd::Unspecified => "UNSPECIFIED",
        WorkerEnd::Drained => "DRAINED",
        WorkerEnd::Left => "LEFT",
        WorkerEnd::Lost => "LOST",
    };
    json!({
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "process_id": worker.process_id,
        "sdk": worker.sdk,
        "work_pool": worker.work_pool,
        "queues": worker.queues,
        "labels": worker.labels,
        "n_functions": worker.n_functions,
        "n_task_slots": worker.n_task_slots,
        "n_flow_slots": worker.n_flow_slots,
        "n_free_task_slots": worker.n_free_task_slots,
        "n_free_flow_slots": worker.n_free_flow_slots,
        "n_runs": worker.n_runs,
        "is_live": worker.is_live,
        "is_draining": worker.is_draining,
        "end": end,
        "came_at": text(worker.came_at.as_ref()),
        "last_seen_at": text(worker.last_seen_at.as_ref()),
    })
}

pub(crate) const QUEUES: Things = Things {
    one: "a queue",
    fields: &[
        ("name", Text),
        ("max_slots", Number),
        ("pause", Group),
        ("pause.paused_at", Time),
        ("pause.paused_by", Text),
        ("pause.reason", Text),
        ("depth", Group),
        ("depth.ready_runs", Number),
        ("depth.delayed_runs", Number),
        ("depth.claimed_runs", Number),
        ("created_at", Time),
        ("updated_at", Time),
    ],
};

pub(crate) fn queue(queue: &Queue, _: &JsonFilter) -> Value {
    let depth = queue.depth.as_ref().map(|depth| {
        json!({
            "ready_runs": depth.ready_runs,
            "delayed_runs": depth.delayed_runs,
            "claimed_runs": depth.claimed_runs,
        })
    });
    json!({
        "name": queue.name,
        "max_slots": queue.max_slots,
        "pause": pause(queue.pause.as_ref()),
        "depth": depth,
        "created_at": text(queue.created_at.as_ref()),
        "updated_at": text(queue.updated_at.as_ref()),
    })
}

pub(crate) const LIMITS: Things = Things {
    one: "a concurrency limit",
    fields: &[
        ("name", Text),
        ("max_slots", Number),
        ("used_slots", Number),
        ("waiting_runs", Number),
        ("created_at", Time),
        ("updated_at", Time),
        ("rate", Group),
        ("rate.max_starts", Number),
        ("rate.period_seconds", Number),
        ("rate.burst", Number),
        ("free_tokens", Number),
        ("next_token_at", Time),
        ("on_collision", Word(&["WAIT", "SKIP", "CANCEL_OLDEST", "CANCEL_NEWEST"])),
        ("template", Text),
    ],
};

pub(crate) fn limit(limit: &ConcurrencyLimit, _: &JsonFilter) -> Value {
    let rate = limit.rate.as_ref().map(|rate| {
        let period = rate.period.as_ref().and_then(duration_from_proto).unwrap_or_default();
        json!({ "max_starts": rate.max_starts, "period_seconds": period.as_secs_f64(), "burst": rate.burst })
    });
    let on_collision = match limit.on_collision() {
        CollisionPolicy::Unspecified | CollisionPolicy::Wait => "WAIT",
        CollisionPolicy::Skip => "SKIP",
        CollisionPolicy::CancelOldest => "CANCEL_OLDEST",
        CollisionPolicy::CancelNewest => "CANCEL_NEWEST",
    };
    json!({
        "name": limit.name,
        "max_slots": limit.max_slots,
        "used_slots": limit.used_slots,
        "waiting_runs": limit.waiting_runs,
        "created_at": text(limit.created_at.as_ref()),
        "updated_at": text(limit.updated_at.as_ref()),
        "rate": rate,
        "free_tokens": limit.free_tokens,
        "next_token_at": text(limit.next_token_at.as_ref()),
        "on_collision": on_collision,
        "template": limit.template,
    })
}

fn pause(pause: Option<&QueuePause>) -> Value {
    pause.map_or(Value::Null, |pause| {
        json!({ "paused_at": text(pause.paused_at.as_ref()), "paused_by": pause.paused_by, "reason": pause.reason })
    })
}

/// A time in RFC 3339.
fn text(value: Option<&impl std::fmt::Display>) -> Value {
    value.map_or(Value::Null, |value| value.to_string().into())
}

fn seconds(span: Option<&prost_types::Duration>) -> Value {
    span.and_then(duration_from_proto).map_or(Value::Null, |span| span.as_secs_f64().into())
}

/// A JSON object that travels as text. It may be large, and is taken apart only where something is asked of it.
fn object(field: &str, text: &str, filter: &JsonFilter) -> Value {
    if filter.asks(field) { serde_json::from_str(text).unwrap_or_default() } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use tidegate_proto::v1::{QueueDepth, RateLimit, SchedulePause};

    use super::*;

    /// The fields of a thing that has all of them.
    fn fields(thing: &Value, below: &str, found: &mut BTreeSet<String>) {
        for (key, value) in thing.as_object().into_iter().flatten() {
            let name = format!("{below}{key}");
            fields(value, &format!("{name}."), found);
            found.insert(name);
        }
    }

    /// The fields of a message, by the contract.
    fn of_message(name: &str) -> BTreeSet<String> {
        let set =
            prost_types::FileDescriptorSet::decode(tidegate_proto::FILE_DESCRIPTOR_SET).expect("is one");
        let messages = set.file.into_iter().filter(|file| file.package() == "tidegate.v1");
        let mut messages = messages.flat_map(|file| file.message_type);
        let message = messages.find(|message| message.name() == name).expect("is there");
        message.field.iter().map(|field| field.name().to_owned()).collect()
    }

    #[test]
    fn a_filter_may_ask_for_what_there_is_and_for_nothing_else() {
        let pause = Some(QueuePause::default());
        let schedule_pause = Some(SchedulePause::default());
        let spec = Some(ScheduleSpec::default());
        let whole_schedule = Schedule { spec, pause: schedule_pause, ..Schedule::default() };
        let depth = Some(QueueDepth::default());
        let whole_queue = Queue { pause: pause.clone(), depth, ..Queue::default() };
        let whole_limit =
            ConcurrencyLimit { rate: Some(RateLimit::default()), ..ConcurrencyLimit::default() };
        let all = |things: &'static Things| {
            JsonFilter::parse_of(things, "", tidegate_model::Timestamp::UNIX_EPOCH).expect("is one")
        };
        let whole_pool = WorkPool { pause, ..WorkPool::default() };
        for (things, told, messages) in [
            (&SCHEDULES, schedule(&whole_schedule, &all(&SCHEDULES)), ("Schedule", "ScheduleSpec")),
            (&WORK_POOLS, work_pool(&whole_pool, &all(&WORK_POOLS)), ("WorkPool", "WorkPoolSpec")),
            (&WORKERS, worker(&Worker::default(), &all(&WORKERS)), ("Worker", "")),
            (&QUEUES, queue(&whole_queue, &all(&QUEUES)), ("Queue", "")),
            (&LIMITS, limit(&whole_limit, &all(&LIMITS)), ("ConcurrencyLimit", "")),
        ] {
            let mut found = BTreeSet::new();
            fields(&told, "", &mut found);
            let named: BTreeSet<_> = things.fields.iter().map(|(field, _)| (*field).to_owned()).collect();
            assert_eq!(found, named, "{}", things.one);
            // A new field of the message is to be added.
            let (message, spec) = messages;
            for field in of_message(message) {
                assert!(named.contains(&field), "{message}.{field}");
            }
            for field in if spec.is_empty() { BTreeSet::new() } else { of_message(spec) } {
                assert!(named.contains(&format!("spec.{field}")), "{spec}.{field}");
            }
        }
    }
}
