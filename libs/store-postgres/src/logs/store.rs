use async_trait::async_trait;
use sqlx::query;
use tidegate_model::{Namespace, Timestamp};
use tidegate_store::{
    StoreError,
    adapter::{limit as sql_limit, signed, text},
    log::{LogBatch, LogLevel, LogPosition, LogQuery, LogScope, LogStore, PageKey, StoredLine, TailPage},
};
use tokio::sync::watch;

use super::{days, queries, row};
use crate::{PgStore, error::store_error};

#[async_trait]
impl LogStore for PgStore {
    async fn append_logs(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        self.logs.append(batches, now).await
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
            .bind(i16::from(search.min_level.number()))
            .bind(search.contains.as_deref().map(|contains| text(contains).into_owned()))
            .bind(after.logged_at.as_micros())
            .bind(signed(after.position.group))
            .bind(after.position.ordinal.cast_signed())
            .bind(sql_limit(search.limit))
            .fetch_all(&self.pool)
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
        let rows = query(statement.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .bind(i16::from(min_level.number()))
            .bind(signed(after.group))
            .bind(after.ordinal.cast_signed())
            .bind(sql_limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let mut lines = Vec::with_capacity(rows.len());
        let (mut settled, mut more_soon) = (after, false);
        for found in &rows {
            settled = row::before(row::column(found, row::SETTLED)?)?;
            more_soon = row::column(found, row::MORE_SOON)?;
            if row::has_line(found)? {
                lines.push(row::stored_line(found)?);
            }
        }
        let is_full = lines.len() == limit;
        let next = match lines.last() {
            Some(last) if is_full => last.position,
            _ => settled.max(after),
        };
        Ok(TailPage { lines, next, is_full, more_soon })
    }

    async fn log_tail_end(&self) -> Result<LogPosition, StoreError> {
        let found = query(queries::END.sql()).fetch_one(&self.pool).await.map_err(store_error)?;
        row::before(row::column(&found, 0)?)
    }

    fn log_commits(&self) -> watch::Receiver<u64> {
        self.logs.commits()
    }

    async fn prepare_log_days(&self, now: Timestamp, days_ahead: u32) -> Result<(), StoreError> {
        days::prepare(&self.pool, now, days_ahead).await
    }

    async fn drop_logs_before(&self, before: Timestamp) -> Result<bool, StoreError> {
        days::drop_before(&self.pool, before).await
    }
}
