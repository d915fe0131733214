//! Runs go some time after their end: whole partitions where nothing in them is to be kept, else one by one.

use sqlx::{Executor, query};
use tidegate_model::{RunId, Timestamp};
use tidegate_store::{RunTx as _, StoreError, adapter};
use uuid::Uuid;

use crate::{
    PgStore,
    error::store_error,
    partitions::{self, Partition, bound},
    queries::{self, of_runs},
    row,
    store::BEGIN,
    tx::PgTx,
};

/// A look through a whole partition may take longer than a user's statement. It locks nothing.
const LOOK_TIMEOUT: &str = "SET LOCAL statement_timeout = '10min'";

/// Drops the partitions of which all runs ended before `ended_before`. Keys that name one of their runs, and artifacts,
/// go before, up to `limit` at a time: one that names no run would be worse than a key less.
pub(crate) async fn drop_partitions(
    store: &PgStore,
    ended_before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let mut n_dropped = 0;
    // Oldest first: what is left of older ones may hold the roots of trees in younger ones.
    for partition in old_partitions(store, ended_before).await?.0 {
        let Some(seen) = look_through(store, &partition, ended_before).await? else { continue };
        delete_outside(store, &partition, limit).await?;
        n_dropped += usize::from(partitions::drop_unchanged(&store.pool, &partition, seen).await?);
    }
    Ok(n_dropped)
}

/// Deletes up to `limit` runs of old partitions that could not be dropped, and of what no partition was made for: those of
/// trees from above, as none goes before the one above it.
pub(crate) async fn delete_runs(
    store: &PgStore,
    ended_before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let (_, until) = old_partitions(store, ended_before).await?;
    let mut n_deleted = 0;
    while n_deleted < limit {
        let found = find_expired(store, until, ended_before, limit - n_deleted).await?;
        let n_of_level = delete_expired(store, &found, ended_before).await?;
        if n_of_level == 0 {
            break;
        }
        n_deleted += n_of_level;
    }
    Ok(n_deleted)
}

async fn find_expired(
    store: &PgStore,
    until: Uuid,
    ended_before: Timestamp,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let mut tx = store.begin_by(BEGIN).await?;
    tx.execute(LOOK_TIMEOUT).await.map_err(store_error)?;
    let found = query(queries::EXPIRED_RUNS.sql())
        .bind(until)
        .bind(ended_before.as_micros())
        .bind(adapter::limit(limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    found.iter().map(|row| row::run_id(row, 0)).collect()
}

async fn delete_expired(
    store: &PgStore,
    found: &[RunId],
    ended_before: Timestamp,
) -> Result<usize, StoreError> {
    if found.is_empty() {
        return Ok(0);
    }
    let mut tx = store.begin_by(BEGIN).await?;
    let locked = of_runs(&queries::LOCK_EXPIRED_RUNS, row::ids(found))
        .bind(ended_before.as_micros())
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    let ids = locked.iter().map(|row| row::run_id(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let mut tx = PgTx::new(tx, store.signals.clone());
    let n_deleted = tx.delete_runs(&ids).await?;
    Box::new(tx).commit().await?;
    Ok(n_deleted)
}

/// The partitions that only have ids from before `ended_before`, and the id up to which runs are deleted one by one: the
/// end of these. Those of a partition that is not old yet are to go with it.
async fn old_partitions(
    store: &PgStore,
    ended_before: Timestamp,
) -> Result<(Vec<Partition>, Uuid), StoreError> {
    let mut old = partitions::list(&store.pool).await?;
    let n_old = old.partition_point(|partition| partition.until <= bound(ended_before));
    let young = old.split_off(n_old);
    let until = match (old.last(), young.first()) {
        (Some(last), _) => last.until,
        (None, Some(first)) => first.from,
        (None, None) => bound(ended_before),
    };
    Ok((old, until))
}

/// The position of the feed before a look that found nothing to keep. No run changes without an event, so that a later
/// change of one has an event behind that position, also one that was under way.
async fn look_through(
    store: &PgStore,
    partition: &Partition,
    ended_before: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let mut tx = store.begin_by(BEGIN).await?;
    tx.execute(LOOK_TIMEOUT).await.map_err(store_error)?;
    let feed_end = query(queries::FEED_END.sql()).fetch_one(&mut *tx).await.map_err(store_error)?;
    let keeps = query(queries::KEEPS_RUNS.sql())
        .bind(partition.from)
        .bind(partition.until)
        .bind(ended_before.as_micros())
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    Ok(if row::column(&keeps, 0)? { None } else { Some(row::column(&feed_end, 0)?) })
}

/// Deletes what is kept of the runs of a partition in tables that are not partitioned.
async fn delete_outside(store: &PgStore, partition: &Partition, limit: usize) -> Result<(), StoreError> {
    for statement in [
        &queries::DELETE_KEYS_BETWEEN,
        &queries::DELETE_CACHE_KEYS_BETWEEN,
        &queries::DELETE_ARTIFACTS_BETWEEN,
    ] {
        loop {
            let deleted = query(statement.sql())
                .bind(partition.from)
                .bind(partition.until)
                .bind(adapter::limit(limit))
                .execute(&store.pool)
                .await
                .map_err(store_error)?;
            if deleted.rows_affected() == 0 {
                break;
            }
        }
    }
    Ok(())
}
