//! A partition for each day of storing, made ahead of its day and dropped as a whole.

use sqlx::{AssertSqlSafe, Executor, PgPool, query};
use tidegate_model::Timestamp;
use tidegate_store::{StoreError, log::day_of};

use super::{queries, row::column};
use crate::error::store_error;

const MICROS_OF_A_DAY: i64 = 86_400_000_000;
/// Held while days are made: two replicas must not make the same one. Any number that nothing else uses.
const DAYS_LOCK: i64 = 0x7469_6465_6c6f_6773;
/// A wait for a table's lock holds up all who come after it, so it is short; the next tick tries again.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// Makes the partitions of the day of `now` and of `ahead` more, and moves there what was stored before.
pub(super) async fn prepare(pool: &PgPool, now: Timestamp, ahead: u32) -> Result<(), StoreError> {
    let first = day_of(now);
    let last = first.saturating_add(i32::try_from(ahead).unwrap_or(i32::MAX));
    let existing = existing(pool).await?;
    let missing: Vec<i32> = (first..=last).filter(|day| !existing.contains(&partition(*day))).collect();
    for day in missing {
        make(pool, day).await?;
    }
    Ok(())
}

async fn make(pool: &PgPool, day: i32) -> Result<(), StoreError> {
    let name = partition(day);
    let next = day.saturating_add(1);
    let mut tx = pool.begin().await.map_err(store_error)?;
    tx.execute(LOCK_TIMEOUT).await.map_err(store_error)?;
    query("SELECT PG_ADVISORY_XACT_LOCK($1)").bind(DAYS_LOCK).execute(&mut *tx).await.map_err(store_error)?;
    let found = query("SELECT TO_REGCLASS($1) IS NOT NULL")
        .bind(&name)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    if column(&found, 0)? {
        return Ok(()); // another replica was faster
    }
    // Apart and then attached: that takes no lock that stops appends and queries of other days. No line may get
    // into the default partition between the move and the end.
    let ddl = format!(
        "LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
         CREATE TABLE {name} (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
         WITH moved AS (DELETE FROM logs_default WHERE stored_day = {day} RETURNING *)
         INSERT INTO {name} SELECT * FROM moved;
         ALTER TABLE logs ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({next});"
    );
    // The name and the numbers are made of a number here.
    tx.execute(sqlx::raw_sql(AssertSqlSafe(ddl))).await.map_err(store_error)?;
    tx.commit().await.map_err(store_error)
}

/// Drops the partitions of days before that of `before`, and what has no partition.
pub(super) async fn drop_before(pool: &PgPool, before: Timestamp) -> Result<bool, StoreError> {
    let day = day_of(before);
    let first_kept = partition(day);
    let mut dropped_any = false;
    // The names sort like the days.
    for name in existing(pool).await?.into_iter().filter(|name| *name < first_kept) {
        let mut tx = pool.begin().await.map_err(store_error)?;
        tx.execute(LOCK_TIMEOUT).await.map_err(store_error)?;
        // The name comes from the catalogue and has the form of `partition`.
        tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE IF EXISTS {name}"))))
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)?;
        dropped_any = true;
    }
    let unplaced = query(queries::DROP_UNPLACED.sql()).bind(day).execute(pool).await.map_err(store_error)?;
    query(queries::FORGET_WRITERS.sql()).bind(day).execute(pool).await.map_err(store_error)?;
    Ok(dropped_any || unplaced.rows_affected() > 0)
}

async fn existing(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    let rows = query(queries::DAYS.sql()).fetch_all(pool).await.map_err(store_error)?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// `logs_20261121`.
fn partition(day: i32) -> String {
    let start = Timestamp::from_micros(i64::from(day).saturating_mul(MICROS_OF_A_DAY)).to_string();
    let date: String = start.chars().take(10).filter(char::is_ascii_digit).collect();
    format!("logs_{date}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_by_its_date() {
        assert_eq!(partition(0), "logs_19700101");
        assert_eq!(partition(20_778), "logs_20261121");
    }
}
