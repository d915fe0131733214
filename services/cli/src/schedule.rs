//! `tidegate schedule …`: what starts deployments by the clock. Schedules are made and changed by `tidegate deploy`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use serde_json::{Value, json};
use tidegate_sdk_core::{
    Client, Options,
    proto::{BackfillScheduleRequest, PreviewScheduleRequest},
};

use crate::{
    args::{Format, ServerAddress},
    ask::is_confirmed,
    fault::{Fault, exit},
    output::{
        backfill_json, backfill_text, fire_json, fire_text, schedule_detail, schedule_json, schedule_table,
    },
    run::Printer,
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
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

/// Which schedule.
#[derive(Args, Debug)]
pub struct ScheduleName {
    /// The deployment: `flow/deployment`
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
        deployment: Option<String>,
    },
    /// Show one schedule
    Get(ScheduleName),
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
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: ScheduleArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        let schedule = match args.command {
            ScheduleCommand::Ls { deployment } => return ls(&client, &printer, deployment).await,
            ScheduleCommand::Get(of) => client.get_schedule(&of.deployment, &of.name).await?,
            ScheduleCommand::Pause { of, reason } => {
                client.pause_schedule(&of.deployment, &of.name, &reason).await?
            }
            ScheduleCommand::Resume(of) => client.resume_schedule(&of.deployment, &of.name).await?,
            ScheduleCommand::Delete { of, allow_missing } => {
                client.delete_schedule(&of.deployment, &of.name, allow_missing).await?;
                return if printer.is_json() {
                    printer.document(&json!({ "deleted": { "deployment": of.deployment, "name": of.name } }))
                } else {
                    printer.text(&format!("{} {}  deleted\n", of.deployment, of.name))
                };
            }
            ScheduleCommand::Preview { of, count, after } => {
                let (deployment, name) = (of.deployment, of.name);
                let request = PreviewScheduleRequest { deployment, name, after, count, ..Default::default() };
                let fires = client.preview_schedule(request).await?;
                return if printer.is_json() {
                    printer.document(&Value::Array(fires.iter().map(fire_json).collect()))
                } else {
                    printer.text(&fires.iter().map(fire_text).collect::<String>())
                };
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
                return backfill(&client, &printer, request, yes).await;
            }
        };
        if printer.is_json() {
            printer.document(&schedule_json(&schedule))
        } else {
            printer.text(&schedule_detail(&schedule))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, deployment: Option<String>) -> Result<(), Fault> {
    let schedules = client.schedules(&deployment.unwrap_or_default()).await?;
    if printer.is_json() {
        printer.document(&Value::Array(schedules.iter().map(schedule_json).collect()))
    } else {
        printer.text(&schedule_table(&schedules))
    }
}

/// Makes what was asked about, and nothing else: the range must still have as many times.
async fn backfill(
    client: &Client,
    printer: &Printer,
    mut request: BackfillScheduleRequest,
    yes: bool,
) -> Result<(), Fault> {
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
    if printer.is_json() {
        printer.document(&backfill_json(&made))
    } else {
        printer.text(&backfill_text(&made, is_dry))
    }
}
