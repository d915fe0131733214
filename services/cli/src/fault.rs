use std::{fmt, process::ExitCode};

use tidegate_sdk_core::{Error, ErrorKind};

use crate::output::printable;

/// What the exit codes mean.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// An error that none of the others names.
    pub const ERROR: u8 = 1;
    /// The arguments are wrong, a filter included.
    pub const USAGE: u8 = 2;
    /// What is named is not there: no such run, deployment, limit, … in this namespace.
    pub const NOT_FOUND: u8 = 3;
    /// `watch`, `deployment run --watch`: a run ended other than COMPLETED.
    pub const NOT_COMPLETED: u8 = 4;
    /// `deploy --dry-run --exit-code`: something would change.
    pub const DIFFERENT: u8 = 5;
    /// `deployment run --watch --timeout`: the run has not ended by then, and goes on.
    pub const NOT_ENDED: u8 = 6;
    /// No server answers (`EX_UNAVAILABLE` of sysexits).
    pub const UNAVAILABLE: u8 = 69;
}

/// Why a command did not do what was asked: one sentence with the cause and the mend, and the exit code.
#[derive(Debug)]
pub struct Fault {
    code: u8,
    message: String,
}

impl Fault {
    /// The arguments are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: exit::USAGE, message: message.into() }
    }

    /// What is named is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self { code: exit::NOT_FOUND, message: message.into() }
    }

    /// The same, and what it is about.
    pub fn of(self, subject: &str) -> Self {
        Self { message: format!("{subject}: {}", self.message), ..self }
    }

    /// What an exit code of its own tells.
    pub fn coded(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Someone decided otherwise.
    pub fn stopped(message: impl Into<String>) -> Self {
        Self { code: exit::ERROR, message: message.into() }
    }

    /// Says so on stderr, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.code != exit::OK {
            // It may have words of a server, or of a user.
            let lines: Vec<_> = self.message.lines().map(printable).collect();
            eprintln!("tidegate: {}", lines.join("\n"));
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => exit::USAGE,
            ErrorKind::NotFound => exit::NOT_FOUND,
            ErrorKind::Unavailable => exit::UNAVAILABLE,
            _ => exit::ERROR,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        // Who closes the pipe (`tidegate run ls | head`) has seen enough.
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { exit::OK } else { exit::ERROR };
        Self { code, message: format!("cannot write the output: {error}") }
    }
}
