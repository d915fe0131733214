use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use futures::FutureExt as _;
use tidegate_sdk::{CancellationToken, Client, Worker, telemetry};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::flows;

/// Tasks that a worker holds at once. Few enough that one that is killed leaves others to do.
const TASK_SLOTS: u32 = 16;
/// Flows that a worker holds at once: they wait for tasks and cost little.
const FLOW_SLOTS: u32 = 64;
const DRAIN_GRACE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub struct DemoWorkerArgs {
    /// The queue to serve
    #[arg(long)]
    pub queue: String,
}

/// `tidegate demo-worker`: serves the demo's flow and task until its stdin ends, which is when its parent says so
/// or is no more.
pub fn main(args: DemoWorkerArgs) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidegate demo-worker: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(work(&args.queue));
    runtime.shutdown_background(); // the thread that reads stdin may not end before the parent does
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate demo-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn work(queue: &str) -> anyhow::Result<()> {
    let _telemetry = telemetry::init_from_env("tidegate-demo-worker");
    let client = Client::connect_from_env()?;
    let n_readers = std::thread::available_parallelism().map_or(2, usize::from);
    let readers = Arc::new(Semaphore::new(n_readers));
    let worker = Worker::builder(client.clone())
        .flow(flows::INVENTORY, flows::inventory)
        .flow(flows::FOLDER, flows::inventory_folder)
        .task(flows::FILE, move |ctx, file| flows::file_facts(ctx, file, Arc::clone(&readers)))
        .queues([queue])
        .task_slots(TASK_SLOTS)
        .flow_slots(FLOW_SLOTS)
        .drain_grace(DRAIN_GRACE)
        .build()?;
    println!("{}", worker.id()); // the parent wants to know what this one holds
    let stop = CancellationToken::new();
    let work = worker.run(stop.clone());
    let parent = async {
        // An unreadable stdin has ended too.
        let _ = spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(
        async {
            let worked = work.await;
            stop.cancel();
            worked
        },
        stop.run_until_cancelled(parent).map(drop),
    );
    worked.context("work")?;
    client.close(Duration::from_secs(2)).await;
    Ok(())
}
