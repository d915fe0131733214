use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use opentelemetry::trace::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{
    self as core, Attempt, Attempts, End, Error, ErrorKind, WorkerOptions, WorkerStatus,
    proto::{self, RunKind, StateType},
    trace,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Callable, Client, Context, Function,
    function::Served,
    hooks,
    supervise::{failure_text, plain_failure, supervise, value_of},
};

/// How long the hooks of runs that have ended may go on after a shutdown.
const HOOK_GRACE: Duration = Duration::from_secs(10);

/// Says what a worker serves; see [`Worker::builder`].
#[must_use]
pub struct WorkerBuilder {
    client: Client,
    functions: HashMap<(RunKind, String), Served>,
    /// What is wrong with their names.
    ambiguous: Option<String>,
    queues: Vec<String>,
    labels: BTreeMap<String, String>,
    task_slots: u32,
    flow_slots: u32,
    drain_grace: Duration,
    health_address: Option<SocketAddr>,
}

/// Executes the runs of its flows and tasks.
pub struct Worker {
    worker: core::Worker,
    attempts: Attempts,
    client: Client,
    functions: Arc<HashMap<(RunKind, String), Served>>,
    health_address: Option<SocketAddr>,
}

impl Worker {
    /// A worker that is yet to be told what it serves.
    pub fn builder(client: Client) -> WorkerBuilder {
        WorkerBuilder {
            client,
            functions: HashMap::new(),
            ambiguous: None,
            queues: vec!["default".into()],
            labels: BTreeMap::new(),
            task_slots: 10,
            flow_slots: 100,
            drain_grace: Duration::from_secs(30),
            health_address: None,
        }
    }

    /// Its name: host, process id and a random part.
    pub fn id(&self) -> &str {
        self.worker.id()
    }

    /// Where it tells probes how it is; `None`: nowhere.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// How it stands; follow it for changes.
    pub fn status(&self) -> watch::Receiver<WorkerStatus> {
        self.worker.status()
    }

    /// As [`Worker::run`], until SIGTERM or SIGINT; then closes its client.
    ///
    /// # Errors
    /// As for [`Worker::run`].
    pub async fn run_until_signal(self) -> Result<(), Error> {
        let no_signals = |error| Error::new(ErrorKind::Internal, format!("signals cannot be heard: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let (client, shutdown) = (self.client.clone(), CancellationToken::new());
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
            std::future::pending().await
        };
        let worked = tokio::select! {
            worked = self.run(shutdown.clone()) => worked,
            worked = told => worked,
        };
        client.close(Duration::from_secs(5)).await;
        worked
    }

    /// Executes runs, as tasks of the runtime that this is called in, until `shutdown`; then takes no more, gives
    /// back what was not started, and gives running attempts the drain grace to end. Where the server asks for it (`tidegate
    /// worker drain`), running attempts may take as long as they need.
    ///
    /// # Errors
    /// Why the server refused the worker for good.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                stopped = self.worker.stopped() => match stopped {
                    Ok(()) => break, // drained by the server
                    refused => return refused,
                },
                attempt = self.attempts.next() => {
                    let Some(attempt) = attempt else { break };
                    let key = (attempt.assign().kind(), attempt.assign().name.clone());
                    running.spawn(execute(attempt, self.functions.get(&key).cloned(), self.client.clone()));
                }
                Some(_) = running.join_next() => {} // its end is reported by itself
            }
        }
        drop(self.attempts);
        let stopped = tokio::select! {
            biased;
            stopped = self.worker.stopped() => stopped,
            () = shutdown.cancelled() => {
                self.worker.drain();
                self.worker.stopped().await
            }
        };
        // What is left are hooks, and code that did not stop when it was told to.
        let _ = timeout(HOOK_GRACE, async { while running.join_next().await.is_some() {} }).await;
        running.abort_all();
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
        R: Serialize + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.served(RunKind::Task, name.into(), Served::code(code))
    }

    /// Serves the flow `name` with `code`.
    pub fn flow<F, P, Fut, R, E>(self, name: impl Into<String>, code: F) -> Self
    where
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        P: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.served(RunKind::Flow, name.into(), Served::code(code))
    }

    /// Serves a function with `#[task]` or `#[flow]` by its name: `.function(add)`.
    pub fn function<P, C: Callable<P>>(self, _function: C) -> Self {
        let (kind, name) = (C::Function::KIND, C::Function::NAME.to_owned());
        self.served(kind, name, Served::function::<C::Function>())
    }

    fn served(mut self, kind: RunKind, name: String, served: Served) -> Self {
        if self.functions.insert((kind, name.clone()), served).is_some() {
            let kind = if kind == RunKind::Flow { "flows" } else { "tasks" };
            self.ambiguous.get_or_insert(format!("two {kind} are served as `{name}`"));
        }
        self
    }

    /// The queues it takes runs from. Default: `default`.
    pub fn queues<T: Into<String>>(mut self, queues: impl IntoIterator<Item = T>) -> Self {
        self.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// What tells it from other workers: it gets the runs that require no label which it lacks
    /// ([`Call::require_labels`]). At most 50. Default: none.
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

    /// Where the worker tells probes how it is, by HTTP: see [`core::Worker::serve_health`]. With port 0 a free one is taken,
    /// which [`Worker::health_address`] tells. Default: nowhere.
    pub fn health_address(mut self, address: SocketAddr) -> Self {
        self.health_address = Some(address);
        self
    }

    /// How long running attempts may go on after a shutdown. Default: 30 s. A drain by the server does not bound them.
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.drain_grace = grace;
        self
    }

    /// Connects and begins to take runs; they are executed once [`Worker::run`] is called.
    ///
    /// # Errors
    /// `InvalidArgument` when nothing is served, two functions have the same name, or a number is out of bounds.
    pub fn build(self) -> Result<Worker, Error> {
        if let Some(ambiguous) = self.ambiguous {
            let message = format!("{ambiguous}: give one of them another name, such as by `name = \"…\"`");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let names = self.functions.keys();
        let serves = |kind| self.functions.keys().any(|(served, _)| *served == kind);
        let options = WorkerOptions {
            name: String::new(),
            queues: self.queues.clone(),
            work_pool: String::new(),
            functions: names
                .map(|(kind, name)| proto::Function { kind: (*kind).into(), name: name.clone() })
                .collect(),
            labels: self.labels,
            // Slots of a kind that is not served would be credits that nothing can use.
            task_slots: if serves(RunKind::Task) { self.task_slots } else { 0 },
            flow_slots: if serves(RunKind::Flow) { self.flow_slots } else { 0 },
            drain_grace: self.drain_grace,
        };
        let client = self.client.core();
        let listener = self.health_address.map(|address| core::HealthListener::bind(client, address));
        let listener = listener.transpose()?;
        let health_address = listener.as_ref().map(core::HealthListener::address);
        let (mut worker, attempts) = core::Worker::start(client, options)?;
        if let Some(listener) = listener {
            worker.serve_health(listener);
        }
        let functions = Arc::new(self.functions);
        Ok(Worker { worker, attempts, client: self.client, functions, health_address })
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("queues", &self.queues).finish_non_exhaustive()
    }
}

/// Executes one attempt to its end, or until it is told to stop.
async fn execute(mut attempt: Attempt, served: Option<Served>, client: Client) {
    let mut assign = attempt.assign().clone();
    let Some(Served { code, hooks, max_concurrency }) = served else {
        // The core has given back what it did not say that it serves.
        return attempt.finish(End::Released);
    };
    attempt.start();
    let parameters = assign.parameters.take();
    let span = trace::Span::of_run(&assign.name, &assign.run_id, assign.attempt, &assign.traceparent);
    let context = Context::new(client, assign, span.traceparent(), attempt.pauser(), max_concurrency);
    // A task of its own: code that never awaits does not keep this one from hearing a cancel.
    let mut running = JoinSet::new();
    running.spawn(code(context.clone(), parameters).with_context(span.context()));
    let mut signal = attempt.stop_signal();
    let ending = supervise(&mut running, &mut signal, &context, std::future::pending()).await;
    let (end, on_completion) = match value_of(ending) {
        Ok((result, hook)) => (Some(End::Completed(Some(result))), hook),
        Err(end) => (end, None),
    };
    span.end(failure_text(&end).as_deref());
    let failure = match &end {
        Some(End::Failed(failure)) => Some(failure.clone()),
        Some(End::TimedOut) => {
            Some(plain_failure("TimedOut", "it did not end within its run timeout".into()))
        }
        _ => None,
    };
    // The report of a lost run goes nowhere: the core knows that it is lost.
    let Some(end) = end else { return attempt.finish(End::Cancelled) };
    let is_cancelled = end == End::Cancelled;
    let state = match attempt.finish_and_hear(end).await {
        Some(state) => state.r#type(),
        None if is_cancelled => StateType::Cancelled,
        None => return, // the run is another's by now
    };
    match (state, on_completion, failure) {
        (StateType::Completed, Some(hook), _) => hook.await,
        (StateType::Failed, _, Some(failure)) => {
            hooks::call(&context, (hooks.on_failure)(&context, &failure)).await;
        }
        (StateType::Cancelled | StateType::Cancelling, ..) => {
            hooks::call(&context, (hooks.on_cancellation)(&context)).await;
        }
        _ => {}
    }
}
