//! What is told of the end of a job.

use tidegate_sdk_core::{End, Stop, proto::Failure};

use crate::{
    backend::{Exit, StartError},
    job::JobKind,
};

/// With it a process that executes an entrypoint says that its run had been taken away before it began.
pub(crate) const EXIT_TAKEN_AWAY: i32 = 79;

/// What is to be told.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    /// This.
    End(End),
    /// Nothing: who executed it has said it, or the run is another's.
    Nothing,
    /// Nothing, unless the server knows of no end: then this.
    Unless(End),
}

/// What is told of a job that ended with `exit`, after it was stopped for the cause `stop`. `tail` is the end of what it
/// wrote to standard error.
pub(crate) fn of_exit(kind: JobKind, exit: &Exit, stop: &Stop, tail: &[String]) -> Told {
    match (stop, kind) {
        (Stop::Lost { .. }, _) => return Told::Nothing,
        (Stop::Cancel { .. }, _) => return Told::End(End::Cancelled),
        (Stop::TimedOut, JobKind::Command) => return Told::End(End::TimedOut),
        (Stop::Shutdown, _) => {
            let cause = "shutdown: the worker ended before the run did";
            return Told::End(End::Crashed(cause.into()));
        }
        (Stop::TimedOut, JobKind::Entrypoint) | (Stop::Go, _) => {}
    }
    if let Exit::NotBegun(error) = exit {
        return Told::End(of_start_error(error.clone()));
    }
    match (kind, exit) {
        (JobKind::Command, Exit::Code(0)) => Told::End(End::Completed(None)),
        (JobKind::Command, Exit::Code(_)) => Told::End(End::Failed(Failure {
            error_type: "ExitCode".into(),
            message: with_last_line(exit.cause(), tail),
            traceback: tail.join("\n"),
            non_retryable: false,
        })),
        (JobKind::Entrypoint, Exit::Code(0 | EXIT_TAKEN_AWAY)) => {
            let cause =
                format!("the process ended with {} and had not said what became of the run", exit.cause());
            Told::Unless(End::Crashed(cause))
        }
        (_, exit) => Told::End(End::Crashed(with_last_line(exit.cause(), tail))),
    }
}

/// What is told of a job that was not started.
pub(crate) fn of_start_error(error: StartError) -> End {
    match error {
        StartError::Job(message) => End::Failed(Failure {
            error_type: "JobError".into(),
            message,
            traceback: String::new(),
            non_retryable: true,
        }),
        StartError::Passing(cause) => End::Crashed(cause),
    }
}

fn with_last_line(cause: String, tail: &[String]) -> String {
    match tail.iter().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("{cause}: {}", last.trim()),
        None => cause,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tail() -> Vec<String> {
        vec!["Traceback".into(), "no such table: orders".into(), " ".into()]
    }

    #[test]
    fn a_command_is_told_by_its_exit_code() {
        let told = |exit| of_exit(JobKind::Command, &exit, &Stop::Go, &tail());
        assert_eq!(told(Exit::Code(0)), Told::End(End::Completed(None)));
        let Told::End(End::Failed(failure)) = told(Exit::Code(3)) else { panic!("it has failed") };
        assert_eq!(failure.message, "exit code 3: no such table: orders");
        assert!(failure.traceback.starts_with("Traceback\n"), "{failure:?}");
        let killed = told(Exit::Signal { number: 11, note: String::new() });
        assert_eq!(killed, Told::End(End::Crashed("signal 11 (SIGSEGV): no such table: orders".into())));
    }

    #[test]
    fn an_entrypoint_speaks_for_itself_while_it_can() {
        let told = |exit| of_exit(JobKind::Entrypoint, &exit, &Stop::Go, &[]);
        assert!(matches!(told(Exit::Code(0)), Told::Unless(End::Crashed(_))));
        assert!(matches!(told(Exit::Code(EXIT_TAKEN_AWAY)), Told::Unless(End::Crashed(_))));
        assert_eq!(told(Exit::Code(1)), Told::End(End::Crashed("exit code 1".into())));
        assert_eq!(
            told(Exit::Reason("Evicted: disk".into())),
            Told::End(End::Crashed("Evicted: disk".into()))
        );
    }

    #[test]
    fn a_stop_says_more_than_an_exit_code() {
        let told = |kind, stop| of_exit(kind, &Exit::Code(143), &stop, &[]);
        let cancel = Stop::Cancel { message: String::new(), grace: Duration::ZERO };
        let lost = Stop::Lost { message: String::new() };
        for kind in [JobKind::Command, JobKind::Entrypoint] {
            assert_eq!(told(kind, cancel.clone()), Told::End(End::Cancelled));
            assert_eq!(told(kind, lost.clone()), Told::Nothing);
            assert!(matches!(told(kind, Stop::Shutdown), Told::End(End::Crashed(_))));
        }
        assert_eq!(told(JobKind::Command, Stop::TimedOut), Told::End(End::TimedOut));
    }
}
