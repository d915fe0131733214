use std::{num::NonZeroUsize, sync::Arc};

use tidegate_store::RunStore;
use tidegate_store_postgres::{PgOptions, PgStore};
use tidegate_store_sqlite::SqliteStore;

use crate::{
    bound::{Bound, Step, new_ids},
    database::Database,
    engine::{self, RunningEngine},
    pairs::{Pairs, Phase},
    report::{Spread, Table, rate},
    settings::Settings,
};

/// Runs of a round before the first that counts: plans, caches, files.
const N_WARM_UP: usize = 2_000;
const PHASES: [&str; 5] = ["creates", "claims", "reports: started", "reports: completed", "whole lives"];

pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let store = Arc::new(PgStore::connect(database.url(), &PgOptions::default()).await?);
    let engine = RunningEngine::start(store, &settings)?;
    let bound = Bound::new(database.url(), &engine).await?;
    let n_runs = settings.n_runs(20_000);
    println!(
        "{} rounds of {n_runs} runs, {} lanes for creates and as many for operations, batches of up to 1,000",
        settings.rounds,
        engine.n_lanes(),
    );

    engine_round(&engine, N_WARM_UP.min(n_runs)).await?;
    if settings.alone {
        println!("{}", rounds_alone(&engine, settings.rounds.get(), n_runs).await?);
        drop(engine);
        return database.remove().await;
    }
    bound_round(&bound, engine.n_lanes(), N_WARM_UP.min(n_runs)).await?;
    let pairs = Pairs::measure(
        settings.rounds.get(),
        async || {
            database.checkpoint().await?;
            bound_round(&bound, engine.n_lanes(), n_runs).await
        },
        async || {
            database.checkpoint().await?;
            engine_round(&engine, n_runs).await
        },
    )
    .await?;
    println!("{}", pairs.table("bound", "engine"));
    drop(engine);
    database.remove().await
}

/// Without a bound: SQLite has one writer.
pub(crate) async fn run_on_sqlite(mut settings: Settings) -> anyhow::Result<()> {
    settings.lanes.get_or_insert(NonZeroUsize::MIN); // as `tidegate dev` has it
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn RunStore> = Arc::new(SqliteStore::open(&folder.path().join("bench.db")).await?);
    let engine = RunningEngine::start(store, &settings)?;
    let n_runs = settings.n_runs(10_000);
    println!("{} rounds of {n_runs} runs; journal_mode=WAL synchronous=NORMAL", settings.rounds);

    engine_round(&engine, N_WARM_UP.min(n_runs)).await?;
    println!("{}", rounds_alone(&engine, settings.rounds.get(), n_runs).await?);
    Ok(())
}

async fn rounds_alone(engine: &RunningEngine, n_rounds: usize, n_runs: usize) -> anyhow::Result<Table> {
    let mut rounds = Vec::new();
    for _ in 0..n_rounds {
        rounds.push(engine_round(engine, n_runs).await?);
    }
    let mut table = Table::new(&["phase", "engine/s: median (min to max)"]);
    for (phase_idx, name) in PHASES.iter().enumerate() {
        let rates = rounds.iter().map(|round| round[phase_idx].rate()).collect();
        table.add([(*name).to_owned(), Spread::of(rates).show(rate)]);
    }
    Ok(table)
}

async fn bound_round(bound: &Bound, n_lanes: usize, n_runs: usize) -> anyhow::Result<Vec<Phase>> {
    let ids = new_ids(n_runs);
    let mut phases = Vec::new();
    for (name, step) in PHASES.iter().zip(Step::LIFE) {
        let took = bound.run(&ids, &[*step], n_lanes).await?;
        phases.push(Phase { name, n_items: n_runs, took });
    }
    // Creates and operations have lanes of their own.
    let took = bound.run(&new_ids(n_runs), Step::LIFE, 2 * n_lanes).await?;
    phases.push(Phase { name: PHASES[4], n_items: n_runs, took });
    Ok(phases)
}

async fn engine_round(engine: &RunningEngine, n_runs: usize) -> anyhow::Result<Vec<Phase>> {
    let (runs, created) = engine.create(engine::creates(n_runs)).await?;
    let (runs, claimed) = engine.operate(&runs, |run| engine.claim(run)).await?;
    let (runs, started) = engine.operate(&runs, engine::start).await?;
    let (_, completed) = engine.operate(&runs, engine::complete).await?;
    let (_, lived) = engine.whole_lives(engine::creates(n_runs)).await?;
    let times = [created, claimed, started, completed, lived];
    Ok(PHASES.iter().zip(times).map(|(name, took)| Phase { name, n_items: n_runs, took }).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::{Connection as _, PgConnection};
    use tidegate_store_postgres::{PgOptions, PgStore};
    use uuid::Uuid;

    use super::{Bound, Database, RunningEngine, Settings, Step, engine, new_ids};

    /// The rows of a run, without what tells it from another.
    const ROWS: &str = "
        SELECT
            (SELECT to_jsonb(r) - '{id,root_id,run_name,created_at,due_at,state_at,started_at,ended_at}'::text[]
             FROM runs AS r WHERE r.id = $1)::text,
            (SELECT jsonb_agg(to_jsonb(p) - 'run_id' ORDER BY p.kind) FROM run_payloads AS p WHERE p.run_id = $1)::text,
            (SELECT jsonb_agg(to_jsonb(e) - '{run_id,root_id,id,position,occurred_at}'::text[] ORDER BY e.seq)
             FROM run_events AS e WHERE e.run_id = $1)::text";

    #[tokio::test]
    async fn the_bound_writes_what_the_engine_writes() {
        let postgres = std::env::var("TIDEGATE_TEST_POSTGRES_URL");
        let postgres = postgres.expect("TIDEGATE_TEST_POSTGRES_URL is set: integration-tests/run unit does");
        let settings = Settings::smallest(postgres);
        let database = Database::create(&settings).await.expect("a database is made");
        let store = PgStore::connect(database.url(), &PgOptions::default()).await.expect("a store opens");
        let engine = RunningEngine::start(Arc::new(store), &settings).expect("an engine starts");
        let bound = Bound::new(database.url(), &engine).await.expect("the bound finds the schema");
        let mut connection = PgConnection::connect(database.url()).await.expect("the database answers");

        for n_steps in 1..=Step::LIFE.len() {
            let ids = new_ids(1);
            bound.run(&ids, &Step::LIFE[..n_steps], 1).await.expect("the bound writes");
            let (mut runs, _) = engine.create(engine::creates(1)).await.expect("is created");
            for operation in &Step::LIFE[1..n_steps] {
                let operated = engine.operate(&runs, |run| match operation {
                    Step::Claim => engine.claim(run),
                    Step::Start => engine::start(run),
                    Step::Create | Step::Complete => engine::complete(run),
                });
                runs = operated.await.expect("is operated on").0;
            }
            let of_bound = rows(&mut connection, ids[0]).await;
            let of_engine = rows(&mut connection, runs[0].id.as_uuid()).await;
            assert_eq!(of_bound, of_engine, "after {:?}", Step::LIFE[n_steps - 1]);
        }
        drop((engine, bound));
        connection.close().await.expect("the connection closes");
        database.remove().await.expect("the database is removed");
    }

    /// The times that depend on the moment become spans.
    async fn rows(connection: &mut PgConnection, id: Uuid) -> (String, Option<String>, Option<String>) {
        let spans = "UPDATE runs SET timer_at = timer_at - state_at, enqueued_at = enqueued_at - created_at WHERE id = $1";
        sqlx::query(spans).bind(id).execute(&mut *connection).await.expect("the row is changed");
        sqlx::query_as(ROWS).bind(id).fetch_one(connection).await.expect("the rows are read")
    }
}
