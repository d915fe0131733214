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

    /// Lets nobody in any more, and puts those out that are: for its users Postgres is away.
    ///
    /// # Panics
    /// It cannot.
    pub async fn shut(&self) {
        self.administer("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").await;
        let name = self.name();
        self.administer(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ))
        .await;
    }

    /// Lets everybody in again.
    ///
    /// # Panics
    /// It cannot.
    pub async fn open(&self) {
        self.administer("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true").await;
    }

    fn name(&self) -> &str {
        self.url.rsplit_once('/').unwrap().1
    }

    /// Runs a statement in the database of the server itself; `{}` is the name of this one.
    async fn administer(&self, sql: &str) {
        let server = std::env::var("TIDEGATE_TEST_POSTGRES_URL").unwrap();
        let mut connection = PgConnection::connect(&server).await.unwrap();
        // The name is ours, of hexadecimal digits.
        sqlx::query(AssertSqlSafe(sql.replace("{}", self.name()))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
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
