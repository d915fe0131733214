use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{OpenError, error::primary_code};

static MIGRATOR: Migrator = sqlx::migrate!();

const N_READERS: u32 = 4;
/// How long a statement waits for another process that writes the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a transaction waits for the one writer. Transactions take milliseconds, so this is a long queue.
const WRITER_TIMEOUT: Duration = Duration::from_secs(30);

/// A SQLite file as the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer at a time, and the pool lets transactions in by the order of asking.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) commits: Arc<watch::Sender<u64>>,
    pub(crate) log_commits: Arc<watch::Sender<u64>>,
    /// Deletes an ephemeral database when the last clone of the store goes.
    _folder: Option<Arc<TempDir>>,
}

impl SqliteStore {
    /// Opens the file, makes it and its folder where they are missing, and brings its schema up to date.
    /// A process that dies loses no commit; a machine that dies may lose the last ones, never the consistency.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, SqliteSynchronous::Normal, None).await
    }

    /// A database that goes away with the last clone of this store: a file in a temporary folder, since SQLite's
    /// own in-memory databases do not let one connection read while another writes.
    pub async fn in_memory() -> Result<Self, OpenError> {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-")
            .tempdir()
            .map_err(|cause| OpenError::Folder { path: std::env::temp_dir(), cause })?;
        let path = folder.path().join("tidegate.db");
        Self::open_with(&path, SqliteSynchronous::Off, Some(folder)).await
    }

    async fn open_with(
        path: &Path,
        synchronous: SqliteSynchronous,
        folder: Option<TempDir>,
    ) -> Result<Self, OpenError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let unusable = |cause| OpenError::Folder { path: parent.to_owned(), cause };
            tokio::fs::create_dir_all(parent).await.map_err(unusable)?;
            // A folder without the right to read it is told apart here, in words that SQLite does not have.
            let _entries = tokio::fs::read_dir(parent).await.map_err(unusable)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(1_000);
        let open_error = |error: sqlx::Error| open_error(path, &error);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(WRITER_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(open_error)?;
        match MIGRATOR.run(&writer).await {
            Ok(()) => {}
            // A newer program was here. Its schema has all of ours.
            Err(MigrateError::VersionMissing(_)) if is_borne(&writer).await => {}
            Err(error) => return Err(migrate_error(path.to_owned(), error)),
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(N_READERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(open_error)?;
        let commits = Arc::new(watch::Sender::new(0));
        let log_commits = Arc::new(watch::Sender::new(0));
        Ok(Self { writer, readers, commits, log_commits, _folder: folder.map(Arc::new) })
    }
}

/// The newest schema that this program knows.
pub(crate) fn known_schema() -> u32 {
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    u32::try_from(newest).unwrap_or(u32::MAX)
}

/// Whether a program that knows this schema may use a file with a newer one.
async fn is_borne(pool: &SqlitePool) -> bool {
    let floor = sqlx::query_scalar::<_, i64>("SELECT floor FROM schema_floor").fetch_one(pool).await;
    floor.is_ok_and(|floor| floor <= known_schema().into())
}

fn open_error(path: &Path, error: &sqlx::Error) -> OpenError {
    const CORRUPT: i32 = 11;
    const NOTADB: i32 = 26;
    let (path, cause) = (path.to_owned(), error.to_string());
    let code = error.as_database_error().and_then(|error| primary_code(error.code().as_deref()));
    match code {
        Some(CORRUPT | NOTADB) => OpenError::NotADatabase { path, cause },
        _ => OpenError::File { path, cause },
    }
}

fn migrate_error(path: PathBuf, error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(found) => OpenError::NewerSchema { path, found, known: known_schema() },
        MigrateError::Execute(error) => open_error(&path, &error),
        other => OpenError::Migration { path, cause: other.to_string() },
    }
}
