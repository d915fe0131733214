use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tidegate_sdk_core as core;
use tokio::runtime::Handle;

use crate::{of_process::OfProcess, op::Op};

/// Slots of concurrency limits, held until they are released or this is dropped.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Slots {
    /// None once they are released.
    slots: OfProcess<Mutex<Option<core::Slots>>>,
    runtime: Handle,
}

impl Slots {
    pub(crate) fn new(slots: core::Slots, runtime: Handle) -> Self {
        Self { slots: OfProcess::new(Mutex::new(Some(slots))), runtime }
    }
}

#[pymethods]
impl Slots {
    /// True where their lease ended, so that others may have them.
    #[getter]
    fn is_lost(&self) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.as_ref().is_some_and(core::Slots::is_lost)
    }

    /// Gives them up; the result is False where they were lost before. In a forked child they stay what they are: the
    /// parent's.
    fn release(&self) -> Op {
        if !self.slots.is_here() {
            return Op::done(|py| Ok(true.into_pyobject(py)?.to_owned().into_any().unbind()));
        }
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner).take();
        let releasing = async move {
            Ok(match slots {
                Some(slots) => slots.release().await,
                None => true,
            })
        };
        Op::start(&self.runtime, releasing, |py, had| {
            Ok(had.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }
}
