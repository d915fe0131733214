use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{
    CollisionPolicy, Deployment, DeploymentSpec, DeploymentVersion, ParentPolicy, Policies, RetryPolicy,
    RunKind,
};

use super::{
    detail::pairs,
    json::time_json,
    table::Table,
    text::{printable, time_text},
};
use crate::deploy::of_source;

/// `deployment ls`.
pub fn deployment_table(deployments: &[Deployment]) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "LABEL", "QUEUE", "TAGS", "UPDATED", "ENTRYPOINT"]);
    for deployment in deployments {
        let spec = deployment.spec.clone().unwrap_or_default();
        table.row(vec![
            printable(&deployment.name),
            deployment.version.to_string(),
            printable(&spec.version_label),
            queue(&spec).to_owned(),
            printable(&spec.tags.join(", ")),
            time_text(deployment.updated_at),
            printable(&spec.entrypoint),
        ]);
    }
    table.text()
}

/// `deployment get`: what there is to know of it.
pub fn deployment_detail(deployment: &Deployment) -> String {
    let spec = deployment.spec.clone().unwrap_or_default();
    let is_enforced = if spec.enforce_parameter_schema { "enforced" } else { "not enforced" };
    let told = |value: Value| printable(&value.to_string());
    let command = if spec.command.is_empty() { String::new() } else { told(json!(spec.command)) };
    let source = spec.source.as_ref().map(|source| told(of_source(source))).unwrap_or_default();
    let lines = [
        ("name", printable(&deployment.name)),
        ("version", deployment.version.to_string()),
        ("label", printable(&spec.version_label)),
        ("about", printable(&spec.description)),
        ("entrypoint", printable(&spec.entrypoint)),
        ("command", command),
        ("source", source),
        ("pool", printable(&spec.work_pool)),
        ("variables", printable(&spec.job_variables)),
        ("queue", queue(&spec).to_owned()),
        ("priority", if spec.priority == 0 { String::new() } else { spec.priority.to_string() }),
        ("tags", printable(&spec.tags.join(", "))),
        ("labels", printable(&pairs(&spec.labels).join(", "))),
        ("at most", bound(&spec)),
        (
            "policies",
            spec.policies.as_ref().map(|policies| policies_text(policies, RunKind::Flow)).unwrap_or_default(),
        ),
        ("defaults", printable(&spec.parameters)),
        ("schema", if spec.parameter_schema.is_empty() { String::new() } else { is_enforced.to_owned() }),
        ("created", time_text(deployment.created_at)),
        ("updated", time_text(deployment.updated_at)),
    ];
    let mut text = String::new();
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{name:<10}  {value}"); // writing to a String cannot fail
    }
    text
}

/// `deployment versions`.
pub fn version_table(versions: &[DeploymentVersion]) -> String {
    let mut table = Table::new(&["VERSION", "LABEL", "CREATED", "BY", "QUEUE", "ENTRYPOINT"]);
    for version in versions {
        let spec = version.spec.clone().unwrap_or_default();
        table.row(vec![
            version.version.to_string(),
            printable(&spec.version_label),
            time_text(version.created_at),
            printable(&version.created_by),
            queue(&spec).to_owned(),
            printable(&spec.entrypoint),
        ]);
    }
    table.text()
}

fn queue(spec: &DeploymentSpec) -> &str {
    if spec.queue.is_empty() { "default" } else { &spec.queue }
}

/// How many of its runs are held, and what becomes of the next.
fn bound(spec: &DeploymentSpec) -> String {
    let Some(most) = spec.max_concurrent_runs else { return String::new() };
    let next = match spec.on_collision() {
        CollisionPolicy::Unspecified | CollisionPolicy::Wait => "further ones wait",
        CollisionPolicy::Skip => "further ones are skipped",
        CollisionPolicy::CancelOldest => "a further one has the oldest cancelled",
        CollisionPolicy::CancelNewest => "a further one has the newest cancelled",
    };
    format!("{most} runs at once; {next}")
}

/// A deployment for programs.
pub fn deployment_json(deployment: &Deployment) -> Value {
    json!({
        "name": deployment.name,
        "spec": deployment.spec.as_ref().map(spec_json),
        "version": deployment.version,
        "etag": deployment.etag,
        "created_at": time_json(deployment.created_at),
        "updated_at": time_json(deployment.updated_at),
    })
}

/// A version for programs.
pub fn version_json(version: &DeploymentVersion) -> Value {
    json!({
        "version": version.version,
        "spec": version.spec.as_ref().map(spec_json),
        "created_at": time_json(version.created_at),
        "created_by": version.created_by,
    })
}

fn spec_json(spec: &DeploymentSpec) -> Value {
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
        on_collision: _,
        policies,
        version_label,
        work_pool,
        source,
        command,
        job_variables,
    } = spec;
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    json!({
        "description": description,
        "entrypoint": entrypoint,
        "parameters": value(parameters),
        "parameter_schema": value(parameter_schema),
        "enforce_parameter_schema": enforce_parameter_schema,
        "tags": tags,
        "labels": labels,
        "queue": queue,
        "priority": priority,
        "max_concurrent_runs": max_concurrent_runs,
        "on_collision": spec.on_collision().as_str_name().trim_start_matches("COLLISION_POLICY_"),
        "policies": policies.as_ref().map(policies_json),
        "version_label": version_label,
        "work_pool": work_pool,
        "source": source.as_ref().map(of_source),
        "command": command,
        "job_variables": value(job_variables),
    })
}

/// What a run has where nobody says otherwise, as [`policies_text`] would tell it: of a run the server gives all policies.
const DEFAULT_POLICIES: [(&str, &str); 7] = [
    ("backoff_factor", "1.0"),
    ("cancel_grace", "30s"),
    ("max_crashes", "3"),
    ("max_retries", "0"),
    ("max_retry_delay", "3600s"),
    ("parent", "CANCEL"),
    ("start_timeout", "30s"),
];

/// What policies of a run of this kind say that is not left as it is for all: `max_retries=3, run_timeout=90s`.
pub(super) fn policies_text(policies: &Policies, kind: RunKind) -> String {
    let all = policies_json(policies);
    let late_after = ("late_after", if kind == RunKind::Flow { "15s" } else { "0s" });
    let text = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::Null => return None,
            Value::Number(factor) if factor.is_f64() && factor.as_f64() == Some(0.0) => return None,
            Value::String(policy) if policy == "UNSPECIFIED" => return None,
            // That of a failure or a crash is told where it is another one.
            Value::String(policy) if key.starts_with("parent_on_") && all["parent"] == policy.as_str() => {
                return None;
            }
            Value::String(text) => text.clone(),
            Value::Array(items) if items.is_empty() => return None,
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        let said = (key.as_str(), text.as_str());
        let is_default = said == late_after || DEFAULT_POLICIES.contains(&said);
        (!is_default).then(|| printable(&format!("{key}={text}")))
    };
    all.as_object().into_iter().flatten().filter_map(text).collect::<Vec<_>>().join(", ")
}

pub(super) fn policies_json(policies: &Policies) -> Value {
    let Policies {
        retry,
        crash,
        run_timeout,
        start_timeout,
        cancel_grace,
        parent: _,
        parent_on_failure: _,
        parent_on_crash: _,
        late_after,
    } = policies;
    let RetryPolicy {
        max_retries,
        delays,
        backoff_factor,
        max_delay,
        jitter_factor,
        retry_on,
        never_retry_on,
    } = retry.clone().unwrap_or_default();
    let seconds = |span: &Option<prost_types::Duration>| span.map(|span| span.to_string());
    let parent = |policy: ParentPolicy| policy.as_str_name().trim_start_matches("PARENT_POLICY_");
    json!({
        "max_retries": retry.as_ref().map(|_| max_retries),
        "retry_delays": delays.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "backoff_factor": backoff_factor,
        "max_retry_delay": seconds(&max_delay),
        "jitter_factor": jitter_factor,
        "retry_on": retry_on,
        "never_retry_on": never_retry_on,
        "max_crashes": crash.as_ref().and_then(|crash| crash.max_crashes),
        "run_timeout": seconds(run_timeout),
        "start_timeout": seconds(start_timeout),
        "late_after": seconds(late_after),
        "cancel_grace": seconds(cancel_grace),
        "parent": parent(policies.parent()),
        "parent_on_failure": parent(policies.parent_on_failure()),
        "parent_on_crash": parent(policies.parent_on_crash()),
    })
}
