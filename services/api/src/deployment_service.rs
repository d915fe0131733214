use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use tidegate_deploy::{N_SCHEMAS, job, spec_of};
use tidegate_engine::{DeploymentAsk, Engine, EngineError, Spec, etag};
use tidegate_model::{DeploymentName, Namespace, QueueName, RunId, RunKind, limits};
use tidegate_orchestration::{Draft, Placement, create};
use tidegate_proto::v1::{self, deployment_service_server::DeploymentService};
use tidegate_schema::Schemas;
use tidegate_store::{
    Deployment, DeploymentKey, DeploymentVersion, Filter, LimitSettings, WorkPool, WorkPoolKey,
};
use tidegate_wire::{
    Violations, check_spec, invalid, invalid_field, namespace, on_collision, page_size, timestamp_to_proto,
    to_status,
};
use tonic::{Request, Response, Status};

use crate::{actor::actor, page_token};

/// Deployments that are read at once.
const CHUNK: usize = 100;
/// Deployments that a page looks through: a filter that few fit gives pages with few.
const MAX_LOOKED_AT: usize = 1_000;
/// Bytes of a page, but for its last deployment: clients take messages of 4 MiB.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// Versions of a page: so many fit into a message, however large they are.
const N_VERSIONS: usize = 20;

/// `DeploymentService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    /// Of job variables.
    schemas: Schemas,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine, schemas: Schemas::new(N_SCHEMAS) }
    }

    /// The work pool that a specification names, which fits it.
    async fn pool_of(
        &self,
        namespace: &Namespace,
        spec: &v1::DeploymentSpec,
    ) -> Result<Option<WorkPool>, EngineError> {
        let Ok(name) = spec.work_pool.parse() else { return Ok(None) };
        let pool = self.engine.get_work_pool(&WorkPoolKey { namespace: namespace.clone(), name }).await?;
        let mut violations = Violations::below("spec.");
        job::check_deployment(spec, &pool, &self.schemas, &mut violations)?;
        if violations.is_empty() {
            Ok(Some(pool))
        } else {
            Err(EngineError::InvalidFields { violations: violations.into_vec() })
        }
    }

    /// What keeps the runs of a deployment with this pool from starting now.
    async fn warnings(&self, pool: Option<&WorkPool>) -> Vec<String> {
        let Some(pool) = pool else { return Vec::new() };
        let name = &pool.key.name;
        let mut warnings = Vec::new();
        if pool.pause.is_some() {
            warnings
                .push(format!("work pool `{name}` is paused: resume it with `tidegate pool resume {name}`"));
        }
        if job::pool_spec_of(&pool.spec).is_ok_and(|spec| spec.max_slots == Some(0)) {
            warnings.push(format!(
                "work pool `{name}` has no slots: give it some with `tidegate pool update {name}`"
            ));
        }
        match self.engine.pool_workers(&pool.key).await {
            Ok(0) => warnings.push(format!(
                "work pool `{name}` has no live worker: start one with `tidegate worker start --pool {name}`"
            )),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "it is not known whether work pool {name} has a live worker")
            }
        }
        warnings
    }

    /// A page with those that fit the filter, and whether it may not be the last.
    async fn page(
        &self,
        namespace: &Namespace,
        filter: &Filter,
        mut after: Option<DeploymentName>,
        page_size: usize,
    ) -> Result<(Vec<v1::Deployment>, Option<DeploymentName>), EngineError> {
        let mut page = Vec::new();
        let (mut n_looked_at, mut size) = (0, 0);
        loop {
            let found = self.engine.store().list_deployments(namespace, after.as_ref(), CHUNK).await?;
            let is_last = found.len() < CHUNK;
            for deployment in found {
                n_looked_at += 1;
                let spec = spec_of(&deployment.spec)?;
                after = Some(deployment.key.name.clone());
                if fits(filter, &deployment, &spec) {
                    size += deployment.spec.len();
                    page.push(to_proto(&deployment, spec));
                }
                if page.len() == page_size || n_looked_at == MAX_LOOKED_AT || size > MAX_PAGE_BYTES {
                    return Ok((page, after));
                }
            }
            if is_last {
                return Ok((page, None));
            }
        }
    }
}

#[tonic::async_trait]
impl DeploymentService for Service {
    async fn create_deployment(
        &self,
        request: Request<v1::CreateDeploymentRequest>,
    ) -> Result<Response<v1::CreateDeploymentResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let given = request.spec.unwrap_or_default();
        let spec = parse_spec(&given, "spec.", &mut violations);
        if !request.etag.is_empty() && !request.update_if_exists {
            violations.add("etag", "is of one that is there: it goes with update_if_exists");
        }
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, violations)?;
        let pool = self.pool_of(&ask.key.namespace, &given).await.map_err(status)?;
        let change = |before: Option<&Deployment>| match before {
            Some(_) if !request.update_if_exists => {
                Err(EngineError::DeploymentExists { name: request.name.clone() })
            }
            None if !request.etag.is_empty() => Err(EngineError::DeploymentNotFound {
                name: request.name.clone(),
                nearest: Vec::new(),
                is_any: true,
            }),
            _ => Ok(spec.clone()),
        };
        let (deployment, created) = if request.validate_only {
            let there = self.engine.check_deployment(&ask, &change).await.map_err(status)?;
            let is_new = there.is_none();
            (there, is_new)
        } else {
            let (deployment, is_new) = self.engine.change_deployment(&ask, &change).await.map_err(status)?;
            (Some(deployment), is_new)
        };
        Ok(Response::new(v1::CreateDeploymentResponse {
            deployment: deployment.as_ref().map(read).transpose()?,
            created,
            warnings: self.warnings(pool.as_ref()).await,
        }))
    }

    async fn get_deployment(
        &self,
        request: Request<v1::GetDeploymentRequest>,
    ) -> Result<Response<v1::GetDeploymentResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let deployment = self.engine.get_deployment(&key).await.map_err(status)?;
        Ok(Response::new(v1::GetDeploymentResponse { deployment: Some(read(&deployment)?) }))
    }

    async fn list_deployments(
        &self,
        request: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let page_size = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let filter = tidegate_filter::parse_deployments(&request.filter, self.engine.clock().now())
            .map_err(|error| invalid_field("filter", error.to_string()))?;
        // The name of the last one that was looked at: a list that is ordered by name needs no more.
        let after: Option<DeploymentName> = page_token::read_plain(&request.page_token)?;
        let (deployments, last) = self.page(&namespace, &filter, after, page_size).await.map_err(status)?;
        let next_page_token = last.map(|last| last.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListDeploymentsResponse { deployments, next_page_token }))
    }

    async fn update_deployment(
        &self,
        request: Request<v1::UpdateDeploymentRequest>,
    ) -> Result<Response<v1::UpdateDeploymentResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let paths = request.update_mask.unwrap_or_default().paths;
        let new = request.spec.unwrap_or_default();
        if paths.is_empty() {
            violations.add("update_mask", "is empty: name the fields of spec that change, or `*` for all");
        }
        for (idx, path) in paths.iter().enumerate() {
            if !copy_field(path, &new, &mut v1::DeploymentSpec::default()) {
                let shown: String = path.chars().take(80).collect();
                violations.add(
                    &format!("update_mask.paths[{idx}]"),
                    format!("`{shown}` is no field of a specification; there are {}", FIELDS.join(", ")),
                );
            }
        }
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, violations)?;
        let before = self.engine.get_deployment(&ask.key).await.map_err(status)?;
        let mut merged = spec_of(&before.spec).map_err(status)?;
        for path in &paths {
            copy_field(path, &new, &mut merged);
        }
        self.pool_of(&ask.key.namespace, &merged).await.map_err(status)?;
        let change = |before: Option<&Deployment>| {
            let gone = || EngineError::DeploymentNotFound {
                name: ask.key.name.to_string(),
                nearest: Vec::new(),
                is_any: true,
            };
            let before = before.ok_or_else(gone)?;
            let mut spec = spec_of(&before.spec)?;
            for path in &paths {
                copy_field(path, &new, &mut spec);
            }
            checked(&spec, "spec.")
        };
        let (deployment, _) = self.engine.change_deployment(&ask, &change).await.map_err(status)?;
        Ok(Response::new(v1::UpdateDeploymentResponse { deployment: Some(read(&deployment)?) }))
    }

    async fn delete_deployment(
        &self,
        request: Request<v1::DeleteDeploymentRequest>,
    ) -> Result<Response<v1::DeleteDeploymentResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, Violations::default())?;
        let was_there = self.engine.delete_deployment(&ask).await.map_err(status)?;
        if !was_there && !request.allow_missing {
            return Err(status(self.engine.no_deployment(&ask.key).await.map_err(status)?));
        }
        Ok(Response::new(v1::DeleteDeploymentResponse {}))
    }

    async fn list_deployment_versions(
        &self,
        request: Request<v1::ListDeploymentVersionsRequest>,
    ) -> Result<Response<v1::ListDeploymentVersionsResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let page_size = page_size(request.page_size, N_VERSIONS)?.min(N_VERSIONS);
        // The number of the last version.
        let before: Option<u64> = page_token::read_plain(&request.page_token)?;
        let found = self.engine.deployment_versions(&key, before, page_size).await.map_err(status)?;
        let next_page_token = page_token::plain(&found, page_size, |last| last.version.to_string());
        let versions = found.iter().map(version_to_proto).collect::<Result<_, _>>().map_err(status)?;
        Ok(Response::new(v1::ListDeploymentVersionsResponse { versions, next_page_token }))
    }

    async fn rollback_deployment(
        &self,
        request: Request<v1::RollbackDeploymentRequest>,
    ) -> Result<Response<v1::RollbackDeploymentResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        if request.version == 0 {
            violations.add("version", "is not set: say which version it is to be again");
        }
        let name = (request.namespace.as_str(), request.name.as_str());
        let ask = ask(name, &request.etag, actor, &request.request_id, violations)?;
        let before = request.version.saturating_add(1);
        let found = self.engine.deployment_versions(&ask.key, Some(before), 1).await.map_err(status)?;
        let missing = EngineError::DeploymentVersionNotFound { name: request.name, version: request.version };
        let Some(version) = found.into_iter().find(|found| found.version == request.version) else {
            return Err(status(missing));
        };
        // Not checked again: what was right once is to be had back.
        let spec = with_limit(&spec_of(&version.spec).map_err(status)?, version.spec);
        let change = |before: Option<&Deployment>| match before {
            Some(_) => Ok(spec.clone()),
            None => Err(missing.clone()),
        };
        let (deployment, _) = self.engine.change_deployment(&ask, &change).await.map_err(status)?;
        Ok(Response::new(v1::RollbackDeploymentResponse { deployment: Some(read(&deployment)?) }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The deployment that is named, unless this or something before it is wrong.
fn key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<DeploymentKey, Status> {
    let name = violations.parse("name", name);
    let Some(name) = name.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    Ok(DeploymentKey { namespace: namespace(namespace_text)?, name })
}

fn ask(
    (namespace, name): (&str, &str),
    etag: &str,
    actor: Option<String>,
    request_id: &str,
    mut violations: Violations,
) -> Result<DeploymentAsk, Status> {
    let request_id: Option<RunId> =
        if request_id.is_empty() { None } else { violations.parse("request_id", request_id) };
    let etag = (!etag.is_empty()).then(|| etag.to_owned());
    Ok(DeploymentAsk { key: key(namespace, name, violations)?, etag, actor, request_id })
}

/// A specification that is right, or the error that says what is not, by its path below `prefix`.
pub(crate) fn checked(spec: &v1::DeploymentSpec, prefix: &str) -> Result<Spec, EngineError> {
    let mut violations = Violations::default();
    let parsed = parse_spec(spec, prefix, &mut violations);
    if violations.is_empty() {
        Ok(parsed)
    } else {
        Err(EngineError::InvalidFields { violations: violations.into_vec() })
    }
}

/// A specification as it is kept; what is wrong is noted.
fn parse_spec(spec: &v1::DeploymentSpec, prefix: &str, violations: &mut Violations) -> Spec {
    let mut below = Violations::below(prefix);
    check_spec(spec, &mut below);
    if below.is_empty() {
        check_json(spec, &mut below);
    }
    violations.extend(below);
    with_limit(spec, spec.encode_to_vec().into())
}

fn with_limit(spec: &v1::DeploymentSpec, encoded: Bytes) -> Spec {
    let limit = spec.max_concurrent_runs.map(|max_slots| LimitSettings {
        // One that is none was noted before.
        on_collision: on_collision(spec.on_collision, &mut Violations::default()),
        ..LimitSettings::from(max_slots)
    });
    Spec { encoded, limit, work_pool: spec.work_pool.parse().ok() }
}

/// Default parameters are an object that fits the schema, but for what is missing: a run may bring it.
fn check_json(spec: &v1::DeploymentSpec, violations: &mut Violations) {
    let defaults = match spec.parameters.as_str() {
        "" => Value::Object(serde_json::Map::new()),
        text => match serde_json::from_str(text) {
            Ok(Value::Object(defaults)) => Value::Object(defaults),
            Ok(_) => return violations.add("parameters", "are no JSON object, such as {\"n\": 1}"),
            Err(error) => return violations.add("parameters", format!("are no JSON: {error}")),
        },
    };
    if spec.parameter_schema.is_empty() {
        return;
    }
    match tidegate_schema::check_defaults(&spec.parameter_schema, &defaults) {
        Ok(faults) => {
            for fault in faults {
                violations.add(&format!("parameters{}", fault.path), fault.message);
            }
        }
        // People read it all the same.
        Err(error) if error.is_too_much() && !spec.enforce_parameter_schema => {}
        Err(error) if error.is_too_much() => {
            violations
                .add("parameter_schema", format!("{error}; or deploy with enforce_parameter_schema false"));
        }
        Err(error) => violations.add("parameter_schema", error.to_string()),
    }
}

/// The fields of a specification, as an update names them.
const FIELDS: [&str; 17] = [
    "description",
    "entrypoint",
    "parameters",
    "parameter_schema",
    "enforce_parameter_schema",
    "tags",
    "labels",
    "queue",
    "priority",
    "max_concurrent_runs",
    "on_collision",
    "policies",
    "version_label",
    "work_pool",
    "source",
    "command",
    "job_variables",
];

/// Takes a field over. False: there is none of this name.
fn copy_field(path: &str, from: &v1::DeploymentSpec, to: &mut v1::DeploymentSpec) -> bool {
    match path {
        "*" => to.clone_from(from),
        "description" => to.description.clone_from(&from.description),
        "entrypoint" => to.entrypoint.clone_from(&from.entrypoint),
        "parameters" => to.parameters.clone_from(&from.parameters),
        "parameter_schema" => to.parameter_schema.clone_from(&from.parameter_schema),
        "enforce_parameter_schema" => to.enforce_parameter_schema = from.enforce_parameter_schema,
        "tags" => to.tags.clone_from(&from.tags),
        "labels" => to.labels.clone_from(&from.labels),
        "queue" => to.queue.clone_from(&from.queue),
        "priority" => to.priority = from.priority,
        "max_concurrent_runs" => to.max_concurrent_runs = from.max_concurrent_runs,
        "on_collision" => to.on_collision = from.on_collision,
        "policies" => to.policies.clone_from(&from.policies),
        "version_label" => to.version_label.clone_from(&from.version_label),
        "work_pool" => to.work_pool.clone_from(&from.work_pool),
        "source" => to.source.clone_from(&from.source),
        "command" => to.command.clone_from(&from.command),
        "job_variables" => to.job_variables.clone_from(&from.job_variables),
        _ => return false,
    }
    true
}

/// A filter is asked of what the deployment's runs have.
fn fits(filter: &Filter, deployment: &Deployment, spec: &v1::DeploymentSpec) -> bool {
    let queue = spec.queue.parse().unwrap_or_else(|_| QueueName::default());
    let draft = Draft {
        tags: spec.tags.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        priority: spec.priority,
        deployment: Some(deployment.key.name.to_string()),
        work_pool: deployment.work_pool.clone(),
        ..Draft::new(RunId::new(), RunKind::Flow, deployment.key.name.flow(), Placement::Queue(queue))
    };
    create(draft, None, deployment.created_at).is_ok_and(|step| filter.matches(&step.run))
}

fn read(deployment: &Deployment) -> Result<v1::Deployment, Status> {
    Ok(to_proto(deployment, spec_of(&deployment.spec).map_err(status)?))
}

fn to_proto(deployment: &Deployment, spec: v1::DeploymentSpec) -> v1::Deployment {
    v1::Deployment {
        name: deployment.key.name.to_string(),
        spec: Some(spec),
        version: deployment.version,
        etag: etag(deployment),
        created_at: Some(timestamp_to_proto(deployment.created_at)),
        updated_at: Some(timestamp_to_proto(deployment.updated_at)),
    }
}

fn version_to_proto(version: &DeploymentVersion) -> Result<v1::DeploymentVersion, EngineError> {
    Ok(v1::DeploymentVersion {
        version: version.version,
        spec: Some(spec_of(&version.spec)?),
        created_at: Some(timestamp_to_proto(version.created_at)),
        created_by: version.created_by.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new field of the message is to be added to both lists.
    #[test]
    fn every_field_can_be_named() {
        for field in FIELDS {
            let mut to = v1::DeploymentSpec::default();
            assert!(copy_field(field, &v1::DeploymentSpec::default(), &mut to), "{field}");
        }
        let set =
            prost_types::FileDescriptorSet::decode(tidegate_proto::FILE_DESCRIPTOR_SET).expect("is one");
        let messages = set.file.into_iter().flat_map(|file| file.message_type);
        let spec = messages.into_iter().find(|message| message.name() == "DeploymentSpec").expect("is there");
        let fields: Vec<_> = spec.field.iter().map(|field| field.name().to_owned()).collect();
        assert_eq!(fields, FIELDS);
    }
}
