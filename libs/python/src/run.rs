use std::{collections::BTreeMap, sync::Arc};

use pyo3::prelude::*;
use tidegate_sdk_core::proto::{self, StateType};

use crate::{
    new_run::kind_name,
    payload::{self, Encoded},
};

/// A run as it was at one moment.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Run(pub(crate) Arc<proto::Run>);

#[pymethods]
impl Run {
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    #[getter]
    fn kind(&self) -> &'static str {
        kind_name(self.0.kind())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn run_name(&self) -> &str {
        &self.0.run_name
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.0.queue
    }

    #[getter]
    fn parent_run_id(&self) -> &str {
        &self.0.parent_run_id
    }

    #[getter]
    fn root_run_id(&self) -> &str {
        &self.0.root_run_id
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.0.attempt
    }

    #[getter]
    fn crashes(&self) -> u32 {
        self.0.crashes
    }

    #[getter]
    fn tags(&self) -> Vec<String> {
        self.0.tags.clone()
    }

    #[getter]
    fn labels(&self) -> BTreeMap<String, String> {
        self.0.labels.clone()
    }

    #[getter]
    fn deployment(&self) -> &str {
        &self.0.deployment
    }

    #[getter]
    fn deployment_version(&self) -> u64 {
        self.0.deployment_version
    }

    #[getter]
    fn work_pool(&self) -> &str {
        &self.0.work_pool
    }

    /// The schedule of its deployment that made it.
    #[getter]
    fn schedule(&self) -> &str {
        &self.0.schedule
    }

    /// The time of the schedule that it was made for, without jitter.
    #[getter]
    fn fire_at(&self) -> Option<f64> {
        self.0.fire_at.as_ref().map(seconds)
    }

    #[getter]
    fn cache_key(&self) -> &str {
        &self.0.cache_key
    }

    #[getter]
    fn concurrency_limits(&self) -> Vec<String> {
        self.0.concurrency_limits.clone()
    }

    #[getter]
    fn fairness_key(&self) -> &str {
        &self.0.fairness_key
    }

    #[getter]
    fn required_labels(&self) -> BTreeMap<String, String> {
        self.0.required_worker_labels.clone()
    }

    #[getter]
    fn preferred_worker(&self) -> &str {
        &self.0.preferred_worker
    }

    #[getter]
    fn priority(&self) -> i32 {
        self.0.priority
    }

    /// `(type, name, message)`, such as `("FAILED", "TimedOut", "…")`.
    #[getter]
    fn state(&self) -> (&'static str, &str, &str) {
        match &self.0.state {
            Some(state) => (state_name(state.r#type()), &state.name, &state.message),
            None => ("SCHEDULED", "Scheduled", ""),
        }
    }

    /// When it was created, in seconds since 1970.
    #[getter]
    fn created_at(&self) -> Option<f64> {
        self.0.created_at.as_ref().map(seconds)
    }

    /// When it is, or was, to start.
    #[getter]
    fn due_at(&self) -> Option<f64> {
        self.0.due_at.as_ref().map(seconds)
    }

    /// When its last attempt started.
    #[getter]
    fn started_at(&self) -> Option<f64> {
        self.0.started_at.as_ref().map(seconds)
    }

    /// When it ended.
    #[getter]
    fn ended_at(&self) -> Option<f64> {
        self.0.ended_at.as_ref().map(seconds)
    }

    /// `(encoding, data)`.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> Option<Encoded<'py>> {
        payload::from_optional(py, self.0.parameters.as_ref())
    }

    /// `(encoding, data)` of a completed run.
    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> Option<Encoded<'py>> {
        payload::from_optional(py, self.0.result.as_ref())
    }

    /// `(error type, message, traceback)` of the last failure.
    #[getter]
    fn failure(&self) -> Option<(&str, &str, &str)> {
        let failure = self.0.failure.as_ref()?;
        Some((&failure.error_type, &failure.message, &failure.traceback))
    }
}

#[expect(clippy::cast_precision_loss, reason = "as time.time() gives it")]
pub(crate) fn seconds(time: &prost_types::Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

pub(crate) fn state_name(state: StateType) -> &'static str {
    match state {
        StateType::Unspecified | StateType::Scheduled => "SCHEDULED",
        StateType::Pending => "PENDING",
        StateType::Running => "RUNNING",
        StateType::Paused => "PAUSED",
        StateType::Cancelling => "CANCELLING",
        StateType::Completed => "COMPLETED",
        StateType::Failed => "FAILED",
        StateType::Crashed => "CRASHED",
        StateType::Cancelled => "CANCELLED",
    }
}
