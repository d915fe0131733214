//! Who learns of stored lines, and when. A hint: tails also look by themselves now and then.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener, query};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tracing::warn;

use super::queries::{CHANNEL, NOTIFY};

/// How long to leave a server alone that does not answer.
const BACKOFF: Duration = Duration::from_secs(1);

/// What is told after a commit.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// To the readers in this process.
    commits: watch::Sender<u64>,
    /// To the task that tells the other processes. Commits that come while it is at work are told as one.
    tell_others: Notify,
}

impl Signals {
    /// This process has stored lines.
    pub(super) fn committed(&self) {
        self.heard();
        self.tell_others.notify_one();
    }

    /// Some process has, or may have.
    fn heard(&self) {
        self.commits.send_modify(|n_commits| *n_commits = n_commits.wrapping_add(1));
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }
}

/// Starts the tasks. They end with the set.
pub(super) fn spawn(pool: &PgPool, listening: &PgPool, signals: &Arc<Signals>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tell_others(pool.clone(), Arc::clone(signals)));
    tasks.spawn(listen(listening.clone(), Arc::clone(signals)));
    tasks
}

/// Tells other processes of our commits, after them and not inside: Postgres lets only one transaction with a
/// NOTIFY commit at a time, and the wait for its disk would be everyone's.
async fn tell_others(pool: PgPool, signals: Arc<Signals>) {
    loop {
        signals.tell_others.notified().await;
        if let Err(error) = query(NOTIFY.sql()).execute(&pool).await {
            warn!("other processes were not told of stored logs: {error}");
            tokio::time::sleep(BACKOFF).await;
        }
    }
}

/// Wakes our readers when other processes have stored lines (and once more for our own, which does no harm).
async fn listen(pool: PgPool, signals: Arc<Signals>) {
    loop {
        if let Err(error) = listen_until_broken(&pool, &signals).await {
            warn!("stored logs of other processes are not heard of: {error}");
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

async fn listen_until_broken(pool: &PgPool, signals: &Signals) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // First for what was told before we listened; then for each message, and for a connection that broke and
        // was made anew.
        signals.heard();
        listener.try_recv().await?;
    }
}
