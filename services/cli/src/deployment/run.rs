use std::time::Duration;

use clap::Args;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_model::{Clock as _, SystemClock};
use tidegate_sdk_core::{
    Client, new_run_id, payload,
    proto::{NewRun, new_run::Placement},
};

use super::parameters;
use crate::{
    ask::Outcome,
    common::{parse_duration, parse_time},
    completion::named,
    fault::{Fault, exit},
    names,
    printer::Printer,
    run,
};

/// The words are those of Python's `run_deployment`, where a command line has no shorter one.
#[derive(Args, Debug)]
pub struct DeploymentRun {
    /// Its name: `flow/deployment`
    #[arg(add = named(names::deployments))]
    name: String,
    /// A parameter; goes over `--params` and the deployment's own. A value that is no JSON is a text
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_param)]
    param: Vec<(String, Value)>,
    /// Parameters as a JSON object; go over the deployment's own
    #[arg(long, value_name = "JSON", visible_alias = "parameters")]
    params: Option<String>,
    /// It does not start before this time, in RFC 3339: `2026-11-01T00:00:00Z`
    #[arg(long, value_name = "TIME", visible_alias = "scheduled-time", alias = "start-at", value_parser = parse_time, conflicts_with = "within")]
    at: Option<Timestamp>,
    /// It does not start before so much time has passed: `90s`, `2h`
    #[arg(long = "in", id = "within", alias = "start-in", value_name = "SPAN", value_parser = parse_duration)]
    within: Option<Duration>,
    /// A job variable, for a deployment with a work pool; goes over `--job-variables` and what pool and deployment say. A
    /// value that is no JSON is a text; of an object, such as `env={"REGION":"eu"}`, each key goes over that of before
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    job_variable: Vec<(String, Value)>,
    /// Job variables as a JSON object; go over what pool and deployment say
    #[arg(long, value_name = "JSON")]
    job_variables: Option<String>,
    /// A word to find the run by, beside those of the deployment
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The queue, instead of the deployment's
    #[arg(long, add = named(names::queues))]
    queue: Option<String>,
    /// What people call the run
    #[arg(
        long = "name",
        id = "run_name",
        value_name = "NAME",
        visible_alias = "run-name",
        alias = "flow-run-name"
    )]
    run_name: Option<String>,
    /// One key, one run of the deployment: a second call gives the run of the first
    #[arg(long, value_name = "KEY", visible_alias = "key")]
    idempotency_key: Option<String>,
    /// Follow it until it has ended; the exit code tells how
    #[arg(short, long)]
    watch: bool,
    /// How long to follow it: `10m`. It goes on after that [default: until it has ended]
    #[arg(long, value_name = "SPAN", alias = "watch-timeout", requires = "watch", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// A parameter of a command line: its name, and its value, which is a text where it is no JSON.
pub fn parse_param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("has no `=`, such as `n=1` or `day=monday` have")?;
    if name.is_empty() {
        return Err("has no name before the `=`, such as `n=1` has".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// `deployment run`: starts a run, tells its id, and with `--watch` how it goes on.
pub async fn start(client: &Client, printer: &Printer, asked: DeploymentRun) -> Outcome {
    let (watch, timeout) = (asked.watch, asked.timeout);
    let created = client.create_run(new_run(asked)?).await?;
    let note = if created.created { "" } else { "  was there before" };
    let value = || json!({ "run_id": created.id, "created": created.created });
    if !watch {
        return printer.answer(value, || format!("{}{note}\n", created.id));
    }
    printer.line(value, || format!("{}{note}", created.id))?;
    let followed = run::follow(client, printer, vec![created.id.clone()]);
    let Some(timeout) = timeout else { return followed.await };
    tokio::time::timeout(timeout, followed).await.unwrap_or_else(|_| {
        let id = &created.id;
        Err(Fault::coded(
            exit::NOT_ENDED,
            format!(
                "run {id} has not ended within {timeout:?}, and goes on: `tidegate run watch {id}` follows it, `tidegate \
                 run cancel {id}` ends it"
            ),
        ))
    })
}

fn new_run(asked: DeploymentRun) -> Result<NewRun, Fault> {
    let parameters = parameters(asked.params.as_deref(), &asked.param)?.to_string();
    let due_at = match asked.within {
        Some(delay) => Some(after(delay)?),
        None => asked.at,
    };
    Ok(NewRun {
        id: new_run_id(),
        deployment: asked.name,
        run_name: asked.run_name.unwrap_or_default(),
        placement: asked.queue.map(Placement::Queue),
        parameters: Some(payload::encoded("json/plain", parameters.into_bytes())),
        due_at,
        job_variables: job_variables(asked.job_variables.as_deref(), asked.job_variable)?,
        tags: asked.tags,
        idempotency_key: asked.idempotency_key.unwrap_or_default(),
        ..NewRun::default()
    })
}

/// So much later than now.
fn after(delay: Duration) -> Result<Timestamp, Fault> {
    let late = || Fault::usage(format!("--in {delay:?} is too long"));
    let delay = i64::try_from(delay.as_micros()).map_err(|_| late())?;
    let micros = SystemClock.now().as_micros().checked_add(delay).ok_or_else(late)?;
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    Ok(Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
}

/// Job variables as the API has them: an object, and over it single ones, of which objects go over each other key by key, as
/// those of pool, deployment and run do.
fn job_variables(all: Option<&str>, single: Vec<(String, Value)>) -> Result<String, Fault> {
    let mut variables =
        all.map(|text| super::object("--job-variables", text)).transpose()?.unwrap_or_default();
    for (name, value) in single {
        over(&mut variables, name, value);
    }
    Ok(if variables.is_empty() { String::new() } else { Value::Object(variables).to_string() })
}

fn over(variables: &mut Map<String, Value>, name: String, value: Value) {
    match (variables.get_mut(&name), value) {
        (Some(Value::Object(before)), Value::Object(new)) => before.extend(new),
        (_, value) => {
            variables.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn objects_of_job_variables_go_over_each_other_key_by_key() {
        let single = ["env={\"B\": \"2\"}", "env={\"C\": \"3\"}", "image=etl:2", "n=4"];
        let single = single.map(|text| parse_param(text).expect("is right")).to_vec();
        let all = Some(r#"{"env": {"A": "1", "B": "1"}, "image": "etl:1"}"#);
        let told: Value =
            serde_json::from_str(&job_variables(all, single).expect("are right")).expect("is JSON");
        let env = json!({ "A": "1", "B": "2", "C": "3" });
        assert_eq!(told, json!({ "env": env, "image": "etl:2", "n": 4 }));
        assert_eq!(job_variables(None, Vec::new()).expect("are right"), "");
        let wrong = job_variables(Some("[]"), Vec::new()).expect_err("is no object").to_string();
        assert!(wrong.starts_with("--job-variables is no JSON object"), "{wrong}");
    }

    #[test]
    fn a_parameter_has_a_name_and_a_value() {
        assert_eq!(parse_param("day=monday"), Ok(("day".into(), json!("monday"))));
        assert_eq!(parse_param("q=a=b"), Ok(("q".into(), json!("a=b"))));
        for wrong in ["day", "=1"] {
            assert!(parse_param(wrong).expect_err("is wrong").contains("such as `n=1`"), "{wrong}");
        }
    }

    #[test]
    fn a_start_is_told_once_and_a_timeout_is_of_something_that_is_followed() {
        let run = ["tidegate", "deployment", "run", "etl/nightly"];
        for wrong in [
            &["--at", "2026-11-01T00:00:00Z", "--in", "1h"][..],
            &["--at", "tomorrow"],
            &["--in", "-1h"],
            &["--timeout", "10m"],
            &["--job-variable", "env"],
        ] {
            assert!(Cli::try_parse_from([&run[..], wrong].concat()).is_err(), "{wrong:?}");
        }
        for right in [
            &["--scheduled-time", "2026-11-01T00:00:00Z"][..],
            &["--run-name", "n", "--key", "k"],
            // As Prefect calls them.
            &["--start-at", "2026-11-01T00:00:00Z", "--flow-run-name", "n", "-w", "--watch-timeout", "1m"],
            &["--start-in", "1h"],
            &["--name", "n", "--idempotency-key", "k", "-w", "--timeout", "10m", "--in", "1d"],
        ] {
            assert!(Cli::try_parse_from([&run[..], right].concat()).is_ok(), "{right:?}");
        }
    }

    #[test]
    fn later_is_counted_from_now() {
        let (before, after) = (SystemClock.now().as_micros(), after(Duration::from_millis(3_600_500)));
        let due = after.expect("is right");
        let late = due.seconds * 1_000_000 + i64::from(due.nanos) / 1_000 - before;
        assert!((3_600_500_000..3_700_000_000).contains(&late), "{late}");
        assert!(super::after(Duration::MAX).is_err());
    }
}
