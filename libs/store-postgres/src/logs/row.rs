use sqlx::{Row, postgres::PgRow};
use tidegate_model::{RunId, Timestamp};
use tidegate_store::{
    StoreError,
    adapter::{number, unreadable},
    log::{LogLevel, LogLine, LogPosition, StoredLine},
};

use crate::error::store_error;

/// The column of `logs/tail_*.sql` that says how far the lines are settled.
pub(super) const SETTLED: usize = 12;
/// The column that says whether there are lines that are not.
pub(super) const MORE_SOON: usize = 13;

pub(super) fn column<'r, T>(row: &'r PgRow, idx: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(idx).map_err(store_error)
}

/// A row of the queries and tails.
pub(super) fn stored_line(row: &PgRow) -> Result<StoredLine, StoreError> {
    let level: i16 = column(row, 5)?;
    let line = LogLine {
        run: RunId::from_uuid(column(row, 0)?),
        root: RunId::from_uuid(column(row, 1)?),
        attempt: column::<i32>(row, 2)?.cast_unsigned(),
        seq: column::<i64>(row, 3)?.cast_unsigned(),
        logged_at: Timestamp::from_micros(column(row, 4)?),
        level: LogLevel::from_number(level.into()).ok_or_else(|| unreadable("level", level))?,
        logger: column(row, 6)?,
        message: column(row, 7)?,
        trace_id: column(row, 8)?,
        span_id: column(row, 9)?,
    };
    let position = LogPosition {
        group: number("txid", column(row, 10)?)?,
        ordinal: number("ordinal", column::<i32>(row, 11)?.into())?,
    };
    Ok(StoredLine { line, position })
}

/// Whether a row of a tail has a line, or only says how far they are settled.
pub(super) fn has_line(row: &PgRow) -> Result<bool, StoreError> {
    Ok(column::<Option<uuid::Uuid>>(row, 0)?.is_some())
}

/// The position before all lines of transaction `txid` and after all older ones.
pub(super) fn before(txid: i64) -> Result<LogPosition, StoreError> {
    Ok(LogPosition { group: number("txid", txid)?, ordinal: 0 })
}
