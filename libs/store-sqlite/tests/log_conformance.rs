//! SQLite keeps the promises of the port of log storage.

use std::sync::Arc;

use tidegate_store::log::LogStore;
use tidegate_store_sqlite::{LOG_STATEMENTS, SqliteStore};

async fn with_store<Fut: Future<Output = ()>>(case: impl FnOnce(Arc<dyn LogStore>) -> Fut) {
    let store = SqliteStore::in_memory().await.expect("a temporary database opens");
    case(Arc::new(store)).await;
}

tidegate_store::log_store_conformance!(with_store, LOG_STATEMENTS);
