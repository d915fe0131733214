use std::process::ExitCode;

use crate::args::{ServerArgs, Service};

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
