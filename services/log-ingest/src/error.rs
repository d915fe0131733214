use std::time::Duration;

use tidegate_model::{ErrorCode, Reason, ServiceError};

/// Why log-ingest does not serve a call. What the store says has a type of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("this replica is stopping: connect again")]
    Draining,
    #[error("{limit} {what} are open here, which is the limit ({key}): try again later, or another replica")]
    TooMany { what: &'static str, limit: usize, key: &'static str },
}

impl ServiceError for Error {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Draining => ErrorCode::Unavailable,
            Self::TooMany { .. } => ErrorCode::Exhausted,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Draining => Reason::Draining,
            Self::TooMany { .. } => Reason::Overloaded,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(match self {
            Self::Draining => Duration::from_millis(100),
            Self::TooMany { .. } => Duration::from_secs(5),
        })
    }
}
