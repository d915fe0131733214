use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use futures::FutureExt;
use tidegate_pulse::Pulses;
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span, debug_span, error, warn};

/// The wait before an optional task is started again: doubled each time, from and up to these.
const MIN_RESTART_DELAY: Duration = Duration::from_millis(100);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(30);
/// A task that ran this long was well: its next restart waits for the shortest time.
const WELL_AFTER: Duration = Duration::from_secs(60);
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// How long a loop may hang before the process says that it does not serve. Longer than anything that a loop waits for:
/// a statement of the database has 15 s, a call of another service 10 s.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the tasks of a process. Each has a name, a span, and a declared answer to its failure; all hear when to
/// stop. Clones are the same supervisor.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    tracker: TaskTracker,
    stop: CancellationToken,
    grace: Duration,
    pulses: Pulses,
    next_id: AtomicU64,
    /// The names of what runs, so that a drain that takes too long can say for whom it waits.
    running: Mutex<BTreeMap<u64, &'static str>>,
    first_error: Mutex<Option<anyhow::Error>>,
}

impl Supervisor {
    /// A supervisor with a shutdown grace of 30 s.
    #[expect(clippy::new_without_default, reason = "a default would hide that each is a group of its own")]
    pub fn new() -> Self {
        Self::with_grace(DEFAULT_GRACE)
    }

    /// A supervisor whose process may take `grace` to end after it was asked to.
    pub fn with_grace(grace: Duration) -> Self {
        Self::with_grace_and_patience(grace, DEFAULT_PATIENCE)
    }

    /// The same, whose loops may hang for `patience` before they are late, instead of 60 s.
    pub fn with_grace_and_patience(grace: Duration, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            grace,
            pulses: Pulses::new(patience),
            next_id: AtomicU64::new(0),
            running: Mutex::default(),
            first_error: Mutex::default(),
        }))
    }

    /// Starts a task that the process cannot be without: its error or panic stops everything and is the
    /// process's error. That it returns `Ok` stops nothing.
    pub fn essential<F, Fut>(&self, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send,
    {
        let this = self.clone();
        let stop = self.stop_token();
        let entry = self.enter(name);
        let pulse = self.0.pulses.add(name);
        let body = async move {
            let _entry = entry;
            let outcome = AssertUnwindSafe(async { task(stop).await }).catch_unwind().await;
            if let Err(failure) = flatten(outcome) {
                this.fail(failure.context(format!("task {name}")));
            }
        };
        let body = async move { pulse.scope(body).await };
        self.0.tracker.spawn(body.instrument(span_of(name)));
    }

    /// Starts a task that the process can be without for a while: its error or panic is logged, and it is
    /// started again after a wait that grows to 30 s. It ends when it returns `Ok`, or at stop.
    pub fn optional<F, Fut>(&self, name: &'static str, task: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send,
    {
        let stop = self.stop_token();
        let entry = self.enter(name);
        let pulse = self.0.pulses.add(name);
        let body = async move {
            let _entry = entry;
            let mut delay = MIN_RESTART_DELAY;
            loop {
                let started = Instant::now();
                let outcome = AssertUnwindSafe(async { task(stop.clone()).await }).catch_unwind().await;
                let Err(failure) = flatten(outcome) else { return };
                if stop.is_cancelled() {
                    return;
                }
                if started.elapsed() >= WELL_AFTER {
                    delay = MIN_RESTART_DELAY;
                }
                warn!(task.name = name, "task {name} failed and starts again in {delay:?}: {failure:#}");
                if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                    return;
                }
                delay = (delay * 2).min(MAX_RESTART_DELAY);
            }
        };
        let body = async move { pulse.scope(body).await };
        self.0.tracker.spawn(body.instrument(span_of(name)));
    }

    /// Cancelled when the process is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// The pulses of all tasks. One that is late, because its loop hangs or has ended, has health and `/readyz` say that the
    /// process does not serve; tasks that never call [`tidegate_pulse::beat`] are not looked at.
    pub fn pulses(&self) -> &Pulses {
        &self.0.pulses
    }

    /// The names of the tasks that run, each once.
    pub fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = lock(&self.0.running).values().copied().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How long the process may take to end after it was asked to.
    pub fn grace(&self) -> Duration {
        self.0.grace
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits until stop is asked (or nothing runs any more), then at most `grace` for all tasks to end.
    ///
    /// # Errors
    /// The error of the essential task that failed first; or which tasks had not ended after `grace`.
    pub async fn finished(&self, grace: Duration) -> anyhow::Result<()> {
        self.0.tracker.close();
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = self.0.tracker.wait() => {}
        }
        let drained = timeout(grace, self.0.tracker.wait()).await;
        if let Some(error) = lock(&self.0.first_error).take() {
            return Err(error);
        }
        drained.map_err(|_| {
            let names: Vec<_> = lock(&self.0.running).values().copied().collect();
            anyhow!("not all had ended {grace:?} after the stop: {}", names.join(", "))
        })
    }

    fn fail(&self, failure: anyhow::Error) {
        error!("{failure:#}; the process stops");
        lock(&self.0.first_error).get_or_insert(failure);
        self.stop();
    }

    fn enter(&self, name: &'static str) -> Entry {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.running).insert(id, name);
        Entry { supervisor: self.clone(), id }
    }
}

/// For logs at DEBUG. Not at INFO, which is exported: a trace as long as the process is of no use to anybody.
fn span_of(name: &'static str) -> Span {
    debug_span!(parent: None, "task", task.name = name)
}

/// Takes the name of a task off the list when the task is gone.
struct Entry {
    supervisor: Supervisor,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.supervisor.0.running).remove(&self.id);
    }
}

fn flatten(outcome: Result<anyhow::Result<()>, Box<dyn Any + Send>>) -> anyhow::Result<()> {
    outcome.map_err(|panic| anyhow!("{}", panic_message(&*panic))).context("panic")?
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// The locks here guard plain values that no panic leaves half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use anyhow::bail;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_failure_of_an_essential_task_stops_everything() {
        let tasks = Supervisor::new();
        tasks.essential("steady", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        tasks.essential("broken", |_| async { bail!("no luck") });
        assert_eq!(format!("{:#}", tasks.finished(GRACE).await.unwrap_err()), "task broken: no luck");
        assert!(tasks.stop_token().is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let tasks = Supervisor::new();
        tasks.essential("broken", |_| async { panic!("oh no") });
        assert_eq!(format!("{:#}", tasks.finished(GRACE).await.unwrap_err()), "task broken: panic: oh no");
    }

    #[tokio::test]
    async fn an_optional_task_starts_again() {
        let tasks = Supervisor::new();
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        tasks.optional("gauges", move |_| {
            let n_starts = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if n_starts < 3 { bail!("attempt {n_starts}") } else { Ok(()) } }
        });
        tasks.finished(GRACE).await.unwrap();
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert!(!tasks.stop_token().is_cancelled());
    }

    #[tokio::test]
    async fn a_drain_that_takes_too_long_says_for_whom_it_waits() {
        let tasks = Supervisor::new();
        tasks.essential("stubborn", |_| std::future::pending());
        tasks.stop();
        let error = tasks.finished(Duration::from_millis(20)).await.unwrap_err().to_string();
        assert!(error.contains("stubborn"), "{error}");
    }
}
