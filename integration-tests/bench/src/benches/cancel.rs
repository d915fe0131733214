use std::time::Duration;

use tidegate_integration_tests::Suite;
use tidegate_sdk::Client;
use tokio::time::Instant;

use crate::{
    database::Database,
    load::until_counted,
    report::{Spread, Table, fine},
    settings::Settings,
};

/// One in so many runs of a tree is RUNNING, so that its worker has to stop it.
const RUNNING_SHARE: usize = 10;
/// Processes that share the running ones.
const N_WORKERS: usize = 4;

/// Times of one tree.
struct Round {
    /// Until the call answers: everything is CANCELLED, or CANCELLING.
    call: Duration,
    /// Until the workers have stopped what was CANCELLING: everything is CANCELLED.
    complete: Duration,
}

/// The four services, the workers and Redis are processes of their own.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let suite = Suite::separate_on(database.url()).await;
    let n_runs = settings.n_runs(10_000);
    let n_running = n_runs.div_ceil(RUNNING_SHARE);
    let slots = u32::try_from(n_running.div_ceil(N_WORKERS))?;
    let _workers: Vec<_> = (0..N_WORKERS).map(|_| suite.worker_with_slots("live", slots)).collect();
    println!(
        "{} rounds of a tree of {n_runs} runs, {n_running} of them RUNNING on {N_WORKERS} workers",
        settings.rounds
    );

    let client = suite.client();
    round(&client, n_runs.min(1_000)).await?; // plans, caches
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds.get() {
        database.checkpoint().await?;
        rounds.push(round(&client, n_runs).await?);
    }
    let mut table = Table::new(&["until", "seconds: median (min to max)"]);
    let each = |of: fn(&Round) -> Duration| {
        Spread::of(rounds.iter().map(|round| of(round).as_secs_f64()).collect()).show(fine)
    };
    table.add(["the call answers".to_owned(), each(|round| round.call)]);
    table.add(["every run is CANCELLED".to_owned(), each(|round| round.complete)]);
    println!("{table}");
    drop(suite);
    database.remove().await
}

async fn round(client: &Client, n_runs: usize) -> anyhow::Result<Round> {
    let root = client.task("hold").queue("nobody").delay(&()).await?;
    let n_running = n_runs.div_ceil(RUNNING_SHARE);
    let running = client.task("hold").queue("live").parent(root.id());
    running.delay_many(&vec![(); n_running]).await?;
    let waiting = client.task("add").queue("nobody").parent(root.id());
    waiting.delay_many(&vec![(1, 1); n_runs.saturating_sub(n_running + 1)]).await?;
    until_counted(client, &format!("root_run_id = {} state = RUNNING", root.id()), n_running).await;

    let started = Instant::now();
    client.core().cancel_run(root.id(), "enough").await?;
    let call = started.elapsed();
    let open = "state = (SCHEDULED OR PENDING OR RUNNING OR CANCELLING)";
    until_counted(client, &format!("root_run_id = {} {open}", root.id()), 0).await;
    let complete = started.elapsed();
    until_counted(client, &format!("root_run_id = {} state = CANCELLED", root.id()), n_runs).await;
    Ok(Round { call, complete })
}
