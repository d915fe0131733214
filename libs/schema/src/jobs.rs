//! The job variables that the workers of each type of work pool know.

/// What the workers of a pool start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobType {
    /// Processes on the worker's machine.
    Process,
    /// Containers of a Docker engine.
    Docker,
    /// Jobs of a Kubernetes cluster.
    Kubernetes,
}

impl JobType {
    /// The JSON Schema of the job variables of a pool that has none of its own.
    pub const fn variables_schema(self) -> &'static str {
        match self {
            Self::Process => include_str!("jobs/process.json"),
            Self::Docker => include_str!("jobs/docker.json"),
            Self::Kubernetes => include_str!("jobs/kubernetes.json"),
        }
    }
}

/// The names in `{{ name }}` of a job template, in their order; each as often as it is there.
///
/// # Errors
/// What is between the braces is no name, or they are not closed.
pub fn placeholders(template: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, behind)) = rest.split_once("{{") {
        let Some((inside, behind)) = behind.split_once("}}") else {
            let start: String = behind.chars().take(40).collect();
            return Err(format!("`{{{{{start}` is not closed by `}}}}`"));
        };
        let name = inside.trim();
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if !is_name {
            let shown: String = inside.chars().take(40).collect();
            return Err(format!("`{{{{{shown}}}}}` has no name between the braces"));
        }
        names.push(name);
        rest = behind;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_schemas_know_their_variables_and_no_others() {
        let common =
            json!({"env": {"A": "1"}, "secret_env": {"TOKEN": "api-token"}, "working_directory": "/srv"});
        for job in [JobType::Process, JobType::Docker, JobType::Kubernetes] {
            let faults =
                |value: &Value| crate::check_defaults(job.variables_schema(), value).expect("is a schema");
            assert_eq!(faults(&common), [], "{job:?}");
            assert_eq!(faults(&json!({"imagee": "x"})).len(), 1, "{job:?}");
            let [fault] = &faults(&json!({"env": {"A": 1}}))[..] else { panic!("one fault") };
            assert_eq!(fault.path, ".env.A");
            let described: Value = serde_json::from_str(job.variables_schema()).expect("is JSON");
            for (name, variable) in described["properties"].as_object().expect("is an object") {
                assert!(variable["description"].is_string(), "{name} is not described");
            }
        }
        let docker = JobType::Docker.variables_schema();
        let containers = json!({"image": "etl:1", "memory_mib": 512, "cpus": 0.5, "networks": ["a"], "volumes": ["/a:/b:ro"]});
        assert_eq!(crate::check_defaults(docker, &containers).expect("is a schema"), []);
    }

    #[test]
    fn placeholders_are_found() {
        let found = placeholders(r#"{"image": "{{ image }}", "env": "{{env}}-{{ a.b-c_1 }}"}"#);
        assert_eq!(found.expect("are names"), ["image", "env", "a.b-c_1"]);
        assert_eq!(placeholders("{}").expect("has none"), Vec::<&str>::new());
        for wrong in ["{{ a", "{{ }}", "{{ a b }}"] {
            assert!(placeholders(wrong).is_err(), "{wrong}");
        }
    }
}
