//! A worker for the tests: a process of its own that serves the tasks and flows below until SIGTERM, or until it is drained.
//!
//! `tidegate-test-worker serve QUEUE [TASK_SLOTS [KEY=VALUE…]]`, the last its labels; TIDEGATE_ADDRESS says where.
//! `tidegate-test-worker hesitate QUEUE TASK_SLOTS [N_STARTED]`: a worker that starts so many of the runs of `whoami` that it
//! gets, the first ones, and no others; 1 by default. Those that it has started end a moment after SIGTERM.
//! `tidegate-test-worker call QUEUE`: a caller instead: delays a flow, prints its id, waits for its result and prints that.

use std::{collections::BTreeMap, io::Write as _, pin::pin, time::Duration};

use anyhow::{Context as _, bail};
use tidegate_sdk::{
    Artifact, CancellationToken, Client, Context, Error, Level, NonRetryable, Worker,
    core::{self, End, WorkerOptions, payload},
    flow, gather,
    proto::{Function, NewRun, RunKind},
    submit_all, task, telemetry,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let role = args.next().context("the first argument is `serve`, `hesitate` or `call`")?;
    let queue = args.next().context("the second argument is the queue")?;
    let task_slots =
        args.next().map_or(Ok(16), |slots| slots.parse()).context("the third is a number of slots")?;
    match role.as_str() {
        "serve" => {
            let label =
                |label: String| label.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            let labels = args.map(label).collect::<Option<_>>().context("a label has the form KEY=VALUE")?;
            serve(queue, task_slots, labels).await
        }
        "hesitate" => {
            let n_started = args.next().map_or(Ok(1), |n_started| n_started.parse());
            hesitate(queue, task_slots, n_started.context("the fourth is a number of runs")?).await
        }
        "call" => call(queue).await,
        other => bail!("`{other}` is none of `serve`, `hesitate` and `call`"),
    }
}

async fn call(queue: String) -> anyhow::Result<()> {
    let guard = telemetry::init_from_env("tidegate-test-caller");
    let client = Client::connect_from_env()?;
    let handle = client.flow("sum_of_squares").queue(queue).delay(&[1, 2, 3]).await?;
    println!("{}", handle.id());
    println!("{}", handle.result::<i64>().await?);
    client.close(Duration::from_secs(5)).await;
    drop(guard);
    Ok(())
}

async fn serve(queue: String, task_slots: u32, labels: BTreeMap<String, String>) -> anyhow::Result<()> {
    let guard = telemetry::init_from_env("tidegate-test-worker");
    let client = Client::connect_from_env()?;
    let worker = Worker::builder(client.clone())
        .task("add", add)
        .task("echo", echo)
        .task("fail_until", fail_until)
        .task("refuse", refuse)
        .task("show", show)
        .task("ask", ask)
        .task("hold", hold)
        .task("hold_first", hold_first)
        .task("first_is_late", first_is_late)
        .task("chatter", chatter)
        .task("note", note)
        .task("occupy", occupy)
        .task("whoami", whoami)
        .task("abort", abort)
        .flow("sum_of_squares", sum_of_squares)
        .flow("twenty_of_each", twenty_of_each)
        .flow("stays", stays)
        .function(rust_difference)
        .function(notes_everywhere)
        .function(holds_below)
        .function(asks_python)
        .flow("jot", jot)
        .flow("occupied", occupy)
        .flow("fan_out", fan_out)
        .queues([queue])
        .labels(labels)
        .task_slots(task_slots)
        .drain_grace(Duration::from_secs(5))
        .build()?;
    println!("ready");
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut work = pin!(worker.run(stop.clone()));
    let worked = tokio::select! {
        worked = &mut work => worked, // drained by the server
        _ = terminated.recv() => {
            stop.cancel();
            work.await
        }
    };
    worked?;
    client.close(Duration::from_secs(5)).await;
    drop(guard);
    Ok(())
}

async fn hesitate(queue: String, task_slots: u32, n_started: u32) -> anyhow::Result<()> {
    let client = Client::connect_from_env()?;
    let options = WorkerOptions {
        name: String::new(),
        queues: vec![queue],
        work_pool: String::new(),
        functions: vec![Function { kind: RunKind::Task.into(), name: "whoami".to_owned() }],
        labels: BTreeMap::new(),
        task_slots,
        flow_slots: 0,
        drain_grace: Duration::from_secs(30),
    };
    let (worker, mut attempts) = core::Worker::start(client.core(), options)?;
    let mut terminated = signal(SignalKind::terminate())?;
    println!("ready");
    let mut started = Vec::new();
    for _ in 0..n_started {
        let mut attempt = attempts.next().await.context("no run came")?;
        attempt.start();
        started.push(attempt);
    }
    terminated.recv().await;
    worker.drain();
    while attempts.next().await.is_some() {}
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = std::process::id().to_string();
    for attempt in started {
        attempt.finish(End::Completed(Some(payload::json(pid.clone().into_bytes()))));
    }
    worker.stopped().await?;
    Ok(())
}

async fn add(_: Context, (a, b): (i64, i64)) -> anyhow::Result<i64> {
    Ok(a + b)
}

async fn echo(_: Context, value: serde_json::Value) -> anyhow::Result<serde_json::Value> {
    Ok(value)
}

/// Fails until its attempt number is `attempt`, then returns it.
async fn fail_until(ctx: Context, attempt: u32) -> anyhow::Result<u32> {
    if ctx.attempt() < attempt {
        bail!("attempt {} fails", ctx.attempt());
    }
    Ok(ctx.attempt())
}

/// Fails for good.
async fn refuse(_: Context, why: String) -> anyhow::Result<()> {
    Err(NonRetryable::new(anyhow::anyhow!(why)).into())
}

/// Keeps a report with this key, and tells of each percent of its progress. Returns the id of the artifact with that.
async fn show(ctx: Context, key: String) -> anyhow::Result<String> {
    ctx.create_artifact(Artifact::table(&[("a", 1), ("b", 2)]).key(key).label("team", "ml")).await?;
    let progress = ctx.create_artifact(Artifact::progress(0.0).description("of the import")).await?;
    for percent in 1..=100 {
        ctx.write_progress(&progress.id, f64::from(percent));
    }
    Ok(progress.id)
}

/// Waits for a name, in its process or without one. Returns the number of its attempt, and the name.
async fn ask(ctx: Context, suspends: bool) -> anyhow::Result<(u32, String)> {
    let wait = ctx.pause("name").request("who?");
    let name = if suspends { wait.suspend() } else { wait }.input().await?;
    Ok((ctx.attempt(), name))
}

/// Waits until it is cancelled, and says so in its log.
async fn hold(ctx: Context, (): ()) -> anyhow::Result<()> {
    ctx.log(Level::Info, "holding");
    ctx.cancellation().cancelled().await;
    ctx.log(Level::Warn, "cancelled while holding");
    bail!("stopped because of a cancel")
}

/// The first attempt never ends; a later one returns its number and the worker's process id.
async fn hold_first(ctx: Context, (): ()) -> anyhow::Result<(u32, u32)> {
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    Ok((ctx.attempt(), std::process::id()))
}

/// The first attempt ends only once there is a file at `path`. Returns its number.
async fn first_is_late(ctx: Context, path: String) -> anyhow::Result<u32> {
    while ctx.attempt() == 1 && !std::fs::exists(&path)? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(ctx.attempt())
}

/// Writes `n` lines.
async fn chatter(ctx: Context, n: u32) -> anyhow::Result<u32> {
    for line in 0..n {
        ctx.log(Level::Info, format!("line {line}"));
    }
    Ok(n)
}

/// A flow with a task per number.
async fn sum_of_squares(ctx: Context, numbers: Vec<i64>) -> anyhow::Result<i64> {
    let queue = ctx.queue().to_owned();
    let pairs: Vec<_> = numbers.iter().map(|&n| (n * n, 0)).collect();
    let squares = ctx.task("add").queue(queue).delay_many(&pairs).await?;
    Ok(gather::<i64>(&squares).await?.into_iter().sum())
}

/// Appends the name to the file, and returns it.
async fn note(_: Context, (path, name): (String, String)) -> anyhow::Result<String> {
    write_line(&path, &name)?;
    Ok(name)
}

/// Fails until its attempt number is `attempt`, then returns the worker's process id.
async fn whoami(ctx: Context, attempt: u32) -> anyhow::Result<u32> {
    if ctx.attempt() < attempt {
        bail!("attempt {} fails", ctx.attempt());
    }
    Ok(std::process::id())
}

/// Notes in `starts` that it has begun, and takes its whole process down once there is a file with the number of its
/// attempt.
async fn abort(ctx: Context, folder: String) -> anyhow::Result<()> {
    write_line(&format!("{folder}/starts"), "start")?;
    while !std::fs::exists(format!("{folder}/{}", ctx.attempt()))? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::process::abort()
}

/// Appends the name to the file, and returns it.
async fn jot(_: Context, parameters: serde_json::Value) -> anyhow::Result<String> {
    let text =
        |name: &str| parameters[name].as_str().map(str::to_owned).context(format!("{name} is no text"));
    let name = text("name")?;
    write_line(&text("path")?, &name)?;
    Ok(name)
}

/// Starts a run of the deployment `jot/each` for each of 200 names, has `whole` noted, and does not end in its first
/// attempt. A later one returns what the runs return.
async fn fan_out(ctx: Context, path: String) -> anyhow::Result<Vec<String>> {
    let parameters = |n| serde_json::json!({ "path": path, "name": format!("n{n}") });
    let runs = ctx.deployment("jot/each").delay_many(&(0..200).map(parameters).collect::<Vec<_>>()).await?;
    write_line(&path, "whole")?;
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(gather::<String>(&runs).await?)
}

/// Once there is a file at `path`, has queued tasks ask one after the other where they are. Returns its own process
/// id, and theirs.
async fn stays(ctx: Context, path: String) -> anyhow::Result<(u32, Vec<u32>)> {
    while !std::fs::exists(&path)? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut pids = Vec::new();
    for _ in 0..5 {
        let call = ctx.task("whoami").queue(ctx.queue()).sticky();
        pids.push(call.delay(&1).await?.result().await?);
    }
    Ok((std::process::id(), pids))
}

/// Tells whoever listens at the socket `path` which process this is, and ends when it is told so. The connection ends
/// with the attempt, however that ends.
async fn occupy(_: Context, path: String) -> anyhow::Result<()> {
    let mut observer = BufReader::new(UnixStream::connect(&path).await?);
    observer.write_all(format!("{}\n", std::process::id()).as_bytes()).await?;
    let mut told = String::new();
    observer.read_line(&mut told).await?;
    Ok(())
}

fn write_line(path: &str, line: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    // In one write, so that lines of several processes do not mix.
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// Has twenty names noted here and twenty by queued tasks, and then `whole`. The first attempt does not end after
/// that.
async fn twenty_of_each(ctx: Context, path: String) -> anyhow::Result<Vec<String>> {
    let queued: Vec<_> = (0..20).map(|n| (path.clone(), format!("queued-{n}"))).collect();
    let queued = ctx.task("note").queue(ctx.queue()).delay_many(&queued).await?;
    let mut names = gather::<String>(&queued).await?;
    for n in 0..20 {
        names.push(note_here(&ctx, &path, format!("local-{n}")).await?);
    }
    write_line(&path, "whole")?;
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(names)
}

/// `note` as a local run.
async fn note_here(ctx: &Context, path: &str, name: String) -> anyhow::Result<String> {
    let core = ctx.client().core();
    let parameters = Some(payload::json(serde_json::to_vec(&(path, &name))?));
    let mut run = NewRun { kind: RunKind::Task.into(), name: "note".into(), parameters, ..NewRun::default() };
    ctx.child_calls().count(&mut run);
    let mut run = core.session().create(run).await?.await?;
    if run.is_existing() {
        let found = core.wait(run.id()).await?;
        return match Error::of_ended_run(&found) {
            Some(error) => Err(error.into()),
            None => Ok(serde_json::from_slice(&found.result.clone().unwrap_or_default().data)?),
        };
    }
    run.start().await;
    write_line(path, &name)?;
    run.finish(End::Completed(Some(payload::json(serde_json::to_vec(&name)?)))).await.verdict().await?;
    Ok(name)
}

/// For callers in any language.
#[task]
async fn rust_difference(minuend: i64, #[serde(default)] subtrahend: i64) -> i64 {
    minuend - subtrahend
}

/// Has a task of a worker in another language add.
#[flow]
async fn asks_python(ctx: Context, queue: String, a: i64, b: i64) -> anyhow::Result<i64> {
    let sum = ctx.task("add").queue(queue).delay(&serde_json::json!({"a": a, "b": b})).await?;
    Ok(sum.result().await?)
}

#[task]
async fn noted(path: String, name: String) -> anyhow::Result<String> {
    write_line(&path, &name)?;
    Ok(name)
}

/// The first time it never ends.
#[task]
async fn unfinished(path: String) -> anyhow::Result<()> {
    write_line(&path, "unfinished")?;
    while std::fs::read_to_string(&path)?.matches("unfinished").count() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[flow]
async fn notes_below(path: String) -> anyhow::Result<Vec<String>> {
    Ok(vec![noted(path.clone(), "below-0".into()).await?, noted(path, "below-1".into()).await?])
}

/// Has names noted by calls, submitted and queued ones, and of a flow below, and then `whole`. The first attempt does
/// not end after that.
#[flow]
async fn notes_everywhere(ctx: Context, path: String) -> anyhow::Result<Vec<String>> {
    let unfinished = unfinished(path.clone()).submit();
    let submitted = submit_all((0..10).map(|n| noted(path.clone(), format!("submitted-{n}"))));
    let mut names = Vec::new();
    for n in 0..10 {
        names.push(noted(path.clone(), format!("called-{n}")).await?);
    }
    let queue = ctx.queue().to_owned();
    names.push(client_note(&ctx, &path, &queue).await?);
    names.extend(notes_below(path.clone()).await?);
    for future in submitted {
        names.push(future.await?);
    }
    write_line(&path, "whole")?;
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    unfinished.await?;
    Ok(names)
}

async fn client_note(ctx: &Context, path: &str, queue: &str) -> anyhow::Result<String> {
    let queued = ctx.task("note").queue(queue).delay(&(path, "queued")).await?;
    Ok(queued.result().await?)
}

#[task]
async fn held(ctx: Context, cleans_up: bool) -> anyhow::Result<()> {
    if !cleans_up {
        std::future::pending::<()>().await;
    }
    ctx.cancellation().cancelled().await;
    Ok(())
}

/// Waits for two children that never end.
#[flow]
async fn holds_below() -> anyhow::Result<()> {
    let other = held(true).submit();
    held(false).await?;
    Ok(other.await?)
}
