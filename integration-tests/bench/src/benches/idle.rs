use std::sync::Arc;

use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::time::Instant;

use crate::{
    bound::{Bound, Step, new_ids},
    database::Database,
    engine::{self, RunningEngine},
    latencies::{Latencies, percentiles},
    settings::Settings,
};

/// The two take turns, so that each pair of creates meets the same machine.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let store = Arc::new(PgStore::connect(database.url(), &PgOptions::default()).await?);
    let engine = RunningEngine::start(store, &settings)?;
    let bound = Bound::new(database.url(), &engine).await?;
    let n_creates = settings.n_runs(1_000);
    println!("{} rounds of {n_creates} creates", settings.rounds);

    let mut rounds = Vec::new();
    warm_up(&engine, &bound).await?;
    for _ in 0..settings.rounds.get() {
        let (mut plain, mut through_engine) = (Latencies::new(), Latencies::new());
        for (create, id) in engine::creates(n_creates).into_iter().zip(new_ids(n_creates)) {
            let started = Instant::now();
            bound.step(&[id], Step::Create).await?;
            plain.record(started.elapsed());

            let started = Instant::now();
            engine.engine.create(create).await?;
            through_engine.record(started.elapsed());
        }
        rounds.push((plain, through_engine));
    }

    println!("{}", percentiles(&rounds, "bound", "engine"));
    drop(engine);
    database.remove().await
}

/// Connections, plans, caches.
async fn warm_up(engine: &RunningEngine, bound: &Bound) -> anyhow::Result<()> {
    for create in engine::creates(20) {
        engine.engine.create(create).await?;
        bound.step(&new_ids(1), Step::Create).await?;
    }
    Ok(())
}
