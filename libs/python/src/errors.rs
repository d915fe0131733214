use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tidegate_sdk_core::{Error, ErrorKind};

/// `error` as the exception that `tidegate.errors` has for it.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let made = py.import("tidegate.errors").and_then(|errors| {
        errors.call_method1("_from_core", (kind_name(error.kind()), error.reason(), error.message()))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyRuntimeError::new_err(error.to_string()),
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "invalid_argument",
        ErrorKind::NotFound => "not_found",
        ErrorKind::AlreadyExists => "already_exists",
        ErrorKind::FailedPrecondition => "failed_precondition",
        ErrorKind::Exhausted => "exhausted",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::DeadlineExceeded => "deadline_exceeded",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::Internal => "internal",
        ErrorKind::RunFailed => "run_failed",
        ErrorKind::RunCrashed => "run_crashed",
        ErrorKind::RunCancelled => "run_cancelled",
        ErrorKind::Payload => "payload",
    }
}
