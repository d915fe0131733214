use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tidegate_sdk::{CancellationToken, Client, Context, Level, Worker, core::Options};
use tokio::{
    net::UnixDatagram,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    record::{Record, What},
    settings::WorkerSettings,
    time,
};

/// The one task.
pub(crate) const TASK: &str = "chaos_task";
/// Tasks at once.
const SLOTS: u32 = 64;
/// Above the longest work of the load, so that an orderly stop interrupts no task; and above what Postgres needs to come back
/// after a kill on a machine that is full, so that it loses no report.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(20);

/// What some workers have, and some tasks require.
pub(crate) const LABEL: (&str, &str) = ("chaos", "even");

/// What a task is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub key: String,
    pub work_ms: u64,
    /// How many of its attempts fail.
    pub n_failures: u32,
    pub writes_a_line: bool,
    /// Only a worker with [`LABEL`] may execute it.
    pub requires_label: bool,
}

/// Serves [`TASK`] until SIGTERM.
pub(crate) async fn work(settings: WorkerSettings) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let socket = UnixDatagram::unbound()?;
    socket.connect(&settings.socket).context("connect to the recorder")?;
    let socket = Arc::new(socket);
    // It may be started while everything is down.
    let options = Options { first_contact: Duration::from_secs(600), ..Options::from_env()? };
    let client = Client::with_options(options)?;
    let worker = Worker::builder(client.clone())
        .task(TASK, move |ctx, told: Told| execute(Arc::clone(&socket), ctx, told, settings.labelled))
        .queues([settings.queue])
        .labels(settings.labelled.then_some(LABEL))
        .task_slots(SLOTS)
        .drain_grace(DRAIN_GRACE)
        .build()?;
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let stop_on_signal = async {
        terminated.recv().await;
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(worker.run(stop.clone()), stop_on_signal);
    worked?;
    client.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn execute(
    socket: Arc<UnixDatagram>,
    ctx: Context,
    told: Told,
    is_labelled: bool,
) -> anyhow::Result<()> {
    let Told { key, .. } = &told;
    ensure!(is_labelled || !told.requires_label, "{key} was given to a worker without the label it requires");
    tell(&socket, &ctx, key, What::Start).await?;
    if told.writes_a_line {
        ctx.log(Level::Info, "working");
    }
    sleep(Duration::from_millis(told.work_ms)).await;
    if ctx.attempt() <= told.n_failures {
        bail!("attempt {} of {key} is to fail", ctx.attempt());
    }
    tell(&socket, &ctx, key, What::End).await
}

async fn tell(socket: &UnixDatagram, ctx: &Context, key: &str, what: What) -> anyhow::Result<()> {
    let record = Record {
        what,
        key: key.to_owned(),
        run_id: ctx.run_id().to_owned(),
        epoch: ctx.epoch(),
        attempt: ctx.attempt(),
        pid: std::process::id(),
        at: time::now(),
    };
    socket.send(record.to_string().as_bytes()).await.context("tell the recorder")?;
    Ok(())
}
