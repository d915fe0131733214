use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use sqlx::query;
use tidegate_model::{
    BulkOperationId, Clock as _, Epoch, Namespace, RunId, SessionId, SystemClock, Timestamp,
};
use tidegate_orchestration::Run;
use tidegate_store::{
    Below, BulkOperation, BulkPlace, Count, CountQuery, EventRow, FeedCursor, FeedEvent, InputQuery, KeyUse,
    ListQuery, Maintained, RunDetail, RunInput, RunStore, RunTx, Selection, Session, StoreError, adapter,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{SqliteStore, error::store_error, filter, open::known_schema, queries, row, tx::SqliteTx};

#[async_trait]
impl RunStore for SqliteStore {
    async fn begin(&self) -> Result<Box<dyn RunTx>, StoreError> {
        // At once, not with the first write: a transaction that reads first and then finds another writer
        // would fail instead of wait.
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        Ok(Box::new(SqliteTx::new(tx, Arc::clone(&self.commits))))
    }

    async fn begin_claims(&self, _namespaces: &BTreeSet<Namespace>) -> Result<Box<dyn RunTx>, StoreError> {
        self.begin().await
    }

    async fn begin_queue_change(&self, _namespace: &Namespace) -> Result<Box<dyn RunTx>, StoreError> {
        self.begin().await
    }

    async fn get_runs(&self, namespace: Option<&Namespace>, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = query(queries::GET_RUNS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .bind(namespace.map(Namespace::as_str))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::run).collect()
    }

    async fn get_details(
        &self,
        namespace: Option<&Namespace>,
        ids: &[RunId],
    ) -> Result<Vec<RunDetail>, StoreError> {
        let rows = query(queries::GET_DETAILS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .bind(namespace.map(Namespace::as_str))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::detail).collect()
    }

    async fn list_runs(&self, query: &ListQuery) -> Result<Vec<Run>, StoreError> {
        let mut runs = Vec::new();
        for part in adapter::page_parts(query) {
            if runs.len() == query.limit {
                break;
            }
            let mut sql = filter::list_runs(query, &part, query.limit - runs.len())?;
            let rows = sql.build().fetch_all(&self.readers).await.map_err(store_error)?;
            for row in &rows {
                runs.push(row::run(row)?);
            }
        }
        Ok(runs)
    }

    async fn count_runs(&self, query: &CountQuery) -> Result<Count, StoreError> {
        let mut sql = filter::count_runs(query)?;
        let counted = sql.build().fetch_one(&self.readers).await.map_err(store_error)?;
        let n_counted: u64 = adapter::number("count", row::column(&counted, 0)?)?;
        if n_counted <= query.exact_up_to {
            return Ok(Count::Exact(n_counted));
        }
        Ok(Count::AtLeast(n_counted))
    }

    async fn keys_of_run(
        &self,
        namespace: &Namespace,
        run: RunId,
        limit: usize,
    ) -> Result<Vec<KeyUse>, StoreError> {
        let rows = query(queries::KEYS_OF_RUN.sql())
            .bind(namespace.as_str())
            .bind(run.as_uuid())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(KeyUse {
                    scope: row::column(row, 0)?,
                    key: row::column(row, 1)?,
                    n_answers: adapter::number("n_answers", row::column(row, 2)?)?,
                    answered_at: row::column::<Option<i64>>(row, 3)?.map(Timestamp::from_micros),
                })
            })
            .collect()
    }

    async fn find_key(
        &self,
        namespace: &Namespace,
        scope: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<RunId>, StoreError> {
        let row = query(queries::GET_KEY.sql())
            .bind(namespace.as_str())
            .bind(scope)
            .bind(key)
            .bind(now.as_micros())
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?;
        row.map(|row| row::run_id(&row, 0)).transpose()
    }

    async fn list_events(
        &self,
        namespace: &Namespace,
        run: RunId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let rows = query(queries::LIST_EVENTS.sql())
            .bind(run.as_uuid())
            .bind(namespace.as_str())
            .bind(adapter::signed(after_seq))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::event).collect()
    }

    async fn read_feed(
        &self,
        cursor: &FeedCursor,
        root: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        let after = parse_cursor(cursor)?;
        let statement = if root.is_some() { &queries::READ_FEED_OF_ROOT } else { &queries::READ_FEED };
        let mut query = query(statement.sql()).bind(after).bind(adapter::limit(limit));
        if let Some(root) = root {
            query = query.bind(root.as_uuid());
        }
        let rows = query.fetch_all(&self.readers).await.map_err(store_error)?;
        rows.iter().map(row::feed_event).collect()
    }

    async fn read_feed_of_runs(
        &self,
        cursor: &FeedCursor,
        runs: &[RunId],
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        let rows = query(queries::READ_FEED_OF_RUNS.sql())
            .bind(parse_cursor(cursor)?)
            .bind(adapter::limit(limit))
            .bind(row::ids(runs.iter().map(RunId::as_uuid)))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::feed_event).collect()
    }

    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        let row = query(queries::FEED_END.sql()).fetch_one(&self.readers).await.map_err(store_error)?;
        Ok(FeedCursor(row::column::<i64>(&row, 0)?.to_string()))
    }

    async fn feed_start(&self, run: RunId) -> Result<FeedCursor, StoreError> {
        let row = query(queries::FEED_START.sql())
            .bind(run.as_uuid())
            .fetch_one(&self.readers)
            .await
            .map_err(store_error)?;
        Ok(FeedCursor(row::column::<i64>(&row, 0)?.to_string()))
    }

    async fn open_below(&self, above: &[RunId], limit: usize) -> Result<Vec<Below>, StoreError> {
        let rows = query(queries::OPEN_BELOW.sql())
            .bind(row::ids(above.iter().map(RunId::as_uuid)))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok(Below { id: row::run_id(row, 0)?, above: row::run_id(row, 1)? })).collect()
    }

    async fn select_runs(
        &self,
        selection: &Selection,
        before: Option<BulkPlace>,
        limit: usize,
    ) -> Result<Vec<BulkPlace>, StoreError> {
        self.selected(selection, before, limit).await
    }

    async fn count_selected(&self, selection: &Selection) -> Result<u64, StoreError> {
        self.n_selected(selection).await
    }

    async fn get_bulk_operation(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        self.bulk_operation(namespace, id).await
    }

    async fn list_bulk_operations(
        &self,
        namespace: &Namespace,
        before: Option<BulkOperationId>,
        limit: usize,
    ) -> Result<Vec<BulkOperation>, StoreError> {
        self.bulk_operations(namespace, before, limit).await
    }

    async fn get_inputs(&self, inputs: &InputQuery) -> Result<Vec<RunInput>, StoreError> {
        let rows = query(queries::GET_INPUTS.sql())
            .bind(inputs.run_id.as_uuid())
            .bind(inputs.namespace.as_str())
            .bind(inputs.key.as_deref())
            .bind(inputs.after.as_deref())
            .bind(adapter::limit(inputs.limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::input).collect()
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    async fn held_runs(
        &self,
        after: Option<RunId>,
        entered_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let rows = query(queries::HELD_RUNS.sql())
            .bind(after.map_or(Uuid::nil(), |id| id.as_uuid()))
            .bind(entered_before.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::run).collect()
    }

    async fn mark_enqueued(
        &self,
        runs: &[(RunId, Epoch)],
        enqueued_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        query(queries::MARK_ENQUEUED.sql())
            .bind(row::epochs(runs))
            .bind(enqueued_at.map(Timestamp::as_micros))
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn put_session(&self, session: &Session) -> Result<bool, StoreError> {
        let done = query(queries::PUT_SESSION.sql())
            .bind(session.id.as_uuid())
            .bind(session.namespace.as_str())
            .bind(adapter::text(&session.identity).into_owned())
            .bind(session.expires_at.as_micros())
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn end_session(&self, namespace: &Namespace, id: SessionId) -> Result<(), StoreError> {
        query(queries::END_SESSION.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn cancelling_runs(&self, session: SessionId, limit: usize) -> Result<Vec<Run>, StoreError> {
        let rows = query(queries::CANCELLING_OF_SESSION.sql())
            .bind(session.as_uuid())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::run).collect()
    }

    async fn purge(
        &self,
        ended_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut n_purged = 0;
        for (statement, before) in [
            (&queries::PURGE_SESSIONS, ended_before),
            (&queries::PURGE_BULK_OPERATIONS, ended_before),
            (&queries::PURGE_ARTIFACTS, ended_before),
            (&queries::PURGE_ARTIFACT_KEYS, ended_before),
            (&queries::PURGE_KEYS, now),
            (&queries::PURGE_CACHE_KEYS, now),
        ] {
            let done = query(statement.sql())
                .bind(before.as_micros())
                .bind(adapter::limit(limit))
                .execute(&self.writer)
                .await
                .map_err(store_error)?;
            n_purged += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
        }
        Ok(n_purged)
    }

    async fn maintain(
        &self,
        _now: Timestamp,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<Maintained, StoreError> {
        let mut runs_deleted = 0;
        // Those of trees from above, as none goes before the one above it.
        while runs_deleted < limit {
            let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
            let expired = query(queries::EXPIRED_RUNS.sql())
                .bind(ended_before.as_micros())
                .bind(adapter::limit(limit - runs_deleted))
                .fetch_all(&mut *tx)
                .await
                .map_err(store_error)?;
            let ids = expired.iter().map(|row| row::run_id(row, 0)).collect::<Result<Vec<_>, _>>()?;
            let mut tx = SqliteTx::new(tx, Arc::clone(&self.commits));
            let n_of_level = tx.delete_runs(&ids).await?;
            Box::new(tx).commit().await?;
            if n_of_level == 0 {
                break;
            }
            runs_deleted += n_of_level;
        }
        Ok(Maintained { runs_deleted, ..Maintained::default() })
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }

    /// That of the machine: there is only one.
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(SystemClock.now())
    }

    async fn server_id(&self) -> Result<String, StoreError> {
        sqlx::query_scalar("SELECT id FROM server").fetch_one(&self.readers).await.map_err(store_error)
    }

    fn schema_version(&self) -> u32 {
        known_schema()
    }

    async fn stored_schema_version(&self) -> Result<u32, StoreError> {
        let newest: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.readers)
                .await
                .map_err(store_error)?;
        Ok(u32::try_from(newest).unwrap_or(u32::MAX))
    }
}

/// The position of a place in the feed.
fn parse_cursor(cursor: &FeedCursor) -> Result<i64, StoreError> {
    let after = cursor.0.parse::<u64>().ok().and_then(|after| i64::try_from(after).ok());
    after.ok_or_else(|| StoreError::InvalidCursor(cursor.0.clone()))
}
