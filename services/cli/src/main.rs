//! The `tidegate` command; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_cli::main(std::env::args_os())
}
