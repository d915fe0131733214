use std::collections::HashSet;

use futures::future::join_all;
use prost::Message as _;
use tidegate_deploy::{Scheduled, Times, overlap_limit, schedule_spec_of};
use tidegate_engine::{Engine, EngineError, Fire, ScheduleAsk, ScheduleVerb, schedule_etag};
use tidegate_model::{DeploymentName, RunId, ScheduleId, ScheduleName, Timestamp, limits};
use tidegate_proto::v1::{self, schedule_service_server::ScheduleService};
use tidegate_store::{
    Deployment, DeploymentKey, LimitSettings, Schedule, ScheduleKey, SchedulePause, ScheduleProgress,
    ScheduleQuery, WorkPool,
};
use tidegate_wire::{
    Violations, check_id_time, invalid, invalid_field, namespace, page_size, timestamp_from_proto,
    timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::{
    actor::actor,
    deployment_service::checked,
    listed::{Asked, Found},
    page_token::invalid_token,
    schedule_spec::{FIELDS, copy_field, have_same_times, parse_spec},
    things::{self, SCHEDULES},
};

/// Times of a preview that does not say how many.
const N_PREVIEWED: usize = 10;
/// Times that a backfill tells.
const N_TOLD: usize = 100;

/// `ScheduleService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    scheduled: Scheduled,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine, scheduled: Scheduled::default() }
    }

    /// The schedule with this specification: what it fires next stays where its times stay.
    fn with_spec(
        &self,
        deployment: &Deployment,
        pool: Option<&WorkPool>,
        before: Schedule,
        spec: &v1::ScheduleSpec,
        now: Timestamp,
    ) -> Result<(Schedule, Option<LimitSettings>), EngineError> {
        let times = Times::of(spec, before.id, before.created_at)?;
        let is_new = before.version == 0;
        let stays = !is_new && have_same_times(spec, &schedule_spec_of(&before.spec)?);
        let mut after = Schedule { spec: spec.encode_to_vec().into(), ..before };
        if !stays {
            after.progress.next_fire_at = match after.pause {
                None => times.next_after(now).map(|fire| fire.fire_at),
                Some(_) => None,
            };
        }
        self.scheduled.check(&after, deployment, pool)?;
        Ok((after, overlap_limit(spec)))
    }
}

#[tonic::async_trait]
impl ScheduleService for Service {
    async fn create_schedule(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::CreateScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let spec = parse_spec(request.spec, &mut violations);
        if request.deployment_spec.is_some() && !request.validate_only {
            violations
                .add("deployment_spec", "goes with validate_only: a deployment is changed by its service");
        }
        if !request.etag.is_empty() && !request.update_if_exists {
            violations.add("etag", "is of one that is there: it goes with update_if_exists");
        }
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let ask = ask(named, &request.etag, actor.clone(), &request.request_id, violations)?;
        let change =
            |deployment: &Deployment, pool: Option<&WorkPool>, before: Option<&Schedule>, now: Timestamp| {
                let before = match before {
                    Some(_) if !request.update_if_exists => {
                        return Err(EngineError::ScheduleExists {
                            deployment: ask.key.deployment.name.to_string(),
                            name: ask.key.name.to_string(),
                        });
                    }
                    Some(before) => before.clone(),
                    None if ask.etag.is_some() => return Err(ask.not_found()),
                    None => Schedule {
                        key: ask.key.clone(),
                        id: ScheduleId::new(),
                        version: 0,
                        spec: Vec::new().into(),
                        pause: request.paused.then(|| SchedulePause {
                            at: now,
                            by: actor.clone(),
                            reason: String::new(),
                        }),
                        created_at: now,
                        updated_at: now,
                        progress: ScheduleProgress::default(),
                    },
                };
                self.with_spec(deployment, pool, before, &spec, now)
            };
        let (schedule, created) = if request.validate_only {
            let given = request.deployment_spec.as_ref().map(|spec| checked(spec, "deployment_spec."));
            let given = given.transpose().map_err(status)?;
            self.engine.check_schedule(&ask, given, &change).await.map_err(status)?
        } else {
            let changed =
                self.engine.change_schedule(&self.scheduled, &ask, ScheduleVerb::Create, &change).await;
            changed.map_err(status)?
        };
        Ok(Response::new(v1::CreateScheduleResponse { schedule: Some(to_proto(&schedule)?), created }))
    }

    async fn get_schedule(
        &self,
        request: Request<v1::GetScheduleRequest>,
    ) -> Result<Response<v1::GetScheduleResponse>, Status> {
        let request = request.into_inner();
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let key = key(named, Violations::default())?;
        let schedule = self.engine.get_schedule(&key).await.map_err(status)?;
        Ok(Response::new(v1::GetScheduleResponse { schedule: Some(to_proto(&schedule)?) }))
    }

    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let deployment: Option<DeploymentName> = match request.deployment.as_str() {
            "" => None,
            name => violations.parse("deployment", name),
        };
        if !violations.is_empty() {
            return Err(invalid(violations.into_vec()));
        }
        let page_size = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let namespace = namespace(&request.namespace)?;
        let of = (namespace.as_str(), request.deployment.as_str());
        let asked =
            Asked::new(&SCHEDULES, of, &request.filter, &request.page_token, self.engine.clock().now())?;
        // The names of the last one: a list that is ordered by them needs no more.
        let after = match asked.after.as_str() {
            "" => None,
            token => Some(parse_token(token).ok_or_else(|| invalid_token(token))?),
        };
        let mut page = asked.page(page_size, after, limits::MAX_PAGE_SIZE);
        while let Some((after, limit)) = page.wanted() {
            let (namespace, deployment, after) = (namespace.clone(), deployment.clone(), after.cloned());
            let query = ScheduleQuery { namespace, deployment, after, limit };
            let read = self.engine.store().list_schedules(&query).await;
            let read = read.map_err(|error| status(error.into()))?;
            let found = |schedule: Schedule| {
                let (thing, size) = (to_proto(&schedule)?, schedule.spec.len());
                Ok(Found { key: (schedule.key.deployment.name, schedule.key.name), thing, size })
            };
            page.take(read.into_iter().map(found), things::schedule)?;
        }
        let (schedules, next_page_token) =
            page.end(|(deployment, name)| asked.token(&format!("{deployment}/{name}")));
        Ok(Response::new(v1::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn update_schedule(
        &self,
        request: Request<v1::UpdateScheduleRequest>,
    ) -> Result<Response<v1::UpdateScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let (from, paths) = (request.spec.unwrap_or_default(), request.update_mask.unwrap_or_default().paths);
        if paths.is_empty() {
            violations.add("update_mask", "is empty: name the fields of spec that change, or `*` for all");
        }
        for path in &paths {
            if !copy_field(path, &from, &mut v1::ScheduleSpec::default()) {
                let known = FIELDS.join(", ");
                let path: String = path.chars().take(80).collect();
                violations
                    .add("update_mask", format!("`{path}` is no field of spec; there are {known}, and `*`"));
            }
        }
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let ask = ask(named, &request.etag, actor, &request.request_id, violations)?;
        let change =
            |deployment: &Deployment, pool: Option<&WorkPool>, before: Option<&Schedule>, now: Timestamp| {
                let before = before.ok_or_else(|| ask.not_found())?;
                let mut spec = schedule_spec_of(&before.spec)?;
                for path in &paths {
                    copy_field(path, &from, &mut spec);
                }
                let mut violations = Violations::default();
                let spec = parse_spec(Some(spec), &mut violations);
                if !violations.is_empty() {
                    return Err(EngineError::InvalidFields { violations: violations.into_vec() });
                }
                self.with_spec(deployment, pool, before.clone(), &spec, now)
            };
        let changed = self.engine.change_schedule(&self.scheduled, &ask, ScheduleVerb::Update, &change).await;
        let (schedule, _) = changed.map_err(status)?;
        Ok(Response::new(v1::UpdateScheduleResponse { schedule: Some(to_proto(&schedule)?) }))
    }

    async fn delete_schedule(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let ask = ask(named, &request.etag, actor, &request.request_id, Violations::default())?;
        let was_there = self.engine.delete_schedule(&ask).await.map_err(status)?;
        if was_there || request.allow_missing {
            Ok(Response::new(v1::DeleteScheduleResponse {}))
        } else {
            Err(status(ask.not_found()))
        }
    }

    async fn pause_schedule(
        &self,
        request: Request<v1::PauseScheduleRequest>,
    ) -> Result<Response<v1::PauseScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        if request.reason.len() > limits::MAX_REASON_SIZE {
            let (size, most) = (request.reason.len(), limits::MAX_REASON_SIZE);
            violations.add("reason", format!("has {size} bytes; at most {most} are allowed"));
        }
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let ask = ask(named, &request.etag, actor, &request.request_id, violations)?;
        let change = |_: &Deployment, _: Option<&WorkPool>, before: Option<&Schedule>, now: Timestamp| {
            let mut after = before.ok_or_else(|| ask.not_found())?.clone();
            let limit = overlap_limit(&schedule_spec_of(&after.spec)?);
            if after.pause.is_none() {
                let pause = SchedulePause { at: now, by: ask.actor.clone(), reason: request.reason.clone() };
                after.pause = Some(pause);
                after.progress.next_fire_at = None;
            }
            Ok((after, limit))
        };
        let changed = self.engine.change_schedule(&self.scheduled, &ask, ScheduleVerb::Pause, &change).await;
        let (schedule, _) = changed.map_err(status)?;
        Ok(Response::new(v1::PauseScheduleResponse { schedule: Some(to_proto(&schedule)?) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<v1::ResumeScheduleRequest>,
    ) -> Result<Response<v1::ResumeScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let named = (&*request.namespace, &*request.deployment, &*request.name);
        let ask = ask(named, &request.etag, actor, &request.request_id, Violations::default())?;
        let change = |_: &Deployment, _: Option<&WorkPool>, before: Option<&Schedule>, now: Timestamp| {
            let mut after = before.ok_or_else(|| ask.not_found())?.clone();
            let spec = schedule_spec_of(&after.spec)?;
            if after.pause.take().is_some() {
                let times = Times::of(&spec, after.id, after.created_at)?;
                after.progress.next_fire_at = times.next_after(now).map(|fire| fire.fire_at);
            }
            Ok((after, overlap_limit(&spec)))
        };
        let changed = self.engine.change_schedule(&self.scheduled, &ask, ScheduleVerb::Resume, &change).await;
        let (schedule, _) = changed.map_err(status)?;
        Ok(Response::new(v1::ResumeScheduleResponse { schedule: Some(to_proto(&schedule)?) }))
    }

    async fn preview_schedule(
        &self,
        request: Request<v1::PreviewScheduleRequest>,
    ) -> Result<Response<v1::PreviewScheduleResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let now = self.engine.clock().now();
        let after = instant("after", request.after, &mut violations).unwrap_or(now);
        let count = match usize::try_from(request.count) {
            Ok(0) => N_PREVIEWED,
            Ok(count) if count <= limits::MAX_PAGE_SIZE => count,
            _ => {
                let (count, most) = (request.count, limits::MAX_PAGE_SIZE);
                violations.add("count", format!("{count} is out of the range 0 to {most}"));
                0
            }
        };
        let given = request.spec.map(|spec| parse_spec(Some(spec), &mut violations));
        let times = if request.deployment.is_empty() {
            if given.is_none() {
                violations.add("spec", "is not set: give a specification, or the deployment of a schedule");
            }
            if !violations.is_empty() {
                return Err(invalid(violations.into_vec()));
            }
            Times::of(&given.unwrap_or_default(), ScheduleId::new(), now)
        } else {
            let key = key((&*request.namespace, &*request.deployment, &*request.name), violations)?;
            let schedule = self.engine.get_schedule(&key).await.map_err(status)?;
            let spec = match given {
                Some(given) => given,
                None => schedule_spec_of(&schedule.spec).map_err(status)?,
            };
            Times::of(&spec, schedule.id, schedule.created_at)
        };
        let fires = times.map_err(status)?.next(after, count);
        Ok(Response::new(v1::PreviewScheduleResponse { fires: fires.iter().map(fire_to_proto).collect() }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<v1::BackfillScheduleRequest>,
    ) -> Result<Response<v1::BackfillScheduleResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let now = self.engine.clock().now();
        let (from, to) = range(&request, now, &mut violations);
        let request_id: Option<RunId> = match request.request_id.as_str() {
            "" => None,
            text => violations.parse("request_id", text),
        };
        if let Some(id) = request_id {
            // The ids of its runs are made of it.
            check_id_time("request_id", id, &mut violations);
        }
        let key = key((&*request.namespace, &*request.deployment, &*request.name), violations)?;
        let schedule = self.engine.get_schedule(&key).await.map_err(status)?;
        let spec = schedule_spec_of(&schedule.spec).map_err(status)?;
        let times = Times::of(&spec, schedule.id, schedule.created_at).map_err(status)?;
        let mut fires = times.between(from, to, limits::MAX_BACKFILL + 1);
        let request_id = request_id.filter(|_| !request.validate_only);
        // A range that is filled in several parts may be so under one id.
        let (deployment, name) = (&key.deployment.name, &key.name);
        let scope = format!("schedule/backfill:{deployment}/{name}:{}-{}", from.as_micros(), to.as_micros());
        let is_done = match request_id {
            Some(id) => self.engine.was_done(&key.deployment.namespace, &scope, id).await.map_err(status)?,
            None => false,
        };
        if fires.len() > limits::MAX_BACKFILL {
            let most = limits::MAX_BACKFILL;
            if !is_done {
                let text =
                    format!("has more than {most} times since `from`: fill the range in several parts");
                return Err(invalid_field("to", text));
            }
            fires.truncate(most); // the schedule has become denser since
        }
        let count = fires.len();
        if !is_done
            && let Some(expected) = request.expected_count.and_then(|expected| usize::try_from(expected).ok())
            && expected != count
        {
            return Err(status(EngineError::BackfillCountMismatch { count, expected }));
        }
        let (n_created, made) = if request.validate_only {
            (self.engine.n_not_made(&schedule, &fires).await.map_err(status)?, Vec::new())
        } else {
            let made = match request_id {
                Some(id) if is_done => self.made_under(&schedule, &fires, id).await,
                _ => self.make(&schedule, &fires, actor, request_id).await,
            };
            let made = made.map_err(status)?;
            if let Some(id) = request_id.filter(|_| !is_done) {
                self.engine.keep_done(&key.deployment.namespace, &scope, id).await.map_err(status)?;
            }
            (made.len(), made)
        };
        Ok(Response::new(v1::BackfillScheduleResponse {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            created_count: u32::try_from(n_created).unwrap_or(u32::MAX),
            fires: fires.iter().take(N_TOLD).map(fire_to_proto).collect(),
            run_ids: made.iter().map(ToString::to_string).collect(),
        }))
    }
}

impl Service {
    /// The runs of these times that there were none for, by their times; with a request also those that it made before.
    async fn make(
        &self,
        schedule: &Schedule,
        fires: &[Fire],
        actor: Option<String>,
        request_id: Option<RunId>,
    ) -> Result<Vec<RunId>, EngineError> {
        let mut made = Vec::new();
        for chunk in fires.chunks(limits::MAX_BATCH_SIZE) {
            let ids = chunk.iter().map(|fire| match request_id {
                Some(request_id) => backfilled_id(request_id, schedule.id, *fire),
                None => RunId::new(),
            });
            let ids: Vec<_> = ids.collect();
            let creates = chunk.iter().zip(&ids).map(|(fire, id)| {
                let mut create = self.scheduled.run_with_id(schedule, *fire, *id)?;
                create.actor.clone_from(&actor);
                Ok(self.engine.create(create))
            });
            let creates: Vec<_> = creates.collect::<Result<_, EngineError>>()?;
            for (created, id) in join_all(creates).await.into_iter().zip(ids) {
                if created?.run.id == id {
                    made.push(id);
                }
            }
        }
        Ok(made)
    }

    /// The runs of these times that a request has made, by their times.
    async fn made_under(
        &self,
        schedule: &Schedule,
        fires: &[Fire],
        request_id: RunId,
    ) -> Result<Vec<RunId>, EngineError> {
        let namespace = &schedule.key.deployment.namespace;
        let mut made = Vec::new();
        for chunk in fires.chunks(limits::MAX_BATCH_SIZE) {
            let ids: Vec<_> =
                chunk.iter().map(|fire| backfilled_id(request_id, schedule.id, *fire)).collect();
            let there = self.engine.store().get_runs(Some(namespace), &ids).await?;
            let there: HashSet<RunId> = there.into_iter().map(|run| run.id).collect();
            made.extend(ids.into_iter().filter(|id| there.contains(id)));
        }
        Ok(made)
    }
}

/// The id of the run that a request makes for a time: a repeat knows by it what it has made.
fn backfilled_id(request_id: RunId, schedule: ScheduleId, fire: Fire) -> RunId {
    let schedule = u64::try_from(schedule.as_uuid().as_u128() & u128::from(u64::MAX)).unwrap_or_default();
    request_id.of_part(schedule ^ fire.fire_at.as_micros().cast_unsigned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The schedule that is named, by namespace, deployment and name, unless this or something before it is wrong.
fn key(
    (namespace_text, deployment, name): (&str, &str, &str),
    mut violations: Violations,
) -> Result<ScheduleKey, Status> {
    let deployment = violations.parse("deployment", deployment);
    let name: Option<ScheduleName> =
        if name.is_empty() { Some(ScheduleName::default()) } else { violations.parse("name", name) };
    match (deployment, name) {
        (Some(deployment), Some(name)) if violations.is_empty() => {
            let deployment = DeploymentKey { namespace: namespace(namespace_text)?, name: deployment };
            Ok(ScheduleKey { deployment, name })
        }
        _ => Err(invalid(violations.into_vec())),
    }
}

fn ask(
    named: (&str, &str, &str),
    etag: &str,
    actor: Option<String>,
    request_id: &str,
    mut violations: Violations,
) -> Result<ScheduleAsk, Status> {
    let request_id: Option<RunId> =
        if request_id.is_empty() { None } else { violations.parse("request_id", request_id) };
    let etag = (!etag.is_empty()).then(|| etag.to_owned());
    Ok(ScheduleAsk { key: key(named, violations)?, etag, actor, request_id })
}

fn parse_token(token: &str) -> Option<(DeploymentName, ScheduleName)> {
    let (deployment, name) = token.rsplit_once('/')?;
    Some((deployment.parse().ok()?, name.parse().ok()?))
}

fn instant(
    field: &str,
    time: Option<prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let time = time?;
    let parsed = timestamp_from_proto(&time);
    if parsed.is_none() {
        violations
            .add(field, format!("{}.{:09} s is no time of the years 1 to 9999", time.seconds, time.nanos));
    }
    parsed
}

/// The range of a backfill; what is wrong is noted.
fn range(
    request: &v1::BackfillScheduleRequest,
    now: Timestamp,
    violations: &mut Violations,
) -> (Timestamp, Timestamp) {
    for (field, time) in [("from", &request.from), ("to", &request.to)] {
        if time.is_none() {
            violations.add(field, "is not set: a backfill has a range of times");
        }
    }
    let from = instant("from", request.from, violations).unwrap_or(now);
    let to = instant("to", request.to, violations).unwrap_or(now);
    if to > now {
        violations.add("to", format!("{to} is to come: what is to come is fired by the schedule"));
    }
    if violations.is_empty() && from >= to {
        violations.add("to", format!("{to} is not after `from`, which is {from}"));
    }
    (from, to)
}

fn fire_to_proto(fire: &Fire) -> v1::ScheduleFire {
    v1::ScheduleFire {
        fire_at: Some(timestamp_to_proto(fire.fire_at)),
        due_at: Some(timestamp_to_proto(fire.due_at)),
    }
}

fn to_proto(schedule: &Schedule) -> Result<v1::Schedule, Status> {
    let progress = &schedule.progress;
    Ok(v1::Schedule {
        deployment: schedule.key.deployment.name.to_string(),
        name: schedule.key.name.to_string(),
        spec: Some(schedule_spec_of(&schedule.spec).map_err(status)?),
        pause: schedule.pause.as_ref().map(|pause| v1::SchedulePause {
            paused_at: Some(timestamp_to_proto(pause.at)),
            paused_by: pause.by.clone().unwrap_or_default(),
            reason: pause.reason.clone(),
        }),
        next_fire_at: progress.next_fire_at.map(timestamp_to_proto),
        last_fire_at: progress.last_fire_at.map(timestamp_to_proto),
        last_run_id: progress.last_run.as_ref().map(ToString::to_string).unwrap_or_default(),
        missed_count: progress.n_missed,
        last_error: progress.last_error.clone().unwrap_or_default(),
        etag: schedule_etag(schedule),
        created_at: Some(timestamp_to_proto(schedule.created_at)),
        updated_at: Some(timestamp_to_proto(schedule.updated_at)),
    })
}
