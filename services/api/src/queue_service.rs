use tidegate_engine::{Engine, EngineError, QueueAsk, QueueDepth, QueueView};
use tidegate_model::{QueueName, limits};
use tidegate_proto::v1::{self, queue_service_server::QueueService};
use tidegate_store::{Queue, QueueKey};
use tidegate_wire::{Violations, invalid, namespace, page_size, timestamp_to_proto, to_status};
use tonic::{Request, Response, Status};

use crate::{
    actor::actor,
    listed::{Asked, Found},
    page_token,
    queries::count_to_proto,
    requests::check_reason,
    things::{self, QUEUES},
};

/// `QueueService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl QueueService for Service {
    async fn put_queue(
        &self,
        request: Request<v1::PutQueueRequest>,
    ) -> Result<Response<v1::PutQueueResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let mut violations = Violations::default();
        if let Some(n) = request.max_slots.filter(|n| *n > limits::MAX_CONCURRENCY_SLOTS) {
            let most = limits::MAX_CONCURRENCY_SLOTS;
            violations.add("max_slots", format!("{n} is more than {most}, the most slots of a queue"));
        }
        let ask = ask(&request.namespace, &request.name, actor, &request.request_id, violations)?;
        let queue = self.engine.put_queue(&ask, request.max_slots).await.map_err(status)?;
        Ok(Response::new(v1::PutQueueResponse { queue: Some(to_proto(&queue)) }))
    }

    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::GetQueueResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let facts = self.engine.get_queue(&key).await.map_err(status)?;
        if let Err(error) = &facts.traffic {
            tracing::warn!(queue.name = %key.name, %error, "queue {} is told without its depth", key.name);
        }
        let (waiting_runs, precision) = count_to_proto(facts.waiting);
        let traffic = facts.traffic.ok();
        let view = QueueView { key, settings: facts.settings, depth: traffic.map(|traffic| traffic.depth) };
        Ok(Response::new(v1::GetQueueResponse {
            queue: Some(to_proto(&view)),
            waiting_runs,
            waiting_precision: precision.into(),
            awaiting_slot_runs: facts.n_awaiting_slot,
            held_runs: facts.n_held,
            workers: traffic.map(|traffic| v1::QueueWorkers {
                n_workers: traffic.n_workers,
                n_free_task_slots: traffic.n_free_task_slots,
                n_free_flow_slots: traffic.n_free_flow_slots,
            }),
        }))
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let page_size = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let of = (namespace.as_str(), "");
        let asked = Asked::new(&QUEUES, of, &request.filter, &request.page_token, self.engine.clock().now())?;
        // The name of the last queue: a list that is ordered by name needs no more.
        let after: Option<QueueName> = page_token::read_plain(&asked.after)?;
        let mut page = asked.page(page_size, after, limits::MAX_PAGE_SIZE);
        while let Some((after, limit)) = page.wanted() {
            let read = self.engine.list_queues(&namespace, after, limit).await.map_err(status)?;
            let found = |view: QueueView| {
                let thing = to_proto(&view);
                Ok(Found { key: view.key.name, thing, size: 0 })
            };
            page.take(read.into_iter().map(found), things::queue)?;
        }
        let (queues, next_page_token) = page.end(|name| asked.token(name.as_str()));
        Ok(Response::new(v1::ListQueuesResponse { queues, next_page_token }))
    }

    async fn delete_queue(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let ask = ask(&request.namespace, &request.name, actor, &request.request_id, Violations::default())?;
        let was_there = self.engine.delete_queue(&ask).await.map_err(status)?;
        if !was_there && !request.allow_missing {
            return Err(to_status(&EngineError::QueueNotFound { name: request.name }));
        }
        Ok(Response::new(v1::DeleteQueueResponse {}))
    }

    async fn pause_queue(
        &self,
        request: Request<v1::PauseQueueRequest>,
    ) -> Result<Response<v1::PauseQueueResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let ask = ask(&request.namespace, &request.name, actor, &request.request_id, Violations::default())?;
        check_reason(&request.reason)?;
        let queue = self.engine.pause_queue(&ask, &request.reason).await.map_err(status)?;
        Ok(Response::new(v1::PauseQueueResponse { queue: Some(to_proto(&queue)) }))
    }

    async fn resume_queue(
        &self,
        request: Request<v1::ResumeQueueRequest>,
    ) -> Result<Response<v1::ResumeQueueResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let ask = ask(&request.namespace, &request.name, actor, &request.request_id, Violations::default())?;
        let queue = self.engine.resume_queue(&ask).await.map_err(status)?;
        Ok(Response::new(v1::ResumeQueueResponse { queue: Some(to_proto(&queue)) }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The queue that is named, unless this or something before it is wrong.
fn key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<QueueKey, Status> {
    let name = violations.parse("name", name);
    let Some(name) = name.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    Ok(QueueKey { namespace: namespace(namespace_text)?, name })
}

fn ask(
    namespace: &str,
    name: &str,
    actor: Option<String>,
    request_id: &str,
    mut violations: Violations,
) -> Result<QueueAsk, Status> {
    let request_id = if request_id.is_empty() { None } else { violations.parse("request_id", request_id) };
    Ok(QueueAsk { key: key(namespace, name, violations)?, actor, request_id })
}

fn to_proto(view: &QueueView) -> v1::Queue {
    let settings = view.settings.as_ref();
    let pause = settings.and_then(|settings: &Queue| settings.pause.as_ref());
    v1::Queue {
        name: view.key.name.to_string(),
        max_slots: settings.and_then(|settings| settings.max_slots),
        pause: pause.map(|pause| v1::QueuePause {
            paused_at: Some(timestamp_to_proto(pause.at)),
            paused_by: pause.by.clone().unwrap_or_default(),
            reason: pause.reason.clone(),
        }),
        depth: view.depth.map(|QueueDepth { n_ready, n_delayed, n_claimed }| v1::QueueDepth {
            ready_runs: n_ready,
            delayed_runs: n_delayed,
            claimed_runs: n_claimed,
        }),
        created_at: settings.map(|settings| timestamp_to_proto(settings.created_at)),
        updated_at: settings.map(|settings| timestamp_to_proto(settings.updated_at)),
    }
}
