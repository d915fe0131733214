use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tidegate_sdk_core::{Error, ErrorKind};

/// `error` as the exception that `tidegate.errors` has for it.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let made = py.import("tidegate.errors").and_then(|errors| {
        errors.call_method1("_from_core", (error.kind().as_str(), error.reason(), error.message()))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyRuntimeError::new_err(error.to_string()),
    }
}

/// The kinds of errors, as `_from_core` is told them.
#[pyfunction]
pub(crate) fn error_kinds() -> Vec<&'static str> {
    ErrorKind::ALL.map(ErrorKind::as_str).to_vec()
}
