//! `tidegate queue …`: queues, their settings, and what goes on in them.

use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate_sdk_core::{Client, Options};

use crate::{
    args::{QueueArgs, QueueCommand},
    fault::{Fault, exit},
    output::{queue_detail, queue_detail_json, queue_json, queue_table},
    run::Printer,
};

/// Does what the arguments say.
pub fn main(args: QueueArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: QueueArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        let queue = match args.command {
            QueueCommand::Ls => return ls(&client, &printer).await,
            QueueCommand::Get { name } => return get(&client, &printer, &name).await,
            QueueCommand::Set { name, slots, .. } => client.put_queue(&name, slots).await?,
            QueueCommand::Pause { name, reason } => client.pause_queue(&name, &reason).await?,
            QueueCommand::Resume { name } => client.resume_queue(&name).await?,
            QueueCommand::Delete { name, allow_missing } => {
                client.delete_queue(&name, allow_missing).await?;
                return if printer.is_json() {
                    printer.document(&json!({ "deleted": name }))
                } else {
                    printer.text(&format!("{name}  deleted\n"))
                };
            }
        };
        if printer.is_json() {
            printer.document(&queue_json(&queue))
        } else {
            printer.text(&queue_table(&[queue]))
        }
    })
}

async fn ls(client: &Client, printer: &Printer) -> Result<(), Fault> {
    let queues = client.queues().await?;
    if printer.is_json() {
        printer.document(&Value::Array(queues.iter().map(queue_json).collect()))
    } else {
        printer.text(&queue_table(&queues))
    }
}

async fn get(client: &Client, printer: &Printer, name: &str) -> Result<(), Fault> {
    let found = client.get_queue(name).await?;
    if printer.is_json() {
        printer.document(&queue_detail_json(&found))
    } else {
        printer.text(&queue_detail(&found))
    }
}
