//! The question that a container without a shell asks itself.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use tokio::time::timeout;
use tonic::{Code, transport::Channel};
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
    match health(channel(&format!("http://{address}"))?, DEADLINE).await {
        Health::Serving => Ok(()),
        Health::NotServing => bail!("{address} is not healthy: it does not take calls now"),
        Health::Unknown(cause) => bail!("{address} is not healthy: {cause}"),
        Health::Silent(cause) => bail!("{address} is not healthy: {cause}"),
    }
}

/// How a service says it is, by gRPC health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes calls.
    Serving,
    /// It is there, and takes none: it comes up or goes down, or one of its tasks has failed.
    NotServing,
    /// Whoever answers does not speak of health, such as a proxy.
    Unknown(String),
    /// Nobody answers, and why.
    Silent(String),
}

/// Asks whoever is at the other end of a channel.
pub async fn health(channel: Channel, patience: Duration) -> Health {
    let mut client = HealthClient::new(channel);
    match timeout(patience, client.check(HealthCheckRequest::default())).await {
        Err(_) => Health::Silent(format!("no answer within {patience:?}")),
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Health::Serving,
        Ok(Ok(_)) => Health::NotServing,
        Ok(Err(status)) => {
            let source = std::error::Error::source(&status).map(ToString::to_string);
            let cause = source.unwrap_or_else(|| status.message().to_owned());
            match status.code() {
                Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => {
                    Health::Unknown(format!("{:?}: {cause}", status.code()))
                }
                _ => Health::Silent(cause),
            }
        }
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
