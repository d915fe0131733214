use tidegate_engine::{Bulk, Engine, EngineError};
use tidegate_model::{BulkOperationId, Timestamp, limits};
use tidegate_proto::v1::{
    self, bulk_operation, bulk_operation_service_server::BulkOperationService,
    start_bulk_operation_request::Target,
};
use tidegate_store::{BulkAction, BulkOperation, BulkState, BulkTarget};
use tidegate_wire::{
    Violations, duration_to_proto, invalid, invalid_field, namespace, page_size, pause_timeout,
    timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::{actor::actor, page_token};

/// `BulkOperationService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl BulkOperationService for Service {
    async fn start_bulk_operation(
        &self,
        request: Request<v1::StartBulkOperationRequest>,
    ) -> Result<Response<v1::StartBulkOperationResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let dry_run = request.dry_run;
        let bulk = parse(request, actor, self.engine.clock().now())?;
        let operation = if dry_run {
            let n_matched = self.engine.count_bulk(&bulk).await.map_err(status)?;
            v1::BulkOperation { n_matched, ..described(&bulk) }
        } else {
            to_proto(&self.engine.start_bulk(&bulk).await.map_err(status)?)
        };
        Ok(Response::new(v1::StartBulkOperationResponse { operation: Some(operation) }))
    }

    async fn get_bulk_operation(
        &self,
        request: Request<v1::GetBulkOperationRequest>,
    ) -> Result<Response<v1::GetBulkOperationResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = (namespace(&request.namespace)?, operation_id(&request.operation_id)?);
        let operation = self.engine.bulk_operation(&namespace, id).await.map_err(status)?;
        Ok(Response::new(v1::GetBulkOperationResponse { operation: Some(to_proto(&operation)) }))
    }

    async fn list_bulk_operations(
        &self,
        request: Request<v1::ListBulkOperationsRequest>,
    ) -> Result<Response<v1::ListBulkOperationsResponse>, Status> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let before = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                invalid_field(
                    "page_token",
                    "is no next_page_token of this call: leave it empty to begin anew",
                )
            })?),
        };
        let namespace = namespace(&request.namespace)?;
        let store = self.engine.store();
        let found = store.list_bulk_operations(&namespace, before, limit).await;
        let found = found.map_err(|error| to_status(&error))?;
        let next_page_token = page_token::plain(&found, limit, |last| last.id.to_string());
        let operations = found.iter().map(to_proto).collect();
        Ok(Response::new(v1::ListBulkOperationsResponse { operations, next_page_token }))
    }

    async fn cancel_bulk_operation(
        &self,
        request: Request<v1::CancelBulkOperationRequest>,
    ) -> Result<Response<v1::CancelBulkOperationResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = (namespace(&request.namespace)?, operation_id(&request.operation_id)?);
        if !request.request_id.is_empty() {
            crate::convert::run_id("request_id", &request.request_id)?;
        }
        let operation = self.engine.stop_bulk(&namespace, id).await.map_err(status)?;
        Ok(Response::new(v1::CancelBulkOperationResponse { operation: Some(to_proto(&operation)) }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

fn operation_id(text: &str) -> Result<BulkOperationId, Status> {
    let mut violations = Violations::default();
    violations.parse("operation_id", text).ok_or_else(|| invalid(violations.into_vec()))
}

fn parse(
    request: v1::StartBulkOperationRequest,
    actor: Option<String>,
    now: Timestamp,
) -> Result<Bulk, Status> {
    let namespace = namespace(&request.namespace)?;
    let mut violations = Violations::default();
    let id = match request.request_id.as_str() {
        "" => Some(BulkOperationId::new()),
        id => violations.parse("request_id", id),
    };
    let action = parse_action(request.action());
    if action.is_none() {
        violations.add("action", "is not set: say what is to be done to the runs");
    }
    let target = parse_target(request.target, now, &mut violations);
    if request.reason.len() > limits::MAX_REASON_SIZE {
        let (size, most) = (request.reason.len(), limits::MAX_REASON_SIZE);
        violations.add("reason", format!("has {size} bytes; at most {most} are allowed"));
    }
    let timeout = pause_timeout(request.pause_timeout.as_ref(), "pause_timeout", &mut violations);
    if request.pause_timeout.is_some() && action != Some(BulkAction::Pause) {
        violations.add("pause_timeout", "is set for another action than BULK_ACTION_PAUSE");
    }
    match (id, action, target) {
        (Some(id), Some(action), Some(target)) if violations.is_empty() => Ok(Bulk {
            id,
            namespace,
            action,
            target,
            reason: request.reason,
            actor,
            pause_timeout: timeout,
            expected_count: request.expected_count,
        }),
        _ => Err(invalid(violations.into_vec())),
    }
}

fn parse_target(target: Option<Target>, now: Timestamp, violations: &mut Violations) -> Option<BulkTarget> {
    match target {
        None => {
            violations.add("filter", "neither filter nor tree_run_id is set: say which runs are meant");
            None
        }
        // Whoever forgets the filter does not mean everything.
        Some(Target::Filter(filter)) if filter.trim().is_empty() => {
            violations.add("filter", "is empty: say which runs are meant");
            None
        }
        Some(Target::Filter(filter)) => match tidegate_filter::parse(&filter, now) {
            Ok(_) => Some(BulkTarget::Filter(filter)),
            Err(error) => {
                violations.add("filter", error.to_string());
                None
            }
        },
        Some(Target::TreeRunId(id)) => violations.parse("tree_run_id", &id).map(BulkTarget::Tree),
    }
}

const fn parse_action(action: v1::BulkAction) -> Option<BulkAction> {
    match action {
        v1::BulkAction::Unspecified => None,
        v1::BulkAction::Cancel => Some(BulkAction::Cancel),
        v1::BulkAction::Pause => Some(BulkAction::Pause),
        v1::BulkAction::Resume => Some(BulkAction::Resume),
        v1::BulkAction::Retry => Some(BulkAction::Retry),
        v1::BulkAction::Delete => Some(BulkAction::Delete),
    }
}

const fn action_to_proto(action: BulkAction) -> v1::BulkAction {
    match action {
        BulkAction::Cancel => v1::BulkAction::Cancel,
        BulkAction::Pause => v1::BulkAction::Pause,
        BulkAction::Resume => v1::BulkAction::Resume,
        BulkAction::Retry => v1::BulkAction::Retry,
        BulkAction::Delete => v1::BulkAction::Delete,
    }
}

const fn state_to_proto(state: BulkState) -> v1::BulkOperationState {
    match state {
        BulkState::Running => v1::BulkOperationState::Running,
        BulkState::Completed => v1::BulkOperationState::Completed,
        BulkState::Cancelled => v1::BulkOperationState::Cancelled,
    }
}

fn target_to_proto(target: &BulkTarget) -> bulk_operation::Target {
    match target {
        BulkTarget::Filter(filter) => bulk_operation::Target::Filter(filter.clone()),
        BulkTarget::Tree(run_id) => bulk_operation::Target::TreeRunId(run_id.to_string()),
    }
}

/// What was asked, without an id: nothing was started.
fn described(bulk: &Bulk) -> v1::BulkOperation {
    v1::BulkOperation {
        namespace: bulk.namespace.to_string(),
        action: action_to_proto(bulk.action).into(),
        target: Some(target_to_proto(&bulk.target)),
        reason: bulk.reason.clone(),
        actor: bulk.actor.clone().unwrap_or_default(),
        pause_timeout: bulk.pause_timeout.map(duration_to_proto),
        ..v1::BulkOperation::default()
    }
}

fn to_proto(operation: &BulkOperation) -> v1::BulkOperation {
    v1::BulkOperation {
        id: operation.id.to_string(),
        namespace: operation.namespace.to_string(),
        action: action_to_proto(operation.action).into(),
        target: Some(target_to_proto(&operation.target)),
        reason: operation.reason.clone(),
        actor: operation.actor.clone().unwrap_or_default(),
        pause_timeout: operation.pause_timeout.map(duration_to_proto),
        created_at: Some(timestamp_to_proto(operation.created_at)),
        state: state_to_proto(operation.state).into(),
        ended_at: operation.ended_at.map(timestamp_to_proto),
        n_matched: operation.n_matched,
        n_done: operation.n_done,
        skipped: operation.skipped.clone(),
    }
}
