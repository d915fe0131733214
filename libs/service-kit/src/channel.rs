use std::time::Duration;

use anyhow::{Context, bail};
use tonic::transport::{Channel, Endpoint};

/// How long to wait for a peer to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings notice a dead peer or a partition; without them a call would wait for ever. Servers here permit one
/// every 10 s, with and without calls.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel to another service of the suite. It connects at the first call and again after a failure, so the
/// order in which services start does not matter.
///
/// # Errors
/// `address` is not of the form `http://host:port`.
pub fn channel(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .with_context(|| format!("`{address}` is not an address such as http://127.0.0.1:4400"))?;
    if endpoint.uri().scheme_str() != Some("http") {
        bail!("`{address}` is not an address such as http://127.0.0.1:4400: the scheme must be http");
    }
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}
