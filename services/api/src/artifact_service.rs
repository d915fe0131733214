use tidegate_engine::{ArtifactChange, Engine, EngineError, MadeArtifact, NewArtifact};
use tidegate_model::{ArtifactId, Epoch, FieldViolation, Namespace, Reason, ServiceError as _, limits};
use tidegate_payload::Payloads;
use tidegate_proto::v1::{self, artifact_service_server::ArtifactService, get_artifact_request};
use tidegate_store::{Artifact, ArtifactName, ArtifactQuery, ArtifactType};
use tidegate_wire::{
    Violations, check_label_map, invalid, invalid_field, namespace, page_size, payload_from_proto,
    payload_to_proto, timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::{offload::offload, page_token};

/// `ArtifactService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    payloads: Payloads,
}

impl Service {
    pub fn new(engine: Engine, payloads: Payloads) -> Self {
        Self { engine, payloads }
    }

    /// Makes those that are sound, and answers for each.
    async fn create(
        &self,
        namespace: &Namespace,
        parsed: Vec<Result<NewArtifact, Vec<FieldViolation>>>,
    ) -> Result<Vec<Result<MadeArtifact, Refused>>, EngineError> {
        let mut sound = Vec::with_capacity(parsed.len());
        let mut outcomes = Vec::with_capacity(parsed.len());
        for parsed in parsed {
            let kept = match parsed {
                Err(violations) => Err(Refused::Invalid(violations)),
                Ok(mut new) => match offload(&self.payloads, namespace, new.data, None).await {
                    Err(error) => Err(Refused::Engine(error)),
                    Ok(data) => {
                        new.data = data;
                        sound.push(new);
                        Ok(())
                    }
                },
            };
            outcomes.push(kept);
        }
        let mut made = Vec::new();
        if !sound.is_empty() {
            made = self.engine.create_artifacts(namespace, &sound).await?;
        }
        let mut made = made.into_iter();
        let mut next = || made.next().expect("there is an outcome for each that was sound");
        Ok(outcomes.into_iter().map(|kept| kept.and_then(|()| next().map_err(Refused::Engine))).collect())
    }
}

/// Why an artifact of a batch was not made.
enum Refused {
    Invalid(Vec<FieldViolation>),
    Engine(EngineError),
}

#[tonic::async_trait]
impl ArtifactService for Service {
    async fn create_artifact(
        &self,
        request: Request<v1::CreateArtifactRequest>,
    ) -> Result<Response<v1::CreateArtifactResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = match request.request_id.as_str() {
            "" => ArtifactId::new(),
            request_id => artifact_id("request_id", request_id)?,
        };
        let missing = || invalid_field("artifact", "is not set: say what is to be kept");
        let new = request.artifact.ok_or_else(missing)?;
        let parsed = parse_new(new, id, "artifact.");
        let mut outcomes = self.create(&namespace, vec![parsed]).await.map_err(status)?;
        match outcomes.remove(0) {
            Ok(MadeArtifact { artifact, created }) => {
                let artifact = Some(to_proto(&artifact));
                Ok(Response::new(v1::CreateArtifactResponse { artifact, created }))
            }
            Err(Refused::Invalid(violations)) => Err(invalid(violations)),
            Err(Refused::Engine(error)) => Err(status(error)),
        }
    }

    async fn create_artifacts(
        &self,
        request: Request<v1::CreateArtifactsRequest>,
    ) -> Result<Response<v1::CreateArtifactsResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let n_artifacts = request.artifacts.len();
        if !(1..=limits::MAX_BATCH_SIZE).contains(&n_artifacts) {
            let message = format!("has {n_artifacts} artifacts; 1 to {} are allowed", limits::MAX_BATCH_SIZE);
            return Err(invalid_field("artifacts", message));
        }
        let parsed = request.artifacts.into_iter().map(|new| parse_new(new, ArtifactId::new(), "")).collect();
        let outcomes = self.create(&namespace, parsed).await.map_err(status)?;
        let outcomes = outcomes.into_iter().map(outcome).collect();
        Ok(Response::new(v1::CreateArtifactsResponse { outcomes }))
    }

    async fn get_artifact(
        &self,
        request: Request<v1::GetArtifactRequest>,
    ) -> Result<Response<v1::GetArtifactResponse>, Status> {
        let request = request.into_inner();
        let version = (request.version > 0).then_some(request.version);
        let mut violations = Violations::default();
        let name = match &request.artifact {
            Some(get_artifact_request::Artifact::Id(id)) => {
                if version.is_some() {
                    violations.add("version", "is set beside an id, which names one version: leave it 0");
                }
                violations.parse("id", id).map(ArtifactName::Id)
            }
            Some(get_artifact_request::Artifact::Key(key)) => {
                violations.parse("key", key).map(|key| ArtifactName::Key(key, version))
            }
            None => {
                violations.add("artifact", "is not set: give its id or its key");
                None
            }
        };
        let Some(name) = name.filter(|_| violations.is_empty()) else {
            return Err(invalid(violations.into_vec()));
        };
        let namespace = namespace(&request.namespace)?;
        let artifact = self.engine.get_artifact(&namespace, &name).await.map_err(status)?;
        Ok(Response::new(v1::GetArtifactResponse { artifact: Some(to_proto(&artifact)) }))
    }

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        let query = parse_list(&request.into_inner())?;
        let found = self.engine.list_artifacts(&query).await.map_err(status)?;
        let next_page_token = match found.last() {
            Some(last) if found.len() == query.limit => last.id.to_string(),
            _ => String::new(),
        };
        let artifacts = found.iter().map(to_proto).collect();
        Ok(Response::new(v1::ListArtifactsResponse { artifacts, next_page_token }))
    }

    async fn update_artifact(
        &self,
        request: Request<v1::UpdateArtifactRequest>,
    ) -> Result<Response<v1::UpdateArtifactResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let (id, mut change) = parse_change(request)?;
        change.data = offload(&self.payloads, &namespace, change.data, None).await.map_err(status)?;
        let artifact = self.engine.update_artifact(&namespace, id, &change).await.map_err(status)?;
        Ok(Response::new(v1::UpdateArtifactResponse { artifact: Some(to_proto(&artifact)) }))
    }

    async fn delete_artifact(
        &self,
        request: Request<v1::DeleteArtifactRequest>,
    ) -> Result<Response<v1::DeleteArtifactResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = artifact_id("id", &request.id)?;
        if !request.request_id.is_empty() {
            artifact_id("request_id", &request.request_id)?;
        }
        let was_there = self.engine.delete_artifact(&namespace, id).await.map_err(status)?;
        if !was_there && !request.allow_missing && request.request_id.is_empty() {
            return Err(status(EngineError::ArtifactNotFound { artifact: request.id }));
        }
        Ok(Response::new(v1::DeleteArtifactResponse {}))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

fn artifact_id(field: &str, text: &str) -> Result<ArtifactId, Status> {
    let mut violations = Violations::default();
    violations.parse(field, text).ok_or_else(|| invalid(violations.into_vec()))
}

fn parse_new(new: v1::NewArtifact, id: ArtifactId, prefix: &str) -> Result<NewArtifact, Vec<FieldViolation>> {
    let mut violations = Violations::below(prefix);
    let id = if new.id.is_empty() { Some(id) } else { violations.parse("id", &new.id) };
    let key = if new.key.is_empty() { None } else { violations.parse("key", &new.key) };
    let artifact_type = match new.r#type {
        0 => {
            violations.add("type", "is not set: say how it is to be shown, such as ARTIFACT_TYPE_MARKDOWN");
            None
        }
        number => type_from_proto(number, &mut violations),
    };
    check_description(&new.description, &mut violations);
    if let Some(progress) = new.progress {
        check_progress(progress, &mut violations);
    }
    check_label_map("labels", &new.labels, limits::MAX_LABELS, &mut violations);
    let data = payload_from_proto(new.data.as_ref(), "data", &mut violations);
    let is_progress = artifact_type == Some(ArtifactType::Progress);
    match (artifact_type, new.progress, &new.data) {
        (Some(_), None, _) if is_progress => {
            violations.add("progress", "is not set: say how far it is, in percent");
        }
        (Some(_), _, Some(_)) if is_progress => {
            violations.add("data", "is set for ARTIFACT_TYPE_PROGRESS, which shows `progress` alone");
        }
        (Some(_), Some(_), _) if !is_progress => {
            violations.add("progress", "is set for another type than ARTIFACT_TYPE_PROGRESS: leave it out");
        }
        (Some(_), _, None) if !is_progress => violations.add("data", "is not set: say what is shown"),
        _ => {}
    }
    let run = match (new.run_id.as_str(), new.epoch) {
        ("", 0) => None,
        ("", epoch) => {
            violations.add("epoch", format!("{epoch} is that of no run: set run_id"));
            None
        }
        (_, 0) => {
            violations
                .add("epoch", "is not set: give that under which you have the run, or leave run_id out");
            None
        }
        (run_id, epoch) => violations.parse("run_id", run_id).map(|run_id| (run_id, Epoch(epoch))),
    };
    let (Some(id), Some(artifact_type), true) = (id, artifact_type, violations.is_empty()) else {
        return Err(violations.into_vec());
    };
    let v1::NewArtifact { description, progress, labels, .. } = new;
    Ok(NewArtifact { id, key, artifact_type, description, progress, labels, data, run })
}

fn parse_list(request: &v1::ListArtifactsRequest) -> Result<ArtifactQuery, Status> {
    let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
    let mut violations = Violations::default();
    let run = optional("run_id", &request.run_id, &mut violations);
    let root = optional("root_run_id", &request.root_run_id, &mut violations);
    let key = optional("key", &request.key, &mut violations);
    let artifact_type = match request.r#type {
        0 => None,
        number => type_from_proto(number, &mut violations),
    };
    let oldest_first = match request.order_by.as_str() {
        "" | "id desc" => false,
        "id" | "id asc" => true,
        other => {
            let shown: String = other.chars().take(80).collect();
            violations.add("order_by", format!("`{shown}` is neither `id` nor `id desc`"));
            false
        }
    };
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    // The id of the last artifact: a list that is ordered by id needs no more.
    let after = page_token::read_plain(&request.page_token)?;
    Ok(ArtifactQuery {
        namespace: namespace(&request.namespace)?,
        run,
        root,
        key,
        artifact_type,
        latest: request.latest,
        oldest_first,
        after,
        limit,
    })
}

fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
    violations: &mut Violations,
) -> Option<T> {
    if text.is_empty() { None } else { violations.parse(field, text) }
}

fn parse_change(request: v1::UpdateArtifactRequest) -> Result<(ArtifactId, ArtifactChange), Status> {
    let mut violations = Violations::default();
    let id = violations.parse("id", &request.id);
    if !request.request_id.is_empty() {
        violations.parse::<ArtifactId>("request_id", &request.request_id);
    }
    let epoch = (request.epoch > 0).then_some(Epoch(request.epoch));
    let run = optional("run_id", &request.run_id, &mut violations);
    if run.is_some() && epoch.is_none() {
        violations.add("epoch", "is not set: give that under which you have the run, or leave run_id out");
    }
    let mut change = ArtifactChange { epoch, run, ..ArtifactChange::default() };
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        violations.add("update_mask", "is empty: name `description`, `progress` or `data`");
    }
    for path in &paths {
        match path.as_str() {
            "description" => {
                check_description(&request.description, &mut violations);
                change.description = Some(request.description.clone());
            }
            "progress" => {
                check_progress(request.progress, &mut violations);
                change.progress = Some(request.progress);
            }
            "data" => {
                change.data = payload_from_proto(request.data.as_ref(), "data", &mut violations);
                if request.data.is_none() {
                    violations.add("data", "is not set, though update_mask names it");
                }
            }
            other => {
                let shown: String = other.chars().take(80).collect();
                violations.add(
                    "update_mask",
                    format!("`{shown}` cannot be set: name `description`, `progress` or `data`"),
                );
            }
        }
    }
    match id {
        Some(id) if violations.is_empty() => Ok((id, change)),
        _ => Err(invalid(violations.into_vec())),
    }
}

/// May have line breaks, so that only its size is looked at.
fn check_description(description: &str, violations: &mut Violations) {
    let (size, most) = (description.len(), limits::MAX_ARTIFACT_DESCRIPTION_SIZE);
    if size > most {
        violations.add("description", format!("has {size} bytes; at most {most} are allowed"));
    }
}

fn check_progress(progress: f64, violations: &mut Violations) {
    if !(0.0..=100.0).contains(&progress) {
        violations.add("progress", format!("{progress} is out of the range 0 to 100, in percent"));
    }
}

fn type_from_proto(number: i32, violations: &mut Violations) -> Option<ArtifactType> {
    Some(match v1::ArtifactType::try_from(number) {
        Ok(v1::ArtifactType::Markdown) => ArtifactType::Markdown,
        Ok(v1::ArtifactType::Table) => ArtifactType::Table,
        Ok(v1::ArtifactType::Link) => ArtifactType::Link,
        Ok(v1::ArtifactType::Progress) => ArtifactType::Progress,
        Ok(v1::ArtifactType::Image) => ArtifactType::Image,
        Ok(v1::ArtifactType::Json) => ArtifactType::Json,
        Ok(v1::ArtifactType::Unspecified) | Err(_) => {
            violations.add("type", format!("{number} is no ArtifactType: see which this server knows"));
            return None;
        }
    })
}

const fn type_to_proto(artifact_type: ArtifactType) -> v1::ArtifactType {
    match artifact_type {
        ArtifactType::Markdown => v1::ArtifactType::Markdown,
        ArtifactType::Table => v1::ArtifactType::Table,
        ArtifactType::Link => v1::ArtifactType::Link,
        ArtifactType::Progress => v1::ArtifactType::Progress,
        ArtifactType::Image => v1::ArtifactType::Image,
        ArtifactType::Json => v1::ArtifactType::Json,
    }
}

fn to_proto(artifact: &Artifact) -> v1::Artifact {
    v1::Artifact {
        id: artifact.id.to_string(),
        namespace: artifact.namespace.to_string(),
        key: artifact.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        version: artifact.version,
        r#type: type_to_proto(artifact.artifact_type).into(),
        description: artifact.description.clone(),
        progress: artifact.progress,
        labels: artifact.labels.clone(),
        data: artifact.data.as_ref().map(payload_to_proto),
        run_id: artifact.run.map(|run| run.to_string()).unwrap_or_default(),
        root_run_id: artifact.root.map(|run| run.to_string()).unwrap_or_default(),
        created_at: Some(timestamp_to_proto(artifact.created_at)),
        updated_at: Some(timestamp_to_proto(artifact.updated_at)),
    }
}

fn outcome(made: Result<MadeArtifact, Refused>) -> v1::CreateArtifactOutcome {
    match made {
        Ok(MadeArtifact { artifact, created }) => {
            v1::CreateArtifactOutcome { artifact: Some(to_proto(&artifact)), created, ..Default::default() }
        }
        Err(Refused::Engine(error)) => v1::CreateArtifactOutcome {
            error_reason: error.reason().as_str().to_owned(),
            // As for other errors: the text of an internal one goes to the log.
            error_message: to_status(&error).message().to_owned(),
            ..Default::default()
        },
        Err(Refused::Invalid(violations)) => {
            let told = |violation: &FieldViolation| format!("{}: {}", violation.field, violation.description);
            v1::CreateArtifactOutcome {
                error_reason: Reason::InvalidField.as_str().to_owned(),
                error_message: violations.iter().map(told).collect::<Vec<_>>().join("; "),
                ..Default::default()
            }
        }
    }
}
