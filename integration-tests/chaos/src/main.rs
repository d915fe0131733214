//! The proof of delivery: a load of tasks, a seeded script that kills, stops, freezes and cuts off every part, and an
//! outside recorder that counts what was really executed.
//!
//! `integration-tests/run chaos [OPTION…]` builds the services and runs it. The same seed gives the same script: kinds,
//! parts and times relative to the start. What was promised is judged at the end by [`judge`], whose docs define each
//! rule; a rule that is broken is reported with the run, its history and what the recorder saw, and the folder with
//! all logs is kept.

mod evidence;
mod figures;
mod judge;
mod keeper;
mod limits;
mod load;
mod logs;
mod observe;
mod proxy;
mod record;
mod recorder;
mod run;
mod script;
mod settings;
mod suite;
#[cfg(test)]
mod testing;
mod time;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;
use settings::{Command, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Settings::parse().command {
        Command::Run(settings) => run::run(settings).await,
        Command::Worker(settings) => worker::work(settings).await.map(|()| ExitCode::SUCCESS),
        Command::Recorder(settings) => recorder::record(settings).await.map(|()| ExitCode::SUCCESS),
    }
}
