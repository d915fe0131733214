use std::sync::{Arc, Mutex, PoisonError};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tidegate_sdk_core::{self as core, End, Stop, StopSignal, UploadRoom, Verdict};
use tokio::runtime::Handle;

use crate::{
    callbacks::{self, Item},
    errors,
    of_process::{OfProcess, is_elsewhere},
    op::Op,
    pauser::Pauser,
    run::state_name,
    worker::end_of,
};

/// A run that this process executes.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct LocalRun {
    run: OfProcess<Mutex<Option<core::LocalRun>>>,
    /// For the result that is reported next.
    upload_room: Arc<Mutex<Option<UploadRoom>>>,
    runtime: Handle,
    id: String,
    existing: bool,
}

impl LocalRun {
    pub(crate) fn new(run: core::LocalRun, runtime: Handle) -> Self {
        let (id, existing) = (run.id().to_owned(), run.is_existing());
        let run = OfProcess::new(Mutex::new(Some(run)));
        Self { run, upload_room: Arc::default(), runtime, id, existing }
    }

    /// Takes the run for a call that waits, so that no lock is held meanwhile.
    fn with<T>(&self, py: Python<'_>, call: impl AsyncFnOnce(&mut core::LocalRun) -> T + Send) -> PyResult<T>
    where
        T: Send,
    {
        if !self.run.is_here() {
            return Err(errors::raise(py, &is_elsewhere()));
        }
        py.detach(|| {
            let taken = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut run = taken?;
            // Waits for room in the session's queue alone, no upload: that is the backpressure to user code.
            let answer = self.runtime.block_on(call(&mut run));
            *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
            Some(answer)
        })
        .ok_or_else(|| PyRuntimeError::new_err("the run is in use by another thread"))
    }

    fn get<T>(&self, of: impl FnOnce(&core::LocalRun) -> T) -> PyResult<T> {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.as_ref().map(of).ok_or_else(|| PyRuntimeError::new_err("the run is in use by another thread"))
    }
}

#[pymethods]
impl LocalRun {
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// True when the same call had made the run before: it is not to be executed.
    #[getter]
    fn existing(&self) -> bool {
        self.existing
    }

    /// The epoch under which the present attempt is executed.
    #[getter]
    fn epoch(&self) -> PyResult<u64> {
        self.get(core::LocalRun::epoch)
    }

    /// Has `callback(kind, message, grace)` called when the run is to stop: once for each graver word, and before this
    /// returns for one that was said already.
    fn on_stop(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<StopWatch> {
        StopWatch::start(py, &self.runtime, self.get(core::LocalRun::stop_signal)?, callback)
    }

    /// Has the code of the present attempt wait.
    fn pauser(&self) -> PyResult<Pauser> {
        Ok(Pauser::new(self.get(core::LocalRun::pauser)?, self.runtime.clone()))
    }

    /// Says that the code starts now.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, async |run| run.start().await)
    }

    /// After a verdict of `retry`: the next attempt reports under this epoch.
    fn begin_again(&self, py: Python<'_>, epoch: u64) -> PyResult<()> {
        self.with(py, async |run| run.begin_again(epoch))
    }

    /// Waits for room for a result of `size` bytes, which the next `finish` takes. None: it needs none.
    fn make_room(&self, size: usize) -> PyResult<Option<Op>> {
        let Some(room) = self.get(|run| run.room(size))? else { return Ok(None) };
        let kept = Arc::clone(&self.upload_room);
        let waiting = async move {
            let room = room.await;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
            Ok(())
        };
        Ok(Some(Op::start_droppable(&self.runtime, waiting, |py, ()| Ok(py.None()))))
    }

    /// Reports the end of an attempt; a large result is to have room before. The result of the operation is the verdict: `("retry", seconds, epoch)` or
    /// `("ended", (type, name, message), epoch)`.
    #[pyo3(signature = (end, first="", second="", third="", data=vec![], non_retryable=false))]
    #[expect(clippy::too_many_arguments, reason = "one for each part of an end")]
    fn finish(
        &self,
        py: Python<'_>,
        end: &str,
        first: &str,
        second: &str,
        third: &str,
        data: Vec<u8>,
        non_retryable: bool,
    ) -> PyResult<Op> {
        let end: End = end_of(end, first, second, third, data, non_retryable)?;
        let room = self.upload_room.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = self.with(py, async move |run| run.finish_in(end, room).await)?;
        Ok(Op::start(&self.runtime, outcome.verdict(), |py, (verdict, epoch)| match verdict {
            Verdict::Retry(after) => {
                Ok(("retry", after.as_secs_f64(), epoch).into_pyobject(py)?.into_any().unbind())
            }
            Verdict::Ended(state) => {
                let state = (state_name(state.r#type()), state.name, state.message);
                Ok(("ended", state, epoch).into_pyobject(py)?.into_any().unbind())
            }
        }))
    }
}

/// Passes stop signals on while it lives.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct StopWatch(OfProcess<tokio::task::AbortHandle>);

impl StopWatch {
    /// Code that is to stop before it begins learns that here, at once.
    pub(crate) fn start(
        py: Python<'_>,
        runtime: &Handle,
        mut signal: StopSignal,
        callback: Py<PyAny>,
    ) -> PyResult<Self> {
        let said = signal.heard();
        if said != Stop::Go {
            callback.call1(py, callbacks::arguments_of(said))?;
        }
        let callback = std::sync::Arc::new(callback);
        let queue = callbacks::queue();
        let watching = runtime.spawn(async move {
            loop {
                let stop = signal.next().await;
                // Cloning a Python reference needs Python's lock, so each word goes with a shared one.
                queue.push(Item::Stop(std::sync::Arc::clone(&callback), stop));
            }
        });
        Ok(Self(OfProcess::new(watching.abort_handle())))
    }
}

impl Drop for StopWatch {
    fn drop(&mut self) {
        if self.0.is_here() {
            self.0.abort();
        }
    }
}
