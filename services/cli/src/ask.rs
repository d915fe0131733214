//! The way of each command that asks a server: settings, connection, question, answer, exit code.

use std::process::ExitCode;

use tidegate_sdk_core::{Client, Options};

use crate::{
    common::Common,
    config::Settings,
    fault::{Fault, exit},
    printer::Printer,
};

/// How a command ends: its exit code, or why it did not do what was asked.
pub type Outcome = Result<u8, Fault>;

/// Connects to the server that the options, the environment or the profile name, and does `work`.
pub fn ask(common: &Common, work: impl AsyncFnOnce(&Client, &Printer) -> Outcome) -> ExitCode {
    code(settle(common).and_then(|(client, printer, runtime)| runtime.block_on(work(&client, &printer))))
}

/// The exit code of an outcome; a fault is told on stderr.
pub fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(fault) => fault.report(),
    }
}

fn settle(common: &Common) -> Result<(Client, Printer, tokio::runtime::Runtime), Fault> {
    let settings = Settings::of(common)?;
    let client = Client::new(Options::new(&settings.address.value, &settings.namespace.value)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((client, Printer::new(settings.output.value, settings.color.value), runtime))
}

/// Done as it was asked.
pub const DONE: Outcome = Ok(exit::OK);
