use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use url::Host;

/// Hosts: one by its name or address, or, as `*.example.com`, all whose names end so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// The one of this name.
    Named(String),
    /// All below this name, at any depth; not the one of the name itself.
    Below(String),
    /// The one that has this address in its URL.
    At(IpAddr),
}

/// A text that is no [`HostPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host such as hooks.example.com, *.example.com or 192.0.2.1; it has no scheme and no port"
)]
pub struct NoHost(String);

impl HostPattern {
    pub(crate) fn has(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Named(name), Host::Domain(host)) => plain(host) == name,
            (Self::Below(name), Host::Domain(host)) => {
                plain(host).strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::At(address), Host::Ipv4(host)) => *address == IpAddr::V4(*host),
            (Self::At(address), Host::Ipv6(host)) => *address == IpAddr::V6(*host),
            _ => false,
        }
    }
}

/// The dot at the end of a name says that it is whole, and changes nothing.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl FromStr for HostPattern {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::At(address));
        }
        let (is_below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        // As it stands in a URL: in small letters, and in Punycode.
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !plain(&name).is_empty() && !name.contains('*') => {
                let name = plain(&name).to_owned();
                Ok(if is_below { Self::Below(name) } else { Self::Named(name) })
            }
            _ => Err(NoHost(text.to_owned())),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = NoHost;

    fn try_from(text: String) -> Result<Self, NoHost> {
        text.parse()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_pattern_has_the_hosts_that_it_names() {
        for (pattern, host, has) in [
            ("hooks.example.com", "hooks.example.com", true),
            ("Hooks.Example.com", "HOOKS.example.COM.", true),
            ("hooks.example.com.", "hooks.example.com", true),
            ("hooks.example.com", "a.hooks.example.com", false),
            ("hooks.example.com", "xhooks.example.com", false),
            ("*.example.com", "hooks.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "example.com.evil.org", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "3221225985", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("[2001:db8::1]", "[2001:DB8:0::1]", true),
            ("2001:db8::1", "[2001:db8::2]", false),
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.has(&url.host().unwrap()), has, "{pattern}: {host}");
        }
    }

    #[test]
    fn a_pattern_comes_back_as_it_was_and_what_is_none_is_refused() {
        for text in ["hooks.example.com", "*.example.com", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*",
            "*.",
            ".",
            "https://example.com",
            "example.com:443",
            "example.com/hook",
            "a.*.com",
            "*.1.2.3.4",
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(NoHost(text.to_owned())), "{text}");
        }
    }
}
