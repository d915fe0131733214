//! Group commit: what concurrent streams bring while a transaction runs is stored by the next one.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use metrics::{counter, gauge, histogram};
use tidegate_model::Clock;
use tidegate_service_kit::{CancellationToken, Supervisor, pulse};
use tidegate_store::{
    StoreError,
    log::{LogBatch, LogStore},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::Status;
use tracing::warn;

use crate::{IngestConfig, convert::size_of_batch, metrics::*};

/// Batches that wait in a lane; what they may hold in memory is bounded apart.
const LANE_CAPACITY: usize = 256;
/// How long a store that does not answer is tried again before the writers are told.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two tries: doubled each time, from and up to these.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Stores batches. Clones are the same lanes.
#[derive(Clone)]
pub(crate) struct Lanes {
    lanes: Vec<mpsc::Sender<Item>>,
    hasher: RandomState,
    /// Bytes that may be held; fair, so that a large batch has its turn.
    budget: Arc<Semaphore>,
    max_buffered: usize,
    writers: TaskTracker,
}

struct Item {
    batch: LogBatch,
    held: Held,
    done: oneshot::Sender<Result<(), Status>>,
}

/// The outcome of a batch: `Ok` once it is stored.
pub(crate) type Outcome = oneshot::Receiver<Result<(), Status>>;

/// Bytes of the budget, given back when this is dropped.
struct Held {
    n_bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        gauge!(BUFFERED).decrement(self.n_bytes as f64);
    }
}

/// Starts the lanes as essential tasks. At stop they store what writers still bring, until the last writer is gone.
pub(crate) fn start(
    config: &IngestConfig,
    store: &Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    tasks: &Supervisor,
) -> Lanes {
    let writers = TaskTracker::new();
    let mut lanes = Vec::new();
    for _ in 0..config.lanes.get() {
        let (sender, items) = mpsc::channel(LANE_CAPACITY);
        lanes.push(sender);
        let lane = Lane {
            store: Arc::clone(store),
            clock: Arc::clone(&clock),
            max_lines: config.max_group_lines.get(),
        };
        let writers = writers.clone();
        tasks.essential("log-lane", |stop| async move {
            lane.run(items, writers, stop).await;
            Ok(())
        });
    }
    let max_buffered = config.max_buffered.as_len();
    Lanes {
        lanes,
        hasher: RandomState::new(),
        budget: Arc::new(Semaphore::new(max_buffered)),
        max_buffered,
        writers,
    }
}

impl Lanes {
    /// While this token lives the lanes do not end.
    pub(crate) fn writer(&self) -> TaskTrackerToken {
        self.writers.token()
    }

    /// Puts a batch into its writer's lane; waits while too much is held. The batches of a writer are stored in
    /// the order of these calls.
    pub(crate) async fn submit(&self, batch: LogBatch) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let n_bytes = size_of_batch(&batch).min(self.max_buffered);
        let n_permits = u32::try_from(n_bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.budget).acquire_many_owned(n_permits).await;
        let permit = permit.expect("the semaphore is never closed");
        gauge!(BUFFERED).increment(n_bytes as f64);
        let item = Item { batch, held: Held { n_bytes, _permit: permit }, done };
        // One lane per writer: two transactions would wait for the same writer's row.
        let lane_idx = self.hasher.hash_one(&item.batch.writer) as usize % self.lanes.len();
        // A lane that has ended drops the item, and its sender shows that in the outcome.
        let _ = self.lanes[lane_idx].send(item).await;
        outcome
    }
}

struct Lane {
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    max_lines: usize,
}

impl Lane {
    async fn run(self, mut items: mpsc::Receiver<Item>, writers: TaskTracker, stop: CancellationToken) {
        let last_writer_gone = async {
            stop.cancelled().await;
            writers.close();
            writers.wait().await;
        };
        tokio::pin!(last_writer_gone);
        loop {
            pulse::wait();
            let first = tokio::select! {
                biased;
                item = items.recv() => item,
                () = &mut last_writer_gone => return,
            };
            let Some(first) = first else { return };
            let group = self.gather(first, &mut items);
            self.store(group, &stop).await;
        }
    }

    /// All that waits, up to the size of a transaction. An idle lane stores at once.
    fn gather(&self, first: Item, items: &mut mpsc::Receiver<Item>) -> Vec<Item> {
        let mut n_lines = first.batch.lines.len();
        let mut group = vec![first];
        while n_lines < self.max_lines {
            let Ok(item) = items.try_recv() else { break };
            n_lines += item.batch.lines.len();
            group.push(item);
        }
        group
    }

    async fn store(&self, group: Vec<Item>, stop: &CancellationToken) {
        let mut answers = Vec::with_capacity(group.len());
        let mut batches = Vec::with_capacity(group.len());
        for Item { batch, held, done } in group {
            batches.push(batch);
            answers.push((done, held));
        }
        match self.append(&batches, stop).await {
            // One bad batch fails alone.
            Err(StoreError::Internal(_)) if batches.len() > 1 => {
                for (batch, (done, _held)) in batches.iter().zip(answers) {
                    let outcome = self.append(std::slice::from_ref(batch), stop).await;
                    let _ = done.send(outcome.map_err(|error| tidegate_wire::to_status(&error)));
                }
            }
            outcome => {
                let outcome = outcome.map_err(|error| tidegate_wire::to_status(&error));
                for (done, _held) in answers {
                    let _ = done.send(outcome.clone()); // a writer that is gone sends its lines again
                }
            }
        }
    }

    /// Tries again for a while where the store does not answer. That is safe also where it may have stored the
    /// lines: it knows them by their numbers.
    async fn append(&self, batches: &[LogBatch], stop: &CancellationToken) -> Result<(), StoreError> {
        let started = Instant::now();
        let n_lines: usize = batches.iter().map(|batch| batch.lines.len()).sum();
        let mut delay = RETRY_DELAYS.0;
        loop {
            pulse::beat();
            match self.store.append_logs(batches, self.clock.now()).await {
                Ok(n_stored) => {
                    histogram!(GROUP_SIZE).record(n_lines as f64);
                    histogram!(APPEND_DURATION).record(started.elapsed().as_secs_f64());
                    counter!(STORED).increment(n_stored as u64);
                    counter!(REPEATED).increment((n_lines - n_stored) as u64);
                    return Ok(());
                }
                Err(error @ StoreError::Internal(_)) => return Err(error),
                Err(error) if stop.is_cancelled() || started.elapsed() + delay > PATIENCE => {
                    warn!("{n_lines} log lines were not stored, their writers are told: {error}");
                    return Err(error);
                }
                Err(_) => sleep(delay).await,
            }
            delay = (delay * 2).min(RETRY_DELAYS.1);
        }
    }
}
