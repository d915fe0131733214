//! `tidegate concurrency …`: concurrency limits, and who has their slots.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use tidegate_proto::v1::{CollisionPolicy, RateLimit};
use tidegate_sdk_core::{Client, ConcurrencySettings, Options};

use crate::{
    args::{ConcurrencyArgs, ConcurrencyCommand, OnCollision},
    fault::{Fault, exit},
    output::{limit_detail, limit_json, limit_table, slot_json},
    run::{Printer, now},
};

/// Does what the arguments say.
pub fn main(args: ConcurrencyArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: ConcurrencyArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        match args.command {
            ConcurrencyCommand::Ls => ls(&client, &printer).await,
            ConcurrencyCommand::Set { name, n_slots, slots, rate, burst, on_collision } => {
                let settings = settings(n_slots.or(slots), rate, burst, on_collision);
                set(&client, &printer, &name, settings).await
            }
            ConcurrencyCommand::Get { name } => get(&client, &printer, &name).await,
            ConcurrencyCommand::Delete { name, allow_missing } => {
                client.delete_concurrency_limit(&name, allow_missing).await?;
                if printer.is_json() {
                    printer.document(&json!({ "deleted": name }))
                } else {
                    printer.text(&format!("{name}  deleted\n"))
                }
            }
        }
    })
}

async fn ls(client: &Client, printer: &Printer) -> Result<(), Fault> {
    let limits = client.concurrency_limits().await?;
    if printer.is_json() {
        printer.document(&Value::Array(limits.iter().map(limit_json).collect()))
    } else {
        printer.text(&limit_table(&limits))
    }
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

async fn set(
    client: &Client,
    printer: &Printer,
    name: &str,
    settings: ConcurrencySettings,
) -> Result<(), Fault> {
    let limit = client.put_concurrency_limit(name, settings).await?;
    if printer.is_json() {
        printer.document(&limit_json(&limit))
    } else {
        printer.text(&limit_table(&[limit]))
    }
}

async fn get(client: &Client, printer: &Printer, name: &str) -> Result<(), Fault> {
    let found = client.get_concurrency_limit(name).await?;
    let limit = found.limit.unwrap_or_default();
    if printer.is_json() {
        let mut value = limit_json(&limit);
        value["slots"] = found.slots.iter().map(slot_json).collect();
        printer.document(&value)
    } else {
        printer.text(&limit_detail(&limit, &found.slots, now()))
    }
}
