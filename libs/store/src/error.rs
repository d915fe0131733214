use std::time::Duration;

use tidegate_model::{ErrorCode, Reason, ServiceError};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or broke off before the commit: nothing was changed, and repeating is safe.
    #[error("the store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A statement took longer than it may, and was broken off before the commit: nothing was changed, and repeating at once
    /// would take as long.
    #[error("the store took longer than it may")]
    TooSlow(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke while the commit was under way: it may or may not have taken effect.
    #[error("the store broke off during a commit")]
    CommitUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The text is no position of this store's feed.
    #[error("`{0}` is no position in the feed of events: use one that was given out, unchanged")]
    InvalidCursor(String),
    /// A statement failed or a row does not read: a fault of ours.
    #[error("the store failed: {0}")]
    Internal(String),
}

impl ServiceError for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(_) | Self::TooSlow(_) | Self::CommitUnknown(_) => ErrorCode::Unavailable,
            Self::InvalidCursor(_) => ErrorCode::InvalidArgument,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Unavailable(_) | Self::TooSlow(_) | Self::CommitUnknown(_) => Reason::DependencyUnavailable,
            Self::InvalidCursor(_) => Reason::InvalidField,
            Self::Internal(_) => Reason::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Unavailable(_) | Self::TooSlow(_) | Self::CommitUnknown(_))
            .then_some(Duration::from_millis(500))
    }
}
