use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use sqlx::PgPool;
use tidegate_model::Timestamp;
use tidegate_store::{StoreError, log::LogBatch};
use tokio::{sync::watch, task::JoinSet};

use super::{
    append::Appender,
    follow::{self, Signals},
};

/// What logs need beside the pool of the store: connections that copy, and news of commits. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PgLogs(Arc<Inner>);

struct Inner {
    pool: PgPool,
    listening: PgPool,
    appender: Appender,
    signals: Arc<Signals>,
    /// Tell of commits and hear of them, from the first use on: most processes have nothing to do with logs.
    tasks: OnceLock<JoinSet<()>>,
}

impl PgLogs {
    /// Opens connections when they are needed.
    ///
    /// # Errors
    /// The URL cannot be read, or demands TLS; the text says what is wrong and has no password.
    pub(crate) fn new(url: &str, pool: PgPool, listening: PgPool) -> Result<Self, String> {
        let (appender, signals) = (Appender::new(url)?, Arc::default());
        Ok(Self(Arc::new(Inner { pool, listening, appender, signals, tasks: OnceLock::new() })))
    }

    /// Stores what is new of `batches`, and tells of it.
    pub(super) async fn append(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        let signals = self.follow_commits();
        let n_stored = self.0.appender.append(batches, now).await?;
        if n_stored > 0 {
            signals.committed();
        }
        Ok(n_stored)
    }

    /// Changes whenever some process has stored lines.
    pub(super) fn commits(&self) -> watch::Receiver<u64> {
        self.follow_commits().subscribe()
    }

    fn follow_commits(&self) -> &Signals {
        let Inner { pool, listening, signals, tasks, .. } = &*self.0;
        tasks.get_or_init(|| follow::spawn(pool, listening, signals));
        signals
    }
}

impl fmt::Debug for PgLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgLogs")
    }
}
