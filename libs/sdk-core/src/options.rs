use std::time::Duration;

use crate::{Codecs, Error, ErrorKind};

/// Where a server is looked for when nothing is said.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:4400";

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the api: `http://host:port`.
    pub address: String,
    /// Nobody said where the server is: this is where `tidegate dev` listens.
    pub address_is_default: bool,
    /// Who uses the core can have a server inside of this process, by TIDEGATE_EPHEMERAL=1.
    pub can_embed: bool,
    /// The tenant.
    pub namespace: String,
    /// What uses the core: `tidegate-python/0.1.0`.
    pub sdk: String,
    /// Who this process is, for people: host, process id, program. At most 256 bytes.
    pub identity: String,
    /// How long calls wait for the first sign of a server before they say that there is none.
    pub first_contact: Duration,
    /// How long a call is repeated while a server that was there before does not answer.
    pub call_deadline: Duration,
    /// How long waits, watches and tails outlive such an outage.
    pub outage_patience: Duration,
    /// What is done to values on their way to the server and back.
    pub codecs: Codecs,
}

impl Options {
    /// The defaults for a server at `address`.
    ///
    /// # Errors
    /// `InvalidArgument` when `address` is no `http://host:port`.
    pub fn new(address: &str, namespace: &str) -> Result<Self, Error> {
        let with_scheme =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let is_http = with_scheme
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        if !is_http {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("TIDEGATE_ADDRESS is `{address}`, but must be like {DEFAULT_ADDRESS}"),
            ));
        }
        Ok(Self {
            address: with_scheme,
            address_is_default: false,
            can_embed: false,
            namespace: if namespace.is_empty() { "default".into() } else { namespace.into() },
            sdk: concat!("tidegate-sdk-core/", env!("CARGO_PKG_VERSION")).into(),
            identity: identity(),
            first_contact: Duration::from_secs(3),
            call_deadline: Duration::from_secs(60),
            outage_patience: Duration::from_secs(600),
            codecs: Codecs::default(),
        })
    }

    /// From TIDEGATE_ADDRESS and TIDEGATE_NAMESPACE. A server that somebody named may be about to start; where nobody
    /// did, there is most likely none, and calls say so sooner.
    ///
    /// # Errors
    /// As for [`Options::new`].
    pub fn from_env() -> Result<Self, Error> {
        let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let address = of("TIDEGATE_ADDRESS");
        let namespace = of("TIDEGATE_NAMESPACE");
        let mut options = Self::new(
            address.as_deref().unwrap_or(DEFAULT_ADDRESS),
            namespace.as_deref().unwrap_or("default"),
        )?;
        if address.is_none() {
            options.address_is_default = true;
            options.first_contact = Duration::from_secs(1);
        }
        Ok(options)
    }
}

/// Host, process id and program of this process.
pub(crate) fn identity() -> String {
    let program = std::env::args().next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let mut identity = format!("{} {} {program}", host(), std::process::id());
    identity.truncate(identity.floor_char_boundary(256));
    identity
}

/// This machine's name; `localhost` where it has none.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".into() } else { name.chars().take(128).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_alone_are_an_address() {
        assert_eq!(Options::new("10.0.0.1:4400", "").unwrap().address, "http://10.0.0.1:4400");
    }

    #[test]
    fn other_schemes_are_refused_with_an_example() {
        let error = Options::new("ftp://x", "").unwrap_err();
        assert!(error.is_invalid_argument());
        assert!(error.to_string().contains(DEFAULT_ADDRESS));
    }
}
