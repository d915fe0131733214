//! The engine's way to delivery: a client of task-queue's `DeliveryService`. Shared by api and scheduler, which
//! both have an engine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidegate_engine::{
    DeliveryFacts, Dispatch, DispatchError, LeaseQuestion, QueueDepth, QueueTraffic, Standing, StopOrder,
};
use tidegate_model::{Clock, Namespace, QueueName, Timestamp, WorkPoolName, Worker, WorkerId, limits};
use tidegate_orchestration::{Placement, Run};
use tidegate_proto::{
    internal::{self, delivery_service_client::DeliveryServiceClient, describe_delivery_response},
    v1,
};
use tidegate_service_kit::trace;
use tidegate_wire::{
    duration_from_proto, duration_to_proto, kind_to_proto, timestamp_from_proto, timestamp_to_proto,
    worker_from_proto,
};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};

/// What is not done by then is left to the sweeps.
const DEADLINE: Duration = Duration::from_secs(5);

type Client =
    DeliveryServiceClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

/// Delivery over gRPC.
#[derive(Clone)]
pub struct GrpcDispatch {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl GrpcDispatch {
    /// Over a channel to task-queue; it may be lazy. `clock` is that of the engine.
    pub fn new(channel: Channel, clock: Arc<dyn Clock>) -> Self {
        let inject: fn(Request<()>) -> Result<Request<()>, Status> = trace::inject;
        let client = DeliveryServiceClient::with_interceptor(channel, inject)
            .max_decoding_message_size(limits::MAX_MESSAGE_SIZE);
        Self { client, clock }
    }
}

#[async_trait]
impl Dispatch for GrpcDispatch {
    async fn enqueue(&self, runs: &[Run]) -> Result<(), DispatchError> {
        let deliveries = runs.iter().filter_map(delivery).collect();
        let request = with_deadline(internal::EnqueueRunsRequest { deliveries });
        self.client.clone().enqueue_runs(request).await.map_err(failed)?;
        Ok(())
    }

    async fn stop(&self, orders: &[StopOrder]) -> Result<(), DispatchError> {
        let runs = orders.iter().map(cancelled_run).collect();
        let request = with_deadline(internal::CancelRunsRequest { runs });
        self.client.clone().cancel_runs(request).await.map_err(failed)?;
        Ok(())
    }

    async fn check_leases(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, DispatchError> {
        let n_questions = questions.len();
        let questions = questions
            .iter()
            .map(|question| internal::LeaseQuestion {
                namespace: question.namespace.to_string(),
                queue: question.queue.to_string(),
                run_id: question.run_id.to_string(),
                epoch: question.epoch.0,
            })
            .collect();
        let request = with_deadline(internal::CheckLeasesRequest { questions });
        let leased = self.client.clone().check_leases(request).await.map_err(failed)?.into_inner().leased;
        if leased.len() != n_questions {
            return Err(DispatchError {
                cause: format!("{} answers to {n_questions} questions", leased.len()),
            });
        }
        Ok(leased)
    }

    async fn describe(&self, run: &Run) -> Result<DeliveryFacts, DispatchError> {
        let request = with_deadline(internal::DescribeDeliveryRequest { delivery: delivery(run) });
        let answer = self.client.clone().describe_delivery(request).await.map_err(failed)?.into_inner();
        let standing = match answer.standing {
            None => Standing::Unknown,
            Some(describe_delivery_response::Standing::Ready(ready)) => {
                Standing::Ready { n_ahead: ready.n_ahead }
            }
            Some(describe_delivery_response::Standing::Delayed(_)) => Standing::Delayed,
            Some(describe_delivery_response::Standing::Claimed(_)) => Standing::Claimed,
            Some(describe_delivery_response::Standing::Leased(leased)) => {
                let expires_in = leased.expires_in.as_ref().and_then(duration_from_proto);
                Standing::Leased { expires_in: expires_in.unwrap_or_default(), hindrance: leased.hindrance }
            }
        };
        Ok(DeliveryFacts {
            standing,
            n_workers: answer.n_workers,
            n_free_slots: answer.n_free_slots,
            n_serving: answer.n_serving,
        })
    }

    async fn describe_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
    ) -> Result<QueueTraffic, DispatchError> {
        let request = with_deadline(internal::DescribeQueueRequest {
            namespace: namespace.to_string(),
            queue: queue.to_string(),
        });
        let answer = self.client.clone().describe_queue(request).await.map_err(failed)?.into_inner();
        Ok(QueueTraffic {
            depth: answer.depth.as_ref().map(depth).unwrap_or_default(),
            n_workers: answer.n_workers,
            n_free_task_slots: answer.n_free_task_slots,
            n_free_flow_slots: answer.n_free_flow_slots,
        })
    }

    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<(QueueName, QueueDepth)>, DispatchError> {
        let request = with_deadline(internal::ListQueueDepthsRequest {
            namespace: namespace.to_string(),
            after: after.map(ToString::to_string).unwrap_or_default(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        });
        let answer = self.client.clone().list_queue_depths(request).await.map_err(failed)?.into_inner();
        let named = |found: &internal::QueueDepth| {
            let name = found.queue.parse().map_err(|_| DispatchError {
                cause: format!("an answer with `{}` as a queue", found.queue),
            })?;
            Ok((name, depth(found)))
        };
        answer.depths.iter().map(named).collect()
    }

    async fn queue_resumed(&self, namespace: &Namespace, queue: &QueueName) -> Result<(), DispatchError> {
        let request = with_deadline(internal::ResumeQueueRequest {
            namespace: namespace.to_string(),
            queue: queue.to_string(),
        });
        self.client.clone().resume_queue(request).await.map_err(failed)?;
        Ok(())
    }

    async fn work_pool_resumed(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<(), DispatchError> {
        let request = with_deadline(internal::ResumeWorkPoolRequest {
            namespace: namespace.to_string(),
            work_pool: work_pool.to_string(),
        });
        self.client.clone().resume_work_pool(request).await.map_err(failed)?;
        Ok(())
    }

    async fn count_pool_workers(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<u32, DispatchError> {
        let request = with_deadline(internal::DescribeWorkPoolRequest {
            namespace: namespace.to_string(),
            work_pool: work_pool.to_string(),
        });
        Ok(self.client.clone().describe_work_pool(request).await.map_err(failed)?.into_inner().n_workers)
    }

    async fn list_workers(
        &self,
        namespace: &Namespace,
        work_pool: Option<&WorkPoolName>,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<Vec<Worker>, DispatchError> {
        let request = with_deadline(internal::ListWorkersRequest {
            namespace: namespace.to_string(),
            work_pool: work_pool.map(ToString::to_string).unwrap_or_default(),
            after: after.map(ToString::to_string).unwrap_or_default(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        });
        let answer = self.client.clone().list_workers(request).await.map_err(failed)?.into_inner();
        let read = |worker: v1::Worker| {
            let id = worker.id.clone();
            let cause =
                || DispatchError { cause: format!("an answer with a worker `{id}` that cannot be read") };
            worker_from_proto(worker).ok_or_else(cause)
        };
        answer.workers.into_iter().map(read).collect()
    }

    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, DispatchError> {
        let request = with_deadline(internal::DrainWorkerRequest {
            namespace: namespace.to_string(),
            worker_id: worker_id.to_string(),
        });
        Ok(self.client.clone().drain_worker(request).await.map_err(failed)?.into_inner().is_live)
    }

    async fn born_at(&self) -> Result<Timestamp, DispatchError> {
        let request = with_deadline(internal::GetGenerationRequest {});
        let answer = self.client.clone().get_generation(request).await.map_err(failed)?.into_inner();
        // By the engine's clock, as that is what the time of a delivery is told by.
        let by_age = answer.age.as_ref().and_then(duration_from_proto).map(|age| self.clock.now() - age);
        by_age
            .or_else(|| answer.born_at.as_ref().and_then(timestamp_from_proto))
            .ok_or_else(|| DispatchError { cause: "an answer without a valid born_at".to_owned() })
    }
}

fn delivery(run: &Run) -> Option<internal::Delivery> {
    let Placement::Queue(queue) = &run.placement else { return None };
    Some(internal::Delivery {
        namespace: run.namespace.to_string(),
        queue: queue.to_string(),
        kind: kind_to_proto(run.kind).into(),
        name: run.name.to_string(),
        run_id: run.id.to_string(),
        epoch: run.epoch.0,
        priority: run.priority,
        due_at: Some(timestamp_to_proto(run.due_at)),
        fairness_key: run.fairness_key.as_ref().map(ToString::to_string).unwrap_or_default(),
        required_worker_labels: run.required_labels.clone(),
        preferred_worker: run.preferred_worker.as_ref().map(ToString::to_string).unwrap_or_default(),
        work_pool: run.work_pool.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
}

fn depth(depth: &internal::QueueDepth) -> QueueDepth {
    QueueDepth { n_ready: depth.ready, n_delayed: depth.delayed, n_claimed: depth.claimed }
}

fn cancelled_run(order: &StopOrder) -> internal::CancelledRun {
    internal::CancelledRun {
        namespace: order.namespace.to_string(),
        queue: order.queue.to_string(),
        run_id: order.run_id.to_string(),
        epoch: order.epoch.0,
        grace: order.grace.map(duration_to_proto),
        message: order.message.clone(),
        kind: kind_to_proto(order.kind).into(),
        name: order.name.to_string(),
        fairness_key: order.fairness_key.as_ref().map(ToString::to_string).unwrap_or_default(),
        required_worker_labels: order.required_labels.clone(),
        work_pool: order.work_pool.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(status: Status) -> DispatchError {
    DispatchError { cause: format!("{:?}: {}", status.code(), status.message()) }
}
