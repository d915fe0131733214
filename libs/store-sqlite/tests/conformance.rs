//! SQLite keeps the promises of the store's port.

use std::sync::Arc;

use tidegate_store::{RunStore, conformance::Fixture};
use tidegate_store_sqlite::{STATEMENTS, SqliteStore};

struct InMemory(SqliteStore);

impl Fixture for InMemory {
    async fn open() -> Self {
        Self(SqliteStore::in_memory().await.expect("a temporary database opens"))
    }

    fn store(&self) -> Arc<dyn RunStore> {
        Arc::new(self.0.clone())
    }

    async fn close(self) {}
}

tidegate_store::run_store_conformance!(InMemory, STATEMENTS);
