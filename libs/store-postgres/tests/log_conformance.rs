//! Postgres keeps the promises of the port of log storage.

use std::sync::Arc;

use tidegate_store::log::LogStore;
use tidegate_store_postgres::{LOG_STATEMENTS, LogWrites, PgOptions, PgStore, testing::Database};

/// Both ways of writing keep them.
async fn with_both<Fut: Future<Output = ()>>(case: impl Fn(Arc<dyn LogStore>) -> Fut) {
    with_store(LogWrites::Insert, &case).await;
    with_store(LogWrites::Auto, &case).await;
}

async fn with_store<Fut: Future<Output = ()>>(writes: LogWrites, case: impl Fn(Arc<dyn LogStore>) -> Fut) {
    let database = Database::create().await;
    let options = PgOptions { max_connections: 4, log_writes: writes, ..PgOptions::default() };
    let store = PgStore::connect(database.url(), &options).await.expect("the new database opens");
    case(Arc::new(store)).await;
    database.remove().await;
}

tidegate_store::log_store_conformance!(with_both, LOG_STATEMENTS);
