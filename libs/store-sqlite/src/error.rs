use std::path::PathBuf;

use tidegate_store::StoreError;

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not there and cannot be made, or may not be read.
    #[error(
        "the folder {path} cannot be used for the database ({cause}): give another folder, or mend its rights"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file cannot be opened or written.
    #[error("the database {path} cannot be opened ({cause}): mend the rights of the file and of its folder")]
    File {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: String,
    },
    /// The file is something else, or is damaged.
    #[error(
        "{path} is not a readable SQLite database ({cause}): restore it from a backup, or give another file"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: String,
    },
    /// A later version of Tidegate has used the file.
    #[error(
        "the database {path} has schema {found}, which is newer than {known} of this program: \
         use the version of Tidegate that wrote it, or a later one"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// A migration failed or was changed after it had been applied: a fault of ours.
    #[error(
        "the schema of the database {path} cannot be brought up to date ({cause}): this is a fault of Tidegate"
    )]
    Migration {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
}

pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(Box::new(error)),
        // Another process has the file locked for longer than the busy timeout, or the disk fails or is full.
        sqlx::Error::Database(database) if is_passing(database.code().as_deref()) => {
            StoreError::Unavailable(Box::new(error))
        }
        _ => StoreError::Internal(error.to_string()),
    }
}

fn is_passing(code: Option<&str>) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    primary_code(code).is_some_and(|code| matches!(code, BUSY | LOCKED | IOERR | FULL))
}

/// SQLite's result code without the part that extends it.
pub(crate) fn primary_code(code: Option<&str>) -> Option<i32> {
    code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff)
}
