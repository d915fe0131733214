use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::FutureExt as _;
use tidegate_sdk_core::{
    self as core, ChildCalls, Error, LogLine, Pauser, SlotOptions, Slots,
    proto::{self, Assign, Failure, RunKind},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Call, Client, Function, Wait, children::Children, failure, hooks};

tokio::task_local! {
    /// The run that the present code belongs to.
    static CURRENT: Context;
    /// What calls go through in the hooks of a run that has ended: they are runs of their own.
    static OF_HOOK: Client;
}

/// Executes `task` beside the code that calls this, as part of its run: calls in it find their parent, and the run
/// does not end before it. Where the run is stopped, `task` is dropped. Outside of any run it is what `tokio::spawn`
/// is.
///
/// # Panics
/// Outside of a Tokio runtime.
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match Context::current() {
        Some(context) => {
            let children = Arc::clone(&context.shared);
            children.children.spawn(CURRENT.scope(context, task))
        }
        #[expect(clippy::disallowed_methods, reason = "it is the caller's, who is given the handle")]
        None => tokio::spawn(task),
    }
}

/// The client of the run whose hook calls this, if one does.
pub(crate) fn client_of_hook() -> Option<Client> {
    OF_HOOK.try_with(Client::clone).ok()
}

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
    children: Children,
}

impl Context {
    /// `assign` is without its parameters.
    pub(crate) fn new(
        client: Client,
        assign: Assign,
        traceparent: String,
        pauser: Pauser,
        max_concurrency: usize,
    ) -> Self {
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
                children: Children::new(max_concurrency),
            }),
        }
    }

    /// The run that the calling code belongs to: its flow's or task's own, also in what that awaits, and in what it
    /// has
    /// [spawned](crate::spawn). `None` outside of any run.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Executes `task` as code of this run: calls in it find their parent. For threads and tasks that are not
    /// [spawned](crate::spawn); the run does not wait for them.
    pub async fn scope<T>(self, task: impl Future<Output = T>) -> T {
        CURRENT.scope(self, task).await
    }

    /// Executes the code of an attempt of `function`, with all that it starts.
    pub(crate) async fn execute<F: Function>(self, function: F) -> Result<F::Output, Failure> {
        let context = self.clone();
        let code = async move {
            hooks::call(&context, F::on_running(&context)).await;
            function.run(context).await
        };
        self.structured(code, F::IGNORES_FAILURES).await
    }

    /// Executes code as that of the run: it does not end before what it starts, and is no success over failures that
    /// nobody looked at.
    pub(crate) async fn structured<T>(
        self,
        code: impl Future<Output = Result<T, Failure>>,
        ignores_failures: bool,
    ) -> Result<T, Failure> {
        let children = Arc::clone(&self.shared);
        let children = &children.children;
        let ended = CURRENT.scope(self, AssertUnwindSafe(code).catch_unwind()).await;
        children.ended().await;
        let value = ended.unwrap_or_else(|panic| Err(failure::failure_of_panic(&*panic)))?;
        match children.unseen_failures() {
            Some(failure) if !ignores_failures => Err(failure),
            _ => Ok(value),
        }
    }

    /// Executes a hook.
    pub(crate) async fn hook<T>(&self, hook: impl Future<Output = T>) -> T {
        OF_HOOK.scope(self.client().clone(), hook).await
    }

    pub(crate) fn children(&self) -> &Children {
        &self.shared.children
    }

    pub(crate) fn traceparent(&self) -> String {
        core::trace::current_traceparent().unwrap_or_else(|| self.shared.traceparent.clone())
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

    /// The fencing token of this attempt: larger than that of any delivery before. What is written elsewhere under it
    /// can be told from what an earlier attempt, which was taken for dead, writes late.
    pub fn epoch(&self) -> u64 {
        self.shared.assign.epoch
    }

    /// The queue it came through; empty for a local run.
    pub fn queue(&self) -> &str {
        &self.shared.assign.queue
    }

    /// The run's tags.
    pub fn tags(&self) -> &[String] {
        &self.shared.assign.tags
    }

    /// The run's labels, those of its parents that it has among them.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.shared.assign.labels
    }

    /// The deployment that it was started through, `flow/deployment`; empty: none.
    pub fn deployment_name(&self) -> &str {
        &self.shared.assign.deployment
    }

    /// The run in full as the server has it, with its parameters and policies.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn run(&self) -> Result<proto::Run, Error> {
        self.shared.client.core().get_run(self.run_id()).await
    }

    /// Writes a line to the run's log. Never waits; what comes faster than it can be sent is dropped and counted.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let traceparent = self.traceparent();
        self.shared.client.core().logs().write(LogLine {
            run_id: self.run_id().to_owned(),
            root_run_id: self.root_run_id().to_owned(),
            attempt: self.attempt(),
            level: level.into(),
            logger: self.name().to_owned(),
            message: message.into(),
            logged_at: core::wall_clock(),
            traceparent,
        });
    }

    /// Is cancelled when the run is to stop. Code that asks for it is given the run's cancel grace to clean up;
    /// code that never does is dropped at its next await.
    pub fn cancellation(&self) -> CancellationToken {
        self.shared.handles_cancellation.store(true, Ordering::Relaxed);
        self.shared.cancellation.clone()
    }

    /// A call of the task `name` as a child of this run. When this run is executed again, the n-th call of a function
    /// with the same parameters finds the child of the n-th such call before, and its result; see
    /// [`Call::always_new`].
    pub fn task(&self, name: impl Into<String>) -> Call {
        self.make_child(self.shared.client.task(name))
    }

    /// A call of the flow `name` as a child of this run; see [`Context::task`].
    pub fn flow(&self, name: impl Into<String>) -> Call {
        self.make_child(self.shared.client.flow(name))
    }

    /// A run of a deployment as a child of this run; see [`Context::task`] and [`Client::deployment`](crate::Client::deployment).
    pub fn deployment(&self, name: impl Into<String>) -> Call {
        self.make_child(self.shared.client.deployment(name))
    }

    /// Waits at the pause `key` of this run until someone resumes it; see [`Wait`].
    pub fn pause(&self, key: impl Into<String>) -> Wait {
        Wait::new(self.shared.pauser.clone(), key.into())
    }

    pub(crate) fn make_child<F>(&self, call: Call<F>) -> Call<F> {
        call.below(self.shared.calls.clone(), self.traceparent())
    }

    /// Numbers the calls of this attempt, for runs that are created by the core's client.
    pub fn child_calls(&self) -> &ChildCalls {
        &self.shared.calls
    }

    /// Takes slots and tokens of each of these concurrency limits for a block of the code, as
    /// [`Client::acquire_slots`]; they are shown as this run's.
    ///
    /// # Errors
    /// `DeadlineExceeded` when `options.timeout` passed first; `NotFound` where a limit must exist and does not;
    /// `InvalidArgument`, `Unavailable`.
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
