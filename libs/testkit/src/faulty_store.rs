use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{
    ArtifactId, BulkOperationId, DeploymentName, Epoch, Namespace, ObjectId, Payload, QueueName, RunId,
    ScheduleId, SessionId, Timestamp, VariableName, WorkPoolName,
};
use tidegate_orchestration::{Arrival, Failure, Run};
use tidegate_store::{
    Artifact, ArtifactName, ArtifactQuery, ArtifactRows, ArtifactTx, Below, BulkOperation, BulkPlace,
    CacheEntry, ConcurrencyLimit, Count, CountQuery, Deployment, DeploymentKey, DeploymentRows, DeploymentTx,
    DeploymentVersion, EventRow, FeedCursor, FeedEvent, Holders, InputQuery, Judged, KeyOwner,
    KeyReservation, LeaseWait, LimitKey, LimitRows, LimitSettings, LimitUse, ListQuery, Maintained, NewRun,
    ObjectRow, ObjectRows, Queue, QueueKey, QueueRows, QueueTx, RunDetail, RunInput, RunStore, RunTx,
    Schedule, ScheduleKey, ScheduleProgress, ScheduleQuery, ScheduleRows, ScheduleTx, Selection, Session,
    Slot, SlotTx, SlotWait, StoreError, Sweep, Variable, VariableKey, VariableQuery, VariableRows,
    VariableTx, VersionedKey, WorkPool, WorkPoolKey, WorkPoolRows, WorkPoolTx,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::Draws;

/// How long a commit is under way whose caller was told that nobody knows.
const LATE: Duration = Duration::from_millis(20);

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

/// Which commits break off, and how often they did.
pub struct Faults {
    draws: Draws,
    rate: f64,
    n_faults: AtomicU64,
    n_commits: AtomicU64,
    late_commits: TaskTracker,
    /// True while commits wait.
    are_held: watch::Sender<bool>,
}

/// What becomes of a commit. Of the three in the middle the caller is told alike.
enum Fate {
    Committed,
    CommittedUnanswered,
    CommittedLateUnanswered,
    LostUnanswered,
    Refused,
}

impl FaultyStore {
    /// Breaks off `rate` (0 to 1) of the commits of `inner`.
    pub fn new(inner: Arc<dyn RunStore>, rate: f64) -> Self {
        let faults = Faults {
            draws: Draws::new(),
            rate,
            n_faults: AtomicU64::new(0),
            n_commits: AtomicU64::new(0),
            late_commits: TaskTracker::new(),
            are_held: watch::Sender::new(false),
        };
        Self {
            inner,
            faults: Arc::new(faults),
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

impl Faults {
    fn fate(&self) -> Fate {
        let draw = self.draws.next();
        if draw >= self.rate {
            return Fate::Committed;
        }
        self.n_faults.fetch_add(1, Ordering::SeqCst);
        match draw / self.rate * 4.0 {
            ..1.0 => Fate::CommittedUnanswered,
            ..2.0 => Fate::CommittedLateUnanswered,
            ..3.0 => Fate::LostUnanswered,
            _ => Fate::Refused,
        }
    }
}

fn broke_off() -> Box<dyn std::error::Error + Send + Sync> {
    "the connection broke, as the test wants it".into()
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

    fn schema_version(&self) -> u32 {
        self.inner.schema_version()
    }
}

#[async_trait]
impl ObjectRows for FaultyStore {
    async fn announce_object(&self, row: &ObjectRow, now: Timestamp) -> Result<ObjectRow, StoreError> {
        self.inner.announce_object(row, now).await
    }

    async fn get_object(&self, namespace: &Namespace, id: ObjectId) -> Result<Option<ObjectRow>, StoreError> {
        self.inner.get_object(namespace, id).await
    }

    async fn complete_object(
        &self,
        namespace: &Namespace,
        id: ObjectId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.complete_object(namespace, id, now).await
    }

    async fn take_orphans(
        &self,
        touched_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Judged, StoreError> {
        self.inner.take_orphans(touched_before, now, limit).await
    }

    async fn forget_objects(&self, ids: &[ObjectId]) -> Result<(), StoreError> {
        self.inner.forget_objects(ids).await
    }
}

struct FaultyTx {
    inner: Box<dyn RunTx>,
    faults: Arc<Faults>,
}

#[async_trait]
impl RunTx for FaultyTx {
    async fn lock_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.inner.lock_runs(ids).await
    }

    async fn share_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.inner.share_runs(ids).await
    }

    async fn read_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.inner.read_runs(ids).await
    }

    async fn have_more_below(&mut self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        self.inner.have_more_below(ids).await
    }

    async fn sweep(&mut self, sweep: &Sweep, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.inner.sweep(sweep, limit).await
    }

    async fn live_sessions(
        &mut self,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Namespace)>, StoreError> {
        self.inner.live_sessions(ids, now).await
    }

    async fn reserve_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<KeyOwner>, StoreError> {
        self.inner.reserve_keys(keys, now).await
    }

    async fn find_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<Option<KeyOwner>>, StoreError> {
        self.inner.find_keys(keys, now).await
    }

    async fn insert_runs(&mut self, runs: &[NewRun]) -> Result<Vec<bool>, StoreError> {
        self.inner.insert_runs(runs).await
    }

    async fn update_runs(&mut self, runs: &[(Run, Option<Timestamp>)]) -> Result<(), StoreError> {
        self.inner.update_runs(runs).await
    }

    async fn append_events(&mut self, events: &[EventRow]) -> Result<(), StoreError> {
        self.inner.append_events(events).await
    }

    async fn put_results(&mut self, results: &[(RunId, Payload)]) -> Result<(), StoreError> {
        self.inner.put_results(results).await
    }

    async fn copy_results(&mut self, copies: &[(RunId, RunId)]) -> Result<(), StoreError> {
        self.inner.copy_results(copies).await
    }

    async fn put_failures(&mut self, failures: &[(RunId, u32, Failure)]) -> Result<(), StoreError> {
        self.inner.put_failures(failures).await
    }

    async fn put_inputs(&mut self, inputs: &[RunInput]) -> Result<(), StoreError> {
        self.inner.put_inputs(inputs).await
    }

    async fn put_cache_keys(&mut self, entries: &[CacheEntry]) -> Result<(), StoreError> {
        self.inner.put_cache_keys(entries).await
    }

    async fn find_cache_keys(
        &mut self,
        keys: &[(Namespace, String)],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StoreError> {
        self.inner.find_cache_keys(keys, now).await
    }

    async fn delete_runs(&mut self, ids: &[RunId]) -> Result<usize, StoreError> {
        self.inner.delete_runs(ids).await
    }

    async fn use_objects(
        &mut self,
        objects: &[(Namespace, ObjectId)],
        now: Timestamp,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        self.inner.use_objects(objects, now).await
    }

    async fn put_bulk_operation(&mut self, operation: &BulkOperation) -> Result<bool, StoreError> {
        self.inner.put_bulk_operation(operation).await
    }

    async fn lock_bulk_operation(
        &mut self,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        self.inner.lock_bulk_operation(id).await
    }

    async fn sweep_bulk_operation(&mut self, now: Timestamp) -> Result<Option<BulkOperation>, StoreError> {
        self.inner.sweep_bulk_operation(now).await
    }

    async fn update_bulk_operation(&mut self, operation: &BulkOperation) -> Result<(), StoreError> {
        self.inner.update_bulk_operation(operation).await
    }

    async fn get_parameters(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Payload)>, StoreError> {
        self.inner.get_parameters(ids).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let Self { inner, faults } = *self;
        let mut are_held = faults.are_held.subscribe();
        faults.n_commits.fetch_add(1, Ordering::SeqCst);
        // The sender is in `faults`, so the wait ends with a value.
        let _ = are_held.wait_for(|are_held| !are_held).await;
        match faults.fate() {
            Fate::Committed => inner.commit().await,
            Fate::CommittedUnanswered => {
                inner.commit().await?;
                Err(StoreError::CommitUnknown(broke_off()))
            }
            Fate::CommittedLateUnanswered => {
                let commit = async move {
                    tokio::time::sleep(LATE).await;
                    // What becomes of it is for the reader to find out.
                    let _ = inner.commit().await;
                };
                faults.late_commits.spawn(commit);
                Err(StoreError::CommitUnknown(broke_off()))
            }
            Fate::LostUnanswered => Err(StoreError::CommitUnknown(broke_off())),
            Fate::Refused => Err(StoreError::Unavailable(broke_off())),
        }
    }
}

#[async_trait]
impl LimitRows for FaultyStore {
    async fn put_limit(
        &self,
        key: &LimitKey,
        settings: &LimitSettings,
        now: Timestamp,
    ) -> Result<ConcurrencyLimit, StoreError> {
        self.inner.put_limit(key, settings, now).await
    }

    async fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError> {
        self.inner.delete_limit(key).await
    }

    async fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        self.inner.get_limits(keys, now).await
    }

    async fn list_limits(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<LimitUse>, StoreError> {
        self.inner.list_limits(namespace, after, now, limit).await
    }

    async fn list_slots(
        &self,
        key: &LimitKey,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Slot>, StoreError> {
        self.inner.list_slots(key, now, limit).await
    }

    async fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError> {
        self.inner.count_waits(keys).await
    }

    async fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError> {
        self.inner.next_awaited(after).await
    }

    async fn hand_out(
        &self,
        key: &LimitKey,
        handed_before: Option<Timestamp>,
        counted_since: Option<Timestamp>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        self.inner.hand_out(key, handed_before, counted_since, now, limit).await
    }

    async fn oldest_handed(
        &self,
        key: &LimitKey,
        counted_since: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.inner.oldest_handed(key, counted_since).await
    }

    async fn pass_over(
        &self,
        key: &LimitKey,
        runs: &[RunId],
        handed_at: Timestamp,
        passed_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.pass_over(key, runs, handed_at, passed_at).await
    }

    async fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError> {
        self.inner.clear_slots(now, limit).await
    }

    async fn template_use(&self, key: &LimitKey, now: Timestamp) -> Result<(u64, u64), StoreError> {
        self.inner.template_use(key, now).await
    }

    async fn slots_to_ask(&self, limit: usize) -> Result<Vec<Slot>, StoreError> {
        self.inner.slots_to_ask(limit).await
    }

    async fn note_asked(&self, slots: &[Slot]) -> Result<(), StoreError> {
        self.inner.note_asked(slots).await
    }

    async fn renew_leases(
        &self,
        namespace: &Namespace,
        owner: RunId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.renew_leases(namespace, owner, now, expires_at).await
    }

    async fn handed_leases(&self, owners: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        self.inner.handed_leases(owners).await
    }

    async fn tell_leases(&self) {
        self.inner.tell_leases().await;
    }

    async fn purge_lease_waits(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge_lease_waits(now, limit).await
    }

    async fn purge_rates(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge_rates(now, limit).await
    }
}

#[async_trait]
impl SlotTx for FaultyTx {
    async fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError> {
        self.inner.lock_limits(keys, now).await
    }

    async fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError> {
        self.inner.take_slots(slots).await
    }

    async fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError> {
        self.inner.free_slots(owners).await
    }

    async fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError> {
        self.inner.put_waits(waits).await
    }

    async fn end_waits(&mut self, runs: &[RunId]) -> Result<Vec<LimitKey>, StoreError> {
        self.inner.end_waits(runs).await
    }

    async fn lock_owner(&mut self, owner: RunId) -> Result<(Vec<Slot>, Option<LeaseWait>), StoreError> {
        self.inner.lock_owner(owner).await
    }

    async fn put_lease_wait(&mut self, wait: &LeaseWait) -> Result<bool, StoreError> {
        self.inner.put_lease_wait(wait).await
    }

    async fn end_lease_wait(
        &mut self,
        namespace: &Namespace,
        owner: RunId,
    ) -> Result<Option<LimitKey>, StoreError> {
        self.inner.end_lease_wait(namespace, owner).await
    }

    async fn count_before(
        &mut self,
        key: &LimitKey,
        owner: RunId,
        since: Timestamp,
        counted_since: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.inner.count_before(key, owner, since, counted_since, now, limit).await
    }

    async fn count_first(
        &mut self,
        keys: &[LimitKey],
        counted_since: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        self.inner.count_first(keys, counted_since, now, limit).await
    }

    async fn awaited_by(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, LimitKey)>, StoreError> {
        self.inner.awaited_by(runs).await
    }

    async fn put_arrivals(&mut self, arrivals: &[(LimitKey, Arrival)]) -> Result<(), StoreError> {
        self.inner.put_arrivals(arrivals).await
    }

    async fn find_holders(
        &mut self,
        key: &LimitKey,
        newest_first: bool,
        limit: usize,
    ) -> Result<Holders, StoreError> {
        self.inner.find_holders(key, newest_first, limit).await
    }

    async fn ask_slots(&mut self, slots: &[(LimitKey, RunId)]) -> Result<(), StoreError> {
        self.inner.ask_slots(slots).await
    }
}

#[async_trait]
impl QueueRows for FaultyStore {
    async fn get_queues(&self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError> {
        self.inner.get_queues(keys).await
    }

    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<Queue>, StoreError> {
        self.inner.list_queues(namespace, after, limit).await
    }

    async fn count_held(&self, key: &QueueKey, limit: usize) -> Result<u64, StoreError> {
        self.inner.count_held(key, limit).await
    }
}

#[async_trait]
impl QueueTx for FaultyTx {
    async fn read_queues(&mut self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError> {
        self.inner.read_queues(keys).await
    }

    async fn put_queue(&mut self, queue: &Queue) -> Result<(), StoreError> {
        self.inner.put_queue(queue).await
    }

    async fn delete_queue(&mut self, key: &QueueKey) -> Result<bool, StoreError> {
        self.inner.delete_queue(key).await
    }

    async fn hold_queue_slots(&mut self, key: &QueueKey, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.hold_queue_slots(key, now).await
    }
}

#[async_trait]
impl ScheduleRows for FaultyStore {
    async fn get_schedule(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.inner.get_schedule(key).await
    }

    async fn list_schedules(&self, query: &ScheduleQuery) -> Result<Vec<Schedule>, StoreError> {
        self.inner.list_schedules(query).await
    }

    async fn next_schedule_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_schedule_at().await
    }
}

#[async_trait]
impl ScheduleTx for FaultyTx {
    async fn lock_schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.inner.lock_schedule(key).await
    }

    async fn count_schedules(&mut self, deployment: &DeploymentKey) -> Result<usize, StoreError> {
        self.inner.count_schedules(deployment).await
    }

    async fn put_schedule(
        &mut self,
        schedule: &Schedule,
        limit: Option<&LimitSettings>,
    ) -> Result<(), StoreError> {
        self.inner.put_schedule(schedule, limit).await
    }

    async fn delete_schedule(&mut self, key: &ScheduleKey) -> Result<bool, StoreError> {
        self.inner.delete_schedule(key).await
    }

    async fn sweep_schedules(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, StoreError> {
        self.inner.sweep_schedules(now, limit).await
    }

    async fn read_deployments(&mut self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError> {
        self.inner.read_deployments(keys).await
    }

    async fn advance_schedules(
        &mut self,
        progress: &[(ScheduleId, ScheduleProgress)],
    ) -> Result<(), StoreError> {
        self.inner.advance_schedules(progress).await
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

#[async_trait]
impl DeploymentTx for FaultyTx {
    async fn lock_deployment(&mut self, key: &DeploymentKey) -> Result<Option<Deployment>, StoreError> {
        self.inner.lock_deployment(key).await
    }

    async fn count_deployments(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError> {
        self.inner.count_deployments(namespace, limit).await
    }

    async fn put_deployment(
        &mut self,
        deployment: &Deployment,
        created_by: Option<&str>,
        limit: Option<&LimitSettings>,
        n_kept: usize,
    ) -> Result<(), StoreError> {
        self.inner.put_deployment(deployment, created_by, limit, n_kept).await
    }

    async fn delete_deployment(&mut self, key: &DeploymentKey) -> Result<bool, StoreError> {
        self.inner.delete_deployment(key).await
    }
}

#[async_trait]
impl WorkPoolRows for FaultyStore {
    async fn get_work_pools(&self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError> {
        self.inner.get_work_pools(keys).await
    }

    async fn list_work_pools(
        &self,
        namespace: &Namespace,
        after: Option<&WorkPoolName>,
        limit: usize,
    ) -> Result<Vec<WorkPool>, StoreError> {
        self.inner.list_work_pools(namespace, after, limit).await
    }

    async fn list_work_pool_names(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<WorkPoolName>, StoreError> {
        self.inner.list_work_pool_names(namespace, limit).await
    }

    async fn count_held_in_work_pool(&self, key: &WorkPoolKey, limit: usize) -> Result<u64, StoreError> {
        self.inner.count_held_in_work_pool(key, limit).await
    }
}

#[async_trait]
impl WorkPoolTx for FaultyTx {
    async fn read_work_pools(&mut self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError> {
        self.inner.read_work_pools(keys).await
    }

    async fn keep_work_pool(&mut self, key: &WorkPoolKey) -> Result<bool, StoreError> {
        self.inner.keep_work_pool(key).await
    }

    async fn count_work_pools(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError> {
        self.inner.count_work_pools(namespace, limit).await
    }

    async fn put_work_pool(
        &mut self,
        pool: &WorkPool,
        max_slots: Option<Option<u32>>,
    ) -> Result<(), StoreError> {
        self.inner.put_work_pool(pool, max_slots).await
    }

    async fn delete_work_pool(&mut self, key: &WorkPoolKey) -> Result<Option<DeploymentName>, StoreError> {
        self.inner.delete_work_pool(key).await
    }

    async fn get_jobs(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Bytes)>, StoreError> {
        self.inner.get_jobs(ids).await
    }
}

#[async_trait]
impl ArtifactRows for FaultyStore {
    async fn get_artifact(
        &self,
        namespace: &Namespace,
        name: &ArtifactName,
    ) -> Result<Option<Artifact>, StoreError> {
        self.inner.get_artifact(namespace, name).await
    }

    async fn list_artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        self.inner.list_artifacts(query).await
    }
}

#[async_trait]
impl ArtifactTx for FaultyTx {
    async fn find_artifacts(&mut self, ids: &[ArtifactId]) -> Result<Vec<Artifact>, StoreError> {
        self.inner.find_artifacts(ids).await
    }

    async fn count_artifacts(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, u64)>, StoreError> {
        self.inner.count_artifacts(runs).await
    }

    async fn take_versions(
        &mut self,
        keys: &[(VersionedKey, u64)],
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError> {
        self.inner.take_versions(keys, now).await
    }

    async fn insert_artifacts(&mut self, artifacts: &[Artifact]) -> Result<usize, StoreError> {
        self.inner.insert_artifacts(artifacts).await
    }

    async fn delete_versions(&mut self, up_to: &[(VersionedKey, u64)]) -> Result<(), StoreError> {
        self.inner.delete_versions(up_to).await
    }

    async fn lock_artifact(
        &mut self,
        namespace: &Namespace,
        id: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError> {
        self.inner.lock_artifact(namespace, id).await
    }

    async fn update_artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        self.inner.update_artifact(artifact).await
    }

    async fn delete_artifact(&mut self, namespace: &Namespace, id: ArtifactId) -> Result<bool, StoreError> {
        self.inner.delete_artifact(namespace, id).await
    }
}

#[async_trait]
impl VariableRows for FaultyStore {
    async fn get_variables(
        &self,
        namespace: &Namespace,
        names: &[VariableName],
    ) -> Result<Vec<Variable>, StoreError> {
        self.inner.get_variables(namespace, names).await
    }

    async fn list_variables(&self, query: &VariableQuery) -> Result<Vec<Variable>, StoreError> {
        self.inner.list_variables(query).await
    }
}

#[async_trait]
impl VariableTx for FaultyTx {
    async fn lock_variable(&mut self, key: &VariableKey) -> Result<Option<Variable>, StoreError> {
        self.inner.lock_variable(key).await
    }

    async fn count_variables(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError> {
        self.inner.count_variables(namespace, limit).await
    }

    async fn insert_variable(&mut self, variable: &Variable) -> Result<bool, StoreError> {
        self.inner.insert_variable(variable).await
    }

    async fn update_variable(&mut self, variable: &Variable) -> Result<(), StoreError> {
        self.inner.update_variable(variable).await
    }

    async fn delete_variable(&mut self, key: &VariableKey) -> Result<(), StoreError> {
        self.inner.delete_variable(key).await
    }
}
