use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::{facts, settings::Settings};

/// An empty Postgres database of a bench's own.
pub(crate) struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes one, and prints the server's settings.
    pub async fn create(settings: &Settings) -> anyhow::Result<Self> {
        let server = settings.postgres.clone();
        let (base, _) = server.rsplit_once('/').context("--postgres ends in the name of a database")?;
        let name = format!("bench_{}", Uuid::now_v7().simple());
        let this = Self { url: format!("{base}/{name}"), name, server };
        println!("{}", facts::postgres(&mut this.connect_to_server().await?).await?);
        this.execute(format!("CREATE DATABASE {}", this.name)).await?;
        Ok(this)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes all dirty pages, so that what is measured next does not pay for what was before.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        self.execute("CHECKPOINT".to_owned()).await
    }

    /// Deletes it. To be awaited also where a bench has failed.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.execute(format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }

    /// Statements of ours, with a name of hexadecimal digits.
    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let mut server = self.connect_to_server().await?;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
        Ok(server.close().await?)
    }

    async fn connect_to_server(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.server).await.with_context(|| format!("connect to {}", self.server))
    }
}
