//! Lists and counts.

use tidegate_engine::Engine;
use tidegate_model::{Timestamp, limits};
use tidegate_proto::v1;
use tidegate_store::{Count, CountQuery, Filter, ListQuery, Position};
use tidegate_wire::{invalid_field, namespace, page_size, run_to_proto, to_status};
use tonic::Status;

use crate::page_token::{ListOf, PageToken};

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
    let query = ListQuery {
        namespace: namespace.clone(),
        filter: parse_filter(&request.filter, now)?,
        order: tidegate_filter::parse_order(&request.order_by)
            .map_err(|error| invalid_field("order_by", error.to_string()))?,
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
    let (count, precision) = match counted {
        Count::Exact(count) => (count, v1::CountPrecision::Exact),
        Count::About(count) => (count, v1::CountPrecision::Estimated),
        Count::AtLeast(count) => (count, v1::CountPrecision::AtLeast),
    };
    Ok(v1::CountRunsResponse { count, precision: precision.into(), exact_up_to: query.exact_up_to })
}

/// The filter of a request, whose spans count from `now`.
pub(crate) fn parse_filter(text: &str, now: Timestamp) -> Result<Filter, Status> {
    tidegate_filter::parse(text, now).map_err(|error| invalid_field("filter", error.to_string()))
}
