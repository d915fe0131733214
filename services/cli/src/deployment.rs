//! `tidegate deployment …`: flows that can be started by name.

use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tidegate_sdk_core::{
    Client, Options, new_run_id, payload,
    proto::{NewRun, new_run::Placement},
};

use crate::{
    args::{DeploymentArgs, DeploymentCommand, DeploymentRun},
    fault::{Fault, exit},
    output::{deployment_detail, deployment_json, deployment_table, version_json, version_table},
    run::Printer,
};

/// Does what the arguments say.
pub fn main(args: DeploymentArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: DeploymentArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        match args.command {
            DeploymentCommand::Ls { filter } => ls(&client, &printer, &filter).await,
            DeploymentCommand::Get { name } => {
                let deployment = client.get_deployment(&name).await?;
                if printer.is_json() {
                    printer.document(&deployment_json(&deployment))
                } else {
                    printer.text(&deployment_detail(&deployment))
                }
            }
            DeploymentCommand::Run(run) => start(&client, &printer, run).await,
            DeploymentCommand::Versions { name } => {
                let versions = client.deployment_versions(&name).await?;
                if printer.is_json() {
                    printer.document(&versions.iter().map(version_json).collect())
                } else {
                    printer.text(&version_table(&versions))
                }
            }
            DeploymentCommand::Rollback { name, version } => {
                let deployment = client.rollback_deployment(&name, version).await?;
                if printer.is_json() {
                    printer.document(&deployment_json(&deployment))
                } else {
                    printer.text(&format!("{name}  is at version {}\n", deployment.version))
                }
            }
            DeploymentCommand::Delete { name, allow_missing } => {
                client.delete_deployment(&name, allow_missing).await?;
                if printer.is_json() {
                    printer.document(&json!({ "deleted": name }))
                } else {
                    printer.text(&format!("{name}  deleted\n"))
                }
            }
        }
    })
}

async fn ls(client: &Client, printer: &Printer, filter: &str) -> Result<(), Fault> {
    let deployments = client.deployments(filter).await?;
    if printer.is_json() {
        printer.document(&deployments.iter().map(deployment_json).collect())
    } else {
        printer.text(&deployment_table(&deployments))
    }
}

async fn start(client: &Client, printer: &Printer, asked: DeploymentRun) -> Result<(), Fault> {
    let parameters = parameters(asked.params.as_deref(), &asked.param)?.to_string();
    let run = NewRun {
        id: new_run_id(),
        deployment: asked.name,
        run_name: asked.run_name.unwrap_or_default(),
        placement: asked.queue.map(Placement::Queue),
        parameters: Some(payload::encoded("json/plain", parameters.into_bytes())),
        tags: asked.tags,
        idempotency_key: asked.key.unwrap_or_default(),
        ..NewRun::default()
    };
    let created = client.create_run(run).await?;
    if printer.is_json() {
        printer.document(&json!({ "run_id": created.id, "created": created.created }))
    } else {
        let note = if created.created { "" } else { "  was there before" };
        printer.text(&format!("{}{note}\n", created.id))
    }
}

/// The parameters of a run: an object, and over it single ones.
fn parameters(object: Option<&str>, single: &[(String, Value)]) -> Result<Value, Fault> {
    let mut parameters = match object.map(serde_json::from_str) {
        None => Map::new(),
        Some(Ok(Value::Object(parameters))) => parameters,
        Some(Ok(_)) => return Err(Fault::usage("--params is no JSON object, such as '{\"n\": 1}'")),
        Some(Err(error)) => return Err(Fault::usage(format!("--params is no JSON: {error}"))),
    };
    parameters.extend(single.iter().cloned());
    Ok(Value::Object(parameters))
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
