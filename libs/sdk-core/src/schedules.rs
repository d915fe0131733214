//! Schedules: times of a clock at which runs of deployments are started.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, schedule_service_client::ScheduleServiceClient as Schedules},
};

impl Client {
    /// Makes a schedule of a deployment, or, with `update_if_exists`, gives one that is there this specification. Gives it
    /// as it is then, and whether it is new. A name that is empty is `default`, here and below.
    ///
    /// # Errors
    /// `NotFound` (the deployment), `InvalidArgument`, `AlreadyExists`, `FailedPrecondition` (there are too many),
    /// `Unavailable`.
    pub async fn create_schedule(
        &self,
        deployment: &str,
        name: &str,
        spec: proto::ScheduleSpec,
        paused: bool,
        update_if_exists: bool,
    ) -> Result<(proto::Schedule, bool), Error> {
        let (deployment, name, spec) = (deployment.to_owned(), name.to_owned(), Some(spec));
        let request = proto::CreateScheduleRequest {
            deployment,
            name,
            spec,
            paused,
            update_if_exists,
            ..Default::default()
        };
        self.make_schedule(request).await
    }

    /// The same with all that the API has for it, such as `validate_only`. The namespace is the client's, and so is the id of
    /// the request.
    ///
    /// # Errors
    /// As of `create_schedule`.
    pub async fn make_schedule(
        &self,
        request: proto::CreateScheduleRequest,
    ) -> Result<(proto::Schedule, bool), Error> {
        let (namespace, request_id) = (self.options().namespace.clone(), new_run_id());
        let request = proto::CreateScheduleRequest { namespace, request_id, ..request };
        let send = async |channel, request| Schedules::new(channel).create_schedule(request).await;
        let response = self.ask(request, send).await?;
        Ok((answered(response.schedule, "schedule")?, response.created))
    }

    /// One schedule.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn get_schedule(&self, deployment: &str, name: &str) -> Result<proto::Schedule, Error> {
        let request = proto::GetScheduleRequest {
            namespace: self.options().namespace.clone(),
            deployment: deployment.to_owned(),
            name: name.to_owned(),
        };
        let send = async |channel, request| Schedules::new(channel).get_schedule(request).await;
        answered(self.ask(request, send).await?.schedule, "schedule")
    }

    /// All schedules of a deployment, or, where that is empty, of all deployments, by the names of deployment and schedule.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn schedules(&self, deployment: &str) -> Result<Vec<proto::Schedule>, Error> {
        self.find_schedules(deployment, "").await
    }

    /// Those of them that a filter selects: `ListSchedulesRequest.filter`. Empty: all.
    ///
    /// # Errors
    /// `InvalidArgument`, which says what is wrong with the filter; `Unavailable`.
    pub async fn find_schedules(
        &self,
        deployment: &str,
        filter: &str,
    ) -> Result<Vec<proto::Schedule>, Error> {
        let (mut schedules, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListSchedulesRequest {
                namespace: self.options().namespace.clone(),
                deployment: deployment.to_owned(),
                page_size: 1_000,
                page_token,
                filter: filter.to_owned(),
            };
            let send = async |channel, request| Schedules::new(channel).list_schedules(request).await;
            let page = self.ask(request, send).await?;
            schedules.extend(page.schedules);
            if page.next_page_token.is_empty() {
                return Ok(schedules);
            }
            page_token = page.next_page_token;
        }
    }

    /// Changes the fields of a schedule's specification that `fields` names; with an `etag`, only where it is still as that
    /// was read.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `FailedPrecondition` (it was changed meanwhile), `Unavailable`.
    pub async fn update_schedule(
        &self,
        deployment: &str,
        name: &str,
        spec: proto::ScheduleSpec,
        fields: &[&str],
        etag: &str,
    ) -> Result<proto::Schedule, Error> {
        let paths = fields.iter().map(|&field| field.to_owned()).collect();
        let request = proto::UpdateScheduleRequest {
            namespace: self.options().namespace.clone(),
            deployment: deployment.to_owned(),
            name: name.to_owned(),
            spec: Some(spec),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: etag.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Schedules::new(channel).update_schedule(request).await;
        answered(self.ask(request, send).await?.schedule, "schedule")
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
        self.remove_schedule(deployment, name, "", allow_missing).await
    }

    /// Takes a schedule away where it still is as `etag` was read.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` (it was changed meanwhile), `Unavailable`.
    pub(crate) async fn delete_schedule_as(
        &self,
        deployment: &str,
        name: &str,
        etag: &str,
    ) -> Result<(), Error> {
        self.remove_schedule(deployment, name, etag, false).await
    }

    async fn remove_schedule(
        &self,
        deployment: &str,
        name: &str,
        etag: &str,
        allow_missing: bool,
    ) -> Result<(), Error> {
        let request = proto::DeleteScheduleRequest {
            namespace: self.options().namespace.clone(),
            deployment: deployment.to_owned(),
            name: name.to_owned(),
            etag: etag.to_owned(),
            allow_missing,
            request_id: new_run_id(),
        };
        self.ask(request, async |channel, request| Schedules::new(channel).delete_schedule(request).await)
            .await?;
        Ok(())
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
        self.pause_schedule_as(deployment, name, reason, "").await
    }

    /// The same; with an `etag` only where it still is as that was read.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `FailedPrecondition` (it was changed meanwhile), `Unavailable`.
    pub(crate) async fn pause_schedule_as(
        &self,
        deployment: &str,
        name: &str,
        reason: &str,
        etag: &str,
    ) -> Result<proto::Schedule, Error> {
        let request = proto::PauseScheduleRequest {
            namespace: self.options().namespace.clone(),
            deployment: deployment.to_owned(),
            name: name.to_owned(),
            reason: reason.to_owned(),
            request_id: new_run_id(),
            etag: etag.to_owned(),
        };
        let send = async |channel, request| Schedules::new(channel).pause_schedule(request).await;
        answered(self.ask(request, send).await?.schedule, "schedule")
    }

    /// Has a schedule fire again, from now on.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn resume_schedule(&self, deployment: &str, name: &str) -> Result<proto::Schedule, Error> {
        let request = proto::ResumeScheduleRequest {
            namespace: self.options().namespace.clone(),
            deployment: deployment.to_owned(),
            name: name.to_owned(),
            request_id: new_run_id(),
            etag: String::new(),
        };
        let send = async |channel, request| Schedules::new(channel).resume_schedule(request).await;
        answered(self.ask(request, send).await?.schedule, "schedule")
    }

    /// The next times of a schedule; of `spec`, where `request` names no deployment. The namespace is the client's.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn preview_schedule(
        &self,
        request: proto::PreviewScheduleRequest,
    ) -> Result<Vec<proto::ScheduleFire>, Error> {
        let namespace = self.options().namespace.clone();
        let request = proto::PreviewScheduleRequest { namespace, ..request };
        let send = async |channel, request| Schedules::new(channel).preview_schedule(request).await;
        Ok(self.ask(request, send).await?.fires)
    }

    /// Makes the runs of a past range of times, or tells what it would make. Repeating it makes none twice. The namespace
    /// is the client's, and so is the id of the request where it has none: a caller that may break off and ask again gives one
    /// of its own, and is told then what was made under it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `FailedPrecondition` (the range has another number of times), `Unavailable`.
    pub async fn backfill_schedule(
        &self,
        request: proto::BackfillScheduleRequest,
    ) -> Result<proto::BackfillScheduleResponse, Error> {
        let mut request =
            proto::BackfillScheduleRequest { namespace: self.options().namespace.clone(), ..request };
        if request.request_id.is_empty() {
            request.request_id = new_run_id();
        }
        let send = async |channel, request| Schedules::new(channel).backfill_schedule(request).await;
        self.ask(request, send).await
    }
}
