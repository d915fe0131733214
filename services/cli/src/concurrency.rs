//! `tidegate concurrency …`: concurrency limits, and who has their slots.

use std::{process::ExitCode, slice, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tidegate_proto::v1::{CollisionPolicy, RateLimit};
use tidegate_sdk_core::{Client, ConcurrencySettings};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch, parse_duration},
    completion::named,
    names::{self, found},
    output::{limit_detail, limit_json, limit_table, slot_json},
    printer::Printer,
    run::now,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such limit; 69 no server answers."
)]
pub struct ConcurrencyArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: ConcurrencyCommand,
}

#[derive(Subcommand, Debug)]
pub enum ConcurrencyCommand {
    /// List the limits with their slots, how many are taken, and how many runs wait
    Ls(Listed),
    /// Define a limit, or change it: what is not said is not asked for any more
    Set {
        /// The limit's name; `customer=*` is a limit for each value of `customer`
        #[arg(add = named(names::limits))]
        name: String,
        /// How many runs may be held at once; 0 has every run that names the limit wait
        #[arg(value_name = "SLOTS", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        n_slots: Option<u32>,
        /// The same by name
        #[arg(
            long,
            value_name = "SLOTS",
            conflicts_with = "n_slots",
            value_parser = clap::value_parser!(u32).range(0..=1_000_000)
        )]
        slots: Option<u32>,
        /// How many may start in a time: `10/s`, `100/m`, `5/30s`
        #[arg(long, value_parser = parse_rate, required_unless_present_any = ["n_slots", "slots"])]
        rate: Option<(u32, Duration)>,
        /// How many of the rate may start at once after a rest; without it as many as in its time
        #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        burst: Option<u32>,
        /// What becomes of a run that finds no slot
        #[arg(long, value_enum, default_value = "wait")]
        on_collision: OnCollision,
    },
    /// Show one limit and who has its slots
    Get {
        /// The limit's name
        #[arg(add = named(names::limits))]
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Take a limit away: it does not bind any more
    Delete {
        /// The limit's name
        #[arg(add = named(names::limits))]
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

/// What becomes of a run that finds no slot of a limit.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCollision {
    /// It waits
    Wait,
    /// It is given up: CANCELLED as `Skipped`
    Skip,
    /// It waits, and the run that has held its slot longest is cancelled
    CancelOldest,
    /// Of it and those that have slots, the one that was created last is cancelled
    CancelNewest,
}

/// Starts, and the time in which so many may come.
fn parse_rate(text: &str) -> Result<(u32, Duration), String> {
    let mend = "write it as `10/s`, `100/m` or `5/30s`";
    let (starts, period) = text.split_once('/').ok_or_else(|| format!("has no `/`; {mend}"))?;
    let starts = starts.trim().parse().map_err(|error| format!("{error}; {mend}"))?;
    let period = period.trim();
    // A unit alone is one of it.
    let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
        parse_duration(period)
    } else {
        parse_duration(&format!("1{period}"))
    };
    Ok((starts, period.map_err(|error| format!("{error}; {mend}"))?))
}

/// Does what the arguments say.
pub fn main(args: ConcurrencyArgs) -> ExitCode {
    ask(&args.common, async |client, printer| match args.command {
        ConcurrencyCommand::Ls(listed) => ls(client, printer, &listed).await,
        ConcurrencyCommand::Set { name, n_slots, slots, rate, burst, on_collision } => {
            let settings = settings(n_slots.or(slots), rate, burst, on_collision);
            set(client, printer, &name, settings).await
        }
        ConcurrencyCommand::Get { name, watch } => get(client, printer, &name, watch).await,
        ConcurrencyCommand::Delete { name, allow_missing } => {
            let deleted = client.delete_concurrency_limit(&name, allow_missing).await;
            found(deleted, &name, names::limits(client)).await?;
            printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, listed: &Listed) -> Outcome {
    let look = async || {
        let limits = client.find_concurrency_limits(&listed.filter).await?;
        Ok(printer.render(|| limits.iter().map(limit_json).collect(), || limit_table(&limits)))
    };
    printer.show(listed.watch, look).await
}

fn settings(
    max_slots: Option<u32>,
    rate: Option<(u32, Duration)>,
    burst: Option<u32>,
    on_collision: OnCollision,
) -> ConcurrencySettings {
    ConcurrencySettings {
        max_slots,
        rate: rate.map(|(max_starts, period)| RateLimit {
            max_starts,
            period: prost_types::Duration::try_from(period).ok(),
            burst: burst.unwrap_or_default(),
        }),
        on_collision: match on_collision {
            OnCollision::Wait => CollisionPolicy::Wait,
            OnCollision::Skip => CollisionPolicy::Skip,
            OnCollision::CancelOldest => CollisionPolicy::CancelOldest,
            OnCollision::CancelNewest => CollisionPolicy::CancelNewest,
        },
    }
}

async fn set(client: &Client, printer: &Printer, name: &str, settings: ConcurrencySettings) -> Outcome {
    let limit = client.put_concurrency_limit(name, settings).await?;
    printer.answer(|| limit_json(&limit), || limit_table(slice::from_ref(&limit)))
}

async fn get(client: &Client, printer: &Printer, name: &str, watch: Watch) -> Outcome {
    let look = async || {
        let asked = client.get_concurrency_limit(name).await;
        let told = found(asked, name, names::limits(client)).await?;
        let limit = told.limit.unwrap_or_default();
        let value = || {
            let mut value = limit_json(&limit);
            value["slots"] = told.slots.iter().map(slot_json).collect();
            value
        };
        Ok(printer.render(value, || limit_detail(&limit, &told.slots, now())))
    };
    printer.show(watch, look).await
}
