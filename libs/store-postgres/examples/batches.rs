//! Drives the store as the engine does, in batches over several lanes: creates, claims, starts and completions, and
//! prints rows a second for each.
//!
//! `cargo run --release -p tidegate-store-postgres --example batches -- URL [N_BATCHES] [BATCH_SIZE] [N_LANES]`

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tidegate_model::{Clock, Payload, QueueName, RunId, RunKind, SystemClock, Timestamp};
use tidegate_orchestration::{Draft, Event, Holder, Placement, Run, Step, apply, create};
use tidegate_store::{EventRow, NewRun, RunStore};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::{task::JoinSet, time::Instant};

fn events(step: &Step) -> Vec<EventRow> {
    let n_events = step.transitions.len();
    let first_seq = step.run.event_seq + 1 - n_events as u64;
    let event = |(idx, state): (usize, &tidegate_orchestration::State)| EventRow {
        run_id: step.run.id,
        root: step.run.root,
        namespace: step.run.namespace.clone(),
        kind: step.run.kind,
        name: step.run.name.clone(),
        seq: first_seq + idx as u64,
        state_type: state.state_type(),
        state_name: state.name,
        message: state.message.clone(),
        at: state.at,
        holder: state.phase.holder().cloned(),
        attempt: step.run.attempt,
        epoch: step.run.epoch,
        ended: state.state_type().is_terminal(),
        actor: None,
    };
    step.transitions.iter().enumerate().map(event).collect()
}

async fn create_batch(store: &dyn RunStore, size: usize) -> anyhow::Result<Vec<RunId>> {
    let now = SystemClock.now();
    let steps: Vec<Step> = (0..size)
        .map(|n| {
            let queue = Placement::Queue(QueueName::default());
            let mut draft = Draft::new(RunId::new(), RunKind::Task, "resize".parse()?, queue);
            if n % 4 == 0 {
                draft.tags = vec!["nightly".to_owned()];
            }
            Ok(create(draft, None, now)?)
        })
        .collect::<anyhow::Result<_>>()?;
    let parameters = Some(Payload::inline(vec![7; 100]));
    let runs: Vec<NewRun> = steps
        .iter()
        .map(|step| NewRun {
            run: step.run.clone(),
            parameters: parameters.clone(),
            job: None,
            enqueued_at: Some(now),
        })
        .collect();
    let mut tx = store.begin().await?;
    tx.insert_runs(&runs).await?;
    tx.append_events(&steps.iter().flat_map(events).collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(runs.iter().map(|new| new.run.id).collect())
}

async fn apply_batch(store: &dyn RunStore, ids: &[RunId], event: &Event) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let mut tx = store.begin().await?;
    let locked = tx.lock_runs(ids).await?;
    let steps: Vec<Step> =
        locked.iter().map(|run| apply(run, Some(run.epoch), event, now, 0.5)).collect::<Result<_, _>>()?;
    let changed: Vec<(Run, Option<Timestamp>)> =
        steps.iter().map(|step| (step.run.clone(), Some(now))).collect();
    tx.update_runs(&changed).await?;
    tx.append_events(&steps.iter().flat_map(events).collect::<Vec<_>>()).await?;
    match event {
        Event::Completed => {
            let result = Payload::inline(vec![9; 100]);
            let results: Vec<_> = ids.iter().map(|id| (*id, result.clone())).collect();
            tx.put_results(&results).await?;
        }
        Event::Claimed { .. } => {
            tx.get_parameters(ids).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    Ok(())
}

#[derive(Default)]
struct Spent {
    steps: [Duration; 4],
    batches: u32,
}

async fn lane(store: Arc<dyn RunStore>, n_batches: usize, size: usize) -> anyhow::Result<Spent> {
    let holder = Holder::Worker("host:1".parse()?);
    let mut spent = Spent::default();
    for _ in 0..n_batches {
        let start = Instant::now();
        let ids = create_batch(&*store, size).await?;
        let created = Instant::now();
        apply_batch(&*store, &ids, &Event::Claimed { holder: holder.clone() }).await?;
        let claimed = Instant::now();
        apply_batch(&*store, &ids, &Event::Started).await?;
        let started = Instant::now();
        apply_batch(&*store, &ids, &Event::Completed).await?;
        let steps = [created - start, claimed - created, started - claimed, started.elapsed()];
        for (sum, step) in spent.steps.iter_mut().zip(steps) {
            *sum += step;
        }
        spent.batches += 1;
    }
    Ok(spent)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().context("give the URL of an empty database")?;
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (n_batches, size, n_lanes) = (number(20)?, number(1_000)?, number(1)?);
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(&url, &PgOptions::default()).await?);
    lane(Arc::clone(&store), 1, size).await?; // plans, caches

    let start = Instant::now();
    let mut lanes = JoinSet::new();
    for _ in 0..n_lanes {
        lanes.spawn(lane(Arc::clone(&store), n_batches, size));
    }
    let mut total = Spent::default();
    for spent in lanes.join_all().await {
        let spent = spent?;
        total.batches += spent.batches;
        for (sum, step) in total.steps.iter_mut().zip(spent.steps) {
            *sum += step;
        }
    }
    let n_runs = f64::from(total.batches) * size as f64;
    for (name, step) in ["create", "claim", "start", "complete"].iter().zip(total.steps) {
        println!("{name:9} {:8.0} rows/s in a lane", n_runs / step.as_secs_f64());
    }
    println!(
        "runs      {:8.0} runs/s through all four, {n_lanes} lanes × {size}",
        n_runs / start.elapsed().as_secs_f64()
    );
    Ok(())
}
