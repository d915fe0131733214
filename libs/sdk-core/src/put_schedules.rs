//! The schedules that a deployment is to have, as code or a file says it.

use std::collections::HashSet;

use crate::{Client, Error, ErrorKind, proto};

/// A schedule that a deployment is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedSchedule {
    /// Its name within the deployment.
    pub name: String,
    /// When and how.
    pub spec: proto::ScheduleSpec,
    /// It begins as a paused one; one that is there stays as it is.
    pub paused: bool,
}

/// What has become of the schedules of a deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutSchedules {
    /// Those that it is to have, in order, each with whether it is new.
    pub put: Vec<(proto::Schedule, bool)>,
    /// The names of those that were there, were not wanted, and are gone.
    pub deleted: Vec<String>,
    /// The names of those that are there and were not wanted.
    pub left: Vec<String>,
}

impl Client {
    /// Tells what is wrong with a deployment that is to be made or changed, and with its schedules: nothing is changed.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound` (the work pool), `Unavailable`.
    pub async fn check_deployment(
        &self,
        name: &str,
        spec: &proto::DeploymentSpec,
        schedules: &[WantedSchedule],
    ) -> Result<(), Error> {
        let request = proto::CreateDeploymentRequest {
            name: name.to_owned(),
            spec: Some(spec.clone()),
            update_if_exists: true,
            validate_only: true,
            ..Default::default()
        };
        self.deploy(request).await?;
        self.check_schedules(name, spec, schedules).await
    }

    /// Tells what is wrong with schedules before anything is changed, of a deployment that has this specification or is to
    /// get it: their names, their times, and what they give their runs.
    ///
    /// # Errors
    /// `InvalidArgument`, which names the schedule; `NotFound` (the work pool), `Unavailable`.
    pub async fn check_schedules(
        &self,
        deployment: &str,
        spec: &proto::DeploymentSpec,
        wanted: &[WantedSchedule],
    ) -> Result<(), Error> {
        let mut names = HashSet::new();
        for schedule in wanted {
            if !names.insert(schedule.name.as_str()) {
                let message = format!(
                    "two schedules of `{deployment}` have the name `{}`: give each a name of its own",
                    schedule.name
                );
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            let request = proto::CreateScheduleRequest {
                deployment: deployment.to_owned(),
                name: schedule.name.clone(),
                spec: Some(schedule.spec.clone()),
                update_if_exists: true,
                validate_only: true,
                deployment_spec: Some(spec.clone()),
                ..Default::default()
            };
            let checked = Box::pin(self.make_schedule(request)).await; // a request is large
            checked.map_err(|error| error.of(&describe(deployment, &schedule.name)))?;
        }
        Ok(())
    }

    /// Has a deployment have these schedules. Those that are there as they are wanted stay untouched, and so do pauses and
    /// runs. Others of the deployment are deleted where `prunes` is set, and left otherwise. Repeating it changes nothing.
    ///
    /// # Errors
    /// `NotFound` (the deployment), `InvalidArgument`, `FailedPrecondition` (there are too many), `Unavailable`. Those before
    /// the one that is refused have been put.
    pub async fn put_schedules(
        &self,
        deployment: &str,
        wanted: Vec<WantedSchedule>,
        prunes: bool,
    ) -> Result<PutSchedules, Error> {
        let mut done = PutSchedules::default();
        // New ones first: no time is missed where one takes the place of another. One that comes meanwhile may be both's.
        for WantedSchedule { name, spec, paused } in wanted {
            let put = Box::pin(self.create_schedule(deployment, &name, spec, paused, true)).await;
            done.put.push(put.map_err(|error| error.of(&describe(deployment, &name)))?);
        }
        for there in self.schedules(deployment).await? {
            if done.put.iter().any(|(schedule, _)| schedule.name == there.name) {
                continue;
            }
            if prunes {
                // A pause makes the runs of times that have come, where a deletion drops them.
                match self
                    .pause_schedule(deployment, &there.name, "it is not among the schedules that are wanted")
                    .await
                {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                self.delete_schedule(deployment, &there.name, true).await?;
                done.deleted.push(there.name);
            } else {
                done.left.push(there.name);
            }
        }
        Ok(done)
    }
}

/// What is to become of a schedule that was looked at before. It is done only where the schedule still is as it was then.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleWrite {
    /// It gets this specification. `etag`: of the schedule as it was; empty: there was none.
    Put {
        /// What is wanted.
        schedule: Box<WantedSchedule>,
        /// Of the schedule as it was; empty: there was none of its name.
        etag: String,
    },
    /// It is taken away, once the times that have come have made their runs.
    Delete {
        /// Its name within the deployment.
        name: String,
        /// Of the schedule as it was.
        etag: String,
    },
}

impl ScheduleWrite {
    /// The schedule's name within the deployment.
    pub fn name(&self) -> &str {
        match self {
            Self::Put { schedule, .. } => &schedule.name,
            Self::Delete { name, .. } => name,
        }
    }
}

impl Client {
    /// Does this to a schedule of a deployment. Repeating it changes nothing. One that was to go and has gone is no error.
    ///
    /// # Errors
    /// Those of one that is not as it was any more: `FailedPrecondition` with the reason ETAG_MISMATCH, `AlreadyExists`
    /// (SCHEDULE_EXISTS), `NotFound` (SCHEDULE_NOT_FOUND). Else `InvalidArgument`, `FailedPrecondition` (there are too many),
    /// `Unavailable`.
    pub async fn write_schedule(&self, deployment: &str, write: ScheduleWrite) -> Result<(), Error> {
        let (about, is_delete) =
            (describe(deployment, write.name()), matches!(write, ScheduleWrite::Delete { .. }));
        match Box::pin(self.write(deployment, write)).await {
            Err(error) if is_delete && error.is_not_found() => Ok(()),
            written => written.map_err(|error| error.of(&about)),
        }
    }

    async fn write(&self, deployment: &str, write: ScheduleWrite) -> Result<(), Error> {
        match write {
            ScheduleWrite::Put { schedule, etag } => {
                let request = proto::CreateScheduleRequest {
                    deployment: deployment.to_owned(),
                    name: schedule.name,
                    spec: Some(schedule.spec),
                    paused: schedule.paused,
                    update_if_exists: !etag.is_empty(),
                    etag,
                    ..Default::default()
                };
                self.make_schedule(request).await.map(drop)
            }
            ScheduleWrite::Delete { name, etag } => {
                // A pause makes the runs of times that have come, where a deletion drops them.
                let reason = "it is not among the schedules that are wanted";
                let paused = self.pause_schedule_as(deployment, &name, reason, &etag).await?;
                self.delete_schedule_as(deployment, &name, &paused.etag).await
            }
        }
    }
}

fn describe(deployment: &str, name: &str) -> String {
    format!("the schedule `{name}` of `{deployment}`")
}
