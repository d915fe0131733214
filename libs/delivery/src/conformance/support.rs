use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tidegate_model::{Epoch, Namespace, QueueName, RunId, Timestamp};

use crate::{Delivery, Entry, EntryId, Function, Held, Labels, QueueId, Requirements, Taken, Want};

/// What a case works on: a state that nothing else uses.
pub struct Fixture {
    /// One replica's handle.
    pub delivery: Arc<dyn Delivery>,
    /// Another replica's handle on the same state.
    pub other: Arc<dyn Delivery>,
    /// Loses the whole state.
    pub wipe: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// How many things are kept, apart from the names of queues and the generation.
    pub footprint: Box<dyn Fn() -> BoxFuture<'static, usize> + Send + Sync>,
}

/// Long enough that it does not end within a case.
pub(super) const LONG: Duration = Duration::from_secs(60);
/// Short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(60);
/// How long a case waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cases' own time: whole seconds, so that no rounding shows.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + seconds) * 1_000_000)
}

pub(super) fn queue(name: &str) -> QueueId {
    QueueId { namespace: Namespace::default(), queue: name.parse::<QueueName>().expect("a queue name") }
}

pub(super) fn task(name: &str) -> Function {
    Function::Task(name.parse().expect("a function name"))
}

pub(super) fn entry(queue: &QueueId, function: &Function) -> Entry {
    Entry {
        id: EntryId {
            queue: queue.clone(),
            function: function.clone(),
            requires: Requirements::default(),
            fairness_key: None,
            run_id: RunId::new(),
            epoch: Epoch(0),
        },
        priority: 0,
        due_at: at(0),
        prefers: None,
    }
}

/// An entry with a fairness key; empty: none.
pub(super) fn keyed(queue: &QueueId, function: &Function, key: &str) -> Entry {
    let mut entry = entry(queue, function);
    entry.id.fairness_key = (!key.is_empty()).then(|| key.parse().expect("a fairness key"));
    entry
}

pub(super) fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn with_epoch(entry: &Entry, epoch: u64) -> Entry {
    let mut entry = entry.clone();
    entry.id.epoch = Epoch(epoch);
    entry
}

pub(super) fn held(entry: &Entry, epoch: u64) -> Held {
    Held { run_id: entry.id.run_id, epoch: Epoch(epoch) }
}

/// Takes with a claim that outlives the case.
pub(super) async fn take(
    delivery: &Arc<dyn Delivery>,
    queue: &QueueId,
    functions: &[Function],
    limit: usize,
    now: Timestamp,
) -> Taken {
    take_with(delivery, queue, functions, &Labels::new(), limit, now).await
}

/// The same by a taker with labels.
pub(super) async fn take_with(
    delivery: &Arc<dyn Delivery>,
    queue: &QueueId,
    functions: &[Function],
    labels: &Labels,
    limit: usize,
    now: Timestamp,
) -> Taken {
    let want = Want { queue, functions, labels, limit, now, claim_lease: LONG };
    delivery.take(want).await.expect("take")
}

pub(super) fn runs(entries: &[Entry]) -> Vec<RunId> {
    entries.iter().map(|entry| entry.id.run_id).collect()
}

/// Asks again and again until `probe` gives a value.
pub(super) async fn eventually<T, F, Fut>(what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
    T: Debug,
{
    let asking = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}
