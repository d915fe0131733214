use std::collections::HashMap;

use futures::future::join_all;
use prost::Message as _;
use tidegate_engine::{Engine, EngineError, Operated, Operation};
use tidegate_model::{Epoch, Namespace, Reason, RunId, ServiceError as _, Timestamp, limits};
use tidegate_orchestration::{Holder, Placement, Rejection, Run, StateType};
use tidegate_payload::Payloads;
use tidegate_proto::{
    internal::{self, run_engine_service_server::RunEngineService},
    v1,
};
use tidegate_wire::{
    Violations, duration_to_proto, invalid, invalid_field, kind_to_proto, payload_to_proto,
    timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::{
    convert::run_ids,
    outcome::{Order, report_all},
};

/// `RunEngineService` over an engine: the store judges each delivery and each report.
pub(crate) struct Service {
    engine: Engine,
    payloads: Payloads,
}

impl Service {
    pub fn new(engine: Engine, payloads: Payloads) -> Self {
        Self { engine, payloads }
    }
}

#[tonic::async_trait]
impl RunEngineService for Service {
    async fn claim_runs(
        &self,
        request: Request<internal::ClaimRunsRequest>,
    ) -> Result<Response<internal::ClaimRunsResponse>, Status> {
        let claims = request.into_inner().claims;
        check_batch("claims", claims.len())?;
        let mut operations = Vec::with_capacity(claims.len());
        for (claim_idx, claim) in claims.into_iter().enumerate() {
            operations.push(parse_claim(claim_idx, &claim)?);
        }
        let ids: Vec<RunId> = operations.iter().map(Operation::run_id).collect();
        let claimed = join_all(operations.into_iter().map(|one| self.engine.operate(one))).await;
        let now = self.engine.clock().now();
        let mut outcomes = Vec::with_capacity(claimed.len());
        for (id, result) in ids.into_iter().zip(claimed) {
            outcomes.push(internal::ClaimOutcome {
                run_id: id.to_string(),
                outcome: Some(claim_outcome(result, now)?),
            });
        }
        Ok(Response::new(internal::ClaimRunsResponse { outcomes }))
    }

    async fn report_runs(
        &self,
        request: Request<internal::ReportRunsRequest>,
    ) -> Result<Response<internal::ReportRunsResponse>, Status> {
        let reports = request.into_inner().reports;
        check_batch("reports", reports.len())?;
        let reports = reports
            .into_iter()
            .map(|one| {
                let mut violations = Violations::default();
                let namespace =
                    violations.parse("namespace", &one.namespace).ok_or_else(|| violations.into_vec());
                (namespace, one.report.unwrap_or_default())
            })
            .collect();
        let outcomes = report_all(&self.engine, &self.payloads, &mut Order::default(), reports).await;
        Ok(Response::new(internal::ReportRunsResponse { outcomes }))
    }

    async fn check_runs(
        &self,
        request: Request<internal::CheckRunsRequest>,
    ) -> Result<Response<internal::CheckRunsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let namespace: Option<Namespace> = violations.parse("namespace", &request.namespace);
        let namespace = namespace.ok_or_else(|| invalid(violations.into_vec()))?;
        let texts: Vec<String> = request.runs.iter().map(|run| run.run_id.clone()).collect();
        let ids = run_ids("runs", &texts, limits::MAX_WATCHED_RUNS)?;
        let store = self.engine.store();
        let found = store.get_runs(Some(&namespace), &ids).await.map_err(|error| to_status(&error))?;
        let by_id: HashMap<RunId, Run> = found.into_iter().map(|run| (run.id, run)).collect();
        let standings =
            ids.iter().zip(&request.runs).map(|(id, held)| standing(by_id.get(id), held)).collect();
        Ok(Response::new(internal::CheckRunsResponse { standings }))
    }
}

fn check_batch(field: &str, n_items: usize) -> Result<(), Status> {
    if n_items <= limits::MAX_BATCH_SIZE {
        return Ok(());
    }
    Err(invalid_field(field, format!("has {n_items} items; at most {} are allowed", limits::MAX_BATCH_SIZE)))
}

fn parse_claim(claim_idx: usize, claim: &internal::Claim) -> Result<Operation, Status> {
    let mut violations = Violations::below(format!("claims[{claim_idx}]."));
    let namespace = violations.parse("namespace", &claim.namespace);
    let run_id = violations.parse("run_id", &claim.run_id);
    let worker = violations.parse("worker_id", &claim.worker_id);
    match (namespace, run_id, worker) {
        (Some(namespace), Some(run_id), Some(worker)) => Ok(Operation::Claim {
            namespace,
            run_id,
            epoch: Epoch(claim.epoch),
            holder: Holder::Worker(worker),
        }),
        _ => Err(invalid(violations.into_vec())),
    }
}

/// A fault that may pass fails the whole call: repeating a claim for the same worker grants it again.
fn claim_outcome(
    result: Result<Operated, EngineError>,
    now: Timestamp,
) -> Result<internal::claim_outcome::Outcome, Status> {
    use internal::claim_outcome::{NotDue, Outcome, QueuePaused, Refused, Waiting, WorkPoolPaused};
    match result {
        Ok(operated) if operated.is_granted() => Ok(Outcome::Assign(assign(operated))),
        Ok(operated) if operated.is_waiting() => Ok(Outcome::Waiting(Waiting {})),
        // The claim ended it: it had expired, or has the result of another run.
        Ok(_) => Ok(Outcome::Refused(Refused { reason: Reason::TransitionNotAllowed.as_str().to_owned() })),
        Err(EngineError::QueuePaused { .. }) => Ok(Outcome::QueuePaused(QueuePaused {})),
        Err(EngineError::WorkPoolPaused { .. }) => Ok(Outcome::WorkPoolPaused(WorkPoolPaused {})),
        Err(EngineError::Rejected(Rejection::NotDue { due_at })) => {
            let delay = Some(duration_to_proto(due_at.since(now)));
            Ok(Outcome::NotDue(NotDue { due_at: Some(timestamp_to_proto(due_at)), delay }))
        }
        Err(error @ (EngineError::Rejected(_) | EngineError::NotFound { .. })) => {
            Ok(Outcome::Refused(Refused { reason: error.reason().as_str().to_owned() }))
        }
        Err(error) => Err(to_status(&error)),
    }
}

fn assign(operated: Operated) -> v1::Assign {
    let job = operated.job.as_deref().and_then(|job| {
        let read = v1::Job::decode(job);
        read.inspect_err(
            |error| tracing::error!(run.id = %operated.run.id, %error, "a stored job cannot be read"),
        )
        .ok()
    });
    let run = operated.run;
    let queue = match &run.placement {
        Placement::Queue(queue) => queue.to_string(),
        Placement::Session(_) => String::new(),
    };
    v1::Assign {
        run_id: run.id.to_string(),
        epoch: run.epoch.0,
        lease_expires_at: None,
        kind: kind_to_proto(run.kind).into(),
        name: run.name.to_string(),
        run_name: run.run_name,
        attempt: run.attempt + 1,
        queue,
        parameters: operated.parameters.as_ref().map(payload_to_proto),
        run_timeout: run.policies.run_timeout.map(duration_to_proto),
        cancel_grace: Some(duration_to_proto(run.policies.cancel_grace)),
        traceparent: run.traceparent.unwrap_or_default(),
        parent_run_id: run.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        root_run_id: run.root.to_string(),
        tags: run.tags,
        labels: run.labels,
        deployment: run.deployment.unwrap_or_default(),
        job,
        fire_at: run.fire_at.map(timestamp_to_proto),
    }
}

fn standing(run: Option<&Run>, held: &v1::HeldRun) -> internal::RunStanding {
    let current = run.filter(|run| run.epoch.0 == held.epoch);
    internal::RunStanding {
        run_id: held.run_id.clone(),
        held: current.is_some_and(|run| run.holder().is_some()),
        cancelling: current.is_some_and(|run| run.state.state_type() == StateType::Cancelling),
    }
}
