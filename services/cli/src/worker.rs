//! `tidegate worker …`: the workers of work pools.

use std::process::ExitCode;

use crate::args::{WorkerArgs, WorkerCommand};

/// Does what the arguments say.
pub fn main(args: WorkerArgs) -> ExitCode {
    match args.command {
        WorkerCommand::Start(options) => tidegate_worker::run(*options),
    }
}
