use std::time::Duration;

use tidegate_model::{ErrorCode, FieldViolation, ObjectId, Reason, ServiceError};
use tidegate_store::StoreError;

/// Why a payload was not taken or given.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// There is no such object in this namespace, or nobody may use it any more.
    #[error(
        "there is no uploaded payload {id} in this namespace: upload it again; one that no run refers to is deleted \
         after a while"
    )]
    NotFound {
        /// The id that was asked for.
        id: ObjectId,
    },
    /// Its bytes are not those that were announced.
    #[error("payload {id} is not what was announced: {cause}; upload it again under another id")]
    Mismatch {
        /// The object.
        id: ObjectId,
        /// What does not agree.
        cause: String,
    },
    /// A field does not hold what it must.
    #[error("{}: {}", .0[0].field, .0[0].description)]
    Invalid([FieldViolation; 1]),
    /// The id was used for something else.
    #[error("the id {id} belongs to another upload: leave `request_id` empty or make a new UUIDv7")]
    IdReused {
        /// The id.
        id: ObjectId,
    },
    /// This process has as many bytes of uploads under way as it may, in all or for this namespace.
    #[error("too many payloads are being uploaded through this service; come back a little later")]
    Overloaded,
    /// This process ends.
    #[error("the service is shutting down before it has read what was uploaded: repeat this")]
    Draining,
    /// Object storage does not answer.
    #[error("object storage does not answer: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PayloadError {
    pub(crate) fn invalid(field: &str, description: String) -> Self {
        Self::Invalid([FieldViolation { field: field.to_owned(), description }])
    }
}

impl ServiceError for PayloadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Mismatch { .. } => ErrorCode::FailedPrecondition,
            Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::IdReused { .. } => ErrorCode::AlreadyExists,
            Self::Overloaded => ErrorCode::Exhausted,
            Self::Draining | Self::Storage(_) => ErrorCode::Unavailable,
            Self::Store(error) => error.code(),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } => Reason::PayloadNotFound,
            Self::Mismatch { .. } => Reason::ChecksumMismatch,
            Self::Invalid(_) => Reason::InvalidField,
            Self::IdReused { .. } => Reason::IdempotencyKeyReused,
            Self::Overloaded => Reason::Overloaded,
            Self::Draining => Reason::Draining,
            Self::Storage(_) => Reason::DependencyUnavailable,
            Self::Store(error) => error.reason(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::Storage(_) => Some(Duration::from_secs(1)),
            Self::Store(error) => error.retry_after(),
            _ => None,
        }
    }

    fn field_violations(&self) -> &[FieldViolation] {
        if let Self::Invalid(violations) = self { violations } else { &[] }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotFound { id } | Self::Mismatch { id, .. } | Self::IdReused { id } => {
                vec![("object_id", id.to_string())]
            }
            _ => Vec::new(),
        }
    }
}
