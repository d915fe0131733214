//! `tidegate pool …`: work pools, and what goes on in them.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};
use tidegate_proto::v1::{WorkPoolSpec, WorkPoolType};
use tidegate_sdk_core::{Client, Options};

use crate::{
    args::{PoolArgs, PoolCommand, PoolSpecArgs, PoolType},
    fault::{Fault, exit},
    output::{pool_detail, pool_detail_json, pool_json, pool_table},
    run::Printer,
};

/// Does what the arguments say.
pub fn main(args: PoolArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: PoolArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        let pool = match args.command {
            PoolCommand::Ls => return ls(&client, &printer).await,
            PoolCommand::Get { name } => return get(&client, &printer, &name).await,
            PoolCommand::Create { name, r#type, update_if_exists, spec } => {
                let (mut spec, _) = told(spec)?;
                spec.set_type(type_of(r#type));
                client.create_work_pool(&name, spec, update_if_exists).await?.0
            }
            PoolCommand::Update { name, no_limit, spec } => {
                let (spec, mut paths) = told(spec)?;
                if no_limit {
                    paths.push("max_slots".to_owned());
                }
                client.update_work_pool(&name, spec, paths).await?
            }
            PoolCommand::Pause { name, reason } => client.pause_work_pool(&name, &reason).await?,
            PoolCommand::Resume { name } => client.resume_work_pool(&name).await?,
            PoolCommand::Delete { name, allow_missing } => {
                client.delete_work_pool(&name, allow_missing).await?;
                return if printer.is_json() {
                    printer.document(&json!({ "deleted": name }))
                } else {
                    printer.text(&format!("{name}  deleted\n"))
                };
            }
        };
        if printer.is_json() {
            printer.document(&pool_json(&pool))
        } else {
            printer.text(&pool_table(&[pool]))
        }
    })
}

async fn ls(client: &Client, printer: &Printer) -> Result<(), Fault> {
    let pools = client.work_pools().await?;
    if printer.is_json() {
        printer.document(&Value::Array(pools.iter().map(pool_json).collect()))
    } else {
        printer.text(&pool_table(&pools))
    }
}

async fn get(client: &Client, printer: &Printer, name: &str) -> Result<(), Fault> {
    let found = client.get_work_pool(name).await?;
    if printer.is_json() {
        printer.document(&pool_detail_json(&found))
    } else {
        printer.text(&pool_detail(&found))
    }
}

/// What is said, and the fields that it is said of.
fn told(args: PoolSpecArgs) -> Result<(WorkPoolSpec, Vec<String>), Fault> {
    let file = |path: Option<&Path>| path.map(std::fs::read_to_string).transpose();
    let schema = file(args.job_variable_schema.as_deref())?;
    let template = file(args.job_template.as_deref())?;
    let fields = [
        ("description", args.description.is_some()),
        ("queues", !args.queues.is_empty()),
        ("max_slots", args.slots.is_some()),
        ("job_variables", args.job_variables.is_some()),
        ("job_variable_schema", schema.is_some()),
        ("job_template", template.is_some()),
    ];
    let paths =
        fields.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| field.to_owned()).collect();
    let spec = WorkPoolSpec {
        description: args.description.unwrap_or_default(),
        queues: args.queues,
        max_slots: args.slots,
        job_variables: args.job_variables.unwrap_or_default(),
        job_variable_schema: schema.unwrap_or_default(),
        job_template: template.unwrap_or_default(),
        ..WorkPoolSpec::default()
    };
    Ok((spec, paths))
}

const fn type_of(pool: PoolType) -> WorkPoolType {
    match pool {
        PoolType::Process => WorkPoolType::Process,
        PoolType::Docker => WorkPoolType::Docker,
        PoolType::Kubernetes => WorkPoolType::Kubernetes,
    }
}
