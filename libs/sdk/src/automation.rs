//! Automations: what the server itself does when something happens to a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use tidegate_sdk_core::{
    Error,
    proto::{self, StateType, set_automation_request::Action},
};

use crate::{Client, schedule::span};

/// What the server does when something happens to a run, whatever has become of the process that executed it. Made by
/// [`Client::set_automation`].
///
/// ```
/// use tidegate_sdk::{Automation, Webhook, proto::StateType};
///
/// let page = Webhook::new("https://hooks.example.com/page").header("Authorization", "Bearer …");
/// let page_me = Automation::new("page-me", page).states([StateType::Crashed]).filter(r#"tags:"nightly""#);
/// ```
#[derive(Clone)]
#[must_use = "it does something once the server has it: see `Client::set_automation`"]
pub struct Automation {
    name: String,
    description: String,
    trigger: proto::RunTrigger,
    webhook: Webhook,
    overwrite: bool,
    etag: String,
}

impl Automation {
    /// One that tells a web server. It is set off once [`states`](Self::states) or [`state_names`](Self::state_names) say by
    /// what. Its name has 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    pub fn new(name: impl Into<String>, webhook: Webhook) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            trigger: proto::RunTrigger::default(),
            webhook,
            overwrite: false,
            etag: String::new(),
        }
    }

    /// It is set off by a run that enters a state of one of these types. COMPLETED, FAILED, CRASHED and CANCELLED do so where
    /// the run has come to its end.
    pub fn states(mut self, states: impl IntoIterator<Item = StateType>) -> Self {
        self.trigger.states = states.into_iter().map(Into::into).collect();
        self
    }

    /// Also by a state of one of these names: `Late`, `TimedOut`, `Expired`.
    pub fn state_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.trigger.state_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Only by runs for which this holds, in the language of [`Client::runs`]: `tags:"nightly" AND kind = "flow"`. It is asked
    /// once, of the run as it is a moment later.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.trigger.filter = filter.into();
        self
    }

    /// Also by the end of an attempt that is followed by another one.
    pub fn each_attempt(mut self) -> Self {
        self.trigger.each_attempt = true;
        self
    }

    /// What it is for, for people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// One of this name is replaced, with its secrets; else that it is there is an error. Whether it is paused stays.
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// One of this name is replaced where it is still as it was when it had this `etag`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    fn request(self) -> proto::SetAutomationRequest {
        proto::SetAutomationRequest {
            name: self.name,
            description: self.description,
            trigger: Some(self.trigger),
            action: Some(Action::Webhook(self.webhook.into_proto())),
            overwrite: self.overwrite,
            etag: self.etag,
            ..Default::default()
        }
    }
}

impl fmt::Debug for Automation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Automation")
            .field("name", &self.name)
            .field("trigger", &self.trigger)
            .field("webhook", &self.webhook)
            .finish_non_exhaustive()
    }
}

/// A web server that is told by a POST of JSON, as the Standard Webhooks specification has it. Its secrets are not printed.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    headers: BTreeMap<String, String>,
    signing_secret: String,
    timeout: Option<Duration>,
}

impl Webhook {
    /// The one at this URL, `https://…` or `http://…`. Everybody who reaches the server may see it: secrets belong into
    /// headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: BTreeMap::new(), signing_secret: String::new(), timeout: None }
    }

    /// A further header, `Authorization` say. The server keeps its value, and gives it to nobody else.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// The key of the header `webhook-signature`: base64 of 24 to 64 bytes behind `whsec_`; else there is none. The server
    /// keeps it to itself.
    pub fn signing_secret(mut self, secret: impl Into<String>) -> Self {
        self.signing_secret = secret.into();
        self
    }

    /// How long an answer may take: 1 s to 30 s; else 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_proto(self) -> proto::Webhook {
        proto::Webhook {
            url: self.url,
            headers: self.headers,
            signing_secret: self.signing_secret,
            timeout: self.timeout.map(span),
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .field("headers", &self.headers.keys())
            .field("is_signed", &!self.signing_secret.is_empty())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// Automations. What is given of one has no secrets: headers have no values, and there is no signing secret.
impl Client {
    /// Makes an automation, or changes all of it but whether it is paused. It is set off by what happens from then on.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `AlreadyExists` where it is there, unless it says [`Automation::overwrite`] or
    /// [`Automation::etag`]; `NotFound` where it has gone since that, `FailedPrecondition` where it was changed since, or the
    /// namespace has as many as it may.
    pub async fn set_automation(&self, automation: Automation) -> Result<proto::Automation, Error> {
        self.core().set_automation(automation.request()).await.map(|(automation, _)| automation)
    }

    /// An automation, and how it went so far.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn automation(&self, name: &str) -> Result<proto::Automation, Error> {
        self.core().automation(name).await
    }

    /// All automations, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn automations(&self) -> Result<Vec<proto::Automation>, Error> {
        self.core().automations().await
    }

    /// Takes an automation away, and what it is still to do; with `allow_missing` also where it is not there.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn delete_automation(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        self.core().delete_automation(name, allow_missing).await
    }

    /// Has nothing set an automation off until it is resumed; what it is still to do waits.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn pause_automation(&self, name: &str) -> Result<proto::Automation, Error> {
        self.core().pause_automation(name).await
    }

    /// Has an automation set off again by what happens from now on, and does what has waited.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn resume_automation(&self, name: &str) -> Result<proto::Automation, Error> {
        self.core().resume_automation(name).await
    }

    /// Up to `limit` of the times that an automation was set off and has not done its work, or has given it up.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn firings(&self, automation: &str, limit: usize) -> Result<Vec<proto::Firing>, Error> {
        self.core().firings(automation, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_me() -> Automation {
        let page = Webhook::new("https://hooks.example.com/page")
            .header("Authorization", "Bearer abc")
            .signing_secret("whsec_abc")
            .timeout(Duration::from_millis(2_500));
        Automation::new("page-me", page)
            .states([StateType::Crashed, StateType::Failed])
            .state_names(["Late"])
            .filter("kind = FLOW")
            .each_attempt()
            .overwrite()
    }

    #[test]
    fn an_automation_says_what_was_said_of_it() {
        let request = page_me().request();
        let trigger = request.trigger.expect("is said");
        assert_eq!(trigger.states().collect::<Vec<_>>(), [StateType::Crashed, StateType::Failed]);
        assert_eq!(
            (&trigger.state_names[..], trigger.filter.as_str()),
            (&["Late".to_owned()][..], "kind = FLOW")
        );
        assert!(trigger.each_attempt && request.overwrite && request.etag.is_empty());
        let Some(Action::Webhook(webhook)) = request.action else { panic!("is a webhook") };
        assert_eq!(webhook.headers["Authorization"], "Bearer abc");
        assert_eq!(webhook.timeout.map(|timeout| (timeout.seconds, timeout.nanos)), Some((2, 500_000_000)));
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed = format!("{:?}", page_me());
        assert!(printed.contains("Authorization") && printed.contains("is_signed: true"), "{printed}");
        assert!(!printed.contains("abc"), "{printed}");
    }
}
