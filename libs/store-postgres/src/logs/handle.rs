use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use sqlx::{PgPool, query};
use tidegate_model::Timestamp;
use tidegate_store::{StoreError, log::LogBatch};
use tokio::{
    sync::{OnceCell, watch},
    task::JoinSet,
};

use super::{
    copy::Copier,
    follow::{self, Signals},
    insert, queries,
    row::column,
};
use crate::error::store_error;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogWrites {
    /// By COPY over connections of their own; where connections have TLS, by INSERT.
    #[default]
    Auto,
    /// By INSERT through the pool.
    Insert,
}

/// What logs need beside the pool of the store: connections that copy, where they may, and news of commits. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PgLogs(Arc<Inner>);

struct Inner {
    pool: PgPool,
    listening: PgPool,
    copier: Option<Copier>,
    may_copy: OnceCell<bool>,
    signals: Arc<Signals>,
    /// Tell of commits and hear of them, from the first use on: most processes have nothing to do with logs.
    tasks: OnceLock<JoinSet<()>>,
}

impl PgLogs {
    /// Opens connections when they are needed.
    pub(crate) fn new(url: &str, writes: LogWrites, pool: PgPool, listening: PgPool) -> Self {
        let copier = match writes {
            LogWrites::Auto => Copier::new(url),
            LogWrites::Insert => None,
        };
        Self(Arc::new(Inner {
            pool,
            listening,
            copier,
            may_copy: OnceCell::new(),
            signals: Arc::default(),
            tasks: OnceLock::new(),
        }))
    }

    /// Stores what is new of `batches`, and tells of it.
    pub(super) async fn append(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        if batches.iter().all(|batch| batch.lines.is_empty()) {
            return Ok(0);
        }
        let signals = self.follow_commits();
        let n_stored = match &self.0.copier {
            Some(copier) if self.may_copy().await? => copier.append(batches, now).await?,
            _ => insert::append(&self.0.pool, batches, now).await?,
        };
        if n_stored > 0 {
            signals.committed();
        }
        Ok(n_stored)
    }

    /// Changes whenever some process has stored lines.
    pub(super) fn commits(&self) -> watch::Receiver<u64> {
        self.follow_commits().subscribe()
    }

    /// Whether the pool does without TLS: with `sslmode=prefer` that is for the server to say, and what it encrypts
    /// for others must not go in the clear here.
    async fn may_copy(&self) -> Result<bool, StoreError> {
        let ask = || async {
            let row = query(queries::USES_TLS.sql()).fetch_one(&self.0.pool).await.map_err(store_error)?;
            Ok(!column::<bool>(&row, 0)?)
        };
        self.0.may_copy.get_or_try_init(ask).await.copied()
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
