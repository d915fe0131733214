//! A worker of a work pool, as a program of its own: `tidegate worker start` is the same.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    tidegate_worker::run(tidegate_worker::Options::parse())
}
