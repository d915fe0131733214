//! `tidegate worker …`: the workers of work pools.

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{completion, config::Settings, fault::Fault};

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
    Start(Box<StartArgs>),
}

#[derive(Args, Debug)]
pub struct StartArgs {
    /// Which profile of the configuration says where the api is, and the tenant [env: TIDEGATE_PROFILE]
    // It is read before the others are: `with_profile`.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    #[command(flatten)]
    pub options: tidegate_worker::Options,
}

/// Does what the arguments say.
pub fn main(args: WorkerArgs) -> ExitCode {
    match args.command {
        WorkerCommand::Start(start) => tidegate_worker::run(start.options),
    }
}

/// The command with the defaults of `worker start` as a profile has them. The options of a worker are those of its own
/// program, which knows of no profile; what is said on the line or in the environment goes over a default.
///
/// # Errors
/// The configuration is wrong, or has no such profile.
pub fn with_profile(command: clap::Command, line: &[OsString]) -> Result<clap::Command, Fault> {
    let mut words = line.iter().skip(1).filter_map(|word| word.to_str());
    if (words.next(), words.next()) != (Some("worker"), Some("start")) {
        return Ok(command);
    }
    let settings = Settings::of(&completion::typed_options(words.map(str::to_owned)))?;
    // Defaults live as long as the process; these are made once.
    let default = |value: String| -> &'static str { value.leak() };
    let (address, namespace) = (default(settings.address.value), default(settings.namespace.value));
    Ok(command.mut_subcommand("worker", |worker| {
        worker.mut_subcommand("start", |start| {
            let start = start.mut_arg("address", |arg| arg.default_value(address));
            start.mut_arg("namespace", |arg| arg.default_value(namespace))
        })
    }))
}
