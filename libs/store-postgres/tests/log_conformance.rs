//! Postgres keeps the promises of the port of log storage.

mod database;

use std::sync::Arc;

use database::Database;
use tidegate_store::log::LogStore;
use tidegate_store_postgres::{LOG_STATEMENTS, PgOptions, PgStore};

async fn with_store<Fut: Future<Output = ()>>(case: impl FnOnce(Arc<dyn LogStore>) -> Fut) {
    let database = Database::create().await;
    let options = PgOptions { max_connections: 4, ..PgOptions::default() };
    let store = PgStore::connect(database.url(), &options).await.expect("the new database opens");
    case(Arc::new(store)).await;
    database.remove().await;
}

tidegate_store::log_store_conformance!(with_store, LOG_STATEMENTS);
