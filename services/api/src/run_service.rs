use std::sync::Arc;

use futures::future::join_all;
use tidegate_deploy::{Asked, N_SCHEMAS};
use tidegate_engine::{Create, Created, Deploy, Engine, EngineError, Operation};
use tidegate_model::{Epoch, FieldViolation, Namespace, RunId, ServiceError as _, limits};
use tidegate_orchestration::{Draft, Placement};
use tidegate_payload::Payloads;
use tidegate_proto::v1::{self, run_service_server::RunService};
use tidegate_schema::Schemas;
use tidegate_service_kit::trace;
use tidegate_wire::{
    Violations, for_deployment, invalid, invalid_field, is_traceparent, namespace, page_size, parse_draft,
    run_to_proto, state_to_proto, to_status,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    actor::actor,
    convert::{asked_kind, detail_to_proto, event_to_proto, run_id},
    explanation::explanation_to_proto,
    offload::{Hashed, hash, offload},
    page_token::invalid_token,
    queries,
    requests::{self, check_reason},
    stream::ResponseStream,
    wait, watch,
};

/// `RunService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    payloads: Payloads,
    /// Of the parameters of deployments.
    schemas: Arc<Schemas>,
    stop: CancellationToken,
}

impl Service {
    pub fn new(engine: Engine, payloads: Payloads, stop: CancellationToken) -> Self {
        Self { engine, payloads, schemas: Arc::new(Schemas::new(N_SCHEMAS)), stop }
    }

    /// Queues a create at once, unless its parameters are to go to object storage first.
    fn submit(&self, parsed: Parsed) -> impl Future<Output = Result<Created, EngineError>> + Send + use<> {
        let Parsed { create, large } = parsed;
        let queued = match large {
            Some(sha256) => Err((self.engine.clone(), self.payloads.clone(), create, sha256)),
            None => Ok(self.engine.create(create)),
        };
        async move {
            match queued {
                Ok(created) => created.await,
                Err((engine, payloads, mut create, sha256)) => {
                    let namespace = &create.draft.namespace;
                    create.parameters =
                        offload(&payloads, namespace, create.parameters, Some(sha256)).await?;
                    engine.create(create).await
                }
            }
        }
    }
}

#[tonic::async_trait]
impl RunService for Service {
    async fn create_run(
        &self,
        request: Request<v1::CreateRunRequest>,
    ) -> Result<Response<v1::CreateRunResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = request_id(&request.request_id)?;
        let new = request.run.ok_or_else(|| invalid_field("run", "is not set: say what is to run"))?;
        let parsed =
            parse_create(&namespace, new, id, "run.", &caller, &self.schemas).await.map_err(invalid)?;
        let created = self.submit(parsed).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::CreateRunResponse {
            run: Some(run_to_proto(&created.run)),
            created: created.created,
            adopted: created.adopted,
        }))
    }

    async fn create_runs(
        &self,
        request: Request<v1::CreateRunsRequest>,
    ) -> Result<Response<v1::CreateRunsResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let n_runs = request.runs.len();
        if !(1..=limits::MAX_BATCH_SIZE).contains(&n_runs) {
            let message = format!("has {n_runs} runs; 1 to {} are allowed", limits::MAX_BATCH_SIZE);
            return Err(invalid_field("runs", message));
        }
        let mut submitted = Vec::with_capacity(n_runs);
        for new in request.runs {
            let parsed = parse_create(&namespace, new, RunId::new(), "", &caller, &self.schemas).await;
            submitted.push(parsed.map(|parsed| self.submit(parsed)));
        }
        let outcomes = join_all(submitted.into_iter().map(|submitted| async {
            match submitted {
                Ok(created) => create_outcome(created.await),
                Err(violations) => refused_outcome(&violations),
            }
        }))
        .await;
        Ok(Response::new(v1::CreateRunsResponse { outcomes }))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let run_id = run_id("run_id", &request.run_id)?;
        let kind = asked_kind(request.kind)?;
        let detail =
            self.engine.get_of_kind(&namespace, run_id, kind).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::GetRunResponse { run: Some(detail_to_proto(&detail)) }))
    }

    async fn find_run(
        &self,
        request: Request<v1::FindRunRequest>,
    ) -> Result<Response<v1::FindRunResponse>, Status> {
        Ok(Response::new(queries::find(&self.engine, request.into_inner()).await?))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        Ok(Response::new(queries::list(&self.engine, request.into_inner()).await?))
    }

    async fn count_runs(
        &self,
        request: Request<v1::CountRunsRequest>,
    ) -> Result<Response<v1::CountRunsResponse>, Status> {
        Ok(Response::new(queries::count(&self.engine, request.into_inner()).await?))
    }

    type WaitRunsStream = ResponseStream<v1::WaitRunsResponse>;

    async fn wait_runs(
        &self,
        request: Request<v1::WaitRunsRequest>,
    ) -> Result<Response<Self::WaitRunsStream>, Status> {
        let stream = wait::open(&self.engine, request.into_inner(), self.stop.clone()).await?;
        Ok(Response::new(stream))
    }

    type WatchRunsStream = ResponseStream<v1::WatchRunsResponse>;

    async fn watch_runs(
        &self,
        request: Request<v1::WatchRunsRequest>,
    ) -> Result<Response<Self::WatchRunsStream>, Status> {
        let stream = watch::open(&self.engine, request.into_inner(), self.stop.clone()).await?;
        Ok(Response::new(stream))
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let run_id = run_id("run_id", &request.run_id)?;
        request_id(&request.request_id)?;
        check_reason(&request.reason)?;
        let operation = Operation::Cancel { namespace, run_id, reason: request.reason, actor };
        let operated = self.engine.operate(operation).await.map_err(|error| to_status(&error))?;
        // Also where this call changed nothing: an earlier one may have died before it had told the children.
        let n_below = self.engine.cascade_from(run_id).await.map_err(|error| to_status(&error))?;
        let n_cancelled = n_below + usize::from(operated.changed);
        Ok(Response::new(v1::CancelRunResponse {
            run: Some(run_to_proto(&operated.run)),
            n_cancelled: u32::try_from(n_cancelled).unwrap_or(u32::MAX),
        }))
    }

    async fn pause_run(
        &self,
        request: Request<v1::PauseRunRequest>,
    ) -> Result<Response<v1::PauseRunResponse>, Status> {
        Ok(Response::new(requests::pause(&self.engine, request).await?))
    }

    async fn resume_run(
        &self,
        request: Request<v1::ResumeRunRequest>,
    ) -> Result<Response<v1::ResumeRunResponse>, Status> {
        Ok(Response::new(requests::resume(&self.engine, &self.payloads, request).await?))
    }

    async fn await_resume(
        &self,
        request: Request<v1::AwaitResumeRequest>,
    ) -> Result<Response<v1::AwaitResumeResponse>, Status> {
        let waited = requests::await_resume(&self.engine, request.into_inner(), &self.stop).await?;
        Ok(Response::new(waited))
    }

    async fn list_run_inputs(
        &self,
        request: Request<v1::ListRunInputsRequest>,
    ) -> Result<Response<v1::ListRunInputsResponse>, Status> {
        Ok(Response::new(requests::list_inputs(&self.engine, request.into_inner()).await?))
    }

    async fn retry_run(
        &self,
        request: Request<v1::RetryRunRequest>,
    ) -> Result<Response<v1::RetryRunResponse>, Status> {
        Ok(Response::new(requests::retry(&self.engine, request).await?))
    }

    async fn delete_run(
        &self,
        request: Request<v1::DeleteRunRequest>,
    ) -> Result<Response<v1::DeleteRunResponse>, Status> {
        Ok(Response::new(requests::delete(&self.engine, request).await?))
    }

    async fn explain_run(
        &self,
        request: Request<v1::ExplainRunRequest>,
    ) -> Result<Response<v1::ExplainRunResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let run_id = run_id("run_id", &request.run_id)?;
        let explanation = self.engine.explain(&namespace, run_id).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::ExplainRunResponse { explanation: Some(explanation_to_proto(&explanation)) }))
    }

    async fn list_run_events(
        &self,
        request: Request<v1::ListRunEventsRequest>,
    ) -> Result<Response<v1::ListRunEventsResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let run_id = run_id("run_id", &request.run_id)?;
        let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let after_seq = match request.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| invalid_token(token))?,
        };
        self.engine.get_all(&namespace, &[run_id]).await.map_err(|error| to_status(&error))?;
        let events = self
            .engine
            .store()
            .list_events(&namespace, run_id, after_seq, limit)
            .await
            .map_err(|error| to_status(&error))?;
        let next_page_token = match events.last() {
            Some(last) if events.len() == limit => last.seq.to_string(),
            _ => String::new(),
        };
        let events = events.iter().map(event_to_proto).collect();
        Ok(Response::new(v1::ListRunEventsResponse { events, next_page_token }))
    }
}

/// What a call says of who makes it.
struct Caller {
    traceparent: Option<String>,
    actor: Option<String>,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Self {
        Self { traceparent: caller_traceparent(request.metadata()), actor: actor(request) }
    }
}

/// The W3C trace context that the caller sent, for services without an exporter.
fn caller_traceparent(metadata: &MetadataMap) -> Option<String> {
    trace::current_traceparent()
        .or_else(|| metadata.get("traceparent").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned))
        // Whatever came that is none is dropped, as W3C has it: a call does not fail for its trace.
        .filter(|traceparent| is_traceparent(traceparent))
}

/// A create that was checked.
struct Parsed {
    create: Create,
    /// The SHA-256 of its parameters' value, where that is to go to object storage.
    large: Option<[u8; 32]>,
}

async fn parse_create(
    namespace: &Namespace,
    new: v1::NewRun,
    id: RunId,
    prefix: &str,
    caller: &Caller,
    schemas: &Arc<Schemas>,
) -> Result<Parsed, Vec<FieldViolation>> {
    let mut violations = Violations::below(prefix);
    // What the deployment says comes when it is known: `Asked` has the run as it was asked for.
    let asked =
        new.deployment.parse().ok().map(|deployment| (new.clone(), for_deployment(&new, &deployment)));
    let draft = match &asked {
        Some((_, completed)) => parse_draft(namespace, completed, id, &mut violations),
        None => parse_draft(namespace, &new, id, &mut violations),
    };
    let Some((mut draft, parameters)) = draft else { return Err(violations.into_vec()) };
    draft.traceparent = match draft.traceparent {
        // A batch has runs of many callers: each gets a span of the api in its own trace.
        Some(own) => {
            let span = tracing::info_span!("create run", otel.kind = "internal", run.id = %draft.id, run.name = %draft.name);
            trace::set_parent(&span, &own);
            Some(span.in_scope(trace::current_traceparent).unwrap_or(own))
        }
        None => caller.traceparent.clone(),
    };
    let deploy = asked.map(|(new, _)| {
        let (namespace, prefix, schemas) = (namespace.clone(), prefix.to_owned(), Arc::clone(schemas));
        let traceparent = draft.traceparent.clone();
        Arc::new(Asked { namespace, new, id, prefix, traceparent, schemas }) as Arc<dyn Deploy>
    });
    let Hashed { params: params_hash, value: large } = hash(parameters.as_ref()).await;
    let idempotency_key = match new.child_call {
        0 => (!new.idempotency_key.is_empty()).then_some(new.idempotency_key),
        n => Some(child_key(&draft, &params_hash, n)),
    };
    let create = Create {
        draft,
        params_hash,
        parameters,
        idempotency_key,
        use_existing: new.use_existing,
        refresh_cache: new.refresh_cache,
        schedule: None,
        is_child_call: new.child_call > 0,
        parent_epoch: (new.parent_epoch > 0).then_some(Epoch(new.parent_epoch)),
        actor: caller.actor.clone(),
        job: None,
        deploy,
    };
    Ok(Parsed { create, large })
}

/// The key of the n-th same call in an attempt of the parent, which a later attempt makes again. Calls that the process
/// executes itself are counted apart from those that it queues: both kinds may be under way at once, in any order.
fn child_key(draft: &Draft, params_hash: &[u8; 32], n: u32) -> String {
    use std::fmt::Write as _;

    let place = match draft.placement {
        Placement::Queue(_) => "queued",
        Placement::Session(_) => "local",
    };
    let mut key = format!("call:{place}:{}:{n}:", draft.kind);
    for byte in params_hash {
        let _ = write!(key, "{byte:02x}"); // a String takes all
    }
    key.push(':');
    key.push_str(draft.name.as_str());
    if let Some(deployment) = &draft.deployment {
        key.push('@');
        key.push_str(deployment);
    }
    key
}

fn create_outcome(outcome: Result<Created, EngineError>) -> v1::CreateRunOutcome {
    match outcome {
        Ok(created) => v1::CreateRunOutcome {
            run_id: created.run.id.to_string(),
            created: created.created,
            state: Some(state_to_proto(&created.run.state)),
            epoch: created.run.epoch.0,
            adopted: created.adopted,
            ..v1::CreateRunOutcome::default()
        },
        Err(error) => {
            // As for a single create: the text of an internal error goes to the log.
            let status = to_status(&error);
            let run_id = match error {
                EngineError::KeyReused { run_id } | EngineError::IdReused { run_id } => run_id.to_string(),
                _ => String::new(),
            };
            v1::CreateRunOutcome {
                run_id,
                error_reason: error.reason().as_str().to_owned(),
                error_message: status.message().to_owned(),
                ..v1::CreateRunOutcome::default()
            }
        }
    }
}

fn refused_outcome(violations: &[FieldViolation]) -> v1::CreateRunOutcome {
    let status = invalid(violations.to_vec());
    v1::CreateRunOutcome {
        error_reason: tidegate_model::Reason::InvalidField.as_str().to_owned(),
        error_message: status.message().to_owned(),
        ..v1::CreateRunOutcome::default()
    }
}

/// A `request_id` serves as the id of a run that has none.
fn request_id(text: &str) -> Result<RunId, Status> {
    if text.is_empty() {
        return Ok(RunId::new());
    }
    text.parse::<RunId>().map_err(|error| invalid_field("request_id", error.to_string()))
}
