use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value};
use tidegate_sdk_core::proto::{self, Assign};

use crate::backend::StartError;

/// What executes an entrypoint where the job variables do not say it.
const DEFAULT_PYTHON: &str = "python3";
/// Variables of the environment that the worker itself sets, whatever the job variables say.
const RESERVED: [&str; 3] = ["TIDEGATE_RUN_ID", "TIDEGATE_RUN_EPOCH", "TIDEGATE_FIRE_AT"];

/// Who tells what became of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// The worker, by the exit code.
    Command,
    /// The process, through a stream of its own.
    Entrypoint,
}

/// A run as what is to be started for it.
#[derive(Clone, Debug)]
pub struct Job {
    /// As the worker was given it.
    pub assign: Assign,
    /// Who tells its end.
    pub kind: JobKind,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where the code comes from. `None`: it is there.
    pub source: Option<proto::source::Source>,
    /// The environment, but for secrets. It has where the server is, and which run this is.
    pub env: BTreeMap<String, String>,
    /// Variables of the environment whose values are secrets: the names of those.
    pub secret_env: BTreeMap<String, String>,
    /// Where it executes, instead of where its code is.
    pub working_directory: Option<PathBuf>,
    /// What it has left is taken away after its end.
    pub cleanup: bool,
    /// All job variables, for what only one type of pool knows.
    pub variables: Map<String, Value>,
}

impl Job {
    /// What `assign` is about. `address` and `namespace` are told to the job.
    ///
    /// # Errors
    /// `Job` where it cannot be started as it is described.
    pub fn new(assign: Assign, address: &str, namespace: &str) -> Result<Self, StartError> {
        let wrong = |message: &str| Err(StartError::Job(message.to_owned()));
        let Some(job) = assign.job.clone() else {
            return wrong(
                "the run has no description of a job: it was created before its deployment had a pool",
            );
        };
        let variables = parse(&job.job_variables)?;
        let (kind, command) = match (job.entrypoint.is_empty(), job.command.is_empty()) {
            (false, true) => {
                let python = text(&variables, "python")?.unwrap_or_else(|| DEFAULT_PYTHON.to_owned());
                let words = [python.as_str(), "-m", "tidegate.execute", job.entrypoint.as_str()];
                (JobKind::Entrypoint, words.map(str::to_owned).to_vec())
            }
            (true, false) => (JobKind::Command, job.command),
            (true, true) => {
                return wrong("the deployment has neither an entrypoint nor a command: give it one");
            }
            (false, false) => {
                return wrong("the deployment has an entrypoint and a command: give it one of them");
            }
        };
        let mut env = BTreeMap::from([
            ("TIDEGATE_ADDRESS".to_owned(), address.to_owned()),
            ("TIDEGATE_NAMESPACE".to_owned(), namespace.to_owned()),
            // What it prints is seen when it prints it.
            ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        ]);
        env.extend(texts(&variables, "env")?);
        let secret_env = texts(&variables, "secret_env")?;
        for name in env.keys().chain(secret_env.keys()) {
            if RESERVED.contains(&name.as_str()) {
                return Err(StartError::Job(format!(
                    "the job variables set {name}, which the worker alone sets"
                )));
            }
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(StartError::Job(format!(
                    "the job variables set `{name}`, which is no name of a variable"
                )));
            }
        }
        env.insert(RESERVED[0].to_owned(), assign.run_id.clone());
        env.insert(RESERVED[1].to_owned(), assign.epoch.to_string());
        if let Some(fire_at) = &assign.fire_at {
            env.insert(RESERVED[2].to_owned(), fire_at.to_string());
        }
        if env.values().chain(&command).any(|value| value.contains('\0')) {
            return wrong(
                "the command or a variable of its environment has a zero byte, which no program can be given",
            );
        }
        Ok(Self {
            kind,
            command,
            source: job.source.and_then(|source| source.source),
            env,
            secret_env,
            working_directory: text(&variables, "working_directory")?.map(PathBuf::from),
            cleanup: flag(&variables, "cleanup", true)?,
            variables,
            assign,
        })
    }
}

fn parse(json: &str) -> Result<Map<String, Value>, StartError> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(json) {
        Ok(Value::Object(variables)) => Ok(variables),
        Ok(_) => Err(StartError::Job("the job variables are no JSON object".into())),
        Err(error) => Err(StartError::Job(format!("the job variables are no JSON: {error}"))),
    }
}

fn text(variables: &Map<String, Value>, name: &str) -> Result<Option<String>, StartError> {
    match variables.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(name, "a text", other)),
    }
}

fn flag(variables: &Map<String, Value>, name: &str, default: bool) -> Result<bool, StartError> {
    match variables.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong(name, "true or false", other)),
    }
}

fn texts(variables: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, String>, StartError> {
    let values = match variables.get(name) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(values)) => values,
        Some(other) => return Err(wrong(name, "an object of texts", other)),
    };
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
        other => Err(wrong(&format!("{name}.{key}"), "a text", other)),
    };
    values.iter().map(text).collect()
}

/// The value itself is not told: it may be one that should be a secret.
fn wrong(name: &str, expected: &str, found: &Value) -> StartError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    StartError::Job(format!("the job variable `{name}` is to be {expected}, and is {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(job: proto::Job) -> Assign {
        Assign { run_id: "r-1".into(), epoch: 7, job: Some(job), ..Default::default() }
    }

    fn job(variables: &str) -> proto::Job {
        proto::Job { command: vec!["true".into()], job_variables: variables.into(), ..Default::default() }
    }

    fn of(job: proto::Job) -> Result<Job, StartError> {
        Job::new(assign(job), "http://server:4400", "lab")
    }

    #[test]
    fn an_entrypoint_is_executed_by_the_python_of_its_variables() {
        let entrypoint = proto::Job {
            entrypoint: "etl.py:nightly".into(),
            job_variables: r#"{"python": "/venv/bin/python", "env": {"N": 3}}"#.into(),
            ..Default::default()
        };
        let made = of(entrypoint).unwrap();
        assert_eq!(made.kind, JobKind::Entrypoint);
        assert_eq!(made.command, ["/venv/bin/python", "-m", "tidegate.execute", "etl.py:nightly"]);
        let told = |name: &str| made.env[name].as_str();
        assert_eq!((told("TIDEGATE_RUN_ID"), told("TIDEGATE_RUN_EPOCH"), told("N")), ("r-1", "7", "3"));
        assert_eq!((told("TIDEGATE_ADDRESS"), told("TIDEGATE_NAMESPACE")), ("http://server:4400", "lab"));
    }

    #[test]
    fn a_job_of_a_schedule_is_told_for_which_time_it_is() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let of_schedule = Assign { fire_at: at(1_767_225_600), ..assign(job("")) };
        let made = Job::new(of_schedule, "http://server:4400", "lab").unwrap();
        assert_eq!(made.env["TIDEGATE_FIRE_AT"], "2026-01-01T00:00:00Z");
        assert!(!of(job("")).unwrap().env.contains_key("TIDEGATE_FIRE_AT"));
    }

    #[test]
    fn the_address_may_be_another_for_the_job_but_not_the_run() {
        let made = of(job(r#"{"env": {"TIDEGATE_ADDRESS": "http://inside:4400"}}"#)).unwrap();
        assert_eq!(made.env["TIDEGATE_ADDRESS"], "http://inside:4400");
        let error = of(job(r#"{"secret_env": {"TIDEGATE_RUN_EPOCH": "token"}}"#)).unwrap_err();
        assert!(error.to_string().contains("TIDEGATE_RUN_EPOCH"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_its_value() {
        for (variables, place) in [
            (r#"{"env": {"KEY": ["hunter2"]}}"#, "env.KEY"),
            (r#"{"env": "hunter2"}"#, "`env`"),
            (r#"{"cleanup": "hunter2"}"#, "`cleanup`"),
            (r#"{"python": 3}"#, "`python`"),
            ("[]", "no JSON object"),
            ("{", "no JSON"),
        ] {
            let made = if variables.contains("python") {
                of(proto::Job {
                    entrypoint: "a:b".into(),
                    job_variables: variables.into(),
                    ..Default::default()
                })
            } else {
                of(job(variables))
            };
            let error = made.unwrap_err().to_string();
            assert!(error.contains(place) && !error.contains("hunter2"), "{error}");
        }
        assert!(of(proto::Job::default()).unwrap_err().to_string().contains("neither"));
    }
}
