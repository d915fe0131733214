//! `tidegate schedule …`: what starts deployments by the clock.

mod spec;

use std::process::ExitCode;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use prost_types::Timestamp;
use serde_json::json;
use tidegate_sdk_core::{
    Client, Error,
    proto::{BackfillScheduleRequest, PreviewScheduleRequest, Schedule},
};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch, parse_time},
    completion::{self, named},
    confirm::is_confirmed,
    fault::Fault,
    names::{self, found},
    output::{
        backfill_json, backfill_text, fire_json, fire_text, schedule_detail, schedule_json, schedule_table,
    },
    printer::Printer,
};

use spec::SpecArgs;

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "What a tidegate.toml says is made and changed by `tidegate deploy`.\n\
                  Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such schedule or deployment; 69 no server answers."
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
    #[arg(add = named(names::deployments))]
    deployment: String,
    /// The schedule's name within the deployment
    #[arg(default_value = "default", add = completion::schedules())]
    name: String,
}

impl ScheduleName {
    /// What was found of it; a fault has the schedule that was probably meant.
    async fn found<T>(&self, asked: Result<T, Error>, client: &Client) -> Result<T, Fault> {
        found(asked, &format!("{} {}", self.deployment, self.name), names::schedules(client)).await
    }
}

#[derive(Subcommand, Debug)]
pub enum ScheduleCommand {
    /// List schedules, with the time at which each fires next
    Ls {
        /// Only those of this deployment: `flow/deployment`
        #[arg(add = named(names::deployments))]
        deployment: Option<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show one schedule
    Get {
        #[command(flatten)]
        of: ScheduleName,
        #[command(flatten)]
        watch: Watch,
    },
    /// Make a schedule of a deployment
    Create {
        #[command(flatten)]
        of: ScheduleName,
        #[command(flatten)]
        spec: Box<SpecArgs>,
        /// It fires only after it was resumed; one that is there stays as it is
        #[arg(long)]
        paused: bool,
        /// One that is there gets all of this
        #[arg(long)]
        update_if_exists: bool,
        /// Only tell the next times that it would have
        #[arg(long)]
        dry_run: bool,
    },
    /// Change a schedule; what is not named stays
    Update {
        #[command(flatten)]
        of: ScheduleName,
        #[command(flatten)]
        spec: Box<SpecArgs>,
        /// What is said no more of it; may be given several times
        #[arg(long, value_name = "FIELD", value_parser = PossibleValuesParser::new(spec::OPTIONAL))]
        unset: Vec<String>,
        /// Only where it is still as `get -o json` has told it
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
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
        #[arg(long, value_parser = parse_time)]
        after: Option<Timestamp>,
    },
    /// Make the runs of a past range of times, after asking whether so many are meant; none is made twice
    Backfill {
        #[command(flatten)]
        of: ScheduleName,
        /// The first time of the range, in RFC 3339: `2026-11-01T00:00:00Z`
        #[arg(long, value_parser = parse_time)]
        from: Timestamp,
        /// The end of the range, which is not in it; at most now
        #[arg(long, value_parser = parse_time)]
        to: Timestamp,
        /// Only tell what would be made
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long, conflicts_with = "dry_run")]
        yes: bool,
    },
}

/// Does what the arguments say.
pub fn main(args: ScheduleArgs) -> ExitCode {
    ask(&args.common, async |client, printer| {
        let schedule = match args.command {
            ScheduleCommand::Ls { deployment, listed } => {
                return ls(client, printer, &deployment.unwrap_or_default(), &listed).await;
            }
            ScheduleCommand::Get { of, watch } => return get(client, printer, &of, watch).await,
            ScheduleCommand::Create { of, spec, paused, update_if_exists, dry_run } => {
                let (spec, _) = spec.told()?;
                if spec.timetable.is_none() {
                    let mend = "say one of --cron, --interval and --rrule, such as --cron '0 3 * * *'";
                    return Err(Fault::usage(format!("a schedule needs times: {mend}")));
                }
                if dry_run {
                    return preview(
                        client,
                        printer,
                        PreviewScheduleRequest { spec: Some(spec), ..Default::default() },
                    )
                    .await;
                }
                client.create_schedule(&of.deployment, &of.name, spec, paused, update_if_exists).await?.0
            }
            ScheduleCommand::Update { of, spec, unset, etag } => {
                update(client, &of, *spec, &unset, &etag).await?
            }
            ScheduleCommand::Pause { of, reason } => {
                let paused = client.pause_schedule(&of.deployment, &of.name, &reason).await;
                of.found(paused, client).await?
            }
            ScheduleCommand::Resume(of) => {
                of.found(client.resume_schedule(&of.deployment, &of.name).await, client).await?
            }
            ScheduleCommand::Delete { of, allow_missing } => {
                let deleted = client.delete_schedule(&of.deployment, &of.name, allow_missing).await;
                of.found(deleted, client).await?;
                let value = || json!({ "deleted": { "deployment": of.deployment, "name": of.name } });
                return printer.answer(value, || format!("{} {}  deleted\n", of.deployment, of.name));
            }
            ScheduleCommand::Preview { of, count, after } => {
                let (deployment, name) = (of.deployment, of.name);
                let request = PreviewScheduleRequest { deployment, name, after, count, ..Default::default() };
                return preview(client, printer, request).await;
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

async fn ls(client: &Client, printer: &Printer, deployment: &str, listed: &Listed) -> Outcome {
    let look = async || {
        let schedules = client.find_schedules(deployment, &listed.filter).await?;
        Ok(printer.render(|| schedules.iter().map(schedule_json).collect(), || schedule_table(&schedules)))
    };
    printer.show(listed.watch, look).await
}

async fn get(client: &Client, printer: &Printer, of: &ScheduleName, watch: Watch) -> Outcome {
    let look = async || {
        let schedule = of.found(client.get_schedule(&of.deployment, &of.name).await, client).await?;
        Ok(printer.render(|| schedule_json(&schedule), || schedule_detail(&schedule)))
    };
    printer.show(watch, look).await
}

async fn preview(client: &Client, printer: &Printer, request: PreviewScheduleRequest) -> Outcome {
    let fires = client.preview_schedule(request).await?;
    printer.answer(|| fires.iter().map(fire_json).collect(), || fires.iter().map(fire_text).collect())
}

async fn update(
    client: &Client,
    of: &ScheduleName,
    spec: SpecArgs,
    unset: &[String],
    etag: &str,
) -> Result<Schedule, Fault> {
    let (spec, said) = spec.told()?;
    let mut fields: Vec<&str> = said;
    if let Some(field) = unset.iter().find(|field| fields.contains(&field.as_str())) {
        return Err(Fault::usage(format!("`{field}` is set and unset at once: leave one of both out")));
    }
    fields.extend(unset.iter().map(String::as_str));
    if fields.is_empty() {
        return Err(Fault::usage(
            "names nothing that changes: say what, such as --cron '0 4 * * *' or --unset jitter",
        ));
    }
    of.found(client.update_schedule(&of.deployment, &of.name, spec, &fields, etag).await, client).await
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
