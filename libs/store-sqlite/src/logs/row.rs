use serde_json::Value as Json;
use sqlx::sqlite::SqliteRow;
use tidegate_model::{RunId, Timestamp};
use tidegate_store::{
    StoreError,
    adapter::{number, text, unreadable},
    log::{LogLevel, LogLine, LogPosition, StoredLine},
};

use crate::row::{column, run_id};

/// The rows of `logs/append.sql`.
pub(super) fn new_lines(lines: &[(&str, &LogLine)]) -> String {
    let hex = |id: RunId| id.as_uuid().simple().to_string();
    let row = |(namespace, line): &(&str, &LogLine)| {
        Json::Array(vec![
            (*namespace).into(),
            hex(line.run).into(),
            hex(line.root).into(),
            line.attempt.into(),
            line.seq.cast_signed().into(),
            line.logged_at.as_micros().into(),
            line.level.number().into(),
            text(&line.logger).into(),
            text(&line.message).into(),
            line.trace_id.as_deref().map(text).into(),
            line.span_id.as_deref().map(text).into(),
        ])
    };
    Json::from_iter(lines.iter().map(row)).to_string()
}

/// A row of the queries and tails.
pub(super) fn stored_line(row: &SqliteRow) -> Result<StoredLine, StoreError> {
    let level: i64 = column(row, 6)?;
    let line = LogLine {
        run: run_id(row, 1)?,
        root: run_id(row, 2)?,
        attempt: number("attempt", column(row, 3)?)?,
        seq: column::<i64>(row, 4)?.cast_unsigned(),
        logged_at: Timestamp::from_micros(column(row, 5)?),
        level: i32::try_from(level)
            .ok()
            .and_then(LogLevel::from_number)
            .ok_or_else(|| unreadable("level", level))?,
        logger: column(row, 7)?,
        message: column(row, 8)?,
        trace_id: column(row, 9)?,
        span_id: column(row, 10)?,
    };
    Ok(StoredLine { line, position: position(column(row, 0)?)? })
}

/// The position of a row: each is a group of its own.
pub(super) fn position(number_of_row: i64) -> Result<LogPosition, StoreError> {
    Ok(LogPosition { group: number("position", number_of_row)?, ordinal: 0 })
}
