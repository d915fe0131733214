//! `tidegate bulk …`: what is done to many runs at once.

use std::process::ExitCode;

use serde_json::Value;
use tidegate_sdk_core::{Client, Options};

use crate::{
    args::{BulkArgs, BulkCommand},
    fault::{Fault, exit},
    output::{bulk_json, bulk_table, bulk_text},
    run::Printer,
};

/// Does what the arguments say.
pub fn main(args: BulkArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: BulkArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        let operation = match args.command {
            BulkCommand::Ls { limit } => return ls(&client, &printer, limit).await,
            BulkCommand::Get { id } => client.bulk_operation(&id).await?,
            BulkCommand::Cancel { id } => client.cancel_bulk_operation(&id).await?,
        };
        if printer.is_json() {
            printer.document(&bulk_json(&operation))
        } else {
            printer.text(&bulk_text(&operation))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, limit: u32) -> Result<(), Fault> {
    let operations = client.bulk_operations(usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    if printer.is_json() {
        printer.document(&Value::Array(operations.iter().map(bulk_json).collect()))
    } else {
        printer.text(&bulk_table(&operations))
    }
}
