use tidegate_model::{ErrorCode, Reason, ServiceError};

/// Why an operation did not succeed. Each operation may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The delivery state cannot be reached, or it did not answer in time.
    #[error("the delivery state is unavailable: {operation} failed")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ServiceError for Error {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }

    fn reason(&self) -> Reason {
        Reason::DependencyUnavailable
    }
}
