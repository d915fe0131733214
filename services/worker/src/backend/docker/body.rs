//! A run as the body of a container's creation.

use std::collections::BTreeMap;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use serde_json::Value;
use tidegate_sdk_core::proto::source::Source;

use super::super::{
    StartError,
    marks::{self, ASSIGN},
};
use crate::job::Job;

/// The template of pools that have none.
pub(super) const TEMPLATE: &str = include_str!("container.json");
/// Where fetched code is in a container.
pub(super) const CODE: &str = "/tidegate/code";

/// The container of a run, of what the template says. `env` has the secrets too.
///
/// # Errors
/// `Job`: it is no container, or has no image.
pub(super) fn body(
    job: &Job,
    described: Value,
    labels: &BTreeMap<String, String>,
    env: &[(String, String)],
    default_image: Option<&str>,
) -> Result<ContainerCreateBody, StartError> {
    let mut made: ContainerCreateBody = serde_json::from_value(described).map_err(|error| {
        StartError::Job(format!("the job template of the pool does not describe a container: {error}"))
    })?;
    if made.image.as_ref().is_none_or(String::is_empty) {
        let of_source = match &job.source {
            Some(Source::Image(image)) => Some(image.as_str()),
            _ => None,
        };
        let image = of_source.or(default_image).ok_or_else(|| {
            StartError::Job(
                "the run has no image: set the source of its deployment or the job variable `image`, or start the \
                 worker with `--job-image`"
                    .into(),
            )
        })?;
        made.image = Some(image.to_owned());
    }
    // The command is the whole one, whatever the image would put before it.
    (made.entrypoint, made.cmd) = (Some(job.command.clone()), Some(Vec::new()));
    (made.tty, made.attach_stdin, made.open_stdin) = (Some(false), Some(false), Some(false));
    let of_source = match &job.source {
        Some(Source::Path(path)) => Some(path.clone()),
        Some(Source::Git(_) | Source::Archive(_)) => Some(CODE.to_owned()),
        Some(Source::Image(_)) | None => None,
    };
    let of_job = job.working_directory.as_ref().map(|path| path.to_string_lossy().into_owned());
    made.working_dir = of_job.or(of_source).or(made.working_dir);

    let all = made.env.get_or_insert_default();
    all.retain(|variable| env.iter().all(|(name, _)| variable.split('=').next() != Some(name)));
    all.extend(env.iter().map(|(name, value)| format!("{name}={value}")));

    let own = made.labels.get_or_insert_default();
    own.extend(labels.clone());
    own.extend(marks::of_run(&job.assign));
    own.insert(ASSIGN.to_owned(), marks::written(&job.assign));

    let host = made.host_config.get_or_insert_default();
    // Once: what is started again is decided by the run's policies. It is asked for its end, so it stays until then.
    host.restart_policy =
        Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None });
    host.auto_remove = Some(false);
    if let Some(mebibytes) = job.variables.get("memory_mib").and_then(Value::as_i64) {
        host.memory = Some(mebibytes << 20);
        host.memory_swap = Some(mebibytes << 20);
    }
    if let Some(cpus) = job.variables.get("cpus").and_then(Value::as_f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a few processors, in billionths")]
        let billionths = (cpus * 1e9) as i64;
        host.nano_cpus = Some(billionths);
    }
    let networks: Vec<_> =
        job.variables.get("networks").and_then(Value::as_array).into_iter().flatten().collect();
    let networks: Vec<_> = networks.into_iter().filter_map(Value::as_str).collect();
    if let Some(first) = networks.first() {
        host.network_mode = Some((*first).to_owned());
    }
    if networks.len() > 1 {
        let endpoints =
            networks.iter().map(|name| ((*name).to_owned(), EndpointSettings::default())).collect();
        made.networking_config = Some(NetworkingConfig { endpoints_config: Some(endpoints) });
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_sdk_core::proto::{self, Assign};

    use super::*;
    use crate::backend::template;

    fn job(variables: &Value, source: Option<Source>) -> Job {
        let described = proto::Job {
            command: vec!["load".into(), "--all".into()],
            source: source.map(|source| proto::Source { source: Some(source) }),
            job_variables: variables.to_string(),
            ..Default::default()
        };
        let assign = Assign { run_id: "r-1".into(), epoch: 7, job: Some(described), ..Default::default() };
        Job::new(assign, "http://api:4400", "lab").unwrap()
    }

    fn made(job: &Job, template: &str) -> Result<ContainerCreateBody, StartError> {
        let template = template::fill(serde_json::from_str(template).unwrap(), &job.variables).unwrap();
        let env: Vec<_> = job.env.clone().into_iter().collect();
        body(job, template, &marks::of_worker("server", "lab", "gpu", "host".into()), &env, Some("of-worker"))
    }

    #[test]
    fn each_variable_of_the_schema_has_its_effect() {
        let variables = json!({
            "working_directory": "/srv", "env": {"A": "1"}, "secret_env": {"TOKEN": "api-token"}, "image": "etl:1",
            "pull_policy": "always", "registry_secret": "registry", "networks": ["a", "b"], "memory_mib": 512,
            "cpus": 0.5, "volumes": ["/data:/data:ro"], "cleanup": false,
        });
        let schema: Value =
            serde_json::from_str(include_str!("../../../../../libs/schema/src/jobs/docker.json")).unwrap();
        let names = |value: &Value| {
            value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(
            names(&schema["properties"]),
            names(&variables),
            "no variable is forgotten, and none invented"
        );
        let made = serde_json::to_value(made(&job(&variables, None), TEMPLATE).unwrap()).unwrap();
        assert_eq!((&made["Image"], &made["WorkingDir"]), (&json!("etl:1"), &json!("/srv")));
        assert_eq!((&made["Entrypoint"], &made["Cmd"]), (&json!(["load", "--all"]), &json!([])));
        let host = &made["HostConfig"];
        assert_eq!((&host["Memory"], &host["NanoCpus"]), (&json!(512 << 20), &json!(500_000_000)));
        assert_eq!((&host["Binds"], &host["Init"]), (&json!(["/data:/data:ro"]), &json!(true)));
        assert_eq!((&host["NetworkMode"], &host["RestartPolicy"]["Name"]), (&json!("a"), &json!("no")));
        assert!(made["NetworkingConfig"]["EndpointsConfig"]["b"].is_object());
        let env = made["Env"].as_array().unwrap();
        assert!(env.contains(&json!("A=1")) && env.contains(&json!("TIDEGATE_RUN_EPOCH=7")), "{env:?}");
        assert_eq!(
            (&made["Labels"]["tidegate.dev/epoch"], &made["Labels"]["tidegate.dev/pool"]),
            (&json!("7"), &json!("gpu"))
        );
    }

    #[test]
    fn a_template_cannot_have_a_run_executed_twice_or_as_another() {
        let template = r#"{
            "Image": "mine", "Entrypoint": ["rm"], "Cmd": ["-rf"], "Env": ["TIDEGATE_RUN_ID=x", "ZONE=b"], "Tty": true,
            "Labels": {"tidegate.dev/run-id": "x"},
            "HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": true}
        }"#;
        let made = serde_json::to_value(made(&job(&json!({}), None), template).unwrap()).unwrap();
        assert_eq!((&made["Entrypoint"], &made["Image"]), (&json!(["load", "--all"]), &json!("mine")));
        let env = made["Env"].as_array().unwrap();
        assert!(env.contains(&json!("ZONE=b")) && env.contains(&json!("TIDEGATE_RUN_ID=r-1")));
        assert!(!env.contains(&json!("TIDEGATE_RUN_ID=x")));
        assert_eq!(made["Labels"]["tidegate.dev/run-id"], "r-1");
        let host = &made["HostConfig"];
        assert_eq!((&host["RestartPolicy"]["Name"], &host["AutoRemove"]), (&json!("no"), &json!(false)));
        assert_eq!(made["Tty"], false);
    }

    #[test]
    fn code_is_where_its_source_says() {
        let directory = |source| made(&job(&json!({}), Some(source)), TEMPLATE).unwrap().working_dir;
        assert_eq!(directory(Source::Path("/app".into())).as_deref(), Some("/app"));
        assert_eq!(directory(Source::Git(proto::GitSource::default())).as_deref(), Some(CODE));
        assert_eq!(directory(Source::Image("etl:1".into())), None);
        let of_source = made(&job(&json!({}), Some(Source::Image("etl:1".into()))), TEMPLATE).unwrap();
        assert_eq!(of_source.image.as_deref(), Some("etl:1"));
        assert_eq!(made(&job(&json!({}), None), TEMPLATE).unwrap().image.as_deref(), Some("of-worker"));
    }
}
