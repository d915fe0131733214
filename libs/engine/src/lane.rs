use std::{future::Future, sync::Arc};

use tidegate_model::{RunId, limits};
use tidegate_store::StoreError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Duration, sleep},
};

use crate::EngineError;

/// Bytes of the payloads that may wait in all lanes of a group.
const MAX_WAITING_SIZE: usize = 256 << 20;
/// A batch is closed once its payloads have this many bytes.
const MAX_BATCH_SIZE: usize = 16 << 20;

/// What goes through a lane.
pub(crate) trait Request: Send + 'static {
    /// Requests for the same thing take the same lane and keep their order.
    fn lane_key(&self) -> RunId;
    /// Bytes of its payloads.
    fn size(&self) -> usize;
}

/// A request on its way into a batch, and the way back for its answer.
pub(crate) struct Item<Q, A> {
    pub request: Q,
    pub reply: oneshot::Sender<Result<A, EngineError>>,
    _size: Option<OwnedSemaphorePermit>,
}

/// The entrance to a group of writer lanes.
pub(crate) struct Lanes<Q, A> {
    senders: Vec<mpsc::Sender<Item<Q, A>>>,
    waiting_size: Arc<Semaphore>,
}

/// The exit of a lane.
pub(crate) struct LaneQueue<Q, A> {
    receiver: mpsc::Receiver<Item<Q, A>>,
    /// Taken from the queue, and too large for the last batch.
    left_over: Option<Item<Q, A>>,
}

impl<Q: Request, A> Lanes<Q, A> {
    /// `n_lanes` queues of `capacity` requests each.
    pub fn new(n_lanes: usize, capacity: usize) -> (Self, Vec<LaneQueue<Q, A>>) {
        let (senders, queues) = (0..n_lanes.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(capacity);
                (sender, LaneQueue { receiver, left_over: None })
            })
            .unzip();
        (Self { senders, waiting_size: Arc::new(Semaphore::new(MAX_WAITING_SIZE)) }, queues)
    }

    /// Queues a request. The answer comes once its batch is committed. A full queue answers at once.
    pub fn submit(&self, request: Q) -> impl Future<Output = Result<A, EngineError>> + use<Q, A> {
        let (reply, answer) = oneshot::channel();
        let refused = self.queue(request, reply).err();
        async move {
            match refused {
                Some(error) => Err(error),
                None => answer.await.unwrap_or(Err(EngineError::Draining)),
            }
        }
    }

    fn queue(&self, request: Q, reply: oneshot::Sender<Result<A, EngineError>>) -> Result<(), EngineError> {
        let size = u32::try_from(request.size()).unwrap_or(u32::MAX);
        let permit = match size {
            0 => None,
            _ => {
                let acquired = Arc::clone(&self.waiting_size).try_acquire_many_owned(size);
                Some(acquired.map_err(|_| EngineError::Overloaded)?)
            }
        };
        let sender = &self.senders[lane_idx(request.lane_key(), self.senders.len())];
        sender.try_send(Item { request, reply, _size: permit }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::Draining,
        })
    }
}

/// By the random end of the id.
fn lane_idx(run_id: RunId, n_lanes: usize) -> usize {
    let (_, random) = run_id.as_uuid().as_u64_pair();
    usize::try_from(random % n_lanes as u64).unwrap_or(0)
}

impl<Q: Request, A> LaneQueue<Q, A> {
    /// Gathers what has queued up while the last batch was written, without waiting for more. Requests whose callers
    /// have left are dropped: who still wants the work asks again. `None`: all senders are gone.
    pub async fn next_batch(&mut self) -> Option<Vec<Item<Q, A>>> {
        let mut batch = Vec::new();
        let mut size = 0;
        loop {
            let next = match self.left_over.take() {
                Some(item) => Some(item),
                None if batch.is_empty() => {
                    tidegate_pulse::wait();
                    let next = self.receiver.recv().await?;
                    tidegate_pulse::beat();
                    Some(next)
                }
                None => self.receiver.try_recv().ok(),
            };
            let Some(item) = next else { return Some(batch) };
            if item.reply.is_closed() {
                continue;
            }
            size += item.request.size();
            if !batch.is_empty() && size > MAX_BATCH_SIZE {
                self.left_over = Some(item);
                return Some(batch);
            }
            batch.push(item);
            if batch.len() == limits::MAX_BATCH_SIZE {
                return Some(batch);
            }
        }
    }
}

/// Writes a batch and answers its items.
///
/// A batch that fails by a fault of ours is written in halves, down to the item that has it: it fails alone.
pub(crate) async fn write_batch<Q: Request, A, F, Fut>(batch: Vec<Item<Q, A>>, write: F)
where
    F: Fn(Arc<Vec<Q>>) -> Fut,
    Fut: Future<Output = Result<Vec<Result<A, EngineError>>, StoreError>>,
{
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let (requests, rest): (Vec<_>, Vec<_>) =
            part.into_iter().map(|item| (item.request, (item.reply, item._size))).unzip();
        let requests = Arc::new(requests);
        match with_retries(|| write(Arc::clone(&requests))).await {
            Ok(outcomes) => {
                for ((reply, _), outcome) in rest.into_iter().zip(outcomes) {
                    // A caller that has left does not undo what was done for it.
                    let _ = reply.send(outcome);
                }
            }
            Err(EngineError::Internal { .. }) if rest.len() > 1 => {
                let requests = Arc::into_inner(requests).unwrap_or_default();
                let mut first: Vec<_> = requests
                    .into_iter()
                    .zip(rest)
                    .map(|(request, (reply, size))| Item { request, reply, _size: size })
                    .collect();
                let second = first.split_off(first.len() / 2);
                // The first half goes first: the order of the requests for a run is kept.
                parts.extend([second, first]);
            }
            Err(error) => {
                for (reply, _) in rest {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Runs a transaction, or a read, again where the store broke off before it had done anything. A commit whose outcome
/// is unknown is not run again: [`crate::commit::commit`] finds out.
pub(crate) async fn with_retries<T, F, Fut>(mut attempt: F) -> Result<T, EngineError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    const N_RETRIES: u32 = 5;
    let mut retry_idx = 0;
    loop {
        let outcome = attempt().await;
        tidegate_pulse::beat();
        match outcome {
            Ok(value) => return Ok(value),
            Err(error @ StoreError::Unavailable(_)) if retry_idx < N_RETRIES => {
                tracing::debug!(%error, retry_idx, "transaction broke off, trying again");
                let jitter = 0.5 + rand::random::<f64>();
                sleep(Duration::from_millis(10 << retry_idx).mul_f64(jitter)).await;
                retry_idx += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
