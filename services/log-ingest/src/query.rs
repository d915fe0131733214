use tidegate_proto::v1::{QueryLogsRequest, QueryLogsResponse};
use tidegate_store::log::{LogQuery, LogStore};
use tidegate_wire::Violations;
use tonic::Status;

use crate::{
    convert::{entry_to_proto, parse_level, parse_scope, size_of_line},
    token,
};

const DEFAULT_PAGE_SIZE: usize = 200;
const MAX_CONTAINS: usize = 256;
/// Lines read from the store at a time: a page of long lines ends early, and should not be read for nothing.
const STEP: usize = 250;
/// Bytes of an answer beyond which no further line is added; clients commonly take 4 MiB.
pub(crate) const MAX_ANSWER: usize = 2 << 20;

/// A page of lines, by time.
pub(crate) async fn run(
    store: &dyn LogStore,
    request: QueryLogsRequest,
) -> Result<QueryLogsResponse, Status> {
    let (mut query, page_size) = parse(&request)?;
    let mut entries = Vec::new();
    let mut n_bytes = 0;
    loop {
        let step = STEP.min(page_size - entries.len());
        query.limit = step + 1; // one more, which tells whether there are further lines
        let mut lines = store.query_logs(&query).await.map_err(|error| tidegate_wire::to_status(&error))?;
        let mut has_more = lines.len() > step;
        lines.truncate(step);
        let mut lines = lines.into_iter();
        while n_bytes < MAX_ANSWER
            && let Some(stored) = lines.next()
        {
            query.after = Some(stored.page_key());
            n_bytes += size_of_line(&stored.line);
            entries.push(entry_to_proto(stored));
        }
        has_more |= lines.next().is_some();
        if !has_more {
            return Ok(QueryLogsResponse { entries, next_page_token: String::new() });
        }
        if n_bytes >= MAX_ANSWER || entries.len() == page_size {
            let next_page_token = query.after.map(token::write_page).unwrap_or_default();
            return Ok(QueryLogsResponse { entries, next_page_token });
        }
    }
}

fn parse(request: &QueryLogsRequest) -> Result<(LogQuery, usize), Status> {
    let namespace = tidegate_wire::namespace(&request.namespace)?;
    let page_size = tidegate_wire::page_size(request.page_size, DEFAULT_PAGE_SIZE)?;
    let mut violations = Violations::default();
    let scope = parse_scope(&request.run_id, &request.root_run_id, &mut violations);
    let min_level = parse_level("min_level", request.min_level, &mut violations);
    if request.contains.len() > MAX_CONTAINS {
        let n_bytes = request.contains.len();
        violations.add("contains", format!("has {n_bytes} bytes; at most {MAX_CONTAINS} are allowed"));
    }
    let after = token::read_page(&request.page_token);
    if after.is_none() && !request.page_token.is_empty() {
        violations.add("page_token", "was not given out by QueryLogs");
    }
    match (scope, min_level) {
        (Some(scope), Some(min_level)) if violations.is_empty() => {
            let contains = (!request.contains.is_empty()).then(|| request.contains.clone());
            Ok((LogQuery { namespace, scope, min_level, contains, after, limit: page_size }, page_size))
        }
        _ => Err(tidegate_wire::invalid(violations.into_vec())),
    }
}
