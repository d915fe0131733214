use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tidegate_sdk_core::{Stop, proto::Failure};
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinHandle},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::progress::Progress;

/// Failed children that are named one by one.
const MAX_NAMED: usize = 10;

/// What one attempt of a run has started in this process. The attempt does not end before it.
#[derive(Debug)]
pub(crate) struct Children {
    tasks: TaskTracker,
    /// For submitted runs that execute.
    permits: Arc<Semaphore>,
    /// Those that nobody has looked at yet, and some that somebody has.
    failed: Mutex<Vec<Arc<Progress>>>,
    /// What the code has spawned beside runs.
    spawned: Mutex<Vec<AbortHandle>>,
    ended: AtomicBool,
    stopped: CancellationToken,
    stop: OnceLock<Stop>,
}

impl Children {
    pub(crate) fn new(max_concurrency: usize) -> Self {
        Self {
            tasks: TaskTracker::new(),
            permits: Arc::new(Semaphore::new(max_concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            failed: Mutex::default(),
            spawned: Mutex::default(),
            ended: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            stop: OnceLock::new(),
        }
    }

    pub(crate) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// True when the attempt has ended with all that it had started: nothing can be started below it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Executes the life of a child. It hears of the stop by itself.
    pub(crate) fn start(&self, life: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(life));
    }

    /// Executes what the code wants to be executed beside it, until that is stopped.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let spawned = self.tasks.spawn(task);
        let mut all = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|task| !task.is_finished());
        }
        all.push(spawned.abort_handle());
        if self.stopped.is_cancelled() {
            spawned.abort();
        }
        spawned
    }

    pub(crate) fn note_failed(&self, child: Arc<Progress>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() == failed.capacity() {
            failed.retain(|child| !child.is_seen());
        }
        failed.push(child);
    }

    /// Waits until all that was started has ended; nothing is started after that.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.ended.store(true, Ordering::Release);
    }

    /// The code was stopped, and what it had started is to be.
    pub(crate) fn stop(&self, stop: Stop) {
        let _ = self.stop.set(stop); // the first word stands
        self.stopped.cancel();
        let spawned = std::mem::take(&mut *self.spawned.lock().unwrap_or_else(PoisonError::into_inner));
        for task in spawned {
            task.abort();
        }
    }

    /// Waits until the code was stopped.
    pub(crate) async fn stopped(&self) -> Stop {
        self.stopped.cancelled().await;
        self.stop.get().cloned().unwrap_or_default()
    }

    /// What it means to the run that submitted children have failed and nobody looked at them.
    pub(crate) fn unseen_failures(&self) -> Option<Failure> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|child| !child.is_seen());
        let first = failed.first()?.end().and_then(Result::err)?;
        let named = failed.iter().take(MAX_NAMED);
        let named = named.map(|child| format!("{} ({})", child.name, child.run_id().unwrap_or_default()));
        let mut names = named.collect::<Vec<_>>().join(", ");
        if failed.len() > MAX_NAMED {
            names.push_str(&format!(" and {} more", failed.len() - MAX_NAMED));
        }
        let (n_failed, runs, their) = match failed.len() {
            1 => (1, "run", "its result"),
            n_failed => (n_failed, "runs", "their results"),
        };
        let message = format!(
            "{n_failed} submitted {runs} failed and nobody asked for {their}: {names}; the first: {first}. Await what \
             `submit` gives, or say `on_unawaited_failure = \"ignore\"`",
        );
        Some(Failure {
            error_type: "UnawaitedFailure".into(),
            message,
            traceback: String::new(),
            non_retryable: false,
        })
    }
}
