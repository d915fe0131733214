use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Arg, ArgAction, Command, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{ServiceConfig, Supervisor, config, health, telemetry};

/// The exit code for a bad command line or configuration: `EX_USAGE` of `sysexits.h`.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// The main of a service. `args` are the arguments without the program's name: `--config FILE`,
/// `--check-config`, `--print-config`, `--check-health`.
///
/// Loads the configuration (faults go to stderr, exit code 64), then does what [`execute`] does.
///
/// ```no_run
/// # use serde::{Serialize, Deserialize};
/// # use tidegate_service_kit::{GrpcRoutes, HumanDuration, ServiceConfig, run, serve_grpc};
/// #[derive(Serialize, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { listen: std::net::SocketAddr, shutdown_grace: HumanDuration }
///
/// impl ServiceConfig for Config {
///     const DEFAULT_TOML: &'static str = "listen = \"127.0.0.1:4499\"\nshutdown_grace = \"30s\"";
///     fn validate(&self) -> Vec<String> { Vec::new() }
///     fn listen(&self) -> std::net::SocketAddr { self.listen }
///     fn shutdown_grace(&self) -> std::time::Duration { *self.shutdown_grace }
/// }
///
/// fn main() -> std::process::ExitCode {
///     run("tidegate-example", std::env::args_os().skip(1), |config: Config, tasks| async move {
///         let listener = tokio::net::TcpListener::bind(config.listen).await?;
///         let routes = GrpcRoutes::new(); // a service's `start` adds to it
///         serve_grpc(listener, routes, &[], &tasks).await
///     })
/// }
/// ```
pub fn run<C, F, Fut>(service: &'static str, args: impl Iterator<Item = OsString>, start: F) -> ExitCode
where
    C: ServiceConfig,
    F: FnOnce(C, Supervisor) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let matches = match command(service).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print(); // a closed stderr is no reason to fail otherwise
            return if error.use_stderr() {
                ExitCode::from(EXIT_BAD_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let file = matches.get_one::<PathBuf>("config");
    let loaded = config::load::<C>(file.map(PathBuf::as_path)).and_then(|config| {
        let shown = config::print(&config)?;
        Ok((config, shown))
    });
    let (config, shown) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{service}: the configuration is wrong:\n{faults}");
            return ExitCode::from(EXIT_BAD_CONFIGURATION);
        }
    };
    if matches.get_flag("print-config") {
        let printed = std::io::stdout().write_all(shown.as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if matches.get_flag("check-config") {
        return ExitCode::SUCCESS;
    }
    if matches.get_flag("check-health") {
        return health::check(service, config.listen());
    }
    let grace = config.shutdown_grace();
    execute(service, grace, |tasks| start(config, tasks))
}

/// Runs a process from telemetry to its exit code: sets up the runtime and telemetry, calls `start`, and waits
/// until SIGTERM, SIGINT or the failure of an essential task; then everything has `grace` to end. A second
/// signal exits at once, with code 130. An error goes to stderr as one sentence, exit code 1.
pub fn execute<F, Fut>(service: &'static str, grace: Duration, start: F) -> ExitCode
where
    F: FnOnce(Supervisor) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    execute_with(service, telemetry::DEFAULT_FILTER, grace, start)
}

/// As [`execute`], with another filter of logs where the environment names none: a program that people watch says
/// less than a service.
pub fn execute_with<F, Fut>(
    service: &'static str,
    default_filter: &str,
    grace: Duration,
    start: F,
) -> ExitCode
where
    F: FnOnce(Supervisor) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    // One provider of cryptography for everything in the process; an error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{service}: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::init_with(service, default_filter)?;
        let tasks = Supervisor::with_grace(grace);
        let outcome = supervise(service, &tasks, start).await;
        telemetry.shutdown().await;
        outcome
    });
    // What has not ended by now had its grace; threads that block must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn supervise<F, Fut>(service: &'static str, tasks: &Supervisor, start: F) -> anyhow::Result<()>
where
    F: FnOnce(Supervisor) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    stop_on_signals(tasks)?;
    let stop = tasks.stop_token();
    // Boxed: the future of a whole service is large.
    let started = stop.run_until_cancelled(Box::pin(start(tasks.clone()))).await;
    if !matches!(started, Some(Ok(()))) {
        tasks.stop();
    }
    let finished = tasks.finished(tasks.grace()).await;
    started.unwrap_or(Ok(())).and(finished)?;
    info!("{service} ended");
    Ok(())
}

/// The first SIGTERM or SIGINT stops `tasks`, the second one ends the process at once. A process that is PID 1
/// of a container has no other answer to SIGTERM than this.
fn stop_on_signals(tasks: &Supervisor) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let tasks = tasks.clone();
    let wait = async move {
        let mut next =
            async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let first = next().await;
        info!("{first}: stopping, at most {:?}", tasks.grace());
        tasks.stop();
        let second = next().await;
        warn!("{second} again: exit at once");
        std::process::exit(130);
    };
    // Not a task of the supervisor: it must not be waited for, and it outlives the others.
    #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
    tokio::spawn(wait);
    Ok(())
}

fn command(service: &'static str) -> Command {
    Command::new(service)
        .no_binary_name(true)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
                "A TOML file over the defaults; TIDEGATE__SECTION__KEY in the environment goes over both",
            ),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Check the configuration and exit: 0 if it is well, else 64"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the configuration in force, secrets masked, and exit"),
        )
        .arg(
            Arg::new("check-health")
                .long("check-health")
                .action(ArgAction::SetTrue)
                .help("Ask the process that listens as this configuration says how it is, and exit: 0 if it serves, else 1"),
        )
}
