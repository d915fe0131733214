//! Lists, counts and finds.

use tidegate_engine::{Engine, KeyScope};
use tidegate_model::{RunKind, Timestamp, limits};
use tidegate_proto::v1::{self, find_run_request::Scope};
use tidegate_store::{Count, CountQuery, Filter, ListQuery, Position};
use tidegate_wire::{
    Violations, check_deployment, invalid, invalid_field, namespace, page_size, run_to_proto, to_status,
};
use tonic::Status;

use crate::{
    convert::detail_to_proto,
    page_token::{ListOf, PageToken, invalid_token},
};

/// `ListRuns`.
pub(crate) async fn list(
    engine: &Engine,
    request: v1::ListRunsRequest,
) -> Result<v1::ListRunsResponse, Status> {
    let namespace = namespace(&request.namespace)?;
    let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
    let list_of =
        ListOf { namespace: namespace.as_str(), filter: &request.filter, order_by: &request.order_by };
    let token = match request.page_token.as_str() {
        "" => None,
        token => Some(PageToken::decode(token, &list_of)?),
    };
    let now = token.as_ref().map_or_else(|| engine.clock().now(), |token| token.now);
    let order = tidegate_filter::parse_order(&request.order_by)
        .map_err(|error| invalid_field("order_by", error.to_string()))?;
    if token.as_ref().is_some_and(|token| !token.position.is_of(order.by)) {
        return Err(invalid_token(&request.page_token));
    }
    let query = ListQuery {
        namespace: namespace.clone(),
        filter: parse_filter(&request.filter, now)?,
        order,
        after: token.map(|token| token.position),
        limit,
    };
    let runs = engine.store().list_runs(&query).await.map_err(|error| to_status(&error))?;
    let next_page_token = match runs.last() {
        Some(last) if runs.len() == limit => {
            PageToken { now, position: Position::of(last, query.order.by) }.encode(&list_of)
        }
        _ => String::new(),
    };
    Ok(v1::ListRunsResponse { runs: runs.iter().map(run_to_proto).collect(), next_page_token })
}

/// `CountRuns`.
pub(crate) async fn count(
    engine: &Engine,
    request: v1::CountRunsRequest,
) -> Result<v1::CountRunsResponse, Status> {
    let query = CountQuery {
        namespace: namespace(&request.namespace)?,
        filter: parse_filter(&request.filter, engine.clock().now())?,
        exact_up_to: limits::MAX_EXACT_COUNT,
    };
    let counted = engine.store().count_runs(&query).await.map_err(|error| to_status(&error))?;
    let (count, precision) = count_to_proto(Some(counted));
    Ok(v1::CountRunsResponse { count, precision: precision.into(), exact_up_to: query.exact_up_to })
}

/// A number with what it is worth; `None`: counting took too long.
pub(crate) fn count_to_proto(counted: Option<Count>) -> (u64, v1::CountPrecision) {
    match counted {
        Some(Count::Exact(count)) => (count, v1::CountPrecision::Exact),
        Some(Count::About(count)) => (count, v1::CountPrecision::Estimated),
        Some(Count::AtLeast(count)) => (count, v1::CountPrecision::AtLeast),
        None => (0, v1::CountPrecision::Unspecified),
    }
}

/// `FindRun`.
pub(crate) async fn find(
    engine: &Engine,
    request: v1::FindRunRequest,
) -> Result<v1::FindRunResponse, Status> {
    let namespace = namespace(&request.namespace)?;
    let key = &request.idempotency_key;
    let mut violations = Violations::default();
    violations.text("idempotency_key", key, 1, limits::MAX_IDEMPOTENCY_KEY_SIZE);
    let scope = match &request.scope {
        Some(Scope::ParentRunId(id)) => violations.parse("parent_run_id", id).map(KeyScope::Parent),
        Some(Scope::Deployment(deployment)) => {
            check_deployment(deployment, &mut violations);
            Some(KeyScope::Deployment(deployment.clone()))
        }
        Some(Scope::Flow(name)) => {
            violations.parse("flow", name).map(|name| KeyScope::Function(RunKind::Flow, name))
        }
        Some(Scope::Task(name)) => {
            violations.parse("task", name).map(|name| KeyScope::Function(RunKind::Task, name))
        }
        None => {
            violations.add("scope", "is not set: say of which parent, deployment, flow or task the run is");
            None
        }
    };
    let Some(scope) = scope.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    let detail = engine.find(&namespace, &scope, key).await.map_err(|error| to_status(&error))?;
    Ok(v1::FindRunResponse { run: Some(detail_to_proto(&detail)) })
}

/// The filter of a request, whose spans count from `now`.
pub(crate) fn parse_filter(text: &str, now: Timestamp) -> Result<Filter, Status> {
    tidegate_filter::parse(text, now).map_err(|error| invalid_field("filter", error.to_string()))
}
