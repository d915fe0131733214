//! What a deployment or a schedule says, in the words of the file: what is compared, and shown.

use std::{collections::BTreeMap, fmt::Display};

use serde_json::{Value as Json, json};
use tidegate_proto::v1::{
    CatchUpPolicy, CollisionPolicy, DeploymentSpec, OverlapPolicy, ParentPolicy, Policies, RetryPolicy,
    ScheduleSpec, Source, schedule_spec::Timetable, source,
};

use super::{
    schedule::{CATCH_UPS, OVERLAPS},
    spec::COLLISIONS,
};

/// Keys of the file with their values. What says nothing, or what is so anyway, is not in it.
pub type Fields = BTreeMap<&'static str, Json>;

/// A deployment.
pub fn of_deployment(spec: &DeploymentSpec) -> Fields {
    // All fields by name: one that is new cannot be left out.
    let DeploymentSpec {
        description,
        entrypoint,
        parameters,
        parameter_schema,
        enforce_parameter_schema,
        tags,
        labels,
        queue,
        priority,
        max_concurrent_runs,
        on_collision,
        policies,
        version_label,
        work_pool,
        source,
        command,
        job_variables,
    } = spec;
    let collision = CollisionPolicy::try_from(*on_collision).unwrap_or_default();
    let mut fields = Fields::from([
        ("description", json!(description)),
        ("entrypoint", json!(entrypoint)),
        ("parameters", object(parameters)),
        ("parameter_schema", object(parameter_schema)),
        ("enforce_parameter_schema", json!(enforce_parameter_schema)),
        ("tags", json!(tags)),
        ("labels", json!(labels)),
        ("queue", if queue == "default" { Json::Null } else { json!(queue) }),
        ("priority", if *priority == 0 { Json::Null } else { json!(priority) }),
        ("concurrency.limit", json!(max_concurrent_runs)),
        ("concurrency.on_collision", word(&COLLISIONS, collision, CollisionPolicy::Wait)),
        ("version", json!(version_label)),
        ("work_pool", json!(work_pool)),
        ("source", source.as_ref().map_or(Json::Null, of_source)),
        ("command", json!(command)),
        ("job_variables", object(job_variables)),
    ]);
    fields.extend(of_policies(policies.clone().unwrap_or_default()));
    without_empty(fields)
}

/// A schedule.
pub fn of_schedule(spec: &ScheduleSpec) -> Fields {
    let ScheduleSpec {
        timetable,
        time_zone,
        start_at,
        end_at,
        jitter,
        parameters,
        catch_up,
        max_catch_up,
        catch_up_grace,
        overlap,
        tags,
        queue,
        job_variables,
        description,
    } = spec;
    let catch_up = CatchUpPolicy::try_from(*catch_up).unwrap_or_default();
    let overlap = OverlapPolicy::try_from(*overlap).unwrap_or_default();
    let mut fields = Fields::from([
        ("time_zone", if time_zone == "UTC" { Json::Null } else { json!(time_zone) }),
        ("start_at", text(start_at.as_ref())),
        ("end_at", text(end_at.as_ref())),
        ("jitter", text(jitter.as_ref())),
        ("parameters", object(parameters)),
        ("catch_up", word(&CATCH_UPS, catch_up, CatchUpPolicy::Skip)),
        ("max_catch_up", if *max_catch_up == 0 { Json::Null } else { json!(max_catch_up) }),
        ("catch_up_grace", text(catch_up_grace.as_ref())),
        ("overlap", word(&OVERLAPS, overlap, OverlapPolicy::Allow)),
        ("tags", json!(tags)),
        ("queue", json!(queue)),
        ("job_variables", object(job_variables)),
        ("description", json!(description)),
    ]);
    match timetable {
        None => {}
        Some(Timetable::Cron(cron)) => {
            fields.insert("cron", json!(cron.expression));
            fields.insert("day_and", json!(cron.day_and));
        }
        Some(Timetable::Interval(interval)) => {
            fields.insert("interval", text(interval.every.as_ref()));
            fields.insert("anchor", text(interval.anchor.as_ref()));
        }
        Some(Timetable::Rrule(rrule)) => drop(fields.insert("rrule", json!(rrule.rule))),
    }
    without_empty(fields)
}

fn of_policies(policies: Policies) -> Fields {
    let Policies {
        retry,
        crash,
        run_timeout,
        start_timeout,
        cancel_grace,
        parent,
        parent_on_failure,
        parent_on_crash,
        late_after,
    } = policies;
    let parent_word = |policy: i32| match ParentPolicy::try_from(policy) {
        Ok(ParentPolicy::Cancel) => json!("cancel"),
        Ok(ParentPolicy::Detach) => json!("detach"),
        _ => Json::Null,
    };
    let mut fields = Fields::from([
        ("policies.max_crashes", json!(crash.and_then(|crash| crash.max_crashes))),
        ("policies.run_timeout", text(run_timeout.as_ref())),
        ("policies.start_timeout", text(start_timeout.as_ref())),
        ("policies.cancel_grace", text(cancel_grace.as_ref())),
        ("policies.parent", parent_word(parent)),
        ("policies.parent_on_failure", parent_word(parent_on_failure)),
        ("policies.parent_on_crash", parent_word(parent_on_crash)),
        ("policies.late_after", text(late_after.as_ref())),
    ]);
    let Some(retry) = retry else { return fields };
    let RetryPolicy {
        max_retries,
        delays,
        backoff_factor,
        max_delay,
        jitter_factor,
        retry_on,
        never_retry_on,
    } = retry;
    let factor = |factor: f64| if factor == 0.0 { Json::Null } else { json!(factor) };
    fields.extend([
        // None is said too: a run has no retry then, whatever its flow says.
        ("policies.retries", json!(max_retries)),
        ("policies.retry_delay", delays.iter().map(|delay| text(Some(delay))).collect()),
        ("policies.retry_backoff_factor", factor(backoff_factor)),
        ("policies.retry_max_delay", text(max_delay.as_ref())),
        ("policies.retry_jitter", factor(jitter_factor)),
        ("policies.retry_on", json!(retry_on)),
        ("policies.never_retry_on", json!(never_retry_on)),
    ]);
    fields
}

pub fn of_source(source: &Source) -> Json {
    let with = |pairs: &[(&str, &str)]| {
        let said = pairs.iter().filter(|(_, text)| !text.is_empty());
        Json::Object(said.map(|(key, text)| ((*key).to_owned(), json!(text))).collect())
    };
    match &source.source {
        None => Json::Null,
        Some(source::Source::Path(path)) => with(&[("path", path)]),
        Some(source::Source::Image(image)) => with(&[("image", image)]),
        Some(source::Source::Git(git)) => with(&[
            ("git", &git.url),
            ("ref", &git.r#ref),
            ("directory", &git.directory),
            ("token_secret", &git.token_secret),
        ]),
        Some(source::Source::Archive(archive)) => {
            with(&[("archive", &archive.url), ("sha256", &archive.sha256), ("directory", &archive.directory)])
        }
    }
}

/// A JSON object that travels as text. What is none is shown as the text that it is.
fn object(text: &str) -> Json {
    if text.is_empty() { Json::Null } else { serde_json::from_str(text).unwrap_or_else(|_| json!(text)) }
}

fn text(value: Option<&impl Display>) -> Json {
    value.map_or(Json::Null, |value| json!(value.to_string()))
}

fn word<E: Copy + PartialEq>(words: &[(&str, E)], value: E, usual: E) -> Json {
    let found = words.iter().find(|(_, known)| *known == value && value != usual);
    found.map_or(Json::Null, |(word, _)| json!(word))
}

fn without_empty(mut fields: Fields) -> Fields {
    fields.retain(|_, value| match value {
        Json::Null | Json::Bool(false) => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(object) => !object.is_empty(),
        _ => true,
    });
    fields
}
