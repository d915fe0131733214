use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pyo3::{exceptions::PyValueError, prelude::*};
use tidegate_sdk_core::{self as core, LogLine, Options, proto, wall_clock};

use crate::{
    artifact::{Artifact, new_artifact},
    errors, local,
    new_run::{NewRun, duration},
    of_process::OfProcess,
    op::Op,
    payload,
    run::{Run, seconds},
    schedules::{NewSchedule, wanted},
    slots,
};

/// Speaks to one Tidegate.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Client {
    pub(crate) core: OfProcess<core::Client>,
}

#[pymethods]
impl Client {
    /// Without an address: TIDEGATE_ADDRESS; without a namespace: TIDEGATE_NAMESPACE.
    #[new]
    #[pyo3(signature = (address=None, namespace=None))]
    fn new(py: Python<'_>, address: Option<&str>, namespace: Option<&str>) -> PyResult<Self> {
        let made = Options::from_env().and_then(|from_env| {
            let mut options = match (address, namespace) {
                (None, None) => from_env,
                _ => Options::new(
                    address.unwrap_or(&from_env.address),
                    namespace.unwrap_or(&from_env.namespace),
                )?,
            };
            options.can_embed = true;
            options.sdk = concat!("tidegate-python/", env!("CARGO_PKG_VERSION")).into();
            core::Client::new(options)
        });
        made.map(|core| Self { core: OfProcess::new(core) }).map_err(|error| errors::raise(py, &error))
    }

    #[getter]
    fn address(&self) -> &str {
        &self.core.options().address
    }

    /// Bytes of one value that the server keeps, as far as that is known.
    #[getter]
    fn max_payload_size(&self) -> usize {
        self.core.max_payload_size()
    }

    /// Creates queued runs; the result is a list of their ids, each with whether it is new. The first error in order is
    /// raised.
    fn create(&self, runs: Vec<PyRef<'_, NewRun>>) -> Op {
        let runs: Vec<proto::NewRun> = runs.iter().map(|run| run.0.clone()).collect();
        let core = self.core.clone();
        Op::start(
            self.core.runtime(),
            async move {
                let created = core.create_runs(runs).await.into_iter();
                created.map(|created| created.map(|run| (run.id, run.created))).collect()
            },
            |py, created: Vec<(String, bool)>| Ok(created.into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Creates a run that this process executes; the result is a `LocalRun`.
    fn create_local(&self, run: PyRef<'_, NewRun>) -> Op {
        let run = run.0.clone();
        let core = self.core.clone();
        let runtime = self.core.runtime().clone();
        Op::start(
            self.core.runtime(),
            async move { core.session().create(run).await?.await },
            move |py, run| Ok(Py::new(py, local::LocalRun::new(run, runtime))?.into_any()),
        )
    }

    /// Makes a deployment, or has one that is there say this, where nothing is wrong with it and with the schedules that it
    /// is to have. `template` has what its runs have in common; the result is `(version, created, [warning, …])`.
    #[pyo3(signature = (name, template, schedules, *, description, entrypoint, parameters, parameter_schema,
        enforce_parameter_schema, max_concurrent_runs, on_collision, version_label, work_pool="", source=None,
        command=vec![], job_variables=""))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn deploy(
        &self,
        name: String,
        template: PyRef<'_, NewRun>,
        schedules: Vec<PyRef<'_, NewSchedule>>,
        description: String,
        entrypoint: String,
        parameters: String,
        parameter_schema: String,
        enforce_parameter_schema: bool,
        max_concurrent_runs: Option<u32>,
        on_collision: &str,
        version_label: String,
        work_pool: &str,
        source: Option<(String, BTreeMap<String, String>)>,
        command: Vec<String>,
        job_variables: &str,
    ) -> Op {
        let run = &template.0;
        let queue = match &run.placement {
            Some(proto::new_run::Placement::Queue(queue)) => queue.clone(),
            _ => String::new(),
        };
        let policy = proto::CollisionPolicy::from_str_name(&format!(
            "COLLISION_POLICY_{}",
            on_collision.to_uppercase()
        ));
        let spec = proto::DeploymentSpec {
            description,
            entrypoint,
            parameters,
            parameter_schema,
            enforce_parameter_schema,
            tags: run.tags.clone(),
            labels: run.labels.clone(),
            queue,
            priority: run.priority(),
            max_concurrent_runs,
            on_collision: max_concurrent_runs.and(policy).unwrap_or_default().into(),
            policies: run.policies.clone(),
            version_label,
            work_pool: work_pool.to_owned(),
            source: source.map(|(kind, fields)| source_of(&kind, fields)),
            command,
            job_variables: job_variables.to_owned(),
        };
        let (core, wanted) = (self.core.clone(), wanted(&schedules));
        Op::start(
            self.core.runtime(),
            async move {
                if !wanted.is_empty() {
                    core.check_deployment(&name, &spec, &wanted).await?;
                }
                let spec = Some(spec);
                let request = proto::CreateDeploymentRequest {
                    name,
                    spec,
                    update_if_exists: true,
                    ..Default::default()
                };
                core.deploy(request).await
            },
            |py, deployed| {
                let version = deployed.deployment.unwrap_or_default().version;
                Ok((version, deployed.created, deployed.warnings).into_pyobject(py)?.into_any().unbind())
            },
        )
    }

    /// A deployment: `(name, version, description, entrypoint, parameters, tags, queue, version_label)`, of which
    /// `parameters` are JSON.
    fn get_deployment(&self, name: String) -> Op {
        let core = self.core.clone();
        Op::start(self.core.runtime(), async move { core.get_deployment(&name).await }, |py, deployment| {
            let spec = deployment.spec.unwrap_or_default();
            let told = (
                deployment.name,
                deployment.version,
                spec.description,
                spec.entrypoint,
                spec.parameters,
                spec.tags,
                spec.queue,
                spec.version_label,
            );
            Ok(told.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// The run as it is now.
    fn get_run(&self, run_id: String) -> Op {
        let core = self.core.clone();
        Op::start(self.core.runtime(), async move { core.get_run(&run_id).await }, |py, run| {
            Ok(Py::new(py, Run(Arc::new(run)))?.into_any())
        })
    }

    /// As `get_run`, without values that would have to be fetched from object storage.
    fn peek_run(&self, run_id: String) -> Op {
        let core = self.core.clone();
        Op::start(self.core.runtime(), async move { core.peek_run(&run_id).await }, |py, run| {
            Ok(Py::new(py, Run(Arc::new(run)))?.into_any())
        })
    }

    /// The run once it has ended.
    fn wait(&self, run_id: String) -> Op {
        let core = self.core.clone();
        Op::start(self.core.runtime(), async move { core.wait(&run_id).await }, |py, run| {
            Ok(Py::new(py, Run(run))?.into_any())
        })
    }

    /// The runs once all have ended, in order.
    fn wait_many(&self, run_ids: Vec<String>) -> Op {
        let core = self.core.clone();
        Op::start(
            self.core.runtime(),
            async move { core.wait_many(&run_ids).await.into_iter().collect::<Result<Vec<_>, _>>() },
            |py, runs| {
                let runs = runs.into_iter().map(|run| Py::new(py, Run(run))).collect::<PyResult<Vec<_>>>()?;
                Ok(runs.into_pyobject(py)?.into_any().unbind())
            },
        )
    }

    /// Cancels a run and its descendants; the result is how many it were.
    fn cancel(&self, run_id: String, reason: String) -> Op {
        let core = self.core.clone();
        Op::start(
            self.core.runtime(),
            async move { core.cancel_run(&run_id, &reason).await },
            |py, response| Ok(response.n_cancelled.into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Has a queued run wait for `timeout` seconds at most, or until it is resumed.
    #[pyo3(signature = (run_id, timeout, reason))]
    fn pause(&self, run_id: String, timeout: Option<f64>, reason: String) -> PyResult<Op> {
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        let core = self.core.clone();
        let pausing = async move { core.pause_run(&run_id, timeout, &reason).await };
        Ok(Op::start(self.core.runtime(), pausing, |py, _| Ok(py.None())))
    }

    /// Has a paused run go on, with `(encoding, data)` for its code.
    #[pyo3(signature = (run_id, input))]
    fn resume(&self, run_id: String, input: Option<(String, Vec<u8>)>) -> Op {
        let input = input.map(|(encoding, data)| payload::to_proto(&encoding, data));
        let core = self.core.clone();
        let resuming = async move { core.resume_run(&run_id, "", input).await };
        Op::start(self.core.runtime(), resuming, |py, _| Ok(py.None()))
    }

    /// Has a queued run that has ended executed once more.
    fn retry(&self, run_id: String, reason: String) -> Op {
        let core = self.core.clone();
        let retrying = async move { core.retry_run(&run_id, &reason).await };
        Op::start(self.core.runtime(), retrying, |py, _| Ok(py.None()))
    }

    /// Takes `n_slots` slots and tokens of each of these limits, held while the process is heard of every `lease` seconds; the result is
    /// `Slots`, or None when `timeout` passed first. Dropped, it waits no longer.
    #[pyo3(signature = (limits, *, lease, timeout, run_id, n_slots=1, must_exist=false))]
    fn acquire_slots(
        &self,
        limits: Vec<String>,
        lease: f64,
        timeout: Option<f64>,
        run_id: String,
        n_slots: u32,
        must_exist: bool,
    ) -> PyResult<Op> {
        let lease = span("lease", lease)?;
        let timeout = timeout.map(|timeout| span("timeout", timeout)).transpose()?;
        let options = core::SlotOptions { lease, n_slots, must_exist, timeout, run_id };
        let (core, runtime) = (self.core.clone(), self.core.runtime().clone());
        let acquiring = async move {
            match core.acquire_slots(limits, options).await {
                Err(error) if error.is_deadline_exceeded() => Ok(None),
                held => held.map(Some),
            }
        };
        Ok(Op::start_droppable(self.core.runtime(), acquiring, move |py, held| match held {
            Some(held) => Ok(Py::new(py, slots::Slots::new(held, runtime))?.into_any()),
            None => Ok(py.None()),
        }))
    }

    /// The run that an idempotency key has made; `scope` is what the key is unique in (`parent`, `deployment`, `flow` or
    /// `task`), and `of` its id or name.
    fn find_run(&self, key: String, scope: &str, of: String) -> PyResult<Op> {
        use proto::find_run_request::Scope;
        let scope = match scope {
            "parent" => Scope::ParentRunId(of),
            "deployment" => Scope::Deployment(of),
            "flow" => Scope::Flow(of),
            "task" => Scope::Task(of),
            other => return Err(PyValueError::new_err(format!("`{other}` is no scope of a key"))),
        };
        let request =
            proto::FindRunRequest { idempotency_key: key, scope: Some(scope), ..Default::default() };
        let core = self.core.clone();
        Ok(Op::start(self.core.runtime(), async move { core.find_run(request).await }, |py, run| {
            Ok(Py::new(py, Run(Arc::new(run)))?.into_any())
        }))
    }

    /// Keeps an artifact of the run `run_id` (empty: of none); `data` is `(encoding, bytes)`. The result is an `Artifact`
    /// without its data.
    #[pyo3(signature = (*, r#type, key, description, progress, data, labels, run_id, epoch))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn create_artifact(
        &self,
        r#type: &str,
        key: String,
        description: String,
        progress: Option<f64>,
        data: Option<(String, Vec<u8>)>,
        labels: BTreeMap<String, String>,
        run_id: String,
        epoch: u64,
    ) -> PyResult<Op> {
        let new = new_artifact(r#type, key, description, progress, data, labels, run_id, epoch)?;
        let core = self.core.clone();
        let creating = async move { core.create_artifact(new).await };
        Ok(Op::start(self.core.runtime(), creating, |py, made| Ok(Py::new(py, Artifact(made))?.into_any())))
    }

    /// An artifact with its data: by its id, or by its key the newest version.
    #[pyo3(signature = (*, id="", key=""))]
    fn get_artifact(&self, id: &str, key: &str) -> Op {
        let name = if id.is_empty() {
            core::ArtifactName::Latest(key.to_owned())
        } else {
            core::ArtifactName::Id(id.to_owned())
        };
        let core = self.core.clone();
        let getting = async move { core.artifact(name).await };
        Op::start(self.core.runtime(), getting, |py, found| Ok(Py::new(py, Artifact(found))?.into_any()))
    }

    /// Tells how far something is, by its artifact. Never waits.
    fn write_progress(
        &self,
        artifact_id: String,
        percent: f64,
        description: Option<String>,
        run_id: String,
        epoch: u64,
    ) {
        self.core.write_progress(core::Progress { artifact_id, percent, description, run_id, epoch });
    }

    /// Makes or changes a variable; the result is True where it was made.
    #[pyo3(signature = (name, value_json, *, tags, description, overwrite))]
    fn set_variable(
        &self,
        name: String,
        value_json: String,
        tags: Vec<String>,
        description: String,
        overwrite: bool,
    ) -> Op {
        let request = proto::SetVariableRequest {
            name,
            value_json,
            tags,
            description,
            overwrite,
            ..Default::default()
        };
        let core = self.core.clone();
        Op::start(self.core.runtime(), async move { core.set_variable(request).await }, |py, (_, created)| {
            Ok(created.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    /// A variable: `(JSON, tags, description)`, or None.
    fn get_variable(&self, name: String) -> Op {
        let core = self.core.clone();
        let getting = async move {
            match core.variable(&name).await {
                Err(error) if error.is_not_found() => Ok(None),
                found => found.map(Some),
            }
        };
        Op::start(self.core.runtime(), getting, |py, found| {
            let found = found.map(|found| (found.value_json, found.tags, found.description));
            Ok(found.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Takes a variable away; the result is False where there was none.
    fn delete_variable(&self, name: String) -> Op {
        let core = self.core.clone();
        let deleting = async move {
            match core.delete_variable(&name, false).await {
                Err(error) if error.is_not_found() => Ok(false),
                done => done.map(|()| true),
            }
        };
        Op::start(self.core.runtime(), deleting, |py, done| {
            Ok(done.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    /// A page of the runs that `filter` selects, newest first: `(runs, next page token)`.
    #[pyo3(signature = (filter, page_size, page_token, order_by=String::new()))]
    fn list_runs(&self, filter: String, page_size: i32, page_token: String, order_by: String) -> Op {
        let core = self.core.clone();
        let request =
            proto::ListRunsRequest { filter, page_size, page_token, order_by, ..Default::default() };
        Op::start(self.core.runtime(), async move { core.list_runs(request).await }, |py, page| {
            let runs = page
                .runs
                .into_iter()
                .map(|run| Py::new(py, Run(Arc::new(run))))
                .collect::<PyResult<Vec<_>>>()?;
            Ok((runs, page.next_page_token).into_pyobject(py)?.into_any().unbind())
        })
    }

    /// The stored log lines of a run: `[(level, logger, message, seconds since 1970, attempt)]`, at most 1,000.
    fn query_logs(&self, run_id: String) -> Op {
        let core = self.core.clone();
        let request = proto::QueryLogsRequest { run_id, page_size: 1_000, ..Default::default() };
        Op::start(self.core.runtime(), async move { core.query_logs(request).await }, |py, page| {
            let line = |entry: proto::LogEntry| {
                let at = seconds(&entry.logged_at.unwrap_or_default());
                (entry.level, entry.logger, entry.message, at, entry.attempt)
            };
            let lines: Vec<_> = page.entries.into_iter().map(line).collect();
            Ok(lines.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Writes a line to a run's log. Never waits.
    #[pyo3(signature = (*, run_id, root_run_id, attempt, level, logger, message, traceparent))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn log(
        &self,
        run_id: String,
        root_run_id: String,
        attempt: u32,
        level: i32,
        logger: String,
        message: String,
        traceparent: String,
    ) {
        let level = proto::LogLevel::try_from(level).unwrap_or(proto::LogLevel::Info);
        let logged_at = wall_clock();
        self.core.logs().write(LogLine {
            run_id,
            root_run_id,
            attempt,
            level,
            logger,
            message,
            logged_at,
            traceparent,
        });
    }

    /// Waits until all log lines written so far are stored; the result is False when `seconds` passed first.
    fn flush_logs(&self, seconds: f64) -> Op {
        let core = self.core.clone();
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        Op::start(self.core.runtime(), async move { Ok(core.logs().flush(limit).await) }, |py, done| {
            Ok(done.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    /// Flushes logs and reports and ends the session, within `seconds`.
    fn close(&self, seconds: f64) -> Op {
        let core = self.core.clone();
        let limit = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let closing = async move {
            core.close(limit).await;
            Ok(())
        };
        Op::start(self.core.runtime(), closing, |py, ()| Ok(py.None()))
    }
}

/// Seconds as a span of time.
fn span(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{name}={seconds} is no number of seconds: {error}")))
}

/// Where code comes from, as Python says it: the kind, and its fields by their names.
fn source_of(kind: &str, mut fields: BTreeMap<String, String>) -> proto::Source {
    use proto::source::Source;

    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let source = match kind {
        "git" => Source::Git(proto::GitSource {
            url: take("url"),
            r#ref: take("ref"),
            directory: take("directory"),
            token_secret: take("token_secret"),
        }),
        "archive" => Source::Archive(proto::ArchiveSource {
            url: take("url"),
            sha256: take("sha256"),
            directory: take("directory"),
        }),
        "image" => Source::Image(take("image")),
        _ => Source::Path(take("path")),
    };
    proto::Source { source: Some(source) }
}
