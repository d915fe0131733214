//! Bulk operations, and the runs that they are about.

use std::time::Duration;

use sqlx::{Postgres, QueryBuilder, Row, Transaction, postgres::PgRow, query};
use tidegate_model::{BulkOperationId, Namespace, RunId, Timestamp};
use tidegate_store::{
    Among, BulkOperation, BulkPlace, Filter, Selection, StoreError,
    adapter::{self, micros, number, parse, signed, span, text, unreadable},
};
use uuid::Uuid;

use crate::{PgStore, error::store_error, filter, queries, row};

impl PgStore {
    pub(crate) async fn selected(
        &self,
        selection: &Selection,
        before: Option<BulkPlace>,
        limit: usize,
    ) -> Result<Vec<BulkPlace>, StoreError> {
        let (depth, id) =
            before.map_or((i64::MAX, Uuid::max()), |place| (place.depth.into(), place.run.as_uuid()));
        let mut tx = self.begin_walk().await?;
        let rows = match &selection.among {
            Among::Filter(among) => {
                let mut sql = QueryBuilder::<Postgres>::new("SELECT 0::bigint, runs.id");
                push_selection(&mut sql, selection, among)?;
                sql.push(" AND runs.id < ").push_bind(id);
                sql.push(" ORDER BY runs.id DESC LIMIT ").push_bind(adapter::limit(limit));
                sql.build().persistent(false).fetch_all(&mut *tx).await
            }
            Among::Tree { run_id, with_detached } => {
                query(queries::TREE.sql())
                    .bind(run_id.as_uuid())
                    .bind(selection.namespace.as_str())
                    .bind(*with_detached)
                    .bind(selection.states.iter().map(|state| state.as_str()).collect::<Vec<_>>())
                    .bind(selection.created_by.as_micros())
                    .bind(depth)
                    .bind(id)
                    .bind(adapter::limit(limit))
                    .fetch_all(&mut *tx)
                    .await
            }
        };
        rows.map_err(store_error)?.iter().map(place).collect()
    }

    pub(crate) async fn n_selected(&self, selection: &Selection) -> Result<u64, StoreError> {
        let turn = self.counts.take(&selection.namespace).await;
        let (this, selection) = (self.clone(), selection.clone());
        // It keeps its turn when the caller has left: the server goes on with the statement.
        #[expect(clippy::disallowed_methods, reason = "its caller waits for it and tells of its failure")]
        let counting = tokio::spawn(async move {
            let _turn = turn;
            this.count(&selection).await
        });
        counting.await.unwrap_or_else(|error| Err(StoreError::Internal(error.to_string())))
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StoreError> {
        let mut tx = self.begin_walk().await?;
        let counted = match &selection.among {
            Among::Filter(among) => {
                let mut sql = QueryBuilder::<Postgres>::new("SELECT count(*)");
                push_selection(&mut sql, selection, among)?;
                sql.build().persistent(false).fetch_one(&mut *tx).await
            }
            Among::Tree { run_id, with_detached } => {
                query(queries::TREE_COUNT.sql())
                    .bind(run_id.as_uuid())
                    .bind(selection.namespace.as_str())
                    .bind(*with_detached)
                    .bind(selection.states.iter().map(|state| state.as_str()).collect::<Vec<_>>())
                    .bind(selection.created_by.as_micros())
                    .fetch_one(&mut *tx)
                    .await
            }
        };
        number("count", row::column(&counted.map_err(store_error)?, 0)?)
    }

    pub(crate) async fn bulk_operation(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        let found = query(queries::GET_BULK_OPERATION.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        found.as_ref().map(operation).transpose()
    }

    pub(crate) async fn bulk_operations(
        &self,
        namespace: &Namespace,
        before: Option<BulkOperationId>,
        limit: usize,
    ) -> Result<Vec<BulkOperation>, StoreError> {
        let rows = query(queries::LIST_BULK_OPERATIONS.sql())
            .bind(namespace.as_str())
            .bind(before.map_or(Uuid::max(), |id| id.as_uuid()))
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(operation).collect()
    }
}

fn place(found: &PgRow) -> Result<BulkPlace, StoreError> {
    Ok(BulkPlace { depth: number("depth", row::column(found, 0)?)?, run: row::run_id(found, 1)? })
}

/// What counts and pages of a filter have in common.
fn push_selection(
    sql: &mut QueryBuilder<Postgres>,
    selection: &Selection,
    among: &Filter,
) -> Result<(), StoreError> {
    sql.push(" FROM runs WHERE runs.namespace = ").push_bind(selection.namespace.as_str().to_owned());
    for part in [among, &adapter::state_among(&selection.states), &adapter::created_by(selection.created_by)]
    {
        sql.push(" AND ");
        filter::push(sql, part)?;
    }
    Ok(())
}

pub(crate) async fn put(
    tx: &mut Transaction<'static, Postgres>,
    operation: &BulkOperation,
) -> Result<bool, StoreError> {
    let (filter, tree) = adapter::bulk_target_columns(&operation.target);
    let done = query(queries::PUT_BULK_OPERATION.sql())
        .bind(operation.id.as_uuid())
        .bind(operation.namespace.as_str())
        .bind(operation.action.as_str())
        .bind(filter)
        .bind(tree.map(|run| run.as_uuid()))
        .bind(text(&operation.reason))
        .bind(operation.actor.as_deref().map(|actor| text(actor).into_owned()))
        .bind(operation.pause_timeout.map(micros))
        .bind(operation.created_at.as_micros())
        .bind(operation.state.as_str())
        .bind(operation.ended_at.map(Timestamp::as_micros))
        .bind(operation.cursor.map(|place| i64::from(place.depth)))
        .bind(operation.cursor.map(|place| place.run.as_uuid()))
        .bind(operation.lease_until.as_micros())
        .bind(signed(operation.n_matched))
        .bind(signed(operation.n_done))
        .bind(adapter::skipped_json(&operation.skipped))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn lock(
    tx: &mut Transaction<'static, Postgres>,
    id: BulkOperationId,
) -> Result<Option<BulkOperation>, StoreError> {
    let found = query(queries::LOCK_BULK_OPERATION.sql())
        .bind(id.as_uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    found.as_ref().map(operation).transpose()
}

pub(crate) async fn sweep(
    tx: &mut Transaction<'static, Postgres>,
    now: Timestamp,
) -> Result<Option<BulkOperation>, StoreError> {
    let found = query(queries::SWEEP_BULK_OPERATION.sql())
        .bind(now.as_micros())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    found.as_ref().map(operation).transpose()
}

pub(crate) async fn update(
    tx: &mut Transaction<'static, Postgres>,
    operation: &BulkOperation,
) -> Result<(), StoreError> {
    query(queries::UPDATE_BULK_OPERATION.sql())
        .bind(operation.id.as_uuid())
        .bind(operation.state.as_str())
        .bind(operation.ended_at.map(Timestamp::as_micros))
        .bind(operation.cursor.map(|place| i64::from(place.depth)))
        .bind(operation.cursor.map(|place| place.run.as_uuid()))
        .bind(operation.lease_until.as_micros())
        .bind(signed(operation.n_done))
        .bind(adapter::skipped_json(&operation.skipped))
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

fn operation(found: &PgRow) -> Result<BulkOperation, StoreError> {
    let filter: Option<String> = row::column(found, 3)?;
    let tree: Option<Uuid> = row::column(found, 4)?;
    let target = adapter::bulk_target(filter, tree.map(RunId::from_uuid))?;
    let pause_timeout: Option<i64> = row::column(found, 7)?;
    let pause_timeout: Option<Duration> =
        pause_timeout.map(|micros| span("pause_timeout", micros)).transpose()?;
    let time = |micros: i64| Timestamp::from_micros(micros);
    let skipped: &str = found.try_get(16).map_err(store_error)?;
    // One of an operation that was begun before depths were kept is none: its runs are looked at again.
    let cursor = match row::column::<Option<i64>>(found, 11)? {
        Some(depth) => {
            Some(BulkPlace { depth: number("cursor_depth", depth)?, run: row::run_id(found, 12)? })
        }
        None => None,
    };
    Ok(BulkOperation {
        id: BulkOperationId::from_uuid(row::column(found, 0)?),
        namespace: parse("namespace", row::column(found, 1)?)?,
        action: parse("action", row::column(found, 2)?)?,
        target,
        reason: row::column(found, 5)?,
        actor: row::column(found, 6)?,
        pause_timeout,
        created_at: time(row::column(found, 8)?),
        state: parse("state", row::column(found, 9)?)?,
        ended_at: row::column::<Option<i64>>(found, 10)?.map(time),
        cursor,
        lease_until: time(row::column(found, 13)?),
        n_matched: number("n_matched", row::column(found, 14)?)?,
        n_done: number("n_done", row::column(found, 15)?)?,
        skipped: serde_json::from_str(skipped).map_err(|_| unreadable("skipped", skipped))?,
    })
}
