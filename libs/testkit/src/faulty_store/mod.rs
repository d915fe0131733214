mod forwarded;
mod tx;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tidegate_model::{BulkOperationId, DeploymentName, Epoch, Namespace, RunId, SessionId, Timestamp};
use tidegate_orchestration::Run;
use tidegate_store::{
    Below, BulkOperation, BulkPlace, Count, CountQuery, Deployment, DeploymentKey, DeploymentRows,
    DeploymentVersion, EventRow, FeedCursor, FeedEvent, InputQuery, KeyUse, ListQuery, Maintained, RunDetail,
    RunInput, RunStore, RunTx, Selection, Session, StoreError,
};
use tokio::sync::watch;

pub use tx::Faults;

use tx::FaultyTx;

/// A store that breaks off as connections do, at times drawn by a seed; that can lose its wake-ups; and that counts
/// what is read.
pub struct FaultyStore {
    inner: Arc<dyn RunStore>,
    faults: Arc<Faults>,
    /// Never sent: stands for the wake-ups that are lost.
    silence: watch::Sender<u64>,
    is_silent: AtomicBool,
    n_feed_reads: AtomicU64,
    n_run_reads: AtomicU64,
    n_deployment_reads: AtomicU64,
    /// True while reads of histories wait.
    are_histories_held: watch::Sender<bool>,
    /// How often it was looked for what is open below runs.
    n_walks: watch::Sender<u64>,
    /// How many of these looks may give what they have found.
    n_walks_allowed: watch::Sender<u64>,
    /// True where counts of runs take too long.
    are_counts_slow: AtomicBool,
    /// Looks below this run fail.
    broken_below: Mutex<Option<RunId>>,
}

impl FaultyStore {
    /// Breaks off `rate` (0 to 1) of the commits of `inner`.
    pub fn new(inner: Arc<dyn RunStore>, rate: f64) -> Self {
        Self {
            inner,
            faults: Arc::new(Faults::new(rate)),
            silence: watch::Sender::new(0),
            is_silent: AtomicBool::new(false),
            n_feed_reads: AtomicU64::new(0),
            n_run_reads: AtomicU64::new(0),
            n_deployment_reads: AtomicU64::new(0),
            are_histories_held: watch::Sender::new(false),
            n_walks: watch::Sender::new(0),
            n_walks_allowed: watch::Sender::new(u64::MAX),
            are_counts_slow: AtomicBool::new(false),
            broken_below: Mutex::new(None),
        }
    }

    /// From now on `commits` gives a channel that says nothing.
    pub fn lose_wakeups(&self) {
        self.is_silent.store(true, Ordering::SeqCst);
    }

    /// From now on counts of runs take too long.
    pub fn slow_counts(&self) {
        self.are_counts_slow.store(true, Ordering::SeqCst);
    }

    /// From now on commits wait until they are let go.
    pub fn hold_commits(&self) {
        self.faults.are_held.send_replace(true);
    }

    /// Lets the commits go that wait.
    pub fn release_commits(&self) {
        self.faults.are_held.send_replace(false);
    }

    /// From now on reads of a run's history wait until they are let go.
    pub fn hold_histories(&self) {
        self.are_histories_held.send_replace(true);
    }

    /// Lets the reads of histories go that wait.
    pub fn release_histories(&self) {
        self.are_histories_held.send_replace(false);
    }

    /// How many commits were asked for, those included that wait.
    pub fn n_commits(&self) -> u64 {
        self.faults.n_commits.load(Ordering::SeqCst)
    }

    /// How many commits broke off.
    pub fn n_faults(&self) -> u64 {
        self.faults.n_faults.load(Ordering::SeqCst)
    }

    /// How often the feed or a history was read.
    pub fn n_feed_reads(&self) -> u64 {
        self.n_feed_reads.load(Ordering::SeqCst)
    }

    /// How often runs were read outside of transactions.
    pub fn n_run_reads(&self) -> u64 {
        self.n_run_reads.load(Ordering::SeqCst)
    }

    /// How often deployments were looked up.
    pub fn n_deployment_reads(&self) -> u64 {
        self.n_deployment_reads.load(Ordering::SeqCst)
    }

    /// From now on only the first `n_walks` looks for what is open below runs, counted from the beginning, give what they
    /// have found; the others wait with it until they are allowed to.
    pub fn allow_walks(&self, n_walks: u64) {
        self.n_walks_allowed.send_replace(n_walks);
    }

    /// Waits until so many looks for what is open below runs, counted from the beginning, have found it.
    pub async fn until_walked(&self, n_walks: u64) {
        // The sender is in `self`, so the wait ends with a value.
        let _ = self.n_walks.subscribe().wait_for(|n_walked| *n_walked >= n_walks).await;
    }

    /// From now on looks for what is open below this run, among others, fail.
    pub fn break_walks_below(&self, run: Option<RunId>) {
        *self.broken_below.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }
}

#[async_trait]
impl RunStore for FaultyStore {
    async fn begin(&self) -> Result<Box<dyn RunTx>, StoreError> {
        Ok(Box::new(FaultyTx { inner: self.inner.begin().await?, faults: Arc::clone(&self.faults) }))
    }

    async fn begin_claims(&self, namespaces: &BTreeSet<Namespace>) -> Result<Box<dyn RunTx>, StoreError> {
        let inner = self.inner.begin_claims(namespaces).await?;
        Ok(Box::new(FaultyTx { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn begin_queue_change(&self, namespace: &Namespace) -> Result<Box<dyn RunTx>, StoreError> {
        let inner = self.inner.begin_queue_change(namespace).await?;
        Ok(Box::new(FaultyTx { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn get_runs(&self, namespace: Option<&Namespace>, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.n_run_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_runs(namespace, ids).await
    }

    async fn get_details(
        &self,
        namespace: Option<&Namespace>,
        ids: &[RunId],
    ) -> Result<Vec<RunDetail>, StoreError> {
        self.n_run_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_details(namespace, ids).await
    }

    async fn list_runs(&self, query: &ListQuery) -> Result<Vec<Run>, StoreError> {
        self.n_run_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.list_runs(query).await
    }

    async fn count_runs(&self, query: &CountQuery) -> Result<Count, StoreError> {
        if self.are_counts_slow.load(Ordering::SeqCst) {
            return Err(StoreError::TooSlow("the statement took too long, as the test wants it".into()));
        }
        self.inner.count_runs(query).await
    }

    async fn keys_of_run(
        &self,
        namespace: &Namespace,
        run: RunId,
        limit: usize,
    ) -> Result<Vec<KeyUse>, StoreError> {
        self.inner.keys_of_run(namespace, run, limit).await
    }

    async fn find_key(
        &self,
        namespace: &Namespace,
        scope: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<RunId>, StoreError> {
        self.inner.find_key(namespace, scope, key, now).await
    }

    async fn list_events(
        &self,
        namespace: &Namespace,
        run: RunId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let _ = self.are_histories_held.subscribe().wait_for(|are_held| !are_held).await;
        self.n_feed_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.list_events(namespace, run, after_seq, limit).await
    }

    async fn read_feed(
        &self,
        cursor: &FeedCursor,
        root: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        self.n_feed_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read_feed(cursor, root, limit).await
    }

    async fn read_feed_of_runs(
        &self,
        cursor: &FeedCursor,
        runs: &[RunId],
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        self.n_feed_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read_feed_of_runs(cursor, runs, limit).await
    }

    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        self.inner.feed_end().await
    }

    async fn feed_start(&self, run: RunId) -> Result<FeedCursor, StoreError> {
        self.inner.feed_start(run).await
    }

    async fn open_below(&self, above: &[RunId], limit: usize) -> Result<Vec<Below>, StoreError> {
        let broken = *self.broken_below.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_some_and(|run| above.contains(&run)) {
            return Err(StoreError::Internal("the tree is too large, as the test wants it".to_owned()));
        }
        let below = self.inner.open_below(above, limit).await?;
        let mut n_walked = 0;
        self.n_walks.send_modify(|n_walks| {
            *n_walks += 1;
            n_walked = *n_walks;
        });
        let _ = self.n_walks_allowed.subscribe().wait_for(|n_allowed| *n_allowed >= n_walked).await;
        Ok(below)
    }

    async fn select_runs(
        &self,
        selection: &Selection,
        before: Option<BulkPlace>,
        limit: usize,
    ) -> Result<Vec<BulkPlace>, StoreError> {
        self.inner.select_runs(selection, before, limit).await
    }

    async fn count_selected(&self, selection: &Selection) -> Result<u64, StoreError> {
        self.inner.count_selected(selection).await
    }

    async fn get_bulk_operation(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        self.inner.get_bulk_operation(namespace, id).await
    }

    async fn list_bulk_operations(
        &self,
        namespace: &Namespace,
        before: Option<BulkOperationId>,
        limit: usize,
    ) -> Result<Vec<BulkOperation>, StoreError> {
        self.inner.list_bulk_operations(namespace, before, limit).await
    }

    async fn get_inputs(&self, query: &InputQuery) -> Result<Vec<RunInput>, StoreError> {
        self.inner.get_inputs(query).await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        if self.is_silent.load(Ordering::SeqCst) { self.silence.subscribe() } else { self.inner.commits() }
    }

    async fn held_runs(
        &self,
        after: Option<RunId>,
        entered_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        self.inner.held_runs(after, entered_before, limit).await
    }

    async fn mark_enqueued(
        &self,
        runs: &[(RunId, Epoch)],
        enqueued_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.inner.mark_enqueued(runs, enqueued_at).await
    }

    async fn put_session(&self, session: &Session) -> Result<bool, StoreError> {
        self.inner.put_session(session).await
    }

    async fn end_session(&self, namespace: &Namespace, id: SessionId) -> Result<(), StoreError> {
        self.inner.end_session(namespace, id).await
    }

    async fn cancelling_runs(&self, session: SessionId, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.inner.cancelling_runs(session, limit).await
    }

    async fn purge(
        &self,
        ended_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.inner.purge(ended_before, now, limit).await
    }

    async fn maintain(
        &self,
        now: Timestamp,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<Maintained, StoreError> {
        self.inner.maintain(now, ended_before, limit).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    async fn server_id(&self) -> Result<String, StoreError> {
        self.inner.server_id().await
    }

    fn schema_version(&self) -> u32 {
        self.inner.schema_version()
    }

    async fn stored_schema_version(&self) -> Result<u32, StoreError> {
        self.inner.stored_schema_version().await
    }
}

#[async_trait]
impl DeploymentRows for FaultyStore {
    async fn get_deployments(&self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError> {
        self.n_deployment_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_deployments(keys).await
    }

    async fn list_deployments(
        &self,
        namespace: &Namespace,
        after: Option<&DeploymentName>,
        limit: usize,
    ) -> Result<Vec<Deployment>, StoreError> {
        self.inner.list_deployments(namespace, after, limit).await
    }

    async fn list_deployment_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<DeploymentName>, StoreError> {
        self.inner.list_deployment_names(namespace, limit).await
    }

    async fn list_deployment_versions(
        &self,
        key: &DeploymentKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeploymentVersion>, StoreError> {
        self.inner.list_deployment_versions(key, before, limit).await
    }
}
