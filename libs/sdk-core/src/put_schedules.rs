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

fn describe(deployment: &str, name: &str) -> String {
    format!("the schedule `{name}` of `{deployment}`")
}
