use std::{sync::Arc, time::Duration};

use tidegate_model::Namespace;
use tidegate_orchestration::Event;
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::time::Instant;

use crate::{
    database::Database,
    engine::{self, Known, RunningEngine},
    report::{Spread, Table, fine},
    settings::Settings,
};

/// One in so many runs of a tree is RUNNING, so that its worker has to be asked.
const RUNNING_SHARE: usize = 10;

/// Times of one tree.
struct Round {
    /// Until the call answers: everything is CANCELLED, or CANCELLING.
    call: Duration,
    /// Until the workers of what was CANCELLING have said that it has ended.
    complete: Duration,
}

/// Workers that answer at once stand for live ones.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let store = Arc::new(PgStore::connect(database.url(), &PgOptions::default()).await?);
    let engine = RunningEngine::start(store, &settings)?;
    let n_runs = settings.n_runs(10_000);
    println!("{} rounds of a tree of {n_runs} runs, one in {RUNNING_SHARE} RUNNING", settings.rounds);

    round(&engine, n_runs.min(1_000)).await?; // plans, caches
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds.get() {
        database.checkpoint().await?;
        rounds.push(round(&engine, n_runs).await?);
    }
    let mut table = Table::new(&["until", "seconds: median (min to max)"]);
    let each = |of: fn(&Round) -> Duration| {
        Spread::of(rounds.iter().map(|round| of(round).as_secs_f64()).collect()).show(fine)
    };
    table.add(["the call answers".to_owned(), each(|round| round.call)]);
    table.add(["every run is CANCELLED".to_owned(), each(|round| round.complete)]);
    println!("{table}");
    drop(engine);
    database.remove().await
}

async fn round(engine: &RunningEngine, n_runs: usize) -> anyhow::Result<Round> {
    let root = engine.create(engine::creates(1)).await?.0.remove(0);
    let mut creates = engine::creates(n_runs.saturating_sub(1).max(1));
    for create in &mut creates {
        create.draft.parent = Some(root.id);
    }
    let children = engine.create(creates).await?.0;
    let held: Vec<Known> = children.into_iter().step_by(RUNNING_SHARE).collect();
    let held = engine.operate(&held, |run| engine.claim(run)).await?.0;
    let held = engine.operate(&held, engine::start).await?.0;

    let started = Instant::now();
    let (namespace, reason) = (Namespace::default(), "enough".to_owned());
    let cancel = tidegate_engine::Operation::Cancel { namespace, run_id: root.id, reason, actor: None };
    engine.engine.operate(cancel).await?;
    engine.engine.cascade_from(root.id).await?;
    let call = started.elapsed();
    engine.operate(&held, |run| engine::report(run, Event::Cancelled, None)).await?;
    Ok(Round { call, complete: started.elapsed() })
}
