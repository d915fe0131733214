use std::{num::NonZeroU32, time::Duration};

use tidegate_engine::{Engine, EngineError, LeaseRequest, Leased, LimitFacts};
use tidegate_model::{RunId, Timestamp, limits};
use tidegate_orchestration::{Collision, Rate};
use tidegate_proto::v1::{self, concurrency_service_server::ConcurrencyService};
use tidegate_store::{LimitKey, LimitSettings, Slot};
use tidegate_wire::{
    Violations, check_bound_name, duration_from_proto, duration_to_proto, invalid, namespace, on_collision,
    page_size, timestamp_to_proto, to_status,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    listed::{Asked, Found},
    things::{self, LIMITS},
};

/// Bytes of the name of a limit that is shown: also of that of a schedule, which has the longest.
const MAX_SHOWN_NAME_SIZE: usize =
    limits::SCHEDULE_LIMIT_PREFIX.len() + limits::MAX_DEPLOYMENT_NAME_SIZE + 1 + limits::MAX_WORD_SIZE;

/// `ConcurrencyService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    /// Ends the waits of calls.
    stop: CancellationToken,
}

impl Service {
    pub fn new(engine: Engine, stop: CancellationToken) -> Self {
        Self { engine, stop }
    }

    async fn get(&self, key: LimitKey, n_slots: usize) -> Result<(LimitFacts, Vec<Slot>), Status> {
        self.engine.get_limit(key, n_slots).await.map_err(|error| to_status(&error))
    }

    fn limit_to_proto(&self, facts: &LimitFacts) -> v1::ConcurrencyLimit {
        limit_to_proto(facts, self.engine.clock().now())
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
        violations.limit_name("name", &request.name);
        check_request_id(&request.request_id, &mut violations);
        check_template(&request.name, &mut violations);
        let settings = parse_settings(&request, &mut violations);
        let key = limit_key(&request.namespace, &request.name, violations)?;
        self.engine.put_limit(key.clone(), settings).await.map_err(|error| to_status(&error))?;
        let (limit, _) = self.get(key, 0).await?;
        Ok(Response::new(v1::PutConcurrencyLimitResponse { limit: Some(self.limit_to_proto(&limit)) }))
    }

    async fn get_concurrency_limit(
        &self,
        request: Request<v1::GetConcurrencyLimitRequest>,
    ) -> Result<Response<v1::GetConcurrencyLimitResponse>, Status> {
        let request = request.into_inner();
        let key = limit_key(&request.namespace, &request.name, Violations::default())?;
        let (limit, slots) = self.get(key, limits::MAX_LISTED_SLOTS).await?;
        Ok(Response::new(v1::GetConcurrencyLimitResponse {
            limit: Some(self.limit_to_proto(&limit)),
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
        let of = (namespace.as_str(), "");
        let asked = Asked::new(&LIMITS, of, &request.filter, &request.page_token, self.engine.clock().now())?;
        let mut violations = Violations::default();
        violations.text("page_token", &asked.after, 0, MAX_SHOWN_NAME_SIZE);
        if !violations.is_empty() {
            return Err(invalid(violations.into_vec()));
        }
        // The name of the last limit: a list that is ordered by name needs no more.
        let after = (!asked.after.is_empty()).then(|| asked.after.clone());
        let mut page = asked.page(page_size, after, limits::MAX_PAGE_SIZE);
        while let Some((after, limit)) = page.wanted() {
            let read = self.engine.list_limits(&namespace, after.map(String::as_str), limit).await;
            let read = read.map_err(|error| to_status(&error))?;
            let found = |facts: LimitFacts| {
                let thing = self.limit_to_proto(&facts);
                Ok(Found { key: facts.used.limit.key.name, thing, size: 0 })
            };
            page.take(read.into_iter().map(found), things::limit)?;
        }
        let (limits, next_page_token) = page.end(|name| asked.token(name));
        Ok(Response::new(v1::ListConcurrencyLimitsResponse { limits, next_page_token }))
    }

    async fn delete_concurrency_limit(
        &self,
        request: Request<v1::DeleteConcurrencyLimitRequest>,
    ) -> Result<Response<v1::DeleteConcurrencyLimitResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        violations.limit_name("name", &request.name);
        check_request_id(&request.request_id, &mut violations);
        let key = limit_key(&request.namespace, &request.name, violations)?;
        let was_there = self.engine.delete_limit(key).await.map_err(|error| to_status(&error))?;
        if !was_there && !request.allow_missing && request.request_id.is_empty() {
            return Err(to_status(&EngineError::LimitNotFound { name: request.name }));
        }
        Ok(Response::new(v1::DeleteConcurrencyLimitResponse {}))
    }

    async fn acquire_slots(
        &self,
        request: Request<v1::AcquireSlotsRequest>,
    ) -> Result<Response<v1::AcquireSlotsResponse>, Status> {
        let (request, wait) = parse_acquire(&request.into_inner())?;
        let leased = self.stop.run_until_cancelled(self.engine.take_lease(&request, wait)).await;
        let leased = leased.unwrap_or(Err(EngineError::Draining)).map_err(|error| to_status(&error))?;
        Ok(Response::new(match leased {
            Leased::Held { expires_at } => v1::AcquireSlotsResponse {
                acquired: true,
                lease_expires_at: Some(timestamp_to_proto(expires_at)),
                ..Default::default()
            },
            Leased::Waiting { limit, next_token_at } => v1::AcquireSlotsResponse {
                awaited_limit: limit.name,
                next_token_at: next_token_at.map(timestamp_to_proto),
                ..Default::default()
            },
        }))
    }

    async fn renew_slots(
        &self,
        request: Request<v1::RenewSlotsRequest>,
    ) -> Result<Response<v1::RenewSlotsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let owner = violations.parse("owner_id", &request.owner_id);
        let duration = lease_duration(request.lease_duration.as_ref(), &mut violations);
        let (Some(owner), Some(duration)) = (owner, duration) else {
            return Err(invalid(violations.into_vec()));
        };
        let renewed = self.engine.renew_lease(&namespace(&request.namespace)?, owner, duration).await;
        let expires_at = renewed.map_err(|error| to_status(&error))?;
        let lease_expires_at = Some(timestamp_to_proto(expires_at));
        Ok(Response::new(v1::RenewSlotsResponse { lease_expires_at }))
    }

    async fn release_slots(
        &self,
        request: Request<v1::ReleaseSlotsRequest>,
    ) -> Result<Response<v1::ReleaseSlotsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let owner = violations.parse("owner_id", &request.owner_id);
        let owner = owner.ok_or_else(|| invalid(violations.into_vec()))?;
        let released = self.engine.release_lease(&namespace(&request.namespace)?, owner).await;
        released.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::ReleaseSlotsResponse {}))
    }
}

/// What is asked for, and how long to wait for it.
fn parse_acquire(request: &v1::AcquireSlotsRequest) -> Result<(LeaseRequest, Duration), Status> {
    let namespace = namespace(&request.namespace)?;
    let mut violations = Violations::default();
    if request.limits.is_empty() {
        violations.add("limits", "are not set: name the concurrency limits of which a slot is needed");
    }
    violations.count("limits", request.limits.len(), limits::MAX_CONCURRENCY_LIMITS);
    for (limit_idx, name) in request.limits.iter().enumerate() {
        let field = format!("limits[{limit_idx}]");
        violations.limit_name(&field, name);
        check_bound_name(&field, name, &mut violations);
    }
    let owner = violations.parse("owner_id", &request.owner_id);
    let duration = lease_duration(request.lease_duration.as_ref(), &mut violations);
    let wait = request.wait_timeout.as_ref().map_or(Some(Duration::ZERO), duration_from_proto);
    let wait = wait.filter(|wait| *wait <= limits::MAX_LEASE_WAIT);
    if wait.is_none() {
        violations.add("wait_timeout", "is out of the range 0 to 60 s: call again to wait for longer");
    }
    let n_slots = request.slot_count.max(1);
    if n_slots > limits::MAX_CONCURRENCY_SLOTS {
        let most = limits::MAX_CONCURRENCY_SLOTS;
        violations.add("slot_count", format!("{n_slots} is more than {most}, the most slots of a limit"));
    }
    let for_run: Option<RunId> =
        if request.run_id.is_empty() { None } else { violations.parse("run_id", &request.run_id) };
    match (owner, duration, wait) {
        (Some(owner), Some(duration), Some(wait)) if violations.is_empty() => {
            let key = |name: &String| LimitKey { namespace: namespace.clone(), name: name.clone() };
            let limits = request.limits.iter().map(key).collect();
            let must_exist = request.limits_must_exist;
            Ok((LeaseRequest { limits, n_slots, must_exist, owner, duration, for_run }, wait))
        }
        _ => Err(invalid(violations.into_vec())),
    }
}

fn lease_duration(duration: Option<&prost_types::Duration>, violations: &mut Violations) -> Option<Duration> {
    let duration = duration.and_then(duration_from_proto);
    let duration = duration.filter(|duration| limits::LEASE_DURATIONS.contains(duration));
    if duration.is_none() {
        violations.add("lease_duration", "is not set, or out of the range 1 s to 1 h");
    }
    duration
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

/// A star is for templates, which have one at the end, after the only `=`.
fn check_template(name: &str, violations: &mut Violations) {
    let is_template =
        matches!(name.split_once('='), Some((key, "*")) if !key.is_empty() && !key.contains('*'));
    if name.contains('*') && !is_template {
        let shown: String = name.chars().take(80).collect();
        let mend = "a template has one `*`, at its end after its only `=`, such as `customer=*`";
        violations.add("name", format!("`{shown}` has a `*` and is no template: {mend}"));
    }
}

fn check_request_id(request_id: &str, violations: &mut Violations) {
    if !request_id.is_empty() {
        violations.parse::<RunId>("request_id", request_id);
    }
}

fn parse_settings(request: &v1::PutConcurrencyLimitRequest, violations: &mut Violations) -> LimitSettings {
    match request.max_slots {
        None if request.rate.is_none() => violations
            .add("max_slots", "is not set: say how many slots the limit has, 0 for none, or set `rate`"),
        Some(n) if n > limits::MAX_CONCURRENCY_SLOTS => {
            let most = limits::MAX_CONCURRENCY_SLOTS;
            violations.add("max_slots", format!("{n} is more than {most}, the most slots of a limit"));
        }
        _ => {}
    }
    let rate = request.rate.as_ref().and_then(|rate| parse_rate(rate, violations));
    let on_collision = on_collision(request.on_collision, violations);
    LimitSettings { max_slots: request.max_slots, rate, on_collision }
}

fn parse_rate(rate: &v1::RateLimit, violations: &mut Violations) -> Option<Rate> {
    let most = limits::MAX_RATE_STARTS;
    let mut count = |field: &str, n: u32| {
        if n > most {
            violations.add(field, format!("{n} is more than {most}"));
        }
        NonZeroU32::new(n).filter(|_| n <= most)
    };
    let max_starts = count("rate.max_starts", rate.max_starts);
    let burst = if rate.burst == 0 { max_starts } else { count("rate.burst", rate.burst) };
    if rate.max_starts == 0 {
        violations.add("rate.max_starts", "is not set: say how many may start in each `period`");
    }
    let period = rate.period.as_ref().and_then(duration_from_proto);
    let period = period.filter(|period| limits::RATE_PERIODS.contains(period));
    if period.is_none() {
        violations.add("rate.period", "is not set, or out of the range 1 ms to 1 day");
    }
    // Whole microseconds are kept.
    let period =
        period.map(|period| Duration::from_micros(u64::try_from(period.as_micros()).unwrap_or(u64::MAX)));
    let rate = Rate { max_starts: max_starts?, period: period?, burst: burst? };
    if rate.burst_span() > limits::MAX_BURST_SPAN {
        violations.add("rate.burst", format!("{} starts come in more than 365 days: lower it", rate.burst));
        return None;
    }
    Some(rate)
}

fn limit_to_proto(LimitFacts { used, n_waiting }: &LimitFacts, now: Timestamp) -> v1::ConcurrencyLimit {
    let (limit, settings) = (&used.limit, &used.limit.settings);
    let is_template = used.key.is_template();
    let rate = settings.rate.filter(|_| !is_template);
    let next_token_at = rate.map(|rate| rate.free_at(used.arrival)).filter(|free_at| *free_at > now);
    v1::ConcurrencyLimit {
        name: used.key.name.clone(),
        max_slots: settings.max_slots,
        used_slots: used.n_used,
        waiting_runs: *n_waiting,
        created_at: Some(timestamp_to_proto(limit.created_at)),
        updated_at: Some(timestamp_to_proto(limit.updated_at)),
        rate: settings.rate.map(rate_to_proto),
        free_tokens: rate.map(|rate| u32::try_from(rate.n_free(used.arrival, now)).unwrap_or(u32::MAX)),
        next_token_at: next_token_at.map(timestamp_to_proto),
        on_collision: collision_to_proto(settings.on_collision).into(),
        template: if limit.key == used.key { String::new() } else { limit.key.name.clone() },
    }
}

/// To the wire.
pub(crate) fn rate_to_proto(rate: Rate) -> v1::RateLimit {
    v1::RateLimit {
        max_starts: rate.max_starts.get(),
        period: Some(duration_to_proto(rate.period)),
        burst: rate.burst.get(),
    }
}

const fn collision_to_proto(collision: Collision) -> v1::CollisionPolicy {
    match collision {
        Collision::Wait => v1::CollisionPolicy::Wait,
        Collision::Skip => v1::CollisionPolicy::Skip,
        Collision::CancelOldest => v1::CollisionPolicy::CancelOldest,
        Collision::CancelNewest => v1::CollisionPolicy::CancelNewest,
    }
}

fn slot_to_proto(slot: &Slot) -> v1::ConcurrencySlot {
    let run = if slot.expires_at.is_some() { slot.for_run } else { Some(slot.owner) };
    v1::ConcurrencySlot {
        run_id: run.map(|run| run.to_string()).unwrap_or_default(),
        acquired_at: Some(timestamp_to_proto(slot.acquired_at)),
        limit: slot.limit.name.clone(),
        owner_id: slot.expires_at.map(|_| slot.owner.to_string()).unwrap_or_default(),
        lease_expires_at: slot.expires_at.map(timestamp_to_proto),
        slot_count: slot.n_slots,
    }
}
