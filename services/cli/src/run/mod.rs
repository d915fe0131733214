//! `tidegate run …`: questions to the public API, and their answers on stdout.

mod args;
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

use std::process::ExitCode;

use crate::{ask::ask, fault::Fault};

pub use args::RunArgs;
use args::RunCommand;
use operate::{Verb, operate};
pub use tree::fetch as fetch_tree;
pub use watch::follow;

/// Does what the arguments say.
pub fn main(args: RunArgs) -> ExitCode {
    ask(&args.common, async |client, printer| match args.command {
        RunCommand::Ls { filter, order_by, limit, watch } => {
            ls::ls(client, printer, filter, order_by, limit, watch).await
        }
        RunCommand::Count { filter, watch } => count::count(client, printer, &filter, watch).await,
        RunCommand::Find { key, scope, full } => find::find(client, printer, key, scope, full).await,
        RunCommand::Get { id, full, watch } => get::get(client, printer, &id, full, watch).await,
        RunCommand::Inputs { id, full } => inputs::inputs(client, printer, &id, full).await,
        RunCommand::Explain { id, watch } => explain::explain(client, printer, &id, watch).await,
        RunCommand::Tree { id, all, watch } => tree::tree(client, printer, &id, all, watch).await,
        RunCommand::Logs { id, tree, follow, level, contains, limit } => {
            let wanted = logs::Wanted { id, tree, level, contains };
            if follow {
                logs::follow(client, printer, wanted).await
            } else {
                logs::query(client, printer, wanted, limit).await
            }
        }
        RunCommand::Watch { ids } => watch::watch(client, printer, ids).await,
        RunCommand::Cancel { targets, reason } => {
            operate(client, printer, &Verb::Cancel, targets, &reason).await
        }
        RunCommand::Pause { targets, timeout, reason } => {
            operate(client, printer, &Verb::Pause(timeout), targets, &reason).await
        }
        RunCommand::Resume { targets, input, pause_key } => {
            let verb = Verb::Resume { input, pause_key: pause_key.unwrap_or_default() };
            operate(client, printer, &verb, targets, "").await
        }
        RunCommand::Retry { targets, reason } => {
            operate(client, printer, &Verb::Retry, targets, &reason).await
        }
        RunCommand::Delete { targets } => operate(client, printer, &Verb::Delete, targets, "").await,
    })
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
