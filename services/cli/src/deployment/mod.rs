//! `tidegate deployment …`: flows that can be started by name.

mod run;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tidegate_sdk_core::Client;

use crate::{
    ask::{Outcome, ask},
    common::{Common, Watch},
    completion::named,
    fault::Fault,
    names,
    output::{deployment_detail, deployment_json, deployment_table, version_json, version_table},
    printer::Printer,
};

pub use run::parse_param;
use run::{DeploymentRun, start};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such deployment or version; 4 `run --watch`: the run \
                  ended other than COMPLETED; 6 `run --timeout`: it has not ended by then; 69 no server answers."
)]
pub struct DeploymentArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: DeploymentCommand,
}

#[derive(Subcommand, Debug)]
pub enum DeploymentCommand {
    /// List the deployments by name
    Ls {
        /// Which deployments: `flow = etl AND tags:nightly`, `deployment = "*/nightly"`, `labels.team = ml`
        #[arg(long, default_value = "")]
        filter: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one deployment
    Get {
        /// Its name: `flow/deployment`
        #[arg(add = named(names::deployments))]
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Start a run of a deployment, and tell its id
    #[command(
        after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such deployment; 4 `--watch`: the run ended other \
                      than COMPLETED; 6 `--timeout`: it has not ended by then; 69 no server answers."
    )]
    Run(Box<DeploymentRun>),
    /// List the versions of a deployment that are kept, the newest first
    Versions {
        /// Its name: `flow/deployment`
        #[arg(add = named(names::deployments))]
        name: String,
    },
    /// Give a deployment what one of its versions said, as a new version
    Rollback {
        /// Its name: `flow/deployment`
        #[arg(add = named(names::deployments))]
        name: String,
        /// The version's number, as `versions` shows it
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        version: u64,
    },
    /// Take a deployment away with its versions; its runs stay
    Delete {
        /// Its name: `flow/deployment`
        #[arg(add = named(names::deployments))]
        name: String,
        /// That it is not there is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

/// Does what the arguments say.
pub fn main(args: DeploymentArgs) -> ExitCode {
    ask(&args.common, async |client, printer| match args.command {
        DeploymentCommand::Ls { filter, watch } => ls(client, printer, &filter, watch).await,
        DeploymentCommand::Get { name, watch } => {
            let look = async || {
                let deployment = client.get_deployment(&name).await?;
                Ok(printer.render(|| deployment_json(&deployment), || deployment_detail(&deployment)))
            };
            printer.show(watch, look).await
        }
        DeploymentCommand::Run(run) => start(client, printer, *run).await,
        DeploymentCommand::Versions { name } => {
            let versions = client.deployment_versions(&name).await?;
            printer.answer(|| versions.iter().map(version_json).collect(), || version_table(&versions))
        }
        DeploymentCommand::Rollback { name, version } => {
            let deployment = client.rollback_deployment(&name, version).await?;
            printer.answer(
                || deployment_json(&deployment),
                || format!("{name}  is at version {}\n", deployment.version),
            )
        }
        DeploymentCommand::Delete { name, allow_missing } => {
            client.delete_deployment(&name, allow_missing).await?;
            printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, filter: &str, watch: Watch) -> Outcome {
    let look = async || {
        let deployments = client.deployments(filter).await?;
        Ok(printer
            .render(|| deployments.iter().map(deployment_json).collect(), || deployment_table(&deployments)))
    };
    printer.show(watch, look).await
}

/// The parameters of a run: an object, and over it single ones.
pub fn parameters(all: Option<&str>, single: &[(String, Value)]) -> Result<Value, Fault> {
    let mut parameters = all.map(|text| object("--params", text)).transpose()?.unwrap_or_default();
    parameters.extend(single.iter().cloned());
    Ok(Value::Object(parameters))
}

/// The JSON object that an option has.
pub fn object(option: &str, text: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Fault::usage(format!("{option} is no JSON object, such as '{{\"n\": 1}}'"))),
        Err(error) => Err(Fault::usage(format!("{option} is no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_parameters_go_over_the_object() {
        let single = [("n".to_owned(), json!(2)), ("day".to_owned(), json!("monday"))];
        let both = parameters(Some(r#"{"n": 1, "m": 3}"#), &single).expect("are right");
        assert_eq!(both, json!({"n": 2, "m": 3, "day": "monday"}));
        for wrong in ["[1]", "{"] {
            assert!(
                parameters(Some(wrong), &[])
                    .expect_err("is wrong")
                    .to_string()
                    .contains("--params is no JSON")
            );
        }
    }
}
