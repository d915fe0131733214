use std::{collections::HashSet, sync::Arc};

use tidegate_delivery::{
    Entry, EntryId, Function, Held, Labels, LeaseQuestion, Pausable, PoolId, QueueDepth, QueueId,
    Requirements, Standing, Stop,
};
use tidegate_model::{Epoch, FairnessKey, RunKind, Timestamp, limits};
use tidegate_proto::internal::{
    self, CancelRunsRequest, CancelRunsResponse, CancelledRun, CheckLeasesRequest, CheckLeasesResponse,
    Delivery, DescribeDeliveryRequest, DescribeDeliveryResponse, DescribeQueueRequest, DescribeQueueResponse,
    DescribeWorkPoolRequest, DescribeWorkPoolResponse, DrainWorkerRequest, DrainWorkerResponse,
    EnqueueRunsRequest, EnqueueRunsResponse, GetGenerationRequest, GetGenerationResponse,
    ListQueueDepthsRequest, ListQueueDepthsResponse, ListWorkersRequest, ListWorkersResponse,
    ResumeQueueRequest, ResumeQueueResponse, ResumeWorkPoolRequest, ResumeWorkPoolResponse,
    delivery_service_server::DeliveryService, describe_delivery_response,
};
use tidegate_wire::{
    Violations, check_label_map, duration_from_proto, duration_to_proto, invalid, invalid_field,
    kind_from_proto, timestamp_from_proto, timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::{announce, register, shared::Shared};

/// The rpcs for api and scheduler.
pub(crate) struct DeliveryApi(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl DeliveryService for DeliveryApi {
    async fn enqueue_runs(
        &self,
        request: Request<EnqueueRunsRequest>,
    ) -> Result<Response<EnqueueRunsResponse>, Status> {
        let shared = &self.0;
        let now = shared.clock.now();
        let entries = parse_all("deliveries", &request.into_inner().deliveries, |delivery, violations| {
            parse_delivery(delivery, now, violations)
        })?;
        shared.delivery.enqueue(&entries, now).await.map_err(|error| to_status(&error))?;
        // The hint of the delivery state comes, too; a waiting credit is served without its way round.
        let ids = entries.iter().map(|entry| &entry.id);
        let woken: HashSet<_> = ids.map(|id| (&id.queue, &id.function, &id.requires)).collect();
        woken.into_iter().for_each(|(queue, function, requires)| {
            shared.pools.wake_for(queue, function, requires);
        });
        Ok(Response::new(EnqueueRunsResponse {}))
    }

    async fn cancel_runs(
        &self,
        request: Request<CancelRunsRequest>,
    ) -> Result<Response<CancelRunsResponse>, Status> {
        let shared = &self.0;
        let runs = parse_all("runs", &request.into_inner().runs, parse_cancelled)?;
        let (entries, stops): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        // Workers of this replica hear of it even where the delivery state is out of reach.
        stops.iter().for_each(|stop| shared.workers.stop(stop));
        shared.delivery.stop(&stops).await.map_err(|error| to_status(&error))?;
        shared.delivery.forget(&entries).await.map_err(|error| to_status(&error))?;
        let taken_away: Vec<_> = stops.iter().filter(|stop| stop.grace.is_none()).map(held).collect();
        shared.delivery.release(&taken_away).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(CancelRunsResponse {}))
    }

    async fn check_leases(
        &self,
        request: Request<CheckLeasesRequest>,
    ) -> Result<Response<CheckLeasesResponse>, Status> {
        let shared = &self.0;
        let questions = parse_all("questions", &request.into_inner().questions, |question, violations| {
            let queue = parse_queue(&question.namespace, &question.queue, violations);
            let run_id = violations.parse("run_id", &question.run_id);
            Some(LeaseQuestion {
                queue: queue?,
                held: Held { run_id: run_id?, epoch: Epoch(question.epoch) },
            })
        })?;
        let leased = shared.delivery.check(&questions).await.map_err(|error| to_status(&error))?;
        // Asked last: a loss just before the check shows as a young state.
        let can_judge = shared.can_judge_leases().await.map_err(|error| to_status(&error))?;
        let leased = leased.into_iter().map(|leased| leased || !can_judge).collect();
        Ok(Response::new(CheckLeasesResponse { leased }))
    }

    async fn describe_delivery(
        &self,
        request: Request<DescribeDeliveryRequest>,
    ) -> Result<Response<DescribeDeliveryResponse>, Status> {
        let shared = &self.0;
        let delivery = request.into_inner().delivery.unwrap_or_default();
        let mut violations = Violations::below("delivery.");
        let parsed = parse_delivery(&delivery, shared.clock.now(), &mut violations);
        let entry = match parsed {
            Some(entry) if violations.is_empty() => entry.id,
            _ => return Err(invalid(violations.into_vec())),
        };
        // Those of this replica as they are now; others announce theirs every few seconds.
        announce::announce(shared).await.map_err(|error| to_status(&error))?;
        let takers = shared.delivery.takers(&entry.queue, &entry.function, &entry.requires).await;
        let takers = takers.map_err(|error| to_status(&error))?;
        let standing = shared.delivery.standing(&entry, shared.clock.now()).await;
        let standing = standing.map_err(|error| to_status(&error))?;
        Ok(Response::new(DescribeDeliveryResponse {
            standing: standing_to_proto(standing),
            n_workers: takers.able.n_workers,
            n_free_slots: match entry.function.kind() {
                RunKind::Task => takers.able.n_free_task_slots,
                RunKind::Flow => takers.able.n_free_flow_slots,
            },
            n_serving: takers.n_serving,
        }))
    }

    async fn describe_queue(
        &self,
        request: Request<DescribeQueueRequest>,
    ) -> Result<Response<DescribeQueueResponse>, Status> {
        let shared = &self.0;
        let request = request.into_inner();
        let queue = queue_of(&request.namespace, &request.queue)?;
        // Those of this replica as they are now; others announce theirs every few seconds.
        announce::announce(shared).await.map_err(|error| to_status(&error))?;
        let capacity = shared.delivery.queue_capacity(&queue).await.map_err(|error| to_status(&error))?;
        let depth = shared.delivery.depth(&queue).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(DescribeQueueResponse {
            depth: Some(depth_to_proto(&depth)),
            n_workers: capacity.n_workers,
            n_free_task_slots: capacity.n_free_task_slots,
            n_free_flow_slots: capacity.n_free_flow_slots,
        }))
    }

    async fn list_queue_depths(
        &self,
        request: Request<ListQueueDepthsRequest>,
    ) -> Result<Response<ListQueueDepthsResponse>, Status> {
        let shared = &self.0;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let namespace = violations.parse("namespace", &request.namespace);
        let after = if request.after.is_empty() { None } else { violations.parse("after", &request.after) };
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        if !(1..=limits::MAX_PAGE_SIZE).contains(&limit) {
            violations.add("limit", format!("is {limit}: 1 to {} are allowed", limits::MAX_PAGE_SIZE));
        }
        let Some(namespace) = namespace.filter(|_| violations.is_empty()) else {
            return Err(invalid(violations.into_vec()));
        };
        let depths = shared.delivery.depths_of(&namespace, after.as_ref(), limit, shared.clock.now()).await;
        let depths = depths.map_err(|error| to_status(&error))?;
        Ok(Response::new(ListQueueDepthsResponse { depths: depths.iter().map(depth_to_proto).collect() }))
    }

    async fn resume_queue(
        &self,
        request: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        let shared = &self.0;
        let request = request.into_inner();
        let queue = queue_of(&request.namespace, &request.queue)?;
        // This replica hears of it even where the delivery state is out of reach.
        let queue = Pausable::Queue(queue);
        shared.paused.forget(&queue);
        shared.pools.wake_resumed(&queue);
        shared.delivery.resumed(&queue).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(ResumeQueueResponse {}))
    }

    async fn resume_work_pool(
        &self,
        request: Request<ResumeWorkPoolRequest>,
    ) -> Result<Response<ResumeWorkPoolResponse>, Status> {
        let shared = &self.0;
        let request = request.into_inner();
        let pool = Pausable::Pool(pool_of(&request.namespace, &request.work_pool)?);
        // This replica hears of it even where the delivery state is out of reach.
        shared.paused.forget(&pool);
        shared.pools.wake_resumed(&pool);
        shared.delivery.resumed(&pool).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(ResumeWorkPoolResponse {}))
    }

    async fn describe_work_pool(
        &self,
        request: Request<DescribeWorkPoolRequest>,
    ) -> Result<Response<DescribeWorkPoolResponse>, Status> {
        let shared = &self.0;
        let request = request.into_inner();
        let pool = pool_of(&request.namespace, &request.work_pool)?;
        // Those of this replica as they are now; others announce theirs every few seconds.
        announce::announce(shared).await.map_err(|error| to_status(&error))?;
        let capacity = shared.delivery.pool_capacity(&pool).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(DescribeWorkPoolResponse {
            n_workers: capacity.n_workers,
            n_free_slots: capacity.n_free_flow_slots,
        }))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(register::list(&self.0, request.into_inner()).await?))
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        Ok(Response::new(register::drain(&self.0, request.into_inner()).await?))
    }

    async fn get_generation(
        &self,
        _request: Request<GetGenerationRequest>,
    ) -> Result<Response<GetGenerationResponse>, Status> {
        let generation = self.0.delivery.generation().await.map_err(|error| to_status(&error))?;
        let born_at = Some(timestamp_to_proto(generation.born_at));
        let age = Some(duration_to_proto(generation.age));
        Ok(Response::new(GetGenerationResponse { born_at, age }))
    }
}

fn standing_to_proto(standing: Standing) -> Option<describe_delivery_response::Standing> {
    use describe_delivery_response::{self as response, Standing as Proto};

    match standing {
        Standing::Ready { n_ahead } => Some(Proto::Ready(response::Ready { n_ahead })),
        Standing::Delayed { due_at } => {
            Some(Proto::Delayed(response::Delayed { due_at: Some(timestamp_to_proto(due_at)) }))
        }
        Standing::Claimed => Some(Proto::Claimed(response::Claimed {})),
        Standing::Leased { worker_id, expires_in, hindrance } => Some(Proto::Leased(response::Leased {
            worker_id: worker_id.to_string(),
            expires_in: Some(duration_to_proto(expires_in)),
            hindrance,
        })),
        Standing::Unknown => None,
    }
}

/// Parses each item of a batch; the status names every field that is wrong.
fn parse_all<I, T>(
    field: &str,
    items: &[I],
    parse: impl Fn(&I, &mut Violations) -> Option<T>,
) -> Result<Vec<T>, Status> {
    if items.len() > limits::MAX_BATCH_SIZE {
        let (n_items, max) = (items.len(), limits::MAX_BATCH_SIZE);
        return Err(invalid_field(field, format!("has {n_items} entries; at most {max} are allowed")));
    }
    let mut parsed = Vec::with_capacity(items.len());
    let mut found = Vec::new();
    for (item_idx, item) in items.iter().enumerate() {
        let mut violations = Violations::below(format!("{field}[{item_idx}]."));
        parsed.extend(parse(item, &mut violations));
        found.extend(violations.into_vec());
    }
    if found.is_empty() { Ok(parsed) } else { Err(invalid(found)) }
}

fn depth_to_proto(depth: &QueueDepth) -> internal::QueueDepth {
    internal::QueueDepth {
        queue: depth.queue.queue.to_string(),
        ready: depth.ready,
        delayed: depth.delayed,
        claimed: depth.claimed,
    }
}

fn queue_of(namespace: &str, queue: &str) -> Result<QueueId, Status> {
    let mut violations = Violations::default();
    parse_queue(namespace, queue, &mut violations).ok_or_else(|| invalid(violations.into_vec()))
}

fn pool_of(namespace: &str, work_pool: &str) -> Result<PoolId, Status> {
    let mut violations = Violations::default();
    let namespace = violations.parse("namespace", namespace);
    let work_pool = violations.parse("work_pool", work_pool);
    match (namespace, work_pool) {
        (Some(namespace), Some(work_pool)) => Ok(PoolId { namespace, work_pool }),
        _ => Err(invalid(violations.into_vec())),
    }
}

fn parse_queue(namespace: &str, queue: &str, violations: &mut Violations) -> Option<QueueId> {
    let namespace = violations.parse("namespace", namespace);
    let queue = violations.parse("queue", queue);
    Some(QueueId { namespace: namespace?, queue: queue? })
}

fn parse_function(
    (kind, name, work_pool): (i32, &str, &str),
    violations: &mut Violations,
) -> Option<Function> {
    let kind = kind_from_proto(kind);
    if kind.is_none() {
        violations.add("kind", "is not set: RUN_KIND_FLOW or RUN_KIND_TASK is required");
    }
    let name = violations.parse("name", name);
    if work_pool.is_empty() {
        return Some(Function::new(kind?, name?));
    }
    if kind == Some(RunKind::Task) {
        violations.add("kind", "is RUN_KIND_TASK: the runs of a work pool are flows");
    }
    violations.parse("work_pool", work_pool).map(Function::Pool)
}

fn parse_delivery(delivery: &Delivery, now: Timestamp, violations: &mut Violations) -> Option<Entry> {
    let queue = parse_queue(&delivery.namespace, &delivery.queue, violations);
    let function = parse_function((delivery.kind, &delivery.name, &delivery.work_pool), violations);
    let run_id = violations.parse("run_id", &delivery.run_id);
    let due_at = match &delivery.due_at {
        None => Some(now),
        Some(due_at) => timestamp_from_proto(due_at),
    };
    if due_at.is_none() {
        violations.add("due_at", "is out of the range of a timestamp");
    }
    let (fairness_key, requires) =
        parse_routing(&delivery.fairness_key, &delivery.required_worker_labels, violations);
    let prefers = match delivery.preferred_worker.as_str() {
        "" => None,
        worker_id => violations.parse("preferred_worker", worker_id),
    };
    let id = EntryId {
        queue: queue?,
        function: function?,
        requires,
        fairness_key,
        run_id: run_id?,
        epoch: Epoch(delivery.epoch),
    };
    Some(Entry { id, priority: delivery.priority, due_at: due_at?, prefers })
}

fn parse_routing(
    fairness_key: &str,
    required: &Labels,
    violations: &mut Violations,
) -> (Option<FairnessKey>, Requirements) {
    let fairness_key = match fairness_key {
        "" => None,
        key => violations.parse("fairness_key", key),
    };
    check_label_map("required_worker_labels", required, limits::MAX_REQUIRED_LABELS, violations);
    (fairness_key, Requirements::new(required))
}

fn held(stop: &Stop) -> Held {
    Held { run_id: stop.run_id, epoch: stop.epoch }
}

fn parse_cancelled(run: &CancelledRun, violations: &mut Violations) -> Option<(EntryId, Stop)> {
    let queue = parse_queue(&run.namespace, &run.queue, violations);
    let function = parse_function((run.kind, &run.name, &run.work_pool), violations);
    let run_id = violations.parse("run_id", &run.run_id);
    let grace = run.grace.as_ref().and_then(duration_from_proto);
    if grace.is_none() && run.grace.is_some() {
        violations.add("grace", "is negative or malformed");
    }
    let (fairness_key, requires) = parse_routing(&run.fairness_key, &run.required_worker_labels, violations);
    let epoch = Epoch(run.epoch);
    let run_id = run_id?;
    let stop = Stop { run_id, epoch, grace, message: run.message.clone() };
    let id = EntryId { queue: queue?, function: function?, requires, fairness_key, run_id, epoch };
    Some((id, stop))
}
