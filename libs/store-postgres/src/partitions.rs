//! Partitions of runs, and of what belongs to them, by the time in the run's id: made ahead of their time, and dropped
//! as a whole.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, query};
use tidegate_model::{Timestamp, limits};
use tidegate_store::StoreError;
use uuid::Uuid;

use crate::{error::store_error, queries, row::column};

/// The tables that are partitioned alike, in the order in which their locks are taken.
const TABLES: [&str; 5] = ["runs", "run_payloads", "run_failures", "run_inputs", "run_events"];
const MICROS_OF_A_DAY: i64 = 86_400_000_000;
/// Held while partitions are made and dropped: two replicas must not make the same one. Any number that nothing else
/// uses.
const PARTITIONS_LOCK: i64 = 0x7469_6465_6c72_756e;
/// A wait for a table's lock holds up all who come after it, so it is short, and tried again. It is also shorter than
/// the time after which Postgres looks for deadlocks, so that nobody else is the one to be broken off.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";
/// How often a lock is tried, and how long it is left to others between.
const LOCK_TRIES: (u32, Duration) = (20, Duration::from_millis(100));

/// A span of ids, with a partition of each table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// `p20261123`: what stands behind the name of the table.
    suffix: String,
    /// The smallest id that it takes.
    pub(crate) from: Uuid,
    /// The smallest id that it does not take any more.
    pub(crate) until: Uuid,
}

impl Partition {
    fn of_days(from_day: i64, until_day: i64) -> Self {
        let date = day_start(from_day).to_string();
        let digits: String = date.chars().take(10).filter(char::is_ascii_digit).collect();
        let (from, until) = (bound(day_start(from_day)), bound(day_start(until_day)));
        Self { suffix: format!("p{digits}"), from, until }
    }

    fn table(&self, table: &str) -> String {
        format!("{table}_{}", self.suffix)
    }
}

/// The smallest id of a time or later.
pub(crate) fn bound(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.as_micros() / 1_000).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// The day, counted from 1970-01-01 UTC, of an id.
fn day_of_id(id: Uuid) -> i64 {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX);
    millis / (MICROS_OF_A_DAY / 1_000)
}

fn day_start(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(MICROS_OF_A_DAY))
}

/// The partitions that there are, oldest first; the default one, which takes what has none, is not told.
pub(crate) async fn list(
    executor: impl Executor<'_, Database = sqlx::Postgres>,
) -> Result<Vec<Partition>, StoreError> {
    let rows = query(queries::LIST_PARTITIONS.sql()).fetch_all(executor).await.map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let name: &str = column(row, 0)?;
            let suffix = name.strip_prefix("runs_").unwrap_or(name).to_owned();
            Ok(Partition { suffix, from: column(row, 1)?, until: column(row, 2)? })
        })
        .collect()
}

/// Makes partitions of `width` until there is room for all ids that are taken now, and for two partitions more. Gives
/// how many were made.
pub(crate) async fn prepare(pool: &PgPool, now: Timestamp, width: Duration) -> Result<usize, StoreError> {
    let end = bound(now + limits::MAX_ID_AHEAD + 2 * width);
    let width_days = i64::try_from(width.as_secs() / 86_400).unwrap_or(i64::MAX).max(1);
    let mut n_made = 0;
    while list(pool).await?.last().is_none_or(|newest| newest.until < end) {
        if !patiently(|| make_next(pool, now, end, width_days)).await? {
            break;
        }
        n_made += 1;
    }
    Ok(n_made)
}

/// Makes the partition after the newest. False: none is needed any more.
async fn make_next(pool: &PgPool, now: Timestamp, end: Uuid, width_days: i64) -> Result<bool, StoreError> {
    let mut tx = pool.begin().await.map_err(store_error)?;
    lock_maintenance(&mut tx).await?;
    let first = first_free_day(&mut tx, now).await?;
    if bound(day_start(first)) >= end {
        return Ok(false); // another replica was faster
    }
    let partition = Partition::of_days(first, first.saturating_add(width_days));
    for table in TABLES {
        // Apart and with its indexes, and attached below: the parents are not locked against anyone who reads or writes.
        let (name, options) = (partition.table(table), storage_options(&mut tx, table).await?);
        execute(
            &mut tx,
            format!(
                "CREATE TABLE {name} (
                    LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE
                ){options}"
            ),
        )
        .await?;
        for alter_column in column_options(&mut tx, table).await? {
            execute(&mut tx, format!("ALTER TABLE {name} {alter_column}")).await?;
        }
    }
    for table in TABLES {
        let (name, Partition { from, until, .. }) = (partition.table(table), &partition);
        // Locks the default partition for the moment of the commit, and looks that it has nothing of these ids.
        execute(
            &mut tx,
            format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{until}')"),
        )
        .await?;
    }
    tx.commit().await.map_err(store_error)?;
    Ok(true)
}

/// The first day that has no partition and nothing in the default one: yesterday, as clocks differ, or a later day.
/// What the default partition has taken stays there, and is deleted run by run.
async fn first_free_day(connection: &mut PgConnection, now: Timestamp) -> Result<i64, StoreError> {
    let yesterday = day_of_id(bound(now)) - 1;
    let behind_newest =
        list(&mut *connection).await?.last().map_or(yesterday, |newest| day_of_id(newest.until));
    let unplaced =
        query(queries::NEWEST_UNPLACED.sql()).fetch_optional(&mut *connection).await.map_err(store_error)?;
    let behind_unplaced = match unplaced {
        None => yesterday,
        Some(row) => day_of_id(column(&row, 0)?) + 1,
    };
    Ok(yesterday.max(behind_newest).max(behind_unplaced))
}

/// The storage parameters of the table's default partition, which every other takes over.
async fn storage_options(connection: &mut PgConnection, table: &str) -> Result<String, StoreError> {
    let row = query(queries::PARTITION_OPTIONS.sql())
        .bind(format!("{table}_default"))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(column::<Option<String>>(&row, 0)?.unwrap_or_default())
}

/// What the table's default partition says of its columns, which LIKE does not take over.
async fn column_options(connection: &mut PgConnection, table: &str) -> Result<Vec<String>, StoreError> {
    let rows = query(queries::PARTITION_COLUMN_OPTIONS.sql())
        .bind(format!("{table}_default"))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// Drops a partition in which nothing is to be kept, unless one of its runs has an event behind the feed's position
/// `seen`, so that it has changed since, or a key or an artifact names one. Gives whether it went.
pub(crate) async fn drop_unchanged(
    pool: &PgPool,
    partition: &Partition,
    seen: i64,
) -> Result<bool, StoreError> {
    patiently(|| drop_once(pool, partition, seen)).await
}

async fn drop_once(pool: &PgPool, partition: &Partition, seen: i64) -> Result<bool, StoreError> {
    let mut tx = pool.begin().await.map_err(store_error)?;
    lock_maintenance(&mut tx).await?;
    if !list(&mut *tx).await?.contains(partition) {
        return Ok(false); // another replica was faster
    }
    // The parents only: nobody gets at the partition but through them.
    execute(&mut tx, format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", TABLES.join(", ONLY "))).await?;
    let changed = query(AssertSqlSafe(format!(
        "SELECT COALESCE(MAX(position) > $1, FALSE) FROM {}",
        partition.table("run_events")
    )))
    .bind(seen)
    .persistent(false)
    .fetch_one(&mut *tx)
    .await
    .map_err(store_error)?;
    let named = query(queries::IS_PARTITION_NAMED.sql())
        .bind(partition.from)
        .bind(partition.until)
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    if column(&changed, 0)? || column(&named, 0)? {
        return Ok(false);
    }
    execute(&mut tx, format!("DROP TABLE {}", TABLES.map(|table| partition.table(table)).join(", "))).await?;
    tx.commit().await.map_err(store_error)?;
    Ok(true)
}

async fn lock_maintenance(connection: &mut PgConnection) -> Result<(), StoreError> {
    query("SELECT PG_ADVISORY_XACT_LOCK($1)")
        .bind(PARTITIONS_LOCK)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    connection.execute(LOCK_TIMEOUT).await.map_err(store_error)?;
    Ok(())
}

/// Names come from the code or the catalogue, and bounds from numbers.
async fn execute(connection: &mut PgConnection, ddl: String) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(ddl))).await.map_err(store_error)?;
    Ok(())
}

/// Tries again what did not get a lock in time.
async fn patiently<Fut>(attempt: impl Fn() -> Fut) -> Result<bool, StoreError>
where
    Fut: Future<Output = Result<bool, StoreError>>,
{
    let (n_tries, pause) = LOCK_TRIES;
    for _ in 1..n_tries {
        match attempt().await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_by_its_first_day_and_bounded_by_ids() {
        let partition = Partition::of_days(20_780, 20_787);
        assert_eq!(partition.table("runs"), "runs_p20261123");
        assert_eq!(partition.from.to_string(), "01a205b3-d000-0000-0000-000000000000");
        assert_eq!(day_of_id(partition.from), 20_780);
        assert_eq!(day_of_id(partition.until), 20_787);
    }
}
