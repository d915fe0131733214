use tidegate_engine::{Engine, EngineError, LimitFacts};
use tidegate_model::limits;
use tidegate_proto::v1::{self, concurrency_service_server::ConcurrencyService};
use tidegate_store::{LimitKey, LimitUse, Slot};
use tidegate_wire::{Violations, invalid, namespace, page_size, timestamp_to_proto, to_status};
use tonic::{Request, Response, Status};

/// Bytes of the name of a limit that is shown: also of that of a queue.
const MAX_SHOWN_NAME_SIZE: usize = limits::QUEUE_LIMIT_PREFIX.len() + limits::MAX_WORD_SIZE;

/// `ConcurrencyService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    async fn get(&self, key: LimitKey, n_slots: usize) -> Result<(LimitFacts, Vec<Slot>), Status> {
        self.engine.get_limit(key, n_slots).await.map_err(|error| to_status(&error))
    }
}

#[tonic::async_trait]
impl ConcurrencyService for Service {
    async fn put_concurrency_limit(
        &self,
        request: Request<v1::PutConcurrencyLimitRequest>,
    ) -> Result<Response<v1::PutConcurrencyLimitResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let max_slots = match request.max_slots {
            None => {
                violations.add("max_slots", "is not set: say how many slots the limit has, 0 for none");
                0
            }
            Some(n) if n > limits::MAX_CONCURRENCY_SLOTS => {
                let most = limits::MAX_CONCURRENCY_SLOTS;
                violations.add("max_slots", format!("{n} is more than {most}, the most slots of a limit"));
                n
            }
            Some(n) => n,
        };
        violations.limit_name("name", &request.name);
        let key = limit_key(&request.namespace, &request.name, violations)?;
        self.engine.put_limit(key.clone(), max_slots).await.map_err(|error| to_status(&error))?;
        let (limit, _) = self.get(key, 0).await?;
        Ok(Response::new(v1::PutConcurrencyLimitResponse { limit: Some(limit_to_proto(&limit)) }))
    }

    async fn get_concurrency_limit(
        &self,
        request: Request<v1::GetConcurrencyLimitRequest>,
    ) -> Result<Response<v1::GetConcurrencyLimitResponse>, Status> {
        let request = request.into_inner();
        let key = limit_key(&request.namespace, &request.name, Violations::default())?;
        let (limit, slots) = self.get(key, limits::MAX_LISTED_SLOTS).await?;
        Ok(Response::new(v1::GetConcurrencyLimitResponse {
            limit: Some(limit_to_proto(&limit)),
            slots: slots.iter().map(slot_to_proto).collect(),
        }))
    }

    async fn list_concurrency_limits(
        &self,
        request: Request<v1::ListConcurrencyLimitsRequest>,
    ) -> Result<Response<v1::ListConcurrencyLimitsResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let page_size = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let mut violations = Violations::default();
        violations.text("page_token", &request.page_token, 0, MAX_SHOWN_NAME_SIZE);
        if !violations.is_empty() {
            return Err(invalid(violations.into_vec()));
        }
        // The name of the last limit: a list that is ordered by name needs no more.
        let after = (!request.page_token.is_empty()).then_some(request.page_token.as_str());
        let listed = self.engine.list_limits(&namespace, after, page_size).await;
        let found = listed.map_err(|error| to_status(&error))?;
        let next_page_token = match found.last() {
            Some(last) if found.len() == page_size => last.used.limit.key.name.clone(),
            _ => String::new(),
        };
        let limits = found.iter().map(limit_to_proto).collect();
        Ok(Response::new(v1::ListConcurrencyLimitsResponse { limits, next_page_token }))
    }

    async fn delete_concurrency_limit(
        &self,
        request: Request<v1::DeleteConcurrencyLimitRequest>,
    ) -> Result<Response<v1::DeleteConcurrencyLimitResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        violations.limit_name("name", &request.name);
        let key = limit_key(&request.namespace, &request.name, violations)?;
        let was_there = self.engine.delete_limit(key).await.map_err(|error| to_status(&error))?;
        if !was_there && !request.allow_missing {
            return Err(to_status(&EngineError::LimitNotFound { name: request.name }));
        }
        Ok(Response::new(v1::DeleteConcurrencyLimitResponse {}))
    }
}

/// The limit that is named, unless this or something before it is wrong.
fn limit_key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<LimitKey, Status> {
    if violations.is_empty() {
        violations.text("name", name, 1, MAX_SHOWN_NAME_SIZE);
    }
    if !violations.is_empty() {
        return Err(invalid(violations.into_vec()));
    }
    Ok(LimitKey { namespace: namespace(namespace_text)?, name: name.to_owned() })
}

fn limit_to_proto(facts: &LimitFacts) -> v1::ConcurrencyLimit {
    let LimitFacts { used: LimitUse { limit, n_used }, n_waiting } = facts;
    v1::ConcurrencyLimit {
        name: limit.key.name.clone(),
        max_slots: limit.max_slots,
        used_slots: *n_used,
        waiting_runs: *n_waiting,
        created_at: Some(timestamp_to_proto(limit.created_at)),
        updated_at: Some(timestamp_to_proto(limit.updated_at)),
    }
}

fn slot_to_proto(slot: &Slot) -> v1::ConcurrencySlot {
    v1::ConcurrencySlot {
        run_id: slot.owner.to_string(),
        acquired_at: Some(timestamp_to_proto(slot.acquired_at)),
    }
}
