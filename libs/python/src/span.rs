use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pyo3::prelude::*;
use tidegate_sdk_core::trace;

use crate::{errors, of_process::OfProcess};

/// The span of one attempt.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Span {
    span: OfProcess<Mutex<Option<trace::Span>>>,
    traceparent: String,
}

#[pymethods]
impl Span {
    #[new]
    fn new(name: &str, run_id: &str, attempt: u32, traceparent: &str) -> Self {
        let span = trace::Span::of_run(name, run_id, attempt, traceparent);
        Self { traceparent: span.traceparent(), span: OfProcess::new(Mutex::new(Some(span))) }
    }

    /// What is below this span continues this.
    #[getter]
    fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Ends the span: as failed with `failure`, or, with None, as well.
    #[pyo3(signature = (failure=None))]
    fn end(&self, failure: Option<&str>) {
        if !self.span.is_here() {
            return;
        }
        if let Some(span) = self.span.lock().unwrap_or_else(PoisonError::into_inner).take() {
            span.end(failure);
        }
    }
}

/// Exports spans while it lives.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Exporter(OfProcess<trace::Exporter>);

#[pymethods]
impl Exporter {
    /// Begins to export spans when OTEL_EXPORTER_OTLP_ENDPOINT is set; else None.
    #[staticmethod]
    fn from_env(py: Python<'_>, service: &str) -> PyResult<Option<Self>> {
        let exporter = py.detach(|| trace::export_from_env(service));
        exporter
            .map(|exporter| exporter.map(|exporter| Self(OfProcess::new(exporter))))
            .map_err(|error| errors::raise(py, &error))
    }

    /// Sends what is left, within `seconds`.
    fn close(&self, py: Python<'_>, seconds: f64) {
        py.detach(|| self.0.close(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))));
    }
}
