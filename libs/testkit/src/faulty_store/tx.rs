use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tidegate_model::{BulkOperationId, Namespace, ObjectId, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Failure, Run};
use tidegate_store::{
    BulkOperation, CacheEntry, EventRow, KeyOwner, KeyReservation, NewRun, ObjectRow, RunInput, RunTx,
    StoreError, Sweep,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::Draws;

/// How long a commit is under way whose caller was told that nobody knows.
const LATE: Duration = Duration::from_millis(20);

/// Which commits break off, and how often they did.
pub struct Faults {
    draws: Draws,
    rate: f64,
    pub(super) n_faults: AtomicU64,
    pub(super) n_commits: AtomicU64,
    late_commits: TaskTracker,
    /// True while commits wait.
    pub(super) are_held: watch::Sender<bool>,
}

/// What becomes of a commit. Of the three in the middle the caller is told alike.
enum Fate {
    Committed,
    CommittedUnanswered,
    CommittedLateUnanswered,
    LostUnanswered,
    Refused,
}

impl Faults {
    pub(super) fn new(rate: f64) -> Self {
        Self {
            draws: Draws::new(),
            rate,
            n_faults: AtomicU64::new(0),
            n_commits: AtomicU64::new(0),
            late_commits: TaskTracker::new(),
            are_held: watch::Sender::new(false),
        }
    }

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

/// A transaction whose commit breaks off at times.
pub(super) struct FaultyTx {
    pub(super) inner: Box<dyn RunTx>,
    pub(super) faults: Arc<Faults>,
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

    async fn note_answers(
        &mut self,
        answered: &[(KeyReservation, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.note_answers(answered, now).await
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
