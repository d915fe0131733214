use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use pyo3::{exceptions::PyValueError, prelude::*};
use tidegate_sdk_core::{
    self as core, ChildCalls as Calls,
    proto::{self, ParentPolicy, RunKind, new_run},
};

use crate::payload;

/// Numbers the calls in one attempt of a run.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct ChildCalls(Calls);

#[pymethods]
impl ChildCalls {
    #[new]
    fn new(run_id: String, epoch: u64) -> Self {
        Self(Calls::new(run_id, epoch))
    }
}

/// A run to be created.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct NewRun(pub(crate) proto::NewRun);

#[pymethods]
impl NewRun {
    /// Without `queue` it is executed by this process. `calls` are those of the attempt that makes it its child; with
    /// `always_new` no later attempt finds it.
    #[new]
    #[pyo3(signature = (*, kind, name, encoding, data, run_name="", queue=None, calls=None, always_new=false,
        traceparent="", tags=vec![], key="", use_existing=false, priority=None, due_at=None, max_retries=0,
        delays=vec![], jitter=0.0, retry_on=vec![], never_retry_on=vec![], run_timeout=None, cancel_grace=None,
        max_crashes=None, detached=false, detached_on_failure=None, detached_on_crash=None, labels=BTreeMap::new(),
        inherit_labels=false, deployment="", expires_at=None, cache_key="", cache_expiration=None,
        concurrency_limits=vec![], fairness_key="", required_labels=BTreeMap::new(), sticky=false,
        refresh_cache=false, job_variables=""))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        kind: &str,
        name: String,
        encoding: &str,
        data: Vec<u8>,
        run_name: &str,
        queue: Option<String>,
        calls: Option<&ChildCalls>,
        always_new: bool,
        traceparent: &str,
        tags: Vec<String>,
        key: &str,
        use_existing: bool,
        priority: Option<i32>,
        due_at: Option<f64>,
        max_retries: u32,
        delays: Vec<f64>,
        jitter: f64,
        retry_on: Vec<String>,
        never_retry_on: Vec<String>,
        run_timeout: Option<f64>,
        cancel_grace: Option<f64>,
        max_crashes: Option<u32>,
        detached: bool,
        detached_on_failure: Option<bool>,
        detached_on_crash: Option<bool>,
        labels: BTreeMap<String, String>,
        inherit_labels: bool,
        deployment: &str,
        expires_at: Option<f64>,
        cache_key: &str,
        cache_expiration: Option<f64>,
        concurrency_limits: Vec<String>,
        fairness_key: &str,
        required_labels: BTreeMap<String, String>,
        sticky: bool,
        refresh_cache: bool,
        job_variables: &str,
    ) -> PyResult<Self> {
        let delays =
            delays.into_iter().map(|delay| duration("a retry delay", delay)).collect::<PyResult<_>>()?;
        let retry = proto::RetryPolicy {
            max_retries,
            delays,
            jitter_factor: jitter,
            retry_on,
            never_retry_on,
            ..Default::default()
        };
        let unless_said = |detached: Option<bool>| detached.map_or(ParentPolicy::Unspecified, parent_policy);
        let policies = proto::Policies {
            retry: (max_retries > 0).then_some(retry),
            crash: max_crashes.map(|n| proto::CrashPolicy { max_crashes: Some(n) }),
            run_timeout: run_timeout.map(|limit| duration("timeout_seconds", limit)).transpose()?,
            start_timeout: None,
            cancel_grace: cancel_grace.map(|grace| duration("cancel_grace_seconds", grace)).transpose()?,
            // Unsaid it is that of the deployment, or that it ends with its parent.
            parent: if detached { ParentPolicy::Detach } else { ParentPolicy::Unspecified }.into(),
            parent_on_failure: unless_said(detached_on_failure).into(),
            parent_on_crash: unless_said(detached_on_crash).into(),
            ..Default::default()
        };
        let mut run = proto::NewRun {
            id: core::new_run_id(),
            kind: kind_of(kind).into(),
            name,
            run_name: run_name.into(),
            placement: queue.map(new_run::Placement::Queue),
            parameters: Some(payload::to_proto(encoding, data)),
            policies: Some(policies),
            due_at: due_at.map(|seconds| instant("eta", seconds)).transpose()?,
            expires_at: expires_at.map(|seconds| instant("expires", seconds)).transpose()?,
            labels,
            inherit_labels: inherit_labels && calls.is_some(),
            deployment: deployment.into(),
            cache_key: cache_key.into(),
            refresh_cache: refresh_cache && !cache_key.is_empty(),
            job_variables: job_variables.into(),
            cache_expires_after: cache_expiration.map(|age| duration("cache_expiration", age)).transpose()?,
            concurrency_limits,
            fairness_key: fairness_key.into(),
            required_worker_labels: required_labels,
            prefer_parent_worker: sticky && calls.is_some(),
            priority,
            tags,
            idempotency_key: key.into(),
            use_existing,
            traceparent: traceparent.into(),
            ..Default::default()
        };
        match calls {
            Some(ChildCalls(calls)) if always_new => calls.adopt(&mut run),
            Some(ChildCalls(calls)) => calls.count(&mut run),
            None => {}
        }
        Ok(Self(run))
    }

    /// The id that the run gets unless its idempotency key has made one before.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }
}

pub(crate) fn kind_of(name: &str) -> RunKind {
    if name == "flow" { RunKind::Flow } else { RunKind::Task }
}

pub(crate) fn kind_name(kind: RunKind) -> &'static str {
    if kind == RunKind::Flow { "flow" } else { "task" }
}

fn parent_policy(detached: bool) -> ParentPolicy {
    if detached { ParentPolicy::Detach } else { ParentPolicy::Cancel }
}

/// Of seconds since 1970, to the microsecond: in a double they are a little less or more than what a `datetime` holds.
fn instant(what: &str, seconds: f64) -> PyResult<prost_types::Timestamp> {
    let since = Duration::try_from_secs_f64(seconds);
    let since = since.map_err(|_| PyValueError::new_err(format!("{what} is a time before 1970")))?;
    let micros = u64::try_from((since.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX);
    Ok(core::timestamp_of(SystemTime::UNIX_EPOCH + Duration::from_micros(micros)))
}

pub(crate) fn duration(what: &str, seconds: f64) -> PyResult<prost_types::Duration> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("{what} is {seconds}, but must be a number of seconds from 0"))
    })?;
    Ok(prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    })
}
