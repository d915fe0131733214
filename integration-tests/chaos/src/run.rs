use std::{path::PathBuf, process::ExitCode, sync::PoisonError, time::Duration};

use anyhow::Context as _;
use tidegate_sdk::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    evidence::{Evidence, Happened},
    figures, judge, limits,
    load::{self, Accepted},
    logs, observe, script,
    settings::RunSettings,
    suite::Suite,
    time,
};

/// Runs the script of the seed under load, prints figures and violations, and ends with 1 where there is one.
pub(crate) async fn run(settings: RunSettings) -> anyhow::Result<ExitCode> {
    let seed = settings.seed.unwrap_or_else(rand::random);
    println!("seed {seed}: {} minutes, {} tasks a second", settings.minutes, settings.rate);
    let script = script::of_seed(seed, &settings);
    let not_drawn = script::not_drawn(&script);
    if !not_drawn.is_empty() {
        println!("too short for all faults, without: {}", not_drawn.join(", "));
    }
    if settings.dry_run {
        script.iter().for_each(|step| println!("{step}"));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::Builder::new().prefix("tidegate-chaos.").tempdir().context("make a folder")?;
    // Whatever ends this, the suite ends with it: its processes are killed when it is dropped.
    let limit = settings.may_last();
    let passed = tokio::select! {
        passed = timeout(limit, run_in(folder.path().to_owned(), seed, script, &settings)) => {
            passed.unwrap_or_else(|_| Err(anyhow::anyhow!("it had not ended after {limit:?}")))
        }
        signal = stop_signal() => signal.and_then(|name| Err(anyhow::anyhow!("ended by {name}"))),
    };
    if matches!(passed, Ok(true)) {
        println!("seed {seed}: every invariant holds");
        return Ok(ExitCode::SUCCESS);
    }
    println!("seed {seed}: FAILED; logs and records are in {}", folder.keep().display());
    passed.map(|_| ExitCode::FAILURE)
}

/// Waits for a signal that asks this process to end.
async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}

async fn run_in(
    folder: PathBuf,
    seed: u64,
    script: Vec<script::Step>,
    settings: &RunSettings,
) -> anyhow::Result<bool> {
    let suite = Suite::start(settings, &folder).await.context("start the suite")?;
    let client = suite.client()?;
    limits::define(&client, settings.rate).await?;
    let (started, start) = (Instant::now(), time::now());
    let load = load::make(client.clone(), settings.clone());
    let (accepted, faults) = tokio::try_join!(load, carry_out(&suite, script, started))?;
    let end = start + settings.load_lasts();
    println!("{:7.2} s  the load is over, {} tasks accepted", since(started), accepted.run_ids.len());
    let evidence = gather(&suite, &client, accepted, faults, settings, started).await?;
    let calm_end = start + settings.calm();
    println!("\n{}", figures::tell(&evidence, f64::from(settings.rate), start, calm_end, end));
    let violations = judge::judge(&evidence);
    println!("seed {seed}: {} violations{}", violations.len(), judge::report(&violations, &evidence));
    Ok(violations.is_empty())
}

/// Carries out each step at its time; steps on different parts overlap where the script has it so.
async fn carry_out(
    suite: &Suite,
    script: Vec<script::Step>,
    start: Instant,
) -> anyhow::Result<Vec<Happened>> {
    let steps = script.into_iter().map(|step| async move {
        sleep_until(start + step.at).await;
        println!("{step}");
        suite.carry_out(step).await.with_context(|| format!("carry out: {step}"))
    });
    futures::future::try_join_all(steps).await
}

async fn gather(
    suite: &Suite,
    client: &Client,
    accepted: Accepted,
    faults: Vec<Happened>,
    settings: &RunSettings,
    started: Instant,
) -> anyhow::Result<Evidence> {
    println!("{:7.2} s  calls: {}", since(started), accepted.calls);
    let patience = Duration::from_secs(settings.patience.into());
    observe::until_ended(client, patience).await?;
    let limits = limits::look(client, patience).await?;
    println!("{:7.2} s  all have ended, or the patience has", since(started));
    let runs = observe::runs(client).await?;
    let histories = observe::histories(client, runs.keys().cloned()).await?;
    println!("{:7.2} s  {} histories are read", since(started), histories.len());
    let leftovers = observe::leftovers(suite).await?;
    let file = suite.end().await.context("end the suite")?;
    let records = Evidence::records_of(&std::fs::read_to_string(file).context("read the records")?)?;
    let incidents = suite.incidents().lock().unwrap_or_else(PoisonError::into_inner).clone();
    let errors = logs::errors(&suite.logs())?;
    println!("{:7.2} s  all parts have ended", since(started));
    Ok(Evidence {
        accepted: accepted.run_ids,
        calls: accepted.calls,
        runs,
        histories,
        records,
        faults,
        limits,
        leftovers,
        errors,
        incidents,
    })
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}
