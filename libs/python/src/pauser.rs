use pyo3::prelude::*;
use tidegate_sdk_core::{self as core, proto::report};
use tokio::runtime::Handle;

use crate::{new_run::duration, of_process::OfProcess, op::Op, payload};

/// Has the code of an attempt wait until its run is resumed.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Pauser {
    pauser: OfProcess<core::Pauser>,
    runtime: Handle,
}

impl Pauser {
    pub(crate) fn new(pauser: core::Pauser, runtime: Handle) -> Self {
        Self { pauser: OfProcess::new(pauser), runtime }
    }
}

#[pymethods]
impl Pauser {
    /// The result of the operation is `(encoding, data)` of what the run is resumed with, or None. A suspended run is
    /// lost to this attempt, and the operation is never done: drop it.
    #[pyo3(signature = (key, *, timeout=None, suspend=false, request=None))]
    fn pause(
        &self,
        key: String,
        timeout: Option<f64>,
        suspend: bool,
        request: Option<(String, Vec<u8>)>,
    ) -> PyResult<Op> {
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        let request = request.map(|(encoding, data)| payload::to_proto(&encoding, data));
        let pause = report::Paused { key, timeout, suspend, request };
        let pauser = core::Pauser::clone(&self.pauser);
        let waiting = async move { pauser.pause(pause).await };
        Ok(Op::start_droppable(&self.runtime, waiting, |py, input| {
            let input = payload::from_optional(py, input.as_ref());
            Ok(input.into_pyobject(py)?.into_any().unbind())
        }))
    }
}
