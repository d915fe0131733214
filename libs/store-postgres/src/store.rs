use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use sqlx::{Postgres, Transaction, postgres::PgArguments, query, query::Query, types::Json};
use tidegate_model::{BulkOperationId, Epoch, Namespace, RunId, SessionId, Timestamp};
use tidegate_orchestration::Run;
use tidegate_store::{
    Below, BulkOperation, BulkPlace, Count, CountQuery, EventRow, FeedCursor, FeedEvent, InputQuery, KeyUse,
    ListQuery, Maintained, RunDetail, RunInput, RunStore, RunTx, Selection, Session, StoreError, adapter,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    PgStore,
    error::store_error,
    filter,
    open::known_schema,
    partitions,
    queries::{self, of_runs},
    retention, row,
    tx::PgTx,
};

/// Begins a transaction for statements of which plans are kept.
pub(crate) const BEGIN: &str = "BEGIN";

/// Begins a transaction whose statements are planned for their values: a plan for all values does not know a rare state
/// from a common one.
const BEGIN_FOR_VALUES: &str = "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan";

/// The same for a walk below one run, or a look for what a bulk operation is about, which may take longer than a user's
/// statement. It locks nothing. A walk below many has no more time than every other statement: who asked tries them by
/// themselves then.
const BEGIN_WALK: &str =
    "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL statement_timeout = '2min'";

/// Claims share a lock of their namespace that a change of a queue has alone: else a claim that had read the queue before
/// could start a run after it. The lock comes first, before those of runs, so that nobody who waits for it keeps a run
/// from others. Any number that no other locks of two numbers begin with.
const QUEUE_LOCKS: i32 = 1_952_671_593;

impl PgStore {
    /// Begins a transaction by this statement. It does so in a task of its own: a begin that is dropped half-way, as its
    /// caller leaves, gives the pool a connection whose transaction nobody ends, and what is written over that next goes
    /// with it (sqlx issue 4385).
    pub(crate) async fn begin_by(
        &self,
        statement: &'static str,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let pool = self.pool.clone();
        #[expect(clippy::disallowed_methods, reason = "its caller waits for it and tells of its failure")]
        let beginning = tokio::spawn(async move { pool.begin_with(statement).await });
        let begun = beginning.await.map_err(|error| StoreError::Internal(error.to_string()))?;
        begun.map_err(store_error)
    }

    /// As [`BEGIN_FOR_VALUES`] says.
    pub(crate) async fn begin_for_values(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.begin_by(BEGIN_FOR_VALUES).await
    }

    /// As [`BEGIN_WALK`] says.
    pub(crate) async fn begin_walk(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.begin_by(BEGIN_WALK).await
    }

    /// A transaction whose first statement takes a lock. It is begun before that, so that a lock that comes too late, or
    /// for nobody, goes with it.
    async fn begin_locked(
        &self,
        lock: Query<'_, Postgres, PgArguments>,
    ) -> Result<Box<dyn RunTx>, StoreError> {
        let mut tx = self.begin_by(BEGIN).await?;
        lock.execute(&mut *tx).await.map_err(store_error)?;
        Ok(Box::new(PgTx::new(tx, Arc::clone(&self.signals))))
    }
}

#[async_trait]
impl RunStore for PgStore {
    async fn begin(&self) -> Result<Box<dyn RunTx>, StoreError> {
        let tx = self.begin_by(BEGIN).await?;
        Ok(Box::new(PgTx::new(tx, Arc::clone(&self.signals))))
    }

    async fn begin_claims(&self, namespaces: &BTreeSet<Namespace>) -> Result<Box<dyn RunTx>, StoreError> {
        let namespaces = namespaces.iter().map(Namespace::as_str).collect::<Vec<_>>();
        self.begin_locked(query(queries::SHARE_QUEUES.sql()).bind(QUEUE_LOCKS).bind(namespaces)).await
    }

    async fn begin_queue_change(&self, namespace: &Namespace) -> Result<Box<dyn RunTx>, StoreError> {
        let lock = "SELECT pg_advisory_xact_lock($1, hashtext($2))";
        self.begin_locked(query(lock).bind(QUEUE_LOCKS).bind(namespace.as_str())).await
    }

    async fn get_runs(&self, namespace: Option<&Namespace>, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = of_runs(&queries::GET_RUNS, row::ids(ids))
            .bind(namespace.map(Namespace::as_str))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::run).collect()
    }

    async fn get_details(
        &self,
        namespace: Option<&Namespace>,
        ids: &[RunId],
    ) -> Result<Vec<RunDetail>, StoreError> {
        let rows = of_runs(&queries::GET_DETAILS, row::ids(ids))
            .bind(namespace.map(Namespace::as_str))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::detail).collect()
    }

    async fn list_runs(&self, query: &ListQuery) -> Result<Vec<Run>, StoreError> {
        let mut runs = Vec::new();
        let mut tx = self.begin_for_values().await?;
        for part in adapter::page_parts(query) {
            if runs.len() == query.limit {
                break;
            }
            let mut sql = filter::list_runs(query, &part, query.limit - runs.len())?;
            let rows = sql.build().persistent(false).fetch_all(&mut *tx).await.map_err(store_error)?;
            for row in &rows {
                runs.push(row::run(row)?);
            }
        }
        Ok(runs)
    }

    async fn count_runs(&self, query: &CountQuery) -> Result<Count, StoreError> {
        let mut sql = filter::count_runs(query)?;
        let mut tx = self.begin_for_values().await?;
        let counted = sql.build().persistent(false).fetch_one(&mut *tx).await.map_err(store_error)?;
        let n_counted: u64 = adapter::number("count", row::column(&counted, 0)?)?;
        if n_counted <= query.exact_up_to {
            return Ok(Count::Exact(n_counted));
        }
        let mut sql = filter::estimate_runs(query)?;
        let plan = sql.build().persistent(false).fetch_one(&mut *tx).await.map_err(store_error)?;
        let Json(plan): Json<serde_json::Value> = row::column(&plan, 0)?;
        let n_planned = plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        // A number of rows, and never fewer than were counted.
        Ok(Count::About((n_planned as u64).max(n_counted)))
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
            .fetch_all(&self.pool)
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
            .fetch_optional(&self.pool)
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
            .fetch_all(&self.pool)
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
        let (position, id) = row::parse_cursor(cursor)?;
        let statement = if root.is_some() { &queries::READ_FEED_OF_ROOT } else { &queries::READ_FEED };
        let mut query = query(statement.sql()).bind(position).bind(id).bind(adapter::limit(limit));
        if let Some(root) = root {
            query = query.bind(root.as_uuid());
        }
        let rows = query.fetch_all(&self.pool).await.map_err(store_error)?;
        rows.iter().map(row::feed_event).collect()
    }

    async fn read_feed_of_runs(
        &self,
        cursor: &FeedCursor,
        runs: &[RunId],
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        let (position, id) = row::parse_cursor(cursor)?;
        let rows = query(queries::READ_FEED_OF_RUNS.sql())
            .bind(position)
            .bind(id)
            .bind(adapter::limit(limit))
            .bind(row::ids(runs))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::feed_event).collect()
    }

    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        let row = query(queries::FEED_END.sql()).fetch_one(&self.pool).await.map_err(store_error)?;
        Ok(row::cursor(row::column(&row, 0)?, row::column(&row, 1)?))
    }

    async fn feed_start(&self, run: RunId) -> Result<FeedCursor, StoreError> {
        let row = query(queries::FEED_START.sql())
            .bind(run.as_uuid())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        let Some(row) = row else { return Ok(row::cursor(0, 0)) };
        Ok(row::cursor(row::column(&row, 0)?, row::column(&row, 1)?))
    }

    async fn open_below(&self, above: &[RunId], limit: usize) -> Result<Vec<Below>, StoreError> {
        let walk = of_runs(&queries::OPEN_BELOW, row::ids(above)).bind(adapter::limit(limit));
        let rows = match above {
            [_] => {
                let mut tx = self.begin_walk().await?;
                walk.fetch_all(&mut *tx).await
            }
            _ => walk.fetch_all(&self.pool).await,
        };
        let rows = rows.map_err(store_error)?;
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
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::input).collect()
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.signals.commits.subscribe()
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
            .fetch_all(&self.pool)
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
            .bind(runs.iter().map(|(run, _)| run.as_uuid()).collect::<Vec<_>>())
            .bind(runs.iter().map(|(_, epoch)| adapter::signed(epoch.0)).collect::<Vec<_>>())
            .bind(enqueued_at.map(Timestamp::as_micros))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn put_session(&self, session: &Session) -> Result<bool, StoreError> {
        let done = query(queries::PUT_SESSION.sql())
            .bind(session.id.as_uuid())
            .bind(session.namespace.as_str())
            .bind(adapter::text(&session.identity))
            .bind(session.expires_at.as_micros())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn end_session(&self, namespace: &Namespace, id: SessionId) -> Result<(), StoreError> {
        query(queries::END_SESSION.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn cancelling_runs(&self, session: SessionId, limit: usize) -> Result<Vec<Run>, StoreError> {
        let rows = query(queries::CANCELLING_OF_SESSION.sql())
            .bind(session.as_uuid())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
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
                .execute(&self.pool)
                .await
                .map_err(store_error)?;
            n_purged += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
        }
        Ok(n_purged)
    }

    async fn maintain(
        &self,
        now: Timestamp,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<Maintained, StoreError> {
        // Each for itself: that a partition cannot be locked keeps no run from its deletion.
        let partitions_made = partitions::prepare(&self.pool, now, self.partition_width).await;
        let partitions_dropped = retention::drop_partitions(self, ended_before, limit).await;
        let runs_deleted = retention::delete_runs(self, ended_before, limit).await;
        Ok(Maintained {
            partitions_made: partitions_made?,
            partitions_dropped: partitions_dropped?,
            runs_deleted: runs_deleted?,
        })
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        let micros: i64 =
            sqlx::query_scalar("SELECT (EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000000)::BIGINT")
                .fetch_one(&self.pool)
                .await
                .map_err(store_error)?;
        Ok(Timestamp::from_micros(micros))
    }

    async fn server_id(&self) -> Result<String, StoreError> {
        sqlx::query_scalar("SELECT id FROM server").fetch_one(&self.pool).await.map_err(store_error)
    }

    fn schema_version(&self) -> u32 {
        known_schema()
    }

    async fn stored_schema_version(&self) -> Result<u32, StoreError> {
        let newest: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(store_error)?;
        Ok(u32::try_from(newest).unwrap_or(u32::MAX))
    }
}
