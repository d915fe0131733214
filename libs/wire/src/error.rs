use std::collections::HashMap;

use tidegate_model::{ErrorCode, FieldViolation, Reason, ServiceError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `google.rpc.ErrorInfo.domain` of all our errors.
const DOMAIN: &str = "tidegate";

/// The only place where an error becomes a gRPC status.
///
/// The text of an internal error is fixed; its cause goes to the log, not to the caller.
pub fn to_status(error: &impl ServiceError) -> Status {
    let metadata: HashMap<String, String> =
        error.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(error.reason().as_str(), DOMAIN, metadata);
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    if let Some((kind, name)) = error.resource() {
        details.set_resource_info(kind, name, "", "");
    }
    for violation in error.field_violations() {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    let message = if error.code() == ErrorCode::Internal {
        tracing::error!(error = %Chain(error), "a request failed by a fault of ours");
        "internal error; the log of the service has the cause".to_owned()
    } else {
        Chain(error).to_string()
    };
    Status::with_error_details(grpc_code(error.code()), message, details)
}

/// Faults of a request that are told; a status travels in headers, whose size clients bound.
const MAX_VIOLATIONS: usize = 16;

/// INVALID_ARGUMENT with the fields that are wrong, the first 16 of them. `violations` has at least one.
pub fn invalid(mut violations: Vec<FieldViolation>) -> Status {
    if let Some(n_more) = violations.len().checked_sub(MAX_VIOLATIONS).filter(|n_more| *n_more > 0) {
        violations.truncate(MAX_VIOLATIONS);
        let description = format!("{n_more} more fields are wrong");
        violations.push(FieldViolation { field: "…".to_owned(), description });
    }
    to_status(&InvalidRequest { violations })
}

/// INVALID_ARGUMENT for one field.
pub fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    invalid(vec![FieldViolation { field: field.to_owned(), description: description.into() }])
}

/// An error with its causes, as one sentence.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct InvalidRequest {
    violations: Vec<FieldViolation>,
}

impl std::fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (violation_idx, violation) in self.violations.iter().enumerate() {
            let separator = if violation_idx == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidRequest {}

impl ServiceError for InvalidRequest {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidArgument
    }

    fn reason(&self) -> Reason {
        Reason::InvalidField
    }

    fn field_violations(&self) -> &[FieldViolation] {
        &self.violations
    }
}

const fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ErrorCode::Exhausted => Code::ResourceExhausted,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_every_wrong_field() {
        let violation = |field: &str| FieldViolation { field: field.into(), description: "is empty".into() };
        let status = invalid(vec![violation("run.name"), violation("run.queue")]);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "run.name: is empty; run.queue: is empty");
        let details = status.get_error_details();
        assert_eq!(details.error_info().expect("has an ErrorInfo").reason, "INVALID_FIELD");
        assert_eq!(details.bad_request().expect("has a BadRequest").field_violations.len(), 2);
    }
}
