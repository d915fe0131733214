//! How messages with secrets are printed: without them.

use std::fmt;

use crate::v1::Webhook;

/// Without the URL, too: for many servers who knows it may post.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{SetAutomationRequest, set_automation_request::Action};

    #[test]
    fn secrets_are_not_printed() {
        let webhook = Webhook {
            url: "https://example.com/hunter2".to_owned(),
            headers: [("authorization".to_owned(), "hunter2".to_owned())].into(),
            signing_secret: "whsec_hunter2".to_owned(),
            timeout: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
        };
        let request = SetAutomationRequest {
            name: "page-me".to_owned(),
            action: Some(Action::Webhook(webhook)),
            ..SetAutomationRequest::default()
        };
        let printed = format!("{request:?}");
        assert!(printed.contains("page-me") && printed.contains("seconds: 7"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
