//! `tidegate automation …`: what the server itself does when something happens to a run.

mod set;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate_sdk_core::{
    Client,
    proto::{Automation, Firing, RunTrigger, State, Webhook, automation::Action},
};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch},
    completion::named,
    names::{self, found},
    output::{automation_detail, automation_json, automation_table, firing_json, firing_table},
    printer::Printer,
};

use set::SetArgs;

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Values of headers and signing secrets are kept by the server and shown to nobody.\n\
                  Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such automation; 69 no server answers."
)]
pub struct AutomationArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: AutomationCommand,
}

#[derive(Subcommand, Debug)]
pub enum AutomationCommand {
    /// List automations, by name
    Ls(Listed),
    /// Show one automation, and how it went so far
    Get {
        /// The automation's name
        #[arg(add = named(names::automations))]
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Make an automation, or change all of it but whether it is paused
    Set {
        /// The automation's name: characters of A-Z a-z 0-9 . _ -
        #[arg(add = named(names::automations))]
        name: String,
        #[command(flatten)]
        set: Box<SetArgs>,
    },
    /// Take an automation away, and what it is still to do
    Delete {
        /// The automation's name
        #[arg(add = named(names::automations))]
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
    /// Have nothing set an automation off any more; what it is still to do waits
    Pause {
        /// The automation's name
        #[arg(add = named(names::automations))]
        name: String,
    },
    /// Have an automation set off again by what happens from now on, and do what has waited
    Resume {
        /// The automation's name
        #[arg(add = named(names::automations))]
        name: String,
    },
    /// List what an automation is still to do, or has given up within the last 7 days
    Firings {
        /// The automation's name
        #[arg(add = named(names::automations))]
        name: String,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        #[command(flatten)]
        listed: Listed,
    },
}

/// Does what the arguments say.
pub fn main(args: AutomationArgs) -> ExitCode {
    ask(&args.common, async |client, printer| {
        let automation = match args.command {
            AutomationCommand::Ls(listed) => return ls(client, printer, &listed).await,
            AutomationCommand::Get { name, watch } => return get(client, printer, &name, watch).await,
            AutomationCommand::Set { name, set } => client.set_automation(set.request(name)?).await?.0,
            AutomationCommand::Delete { name, allow_missing } => {
                let deleted = client.delete_automation(&name, allow_missing).await;
                found(deleted, &name, names::automations(client)).await?;
                return printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"));
            }
            AutomationCommand::Pause { name } => {
                let paused = client.pause_automation(&name).await;
                found(paused, &name, names::automations(client)).await?
            }
            AutomationCommand::Resume { name } => {
                let resumed = client.resume_automation(&name).await;
                found(resumed, &name, names::automations(client)).await?
            }
            AutomationCommand::Firings { name, limit, listed } => {
                return firings(client, printer, &name, limit, &listed).await;
            }
        };
        printer.answer(|| automation_json(&automation), || automation_detail(&automation))
    })
}

async fn ls(client: &Client, printer: &Printer, listed: &Listed) -> Outcome {
    let look = async || {
        let like = automation_json(&Automation {
            trigger: Some(RunTrigger::default()),
            action: Some(Action::Webhook(Webhook::default())),
            ..Automation::default()
        });
        let automations = listed.select(client.automations().await?, automation_json, &like)?;
        Ok(printer
            .render(|| automations.iter().map(automation_json).collect(), || automation_table(&automations)))
    };
    printer.show(listed.watch, look).await
}

async fn get(client: &Client, printer: &Printer, name: &str, watch: Watch) -> Outcome {
    let look = async || {
        let asked = client.automation(name).await;
        let automation = found(asked, name, names::automations(client)).await?;
        Ok(printer.render(|| automation_json(&automation), || automation_detail(&automation)))
    };
    printer.show(watch, look).await
}

async fn firings(client: &Client, printer: &Printer, name: &str, limit: u32, listed: &Listed) -> Outcome {
    // A name that is not there is told with the one that was probably meant, which a page of a list is not.
    found(client.firing_page(name, 1, String::new()).await, name, names::automations(client)).await?;
    let look = async || {
        let page = async |page_token| {
            let page = client.firing_page(name, listed.page_size(limit), page_token).await;
            page.map(|page| (page.firings, page.next_page_token))
        };
        let like = firing_json(&Firing { state: Some(State::default()), ..Firing::default() });
        let firings = listed.select_pages(limit, firing_json, &like, page).await?;
        Ok(printer.render(|| firings.iter().map(firing_json).collect(), || firing_table(&firings)))
    };
    printer.show(listed.watch, look).await
}
