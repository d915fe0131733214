use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
};
use tidegate_sdk_core::{
    self as core, Attempts, End, Error, ErrorKind, WorkerOptions,
    proto::{self, Failure, report},
};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    client::Client,
    errors,
    local::StopWatch,
    new_run::{kind_name, kind_of},
    of_process::{OfProcess, is_elsewhere},
    op::Op,
    pauser::Pauser,
    payload::{self, Encoded},
    run::state_name,
};

/// Attempts handed over at once, at most.
const MAX_BATCH: usize = 100;
/// How long the one run of an executor may go on when it is let go of.
const EXECUTOR_DRAIN: Duration = Duration::from_secs(5);

/// Takes queued runs.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Worker {
    worker: OfProcess<core::Worker>,
    attempts: OfProcess<Mutex<Attempts>>,
    runtime: Handle,
    health_address: Option<SocketAddr>,
}

#[pymethods]
impl Worker {
    #[new]
    #[pyo3(signature = (client, *, queues, functions, task_slots, flow_slots, drain_grace, labels=BTreeMap::new(),
        health_address=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        client: &Client,
        queues: Vec<String>,
        functions: Vec<(String, String)>,
        task_slots: u32,
        flow_slots: u32,
        drain_grace: f64,
        labels: BTreeMap<String, String>,
        health_address: Option<&str>,
    ) -> PyResult<Self> {
        let health_address: Option<SocketAddr> = match health_address.map(str::parse).transpose() {
            Ok(address) => address,
            Err(_) => {
                let message = format!(
                    "health_address={:?}: write an IP address and a port, such as \"0.0.0.0:8080\"",
                    health_address.unwrap_or_default()
                );
                return Err(errors::raise(py, &Error::new(ErrorKind::InvalidArgument, message)));
            }
        };
        let functions = functions
            .into_iter()
            .map(|(kind, name)| proto::Function { kind: kind_of(&kind).into(), name })
            .collect();
        let drain_grace = Duration::from_secs_f64(drain_grace.clamp(0.0, 86_400.0));
        let options = WorkerOptions {
            name: String::new(),
            queues,
            functions,
            work_pool: String::new(),
            labels,
            task_slots,
            flow_slots,
            drain_grace,
        };
        let listener = health_address.map(|address| core::HealthListener::bind(&client.core, address));
        let listener = listener.transpose().map_err(|error| errors::raise(py, &error))?;
        let health_address = listener.as_ref().map(core::HealthListener::address);
        let (mut worker, attempts) =
            core::Worker::start(&client.core, options).map_err(|error| errors::raise(py, &error))?;
        if let Some(listener) = listener {
            worker.serve_health(listener);
        }
        Ok(Self {
            worker: OfProcess::new(worker),
            attempts: OfProcess::new(Mutex::new(attempts)),
            runtime: client.core.runtime().clone(),
            health_address,
        })
    }

    /// Of a process that executes one run for the worker of a pool; the attempt comes out of `next`, and with its end this
    /// has ended. Raises where the run is no longer to be executed under `epoch`.
    #[staticmethod]
    fn executing(py: Python<'_>, client: &Client, run_id: &str, epoch: u64) -> PyResult<Self> {
        let runtime = client.core.runtime().clone();
        let core: &core::Client = &client.core;
        let executing =
            py.detach(|| runtime.block_on(core::Worker::execute(core, run_id, epoch, EXECUTOR_DRAIN)));
        let (worker, attempts) = executing.map_err(|error| errors::raise(py, &error))?;
        Ok(Self {
            worker: OfProcess::new(worker),
            attempts: OfProcess::new(Mutex::new(attempts)),
            runtime,
            health_address: None,
        })
    }

    #[getter]
    fn id(&self) -> &str {
        self.worker.id()
    }

    /// Where it tells how it is: `127.0.0.1:8080`; None: nowhere.
    #[getter]
    fn health_address(&self) -> Option<String> {
        self.health_address.map(|address| address.to_string())
    }

    /// `(connected, running, finished)`.
    #[getter]
    fn status(&self) -> (bool, u32, u64) {
        let status = *self.worker.status().borrow();
        (status.connected, status.n_running, status.n_finished)
    }

    /// Waits up to `seconds` for attempts. None once the worker takes no more.
    fn next(&self, py: Python<'_>, seconds: f64) -> Option<Vec<Attempt>> {
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let taken = py.detach(|| {
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            self.runtime.block_on(async {
                let Ok(first) = timeout(limit, attempts.next()).await else { return Some(Vec::new()) };
                let mut batch = vec![first?];
                while batch.len() < MAX_BATCH {
                    // What is there already comes along.
                    match timeout(Duration::ZERO, attempts.next()).await {
                        Ok(Some(attempt)) => batch.push(attempt),
                        Ok(None) | Err(_) => break,
                    }
                }
                Some(batch)
            })
        });
        let wrap = |attempt: core::Attempt| Attempt {
            assign: attempt.assign().clone(),
            attempt: OfProcess::new(Mutex::new(Some(attempt))),
            runtime: self.runtime.clone(),
        };
        taken.map(|attempts| attempts.into_iter().map(wrap).collect())
    }

    /// Takes no more runs, gives back what was not started, and gives the rest its grace.
    fn drain(&self) {
        self.worker.drain();
    }

    /// Waits up to `seconds` for the worker's end; True when it has ended. Raises why it was refused.
    fn stopped(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let stopped =
            py.detach(|| self.runtime.block_on(async { timeout(limit, self.worker.stopped()).await }));
        match stopped {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(errors::raise(py, &error)),
            Err(_) => Ok(false),
        }
    }
}

/// One attempt of a queued run. Dropped unfinished, it is given back if it had not started, and else crashed.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Attempt {
    assign: proto::Assign,
    attempt: OfProcess<Mutex<Option<core::Attempt>>>,
    runtime: Handle,
}

#[pymethods]
impl Attempt {
    #[getter]
    fn run_id(&self) -> &str {
        &self.assign.run_id
    }

    #[getter]
    fn kind(&self) -> &'static str {
        kind_name(self.assign.kind())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.assign.name
    }

    #[getter]
    fn run_name(&self) -> &str {
        &self.assign.run_name
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.assign.attempt
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.assign.epoch
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.assign.queue
    }

    #[getter]
    fn root_run_id(&self) -> &str {
        &self.assign.root_run_id
    }

    #[getter]
    fn parent_run_id(&self) -> &str {
        &self.assign.parent_run_id
    }

    #[getter]
    fn traceparent(&self) -> &str {
        &self.assign.traceparent
    }

    #[getter]
    fn tags(&self) -> Vec<String> {
        self.assign.tags.clone()
    }

    /// `(encoding, data)`.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> Option<Encoded<'py>> {
        payload::from_optional(py, self.assign.parameters.as_ref())
    }

    /// Has `callback(kind, message, grace)` called when the run is to stop: once for each graver word, and before this
    /// returns for one that was said already.
    fn on_stop(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<StopWatch> {
        let locked = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = locked.as_ref().ok_or_else(|| PyRuntimeError::new_err("the attempt has ended"))?;
        let signal = attempt.stop_signal();
        drop(locked); // the callback may want to end the attempt
        StopWatch::start(py, &self.runtime, signal, callback)
    }

    /// Has its code wait.
    fn pauser(&self) -> PyResult<Pauser> {
        let attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempt.as_ref().ok_or_else(|| PyRuntimeError::new_err("the attempt has ended"))?;
        Ok(Pauser::new(attempt.pauser(), self.runtime.clone()))
    }

    /// Says that the code starts now.
    fn start(&self) {
        if let Some(attempt) = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            attempt.start();
        }
    }

    /// Reports the end and frees the slot; only the first call does. With `hear` the result of the operation that it gives
    /// is the run's state after the report, `(type, name, message)`, or None where the run is no longer this worker's.
    #[pyo3(signature = (end, first="", second="", third="", data=vec![], non_retryable=false, hear=false))]
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
        hear: bool,
    ) -> PyResult<Option<Op>> {
        let end = end_of(end, first, second, third, data, non_retryable)?;
        if !self.attempt.is_here() {
            return Err(errors::raise(py, &is_elsewhere()));
        }
        let taken = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(attempt) = taken else { return Ok(None) };
        if !hear {
            attempt.finish(end);
            return Ok(None);
        }
        let heard = attempt.finish_and_hear(end);
        Ok(Some(Op::start(&self.runtime, async move { Ok(heard.await) }, |py, state| {
            let state = state.map(|state| (state_name(state.r#type()), state.name, state.message));
            Ok(state.into_pyobject(py)?.unbind())
        })))
    }
}

/// `("completed", encoding, data=…)`, `("failed", error type, message, traceback, non_retryable=…)`,
/// `("crashed", cause)`, `("cancelled",)`, `("timed_out",)`, `("upstream_failed", run id, cause)` or `("released",)`.
pub(crate) fn end_of(
    end: &str,
    first: &str,
    second: &str,
    third: &str,
    data: Vec<u8>,
    non_retryable: bool,
) -> PyResult<End> {
    Ok(match end {
        "completed" if second.is_empty() => End::Completed(Some(payload::to_proto(first, data))),
        "completed" => {
            let result = Some(payload::to_proto(first, data));
            End::CompletedAs(Box::new(report::Completed { result, message: second.into() }))
        }
        "failed" => End::Failed(Failure {
            error_type: first.into(),
            message: second.into(),
            traceback: third.into(),
            non_retryable,
        }),
        "crashed" => End::Crashed(first.into()),
        "cancelled" => End::Cancelled,
        "timed_out" => End::TimedOut,
        "upstream_failed" => End::UpstreamFailed { run_id: first.into(), cause: second.into() },
        "released" => End::Released,
        other => return Err(PyValueError::new_err(format!("`{other}` is no end of an attempt"))),
    })
}
