use std::{ffi::OsString, process::ExitCode};

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 error; 2 wrong usage; 64 a configuration that is not right."
)]
pub struct ServerArgs {
    /// Which one
    #[arg(value_enum)]
    pub service: Service,
    /// Arguments of the service: `--config FILE`, `--check-config`, `--print-config`, `--check-health`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Runs: creates, tells, waits, cancels (needs Postgres)
    Api,
    /// Time: due runs, retries, timeouts, lost leases (needs Postgres)
    Scheduler,
    /// Workers: delivery and leases (needs Redis)
    TaskQueue,
    /// Logs: stores, tells, follows (needs Postgres)
    LogIngest,
}

/// `tidegate server NAME`: the same as the service's own binary.
pub fn main(args: ServerArgs) -> ExitCode {
    let rest = args.args.into_iter();
    match args.service {
        Service::Api => tidegate_api::standalone::run(rest),
        Service::Scheduler => tidegate_scheduler::standalone::run(rest),
        Service::TaskQueue => tidegate_task_queue::standalone::run(rest),
        Service::LogIngest => tidegate_log_ingest::standalone::run(rest),
    }
}
