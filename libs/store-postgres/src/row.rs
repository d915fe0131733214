//! Values to and from rows.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write, time::Duration};

use sqlx::{Row, postgres::PgRow};
use tidegate_model::{Epoch, ObjectId, ObjectRef, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{CrashPolicy, Failure, Policies, RetryPolicy, Run, State, StateName};
use tidegate_store::{
    EventRow, FeedCursor, FeedEvent, ObjectRow, RunDetail, RunInput, StoreError,
    adapter::{cache_policy, number, parent_policies, parse, phase, placement, span, text, unreadable},
};
use uuid::Uuid;

use crate::error::store_error;

/// Ids as an array.
pub(crate) fn ids(ids: &[RunId]) -> Vec<Uuid> {
    ids.iter().map(RunId::as_uuid).collect()
}

/// The text of an array of texts.
pub(crate) fn text_array(items: &[String]) -> Cow<'static, str> {
    if items.is_empty() {
        return Cow::Borrowed("{}");
    }
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
    Cow::Owned(array)
}

/// The text of an object of labels.
pub(crate) fn labels_json(labels: &BTreeMap<String, String>) -> Cow<'static, str> {
    if labels.is_empty() {
        return Cow::Borrowed("{}");
    }
    let fields = labels.iter().map(|(key, value)| (text(key).into_owned(), text(value).into_owned()));
    Cow::Owned(serde_json::Value::from_iter(fields).to_string())
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
    // Unchecked: the statement names its columns, and the conformance suite reads each; to compare the types of fifty
    // columns of every row takes as long as to read them.
    row.try_get_unchecked(idx).map_err(store_error)
}

fn time(row: &PgRow, idx: usize) -> Result<Timestamp, StoreError> {
    column(row, idx).map(Timestamp::from_micros)
}

fn optional_time(row: &PgRow, idx: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(column::<Option<i64>>(row, idx)?.map(Timestamp::from_micros))
}

fn optional_span(row: &PgRow, idx: usize, name: &'static str) -> Result<Option<Duration>, StoreError> {
    column::<Option<i64>>(row, idx)?.map(|micros| span(name, micros)).transpose()
}

fn count<T: TryFrom<i64>>(row: &PgRow, idx: usize, name: &'static str) -> Result<T, StoreError> {
    number(name, column(row, idx)?)
}

pub(crate) fn run_id(row: &PgRow, idx: usize) -> Result<RunId, StoreError> {
    column(row, idx).map(RunId::from_uuid)
}

/// How many columns `runs/columns.sql` has.
const N_RUN_COLUMNS: usize = 59;

/// Reads a row that begins with `runs/columns.sql`.
pub(crate) fn run(row: &PgRow) -> Result<Run, StoreError> {
    let delays: Vec<i64> = column(row, 31)?;
    let policies = Policies {
        retry: RetryPolicy {
            max_retries: count(row, 16, "max_retries")?,
            delays: delays.into_iter().map(|delay| span("retry_delays", delay)).collect::<Result<_, _>>()?,
            backoff_factor: column(row, 17)?,
            max_delay: span("max_retry_delay", column(row, 18)?)?,
            jitter_factor: column(row, 19)?,
            retry_on: column(row, 32)?,
            never_retry_on: column(row, 33)?,
        },
        crash: CrashPolicy { max_crashes: count(row, 20, "max_crashes")? },
        run_timeout: optional_span(row, 40, "run_timeout")?,
        start_timeout: span("start_timeout", column(row, 21)?)?,
        cancel_grace: span("cancel_grace", column(row, 22)?)?,
        late_after: optional_span(row, 41, "late_after")?,
        parent: parent_policies([column(row, 13)?, column(row, 14)?, column(row, 15)?]),
    };
    let session = column::<Option<Uuid>>(row, 38)?.map(SessionId::from_uuid);
    Ok(Run {
        id: run_id(row, 0)?,
        namespace: parse("namespace", column(row, 23)?)?,
        kind: parse("kind", column(row, 24)?)?,
        name: parse("name", column(row, 25)?)?,
        run_name: column(row, 26)?,
        placement: placement(column(row, 37)?, session)?,
        parent: column::<Option<Uuid>>(row, 39)?.map(RunId::from_uuid),
        root: run_id(row, 1)?,
        depth: count(row, 2, "depth")?,
        policies,
        priority: column(row, 3)?,
        tags: column(row, 30)?,
        labels: labels(column(row, 36)?, "labels")?,
        deployment: column(row, 47)?,
        deployment_version: column::<Option<i64>>(row, 55)?
            .map(|version| number("deployment_version", version))
            .transpose()?,
        work_pool: column::<Option<&str>>(row, 56)?.map(|pool| parse("work_pool", pool)).transpose()?,
        schedule: column::<Option<&str>>(row, 57)?.map(|name| parse("schedule", name)).transpose()?,
        fire_at: optional_time(row, 58)?,
        cache: cache_policy(column(row, 48)?, column(row, 49)?)?,
        concurrency_limits: column(row, 34)?,
        queue_slot: column(row, 51)?,
        traceparent: column(row, 46)?,
        created_at: time(row, 4)?,
        due_at: time(row, 5)?,
        expires_at: optional_time(row, 44)?,
        started_at: optional_time(row, 42)?,
        state: State {
            phase: phase(column(row, 27)?, column(row, 45)?, column(row, 43)?)?,
            name: parse::<StateName>("state_name", column(row, 28)?)?,
            message: column(row, 29)?,
            at: time(row, 6)?,
        },
        epoch: Epoch(count(row, 7, "epoch")?),
        attempt: count(row, 8, "attempt")?,
        crashes: count(row, 9, "crashes")?,
        retries: count(row, 10, "retries")?,
        event_seq: count(row, 11, "event_seq")?,
        cascade_pending: column(row, 12)?,
        pause_key: column(row, 50)?,
        fairness_key: column::<Option<&str>>(row, 52)?.map(|key| parse("fairness_key", key)).transpose()?,
        required_labels: labels(column::<Option<&str>>(row, 53)?.unwrap_or("{}"), "required_labels")?,
        preferred_worker: column::<Option<&str>>(row, 54)?
            .map(|worker| parse("preferred_worker", worker))
            .transpose()?,
        resumed_keys: column(row, 35)?,
    })
}

/// Labels from the text of their object.
pub(crate) fn labels(text: &str, name: &'static str) -> Result<BTreeMap<String, String>, StoreError> {
    match text {
        "{}" => Ok(BTreeMap::new()),
        _ => serde_json::from_str(text).map_err(|_| unreadable(name, text)),
    }
}

/// Reads a row of `runs/get_details.sql`.
pub(crate) fn detail(row: &PgRow) -> Result<RunDetail, StoreError> {
    let is_there = |idx| column::<Option<&[u8]>>(row, idx).map(|data| data.is_some());
    let payload = |idx| if is_there(idx)? { payload(row, idx).map(Some) } else { Ok(None) };
    let (parameters, result) = (payload(N_RUN_COLUMNS)?, payload(N_RUN_COLUMNS + 4)?);
    let failure = match column::<Option<String>>(row, N_RUN_COLUMNS + 8)? {
        None => None,
        Some(error_type) => Some(Failure {
            error_type,
            message: column(row, N_RUN_COLUMNS + 9)?,
            traceback: column(row, N_RUN_COLUMNS + 10)?,
            non_retryable: column(row, N_RUN_COLUMNS + 11)?,
        }),
    };
    Ok(RunDetail { run: run(row)?, parameters, result, failure })
}

/// Reads a payload from four columns: its data, and the id, size and checksum of its object.
pub(crate) fn payload(row: &PgRow, idx: usize) -> Result<Payload, StoreError> {
    let data = column::<Vec<u8>>(row, idx)?.into();
    let object = match column::<Option<Uuid>>(row, idx + 1)? {
        None => None,
        Some(id) => Some(ObjectRef {
            id: ObjectId::from_uuid(id),
            size: count(row, idx + 2, "object_size")?,
            sha256: checksum(column(row, idx + 3)?)?,
        }),
    };
    Ok(Payload { data, object })
}

fn checksum(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| unreadable("sha256", format!("{bytes:?}")))
}

/// Reads a row of `payload_objects`.
pub(crate) fn object(row: &PgRow) -> Result<ObjectRow, StoreError> {
    let object = ObjectRef {
        id: ObjectId::from_uuid(column(row, 0)?),
        size: count(row, 1, "size")?,
        sha256: checksum(column(row, 2)?)?,
    };
    let (namespace, state) = (parse("namespace", column(row, 3)?)?, parse("state", column(row, 5)?)?);
    Ok(ObjectRow { object, namespace, key: column(row, 4)?, state })
}

/// Reads a row of `run_inputs/get.sql`.
pub(crate) fn input(row: &PgRow) -> Result<RunInput, StoreError> {
    Ok(RunInput {
        run_id: run_id(row, 0)?,
        key: column(row, 1)?,
        kind: parse("kind", column(row, 2)?)?,
        data: payload(row, 3)?,
    })
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
        actor: column(row, 14)?,
    })
}

/// The same with its place in the feed.
pub(crate) fn feed_event(row: &PgRow) -> Result<FeedEvent, StoreError> {
    Ok(FeedEvent { event: event(row)?, cursor: cursor(column(row, 15)?, column(row, 16)?) })
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
