use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tidegate_sdk_core::{Error, runtime as core_runtime};
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    callbacks, errors,
    of_process::{OfProcess, is_elsewhere},
};

/// Makes the Python value of a finished operation, once, with Python's lock held.
type Value = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

#[derive(Default)]
struct State {
    value: Option<Result<Value, Error>>,
    done: bool,
    subscribers: Vec<Py<PyAny>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    finished: Condvar,
}

/// Something that the core does. Wait for it, or be called when it is done, and then take its result, once.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Op {
    shared: OfProcess<Arc<Shared>>,
    /// Of work that is for nothing once nobody waits for it.
    droppable: Option<AbortHandle>,
}

impl Drop for Op {
    fn drop(&mut self) {
        if let Some(work) = self.droppable.as_ref().filter(|_| self.shared.is_here()) {
            work.abort();
        }
    }
}

impl Op {
    /// Begins `work` on the core's thread; `value` makes its result a Python value.
    pub(crate) fn start<T, F, V>(runtime: &Handle, work: F, value: V) -> Self
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        V: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let (shared, _) = begin(runtime, work, value);
        Self { shared: OfProcess::new(shared), droppable: None }
    }

    /// As [`Op::start`], for work that ends when the operation is dropped.
    pub(crate) fn start_droppable<T, F, V>(runtime: &Handle, work: F, value: V) -> Self
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        V: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let (shared, work) = begin(runtime, work, value);
        Self { shared: OfProcess::new(shared), droppable: work }
    }

    /// Done already.
    pub(crate) fn done<V>(value: V) -> Self
    where
        V: FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        Self { shared: OfProcess::new(ended(Ok(Box::new(value)))), droppable: None }
    }
}

fn begin<T, F, V>(runtime: &Handle, work: F, value: V) -> (Arc<Shared>, Option<AbortHandle>)
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
    V: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
{
    if !core_runtime::is_current(runtime) {
        std::mem::forget(work); // it holds parts of the parent's core
        return (ended(Err(is_elsewhere())), None);
    }
    let shared = Arc::new(Shared::default());
    let finishing = Arc::clone(&shared);
    let queue = callbacks::queue();
    let working = runtime.spawn(async move {
        let result = work.await.map(|done| -> Value { Box::new(move |py| value(py, done)) });
        let mut state = finishing.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.value = Some(result);
        state.done = true;
        let subscribers = std::mem::take(&mut state.subscribers);
        drop(state);
        finishing.finished.notify_all();
        for callback in subscribers {
            queue.push(callbacks::Item::Done(callback));
        }
    });
    (shared, Some(working.abort_handle()))
}

fn ended(value: Result<Value, Error>) -> Arc<Shared> {
    let state = State { value: Some(value), done: true, subscribers: Vec::new() };
    Arc::new(Shared { state: Mutex::new(state), finished: Condvar::new() })
}

#[pymethods]
impl Op {
    /// Waits up to `seconds`; True when it is done.
    fn wait(&self, py: Python<'_>, seconds: f64) -> bool {
        py.detach(|| {
            let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
            let waited = self.shared.finished.wait_timeout_while(state, limit, |state| !state.done);
            waited.unwrap_or_else(PoisonError::into_inner).0.done
        })
    }

    /// Has `callback` called from the callback thread when it is done, also when it is done already.
    fn subscribe(&self, py: Python<'_>, callback: Py<PyAny>) {
        let queue = callbacks::queue();
        py.detach(|| {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.done {
                drop(state);
                queue.push(callbacks::Item::Done(callback));
            } else {
                state.subscribers.push(callback);
            }
        });
    }

    /// The result, once.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let value =
            py.detach(|| self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).value.take());
        match value {
            Some(Ok(value)) => value(py),
            Some(Err(error)) => Err(errors::raise(py, &error)),
            None => Err(PyRuntimeError::new_err("the operation is not done, or its result was taken")),
        }
    }
}
