//! The binary of log-ingest; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_log_ingest::standalone::run(std::env::args_os().skip(1))
}
