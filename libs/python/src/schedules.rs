use std::time::Duration;

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use tidegate_sdk_core::{
    self as core, WantedSchedule,
    proto::{self, schedule_spec::Timetable},
};

use crate::{client::Client, of_process::OfProcess, op::Op};

const MICROS: i64 = 1_000_000;

/// A schedule that a deployment is to have. Times are microseconds since 1970, spans are microseconds.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct NewSchedule(WantedSchedule);

#[pymethods]
impl NewSchedule {
    /// `kind` is `cron`, `interval` or `rrule`, and `rule` the text of the first and the last.
    #[new]
    #[pyo3(signature = (*, name, kind, rule="", day_and=false, every=0, anchor=None, time_zone="", start_at=None,
        end_at=None, jitter=0, parameters="", catch_up="skip", max_catch_up=0, catch_up_grace=None, overlap="allow",
        tags=vec![], queue="", job_variables="", description="", paused=false))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        name: String,
        kind: &str,
        rule: &str,
        day_and: bool,
        every: u64,
        anchor: Option<i64>,
        time_zone: &str,
        start_at: Option<i64>,
        end_at: Option<i64>,
        jitter: u64,
        parameters: &str,
        catch_up: &str,
        max_catch_up: u32,
        catch_up_grace: Option<u64>,
        overlap: &str,
        tags: Vec<String>,
        queue: &str,
        job_variables: &str,
        description: &str,
        paused: bool,
    ) -> PyResult<Self> {
        let timetable = match kind {
            "cron" => Timetable::Cron(proto::CronTimetable { expression: rule.to_owned(), day_and }),
            "interval" => Timetable::Interval(proto::IntervalTimetable {
                every: Some(span(every)),
                anchor: anchor.map(instant),
            }),
            "rrule" => Timetable::Rrule(proto::RRuleTimetable { rule: rule.to_owned() }),
            other => return Err(PyValueError::new_err(format!("`{other}` is no kind of a schedule"))),
        };
        let catch_up = word("CATCH_UP_POLICY", catch_up, proto::CatchUpPolicy::from_str_name)?;
        let overlap = word("OVERLAP_POLICY", overlap, proto::OverlapPolicy::from_str_name)?;
        let spec = proto::ScheduleSpec {
            timetable: Some(timetable),
            time_zone: time_zone.to_owned(),
            start_at: start_at.map(instant),
            end_at: end_at.map(instant),
            jitter: (jitter > 0).then(|| span(jitter)),
            parameters: parameters.to_owned(),
            catch_up: catch_up.into(),
            max_catch_up,
            catch_up_grace: catch_up_grace.map(span),
            overlap: overlap.into(),
            tags,
            queue: queue.to_owned(),
            job_variables: job_variables.to_owned(),
            description: description.to_owned(),
        };
        Ok(Self(WantedSchedule { name, spec, paused }))
    }
}

/// The schedules of the server that a client speaks to. A schedule comes as a dict of its fields; `spec` in it has those
/// of [`NewSchedule`].
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Schedules(OfProcess<core::Client>);

#[pymethods]
impl Schedules {
    #[new]
    fn new(client: &Client) -> Self {
        Self(OfProcess::new(client.core.clone()))
    }

    /// Has a deployment have these schedules: `([schedule, …], [name deleted, …], [name left, …])`.
    fn put(&self, deployment: String, schedules: Vec<PyRef<'_, NewSchedule>>, prunes: bool) -> Op {
        let (core, wanted) = (self.0.clone(), wanted(&schedules));
        let putting = async move { core.put_schedules(&deployment, wanted, prunes).await };
        Op::start(self.0.runtime(), putting, |py, done| {
            let put = done.put.into_iter().map(|(schedule, _)| told(py, schedule));
            let put = put.collect::<PyResult<Vec<_>>>()?;
            Ok((put, done.deleted, done.left).into_pyobject(py)?.into_any().unbind())
        })
    }

    fn get(&self, deployment: String, name: String) -> Op {
        let core = self.0.clone();
        let getting = async move { core.get_schedule(&deployment, &name).await };
        Op::start(self.0.runtime(), getting, |py, schedule| Ok(told(py, schedule)?.into_any().unbind()))
    }

    /// Those of a deployment, or of all where it is empty, that a filter selects.
    fn find(&self, deployment: String, filter: String) -> Op {
        let core = self.0.clone();
        let listing = async move { core.find_schedules(&deployment, &filter).await };
        Op::start(self.0.runtime(), listing, |py, schedules| {
            let schedules = schedules.into_iter().map(|schedule| told(py, schedule));
            Ok(schedules.collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.into_any().unbind())
        })
    }

    fn pause(&self, deployment: String, name: String, reason: String) -> Op {
        let core = self.0.clone();
        let pausing = async move { core.pause_schedule(&deployment, &name, &reason).await };
        Op::start(self.0.runtime(), pausing, |py, schedule| Ok(told(py, schedule)?.into_any().unbind()))
    }

    fn resume(&self, deployment: String, name: String) -> Op {
        let core = self.0.clone();
        let resuming = async move { core.resume_schedule(&deployment, &name).await };
        Op::start(self.0.runtime(), resuming, |py, schedule| Ok(told(py, schedule)?.into_any().unbind()))
    }

    fn delete(&self, deployment: String, name: String, allow_missing: bool) -> Op {
        let core = self.0.clone();
        let deleting = async move { core.delete_schedule(&deployment, &name, allow_missing).await };
        Op::start(self.0.runtime(), deleting, |py, ()| Ok(py.None()))
    }

    /// The next times, `[(fire_at, due_at), …]`: of `schedule`, or of one that is there.
    #[pyo3(signature = (schedule, deployment, name, after, count))]
    fn preview(
        &self,
        schedule: Option<PyRef<'_, NewSchedule>>,
        deployment: String,
        name: String,
        after: Option<i64>,
        count: i32,
    ) -> Op {
        let request = proto::PreviewScheduleRequest {
            deployment,
            name,
            spec: schedule.map(|schedule| schedule.0.spec.clone()),
            after: after.map(instant),
            count,
            ..Default::default()
        };
        let core = self.0.clone();
        let previewing = async move { core.preview_schedule(request).await };
        Op::start(self.0.runtime(), previewing, |py, fires| Ok(times(&fires).into_pyobject(py)?.unbind()))
    }

    /// Makes the runs of a past range: `(count, created_count, [(fire_at, due_at), …], [run id, …])`.
    #[pyo3(signature = (deployment, name, start, end, validate_only, expected_count))]
    fn backfill(
        &self,
        deployment: String,
        name: String,
        start: i64,
        end: i64,
        validate_only: bool,
        expected_count: Option<u32>,
    ) -> Op {
        let request = proto::BackfillScheduleRequest {
            deployment,
            name,
            from: Some(instant(start)),
            to: Some(instant(end)),
            validate_only,
            expected_count,
            ..Default::default()
        };
        let core = self.0.clone();
        let filling = async move { core.backfill_schedule(request).await };
        Op::start(self.0.runtime(), filling, |py, made| {
            let told = (made.count, made.created_count, times(&made.fires), made.run_ids);
            Ok(told.into_pyobject(py)?.into_any().unbind())
        })
    }
}

pub(crate) fn wanted(schedules: &[PyRef<'_, NewSchedule>]) -> Vec<WantedSchedule> {
    schedules.iter().map(|schedule| schedule.0.clone()).collect()
}

fn told(py: Python<'_>, schedule: proto::Schedule) -> PyResult<Bound<'_, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("deployment", schedule.deployment)?;
    fields.set_item("spec", told_spec(py, schedule.name, schedule.spec, schedule.pause.is_some())?)?;
    let pause = schedule.pause.map(|pause| (micros(pause.paused_at), pause.paused_by, pause.reason));
    fields.set_item("pause", pause)?;
    fields.set_item("next_fire_at", schedule.next_fire_at.map(micros_of))?;
    fields.set_item("last_fire_at", schedule.last_fire_at.map(micros_of))?;
    fields.set_item("last_run_id", schedule.last_run_id)?;
    fields.set_item("missed_count", schedule.missed_count)?;
    fields.set_item("last_error", schedule.last_error)?;
    fields.set_item("created_at", micros(schedule.created_at))?;
    fields.set_item("updated_at", micros(schedule.updated_at))?;
    Ok(fields)
}

fn told_spec(
    py: Python<'_>,
    name: String,
    spec: Option<proto::ScheduleSpec>,
    paused: bool,
) -> PyResult<Bound<'_, PyDict>> {
    let spec = spec.unwrap_or_default();
    let catch_up = spec.catch_up().as_str_name().trim_start_matches("CATCH_UP_POLICY_").to_lowercase();
    let overlap = spec.overlap().as_str_name().trim_start_matches("OVERLAP_POLICY_").to_lowercase();
    let fields = PyDict::new(py);
    fields.set_item("name", name)?;
    match spec.timetable {
        Some(Timetable::Cron(cron)) => {
            fields.set_item("kind", "cron")?;
            fields.set_item("rule", cron.expression)?;
            fields.set_item("day_and", cron.day_and)?;
        }
        Some(Timetable::Interval(interval)) => {
            fields.set_item("kind", "interval")?;
            fields.set_item("every", interval.every.map_or(0, micros_of_span))?;
            fields.set_item("anchor", interval.anchor.map(micros_of))?;
        }
        Some(Timetable::Rrule(rrule)) => {
            fields.set_item("kind", "rrule")?;
            fields.set_item("rule", rrule.rule)?;
        }
        None => {}
    }
    fields.set_item("time_zone", spec.time_zone)?;
    fields.set_item("start_at", spec.start_at.map(micros_of))?;
    fields.set_item("end_at", spec.end_at.map(micros_of))?;
    fields.set_item("jitter", spec.jitter.map_or(0, micros_of_span))?;
    fields.set_item("parameters", spec.parameters)?;
    fields.set_item("catch_up", catch_up)?;
    fields.set_item("max_catch_up", spec.max_catch_up)?;
    fields.set_item("catch_up_grace", spec.catch_up_grace.map(micros_of_span))?;
    fields.set_item("overlap", overlap)?;
    fields.set_item("tags", spec.tags)?;
    fields.set_item("queue", spec.queue)?;
    fields.set_item("job_variables", spec.job_variables)?;
    fields.set_item("description", spec.description)?;
    fields.set_item("paused", paused)?;
    Ok(fields)
}

/// The value of an enumeration that a word of Python's names.
fn word<T>(prefix: &str, word: &str, named: impl Fn(&str) -> Option<T>) -> PyResult<T> {
    named(&format!("{prefix}_{}", word.to_uppercase()))
        .ok_or_else(|| PyValueError::new_err(format!("`{word}` is none of {prefix}")))
}

fn times(fires: &[proto::ScheduleFire]) -> Vec<(i64, i64)> {
    fires.iter().map(|fire| (micros(fire.fire_at), micros(fire.due_at))).collect()
}

fn instant(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(MICROS) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(MICROS), nanos }
}

pub(crate) fn micros_of(time: prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(MICROS).saturating_add(i64::from(time.nanos) / 1_000)
}

pub(crate) fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    micros_of(time.unwrap_or_default())
}

fn span(micros: u64) -> prost_types::Duration {
    let span = Duration::from_micros(micros);
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

fn micros_of_span(span: prost_types::Duration) -> i64 {
    span.seconds.saturating_mul(MICROS).saturating_add(i64::from(span.nanos) / 1_000)
}
