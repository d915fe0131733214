//! `tidegate bulk …`: what is done to many runs at once.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidegate_sdk_core::{Client, proto::BulkOperation};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch},
    completion::named,
    names,
    output::{bulk_json, bulk_table, bulk_text},
    printer::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such operation; 69 no server answers."
)]
pub struct BulkArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: BulkCommand,
}

#[derive(Subcommand, Debug)]
pub enum BulkCommand {
    /// List bulk operations, newest first; one that has ended is kept for a day
    Ls {
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show one operation
    Get {
        /// The operation's id, as it was told when it was started
        #[arg(add = named(names::bulk_operations))]
        id: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Have an operation go no further; what was done stays
    Cancel {
        /// The operation's id, as it was told when it was started
        #[arg(add = named(names::bulk_operations))]
        id: String,
    },
}

/// Does what the arguments say.
pub fn main(args: BulkArgs) -> ExitCode {
    ask(&args.common, async |client, printer| match args.command {
        BulkCommand::Ls { limit, listed } => ls(client, printer, limit, &listed).await,
        BulkCommand::Get { id, watch } => {
            let look = async || {
                let operation = client.bulk_operation(&id).await?;
                Ok(printer.render(|| bulk_json(&operation), || bulk_text(&operation)))
            };
            printer.show(watch, look).await
        }
        BulkCommand::Cancel { id } => {
            let operation = client.cancel_bulk_operation(&id).await?;
            printer.answer(|| bulk_json(&operation), || bulk_text(&operation))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, limit: u32, listed: &Listed) -> Outcome {
    let look = async || {
        let page = async |page_token| {
            let page = client.bulk_operation_page(listed.page_size(limit), page_token).await;
            page.map(|page| (page.operations, page.next_page_token))
        };
        let like = bulk_json(&BulkOperation::default());
        let operations = listed.select_pages(limit, bulk_json, &like, page).await?;
        Ok(printer.render(|| operations.iter().map(bulk_json).collect(), || bulk_table(&operations)))
    };
    printer.show(listed.watch, look).await
}
