//! What a worker of a pool is to start for a run: from its pool, its deployment and what the caller says.

use prost::Message as _;
use serde_json::{Map, Value};
use tidegate_engine::EngineError;
use tidegate_model::limits;
use tidegate_proto::v1::{self, new_run::Placement};
use tidegate_schema::{Schemas, jobs::JobType};
use tidegate_store::WorkPool;
use tidegate_wire::Violations;

/// A run of a deployment with a work pool.
pub(crate) struct Asked<'a> {
    /// As it was asked for.
    pub new: &'a v1::NewRun,
    /// What its deployment says.
    pub deployment: &'a v1::DeploymentSpec,
    pub schemas: &'a Schemas,
}

impl Asked<'_> {
    /// The job; `merged`, the run with what its deployment says, gets a queue of the pool. `None`: something was noted.
    pub(crate) fn job(
        &self,
        pool: &WorkPool,
        merged: &mut v1::NewRun,
        violations: &mut Violations,
    ) -> Result<Option<v1::Job>, EngineError> {
        let spec = pool_spec_of(&pool.spec)?;
        let queues = queues_of(pool.key.name.as_str(), &spec);
        let asked = match &self.new.placement {
            Some(Placement::Queue(queue)) => Some(queue),
            // Not for a deployment's run: that is noted where placements are.
            Some(Placement::SessionId(_)) => return Ok(None),
            None => None,
        };
        let queue = match asked {
            Some(asked) if !queues.contains(asked) => {
                violations.add("queue", not_of_pool(asked, pool, &queues));
                return Ok(None);
            }
            Some(asked) => asked,
            None if queues.contains(&self.deployment.queue) => &self.deployment.queue,
            None => &queues[0],
        };
        merged.placement = Some(Placement::Queue(queue.clone()));
        let mut variables = Map::new();
        for (text, whose) in [
            (&spec.job_variables, "those of the work pool"),
            (&self.deployment.job_variables, "those of the deployment"),
            (&self.new.job_variables, ""),
        ] {
            match object(text) {
                Ok(more) => put_over(&mut variables, more),
                Err(fault) if whose.is_empty() => violations.add("job_variables", fault),
                Err(fault) => violations.add("job_variables", format!("{whose} {fault}")),
            }
        }
        let variables = Value::Object(variables);
        check_variables("job_variables", &variables, &spec, self.schemas, violations);
        let job_variables = variables.to_string();
        if job_variables.len() > limits::MAX_JOB_JSON_SIZE {
            let (size, most) = (job_variables.len(), limits::MAX_JOB_JSON_SIZE);
            violations.add(
                "job_variables",
                format!(
                    "have {size} bytes with those of deployment and work pool; at most {most} are allowed"
                ),
            );
        }
        Ok(violations.is_empty().then(|| v1::Job {
            work_pool: pool.key.name.to_string(),
            entrypoint: self.deployment.entrypoint.clone(),
            command: self.deployment.command.clone(),
            source: self.deployment.source.clone(),
            job_variables,
        }))
    }
}

/// Puts job variables over those of before. Of one that is an object there and here, such as `env`, each key goes over that of
/// before, and one that is null takes it away; all else is replaced as a whole.
fn put_over(variables: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        let Value::Object(entries) = value else {
            variables.insert(name, value);
            continue;
        };
        let before = variables.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if !before.is_object() {
            *before = Value::Object(Map::new());
        }
        let Value::Object(before) = before else { continue };
        for (key, value) in entries {
            if value.is_null() {
                before.remove(&key);
            } else {
                before.insert(key, value);
            }
        }
    }
}

/// Notes what of a deployment does not fit its pool.
///
/// # Errors
/// What is stored of the pool cannot be read.
pub fn check_deployment(
    deployment: &v1::DeploymentSpec,
    pool: &WorkPool,
    schemas: &Schemas,
    violations: &mut Violations,
) -> Result<(), EngineError> {
    let spec = pool_spec_of(&pool.spec)?;
    let is_image = |source: &v1::Source| matches!(source.source, Some(v1::source::Source::Image(_)));
    if spec.r#type() == v1::WorkPoolType::Process && deployment.source.as_ref().is_some_and(is_image) {
        violations.add(
            "source.image",
            format!(
                "is set, and work pool `{}` starts processes, which need no image: set path, git or archive",
                pool.key.name
            ),
        );
    }
    let own = match object(&deployment.job_variables) {
        Ok(own) => own,
        Err(fault) => {
            violations.add("job_variables", fault);
            return Ok(());
        }
    };
    let mut variables = object(&spec.job_variables).unwrap_or_default();
    put_over(&mut variables, own);
    let variables = Value::Object(variables);
    // What is missing may come with the run.
    match tidegate_schema::check_defaults(variable_schema(&spec), &variables) {
        Ok(faults) => note(faults, "job_variables", violations),
        Err(_) => check_variables("job_variables", &variables, &spec, schemas, violations),
    }
    Ok(())
}

/// Notes what is wrong with the specification of a pool.
pub fn check_pool(spec: &v1::WorkPoolSpec, violations: &mut Violations) {
    let Some(_) = job_type(spec) else {
        let known = "WORK_POOL_TYPE_PROCESS, WORK_POOL_TYPE_DOCKER or WORK_POOL_TYPE_KUBERNETES";
        violations.add("type", format!("is not set, or unknown to this version: {known} is required"));
        return;
    };
    for (field, text, most) in [
        ("description", &spec.description, limits::MAX_WORK_POOL_DESCRIPTION_SIZE),
        ("job_template", &spec.job_template, limits::MAX_JOB_JSON_SIZE),
        ("job_variable_schema", &spec.job_variable_schema, limits::MAX_JOB_JSON_SIZE),
        ("job_variables", &spec.job_variables, limits::MAX_JOB_JSON_SIZE),
    ] {
        if text.len() > most {
            violations.add(field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
    }
    violations.count("queues", spec.queues.len(), limits::MAX_WORK_POOL_QUEUES);
    for (queue_idx, queue) in spec.queues.iter().enumerate() {
        let field = format!("queues[{queue_idx}]");
        violations.parse::<tidegate_model::QueueName>(&field, queue);
        if spec.queues[..queue_idx].contains(queue) {
            violations.add(&field, format!("`{queue}` is there before: name each queue once"));
        }
    }
    if let Some(n) = spec.max_slots.filter(|n| *n > limits::MAX_CONCURRENCY_SLOTS) {
        let most = limits::MAX_CONCURRENCY_SLOTS;
        violations.add("max_slots", format!("{n} is more than {most}, the most slots of a work pool"));
    }
    if !violations.is_empty() {
        return;
    }
    match object(&spec.job_variables) {
        Err(fault) => violations.add("job_variables", fault),
        Ok(variables) => {
            match tidegate_schema::check_defaults(variable_schema(spec), &Value::Object(variables)) {
                Ok(faults) => note(faults, "job_variables", violations),
                Err(error) => violations.add("job_variable_schema", error.to_string()),
            }
        }
    }
    check_template(spec, violations);
}

/// A template is a JSON object, whose placeholders are variables of the schema.
fn check_template(spec: &v1::WorkPoolSpec, violations: &mut Violations) {
    if spec.job_template.is_empty() {
        return;
    }
    if spec.r#type() == v1::WorkPoolType::Process {
        return violations
            .add("job_template", "is set for processes, which are started without one: leave it out");
    }
    if let Err(fault) = object(&spec.job_template) {
        return violations.add("job_template", fault);
    }
    let schema: Value = serde_json::from_str(variable_schema(spec)).unwrap_or_default();
    match tidegate_schema::jobs::placeholders(&spec.job_template) {
        Err(fault) => violations.add("job_template", fault),
        Ok(names) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let is_known = |name: &str| known.is_none_or(|known| known.contains_key(name));
            if let Some(name) = names.into_iter().find(|name| !is_known(name)) {
                let known: Vec<_> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                violations.add(
                    "job_template",
                    format!(
                        "`{{{{ {name} }}}}` is no job variable of the schema; there are {}",
                        known.join(", ")
                    ),
                );
            }
        }
    }
}

/// What the stored specification of a pool says.
///
/// # Errors
/// It cannot be read.
pub fn pool_spec_of(encoded: &[u8]) -> Result<v1::WorkPoolSpec, EngineError> {
    v1::WorkPoolSpec::decode(encoded).map_err(|error| EngineError::Internal {
        cause: format!("a stored work pool cannot be read: {error}"),
    })
}

/// The queues of a pool in the order in which they are served.
pub(crate) fn queues_of(name: &str, spec: &v1::WorkPoolSpec) -> Vec<String> {
    if spec.queues.is_empty() { vec![name.to_owned()] } else { spec.queues.clone() }
}

fn not_of_pool(queue: &str, pool: &WorkPool, queues: &[String]) -> String {
    let names: Vec<_> = queues.iter().map(|queue| format!("`{queue}`")).collect();
    format!("`{queue}` is none of work pool `{}`, which has {}", pool.key.name, names.join(", "))
}

fn job_type(spec: &v1::WorkPoolSpec) -> Option<JobType> {
    match spec.r#type() {
        v1::WorkPoolType::Unspecified => None,
        v1::WorkPoolType::Process => Some(JobType::Process),
        v1::WorkPoolType::Docker => Some(JobType::Docker),
        v1::WorkPoolType::Kubernetes => Some(JobType::Kubernetes),
    }
}

fn variable_schema(spec: &v1::WorkPoolSpec) -> &str {
    match job_type(spec) {
        Some(job) if spec.job_variable_schema.is_empty() => job.variables_schema(),
        _ => &spec.job_variable_schema,
    }
}

fn check_variables(
    field: &str,
    variables: &Value,
    spec: &v1::WorkPoolSpec,
    schemas: &Schemas,
    violations: &mut Violations,
) {
    match schemas.check(variable_schema(spec), variables) {
        Ok(faults) => note(faults, field, violations),
        Err(error) => violations.add(field, format!("cannot be checked: job_variable_schema {error}")),
    }
}

fn note(faults: Vec<tidegate_schema::Fault>, field: &str, violations: &mut Violations) {
    for fault in faults {
        violations.add(&format!("{field}{}", fault.path), fault.message);
    }
}

/// The object that a text is; empty: one without anything.
fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        _ if text.is_empty() => Ok(Map::new()),
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("are no JSON object, such as {\"env\": {}}".to_owned()),
        Err(error) => Err(format!("are no JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_go_over_each_other_key_by_key_and_all_else_as_a_whole() {
        let merged = |levels: &[Value]| {
            let mut variables = Map::new();
            for level in levels {
                put_over(&mut variables, level.as_object().expect("is one").clone());
            }
            Value::Object(variables)
        };
        let pool = json!({
            "env": { "A": "pool", "B": "pool", "C": "pool" },
            "labels": { "team": "data" },
            "networks": ["a", "b"],
            "image": "base:1",
        });
        let deployment = json!({ "env": { "B": "deployment", "C": null }, "networks": ["c"] });
        let run = json!({ "env": { "D": "run", "missing": null }, "labels": {}, "image": "base:2" });
        assert_eq!(
            merged(&[pool.clone(), deployment, run]),
            json!({
                "env": { "A": "pool", "B": "deployment", "D": "run" },
                "labels": { "team": "data" },
                "networks": ["c"],
                "image": "base:2",
            })
        );
        // One level: what is below a key is a value.
        let nested = [json!({ "m": { "k": { "x": 1 } } }), json!({ "m": { "k": { "y": 2 } } })];
        assert_eq!(merged(&nested), json!({ "m": { "k": { "y": 2 } } }));
        // What is of another kind is replaced, either way.
        assert_eq!(
            merged(&[json!({ "env": "none" }), json!({ "env": { "A": "1" } })]),
            json!({ "env": { "A": "1" } })
        );
        assert_eq!(merged(&[pool, json!({ "env": "none" })])["env"], "none");
    }
}
