//! The writing side where connections have TLS, which the ones that copy have not: as arrays through the pool.
//! Measured, that is as fast up to some thousand lines a batch, and slower beyond.

use std::borrow::Cow;

use sqlx::{PgPool, query};
use tidegate_model::Timestamp;
use tidegate_store::{
    StoreError,
    adapter::{text, unreadable},
    log::{LogBatch, LogLine, Writers, day_of},
};
use uuid::Uuid;

use super::{queries, row::column};
use crate::error::{commit_error, store_error};

/// Stores what is new of `batches`, and says how many lines that was.
pub(super) async fn append(pool: &PgPool, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
    let day = day_of(now);
    let mut writers = Writers::of(batches);
    let mut tx = pool.begin().await.map_err(store_error)?;
    let (namespaces, names): (Vec<_>, Vec<_>) =
        writers.iter().map(|(namespace, writer, _)| (namespace, writer)).unzip();
    let rows = query(queries::LOCK_WRITERS.sql())
        .bind(namespaces)
        .bind(names)
        .bind(day)
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    for row in &rows {
        let (namespace, writer, stored): (&str, &str, &str) =
            (column(row, 0)?, column(row, 1)?, column(row, 2)?);
        writers.set(namespace, writer, stored.parse().map_err(|_| unreadable("stored", stored))?);
    }

    let new = writers.take_new(batches);
    if new.is_empty() {
        return Ok(0); // the transaction is rolled back: nothing has changed
    }
    let lines = Columns::of(&new);
    query(queries::INSERT.sql())
        .bind(day)
        .bind(lines.namespaces)
        .bind(lines.runs)
        .bind(lines.roots)
        .bind(lines.attempts)
        .bind(lines.seqs)
        .bind(lines.times)
        .bind(lines.levels)
        .bind(lines.loggers)
        .bind(lines.messages)
        .bind(lines.trace_ids)
        .bind(lines.span_ids)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    let (mut namespaces, mut names, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for (namespace, writer, set) in writers.iter() {
        namespaces.push(namespace);
        names.push(writer);
        stored.push(set.to_string());
    }
    query(queries::PUT_WRITERS.sql())
        .bind(namespaces)
        .bind(names)
        .bind(stored)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    tx.commit().await.map_err(commit_error)?;
    Ok(new.len())
}

/// The lines, a vector for each column.
#[derive(Default)]
struct Columns<'a> {
    namespaces: Vec<&'a str>,
    runs: Vec<Uuid>,
    roots: Vec<Uuid>,
    attempts: Vec<i32>,
    seqs: Vec<i64>,
    times: Vec<i64>,
    levels: Vec<i16>,
    loggers: Vec<Cow<'a, str>>,
    messages: Vec<Cow<'a, str>>,
    trace_ids: Vec<Option<Cow<'a, str>>>,
    span_ids: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Columns<'a> {
    fn of(lines: &[(&'a str, &'a LogLine)]) -> Self {
        let mut columns = Self::default();
        for (namespace, line) in lines {
            columns.namespaces.push(namespace);
            columns.runs.push(line.run.as_uuid());
            columns.roots.push(line.root.as_uuid());
            columns.attempts.push(line.attempt.cast_signed());
            columns.seqs.push(line.seq.cast_signed());
            columns.times.push(line.logged_at.as_micros());
            columns.levels.push(i16::from(line.level.number()));
            columns.loggers.push(text(&line.logger));
            columns.messages.push(text(&line.message));
            columns.trace_ids.push(line.trace_id.as_deref().map(text));
            columns.span_ids.push(line.span_id.as_deref().map(text));
        }
        columns
    }
}
