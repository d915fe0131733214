//! The question that a container without a shell asks itself.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::channel;

/// A process that is well answers at once.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks the process that listens at `listen` whether it serves. It says nothing if it does.
pub fn check(service: &str, listen: SocketAddr) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{service}: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(ask(reachable(listen))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let mut client = HealthClient::new(channel(&format!("http://{address}"))?);
    let asked = timeout(DEADLINE, client.check(HealthCheckRequest::default()))
        .await
        .with_context(|| format!("{address} does not answer within {DEADLINE:?}"))?;
    let answer = asked.map_err(|status| anyhow::anyhow!("{address} is not healthy: {status}"))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        status => bail!("{address} is not healthy: {}", status.as_str_name()),
    }
}

/// One listens at all addresses, and asks at one of them.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
