//! What Postgres can do at most: plain SQL that makes the same writes as the engine, in the same tables with the same
//! indexes, in batches of the same size, and decides nothing.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, postgres::PgPoolOptions, query};
use tidegate_model::{Clock as _, RunId, SystemClock, limits};
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::{self, HOLDER, PAYLOAD_SIZE, RunningEngine};

/// A step in the life of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Create,
    Claim,
    Start,
    Complete,
}

impl Step {
    /// All, in their order.
    pub const LIFE: &'static [Self] = &[Self::Create, Self::Claim, Self::Start, Self::Complete];

    /// The number of its event.
    const fn seq(self) -> i64 {
        match self {
            Self::Create => 1,
            Self::Claim => 2,
            Self::Start => 3,
            Self::Complete => 4,
        }
    }

    /// The epoch under which it is asked for.
    const fn epoch(self) -> i64 {
        match self {
            Self::Create | Self::Claim => 0,
            Self::Start | Self::Complete => 1,
        }
    }
}

pub(crate) struct Bound {
    pool: PgPool,
    /// Two runs that the engine has made, so that rows are like its own without a second list of all columns: one that
    /// waits for a worker, and one that has ended.
    scheduled: Uuid,
    ended: Uuid,
    insert_runs: String,
    insert_payloads: String,
    insert_events: String,
}

impl Bound {
    /// For the database of this engine.
    pub async fn new(url: &str, engine: &RunningEngine) -> anyhow::Result<Self> {
        let n_connections = u32::try_from(2 * engine.n_lanes())?;
        let pool = PgPoolOptions::new()
            .min_connections(n_connections)
            .max_connections(n_connections)
            .test_before_acquire(false)
            .connect(url)
            .await?;
        let (scheduled, _) = engine.create(engine::creates(1)).await?;
        let (ended, _) = engine.whole_lives(engine::creates(1)).await?;
        Ok(Self {
            scheduled: scheduled[0].id.as_uuid(),
            ended: ended[0].id.as_uuid(),
            insert_runs: with_rest(&pool, "runs", include_str!("../queries/bound/insert_runs.sql")).await?,
            insert_payloads: with_rest(
                &pool,
                "run_payloads",
                include_str!("../queries/bound/insert_payloads.sql"),
            )
            .await?,
            insert_events: with_rest(&pool, "run_events", include_str!("../queries/bound/insert_events.sql"))
                .await?,
            pool,
        })
    }

    /// Takes runs through these steps, in batches over `n_connections`, and gives the time it took.
    pub async fn run(&self, ids: &[Uuid], steps: &[Step], n_connections: usize) -> anyhow::Result<Duration> {
        let batches: Vec<&[Uuid]> = ids.chunks(limits::MAX_BATCH_SIZE).collect();
        let started = Instant::now();
        let connections = (0..n_connections).map(async |connection_idx| {
            for batch in batches.iter().skip(connection_idx).step_by(n_connections) {
                for step in steps {
                    self.step(batch, *step).await?;
                }
            }
            anyhow::Ok(())
        });
        try_join_all(connections).await?;
        Ok(started.elapsed())
    }

    /// Takes a batch through a step, in a transaction.
    pub async fn step(&self, ids: &[Uuid], step: Step) -> anyhow::Result<()> {
        let now = SystemClock.now().as_micros();
        let mut tx = self.pool.begin().await?;
        match step {
            Step::Create => {
                let names: Vec<String> = ids.iter().map(run_name).collect();
                query(AssertSqlSafe(self.insert_runs.as_str()))
                    .bind(ids)
                    .bind(names)
                    .bind(now)
                    .bind(self.scheduled)
                    .execute(&mut *tx)
                    .await?;
                self.insert_payloads(&mut tx, ids, "parameters").await?;
            }
            Step::Claim => {
                let claim = query(include_str!("../queries/bound/claim.sql"));
                let claim = claim.bind(ids).bind(vec![step.epoch(); ids.len()]).bind(now).bind(HOLDER);
                ensure!(
                    claim.execute(&mut *tx).await?.rows_affected() == ids.len() as u64,
                    "not all were claimed"
                );
                let parameters = query(include_str!("../queries/bound/get_parameters.sql"));
                parameters.bind(ids).fetch_all(&mut *tx).await?;
            }
            Step::Start => {
                self.report(&mut tx, include_str!("../queries/bound/start.sql"), ids, step, now).await?
            }
            Step::Complete => {
                self.report(&mut tx, include_str!("../queries/bound/complete.sql"), ids, step, now).await?;
                self.insert_payloads(&mut tx, ids, "result").await?;
            }
        }
        query(AssertSqlSafe(self.insert_events.as_str()))
            .bind(ids)
            .bind(now)
            .bind(self.ended)
            .bind(step.seq())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn report(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        statement: &'static str,
        ids: &[Uuid],
        step: Step,
        now: i64,
    ) -> anyhow::Result<()> {
        let report = query(statement).bind(ids).bind(vec![step.epoch(); ids.len()]).bind(now);
        let n_reported = report.execute(&mut **tx).await?.rows_affected();
        ensure!(n_reported == ids.len() as u64, "{step:?} found {n_reported} of {} runs", ids.len());
        Ok(())
    }

    async fn insert_payloads(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        ids: &[Uuid],
        kind: &str,
    ) -> anyhow::Result<()> {
        query(AssertSqlSafe(self.insert_payloads.as_str()))
            .bind(ids)
            .bind(vec![&[7_u8; PAYLOAD_SIZE][..]; ids.len()])
            .bind(self.ended)
            .bind(kind)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// Ids of runs to be created, in their order.
pub(crate) fn new_ids(n_runs: usize) -> Vec<Uuid> {
    (0..n_runs).map(|_| RunId::new().as_uuid()).collect()
}

/// As the rules name a run of which no more is said.
fn run_name(id: &Uuid) -> String {
    let id = id.to_string();
    format!("resize-{}", &id[id.len() - 6..])
}

/// Completes a statement with the columns of `table` that it does not name.
async fn with_rest(pool: &PgPool, table: &str, statement: &str) -> anyhow::Result<String> {
    let named =
        statement.split_once('(').and_then(|(_, rest)| rest.split_once('{')).map_or("", |found| found.0);
    let named: Vec<&str> = named.split(',').map(str::trim).collect();
    let rest: Vec<String> = sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = '' AND attgenerated = ''
             AND NOT attisdropped AND attname <> ALL($2)
         ORDER BY attnum",
    )
    .bind(table)
    .bind(&named)
    .fetch_all(pool)
    .await?;
    let columns: String = rest.iter().map(|column| format!(", {column}")).collect();
    let values: String = rest.iter().map(|column| format!(", pattern.{column}")).collect();
    Ok(statement.replace("{rest of pattern}", &values).replace("{rest}", &columns))
}
