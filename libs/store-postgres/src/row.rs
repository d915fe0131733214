//! Values to and from rows.

use std::{borrow::Cow, fmt::Write};

use sqlx::{Row, postgres::PgRow};
use tidegate_model::{Epoch, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{
    CrashPolicy, Failure, ParentPolicy, Policies, RetryPolicy, Run, State, StateName,
};
use tidegate_store::{
    EventRow, FeedCursor, FeedEvent, RunDetail, StoreError,
    adapter::{number, parse, phase, placement, span, text},
};
use uuid::Uuid;

use crate::error::store_error;

/// Ids as an array.
pub(crate) fn ids(ids: &[RunId]) -> Vec<Uuid> {
    ids.iter().map(RunId::as_uuid).collect()
}

/// The text of an array of texts.
pub(crate) fn text_array(items: &[String]) -> String {
    let mut array = String::from("{");
    for (idx, item) in items.iter().enumerate() {
        array.push_str(if idx == 0 { "\"" } else { ",\"" });
        for char in text(item).chars() {
            if matches!(char, '"' | '\\') {
                array.push('\\');
            }
            array.push(char);
        }
        array.push('"');
    }
    array.push('}');
    array
}

/// The text of an array of numbers.
pub(crate) fn number_array(items: impl Iterator<Item = i64>) -> String {
    let mut array = String::from("{");
    for (idx, item) in items.enumerate() {
        let comma = if idx == 0 { "" } else { "," };
        write!(array, "{comma}{item}").expect("a String takes all");
    }
    array.push('}');
    array
}

/// Free text of an optional column.
pub(crate) fn optional_text(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.map(text)
}

/// A column of a row.
pub(crate) fn column<'r, T>(row: &'r PgRow, idx: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(idx).map_err(store_error)
}

fn time(row: &PgRow, idx: usize) -> Result<Timestamp, StoreError> {
    column(row, idx).map(Timestamp::from_micros)
}

fn count<T: TryFrom<i64>>(row: &PgRow, idx: usize, name: &'static str) -> Result<T, StoreError> {
    number(name, column(row, idx)?)
}

pub(crate) fn run_id(row: &PgRow, idx: usize) -> Result<RunId, StoreError> {
    column(row, idx).map(RunId::from_uuid)
}

/// Reads a row that begins with `runs/columns.sql`.
pub(crate) fn run(row: &PgRow) -> Result<Run, StoreError> {
    let delays: Vec<i64> = column(row, 29)?;
    let policies = Policies {
        retry: RetryPolicy {
            max_retries: count(row, 14, "max_retries")?,
            delays: delays.into_iter().map(|delay| span("retry_delays", delay)).collect::<Result<_, _>>()?,
            backoff_factor: column(row, 15)?,
            max_delay: span("max_retry_delay", column(row, 16)?)?,
            jitter_factor: column(row, 17)?,
        },
        crash: CrashPolicy { max_crashes: count(row, 18, "max_crashes")? },
        run_timeout: match column::<Option<i64>>(row, 33)? {
            None => None,
            Some(timeout) => Some(span("run_timeout", timeout)?),
        },
        start_timeout: span("start_timeout", column(row, 19)?)?,
        cancel_grace: span("cancel_grace", column(row, 20)?)?,
        parent: if column(row, 13)? { ParentPolicy::Detach } else { ParentPolicy::Cancel },
    };
    Ok(Run {
        id: run_id(row, 0)?,
        namespace: parse("namespace", column(row, 21)?)?,
        kind: parse("kind", column(row, 22)?)?,
        name: parse("name", column(row, 23)?)?,
        run_name: column(row, 24)?,
        placement: placement(column(row, 30)?, column::<Option<Uuid>>(row, 31)?.map(SessionId::from_uuid))?,
        parent: column::<Option<Uuid>>(row, 32)?.map(RunId::from_uuid),
        root: run_id(row, 1)?,
        depth: count(row, 2, "depth")?,
        policies,
        priority: column(row, 3)?,
        tags: column(row, 28)?,
        traceparent: column(row, 37)?,
        created_at: time(row, 4)?,
        due_at: time(row, 5)?,
        started_at: column::<Option<i64>>(row, 34)?.map(Timestamp::from_micros),
        state: State {
            phase: phase(column(row, 25)?, column(row, 36)?, column(row, 35)?)?,
            name: parse::<StateName>("state_name", column(row, 26)?)?,
            message: column(row, 27)?,
            at: time(row, 6)?,
        },
        epoch: Epoch(count(row, 7, "epoch")?),
        attempt: count(row, 8, "attempt")?,
        crashes: count(row, 9, "crashes")?,
        retries: count(row, 10, "retries")?,
        event_seq: count(row, 11, "event_seq")?,
        cascade_pending: column(row, 12)?,
    })
}

/// Reads a row of `runs/get_details.sql`.
pub(crate) fn detail(row: &PgRow) -> Result<RunDetail, StoreError> {
    let payload = |idx| -> Result<Option<Payload>, StoreError> {
        Ok(column::<Option<Vec<u8>>>(row, idx)?.map(|data| Payload(data.into())))
    };
    let failure = match column::<Option<String>>(row, 40)? {
        None => None,
        Some(error_type) => Some(Failure {
            error_type,
            message: column(row, 41)?,
            traceback: column(row, 42)?,
            non_retryable: column(row, 43)?,
        }),
    };
    Ok(RunDetail { run: run(row)?, parameters: payload(38)?, result: payload(39)?, failure })
}

/// Reads a row that begins with `run_events/columns.sql`.
pub(crate) fn event(row: &PgRow) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        run_id: run_id(row, 0)?,
        root: run_id(row, 1)?,
        namespace: parse("namespace", column(row, 7)?)?,
        kind: parse("kind", column(row, 8)?)?,
        name: parse("name", column(row, 9)?)?,
        seq: count(row, 2, "seq")?,
        state_type: parse("state", column(row, 10)?)?,
        state_name: parse("state_name", column(row, 11)?)?,
        message: column(row, 12)?,
        at: time(row, 3)?,
        holder: match column::<Option<&str>>(row, 13)? {
            None => None,
            Some(holder) => Some(parse("holder", holder)?),
        },
        attempt: count(row, 4, "attempt")?,
        epoch: Epoch(count(row, 5, "epoch")?),
        ended: column(row, 6)?,
    })
}

/// The same with its place in the feed.
pub(crate) fn feed_event(row: &PgRow) -> Result<FeedEvent, StoreError> {
    Ok(FeedEvent { event: event(row)?, cursor: cursor(column(row, 14)?, column(row, 15)?) })
}

/// A place in the feed: `<position>-<id>`.
pub(crate) fn cursor(position: i64, id: i64) -> FeedCursor {
    FeedCursor(format!("{position}-{id}"))
}

/// The position and id of a place in the feed.
pub(crate) fn parse_cursor(cursor: &FeedCursor) -> Result<(i64, i64), StoreError> {
    let parsed = cursor.0.split_once('-').and_then(|(position, id)| {
        let (position, id) = (position.parse::<u64>().ok()?, id.parse::<u64>().ok()?);
        Some((i64::try_from(position).ok()?, i64::try_from(id).ok()?))
    });
    parsed.ok_or_else(|| StoreError::InvalidCursor(cursor.0.clone()))
}
