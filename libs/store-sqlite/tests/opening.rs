//! What becomes of a file: kept over restarts, and refused with a reason.

use std::{path::Path, sync::Arc};

use tidegate_store::{
    RunStore,
    conformance::fixture::{append, event, get, insert, queued},
};
use tidegate_store_sqlite::{OpenError, SqliteStore};

async fn refused(path: &Path) -> OpenError {
    SqliteStore::open(path).await.expect_err("the file cannot be used")
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/nested/tidegate.db");
    let run = queued();
    let cursor = {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::open(&path).await.unwrap());
        insert(&store, &[&run]).await;
        append(&store, &[event(&run, 1)]).await;
        store.feed_end().await.unwrap()
    };
    let store: Arc<dyn RunStore> = Arc::new(SqliteStore::open(&path).await.unwrap());
    assert_eq!(get(&store, run.id).await, run);
    assert_eq!(store.feed_end().await.unwrap(), cursor);
    assert_eq!(store.read_feed(&cursor, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn an_ephemeral_database_goes_with_its_last_clone() {
    let store = SqliteStore::in_memory().await.unwrap();
    let other = store.clone();
    drop(store);
    let store: Arc<dyn RunStore> = Arc::new(other);
    let run = queued();
    insert(&store, &[&run]).await;
    assert_eq!(get(&store, run.id).await, run);
}

#[tokio::test]
async fn a_newer_schema_is_served_beside_newer_programs_and_refused_where_it_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let url = format!("sqlite://{}", path.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'later', TRUE, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let store: Arc<dyn RunStore> = Arc::new(SqliteStore::open(&path).await.unwrap());
    let run = queued();
    insert(&store, &[&run]).await;
    assert_eq!(get(&store, run.id).await, run);
    drop(store);
    sqlx::query("UPDATE schema_floor SET floor = 9000").execute(&pool).await.unwrap();
    pool.close().await;
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::NewerSchema { found: 9000, .. }), "{error:?}");
    assert!(error.to_string().contains("use the version of Tidegate"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, and long enough to be read as the header of one".repeat(20))
        .unwrap();
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("notes.txt"), "{error}");

    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
    let error = refused(&path.join("tidegate.db")).await;
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
}
