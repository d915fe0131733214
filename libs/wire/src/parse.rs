use std::collections::BTreeMap;

use tidegate_model::{
    Clock as _, DeploymentName, Namespace, Payload, RunId, RunKind, SystemClock, Timestamp, limits,
};
use tidegate_orchestration::{CachePolicy, Draft, Placement};
use tidegate_proto::v1;
use tonic::Status;

use crate::{
    Violations, invalid_field, kind_from_proto, payload_from_proto,
    policies::{parse_policies, span},
    timestamp_from_proto,
};

/// The namespace of a request; empty is the default one.
pub fn namespace(text: &str) -> Result<Namespace, Status> {
    if text.is_empty() {
        return Ok(Namespace::default());
    }
    text.parse().map_err(|error: tidegate_model::InvalidName| invalid_field("namespace", error.to_string()))
}

/// The page size of a request: `default` for 0, at most [`limits::MAX_PAGE_SIZE`].
pub fn page_size(asked: i32, default: usize) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(limits::MAX_PAGE_SIZE)),
        Err(_) => Err(invalid_field("page_size", format!("{asked} is negative; 0 means {default}"))),
    }
}

/// Checks a run to be created. `id` serves where the caller gave none.
///
/// The payload is given back apart from the draft, as no rule looks at it.
pub fn parse_draft(
    namespace: &Namespace,
    new: &v1::NewRun,
    id: RunId,
    violations: &mut Violations,
) -> Option<(Draft, Option<Payload>)> {
    let id = if new.id.is_empty() { Some(id) } else { violations.parse("id", &new.id) };
    if let Some(id) = id {
        check_id_time("id", id, violations);
    }
    let kind = kind_from_proto(new.kind);
    if kind.is_none() {
        violations
            .add("kind", format!("is {}: RUN_KIND_FLOW (1) or RUN_KIND_TASK (2) is required", new.kind));
    }
    let name = violations.parse("name", &new.name);
    violations.text("run_name", &new.run_name, 0, limits::MAX_NAME_SIZE);
    let placement = match &new.placement {
        None => {
            violations.add("queue", "neither queue nor session_id is set: say who executes the run");
            None
        }
        Some(v1::new_run::Placement::Queue(queue)) => violations.parse("queue", queue).map(Placement::Queue),
        Some(v1::new_run::Placement::SessionId(id)) => {
            violations.parse("session_id", id).map(Placement::Session)
        }
    };
    let parent = if new.parent_run_id.is_empty() {
        None
    } else {
        violations.parse("parent_run_id", &new.parent_run_id)
    };
    let parameters = payload_from_proto(new.parameters.as_ref(), "parameters", violations);
    let policies = parse_policies(kind, new.policies.as_ref(), violations);
    let is_local = matches!(placement, Some(Placement::Session(_)));
    let due_at = new.due_at.as_ref().and_then(|due_at| parse_instant("due_at", due_at, violations));
    if due_at.is_some() && is_local {
        violations
            .add("due_at", "is set for a local run, which its process starts when it likes: use a queue");
    }
    let expires_at =
        new.expires_at.as_ref().and_then(|expires_at| parse_instant("expires_at", expires_at, violations));
    if expires_at.is_some() && is_local {
        violations
            .add("expires_at", "is set for a local run, which its process starts when it likes: use a queue");
    }
    if let (Some(due_at), Some(expires_at)) = (due_at, expires_at)
        && expires_at <= due_at
    {
        violations.add("expires_at", format!("{expires_at} is not after due_at, which is {due_at}"));
    }
    let priority = new.priority();
    check_priority(priority, violations);
    check_list("tags", &new.tags, (limits::MAX_TAGS, limits::MAX_TAG_SIZE), violations);
    check_labels(new, violations);
    if !new.deployment.is_empty() {
        if let Some(deployment) = check_deployment(&new.deployment, violations) {
            if kind == Some(RunKind::Task) {
                violations.add(
                    "kind",
                    format!("is a task; `{deployment}` is a deployment of a flow: leave kind empty"),
                );
            } else if new.name != deployment.flow().as_str() {
                let flow = deployment.flow();
                violations
                    .add("name", format!("is not `{flow}`, the flow of `{deployment}`: leave name empty"));
            }
        }
        if is_local {
            violations.add(
                "deployment",
                "is set for a local run, which its process starts as it likes: use a queue, or the deployment's own",
            );
        }
    }
    if new.job_variables.len() > limits::MAX_JOB_JSON_SIZE {
        let (size, most) = (new.job_variables.len(), limits::MAX_JOB_JSON_SIZE);
        violations.add("job_variables", format!("has {size} bytes; at most {most} are allowed"));
    } else if !new.job_variables.is_empty() && new.deployment.is_empty() {
        violations.add(
            "job_variables",
            "are set for a run without a deployment, whose work pool would start it: name a deployment",
        );
    }
    let cache = parse_cache(new, violations);
    check_list(
        "concurrency_limits",
        &new.concurrency_limits,
        (limits::MAX_CONCURRENCY_LIMITS, limits::MAX_CONCURRENCY_LIMIT_SIZE),
        violations,
    );
    for (limit_idx, name) in new.concurrency_limits.iter().enumerate() {
        let reserved = [
            limits::QUEUE_LIMIT_PREFIX,
            limits::DEPLOYMENT_LIMIT_PREFIX,
            limits::WORK_POOL_LIMIT_PREFIX,
            limits::SCHEDULE_LIMIT_PREFIX,
        ];
        if reserved.iter().any(|own| name.starts_with(own)) {
            violations.limit_name(&format!("concurrency_limits[{limit_idx}]"), name);
        }
        check_bound_name(&format!("concurrency_limits[{limit_idx}]"), name, violations);
    }
    if !new.concurrency_limits.is_empty() && is_local {
        violations.add(
            "concurrency_limits",
            "are set for a local run, which its process starts when it likes: use a queue",
        );
    }
    let fairness_key = match new.fairness_key.as_str() {
        "" => None,
        key => violations.parse("fairness_key", key),
    };
    check_routing(new, is_local, violations);
    violations.text("idempotency_key", &new.idempotency_key, 0, limits::MAX_IDEMPOTENCY_KEY_SIZE);
    if new.child_call > 0 && new.parent_run_id.is_empty() {
        violations
            .add("child_call", format!("{} counts calls of a parent: set parent_run_id", new.child_call));
    }
    if new.parent_epoch > 0 && new.parent_run_id.is_empty() {
        violations.add("parent_epoch", format!("{} is that of no run: set parent_run_id", new.parent_epoch));
    }
    if new.child_call > 0 && !new.idempotency_key.is_empty() {
        violations.add("child_call", format!("{} is set beside idempotency_key: choose one", new.child_call));
    }
    if !new.traceparent.is_empty() && !is_traceparent(&new.traceparent) {
        let shown: String = new.traceparent.chars().take(80).collect();
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        violations.add("traceparent", format!("`{shown}` is no W3C traceparent such as {example}"));
    }
    if !violations.is_empty() {
        return None;
    }
    let draft = Draft {
        id: id?,
        namespace: namespace.clone(),
        kind: kind?,
        name: name?,
        run_name: new.run_name.clone(),
        placement: placement?,
        parent,
        policies,
        priority,
        tags: new.tags.clone(),
        labels: new.labels.clone().into_iter().collect::<BTreeMap<_, _>>(),
        inherit_labels: new.inherit_labels,
        deployment: (!new.deployment.is_empty()).then(|| new.deployment.clone()),
        deployment_version: None,
        work_pool: None,
        schedule: None,
        fire_at: None,
        traceparent: (!new.traceparent.is_empty()).then(|| new.traceparent.clone()),
        due_at,
        expires_at,
        cache,
        cached_from: None,
        concurrency_limits: new.concurrency_limits.clone(),
        fairness_key,
        required_labels: new.required_worker_labels.clone(),
        prefer_parent_worker: new.prefer_parent_worker,
    };
    Some((draft, parameters))
}

/// Cuts a text to at most `max_size` bytes, at a character.
pub(crate) fn cut(mut text: String, max_size: usize) -> String {
    text.truncate(text.floor_char_boundary(max_size));
    text
}

fn parse_instant(
    field: &str,
    instant: &prost_types::Timestamp,
    violations: &mut Violations,
) -> Option<Timestamp> {
    // By the machine's clock, roughly: the bound is ten years.
    let latest = SystemClock.now() + limits::MAX_DELAY;
    match timestamp_from_proto(instant) {
        Some(parsed) if parsed <= latest => Some(parsed),
        Some(parsed) => {
            violations.add(field, format!("{parsed} is too far ahead; {latest} is the latest"));
            None
        }
        None => {
            violations.add(field, format!("{} s is out of the range of a timestamp", instant.seconds));
            None
        }
    }
}

/// The store makes room ahead for ids of the near future only. Old ones are welcome: a caller may come back late.
pub fn check_id_time(field: &str, id: RunId, violations: &mut Violations) {
    let latest = SystemClock.now() + limits::MAX_ID_AHEAD;
    if id.created_at() > latest {
        violations.add(
            field,
            format!(
                "{id} was made at {}, and {latest} is the latest: set the clock of the machine that made it, or leave \
                 the id empty",
                id.created_at()
            ),
        );
    }
}

/// True for a W3C `traceparent` of version 00.
pub fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    match text.split('-').collect::<Vec<_>>()[..] {
        [version, trace_id, parent_id, flags] => {
            version == "00" && is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2)
        }
        _ => false,
    }
}

/// Checks the name of a limit by which a slot is asked for.
pub fn check_bound_name(field: &str, name: &str, violations: &mut Violations) {
    if name.ends_with("=*") {
        let shown: String = name.chars().take(80).collect();
        violations.add(field, format!("`{shown}` is a template: name one of the values that it binds"));
    }
}

/// Notes a list that is too long, and items that are empty or too long.
pub fn check_list(
    field: &str,
    items: &[String],
    (max_items, max_size): (usize, usize),
    violations: &mut Violations,
) {
    violations.count(field, items.len(), max_items);
    for (item_idx, item) in items.iter().enumerate() {
        violations.text(&format!("{field}[{item_idx}]"), item, 1, max_size);
    }
}

fn check_labels(new: &v1::NewRun, violations: &mut Violations) {
    check_label_map("labels", &new.labels, limits::MAX_LABELS, violations);
    if new.inherit_labels && new.parent_run_id.is_empty() {
        violations.add("inherit_labels", "is set for a run without a parent: set parent_run_id");
    }
}

/// Notes labels that are too many, or break the rules of keys and values.
pub fn check_label_map(
    field: &str,
    labels: &BTreeMap<String, String>,
    max_labels: usize,
    violations: &mut Violations,
) {
    violations.count(field, labels.len(), max_labels);
    let is_key = |key: &str| {
        (1..=limits::MAX_LABEL_KEY_SIZE).contains(&key.len())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-'))
    };
    for (key, value) in labels {
        if is_key(key) {
            violations.text(&format!("{field}[{key}]"), value, 0, limits::MAX_LABEL_VALUE_SIZE);
        } else {
            let shown: String = key.chars().take(80).collect();
            violations.add(
                field,
                format!(
                    "{shown:?} is no key: 1 to {} characters of A-Z a-z 0-9 . _ / - are allowed",
                    limits::MAX_LABEL_KEY_SIZE
                ),
            );
        }
    }
}

/// Who is to get a run, and with whom it takes turns.
fn check_routing(new: &v1::NewRun, is_local: bool, violations: &mut Violations) {
    let (field, labels) = ("required_worker_labels", &new.required_worker_labels);
    check_label_map(field, labels, limits::MAX_REQUIRED_LABELS, violations);
    if new.prefer_parent_worker && new.parent_run_id.is_empty() {
        violations.add("prefer_parent_worker", "is set for a run without a parent: set parent_run_id");
    }
    let set = [
        ("fairness_key", !new.fairness_key.is_empty()),
        (field, !labels.is_empty()),
        ("prefer_parent_worker", new.prefer_parent_worker),
    ];
    for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set && is_local) {
        violations.add(field, "is set for a local run, which its own process executes: use a queue");
    }
}

/// Notes a deployment that is not `flow/deployment`.
pub fn check_deployment(deployment: &str, violations: &mut Violations) -> Option<DeploymentName> {
    violations.parse("deployment", deployment)
}

/// Notes a priority that is out of its range.
pub(crate) fn check_priority(priority: i32, violations: &mut Violations) {
    if !(-100..=100).contains(&priority) {
        violations.add("priority", format!("{priority} is out of the range -100 to 100"));
    }
}

fn parse_cache(new: &v1::NewRun, violations: &mut Violations) -> Option<CachePolicy> {
    violations.text("cache_key", &new.cache_key, 0, limits::MAX_CACHE_KEY_SIZE);
    let bounds = (std::time::Duration::from_secs(1), limits::MAX_CACHE_AGE);
    let expires_after = span(&new.cache_expires_after, "cache_expires_after", bounds, violations);
    if new.cache_expires_after.is_some() && new.cache_key.is_empty() {
        violations.add("cache_expires_after", "is set without cache_key, whose result it would bound");
    }
    if new.refresh_cache && new.cache_key.is_empty() {
        violations.add("refresh_cache", "is set without cache_key, whose result it would make anew");
    }
    (!new.cache_key.is_empty()).then(|| CachePolicy { key: new.cache_key.clone(), expires_after })
}
