//! `tidegate dev`: all four services in one process on one port.
//!
//! This, the embedded server of `tidegate_suite` and the services' own `standalone` modules are the only places that name
//! adapters.

mod data;
mod suite;

use std::{io::Write as _, net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use tidegate_sdk::Client;
use tidegate_service_kit::{Supervisor, execute_with};
use tokio::net::TcpListener;

use crate::demo;

#[derive(Args, Debug, Clone)]
#[command(after_help = "Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 error; 2 wrong usage.")]
pub struct DevArgs {
    /// The port for everything, on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 4400)]
    pub port: u16,
    /// Where the SQLite database lives [default: $XDG_DATA_HOME/tidegate or ~/.local/share/tidegate]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ephemeral", "postgres"])]
    pub data: Option<PathBuf>,
    /// Keep everything in memory, and forget it at the end
    #[arg(long, conflicts_with = "postgres")]
    pub ephemeral: bool,
    /// Keep runs and logs in this Postgres: `postgres://user:password@host/database`
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Deliver through this Redis: `redis://host:port`
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Take an inventory of the files in DIR with two worker processes, and kill one in the middle
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub demo: Option<PathBuf>,
    /// End after the demo
    #[arg(long, requires = "demo")]
    pub exit: bool,
}

/// How long the process may take to end after Ctrl-C.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Starts the suite, and the demo where it is asked for; ends on Ctrl-C.
pub fn main(args: DevArgs) -> ExitCode {
    // A person watches: what goes as expected is not told. The demo tells of its crash itself.
    let filter = if args.demo.is_some() { "error,opentelemetry=off" } else { "warn,opentelemetry=off" };
    execute_with("tidegate-dev", filter, SHUTDOWN_GRACE, |tasks| start(args, tasks))
}

async fn start(args: DevArgs, tasks: Supervisor) -> anyhow::Result<()> {
    let demo_root = args.demo.as_deref().map(demo::check_folder).transpose()?;
    let listener = bind(args.port).await?;
    let address = format!("http://{}", listener.local_addr().context("read the address of the port")?);
    suite::start(&args, listener, &address, &tasks).await?;

    let announced = address.clone();
    let token = tasks.stop_token();
    let stopper = tasks.clone();
    tasks.essential("announce", move |stop| async move {
        let Some(healthy) = stop.run_until_cancelled(until_healthy(&announced)).await else { return Ok(()) };
        healthy?;
        announce(&announced);
        let Some(root) = demo_root else { return Ok(()) };
        let outcome = Box::pin(demo::run(&announced, &root, !args.exit, &token)).await;
        if args.exit {
            stopper.stop();
            return outcome.context("the demo");
        }
        if let Err(error) = outcome {
            eprintln!("tidegate dev: the demo did not end well: {error:#}; the server stays up");
        }
        Ok(())
    });
    Ok(())
}

/// The first line on stdout: who started this process may wait for it.
fn announce(address: &str) {
    let mut out = std::io::stdout().lock();
    // Without a reader it is of no use to anyone.
    let _ = writeln!(out, "listening on {address}").and_then(|()| out.flush());
}

async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {port} is taken: end what uses it, or choose another with --port (0 picks a free one)"
            )
        }
        _ => anyhow!("cannot listen on port {port} of 127.0.0.1: {error}"),
    })
}

/// A whole round trip: the port, the api, and the store behind it.
async fn until_healthy(address: &str) -> anyhow::Result<()> {
    let client = Client::connect(address, "default")?;
    client.core().version().await.context("the server does not answer itself")?;
    Ok(())
}
