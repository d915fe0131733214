//! A run as a Job.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{
    api::{batch::v1 as batch, core::v1 as core},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;
use tidegate_sdk_core::proto::{ArchiveSource, Assign, GitSource, source::Source};

use super::super::{
    StartError,
    marks::{self, ASSIGN, SERVER, name_of},
};
use crate::{
    job::Job,
    secrets::variable_of,
    source::{self, FetchSource},
};

/// The template of pools that have none.
pub(super) const TEMPLATE: &str = include_str!("job.json");
/// The container that executes the run, where the template has several.
const CONTAINER: &str = "job";
/// How long a Job stays after its end, where the template does not say it.
const TTL_SECONDS: i32 = 300;
/// How long a pod has to end where nothing is said.
const GRACE_WITHOUT_ONE: i64 = 30;

/// The container that fetches the code of a run before it is executed, and what both have in common.
pub(super) const SOURCE: &str = "tidegate-source";
/// Where that is, and where fetched code is in it.
const SHARED: &str = "/tidegate";
const CODE: &str = "/tidegate/code";
/// What the token for a repository is called there.
const GIT_TOKEN: &str = "git-token";

/// The Job whose pod it is.
pub(super) const JOB: &str = "tidegate.dev/job";
/// Set once nothing more is to be done for it but to let its time run out.
pub(super) const DONE: &str = "tidegate.dev/done";
/// Until when the lines of its pod have been taken.
pub(super) const LOGS_UNTIL: &str = "tidegate.dev/logs-until";

/// What is the same for all Jobs of a worker.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// By which it knows its own.
    pub(super) labels: BTreeMap<String, String>,
    /// The image of runs that name none.
    pub(super) image: Option<String>,
    /// The image that fetches code. `None`: that of the job itself.
    pub(super) source_image: Option<String>,
    /// The Secret whose keys are the secrets of jobs.
    pub(super) secret: String,
}

impl Settings {
    /// Selects its Jobs and their pods.
    pub(super) fn selector(&self) -> String {
        selector(self.labels.iter())
    }

    /// The same, and those of a worker of its name whose server is not told: an older one's, or another server's.
    pub(super) fn selector_of_all(&self) -> String {
        selector(self.labels.iter().filter(|(name, _)| name.as_str() != SERVER))
    }
}

fn selector<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// The container that executes the run.
pub(super) fn container_of(pod: &core::PodSpec) -> Option<&core::Container> {
    pod.containers.iter().find(|container| container.name == CONTAINER).or_else(|| pod.containers.first())
}

/// The Job of a run, of what the template says.
///
/// # Errors
/// `Job`: it is no Job, or has no image.
pub(super) fn manifest(job: &Job, mut described: Value, of: &Settings) -> Result<batch::Job, StartError> {
    name_pull_secrets(&mut described);
    let mut made: batch::Job = serde_json::from_value(described).map_err(|error| {
        StartError::Job(format!("the job template of the pool does not describe a Job (batch/v1): {error}"))
    })?;
    let mut labels = of.labels.clone();
    labels.extend(marks::of_run(&job.assign));
    labels.insert(JOB.into(), name_of(&job.assign));
    made.metadata.name = Some(name_of(&job.assign));
    (made.metadata.generate_name, made.metadata.namespace) = (None, None);
    made.metadata.labels.get_or_insert_default().extend(labels.clone());
    made.metadata.annotations.get_or_insert_default().insert(ASSIGN.into(), marks::written(&job.assign));

    let spec = made.spec.get_or_insert_default();
    // One pod, once: what is started again is decided by the run's policies, under another epoch.
    (spec.backoff_limit, spec.completions, spec.parallelism) = (Some(0), Some(1), Some(1));
    spec.pod_replacement_policy = Some("Failed".into());
    spec.ttl_seconds_after_finished.get_or_insert(TTL_SECONDS);
    let metadata = spec.template.metadata.get_or_insert_with(ObjectMeta::default);
    metadata.labels.get_or_insert_default().extend(labels);
    let pod = spec.template.spec.get_or_insert_default();
    pod.restart_policy = Some("Never".into());
    let grace = job.assign.cancel_grace.as_ref().map_or(GRACE_WITHOUT_ONE, |grace| grace.seconds);
    pod.termination_grace_period_seconds = Some(grace.max(1));

    let container = match pod.containers.iter().position(|container| container.name == CONTAINER) {
        Some(container_idx) => &mut pod.containers[container_idx],
        None => {
            if pod.containers.is_empty() {
                pod.containers.push(core::Container { name: CONTAINER.into(), ..Default::default() });
            }
            &mut pod.containers[0]
        }
    };
    container.command = Some(job.command.clone());
    container.args = None;
    if container.image.as_ref().is_none_or(String::is_empty) {
        container.image = Some(image(job, of)?);
    }
    if let Some(directory) = working_directory(job)? {
        container.working_dir = Some(directory);
    }
    let env = container.env.get_or_insert_default();
    for variable in environment(job, &of.secret) {
        env.retain(|other| other.name != variable.name);
        env.push(variable);
    }
    if let Some(fetching) = fetching(job, container, of) {
        let mount =
            core::VolumeMount { name: SOURCE.into(), mount_path: SHARED.into(), ..Default::default() };
        container.volume_mounts.get_or_insert_default().push(mount);
        pod.init_containers.get_or_insert_default().insert(0, fetching);
        let empty_dir = Some(core::EmptyDirVolumeSource::default());
        let volume = core::Volume { name: SOURCE.into(), empty_dir, ..Default::default() };
        pod.volumes.get_or_insert_default().push(volume);
    }
    Ok(made)
}

/// What fetches the code of a run before `container` executes it, with the same rights. `None`: nothing is to be fetched.
fn fetching(job: &Job, container: &core::Container, of: &Settings) -> Option<core::Container> {
    let mut source = job.source.clone()?;
    let mut env = container.env.clone().unwrap_or_default();
    if let Source::Git(git) = &mut source
        && !git.token_secret.is_empty()
    {
        let secret = std::mem::replace(&mut git.token_secret, GIT_TOKEN.to_owned());
        env.push(of_secret(&variable_of(GIT_TOKEN), &secret, &of.secret));
    }
    let arguments = FetchSource::arguments(&source, CODE)?;
    let command = ["tidegate", "worker", "fetch-source"].map(str::to_owned).into_iter().chain(arguments);
    let mount = core::VolumeMount { name: SOURCE.into(), mount_path: SHARED.into(), ..Default::default() };
    let mounts = container.volume_mounts.iter().flatten().cloned().chain([mount]);
    Some(core::Container {
        name: SOURCE.into(),
        image: of.source_image.clone().or_else(|| container.image.clone()),
        command: Some(command.collect()),
        env: Some(env),
        volume_mounts: Some(mounts.collect()),
        // What is wrong is its last line.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        env_from: container.env_from.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        resources: container.resources.clone(),
        security_context: container.security_context.clone(),
        ..Default::default()
    })
}

/// What a worker was assigned, as its Job tells it.
pub(super) fn assign_of(made: &batch::Job) -> Option<Assign> {
    marks::read(made.metadata.annotations.as_ref()?.get(ASSIGN)?)
}

/// Names alone are how people write them.
fn name_pull_secrets(described: &mut Value) {
    let secrets = described.pointer_mut("/spec/template/spec/imagePullSecrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        if secret.is_string() {
            *secret = serde_json::json!({"name": secret.take()});
        }
    }
}

fn image(job: &Job, of: &Settings) -> Result<String, StartError> {
    let of_source = match &job.source {
        Some(Source::Image(image)) => Some(image.clone()),
        _ => None,
    };
    of_source.or_else(|| of.image.clone()).ok_or_else(|| {
        StartError::Job(
            "the run has no image: set the source of its deployment or the job variable `image`, or start the worker \
             with `--job-image`"
                .into(),
        )
    })
}

fn working_directory(job: &Job) -> Result<Option<String>, StartError> {
    let of_source = match &job.source {
        Some(Source::Path(path)) => Some(path.clone()),
        Some(Source::Git(GitSource { directory, .. }) | Source::Archive(ArchiveSource { directory, .. })) => {
            let code = source::below(Path::new(CODE), directory)?;
            // Joined to an absolute path it is that path.
            let code = job.working_directory.as_ref().map_or(code.clone(), |path| code.join(path));
            return Ok(Some(code.to_string_lossy().into_owned()));
        }
        Some(Source::Image(_)) | None => None,
    };
    let of_job = job.working_directory.as_ref().map(|path| path.to_string_lossy().into_owned());
    Ok(of_job.or(of_source))
}

fn environment(job: &Job, secret: &str) -> Vec<core::EnvVar> {
    let plain = |(name, value): (&String, &String)| core::EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        ..Default::default()
    };
    let secrets = job.secret_env.iter().map(|(name, of)| of_secret(name, of, secret));
    job.env.iter().map(plain).chain(secrets).collect()
}

/// A variable with the value of a key of `secret`, or of another Secret: `secret/key`.
fn of_secret(name: &str, of: &str, secret: &str) -> core::EnvVar {
    let (secret, key) = of.split_once('/').unwrap_or((secret, of));
    let key = core::SecretKeySelector { name: secret.into(), key: key.into(), optional: None };
    let value_from = Some(core::EnvVarSource { secret_key_ref: Some(key), ..Default::default() });
    core::EnvVar { name: name.into(), value_from, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_sdk_core::proto;

    use super::*;
    use crate::backend::{marks::RUN_ID, template};

    fn job(variables: Value, source: Option<Source>) -> Job {
        let described = proto::Job {
            entrypoint: "etl:nightly".into(),
            source: source.map(|source| proto::Source { source: Some(source) }),
            job_variables: variables.to_string(),
            ..Default::default()
        };
        let cancel_grace = Some(prost_types::Duration { seconds: 90, nanos: 0 });
        let run_id = "01990000-0000-7000-8000-000000000001".into();
        let assign = Assign { run_id, epoch: 7, job: Some(described), cancel_grace, ..Default::default() };
        Job::new(assign, "http://api:4400", "lab").unwrap()
    }

    fn settings(image: Option<&str>) -> Settings {
        let labels = marks::of_worker("server", "lab", "gpu", "host".into());
        Settings { labels, image: image.map(Into::into), source_image: None, secret: "of-jobs".into() }
    }

    fn made(job: &Job, described: &str, of: &Settings) -> Result<batch::Job, StartError> {
        let template = serde_json::from_str(described).unwrap();
        manifest(job, template::fill(template, &job.variables).unwrap(), of)
    }

    #[test]
    fn the_default_template_has_each_variable_of_the_schema_in_its_place() {
        let variables = json!({
            "image": "etl:1", "namespace": "batch", "service_account": "loader", "cpu_request": "500m",
            "cpu_limit": "2", "memory_request": "256Mi", "memory_limit": "1Gi", "node_selector": {"gpu": "a100"},
            "labels": {"team": "data"}, "image_pull_secrets": ["registry"], "ttl_seconds": 60,
            "pod_start_timeout_seconds": 30, "working_directory": "/srv", "env": {"A": "1"},
            "secret_env": {"TOKEN": "api-token", "PASSWORD": "db/password"},
        });
        let schema: Value =
            serde_json::from_str(include_str!("../../../../../libs/schema/src/jobs/kubernetes.json"))
                .unwrap();
        let names = |value: &Value| {
            value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(
            names(&schema["properties"]),
            names(&variables),
            "no variable is forgotten, and none invented"
        );
        let job = job(variables, None);
        let made = serde_json::to_value(made(&job, TEMPLATE, &settings(None)).unwrap()).unwrap();
        let (spec, pod) = (&made["spec"], &made["spec"]["template"]["spec"]);
        assert_eq!(made["metadata"]["name"], "tidegate-01990000000070008000000000000001-7");
        assert_eq!((&spec["backoffLimit"], &spec["ttlSecondsAfterFinished"]), (&json!(0), &json!(60)));
        assert_eq!(
            (&pod["restartPolicy"], &pod["terminationGracePeriodSeconds"]),
            (&json!("Never"), &json!(90))
        );
        assert_eq!(
            (&pod["serviceAccountName"], &pod["nodeSelector"]),
            (&json!("loader"), &json!({"gpu": "a100"}))
        );
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
        let container = &pod["containers"][0];
        assert_eq!((&container["image"], &container["workingDir"]), (&json!("etl:1"), &json!("/srv")));
        assert_eq!(container["command"], json!(["python3", "-m", "tidegate.execute", "etl:nightly"]));
        let resources = json!({
            "requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "1Gi"},
        });
        assert_eq!(container["resources"], resources);
        for labels in [&made["metadata"]["labels"], &spec["template"]["metadata"]["labels"]] {
            assert_eq!((&labels["team"], &labels["tidegate.dev/epoch"]), (&json!("data"), &json!("7")));
            assert_eq!(labels["tidegate.dev/pool"], "gpu");
        }
        let env = container["env"].as_array().unwrap();
        let of = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!((&of("A")["value"], &of("TIDEGATE_RUN_EPOCH")["value"]), (&json!("1"), &json!("7")));
        let token = &of("TOKEN")["valueFrom"]["secretKeyRef"];
        assert_eq!((&token["name"], &token["key"]), (&json!("of-jobs"), &json!("api-token")));
        let password = &of("PASSWORD")["valueFrom"]["secretKeyRef"];
        assert_eq!((&password["name"], &password["key"]), (&json!("db"), &json!("password")));
    }

    #[test]
    fn what_it_was_made_for_can_be_read_from_it() {
        let job = job(json!({"image": "etl:1"}), None);
        let mut wanted = job.assign.clone();
        let made = made(&job, TEMPLATE, &settings(None)).unwrap();
        wanted.parameters = None;
        assert_eq!(assign_of(&made), Some(wanted));
    }

    #[test]
    fn the_image_is_that_of_variable_source_or_worker() {
        let of = |variables, source, worker: Option<&str>| {
            let made = made(&job(variables, source), TEMPLATE, &settings(worker))?;
            Ok::<_, StartError>(
                made.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap(),
            )
        };
        let source = || Some(Source::Image("of-source".into()));
        assert_eq!(of(json!({"image": "of-variable"}), source(), Some("of-worker")).unwrap(), "of-variable");
        assert_eq!(of(json!({}), source(), Some("of-worker")).unwrap(), "of-source");
        assert_eq!(of(json!({}), None, Some("of-worker")).unwrap(), "of-worker");
        let error = of(json!({}), None, None).unwrap_err().to_string();
        assert!(error.contains("--job-image"), "{error}");
    }

    #[test]
    fn code_is_fetched_by_a_container_of_its_own() {
        let git = proto::GitSource {
            url: "https://git.example.com/etl".into(),
            directory: "flows".into(),
            token_secret: "tokens/git".into(),
            ..Default::default()
        };
        let variables = json!({"image": "etl:1", "env": {"A": "1"}});
        let job = job(variables, Some(Source::Git(git.clone())));
        let template = json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "before"}],
            "containers": [{
                "name": "job", "image": "etl:1", "securityContext": {"runAsUser": 7},
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
            }],
        }}}});
        let of = Settings { source_image: Some("tidegate:1".into()), ..settings(None) };
        let made = serde_json::to_value(made(&job, &template.to_string(), &of).unwrap()).unwrap();
        let pod = &made["spec"]["template"]["spec"];
        let (source, main) = (&pod["initContainers"][0], &pod["containers"][0]);
        let command = [
            "tidegate",
            "worker",
            "fetch-source",
            "--to=/tidegate/code",
            "--git=https://git.example.com/etl",
            "--directory=flows",
            "--token-secret=git-token",
        ];
        assert_eq!((&source["command"], &source["image"]), (&json!(command), &json!("tidegate:1")));
        let env = source["env"].as_array().unwrap();
        let of = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap();
        let token = &of("TIDEGATE_SECRET_GIT_TOKEN")["valueFrom"]["secretKeyRef"];
        assert_eq!((&token["name"], &token["key"]), (&json!("tokens"), &json!("git")));
        assert_eq!((&of("A")["value"], &source["securityContext"]["runAsUser"]), (&json!("1"), &json!(7)));
        let shared = json!({"name": SOURCE, "mountPath": "/tidegate"});
        for container in [source, main] {
            assert_eq!(container["volumeMounts"], json!([{"name": "keys", "mountPath": "/keys"}, shared]));
        }
        assert_eq!(
            (&pod["volumes"][0]["name"], &pod["volumes"][0]["emptyDir"]),
            (&json!(SOURCE), &json!({}))
        );
        assert_eq!((&main["workingDir"], &main["image"]), (&json!("/tidegate/code/flows"), &json!("etl:1")));
        assert!(!main["env"].to_string().contains("GIT_TOKEN"));
        assert_eq!(pod["initContainers"][1]["name"], "before");

        let inside = json!({"image": "etl:1", "working_directory": "nightly"});
        let inside = self::job(inside, Some(Source::Git(git.clone())));
        let pod =
            self::made(&inside, TEMPLATE, &settings(None)).unwrap().spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.containers[0].working_dir.as_deref(), Some("/tidegate/code/flows/nightly"));
        assert_eq!(pod.init_containers.unwrap()[0].image.as_deref(), Some("etl:1"), "that of the job");
        let out = proto::GitSource { directory: "../etc".into(), ..git };
        let error =
            self::made(&self::job(json!({"image": "w"}), Some(Source::Git(out))), TEMPLATE, &settings(None));
        assert!(error.unwrap_err().to_string().contains("leads out of it"));
    }

    #[test]
    fn a_template_cannot_have_a_run_executed_twice_or_as_another() {
        let template = json!({
            "metadata": {"name": "mine", "namespace": "theirs", "labels": {"tidegate.dev/run-id": "another"}},
            "spec": {
                "backoffLimit": 6, "completions": 3, "parallelism": 3,
                "template": {"spec": {
                    "restartPolicy": "OnFailure",
                    "containers": [
                        {"name": "proxy", "image": "proxy:1"},
                        {"name": "job", "image": "etl:1", "command": ["rm"], "args": ["-rf"],
                         "env": [{"name": "TIDEGATE_RUN_ID", "value": "another"}, {"name": "ZONE", "value": "b"}]},
                    ],
                }},
            },
        });
        let job = job(json!({}), None);
        let made = made(&job, &template.to_string(), &settings(None)).unwrap();
        assert_eq!((made.metadata.name, made.metadata.namespace), (Some(name_of(&job.assign)), None));
        assert_eq!(made.metadata.labels.unwrap()[RUN_ID], job.assign.run_id);
        let spec = made.spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.completions, spec.parallelism), (Some(0), Some(1), Some(1)));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        let container = container_of(&pod).unwrap();
        assert_eq!((&container.command, &container.args), (&Some(job.command.clone()), &None));
        let env = container.env.as_ref().unwrap();
        let run_ids: Vec<_> = env.iter().filter(|variable| variable.name == "TIDEGATE_RUN_ID").collect();
        assert_eq!(run_ids.len(), 1);
        assert_eq!(run_ids[0].value, Some(job.assign.run_id));
        assert!(env.iter().any(|variable| variable.name == "ZONE"));
    }

    #[test]
    fn a_template_of_something_else_is_told() {
        let job = job(json!({"image": "x"}), None);
        let error = made(&job, r#"{"spec": {"template": {"spec": {"containers": {}}}}}"#, &settings(None));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("does not describe a Job"), "{error}");
    }
}
