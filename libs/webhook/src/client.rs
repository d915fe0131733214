use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use reqwest::{
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tidegate_model::Timestamp;
use url::Url;

use crate::{Allowed, Failure, answer, failure::causes, signature::signature};

const USER_AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
/// How long a connection is kept for the next message: shorter than servers leave one open, or that would be lost.
const IDLE: Duration = Duration::from_secs(20);
/// Connections that are kept to one host.
const MAX_IDLE: usize = 4;

/// What is sent where. It has secrets, and is not to be printed.
pub struct Message<'a> {
    /// Names it: who gets it twice can tell. Without a full stop, which would make two readings of what is signed.
    pub id: &'a str,
    /// When this try is made.
    pub sent_at: Timestamp,
    /// Where it goes.
    pub url: &'a str,
    /// Further headers. Those that this crate itself sends win.
    pub headers: &'a BTreeMap<String, String>,
    /// What it is signed with; `None`: it is not.
    pub signing_key: Option<&'a [u8]>,
    /// How long the answer may take, from now until its status is there.
    pub timeout: Duration,
    /// JSON.
    pub body: Bytes,
}

/// Sends messages to where they may go. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    allowed: Allowed,
    http: reqwest::Client,
}

impl Client {
    /// One for these hosts and addresses.
    ///
    /// # Errors
    /// The machine has no means for it, such as chance.
    pub fn new(allowed: Allowed) -> Result<Self, reqwest::Error> {
        // A second installation is refused, which changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .dns_resolver(allowed.resolver())
                .no_proxy()
                .redirect(redirect::Policy::none())
                .referer(false)
                .user_agent(USER_AGENT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MAX_IDLE)
        };
        let http = builder().build().or_else(|error| {
            // Where there are no certificates of authorities, what goes over plain HTTP need not stay here, too.
            let cause = causes(&error);
            tracing::warn!(
                "webhooks over HTTPS will fail: this machine names no authority to trust: {cause}"
            );
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { allowed, http })
    }

    /// Sends a message once. Success: the server answered 2xx; what else it says then is not read.
    ///
    /// # Errors
    /// Anything else.
    pub async fn send(&self, message: Message<'_>) -> Result<(), Failure> {
        let url =
            Url::parse(message.url).map_err(|error| Failure::Refused(format!("the URL is none: {error}")))?;
        self.allowed.check(&url)?;
        let headers = headers_of(&message)?;
        let Message { sent_at, timeout, headers: further, body, .. } = message;
        let request = self.http.post(url).headers(headers).timeout(timeout).body(body);
        let response = request.send().await.map_err(|error| Failure::of(error, timeout))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = answer::retry_after(response.headers(), sent_at);
        let text = answer::text_of(response, further.values().map(String::as_str)).await;
        Err(Failure::Answered { status: status.as_u16(), text, retry_after })
    }
}

fn headers_of(message: &Message<'_>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers {
        let (Ok(key), Ok(mut value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            return Err(Failure::Refused("a header has characters that no header may have".to_owned()));
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    let unix_seconds = message.sent_at.as_micros().div_euclid(1_000_000);
    let id = HeaderValue::from_str(message.id)
        .map_err(|_| Failure::Refused("the id has characters that no header may have".to_owned()))?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ID, id);
    headers.insert(TIMESTAMP, HeaderValue::from(unix_seconds));
    if let Some(key) = message.signing_key {
        let signature = signature(key, message.id, unix_seconds, &message.body);
        let signature = HeaderValue::from_str(&signature).expect("base64 may be in a header");
        headers.insert(SIGNATURE, signature);
    } else {
        headers.remove(SIGNATURE);
    }
    Ok(headers)
}
