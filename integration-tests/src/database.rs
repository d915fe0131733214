use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// An empty database of the test's own, on the Postgres that TIDEGATE_TEST_POSTGRES_URL names.
pub struct Database {
    url: String,
}

impl Database {
    /// Makes one. It is gone with the server that `integration-tests/run` starts.
    ///
    /// # Panics
    /// There is no Postgres.
    pub async fn create() -> Self {
        let server = std::env::var("TIDEGATE_TEST_POSTGRES_URL");
        let server =
            server.expect("TIDEGATE_TEST_POSTGRES_URL is not set: use integration-tests/run integration");
        let name = format!("t_{}", tidegate_sdk_core::new_run_id().replace('-', ""));
        let mut connection = PgConnection::connect(&server).await.unwrap();
        // The name is ours, of hexadecimal digits.
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{base}/{name}") }
    }

    /// `postgres://…/t_…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs one statement.
    ///
    /// # Panics
    /// It fails.
    pub async fn execute(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}
