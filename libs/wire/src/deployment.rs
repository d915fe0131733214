use std::collections::BTreeSet;

use tidegate_model::{DeploymentName, QueueName, RunKind, WorkPoolName, limits};
use tidegate_orchestration::Collision;
use tidegate_proto::v1::{self, new_run::Placement};

use crate::{
    Violations, check_label_map, kind_to_proto,
    parse::{check_list, check_priority},
    policies::parse_policies,
};

/// The encoding of parameters that can be merged and checked.
pub const JSON: &str = "json/plain";
/// Bytes of a url, a path or a name of a source.
const MAX_SOURCE_TEXT_SIZE: usize = 2_048;

/// Notes what is wrong with a specification, but for its JSON.
pub fn check_spec(spec: &v1::DeploymentSpec, violations: &mut Violations) {
    for (field, text, most) in [
        ("description", &spec.description, limits::MAX_DESCRIPTION_SIZE),
        ("parameters", &spec.parameters, limits::MAX_DEPLOYMENT_JSON_SIZE),
        ("parameter_schema", &spec.parameter_schema, limits::MAX_DEPLOYMENT_JSON_SIZE),
    ] {
        if text.len() > most {
            violations.add(field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
    }
    violations.text("entrypoint", &spec.entrypoint, 0, limits::MAX_ENTRYPOINT_SIZE);
    violations.text("version_label", &spec.version_label, 0, limits::MAX_VERSION_LABEL_SIZE);
    check_list("tags", &spec.tags, (limits::MAX_TAGS, limits::MAX_TAG_SIZE), violations);
    check_label_map("labels", &spec.labels, limits::MAX_LABELS, violations);
    if !spec.queue.is_empty() {
        violations.parse::<QueueName>("queue", &spec.queue);
    }
    check_priority(spec.priority, violations);
    if let Some(n) = spec.max_concurrent_runs.filter(|n| *n > limits::MAX_CONCURRENCY_SLOTS) {
        let most = limits::MAX_CONCURRENCY_SLOTS;
        violations
            .add("max_concurrent_runs", format!("{n} is more than {most}, the most slots of a deployment"));
    }
    if spec.on_collision != 0 && spec.max_concurrent_runs.is_none() {
        violations
            .add("on_collision", "is set without max_concurrent_runs, whose slots runs would collide for");
    }
    on_collision(spec.on_collision, violations);
    parse_policies(Some(RunKind::Flow), spec.policies.as_ref(), violations);
    check_job(spec, violations);
    if spec.enforce_parameter_schema && spec.parameter_schema.is_empty() {
        violations
            .add("enforce_parameter_schema", "is set without parameter_schema, which would be enforced");
    }
}

/// What a worker of a pool is to start.
fn check_job(spec: &v1::DeploymentSpec, violations: &mut Violations) {
    if !spec.work_pool.is_empty() {
        violations.parse::<WorkPoolName>("work_pool", &spec.work_pool);
    }
    let set = [
        ("source", spec.source.is_some()),
        ("command", !spec.command.is_empty()),
        ("job_variables", !spec.job_variables.is_empty()),
    ];
    for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set && spec.work_pool.is_empty()) {
        violations.add(field, "is set without work_pool, whose workers would use it: name a work pool");
    }
    if !spec.work_pool.is_empty() && spec.entrypoint.is_empty() == spec.command.is_empty() {
        let told = if spec.command.is_empty() {
            "is not set: say what the workers of the pool start, `module:flow` or `path.py:flow`, or set command"
        } else {
            "is set beside command: a worker starts one of them, so choose one"
        };
        violations.add("entrypoint", told);
    }
    violations.count("command", spec.command.len(), limits::MAX_COMMAND_WORDS);
    let size: usize = spec.command.iter().map(String::len).sum();
    if size > limits::MAX_COMMAND_SIZE {
        let most = limits::MAX_COMMAND_SIZE;
        violations.add("command", format!("has {size} bytes in all; at most {most} are allowed"));
    }
    if spec.command.first().is_some_and(String::is_empty) {
        violations.add("command[0]", "is empty: it is the program that is started");
    }
    if spec.command.iter().any(|word| word.contains('\0')) {
        violations.add("command", "has a NUL character, which no program can be given");
    }
    if spec.job_variables.len() > limits::MAX_JOB_JSON_SIZE {
        let (size, most) = (spec.job_variables.len(), limits::MAX_JOB_JSON_SIZE);
        violations.add("job_variables", format!("has {size} bytes; at most {most} are allowed"));
    }
    if let Some(source) = &spec.source {
        check_source(source, violations);
    }
}

fn check_source(source: &v1::Source, violations: &mut Violations) {
    use v1::source::Source;

    let mut text = |field: &str, text: &str, least: usize| {
        violations.text(&format!("source.{field}"), text, least, MAX_SOURCE_TEXT_SIZE);
    };
    match &source.source {
        None => violations.add("source", "says nothing: set path, git, archive or image"),
        Some(Source::Path(path)) => {
            text("path", path, 1);
            if !path.starts_with('/') {
                violations.add("source.path", "is not absolute: begin it with `/`");
            }
        }
        Some(Source::Git(git)) => {
            text("git.url", &git.url, 1);
            text("git.ref", &git.r#ref, 0);
            text("git.directory", &git.directory, 0);
            text("git.token_secret", &git.token_secret, 0);
            // Git takes what begins with a hyphen for an option.
            for (field, value) in [("source.git.url", &git.url), ("source.git.ref", &git.r#ref)] {
                if value.starts_with('-') {
                    violations.add(field, "begins with a hyphen, which Git would take for an option");
                }
            }
            let user = git.url.split_once("://").and_then(|(_, rest)| rest.split('/').next());
            if user.and_then(|host| host.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':')) {
                violations.add(
                    "source.git.url",
                    "has a password, which people would see: name a secret of the worker in token_secret instead",
                );
            }
            check_directory("source.git.directory", &git.directory, violations);
        }
        Some(Source::Archive(archive)) => {
            text("archive.url", &archive.url, 1);
            text("archive.directory", &archive.directory, 0);
            let is_hash =
                archive.sha256.len() == 64 && archive.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !archive.sha256.is_empty() && !is_hash {
                violations.add("source.archive.sha256", "is no SHA-256: 64 hexadecimal digits are");
            }
            check_directory("source.archive.directory", &archive.directory, violations);
        }
        Some(Source::Image(image)) => text("image", image, 1),
    }
}

/// A directory is within what was fetched.
fn check_directory(field: &str, directory: &str, violations: &mut Violations) {
    if directory.starts_with('/') || directory.split('/').any(|part| part == "..") {
        violations.add(field, "leads out of the source: give a path below it, without `..`");
    }
}

/// What becomes of a run that finds no slot; a policy that is none is noted, and waits.
pub fn on_collision(policy: i32, violations: &mut Violations) -> Collision {
    match v1::CollisionPolicy::try_from(policy) {
        Ok(v1::CollisionPolicy::Unspecified | v1::CollisionPolicy::Wait) => Collision::Wait,
        Ok(v1::CollisionPolicy::Skip) => Collision::Skip,
        Ok(v1::CollisionPolicy::CancelOldest) => Collision::CancelOldest,
        Ok(v1::CollisionPolicy::CancelNewest) => Collision::CancelNewest,
        Err(_) => {
            violations.add("on_collision", format!("{policy} is no collision policy"));
            Collision::Wait
        }
    }
}

/// A run of a deployment with what follows from the name of that.
pub fn for_deployment(new: &v1::NewRun, deployment: &DeploymentName) -> v1::NewRun {
    let mut new = new.clone();
    if new.kind == 0 {
        new.kind = kind_to_proto(RunKind::Flow).into();
    }
    if new.name.is_empty() {
        new.name = deployment.flow().to_string();
    }
    if new.placement.is_none() {
        new.placement = Some(Placement::Queue(QueueName::default().to_string()));
    }
    new
}

/// What a caller says of a run, over what the deployment says; but for the parameters.
pub fn merge(new: &v1::NewRun, deployment: &DeploymentName, spec: &v1::DeploymentSpec) -> v1::NewRun {
    let mut merged = new.clone();
    if merged.placement.is_none() && !spec.queue.is_empty() {
        merged.placement = Some(Placement::Queue(spec.queue.clone()));
    }
    if merged.priority.is_none() {
        merged.priority = Some(spec.priority);
    }
    let own: BTreeSet<&String> = new.tags.iter().collect();
    merged.tags.extend(spec.tags.iter().filter(|tag| !own.contains(tag)).cloned());
    for (key, value) in &spec.labels {
        merged.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    merged.policies = merge_policies(new.policies.as_ref(), spec.policies.as_ref());
    for_deployment(&merged, deployment)
}

fn merge_policies(own: Option<&v1::Policies>, default: Option<&v1::Policies>) -> Option<v1::Policies> {
    let (Some(own), Some(default)) = (own, default) else { return own.or(default).cloned() };
    let or = |own: i32, default: i32| if own == 0 { default } else { own };
    // Where the run has a parent policy, it is that of every end for which it names none.
    let parent_default = |default: i32| if own.parent == 0 { default } else { 0 };
    Some(v1::Policies {
        retry: own.retry.clone().or_else(|| default.retry.clone()),
        crash: own.crash.or(default.crash),
        run_timeout: own.run_timeout.or(default.run_timeout),
        start_timeout: own.start_timeout.or(default.start_timeout),
        cancel_grace: own.cancel_grace.or(default.cancel_grace),
        parent: or(own.parent, default.parent),
        parent_on_failure: or(own.parent_on_failure, parent_default(default.parent_on_failure)),
        parent_on_crash: or(own.parent_on_crash, parent_default(default.parent_on_crash)),
        late_after: own.late_after.or(default.late_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn spec() -> v1::DeploymentSpec {
        v1::DeploymentSpec {
            tags: vec!["nightly".into(), "etl".into()],
            labels: [("team", "blue"), ("tier", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            queue: "large".into(),
            priority: 7,
            policies: Some(v1::Policies {
                retry: Some(v1::RetryPolicy { max_retries: 5, ..Default::default() }),
                run_timeout: seconds(60),
                parent: v1::ParentPolicy::Detach.into(),
                parent_on_crash: v1::ParentPolicy::Cancel.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_the_run_says_goes_over_what_the_deployment_says() {
        let name: DeploymentName = "a/etl/nightly".parse().expect("is a name");
        let bare = merge(&v1::NewRun::default(), &name, &spec());
        assert_eq!((bare.kind(), bare.name.as_str(), bare.priority), (v1::RunKind::Flow, "a/etl", Some(7)));
        assert_eq!(bare.placement, Some(Placement::Queue("large".into())));
        assert_eq!((bare.tags, bare.policies), (spec().tags, spec().policies));

        let own = v1::NewRun {
            placement: Some(Placement::Queue("small".into())),
            priority: Some(0),
            tags: vec!["now".into(), "etl".into()],
            labels: [("tier".to_owned(), "2".to_owned())].into(),
            policies: Some(v1::Policies {
                retry: Some(v1::RetryPolicy::default()),
                parent: v1::ParentPolicy::Detach.into(),
                cancel_grace: seconds(3),
                ..Default::default()
            }),
            ..Default::default()
        };
        let merged = merge(&own, &name, &spec());
        assert_eq!((merged.placement, merged.priority), (own.placement, Some(0)));
        assert_eq!(merged.tags, ["now", "etl", "nightly"]);
        assert_eq!(merged.labels.into_values().collect::<Vec<_>>(), ["blue", "2"]);
        let policies = merged.policies.expect("are there");
        assert_eq!(policies.retry, Some(v1::RetryPolicy::default()), "no retry is what the run says");
        assert_eq!((policies.run_timeout, policies.cancel_grace), (seconds(60), seconds(3)));
        assert_eq!(policies.parent_on_crash(), v1::ParentPolicy::Unspecified, "as its own `parent`");
    }
}
