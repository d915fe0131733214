use std::{error::Error, time::Duration};

use reqwest::StatusCode;

use crate::guard::NotAllowed;

/// Why a message has not succeeded. It says so without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be sent, or may not go where it should.
    #[error("{0}")]
    Refused(String),
    /// The server answered with another status than 2xx.
    #[error("{}", told(.status, .text))]
    Answered {
        /// The status.
        status: u16,
        /// The beginning of what it said; may be empty.
        text: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// There was no answer.
    #[error("{0}")]
    Silent(String),
}

impl Failure {
    /// True where the same message may succeed another time.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Answered { status, .. } => matches!(*status, 408 | 429 | 500..=599),
            Self::Silent(_) => true,
        }
    }

    /// How long the server wants to be left alone, where it has said so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            Self::Refused(_) | Self::Silent(_) => None,
        }
    }

    /// What has become of a request without an answer within `timeout`.
    pub(crate) fn of(error: reqwest::Error, timeout: Duration) -> Self {
        let error = error.without_url();
        if let Some(refused) = chain(&error).find_map(|cause| cause.downcast_ref::<NotAllowed>()) {
            return Self::Refused(refused.to_string());
        }
        if error.is_timeout() {
            return Self::Silent(format!("no answer within {timeout:?}"));
        }
        let told = causes(&error);
        if error.is_builder() { Self::Refused(told) } else { Self::Silent(told) }
    }
}

impl From<NotAllowed> for Failure {
    fn from(refused: NotAllowed) -> Self {
        Self::Refused(refused.to_string())
    }
}

/// An error and what has led to it: by itself it does not say that a connection was refused.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn told(status: &u16, text: &str) -> String {
    let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
    let mut told = format!("the server answered {status}");
    if let Some(reason) = reason {
        told.push(' ');
        told.push_str(reason);
    }
    if (300..400).contains(status) {
        told.push_str(", and redirects are not followed");
    }
    if !text.is_empty() {
        told.push_str(": ");
        told.push_str(text);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_come_again() {
        let answered =
            |status| Failure::Answered { status, text: String::new(), retry_after: None }.is_passing();
        for passing in [408, 429, 500, 501, 502, 503, 504, 599] {
            assert!(answered(passing), "{passing}");
        }
        for final_one in [100, 199, 300, 301, 304, 308, 400, 401, 403, 404, 409, 410, 413, 422, 499, 600] {
            assert!(!answered(final_one), "{final_one}");
        }
    }

    #[test]
    fn an_answer_is_told_in_a_sentence() {
        let told = |status, text: &str| {
            Failure::Answered { status, text: text.to_owned(), retry_after: None }.to_string()
        };
        assert_eq!(told(503, "out of paper"), "the server answered 503 Service Unavailable: out of paper");
        assert_eq!(told(410, ""), "the server answered 410 Gone");
        assert_eq!(told(599, ""), "the server answered 599");
        assert_eq!(told(302, ""), "the server answered 302 Found, and redirects are not followed");
    }
}
