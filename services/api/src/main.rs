//! `tidegate-api`: the public gRPC of the suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_api::standalone::run(std::env::args_os().skip(1))
}
