//! `tidegate run …`: questions to the public API, and their answers on stdout.

mod count;
mod explain;
mod find;
mod get;
mod inputs;
mod logs;
mod ls;
mod operate;
mod tree;
mod watch;

use std::{io::Write as _, process::ExitCode};

use serde_json::Value;
use tidegate_sdk_core::{Client, Options};

use crate::{
    args::{Format, RunArgs, RunCommand},
    fault::{Fault, exit},
};

use operate::{Verb, operate};
pub use tree::fetch as fetch_tree;

/// Does what the arguments say.
pub fn main(args: RunArgs) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => fault.report(),
    }
}

fn run(args: RunArgs) -> Result<u8, Fault> {
    let options = Options::new(&args.server.address, &args.server.namespace)?;
    let client = Client::new(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        match args.command {
            RunCommand::Ls { filter, order_by, limit } => {
                ls::ls(&client, &printer, filter, order_by, limit).await
            }
            RunCommand::Count { filter } => count::count(&client, &printer, &filter).await,
            RunCommand::Find { key, scope, full } => find::find(&client, &printer, key, scope, full).await,
            RunCommand::Get { id, full } => get::get(&client, &printer, &id, full).await,
            RunCommand::Inputs { id, full } => inputs::inputs(&client, &printer, &id, full).await,
            RunCommand::Explain { id } => explain::explain(&client, &printer, &id).await,
            RunCommand::Tree { id, all } => tree::tree(&client, &printer, &id, all).await,
            RunCommand::Logs { id, tree, follow, level, contains, limit } => {
                let wanted = logs::Wanted { id, tree, level, contains };
                if follow {
                    logs::follow(&client, &printer, wanted).await
                } else {
                    logs::query(&client, &printer, wanted, limit).await
                }
            }
            RunCommand::Watch { ids } => watch::watch(&client, &printer, ids).await,
            RunCommand::Cancel { targets, reason } => {
                operate(&client, &printer, &Verb::Cancel, targets, &reason).await
            }
            RunCommand::Pause { targets, timeout, reason } => {
                operate(&client, &printer, &Verb::Pause(timeout), targets, &reason).await
            }
            RunCommand::Resume { targets, input, pause_key } => {
                let verb = Verb::Resume { input, pause_key: pause_key.unwrap_or_default() };
                operate(&client, &printer, &verb, targets, "").await
            }
            RunCommand::Retry { targets, reason } => {
                operate(&client, &printer, &Verb::Retry, targets, &reason).await
            }
            RunCommand::Delete { targets } => operate(&client, &printer, &Verb::Delete, targets, "").await,
        }
    })
}

/// Writes answers to stdout in the form that was asked for.
pub(crate) struct Printer {
    pub(crate) format: Format,
}

impl Printer {
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Fault> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// One document.
    pub(crate) fn document(&self, value: &Value) -> Result<(), Fault> {
        self.text(&format!("{value:#}\n"))
    }

    /// One of many lines: `value` for programs, `line` for people.
    fn line(&self, value: impl FnOnce() -> Value, line: impl FnOnce() -> String) -> Result<(), Fault> {
        let line = if self.is_json() { value().to_string() } else { line() };
        self.text(&format!("{line}\n"))
    }
}

/// The time now, for durations of what still runs.
pub fn now() -> jiff::Timestamp {
    use tidegate_model::Clock as _;
    let micros = tidegate_model::SystemClock.now().as_micros();
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX)
}

/// An id as the API wants it, so that a slip of the hand is a usage error that names it.
fn check_id(id: &str) -> Result<(), Fault> {
    id.parse::<tidegate_model::RunId>().map(drop).map_err(|error| Fault::usage(format!("{error}")))
}

const OK: Result<u8, Fault> = Ok(exit::OK);
