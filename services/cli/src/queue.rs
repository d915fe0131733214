//! `tidegate queue …`: queues, their settings, and what goes on in them.

use std::{process::ExitCode, slice};

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate_sdk_core::Client;

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch},
    completion::named,
    names::{self, found},
    output::{queue_detail, queue_detail_json, queue_json, queue_table},
    printer::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 the queue has no settings; 69 no server answers."
)]
pub struct QueueArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: QueueCommand,
}

#[derive(Subcommand, Debug)]
pub enum QueueCommand {
    /// List the queues that have settings or were used within the last hour
    Ls(Listed),
    /// Show one queue: how much waits and is held, and how many workers serve it
    Get {
        /// The queue's name
        #[arg(add = named(names::queues))]
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Set how many runs of a queue may be held at once
    Set {
        /// The queue's name
        #[arg(add = named(names::queues))]
        name: String,
        /// How many runs; 0 has every run wait
        #[arg(
            long,
            value_parser = clap::value_parser!(u32).range(0..=1_000_000),
            required_unless_present = "no_limit",
            conflicts_with = "no_limit"
        )]
        slots: Option<u32>,
        /// As many as workers have slots for
        #[arg(long)]
        no_limit: bool,
    },
    /// Have no run of a queue start any more; what runs goes on
    Pause {
        /// The queue's name
        #[arg(add = named(names::queues))]
        name: String,
        /// Why, for those who ask what a run waits for
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have the runs of a queue start again
    Resume {
        /// The queue's name
        #[arg(add = named(names::queues))]
        name: String,
    },
    /// Take the settings of a queue away, its pause among them; its runs stay
    Delete {
        /// The queue's name
        #[arg(add = named(names::queues))]
        name: String,
        /// That it has no settings is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

/// Does what the arguments say.
pub fn main(args: QueueArgs) -> ExitCode {
    ask(&args.common, async |client, printer| {
        let queue = match args.command {
            QueueCommand::Ls(listed) => return ls(client, printer, &listed).await,
            QueueCommand::Get { name, watch } => return get(client, printer, &name, watch).await,
            QueueCommand::Set { name, slots, .. } => client.put_queue(&name, slots).await?,
            QueueCommand::Pause { name, reason } => client.pause_queue(&name, &reason).await?,
            QueueCommand::Resume { name } => {
                found(client.resume_queue(&name).await, &name, names::queues(client)).await?
            }
            QueueCommand::Delete { name, allow_missing } => {
                let deleted = client.delete_queue(&name, allow_missing).await;
                found(deleted, &name, names::queues(client)).await?;
                return printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"));
            }
        };
        printer.answer(|| queue_json(&queue), || queue_table(slice::from_ref(&queue)))
    })
}

async fn ls(client: &Client, printer: &Printer, listed: &Listed) -> Outcome {
    let look = async || {
        let queues = client.find_queues(&listed.filter).await?;
        Ok(printer.render(|| queues.iter().map(queue_json).collect(), || queue_table(&queues)))
    };
    printer.show(listed.watch, look).await
}

async fn get(client: &Client, printer: &Printer, name: &str, watch: Watch) -> Outcome {
    let look = async || {
        let found = client.get_queue(name).await?;
        Ok(printer.render(|| queue_detail_json(&found), || queue_detail(&found)))
    };
    printer.show(watch, look).await
}
