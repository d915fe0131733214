use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tidegate_suite::Embedded;

use crate::of_process::OfProcess;

/// A server inside of this process, which keeps everything in memory.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct EmbeddedServer {
    address: String,
    /// None once it has been stopped.
    server: OfProcess<Mutex<Option<Embedded>>>,
}

#[pymethods]
impl EmbeddedServer {
    /// Starts one; it takes calls when this returns.
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let server = py.detach(Embedded::start).map_err(|error| {
            PyRuntimeError::new_err(format!("the embedded server does not start: {error:#}"))
        })?;
        Ok(Self { address: server.address().to_owned(), server: OfProcess::new(Mutex::new(Some(server))) })
    }

    /// `http://127.0.0.1:port`.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// Ends it, within `seconds`; only the first call does. A forked child leaves the server to its parent.
    fn stop(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        if !self.server.is_here() {
            return Ok(());
        }
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let stopped = py.detach(|| {
            let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
            server.map_or(Ok(()), |server| server.stop(limit))
        });
        stopped.map_err(|error| {
            PyRuntimeError::new_err(format!("the embedded server did not end well: {error:#}"))
        })
    }
}
