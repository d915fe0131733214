use prost::Message as _;
use tidegate_deploy::job::{check_pool, pool_spec_of};
use tidegate_engine::{Engine, EngineError, PoolSpec, WorkPoolAsk, pool_etag};
use tidegate_model::{InvalidName, RunId, WorkPoolName, Worker, WorkerId, limits};
use tidegate_proto::v1::{self, work_pool_service_server::WorkPoolService};
use tidegate_store::{WorkPool, WorkPoolKey};
use tidegate_wire::{
    Violations, invalid, invalid_field, namespace, page_size, timestamp_to_proto, to_status, worker_to_proto,
};
use tonic::{Request, Response, Status};

use crate::{
    actor::actor,
    listed::{Asked, Found},
    page_token,
    queries::count_to_proto,
    requests::check_reason,
    things::{self, WORK_POOLS, WORKERS},
};

/// Pools of a page: so many fit into a message, however large they are.
const N_POOLS: usize = 20;

/// `WorkPoolService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl WorkPoolService for Service {
    async fn create_work_pool(
        &self,
        request: Request<v1::CreateWorkPoolRequest>,
    ) -> Result<Response<v1::CreateWorkPoolResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let spec = request.spec.unwrap_or_default();
        let mut violations = Violations::default();
        let mut below = Violations::below("spec.");
        check_pool(&spec, &mut below);
        violations.extend(below);
        let ask = ask((&request.namespace, &request.name), "", actor, &request.request_id, violations)?;
        let change = |before: Option<&WorkPool>| match before {
            Some(_) if !request.update_if_exists => {
                Err(EngineError::WorkPoolExists { name: request.name.clone() })
            }
            before => parsed(before, &spec),
        };
        let (pool, created) = self.engine.change_work_pool(&ask, &change).await.map_err(status)?;
        Ok(Response::new(v1::CreateWorkPoolResponse { work_pool: Some(to_proto(&pool)?), created }))
    }

    async fn get_work_pool(
        &self,
        request: Request<v1::GetWorkPoolRequest>,
    ) -> Result<Response<v1::GetWorkPoolResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let facts = self.engine.describe_work_pool(&key).await.map_err(status)?;
        if let Err(error) = &facts.n_workers {
            tracing::warn!(work_pool.name = %key.name, %error, "work pool {} is told without its workers", key.name);
        }
        let (waiting_runs, precision) = count_to_proto(facts.waiting);
        Ok(Response::new(v1::GetWorkPoolResponse {
            work_pool: Some(to_proto(&facts.pool)?),
            waiting_runs,
            waiting_precision: precision.into(),
            held_runs: facts.n_held,
            n_workers: facts.n_workers.ok(),
        }))
    }

    async fn list_work_pools(
        &self,
        request: Request<v1::ListWorkPoolsRequest>,
    ) -> Result<Response<v1::ListWorkPoolsResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let page_size = page_size(request.page_size, N_POOLS)?.min(N_POOLS);
        let of = (namespace.as_str(), "");
        let asked =
            Asked::new(&WORK_POOLS, of, &request.filter, &request.page_token, self.engine.clock().now())?;
        // The name of the last pool: a list that is ordered by name needs no more.
        let after: Option<WorkPoolName> = page_token::read_plain(&asked.after)?;
        let mut page = asked.page(page_size, after, N_POOLS);
        while let Some((after, limit)) = page.wanted() {
            let read = self.engine.store().list_work_pools(&namespace, after, limit).await;
            let read = read.map_err(|error| to_status(&EngineError::from(error)))?;
            let found = |pool: WorkPool| Ok(Found { thing: to_proto(&pool)?, key: pool.key.name, size: 0 });
            page.take(read.into_iter().map(found), things::work_pool)?;
        }
        let (work_pools, next_page_token) = page.end(|name| asked.token(name.as_str()));
        Ok(Response::new(v1::ListWorkPoolsResponse { work_pools, next_page_token }))
    }

    async fn update_work_pool(
        &self,
        request: Request<v1::UpdateWorkPoolRequest>,
    ) -> Result<Response<v1::UpdateWorkPoolResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let paths = request.update_mask.unwrap_or_default().paths;
        let new = request.spec.unwrap_or_default();
        let mut violations = Violations::default();
        if paths.is_empty() {
            violations
                .add("update_mask", "is empty: name the fields of spec that change, or `*` for all but type");
        }
        for (idx, path) in paths.iter().enumerate() {
            let field = format!("update_mask.paths[{idx}]");
            if path == "type" {
                violations.add(&field, "is `type`, which cannot be changed: make another work pool");
            } else if !copy_field(path, &new, &mut v1::WorkPoolSpec::default()) {
                let shown: String = path.chars().take(80).collect();
                let known = FIELDS.join(", ");
                violations
                    .add(&field, format!("`{shown}` is no field of a specification; there are {known}"));
            }
        }
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, violations)?;
        self.engine.get_work_pool(&ask.key).await.map_err(status)?;
        let change = |before: Option<&WorkPool>| {
            let gone = || EngineError::WorkPoolNotFound {
                name: ask.key.name.to_string(),
                nearest: Vec::new(),
                is_any: true,
            };
            let before = before.ok_or_else(gone)?;
            let mut spec = pool_spec_of(&before.spec)?;
            for path in &paths {
                copy_field(path, &new, &mut spec);
            }
            parsed(Some(before), &spec)
        };
        let (pool, _) = self.engine.change_work_pool(&ask, &change).await.map_err(status)?;
        Ok(Response::new(v1::UpdateWorkPoolResponse { work_pool: Some(to_proto(&pool)?) }))
    }

    async fn delete_work_pool(
        &self,
        request: Request<v1::DeleteWorkPoolRequest>,
    ) -> Result<Response<v1::DeleteWorkPoolResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, Violations::default())?;
        let was_there = self.engine.delete_work_pool(&ask).await.map_err(status)?;
        if !was_there && !request.allow_missing {
            return Err(status(self.engine.no_work_pool(&ask.key).await.map_err(status)?));
        }
        Ok(Response::new(v1::DeleteWorkPoolResponse {}))
    }

    async fn pause_work_pool(
        &self,
        request: Request<v1::PauseWorkPoolRequest>,
    ) -> Result<Response<v1::PauseWorkPoolResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, "", actor, &request.request_id, Violations::default())?;
        check_reason(&request.reason)?;
        let pool = self.engine.pause_work_pool(&ask, &request.reason).await.map_err(status)?;
        Ok(Response::new(v1::PauseWorkPoolResponse { work_pool: Some(to_proto(&pool)?) }))
    }

    async fn resume_work_pool(
        &self,
        request: Request<v1::ResumeWorkPoolRequest>,
    ) -> Result<Response<v1::ResumeWorkPoolResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, "", actor, &request.request_id, Violations::default())?;
        let pool = self.engine.resume_work_pool(&ask).await.map_err(status)?;
        Ok(Response::new(v1::ResumeWorkPoolResponse { work_pool: Some(to_proto(&pool)?) }))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let page_size = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let page_size = page_size.min(limits::MAX_WORKERS_OF_PAGE);
        let work_pool: Option<WorkPoolName> = match request.work_pool.as_str() {
            "" => None,
            name => Some(
                name.parse().map_err(|error: InvalidName| invalid_field("work_pool", error.to_string()))?,
            ),
        };
        let of = (namespace.as_str(), request.work_pool.as_str());
        let asked =
            Asked::new(&WORKERS, of, &request.filter, &request.page_token, self.engine.clock().now())?;
        // The id of the last worker: a list that is ordered by id needs no more.
        let after: Option<WorkerId> = page_token::read_plain(&asked.after)?;
        let mut page = asked.page(page_size, after, limits::MAX_WORKERS_OF_PAGE);
        while let Some((after, limit)) = page.wanted() {
            let read = self.engine.list_workers(&namespace, work_pool.as_ref(), after, limit).await;
            let found = |worker: Worker| {
                Ok(Found { key: worker.id.clone(), thing: worker_to_proto(worker), size: 0 })
            };
            page.take(read.map_err(status)?.into_iter().map(found), things::worker)?;
        }
        let (workers, next_page_token) = page.end(|id| asked.token(id.as_str()));
        Ok(Response::new(v1::ListWorkersResponse { workers, next_page_token }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let mut violations = Violations::default();
        let request_id: Option<RunId> = match request.request_id.as_str() {
            "" => None,
            text => violations.parse("request_id", text),
        };
        let worker_id: Option<WorkerId> = violations.parse("worker_id", &request.worker_id);
        let Some(worker_id) = worker_id.filter(|_| violations.is_empty()) else {
            return Err(invalid(violations.into_vec()));
        };
        self.engine.drain_worker(&namespace, &worker_id, request_id).await.map_err(status)?;
        let by = actor.as_deref().unwrap_or("someone");
        tracing::info!(worker.id = %worker_id, %namespace, "worker {worker_id} is drained, as {by} has asked");
        Ok(Response::new(v1::DrainWorkerResponse {}))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The pool that is named, unless this or something before it is wrong.
fn key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<WorkPoolKey, Status> {
    let name = violations.parse("name", name);
    let Some(name) = name.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    Ok(WorkPoolKey { namespace: namespace(namespace_text)?, name })
}

fn ask(
    (namespace, name): (&str, &str),
    etag: &str,
    actor: Option<String>,
    request_id: &str,
    mut violations: Violations,
) -> Result<WorkPoolAsk, Status> {
    let request_id = if request_id.is_empty() { None } else { violations.parse("request_id", request_id) };
    let etag = (!etag.is_empty()).then(|| etag.to_owned());
    Ok(WorkPoolAsk { key: key(namespace, name, violations)?, etag, actor, request_id })
}

/// A specification as it is kept, in place of that of `before`.
fn parsed(before: Option<&WorkPool>, spec: &v1::WorkPoolSpec) -> Result<PoolSpec, EngineError> {
    let mut violations = Violations::below("spec.");
    check_pool(spec, &mut violations);
    if let Some(before) = before {
        let known = pool_spec_of(&before.spec)?.r#type();
        if known != spec.r#type() {
            let known = known.as_str_name();
            violations.add("type", format!("cannot be changed, and is {known}: make another work pool"));
        }
    }
    if !violations.is_empty() {
        return Err(EngineError::InvalidFields { violations: violations.into_vec() });
    }
    Ok(PoolSpec { encoded: spec.encode_to_vec().into(), max_slots: spec.max_slots })
}

/// The fields of a specification that can be changed, as an update names them.
const FIELDS: [&str; 6] =
    ["description", "queues", "max_slots", "job_template", "job_variable_schema", "job_variables"];

/// Takes a field over. False: there is none of this name that can be changed.
fn copy_field(path: &str, from: &v1::WorkPoolSpec, to: &mut v1::WorkPoolSpec) -> bool {
    match path {
        "*" => *to = v1::WorkPoolSpec { r#type: to.r#type, ..from.clone() },
        "description" => to.description.clone_from(&from.description),
        "queues" => to.queues.clone_from(&from.queues),
        "max_slots" => to.max_slots = from.max_slots,
        "job_template" => to.job_template.clone_from(&from.job_template),
        "job_variable_schema" => to.job_variable_schema.clone_from(&from.job_variable_schema),
        "job_variables" => to.job_variables.clone_from(&from.job_variables),
        _ => return false,
    }
    true
}

fn to_proto(pool: &WorkPool) -> Result<v1::WorkPool, Status> {
    let spec = pool_spec_of(&pool.spec).map_err(status)?;
    let pause = pool.pause.as_ref().map(|pause| v1::QueuePause {
        paused_at: Some(timestamp_to_proto(pause.at)),
        paused_by: pause.by.clone().unwrap_or_default(),
        reason: pause.reason.clone(),
    });
    Ok(v1::WorkPool {
        name: pool.key.name.to_string(),
        spec: Some(spec),
        pause,
        etag: pool_etag(pool),
        created_at: Some(timestamp_to_proto(pool.created_at)),
        updated_at: Some(timestamp_to_proto(pool.updated_at)),
    })
}
