//! `tidegate schedule …`: what starts deployments by the clock. Schedules are made and changed by `tidegate deploy`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use serde_json::json;
use tidegate_sdk_core::{
    Client,
    proto::{BackfillScheduleRequest, PreviewScheduleRequest},
};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Watch},
    completion,
    confirm::is_confirmed,
    fault::Fault,
    output::{
        backfill_json, backfill_text, fire_json, fire_text, schedule_detail, schedule_json, schedule_table,
    },
    printer::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Schedules are made and changed by `tidegate deploy`.\nExit codes: 0 done; 1 error; 2 wrong usage; 3 no \
                  such schedule; 69 no server answers."
)]
pub struct ScheduleArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

/// Which schedule.
#[derive(Args, Debug)]
pub struct ScheduleName {
    /// The deployment: `flow/deployment`
    #[arg(add = completion::deployments())]
    deployment: String,
    /// The schedule's name within the deployment
    #[arg(default_value = "default")]
    name: String,
}

#[derive(Subcommand, Debug)]
pub enum ScheduleCommand {
    /// List schedules, with the time at which each fires next
    Ls {
        /// Only those of this deployment: `flow/deployment`
        #[arg(add = completion::deployments())]
        deployment: Option<String>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one schedule
    Get {
        #[command(flatten)]
        of: ScheduleName,
        #[command(flatten)]
        watch: Watch,
    },
    /// Have a schedule fire no more until it is resumed; runs that exist go on
    Pause {
        #[command(flatten)]
        of: ScheduleName,
        /// Why, for people
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have a schedule fire again, from now on
    Resume(ScheduleName),
    /// Take a schedule away; its runs stay
    Delete {
        #[command(flatten)]
        of: ScheduleName,
        /// That it is not there is no error
        #[arg(long)]
        allow_missing: bool,
    },
    /// Tell the next times of a schedule
    Preview {
        #[command(flatten)]
        of: ScheduleName,
        /// How many
        #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=1_000))]
        count: i32,
        /// Times after this one, in RFC 3339 [default: now]
        #[arg(long, value_parser = time)]
        after: Option<Timestamp>,
    },
    /// Make the runs of a past range of times, after asking whether so many are meant; none is made twice
    Backfill {
        #[command(flatten)]
        of: ScheduleName,
        /// The first time of the range, in RFC 3339: `2026-11-01T00:00:00Z`
        #[arg(long, value_parser = time)]
        from: Timestamp,
        /// The end of the range, which is not in it; at most now
        #[arg(long, value_parser = time)]
        to: Timestamp,
        /// Only tell what would be made
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long, conflicts_with = "dry_run")]
        yes: bool,
    },
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "is no time in RFC 3339, such as `2026-11-01T00:00:00Z`".to_owned())
}

/// Does what the arguments say.
pub fn main(args: ScheduleArgs) -> ExitCode {
    ask(&args.common, async |client, printer| {
        let schedule = match args.command {
            ScheduleCommand::Ls { deployment, watch } => {
                return ls(client, printer, &deployment.unwrap_or_default(), watch).await;
            }
            ScheduleCommand::Get { of, watch } => return get(client, printer, &of, watch).await,
            ScheduleCommand::Pause { of, reason } => {
                client.pause_schedule(&of.deployment, &of.name, &reason).await?
            }
            ScheduleCommand::Resume(of) => client.resume_schedule(&of.deployment, &of.name).await?,
            ScheduleCommand::Delete { of, allow_missing } => {
                client.delete_schedule(&of.deployment, &of.name, allow_missing).await?;
                let value = || json!({ "deleted": { "deployment": of.deployment, "name": of.name } });
                return printer.answer(value, || format!("{} {}  deleted\n", of.deployment, of.name));
            }
            ScheduleCommand::Preview { of, count, after } => {
                let (deployment, name) = (of.deployment, of.name);
                let request = PreviewScheduleRequest { deployment, name, after, count, ..Default::default() };
                let fires = client.preview_schedule(request).await?;
                return printer.answer(
                    || fires.iter().map(fire_json).collect(),
                    || fires.iter().map(fire_text).collect(),
                );
            }
            ScheduleCommand::Backfill { of, from, to, dry_run, yes } => {
                let (deployment, name) = (of.deployment, of.name);
                let request = BackfillScheduleRequest {
                    deployment,
                    name,
                    from: Some(from),
                    to: Some(to),
                    validate_only: dry_run,
                    ..Default::default()
                };
                return backfill(client, printer, request, yes).await;
            }
        };
        printer.answer(|| schedule_json(&schedule), || schedule_detail(&schedule))
    })
}

async fn ls(client: &Client, printer: &Printer, deployment: &str, watch: Watch) -> Outcome {
    let look = async || {
        let schedules = client.schedules(deployment).await?;
        Ok(printer.render(|| schedules.iter().map(schedule_json).collect(), || schedule_table(&schedules)))
    };
    printer.show(watch, look).await
}

async fn get(client: &Client, printer: &Printer, of: &ScheduleName, watch: Watch) -> Outcome {
    let look = async || {
        let schedule = client.get_schedule(&of.deployment, &of.name).await?;
        Ok(printer.render(|| schedule_json(&schedule), || schedule_detail(&schedule)))
    };
    printer.show(watch, look).await
}

/// Makes what was asked about, and nothing else: the range must still have as many times.
async fn backfill(
    client: &Client,
    printer: &Printer,
    mut request: BackfillScheduleRequest,
    yes: bool,
) -> Outcome {
    if !request.validate_only && !yes {
        let asked = BackfillScheduleRequest { validate_only: true, ..request.clone() };
        let would = client.backfill_schedule(asked).await?;
        if would.created_count > 0 && !is_confirmed(&format!("make {} runs", would.created_count))? {
            return Err(Fault::stopped("nothing was made"));
        }
        request.expected_count = Some(would.count);
    }
    let is_dry = request.validate_only;
    let made = client.backfill_schedule(request).await?;
    printer.answer(|| backfill_json(&made), || backfill_text(&made, is_dry))
}
