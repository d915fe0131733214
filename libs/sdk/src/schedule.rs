//! Schedules: what starts the runs of deployments at times of a clock.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tidegate_sdk_core::{
    Error, ErrorKind, PutSchedules, WantedSchedule,
    proto::{self, CatchUpPolicy, OverlapPolicy, schedule_spec::Timetable},
    timestamp_of,
};

use crate::Client;

/// When a deployment starts its runs, and what these are given.
///
/// ```
/// use tidegate_sdk::{Schedule, proto::CatchUpPolicy};
///
/// let nightly = Schedule::cron("0 3 * * *").named("nightly").time_zone("Europe/Berlin").catch_up(CatchUpPolicy::Latest);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says something once a deployment has it: see `Client::put_schedules`"]
pub struct Schedule(WantedSchedule);

impl Schedule {
    /// By a cron expression of five fields, or of six with seconds before them: `0 3 * * 1-5`. Where day of month and day of
    /// week are both restricted, one of them is to match.
    pub fn cron(expression: impl Into<String>) -> Self {
        Self::of(Timetable::Cron(proto::CronTimetable { expression: expression.into(), day_and: false }))
    }

    /// The same, where both days are to match.
    pub fn cron_of_both_days(expression: impl Into<String>) -> Self {
        Self::of(Timetable::Cron(proto::CronTimetable { expression: expression.into(), day_and: true }))
    }

    /// Each time after an interval of 1 s to 366 days, from when the schedule is made. Whole days are days of the zone's
    /// calendar.
    pub fn interval(every: Duration) -> Self {
        Self::of(Timetable::Interval(proto::IntervalTimetable { every: Some(span(every)), anchor: None }))
    }

    /// The same, where `anchor` is one of its times.
    pub fn interval_from(anchor: SystemTime, every: Duration) -> Self {
        let (every, anchor) = (Some(span(every)), Some(timestamp_of(anchor)));
        Self::of(Timetable::Interval(proto::IntervalTimetable { every, anchor }))
    }

    /// By a recurrence rule of RFC 5545: `FREQ=WEEKLY;BYDAY=MO,WE`.
    pub fn rrule(rule: impl Into<String>) -> Self {
        Self::of(Timetable::Rrule(proto::RRuleTimetable { rule: rule.into() }))
    }

    fn of(timetable: Timetable) -> Self {
        let spec = proto::ScheduleSpec { timetable: Some(timetable), ..Default::default() };
        Self(WantedSchedule { name: "default".into(), spec, paused: false })
    }

    /// Its name within the deployment, by which it is known again; else `default`.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// The zone of its times, such as `Europe/Berlin`; else UTC.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.0.spec.time_zone = name.into();
        self
    }

    /// No time before this one fires.
    pub fn start_at(mut self, at: SystemTime) -> Self {
        self.0.spec.start_at = Some(timestamp_of(at));
        self
    }

    /// No time at or after this one fires.
    pub fn end_at(mut self, at: SystemTime) -> Self {
        self.0.spec.end_at = Some(timestamp_of(at));
        self
    }

    /// Each run starts up to so much later, by a part of it that is always the same for a time: at most a day.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.0.spec.jitter = Some(span(most));
        self
    }

    /// Parameters of its runs, over those of the deployment.
    ///
    /// # Errors
    /// `Payload` where they are no JSON object.
    pub fn parameters<P: Serialize + ?Sized>(mut self, parameters: &P) -> Result<Self, Error> {
        self.0.spec.parameters = object("parameters", parameters)?;
        Ok(self)
    }

    /// What becomes of times that were missed; else they make no runs.
    pub fn catch_up(mut self, policy: CatchUpPolicy) -> Self {
        self.0.spec.catch_up = policy.into();
        self
    }

    /// Each time that was missed makes a run, the latest `most` of them.
    pub fn catch_up_all(mut self, most: u32) -> Self {
        self.0.spec.max_catch_up = most;
        self.catch_up(CatchUpPolicy::All)
    }

    /// A time that is missed by no more than this is late and not missed; else a minute.
    pub fn catch_up_grace(mut self, grace: Duration) -> Self {
        self.0.spec.catch_up_grace = Some(span(grace));
        self
    }

    /// What becomes of a run whose time comes while an earlier one is held; else they run beside each other.
    pub fn overlap(mut self, policy: OverlapPolicy) -> Self {
        self.0.spec.overlap = policy.into();
        self
    }

    /// Words that its runs have beside those of the deployment.
    pub fn tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.0.spec.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// The queue of its runs; else that of the deployment.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.0.spec.queue = name.into();
        self
    }

    /// Job variables of its runs over those of the deployment, which has a work pool.
    ///
    /// # Errors
    /// `Payload` where they are no JSON object.
    pub fn job_variables<V: Serialize + ?Sized>(mut self, variables: &V) -> Result<Self, Error> {
        self.0.spec.job_variables = object("job_variables", variables)?;
        Ok(self)
    }

    /// What it is for, for people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.0.spec.description = text.into();
        self
    }

    /// It begins as a paused one; one that is there stays as it is.
    pub fn paused(mut self) -> Self {
        self.0.paused = true;
        self
    }
}

/// Deployments, and their schedules.
impl Client {
    /// Makes a deployment, `flow/deployment`, or has one that is there say this. What it gives tells also what keeps its runs
    /// from starting now.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn deploy(
        &self,
        name: &str,
        spec: proto::DeploymentSpec,
    ) -> Result<proto::CreateDeploymentResponse, Error> {
        let (name, spec) = (name.to_owned(), Some(spec));
        let request =
            proto::CreateDeploymentRequest { name, spec, update_if_exists: true, ..Default::default() };
        self.core().deploy(request).await
    }

    /// Has a deployment have these schedules. Those that are there as they are wanted stay untouched, and so do pauses and
    /// runs. Others of the deployment are deleted where `prunes` is set. All are checked before anything is changed.
    ///
    /// # Errors
    /// `NotFound` (the deployment), `InvalidArgument`, `FailedPrecondition` (there are too many), `Unavailable`.
    pub async fn put_schedules(
        &self,
        deployment: &str,
        schedules: impl IntoIterator<Item = Schedule>,
        prunes: bool,
    ) -> Result<PutSchedules, Error> {
        let wanted: Vec<_> = schedules.into_iter().map(|schedule| schedule.0).collect();
        let there = self.core().get_deployment(deployment).await?.spec.unwrap_or_default();
        self.core().check_schedules(deployment, &there, &wanted).await?;
        self.core().put_schedules(deployment, wanted, prunes).await
    }

    /// One schedule.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn schedule(&self, deployment: &str, name: &str) -> Result<proto::Schedule, Error> {
        self.core().get_schedule(deployment, name).await
    }

    /// All schedules of a deployment, or, where that is empty, of all deployments.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn schedules(&self, deployment: &str) -> Result<Vec<proto::Schedule>, Error> {
        self.core().schedules(deployment).await
    }

    /// Has a schedule fire no more until it is resumed.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn pause_schedule(
        &self,
        deployment: &str,
        name: &str,
        reason: &str,
    ) -> Result<proto::Schedule, Error> {
        self.core().pause_schedule(deployment, name, reason).await
    }

    /// Has a schedule fire again, from now on.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn resume_schedule(&self, deployment: &str, name: &str) -> Result<proto::Schedule, Error> {
        self.core().resume_schedule(deployment, name).await
    }

    /// Takes a schedule away; its runs stay. With `allow_missing` also where it is not there.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_schedule(
        &self,
        deployment: &str,
        name: &str,
        allow_missing: bool,
    ) -> Result<(), Error> {
        self.core().delete_schedule(deployment, name, allow_missing).await
    }

    /// The next `count` times of a schedule that need not be anywhere yet, after `after`; `None`: after now.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn preview(
        &self,
        schedule: &Schedule,
        after: Option<SystemTime>,
        count: u16,
    ) -> Result<Vec<proto::ScheduleFire>, Error> {
        let (spec, after) = (Some(schedule.0.spec.clone()), after.map(timestamp_of));
        let request =
            proto::PreviewScheduleRequest { spec, after, count: count.into(), ..Default::default() };
        self.core().preview_schedule(request).await
    }

    /// The next times of a schedule that is there.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn preview_schedule(
        &self,
        request: proto::PreviewScheduleRequest,
    ) -> Result<Vec<proto::ScheduleFire>, Error> {
        self.core().preview_schedule(request).await
    }

    /// Makes the runs of a past range of times, or tells what it would make. Repeating it makes none twice.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `FailedPrecondition` (the range has another number of times), `Unavailable`.
    pub async fn backfill_schedule(
        &self,
        request: proto::BackfillScheduleRequest,
    ) -> Result<proto::BackfillScheduleResponse, Error> {
        self.core().backfill_schedule(request).await
    }
}

pub(crate) fn object<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<String, Error> {
    let refuse =
        |why: String| Error::new(ErrorKind::Payload, format!("`{what}` {why}: give a map, or a struct"));
    match serde_json::to_value(value) {
        Ok(value) if value.is_object() => Ok(value.to_string()),
        Ok(value) => Err(refuse(format!("are no JSON object but `{value}`"))),
        Err(error) => Err(refuse(format!("are no JSON ({error})"))),
    }
}

pub(crate) fn span(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_says_what_was_said_of_it() {
        let Schedule(wanted) = Schedule::interval_from(SystemTime::UNIX_EPOCH, Duration::from_millis(1_500))
            .named("often")
            .catch_up_all(7)
            .overlap(OverlapPolicy::Skip)
            .parameters(&serde_json::json!({"day": "monday"}))
            .expect("is an object")
            .paused();
        assert_eq!((wanted.name.as_str(), wanted.paused), ("often", true));
        assert_eq!((wanted.spec.catch_up(), wanted.spec.max_catch_up), (CatchUpPolicy::All, 7));
        assert_eq!(wanted.spec.parameters, r#"{"day":"monday"}"#);
        let Some(Timetable::Interval(interval)) = wanted.spec.timetable else { panic!("is an interval") };
        assert_eq!(interval.every.map(|every| (every.seconds, every.nanos)), Some((1, 500_000_000)));
        assert_eq!(interval.anchor, Some(prost_types::Timestamp::default()));
    }

    #[test]
    fn parameters_that_are_no_object_are_refused() {
        let refused = Schedule::cron("@daily").parameters(&[1, 2]).expect_err("is a list");
        assert_eq!(refused.message(), "`parameters` are no JSON object but `[1,2]`: give a map, or a struct");
    }
}
