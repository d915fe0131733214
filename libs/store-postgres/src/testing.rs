//! A database for each test, on the server of `TIDEGATE_TEST_POSTGRES_URL`.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, types::Json};
use tidegate_store::{ListQuery, StoreError, adapter};

use crate::{PgOptions, PgStore, error::store_error, filter, open, row};

/// An empty database.
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes one. Its name is unique, so that tests run side by side.
    ///
    /// # Panics
    /// There is no such server, as with the other methods.
    pub async fn create() -> Self {
        let server = std::env::var("TIDEGATE_TEST_POSTGRES_URL").expect(
            "TIDEGATE_TEST_POSTGRES_URL names the Postgres to test against: integration-tests/run starts one and sets it",
        );
        let name = format!("t_{}", uuid::Uuid::now_v7().simple());
        let (base, query) = server.split_once('?').map_or((server.as_str(), None), |(b, q)| (b, Some(q)));
        let base = base.strip_suffix("/postgres").expect("the URL ends in /postgres");
        let url = format!("{base}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        let database = Self { server, name, url };
        database.execute(format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Deletes it with its connections.
    pub async fn remove(self) {
        self.execute(format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    /// Runs a statement on the server, outside the database.
    pub async fn execute(&self, statement: String) {
        let mut server = PgConnection::connect(&self.server).await.expect("the server answers");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await.expect("the statement works");
        server.close().await.expect("the connection closes");
    }
}

/// The store's connections, to ask the database what no port tells: with the settings that its statements have.
pub fn pool(store: &PgStore) -> &PgPool {
    &store.pool
}

/// Brings the schema of a database to this version.
///
/// # Panics
/// A migration fails.
pub async fn migrate_to(version: u32, database: &Database) {
    open::migrate_to(version, database.url()).await.expect("the migrations work");
}

/// The store of a process that was started when the schema was as it is now.
///
/// # Panics
/// The server does not answer.
pub async fn connect_unmigrated(database: &Database, options: &PgOptions) -> PgStore {
    open::connect_unmigrated(database.url(), options).await.expect("the database opens")
}

/// The plans by which a page is read, as the statements of the store have them, in Postgres' own form.
///
/// # Errors
/// As [`list_runs`](tidegate_store::RunStore::list_runs).
pub async fn plans(store: &PgStore, list: &ListQuery) -> Result<Vec<serde_json::Value>, StoreError> {
    let mut plans = Vec::new();
    let mut tx = store.begin_for_values().await?;
    for part in adapter::page_parts(list) {
        let mut sql = filter::explain_list(list, &part)?;
        let plan = sql.build().persistent(false).fetch_one(&mut *tx).await.map_err(store_error)?;
        let Json(plan) = row::column::<Json<serde_json::Value>>(&plan, 0)?;
        plans.push(plan[0]["Plan"].clone());
    }
    Ok(plans)
}
