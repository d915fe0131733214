//! What starts jobs: the one thing in which the types of pools differ.

#[cfg(feature = "containers")]
pub(crate) mod docker;
mod escaped;
#[cfg(feature = "containers")]
mod guard;
#[cfg(feature = "containers")]
pub(crate) mod kubernetes;
#[cfg(feature = "containers")]
mod marks;
mod memory;
mod orphans;
#[cfg(feature = "containers")]
mod owner;
#[cfg(feature = "containers")]
pub(crate) mod pool;
mod process;
#[cfg(feature = "containers")]
mod stamps;
#[cfg(feature = "containers")]
mod template;
mod warden;

use std::time::Duration;

use async_trait::async_trait;
use tidegate_sdk_core::proto::Assign;

pub use process::{ProcessOptions, Processes};

use crate::{job::Job, logs::Output};

/// Starts jobs.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Sees to what an earlier worker has left, before the first run is taken: ends what nobody can follow any more, and
    /// gives the runs whose jobs go on, as that worker was assigned them. They are held by this worker from then on.
    ///
    /// # Errors
    /// `Passing` where it cannot be found out now.
    async fn adopt(&self) -> Result<Vec<Assign>, StartError>;

    /// Starts a job. What it writes goes to `output`, until [`Running::wait`] has told its end. Dropped before it has
    /// ended, it leaves nothing behind.
    ///
    /// # Errors
    /// See [`StartError`].
    async fn start(&self, job: &Job, output: &Output) -> Result<Box<dyn Running>, StartError>;

    /// Goes on with the job of a run that [`Backend::adopt`] has given.
    ///
    /// # Errors
    /// See [`StartError`]; a job that has gone meanwhile is `Passing`.
    async fn resume(&self, job: &Job, _output: &Output) -> Result<Box<dyn Running>, StartError> {
        Err(StartError::Passing(format!("the job of run {} has ended with its worker", job.assign.run_id)))
    }

    /// Ends the job of a run that [`Backend::adopt`] has given, and that is not gone on with.
    async fn abandon(&self, _job: &Job) {}

    /// True where a job goes on when its worker ends, for the next one to adopt.
    fn outlives_worker(&self) -> bool {
        false
    }
}

/// A job that was started.
#[async_trait]
pub trait Running: Send + Sync {
    /// Waits until it executes: a container, say, may have to be placed first. A job that ends before that has executed.
    /// Cancellation-safe.
    async fn executes(&self) {}

    /// Waits for its end. Cancellation-safe; further calls tell the same.
    async fn wait(&self) -> Exit;

    /// Asks it to end, and ends it when `grace` has passed. May be dropped, and be called again with another grace.
    async fn stop(&self, grace: Duration);

    /// Ends it with all that it has started, at once.
    async fn kill(&self);

    /// Takes away what is left of it. Called after its end.
    async fn remove(&self);

    /// Lets it go on without this worker: what is dropped from now on ends nothing. Only where jobs outlive workers.
    async fn leave(&self) {}
}

/// How a job has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It has ended itself.
    Code(i32),
    /// It was ended by a signal.
    Signal {
        /// The signal.
        number: i32,
        /// What is known of why: `out of memory: …`. Empty: nothing.
        note: String,
    },
    /// Something else has ended it, such as an eviction: the cause for people.
    Reason(String),
    /// It has ended before it began: as if it had not been started.
    NotBegun(StartError),
}

impl Exit {
    /// The cause in a few words: `exit code 3`, `signal 9 (SIGKILL): out of memory: …`.
    pub fn cause(&self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal { number, note } => {
                let name = nix::sys::signal::Signal::try_from(*number)
                    .map_or_else(|_| String::new(), |signal| format!(" ({})", signal.as_str()));
                let note = if note.is_empty() { String::new() } else { format!(": {note}") };
                format!("signal {number}{name}{note}")
            }
            Self::Reason(cause) => cause.clone(),
            Self::NotBegun(error) => error.to_string(),
        }
    }
}

/// The end of a container: that a signal has ended its first process is told by a code of 128 and more.
#[cfg(feature = "containers")]
fn of_code(code: i32) -> Exit {
    match code - 128 {
        number @ 1..=31 => Exit::Signal { number, note: String::new() },
        _ => Exit::Code(code),
    }
}

/// Why a job was not started.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StartError {
    /// What is to be started is wrong, and will be at the next attempt: the run fails.
    #[error("{0}")]
    Job(String),
    /// It cannot be started here and now: the run crashes, and is started again as its policy says.
    #[error("{0}")]
    Passing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_code_and_signal() {
        assert_eq!(Exit::Code(3).cause(), "exit code 3");
        let killed = |note: &str| Exit::Signal { number: 9, note: note.into() };
        assert_eq!(killed("").cause(), "signal 9 (SIGKILL)");
        assert_eq!(killed("out of memory").cause(), "signal 9 (SIGKILL): out of memory");
        let real_time = Exit::Signal { number: 40, note: String::new() };
        assert_eq!(real_time.cause(), "signal 40", "not all have names");
    }
}
