use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use pyo3::{prelude::*, types::PyTuple};
use tidegate_sdk_core::Stop;

/// Callbacks of one batch, at most, so that the thread that runs them looks at its other duties in between.
const MAX_BATCH: usize = 1_000;

/// What a Python thread is to do because of something that the core saw.
pub(crate) enum Item {
    /// An operation is done.
    Done(Py<PyAny>),
    /// Code is to stop.
    Stop(Arc<Py<PyAny>>, Stop),
}

/// Filled by the core's thread, emptied by a Python thread. Bounded by what Python has asked for: each item is the
/// answer to one subscription.
#[derive(Default)]
pub(crate) struct Queue {
    items: Mutex<VecDeque<Item>>,
    filled: Condvar,
}

/// By process: a forked child begins with an empty one. Locked with Python's lock held alone, so that no other thread has
/// it while a Python thread forks.
static QUEUE: Mutex<Option<(u32, Arc<Queue>)>> = Mutex::new(None);

/// The queue of this process. For who holds Python's lock.
pub(crate) fn queue() -> Arc<Queue> {
    let pid = std::process::id();
    let mut current = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*current {
        Some((owner, queue)) if *owner == pid => Arc::clone(queue),
        _ => {
            let queue = Arc::new(Queue::default());
            // The parent's items are Python objects of this process too, but nobody waits for them here.
            if let Some((_, inherited)) = current.replace((pid, Arc::clone(&queue))) {
                std::mem::forget(inherited);
            }
            queue
        }
    }
}

impl Queue {
    /// Called by the core's thread: never takes Python's lock.
    pub(crate) fn push(&self, item: Item) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
        self.filled.notify_one();
    }
}

/// Waits up to `seconds` for callbacks; a list of `(callback, arguments)`.
#[pyfunction]
pub(crate) fn next_callbacks(py: Python<'_>, seconds: f64) -> PyResult<Vec<(Py<PyAny>, Py<PyTuple>)>> {
    let queue = queue();
    let batch: Vec<Item> = py.detach(|| {
        let items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let waited = queue.filled.wait_timeout_while(items, limit, |items| items.is_empty());
        let (mut items, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let n = items.len().min(MAX_BATCH);
        items.drain(..n).collect()
    });
    batch
        .into_iter()
        .map(|item| match item {
            Item::Done(callback) => Ok((callback, PyTuple::empty(py).unbind())),
            Item::Stop(callback, stop) => {
                Ok((callback.clone_ref(py), arguments_of(stop).into_pyobject(py)?.unbind()))
            }
        })
        .collect()
}

/// What the callback for a stop is called with: `(kind, message, grace)`.
pub(crate) fn arguments_of(stop: Stop) -> (&'static str, String, f64) {
    match stop {
        Stop::Go => ("go", String::new(), 0.0),
        Stop::TimedOut => ("timed_out", String::new(), 0.0),
        Stop::Cancel { message, grace } => ("cancel", message, grace.as_secs_f64()),
        Stop::Shutdown => ("shutdown", String::new(), 0.0),
        Stop::Lost { message } => ("lost", message, 0.0),
    }
}
