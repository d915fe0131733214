//! `tidegate worker …`: the workers of work pools.

use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 error; 2 wrong usage."
)]
pub struct WorkerArgs {
    #[command(subcommand)]
    pub command: WorkerCommand,
}

#[derive(Subcommand, Debug)]
pub enum WorkerCommand {
    /// Take runs of a work pool and start them, until SIGTERM or Ctrl-C
    Start(Box<tidegate_worker::Options>),
}

/// Does what the arguments say.
pub fn main(args: WorkerArgs) -> ExitCode {
    match args.command {
        WorkerCommand::Start(options) => tidegate_worker::run(*options),
    }
}
