use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tidegate_sdk_core::{
    self as core, ChildCalls, Error, LogLine, Pauser, SlotOptions, Slots,
    proto::{self, Assign, RunKind},
};
use tokio_util::sync::CancellationToken;

use crate::{Call, Client, Wait};

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// As expected.
    Info,
    /// Odd.
    Warn,
    /// Wrong.
    Error,
}

impl From<Level> for proto::LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

/// What the code of an attempt knows of its run, and how it starts other runs below it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    assign: Assign,
    traceparent: String,
    cancellation: CancellationToken,
    handles_cancellation: AtomicBool,
    calls: ChildCalls,
    pauser: Pauser,
}

impl Context {
    /// `assign` is without its parameters.
    pub(crate) fn new(client: Client, assign: Assign, traceparent: String, pauser: Pauser) -> Self {
        let calls = ChildCalls::new(&assign.run_id, assign.epoch);
        Self {
            shared: Arc::new(Shared {
                client,
                assign,
                traceparent,
                cancellation: CancellationToken::new(),
                handles_cancellation: AtomicBool::new(false),
                calls,
                pauser,
            }),
        }
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.shared.assign.run_id
    }

    /// The uppermost run above this one.
    pub fn root_run_id(&self) -> &str {
        &self.shared.assign.root_run_id
    }

    /// The run that started this one, or an empty text.
    pub fn parent_run_id(&self) -> &str {
        &self.shared.assign.parent_run_id
    }

    /// The flow's or task's name.
    pub fn name(&self) -> &str {
        &self.shared.assign.name
    }

    /// What people call this run.
    pub fn run_name(&self) -> &str {
        &self.shared.assign.run_name
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.shared.assign.attempt
    }

    /// The fencing token of this attempt: larger than that of any delivery before. What is written elsewhere under it can
    /// be told from what an earlier attempt, which was taken for dead, writes late.
    pub fn epoch(&self) -> u64 {
        self.shared.assign.epoch
    }

    /// The queue it came through.
    pub fn queue(&self) -> &str {
        &self.shared.assign.queue
    }

    /// The run's tags.
    pub fn tags(&self) -> &[String] {
        &self.shared.assign.tags
    }

    /// Writes a line to the run's log. Never waits; what comes faster than it can be sent is dropped and counted.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let traceparent = core::trace::current_traceparent();
        self.shared.client.core().logs().write(LogLine {
            run_id: self.run_id().to_owned(),
            root_run_id: self.root_run_id().to_owned(),
            attempt: self.attempt(),
            level: level.into(),
            logger: self.name().to_owned(),
            message: message.into(),
            logged_at: core::wall_clock(),
            traceparent: traceparent.unwrap_or_else(|| self.shared.traceparent.clone()),
        });
    }

    /// Is cancelled when the run is to stop. Code that asks for it is given the run's cancel grace to clean up;
    /// code that never does is dropped at its next await.
    pub fn cancellation(&self) -> CancellationToken {
        self.shared.handles_cancellation.store(true, Ordering::Relaxed);
        self.shared.cancellation.clone()
    }

    /// A call of the task `name` as a child of this run. When this run is executed again, the n-th call of a function with
    /// the same parameters finds the child of the n-th such call before, and its result; see [`Call::always_new`].
    pub fn task(&self, name: impl Into<String>) -> Call {
        self.child(self.shared.client.task(name))
    }

    /// A call of the flow `name` as a child of this run; see [`Context::task`].
    pub fn flow(&self, name: impl Into<String>) -> Call {
        self.child(self.shared.client.flow(name))
    }

    /// Waits at the pause `key` of this run until someone resumes it; see [`Wait`].
    pub fn pause(&self, key: impl Into<String>) -> Wait {
        Wait::new(self.shared.pauser.clone(), key.into())
    }

    fn child(&self, call: Call) -> Call {
        let traceparent =
            core::trace::current_traceparent().unwrap_or_else(|| self.shared.traceparent.clone());
        call.below(self.shared.calls.clone(), traceparent)
    }

    /// Numbers the calls of this attempt, for runs that are created by the core's client.
    pub fn child_calls(&self) -> &ChildCalls {
        &self.shared.calls
    }

    /// Takes a slot and a token of each of these concurrency limits for a block of the code, as
    /// [`Client::acquire_slots`]; they are shown as this run's.
    ///
    /// # Errors
    /// `DeadlineExceeded` when `options.timeout` passed first; `InvalidArgument`, `Unavailable`.
    pub async fn acquire_slots<S: Into<String>>(
        &self,
        limits: impl IntoIterator<Item = S>,
        options: SlotOptions,
    ) -> Result<Slots, Error> {
        let options = SlotOptions { run_id: self.run_id().to_owned(), ..options };
        self.shared.client.acquire_slots(limits, options).await
    }

    /// The worker's client.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// True for a flow.
    pub fn is_flow(&self) -> bool {
        self.shared.assign.kind() == RunKind::Flow
    }

    pub(crate) fn cancel(&self) {
        self.shared.cancellation.cancel();
    }

    pub(crate) fn handles_cancellation(&self) -> bool {
        self.shared.handles_cancellation.load(Ordering::Relaxed)
    }
}
