//! Errors of the connections that copy. Those of sqlx are the whole store's.

use tidegate_store::StoreError;

pub(super) fn copy_error(error: tokio_postgres::Error) -> StoreError {
    match error.code().map(|state| state.code()) {
        Some(code) if is_passing(code) => StoreError::Unavailable(Box::new(error)),
        Some(_) => StoreError::Internal(describe(&error)),
        // No answer of the server: the connection is gone.
        None => StoreError::Unavailable(Box::new(error)),
    }
}

pub(super) fn commit_error(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(_) => copy_error(error),
        None => StoreError::CommitUnknown(Box::new(error)),
    }
}

/// Whether an SQLSTATE is about the moment and not about the statement.
fn is_passing(code: &str) -> bool {
    // Connection lost; shutdown and the like; no resources; canceled by a timeout; deadlock and the like; a lock
    // that was not free in time; read-only after a failover.
    ["08", "57", "53", "40"].iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "25006")
}

fn describe(error: &tokio_postgres::Error) -> String {
    // The text of tokio_postgres' own error is only "db error".
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{} {}", error.code().code(), error.message()))
}
