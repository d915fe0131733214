//! Postgres keeps the promises of the store's port.

use std::sync::Arc;

use tidegate_store::{RunStore, conformance::Fixture};
use tidegate_store_postgres::{PgOptions, PgStore, STATEMENTS, testing::Database};

struct Postgres {
    store: PgStore,
    database: Database,
}

impl Fixture for Postgres {
    async fn open() -> Self {
        let database = Database::create().await;
        let options = PgOptions { max_connections: 8, ..PgOptions::default() };
        let store = PgStore::connect(database.url(), &options).await.expect("the new database opens");
        Self { store, database }
    }

    fn store(&self) -> Arc<dyn RunStore> {
        Arc::new(self.store.clone())
    }

    async fn close(self) {
        drop(self.store);
        self.database.remove().await;
    }
}

tidegate_store::run_store_conformance!(Postgres, STATEMENTS);
