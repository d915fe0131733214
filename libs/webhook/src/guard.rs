use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::{HostPattern, address::is_public};

/// Where webhooks may go. By default over HTTPS, to any host of the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Also to addresses that are not public: this machine itself, the networks around it, and what is reserved.
    pub private_addresses: bool,
    /// Also over plain HTTP.
    pub http: bool,
    /// To these hosts alone; empty: to all.
    pub hosts: Vec<HostPattern>,
}

/// A request may not go where it should. Not all of the URL is told: there may be secrets in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAllowed {
    #[error("the scheme `{0}` is not allowed: webhooks go to `https://…`")]
    Scheme(String),
    #[error("plain HTTP is not allowed: webhooks go to `https://…` alone")]
    PlainHttp,
    #[error("the URL has a user or a password, which belong into the header `Authorization`")]
    User,
    #[error("the host {0} is none of those that webhooks may go to")]
    Host(String),
    #[error("{0} is not a public address, and webhooks may go to no other")]
    Address(IpAddr),
    /// Not which addresses it has: they are the network's around this process.
    #[error("the host {0} has no public address, and webhooks may go to no other")]
    NoPublicAddress(String),
}

impl Allowed {
    /// Whether a request may go to `url`, as far as can be told before the addresses of a name are known.
    pub(crate) fn check(&self, url: &Url) -> Result<(), NotAllowed> {
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => return Err(NotAllowed::PlainHttp),
            other => return Err(NotAllowed::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAllowed::User);
        }
        // URLs of these schemes have one.
        let Some(host) = url.host() else { return Err(NotAllowed::Host(String::new())) };
        if !self.hosts.is_empty() && !self.hosts.iter().any(|pattern| pattern.has(&host)) {
            return Err(NotAllowed::Host(host.to_string()));
        }
        // No resolver is asked about these.
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(_) => return Ok(()),
        };
        if self.private_addresses || is_public(address) { Ok(()) } else { Err(NotAllowed::Address(address)) }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver { private_addresses: self.private_addresses }
    }
}

/// Gives of the addresses of a name those that are allowed. Asked for each connection, so that a name which leads elsewhere
/// by then is looked at again.
pub(crate) struct Resolver {
    private_addresses: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private_addresses = self.private_addresses;
        Box::pin(async move {
            // The port of the URL comes in its place.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_allowed = |address: &SocketAddr| private_addresses || is_public(address.ip());
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(is_allowed).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(NotAllowed::NoPublicAddress(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(allowed: &Allowed, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        allowed.check(&url).map_or_else(|refused| refused.to_string(), |()| "allowed".to_owned())
    }

    #[test]
    fn by_default_it_goes_to_public_addresses_over_https() {
        let allowed = Allowed::default();
        for (url, expected) in [
            ("https://hooks.example.com/a?key=hunter2", "allowed"),
            ("https://1.1.1.1:8443/", "allowed"),
            ("https://[2606:4700:4700::1111]/", "allowed"),
            ("http://hooks.example.com/?key=hunter2", "plain HTTP is not allowed"),
            ("ftp://hooks.example.com/", "the scheme `ftp` is not allowed"),
            ("https://ada:hunter2@hooks.example.com/", "a user or a password"),
            ("https://hunter2@hooks.example.com/", "a user or a password"),
            ("https://127.0.0.1/", "127.0.0.1 is not a public address"),
            ("https://127.1/", "127.0.0.1 is not a public address"),
            ("https://2130706433/", "127.0.0.1 is not a public address"),
            ("https://0x7f.0.0.1/", "127.0.0.1 is not a public address"),
            ("https://0177.0.0.1/", "127.0.0.1 is not a public address"),
            ("https://127.0.0.1./", "127.0.0.1 is not a public address"),
            ("https://%31%30.0.0.1/", "10.0.0.1 is not a public address"),
            ("https://169.254.169.254/latest/meta-data", "is not a public address"),
            ("https://[::1]/", "::1 is not a public address"),
            ("https://[::ffff:10.0.0.1]/", "is not a public address"),
            ("https://[64:ff9b::a00:1]/", "is not a public address"),
        ] {
            let told = told(&allowed, url);
            assert!(told.contains(expected) && !told.contains("hunter2"), "{url}: {told}");
        }
    }

    #[test]
    fn each_bound_can_be_moved() {
        let local = Allowed { private_addresses: true, http: true, hosts: Vec::new() };
        for url in ["http://127.0.0.1:1/", "http://[::1]/", "https://10.0.0.1/", "http://localhost/"] {
            assert_eq!(told(&local, url), "allowed", "{url}");
        }
        let hosts = ["*.example.com", "192.0.2.1", "10.0.0.1"].map(|text| text.parse().unwrap()).to_vec();
        let listed = Allowed { hosts, ..Allowed::default() };
        assert_eq!(told(&listed, "https://hooks.example.com/"), "allowed");
        assert!(told(&listed, "https://example.org/").contains("the host example.org is none of those"));
        // That a host is listed does not make its address public.
        assert!(told(&listed, "https://10.0.0.1/").contains("not a public address"));
    }
}
