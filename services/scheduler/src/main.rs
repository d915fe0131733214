//! `tidegate-scheduler`: turns time into work, and closes what time has run out on.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_scheduler::standalone::run(std::env::args_os().skip(1))
}
