//! The task-queue service.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_task_queue::standalone::run(std::env::args_os().skip(1))
}
