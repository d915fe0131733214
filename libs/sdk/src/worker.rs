use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use opentelemetry::trace::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{
    self as core, Attempt, Attempts, End, Error, Stop, WorkerOptions, WorkerStatus,
    proto::{self, Failure, RunKind},
    trace,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Client, Context, failure,
    function::{self, Function},
};

/// Says what a worker serves; see [`Worker::builder`].
#[must_use]
pub struct WorkerBuilder {
    client: Client,
    functions: HashMap<(RunKind, String), Function>,
    queues: Vec<String>,
    labels: BTreeMap<String, String>,
    task_slots: u32,
    flow_slots: u32,
    drain_grace: Duration,
}

/// Executes the runs of its flows and tasks.
pub struct Worker {
    worker: core::Worker,
    attempts: Attempts,
    client: Client,
    functions: Arc<HashMap<(RunKind, String), Function>>,
}

impl Worker {
    /// A worker that is yet to be told what it serves.
    pub fn builder(client: Client) -> WorkerBuilder {
        WorkerBuilder {
            client,
            functions: HashMap::new(),
            queues: vec!["default".into()],
            labels: BTreeMap::new(),
            task_slots: 10,
            flow_slots: 100,
            drain_grace: Duration::from_secs(30),
        }
    }

    /// Its name: host, process id and a random part.
    pub fn id(&self) -> &str {
        self.worker.id()
    }

    /// How it stands; follow it for changes.
    pub fn status(&self) -> watch::Receiver<WorkerStatus> {
        self.worker.status()
    }

    /// Executes runs, as tasks of the runtime that this is called in, until `shutdown`; then takes no more, gives back
    /// what was not started, and gives running attempts the drain grace to end.
    ///
    /// # Errors
    /// Why the server refused the worker for good.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                stopped = self.worker.stopped() => return stopped,
                attempt = self.attempts.next() => {
                    let Some(attempt) = attempt else { break };
                    let key = (attempt.assign().kind(), attempt.assign().name.clone());
                    running.spawn(execute(attempt, self.functions.get(&key).cloned(), self.client.clone()));
                }
                Some(_) = running.join_next() => {} // its end is reported by itself
            }
        }
        self.worker.drain();
        drop(self.attempts);
        let stopped = self.worker.stopped().await;
        running.abort_all(); // only code that did not stop when it was told to
        while running.join_next().await.is_some() {}
        self.client.core().logs().flush(Duration::from_secs(2)).await;
        stopped
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    /// Serves the task `name` with `code`.
    pub fn task<F, P, Fut, R, E>(self, name: impl Into<String>, code: F) -> Self
    where
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        P: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.function(RunKind::Task, name.into(), function::erase(code))
    }

    /// Serves the flow `name` with `code`.
    pub fn flow<F, P, Fut, R, E>(self, name: impl Into<String>, code: F) -> Self
    where
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        P: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.function(RunKind::Flow, name.into(), function::erase(code))
    }

    fn function(mut self, kind: RunKind, name: String, function: Function) -> Self {
        self.functions.insert((kind, name), function);
        self
    }

    /// The queues it takes runs from. Default: `default`.
    pub fn queues<T: Into<String>>(mut self, queues: impl IntoIterator<Item = T>) -> Self {
        self.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// What tells it from other workers: it gets the runs that require no label which it lacks ([`Call::require_labels`]).
    /// At most 50. Default: none.
    ///
    /// [`Call::require_labels`]: crate::Call::require_labels
    pub fn labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Tasks at once. Default: 10; at most 10,000.
    pub fn task_slots(mut self, n: u32) -> Self {
        self.task_slots = n;
        self
    }

    /// Flows at once; they mostly wait for their children. Default: 100; at most 10,000.
    pub fn flow_slots(mut self, n: u32) -> Self {
        self.flow_slots = n;
        self
    }

    /// How long running attempts may go on after a shutdown. Default: 30 s.
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.drain_grace = grace;
        self
    }

    /// Connects and begins to take runs; they are executed once [`Worker::run`] is called.
    ///
    /// # Errors
    /// `InvalidArgument` when nothing is served or a number is out of bounds.
    pub fn build(self) -> Result<Worker, Error> {
        let names = self.functions.keys();
        let serves = |kind| self.functions.keys().any(|(served, _)| *served == kind);
        let options = WorkerOptions {
            queues: self.queues.clone(),
            functions: names
                .map(|(kind, name)| proto::Function { kind: (*kind).into(), name: name.clone() })
                .collect(),
            labels: self.labels,
            // Slots of a kind that is not served would be credits that nothing can use.
            task_slots: if serves(RunKind::Task) { self.task_slots } else { 0 },
            flow_slots: if serves(RunKind::Flow) { self.flow_slots } else { 0 },
            drain_grace: self.drain_grace,
        };
        let (worker, attempts) = core::Worker::start(self.client.core(), options)?;
        Ok(Worker { worker, attempts, client: self.client, functions: Arc::new(self.functions) })
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("queues", &self.queues).finish_non_exhaustive()
    }
}

/// Executes one attempt to its end, or until it is told to stop.
async fn execute(mut attempt: Attempt, function: Option<Function>, client: Client) {
    let mut assign = attempt.assign().clone();
    let Some(function) = function else {
        let message =
            format!("this worker does not serve the {} `{}`", assign.kind().as_str_name(), assign.name);
        return attempt.finish(End::Crashed(message));
    };
    attempt.start();
    let parameters = assign.parameters.take();
    let span = trace::Span::of_run(&assign.name, &assign.run_id, assign.attempt, &assign.traceparent);
    let context = Context::new(client, assign, span.traceparent(), attempt.pauser());
    // A task of its own: code that never awaits does not keep this one from hearing a cancel.
    let mut code = JoinSet::new();
    code.spawn(function(context.clone(), parameters).with_context(span.context()));
    let end = until_stopped(&mut attempt, &context, &mut code).await;
    let failure = match &end {
        Some(End::Failed(failure)) => Some(format!("{}: {}", failure.error_type, failure.message)),
        Some(End::TimedOut) => Some("timed out".into()),
        Some(End::Cancelled) => Some("cancelled".into()),
        Some(End::Crashed(cause)) => Some(cause.clone()),
        Some(End::Completed(_) | End::Released) => None,
        None => Some("the run was taken away from this worker".into()),
    };
    span.end(failure.as_deref());
    // The report of a lost run goes nowhere: the core knows that it is lost.
    attempt.finish(end.unwrap_or(End::Cancelled));
}

/// `None`: the run is no longer ours.
async fn until_stopped(attempt: &mut Attempt, context: &Context, code: &mut JoinSet<End>) -> Option<End> {
    let mut stop = attempt.stop_signal();
    let mut grace_ends = None;
    loop {
        let far = tokio::time::Instant::now() + Duration::from_secs(3_600);
        tokio::select! {
            biased;
            ended = code.join_next() => {
                let end = match ended {
                    Some(Ok(end)) => end,
                    Some(Err(error)) => end_of_lost_task(error),
                    None => End::Crashed("the code's task is gone".into()),
                };
                // Whatever the code says after a cancel: a run that is being cancelled becomes CANCELLED.
                return Some(if grace_ends.is_some() { End::Cancelled } else { end });
            }
            said = stop.next() => {
                context.cancel();
                match said {
                    Stop::Go => {}
                    Stop::TimedOut => { code.abort_all(); return Some(End::TimedOut) }
                    Stop::Lost { .. } => { code.abort_all(); return None }
                    Stop::Shutdown => {
                        code.abort_all();
                        return Some(End::Crashed("shutdown: the worker ended before the run did".into()));
                    }
                    Stop::Cancel { grace, .. } if context.handles_cancellation() => {
                        grace_ends = Some(tokio::time::Instant::now() + grace);
                    }
                    Stop::Cancel { .. } => { code.abort_all(); return Some(End::Cancelled) }
                }
            }
            () = tokio::time::sleep_until(grace_ends.unwrap_or(far)), if grace_ends.is_some() => {
                code.abort_all();
                return Some(End::Cancelled);
            }
        }
    }
}

fn end_of_lost_task(error: tokio::task::JoinError) -> End {
    let failure = match error.try_into_panic() {
        Ok(panic) => failure::failure_of_panic(&*panic),
        Err(error) => Failure {
            error_type: "JoinError".into(),
            message: error.to_string(),
            traceback: String::new(),
            non_retryable: false,
        },
    };
    End::Failed(failure)
}
