//! The `tidegate` command.
//!
//! The nouns (`tidegate run …`, `deployment`, `schedule`, `queue`, `pool`, `concurrency`, `artifact`, `variable`,
//! `automation`, `bulk`) ask a server through the public API and show the answer; `tidegate deploy` brings deployments to
//! what a file says. `tidegate dev` is all four services in one process, `tidegate server NAME` one of them, and
//! `tidegate worker start` a worker of a pool. Nothing here can do what a client could not.
//!
//! A noun is a file, with its arguments beside what they do. It asks by [`ask`], answers by a [`printer`], and takes what
//! it is not told from the environment or a profile ([`config`]).

// `json!` takes three steps for each field, and a run has many.
#![recursion_limit = "256"]

mod args;
mod artifact;
mod ask;
mod automation;
mod bulk;
mod common;
mod completion;
mod concurrency;
mod config;
mod confirm;
mod demo;
mod deploy;
mod deployment;
mod dev;
mod doctor;
mod fault;
mod man;
mod names;
mod output;
mod pool;
mod printer;
mod queue;
mod run;
mod schedule;
mod server;
mod variable;
mod worker;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

pub use fault::exit;

/// Parses the arguments, does what they say, and tells how it went (see [`exit`]).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = completion::answer(&args) {
        return code;
    }
    let command = match worker::with_profile(args::Cli::command().color(color(&args)), &args) {
        Ok(command) => command,
        Err(fault) => return fault.report(),
    };
    let parsed = command.try_get_matches_from(args).and_then(|found| args::Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are answers, not faults. A closed pipe is nobody's fault either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    match cli.command {
        args::Command::Run(args) => run::main(args),
        args::Command::Deploy(args) => deploy::main(args),
        args::Command::Deployment(args) => deployment::main(args),
        args::Command::Concurrency(args) => concurrency::main(args),
        args::Command::Queue(args) => queue::main(args),
        args::Command::Pool(args) => pool::main(args),
        args::Command::Schedule(args) => schedule::main(args),
        args::Command::Artifact(args) => artifact::main(args),
        args::Command::Variable(args) => variable::main(args),
        args::Command::Automation(args) => automation::main(args),
        args::Command::Bulk(args) => bulk::main(args),
        args::Command::Worker(args) => worker::main(args),
        args::Command::Config(args) => config::main(args),
        args::Command::Doctor(args) => doctor::main(args),
        args::Command::Completion(args) => completion::main(args),
        args::Command::Man(args) => man::main(args),
        args::Command::Dev(args) => dev::main(args),
        args::Command::Server(args) => server::main(args),
        args::Command::DemoWorker(args) => demo::worker::main(args),
    }
}

/// Whether help and errors of usage have colours: they are told before the arguments are known.
fn color(args: &[OsString]) -> clap::ColorChoice {
    let mut words = args.iter().filter_map(|word| word.to_str());
    let said = words.by_ref().find_map(|word| match word.strip_prefix("--color")? {
        "" => Some(None),
        rest => rest.strip_prefix('=').map(Some),
    });
    match said.map(|value| value.or_else(|| words.next())) {
        Some(Some("never")) => clap::ColorChoice::Never,
        Some(Some("always")) => clap::ColorChoice::Always,
        _ => clap::ColorChoice::Auto,
    }
}
