use sqlx::postgres::PgDatabaseError;
use tidegate_store::StoreError;

/// Why a database cannot be used. No message has the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL does not read.
    #[error(
        "the Postgres URL does not read ({cause}): write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Url {
        /// What is wrong.
        cause: String,
    },
    /// Nothing answers there, or it lets us not in.
    #[error(
        "Postgres at {server} cannot be reached ({cause}): see that it runs, and that address, database, user and \
         password are right"
    )]
    Unreachable {
        /// Host, port and database.
        server: String,
        /// What the system or the server says.
        cause: String,
    },
    /// A later version of Tidegate has used the database.
    #[error(
        "the database at {server} has schema {found}, which is newer than {known} of this program: use the version \
         of Tidegate that migrated it, or a later one"
    )]
    NewerSchema {
        /// Host, port and database.
        server: String,
        /// The schema of the database.
        found: i64,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// The user may not make or change the tables.
    #[error(
        "the Postgres user `{user}` may not set up the schema at {server} ({cause}): make it the owner of the \
         database, or grant it CREATE on the schema `public`"
    )]
    MissingRights {
        /// Host, port and database.
        server: String,
        /// The user.
        user: String,
        /// What the server says.
        cause: String,
    },
    /// A migration failed or was changed after it had been applied: a fault of ours.
    #[error("the schema at {server} cannot be brought up to date ({cause}): this is a fault of Tidegate")]
    Migration {
        /// Host, port and database.
        server: String,
        /// What went wrong.
        cause: String,
    },
}

pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        // 57014: by statement_timeout.
        sqlx::Error::Database(database) if database.code().as_deref() == Some("57014") => {
            StoreError::TooSlow(Box::new(error))
        }
        _ if is_passing(&error) => StoreError::Unavailable(Box::new(error)),
        _ => internal(&error),
    }
}

/// The error of a COMMIT: where the connection broke, nobody knows what became of it.
pub(crate) fn commit_error(error: sqlx::Error) -> StoreError {
    match &error {
        // 40: the server rolled back. Everything else that passes was said, or not said, by a server going away.
        sqlx::Error::Database(database) if database.code().is_some_and(|code| code.starts_with("40")) => {
            StoreError::Unavailable(Box::new(error))
        }
        _ if is_passing(&error) => StoreError::CommitUnknown(Box::new(error)),
        _ => internal(&error),
    }
}

fn internal(error: &sqlx::Error) -> StoreError {
    // Constraints by name: the text of the message depends on the server's language.
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(error) => {
            let constraint = error.constraint().map(|name| format!(" of {name}")).unwrap_or_default();
            StoreError::Internal(format!("{}{constraint}: {}", error.code(), error.message()))
        }
        None => StoreError::Internal(error.to_string()),
    }
}

/// Whether repeating the transaction may help.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // Not what Postgres says: a connection that broke while it was opened reads like this, as does a pooler or a load
        // balancer that has lost its server.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08 connection, 25006 read-only (a standby), 40 rolled back (serialization, deadlock), 53 out of resources,
        // 55P03 lock timeout, 57 shut down or cancelled by a timeout, 58 system error.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58"))
                || matches!(&*code, "25006" | "55P03")
        }),
        _ => false,
    }
}
