//! Schedules, against a server that loses replies and gives lists by pages.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tidegate_proto::v1::{
    self as proto,
    schedule_service_server::{ScheduleService, ScheduleServiceServer},
};
use tidegate_sdk_core::{Client, ErrorKind, Options, WantedSchedule};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Keeps schedules by name; the first try of each change is made, and its reply lost.
#[derive(Clone, Default)]
struct Fake {
    schedules: Arc<Mutex<Vec<proto::Schedule>>>,
    /// As they were when they were deleted.
    deleted: Arc<Mutex<Vec<proto::Schedule>>>,
    /// How often a request id came.
    tries: Arc<Mutex<HashMap<String, u32>>>,
}

impl Fake {
    /// Whether this is the first try of a change.
    fn is_first(&self, namespace: &str, request_id: &str) -> bool {
        assert!(namespace == "test" && !request_id.is_empty());
        let mut tries = self.tries.lock().unwrap();
        let n_tries = tries.entry(request_id.to_owned()).or_default();
        *n_tries += 1;
        *n_tries == 1
    }

    fn change(
        &self,
        (namespace, request_id): (&str, &str),
        (deployment, name): (&str, &str),
        change: impl FnOnce(&mut proto::Schedule),
    ) -> Result<Option<proto::Schedule>, Status> {
        let is_first = self.is_first(namespace, request_id);
        let mut schedules = self.schedules.lock().unwrap();
        let schedule = schedules
            .iter_mut()
            .find(|schedule| schedule.deployment == deployment && schedule.name == name)
            .ok_or_else(|| Status::not_found("no such schedule"))?;
        if is_first {
            change(schedule);
            return Err(Status::unavailable("the reply was lost"));
        }
        Ok(Some(schedule.clone()))
    }

    /// A client, and the server, which ends with the set.
    async fn client(&self) -> (Client, JoinSet<Result<(), tonic::transport::Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = ScheduleServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        let client = Client::new(Options::new(&address, "test").unwrap()).unwrap();
        (client, JoinSet::from_iter([serving]))
    }
}

#[tonic::async_trait]
impl ScheduleService for Fake {
    async fn create_schedule(
        &self,
        request: Request<proto::CreateScheduleRequest>,
    ) -> Result<Response<proto::CreateScheduleResponse>, Status> {
        let request = request.into_inner();
        let (deployment, name) = (request.deployment, request.name);
        let schedule = proto::Schedule { deployment, name, spec: request.spec, ..Default::default() };
        if request.validate_only {
            let queue = request.deployment_spec.unwrap_or_default().queue;
            assert_eq!(queue, "large", "what the deployment is to be is told");
            if schedule.spec == Some(nightly("61 * * * *")) {
                return Err(Status::invalid_argument("there is no minute 61"));
            }
            let schedule = Some(schedule);
            return Ok(Response::new(proto::CreateScheduleResponse { schedule, created: true }));
        }
        if self.is_first(&request.namespace, &request.request_id) {
            self.schedules.lock().unwrap().push(schedule);
            return Err(Status::unavailable("the reply was lost"));
        }
        let created = !request.update_if_exists;
        Ok(Response::new(proto::CreateScheduleResponse { schedule: Some(schedule), created }))
    }

    async fn get_schedule(
        &self,
        request: Request<proto::GetScheduleRequest>,
    ) -> Result<Response<proto::GetScheduleResponse>, Status> {
        let request = request.into_inner();
        let schedules = self.schedules.lock().unwrap();
        let schedule = schedules.iter().find(|schedule| schedule.name == request.name).cloned();
        let schedule = Some(schedule.ok_or_else(|| Status::not_found("no such schedule"))?);
        Ok(Response::new(proto::GetScheduleResponse { schedule }))
    }

    /// One by one.
    async fn list_schedules(
        &self,
        request: Request<proto::ListSchedulesRequest>,
    ) -> Result<Response<proto::ListSchedulesResponse>, Status> {
        let page = request.into_inner().page_token.parse().unwrap_or(0_usize);
        let schedules = self.schedules.lock().unwrap();
        let next_page_token = if page + 1 < schedules.len() { (page + 1).to_string() } else { String::new() };
        let schedules = schedules.get(page).cloned().into_iter().collect();
        Ok(Response::new(proto::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn update_schedule(
        &self,
        request: Request<proto::UpdateScheduleRequest>,
    ) -> Result<Response<proto::UpdateScheduleResponse>, Status> {
        let request = request.into_inner();
        let paths = request.update_mask.unwrap_or_default().paths;
        assert_eq!((paths.join(","), request.etag.as_str()), ("cron,time_zone".to_owned(), "7"));
        let (call, key) =
            ((&*request.namespace, &*request.request_id), (&*request.deployment, &*request.name));
        let schedule = self.change(call, key, |schedule| schedule.spec = request.spec)?;
        Ok(Response::new(proto::UpdateScheduleResponse { schedule }))
    }

    async fn delete_schedule(
        &self,
        request: Request<proto::DeleteScheduleRequest>,
    ) -> Result<Response<proto::DeleteScheduleResponse>, Status> {
        let request = request.into_inner();
        if self.is_first(&request.namespace, &request.request_id) {
            let mut schedules = self.schedules.lock().unwrap();
            let deleted = schedules.extract_if(.., |schedule| schedule.name == request.name);
            self.deleted.lock().unwrap().extend(deleted);
            return Err(Status::unavailable("the reply was lost"));
        }
        Ok(Response::new(proto::DeleteScheduleResponse {}))
    }

    async fn pause_schedule(
        &self,
        request: Request<proto::PauseScheduleRequest>,
    ) -> Result<Response<proto::PauseScheduleResponse>, Status> {
        let request = request.into_inner();
        let (call, key) =
            ((&*request.namespace, &*request.request_id), (&*request.deployment, &*request.name));
        let schedule = self.change(call, key, |schedule| {
            schedule.pause = Some(proto::SchedulePause { reason: request.reason, ..Default::default() });
        })?;
        Ok(Response::new(proto::PauseScheduleResponse { schedule }))
    }

    async fn resume_schedule(
        &self,
        request: Request<proto::ResumeScheduleRequest>,
    ) -> Result<Response<proto::ResumeScheduleResponse>, Status> {
        let request = request.into_inner();
        let (call, key) =
            ((&*request.namespace, &*request.request_id), (&*request.deployment, &*request.name));
        let schedule = self.change(call, key, |schedule| schedule.pause = None)?;
        Ok(Response::new(proto::ResumeScheduleResponse { schedule }))
    }

    async fn preview_schedule(
        &self,
        request: Request<proto::PreviewScheduleRequest>,
    ) -> Result<Response<proto::PreviewScheduleResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.namespace, "test");
        let fires = vec![proto::ScheduleFire::default(); usize::try_from(request.count).unwrap()];
        Ok(Response::new(proto::PreviewScheduleResponse { fires }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<proto::BackfillScheduleRequest>,
    ) -> Result<Response<proto::BackfillScheduleResponse>, Status> {
        let request = request.into_inner();
        if self.is_first(&request.namespace, &request.request_id) {
            return Err(Status::unavailable("the answer is lost"));
        }
        if request.expected_count.is_some_and(|count| count != 3) {
            return Err(Status::failed_precondition("the range has 3 times"));
        }
        let created_count = if request.validate_only { 0 } else { 3 };
        Ok(Response::new(proto::BackfillScheduleResponse { count: 3, created_count, ..Default::default() }))
    }
}

fn nightly(expression: &str) -> proto::ScheduleSpec {
    let cron = proto::CronTimetable { expression: expression.into(), day_and: false };
    proto::ScheduleSpec { timetable: Some(proto::schedule_spec::Timetable::Cron(cron)), ..Default::default() }
}

#[tokio::test]
async fn a_change_is_repeated_under_the_same_id_and_made_once() {
    let fake = Fake::default();
    let (client, _server) = fake.client().await;
    let (schedule, created) =
        client.create_schedule("etl/prod", "nightly", nightly("0 3 * * *"), false, false).await.unwrap();
    assert!(created && schedule.name == "nightly");
    let (later, fields) = (nightly("0 4 * * *"), ["cron", "time_zone"]);
    let updated = client.update_schedule("etl/prod", "nightly", later.clone(), &fields, "7").await.unwrap();
    assert_eq!(updated.spec, Some(later));
    let paused = client.pause_schedule("etl/prod", "nightly", "the source moves").await.unwrap();
    assert_eq!(paused.pause.unwrap().reason, "the source moves");
    assert_eq!(client.resume_schedule("etl/prod", "nightly").await.unwrap().pause, None);
    assert_eq!(client.schedules("").await.unwrap().len(), 1, "it was made once");
    client.delete_schedule("etl/prod", "nightly", false).await.unwrap();
    let missing = client.get_schedule("etl/prod", "nightly").await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    assert!(fake.tries.lock().unwrap().values().all(|n_tries| *n_tries == 2));
}

#[tokio::test]
async fn a_list_has_all_pages() {
    let fake = Fake::default();
    let (client, _server) = fake.client().await;
    for name in ["daily", "hourly", "weekly"] {
        client.create_schedule("etl/prod", name, nightly("@daily"), false, false).await.unwrap();
    }
    let schedules = client.schedules("etl/prod").await.unwrap();
    let names: Vec<_> = schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(names, ["daily", "hourly", "weekly"]);
}

#[tokio::test]
async fn a_preview_and_a_backfill_are_asked_for_in_the_clients_namespace() {
    let (client, _server) = Fake::default().client().await;
    let preview =
        proto::PreviewScheduleRequest { spec: Some(nightly("@daily")), count: 5, ..Default::default() };
    assert_eq!(client.preview_schedule(preview).await.unwrap().len(), 5);
    let range = proto::BackfillScheduleRequest {
        deployment: "etl/prod".into(),
        validate_only: true,
        ..Default::default()
    };
    let told = client.backfill_schedule(range.clone()).await.unwrap();
    assert_eq!((told.count, told.created_count), (3, 0));
    let made =
        proto::BackfillScheduleRequest { validate_only: false, expected_count: Some(3), ..range.clone() };
    assert_eq!(client.backfill_schedule(made).await.unwrap().created_count, 3);
    let other = proto::BackfillScheduleRequest { expected_count: Some(4), ..range };
    let refused = client.backfill_schedule(other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition, "{refused}");
}

fn wanted(names: &[&str]) -> Vec<WantedSchedule> {
    let one = |name: &&str| WantedSchedule { name: (*name).into(), spec: nightly("@daily"), paused: false };
    names.iter().map(one).collect()
}

#[tokio::test]
async fn a_deployment_gets_the_schedules_that_it_is_to_have_and_loses_others_where_that_is_said() {
    let fake = Fake::default();
    let (client, _server) = fake.client().await;
    client.create_schedule("etl/prod", "hourly", nightly("@hourly"), false, false).await.unwrap();
    let done = client.put_schedules("etl/prod", wanted(&["nightly", "weekly"]), false).await.unwrap();
    let names: Vec<_> = done.put.iter().map(|(schedule, _)| schedule.name.as_str()).collect();
    assert_eq!((names, done.left, done.deleted), (vec!["nightly", "weekly"], vec!["hourly".into()], vec![]));
    let done = client.put_schedules("etl/prod", vec![], true).await.unwrap();
    assert_eq!(done.deleted, ["hourly", "nightly", "weekly"]);
    let deleted = fake.deleted.lock().unwrap().clone();
    let is_paused = |schedule: &proto::Schedule| schedule.pause.is_some();
    assert!(
        deleted.len() == 3 && deleted.iter().all(is_paused),
        "runs of times that have come are made first"
    );
    assert_eq!(client.schedules("etl/prod").await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_schedule_is_told_by_its_name_before_anything_is_changed() {
    let (client, _server) = Fake::default().client().await;
    let mut all = wanted(&["nightly", "broken"]);
    let spec = proto::DeploymentSpec { queue: "large".into(), ..Default::default() };
    client.check_schedules("etl/prod", &spec, &all[..1]).await.unwrap();
    all[1].spec = nightly("61 * * * *");
    let refused = client.check_schedules("etl/prod", &spec, &all).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused.message(), "the schedule `broken` of `etl/prod`: there is no minute 61");
    let same = wanted(&["nightly", "nightly"]);
    let twice = client.check_schedules("etl/prod", &spec, &same).await.unwrap_err();
    assert!(twice.message().contains("two schedules of `etl/prod` have the name `nightly`"), "{twice}");
    assert_eq!(client.schedules("").await.unwrap(), []);
}
