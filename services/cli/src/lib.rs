//! The `tidegate` command.
//!
//! `tidegate run …`, `tidegate deployment …`, `tidegate concurrency …`, `tidegate queue …`, `tidegate pool …`,
//! `tidegate schedule …`, `tidegate artifact …`, `tidegate variable …` and `tidegate bulk …` ask a server through the public API and show the
//! answer; `tidegate deploy` brings deployments to what a file says; `tidegate dev` is all four services in one process;
//! `tidegate server NAME` is one of them, and `tidegate worker start` a worker of a pool. Nothing here can do what a
//! client could not.

mod args;
mod artifact;
mod ask;
mod bulk;
mod concurrency;
mod demo;
mod deploy;
mod deployment;
mod dev;
mod fault;
mod output;
mod pool;
mod queue;
mod run;
mod schedule;
mod server;
mod variable;
mod worker;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

pub use fault::exit;

/// Parses the arguments, does what they say, and tells how it went (see [`exit`]).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match args::Cli::try_parse_from(args) {
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
        args::Command::Bulk(args) => bulk::main(args),
        args::Command::Worker(args) => worker::main(args),
        args::Command::Dev(args) => dev::main(args),
        args::Command::Server(args) => server::main(args),
        args::Command::DemoWorker(args) => demo::worker::main(args),
    }
}
