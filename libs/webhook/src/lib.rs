//! Tells a web server something: one POST of JSON, signed as the Standard Webhooks specification (standardwebhooks.com)
//! has it.
//!
//! Who asks for it is not who runs this process, so where it goes is guarded ([`Allowed`]): each address is looked at
//! before anything is sent to it, whether it stands in the URL or a name leads to it; redirects are not followed, and the
//! proxies of the environment are not asked. What is secret, header values, user names and queries of URLs, is in no error.
//!
//! It knows neither runs nor stores, and tries once: when to try again is for the caller to say.

mod address;
mod answer;
mod client;
mod failure;
mod guard;
mod host;
mod signature;

pub use client::{Client, Message};
pub use failure::Failure;
pub use guard::Allowed;
pub use host::{HostPattern, NoHost};
