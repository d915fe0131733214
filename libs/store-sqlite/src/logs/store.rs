use async_trait::async_trait;
use sqlx::query;
use tidegate_model::{Namespace, Timestamp};
use tidegate_store::{
    StoreError,
    adapter::{limit as sql_limit, signed, text, unreadable},
    log::{
        LogBatch, LogLevel, LogPosition, LogQuery, LogScope, LogStore, PageKey, StoredLine, TailPage,
        Writers, day_of,
    },
};
use tokio::sync::watch;

use super::{queries, row};
use crate::{SqliteStore, error::store_error, row::column};

/// Lines that retention deletes in one transaction: some 10 ms of the one writer.
const DROP_STEP: usize = 5_000;

#[async_trait]
impl LogStore for SqliteStore {
    async fn append_logs(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        let mut writers = Writers::of(batches);
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        let names: Vec<_> =
            writers.iter().map(|(namespace, writer, _)| (namespace.to_owned(), writer.to_owned())).collect();
        for (namespace, writer) in names {
            let found = query(queries::GET_WRITER.sql())
                .bind(&namespace)
                .bind(&writer)
                .fetch_optional(&mut *tx)
                .await
                .map_err(store_error)?;
            if let Some(found) = found {
                let stored: String = column(&found, 0)?;
                writers.set(&namespace, &writer, stored.parse().map_err(|_| unreadable("stored", &stored))?);
            }
        }
        let new = writers.take_new(batches);
        if new.is_empty() {
            return Ok(0);
        }
        let day = day_of(now);
        query(queries::APPEND.sql())
            .bind(row::new_lines(&new))
            .bind(day)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        for (namespace, writer, stored) in writers.iter() {
            query(queries::PUT_WRITER.sql())
                .bind(namespace.to_owned())
                .bind(writer.to_owned())
                .bind(stored.to_string())
                .bind(day)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        self.log_commits.send_modify(|commit| *commit = commit.wrapping_add(1));
        Ok(new.len())
    }

    async fn query_logs(&self, search: &LogQuery) -> Result<Vec<StoredLine>, StoreError> {
        let (statement, id) = match search.scope {
            LogScope::Run(id) => (&queries::QUERY_RUN, id),
            LogScope::Tree(id) => (&queries::QUERY_TREE, id),
        };
        let first = PageKey { logged_at: Timestamp::from_micros(i64::MIN), position: LogPosition::START };
        let after = search.after.unwrap_or(first);
        let rows = query(statement.sql())
            .bind(id.as_uuid())
            .bind(search.namespace.as_str())
            .bind(search.min_level.number())
            .bind(search.contains.as_deref().map(|contains| text(contains).into_owned()))
            .bind(after.logged_at.as_micros())
            .bind(signed(after.position.group))
            .bind(sql_limit(search.limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::stored_line).collect()
    }

    async fn read_log_tail(
        &self,
        namespace: &Namespace,
        scope: LogScope,
        min_level: LogLevel,
        after: LogPosition,
        limit: usize,
    ) -> Result<TailPage, StoreError> {
        let (statement, id) = match scope {
            LogScope::Run(id) => (&queries::TAIL_RUN, id),
            LogScope::Tree(id) => (&queries::TAIL_TREE, id),
        };
        // Read first: lines that come in between are left for the next page.
        let end = self.log_tail_end().await?;
        let rows = query(statement.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .bind(min_level.number())
            .bind(signed(after.group))
            .bind(signed(end.group))
            .bind(sql_limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let lines: Vec<_> = rows.iter().map(row::stored_line).collect::<Result<_, _>>()?;
        let is_full = lines.len() == limit;
        let next = match lines.last() {
            Some(last) if is_full => last.position,
            _ => end.max(after),
        };
        Ok(TailPage { lines, next, is_full, more_soon: false })
    }

    async fn log_tail_end(&self) -> Result<LogPosition, StoreError> {
        let found = query(queries::END.sql()).fetch_one(&self.readers).await.map_err(store_error)?;
        row::position(column(&found, 0)?)
    }

    fn log_commits(&self) -> watch::Receiver<u64> {
        self.log_commits.subscribe()
    }

    async fn prepare_log_days(&self, _now: Timestamp, _days_ahead: u32) -> Result<(), StoreError> {
        Ok(()) // one table holds all days
    }

    async fn drop_logs_before(&self, before: Timestamp) -> Result<bool, StoreError> {
        let mut dropped_any = false;
        loop {
            let done = query(queries::DROP_DAYS.sql())
                .bind(day_of(before))
                .bind(sql_limit(DROP_STEP))
                .execute(&self.writer)
                .await
                .map_err(store_error)?;
            dropped_any |= done.rows_affected() > 0;
            if done.rows_affected() < DROP_STEP as u64 {
                break;
            }
        }
        query(queries::FORGET_WRITERS.sql())
            .bind(day_of(before))
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(dropped_any)
    }
}
