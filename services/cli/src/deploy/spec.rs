//! A deployment of the file as the API has it.

use std::{collections::HashSet, ops::Range, path::Path};

use serde_json::Value as Json;
use tidegate_model::{DeploymentName, limits};
use tidegate_proto::v1::{
    ArchiveSource, CollisionPolicy, CrashPolicy, DeploymentSpec, GitSource, ParentPolicy, Policies,
    RetryPolicy, Source, source,
};
use tidegate_schema::Schemas;
use tidegate_sdk_core::WantedSchedule;
use tidegate_wire::Violations;

use super::{reader::Reader, schedule};

/// What the file says of one deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// `flow/deployment`.
    pub name: String,
    /// What its runs have in common.
    pub spec: DeploymentSpec,
    /// Its schedules, by the order of the file.
    pub schedules: Vec<WantedSchedule>,
    /// Where its work pool is named.
    pub work_pool_at: Range<usize>,
}

/// Where the fields that a check names are in the file: the field, the table (empty: the deployment itself), the key.
const KEYS: &[(&str, &str, &str)] = &[
    ("description", "", "description"),
    ("entrypoint", "", "entrypoint"),
    ("parameters", "", "parameters"),
    ("parameter_schema", "", "parameter_schema"),
    ("enforce_parameter_schema", "", "enforce_parameter_schema"),
    ("tags", "", "tags"),
    ("labels", "", "labels"),
    ("queue", "", "queue"),
    ("priority", "", "priority"),
    ("version_label", "", "version"),
    ("work_pool", "", "work_pool"),
    ("source", "", "source"),
    ("command", "", "command"),
    ("job_variables", "", "job_variables"),
    ("max_concurrent_runs", "concurrency", "limit"),
    ("on_collision", "concurrency", "on_collision"),
    ("policies.retry.max_retries", "policies", "retries"),
    ("policies.retry.delays", "policies", "retry_delay"),
    ("policies.retry.backoff_factor", "policies", "retry_backoff_factor"),
    ("policies.retry.max_delay", "policies", "retry_max_delay"),
    ("policies.retry.jitter_factor", "policies", "retry_jitter"),
    ("policies.retry.retry_on", "policies", "retry_on"),
    ("policies.retry.never_retry_on", "policies", "never_retry_on"),
    ("policies.crash.max_crashes", "policies", "max_crashes"),
    ("policies.run_timeout", "policies", "run_timeout"),
    ("policies.start_timeout", "policies", "start_timeout"),
    ("policies.cancel_grace", "policies", "cancel_grace"),
    ("policies.late_after", "policies", "late_after"),
    ("policies.parent_on_failure", "policies", "parent_on_failure"),
    ("policies.parent_on_crash", "policies", "parent_on_crash"),
    ("policies.parent", "policies", "parent"),
];

/// Reads one deployment. `folder` is that of the file.
pub fn read(reader: Reader<'_>, folder: &Path) -> Option<Wanted> {
    let flow = reader.required_text("flow", "\"etl\"");
    let name = reader.required_text("name", "\"nightly\"");
    let mut spec = read_spec(&reader, folder);
    spec.entrypoint = reader.text_or_empty("entrypoint");
    spec.command = reader.texts("command").unwrap_or_default();
    check(&reader, &spec);

    let tables = reader.array("schedule", "[[deployment.schedule]]");
    let mut schedules = Vec::new();
    let mut names = HashSet::new();
    for (table, at) in tables {
        let read = schedule::read(reader.below("a schedule", table, at.clone()));
        let Some((schedule, name_at)) = read else { continue };
        if !names.insert(schedule.name.clone()) {
            let message =
                format!("another schedule of this deployment has the name {:?}: choose one", schedule.name);
            reader.fault_at(name_at, message);
        }
        check_parameters(&reader.below("a schedule", table, at), &spec, &schedule);
        schedules.push(schedule);
    }
    if schedules.len() > limits::MAX_SCHEDULES {
        let (n_found, most) = (schedules.len(), limits::MAX_SCHEDULES);
        reader.fault("schedule", format!("there are {n_found} schedules; a deployment has at most {most}"));
    }

    let name = deployment_name(&reader, &flow?, &name?);
    let work_pool_at = reader.place("work_pool");
    reader.finish();
    Some(Wanted { name: name?, spec, schedules, work_pool_at })
}

/// Reads what a deployment may have, and `[defaults]` too.
pub fn read_spec(reader: &Reader<'_>, folder: &Path) -> DeploymentSpec {
    let concurrency = reader.table("concurrency", "`concurrency`", false);
    let (mut max_concurrent_runs, mut on_collision) = (None, 0);
    if let Some(concurrency) = concurrency {
        max_concurrent_runs = concurrency.integer("limit", 0, limits::MAX_CONCURRENCY_SLOTS.into());
        on_collision = concurrency.choice("on_collision", &COLLISIONS);
        concurrency.finish();
    }
    DeploymentSpec {
        description: reader.text_or_empty("description"),
        entrypoint: String::new(),
        parameters: reader.json("parameters"),
        parameter_schema: schema(reader, folder),
        enforce_parameter_schema: reader.flag("enforce_parameter_schema").unwrap_or_default(),
        tags: reader.texts("tags").unwrap_or_default(),
        labels: reader.labels("labels"),
        queue: reader.text_or_empty("queue"),
        priority: reader.integer("priority", -100, 100).unwrap_or_default(),
        max_concurrent_runs,
        on_collision,
        policies: reader.table("policies", "`policies`", true).map(policies),
        version_label: reader.text_or_empty("version"),
        work_pool: reader.text_or_empty("work_pool"),
        source: reader.table("source", "`source`", false).and_then(source),
        command: Vec::new(),
        job_variables: reader.json("job_variables"),
    }
}

fn deployment_name(reader: &Reader<'_>, flow: &str, name: &str) -> Option<String> {
    if name.contains('/') {
        reader.fault(
            "name",
            format!("{name:?} has a `/`: give the flow in `flow`, and here only its deployment's name"),
        );
        return None;
    }
    let full = format!("{flow}/{name}");
    if let Err(error) = full.parse::<DeploymentName>() {
        reader.fault("name", error.to_string());
        return None;
    }
    Some(full)
}

/// A schema as a table, or in a file of its own.
fn schema(reader: &Reader<'_>, folder: &Path) -> String {
    const KEY: &str = "parameter_schema";
    if !reader.is_text(KEY) {
        return reader.json(KEY);
    }
    let path = folder.join(reader.text_or_empty(KEY));
    let read = crate::deploy::read_text(&path, limits::MAX_DEPLOYMENT_JSON_SIZE);
    let parsed =
        read.and_then(|text| serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}")));
    match parsed {
        Ok(Json::Object(schema)) => return Json::Object(schema).to_string(),
        Ok(_) => reader
            .fault(KEY, format!("{} is no JSON object, such as {{\"type\": \"object\"}}", path.display())),
        Err(error) => reader.fault(KEY, format!("{} {error}", path.display())),
    }
    String::new()
}

fn policies(reader: Reader<'_>) -> Policies {
    let parents = [("cancel", ParentPolicy::Cancel), ("detach", ParentPolicy::Detach)];
    let retry = RetryPolicy {
        max_retries: reader.integer("retries", 0, 10_000).unwrap_or_default(),
        delays: reader.spans("retry_delay"),
        backoff_factor: reader.number("retry_backoff_factor").unwrap_or_default(),
        max_delay: reader.span("retry_max_delay"),
        jitter_factor: reader.number("retry_jitter").unwrap_or_default(),
        retry_on: reader.texts("retry_on").unwrap_or_default(),
        never_retry_on: reader.texts("never_retry_on").unwrap_or_default(),
    };
    let max_crashes: Option<u32> = reader.integer("max_crashes", 0, 1_000);
    // `retries = 0` is said too: a run then has no retry, whatever its flow says.
    let has_retry = reader.has("retries") || retry != RetryPolicy::default();
    let policies = Policies {
        retry: has_retry.then_some(retry),
        crash: max_crashes.map(|max_crashes| CrashPolicy { max_crashes: Some(max_crashes) }),
        run_timeout: reader.span("run_timeout"),
        start_timeout: reader.span("start_timeout"),
        cancel_grace: reader.span("cancel_grace"),
        parent: reader.choice("parent", &parents),
        parent_on_failure: reader.choice("parent_on_failure", &parents),
        parent_on_crash: reader.choice("parent_on_crash", &parents),
        late_after: reader.span("late_after"),
    };
    reader.finish();
    policies
}

fn source(reader: Reader<'_>) -> Option<Source> {
    let [git, path, archive, image] = ["git", "path", "archive", "image"].map(|key| reader.text(key));
    let n_said = [&git, &path, &archive, &image].into_iter().flatten().count();
    if n_said != 1 {
        reader.fault("", "`source` must have one of `git`, `path`, `archive`, `image`");
    }
    let directory = || reader.text_or_empty("directory");
    let source = if let Some(url) = git {
        let (r#ref, token_secret) = (reader.text_or_empty("ref"), reader.text_or_empty("token_secret"));
        Some(source::Source::Git(GitSource { url, r#ref, directory: directory(), token_secret }))
    } else if let Some(url) = archive {
        let sha256 = reader.text_or_empty("sha256");
        Some(source::Source::Archive(ArchiveSource { url, sha256, directory: directory() }))
    } else {
        path.map(source::Source::Path).or(image.map(source::Source::Image))
    };
    reader.finish();
    source.map(|source| Source { source: Some(source) })
}

/// Notes what the server would refuse, by the same checks.
fn check(reader: &Reader<'_>, spec: &DeploymentSpec) {
    let mut violations = Violations::default();
    tidegate_wire::check_spec(spec, &mut violations);
    check_schema(spec, &mut violations);
    for violation in violations.into_vec() {
        let found = KEYS.iter().find(|(field, ..)| violation.field.starts_with(field));
        let (table, key) = found.map_or(("", ""), |(_, table, key)| (*table, *key));
        let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
        let rest =
            found.and_then(|(field, ..)| violation.field.strip_prefix(field)).unwrap_or(&violation.field);
        reader.fault_at(reader.place_in(table, key), format!("`{path}{rest}`: {}", violation.description));
    }
}

fn check_schema(spec: &DeploymentSpec, violations: &mut Violations) {
    if spec.parameter_schema.is_empty() {
        return;
    }
    let defaults =
        serde_json::from_str(&spec.parameters).unwrap_or_else(|_| Json::Object(serde_json::Map::new()));
    match tidegate_schema::check_defaults(&spec.parameter_schema, &defaults) {
        Ok(faults) => {
            for fault in faults {
                violations.add(&format!("parameters{}", fault.path), fault.message);
            }
        }
        // It may be shown all the same.
        Err(error) if error.is_too_much() && !spec.enforce_parameter_schema => {}
        Err(error) => violations.add("parameter_schema", error.to_string()),
    }
}

/// Notes what of a schedule's parameters, over those of its deployment, its runs would be refused for.
fn check_parameters(reader: &Reader<'_>, spec: &DeploymentSpec, schedule: &WantedSchedule) {
    if !spec.enforce_parameter_schema || spec.parameter_schema.is_empty() {
        return;
    }
    let object = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap_or_default();
    let mut parameters = object(&spec.parameters);
    parameters.extend(object(&schedule.spec.parameters));
    // What is wrong with the schema itself is told of the deployment.
    let checked = Schemas::new(1).check(&spec.parameter_schema, &Json::Object(parameters));
    for fault in checked.unwrap_or_default() {
        let at = reader.place("parameters");
        reader.fault_at(at, format!("`parameters{}`: {}", fault.path, fault.message));
    }
}

/// What becomes of a run that finds no slot.
pub const COLLISIONS: [(&str, CollisionPolicy); 4] = [
    ("wait", CollisionPolicy::Wait),
    ("skip", CollisionPolicy::Skip),
    ("cancel_oldest", CollisionPolicy::CancelOldest),
    ("cancel_newest", CollisionPolicy::CancelNewest),
];
