use std::future::Future;

use tidegate_model::RunId;
use tidegate_store::StoreError;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep},
};

use crate::EngineError;

/// A request on its way into a batch, and the way back for its answer.
pub(crate) struct Item<Q, A> {
    pub request: Q,
    pub reply: oneshot::Sender<Result<A, EngineError>>,
}

/// The entrance to a group of writer lanes. Requests for the same run take the same lane and keep their order.
pub(crate) struct Lanes<Q, A> {
    senders: Vec<mpsc::Sender<Item<Q, A>>>,
}

/// The exits, one for each lane.
pub(crate) type LaneQueues<Q, A> = Vec<mpsc::Receiver<Item<Q, A>>>;

impl<Q, A> Lanes<Q, A> {
    /// `n_lanes` queues of `capacity` requests each.
    pub fn new(n_lanes: usize, capacity: usize) -> (Self, LaneQueues<Q, A>) {
        let (senders, receivers) = (0..n_lanes.max(1)).map(|_| mpsc::channel(capacity)).unzip();
        (Self { senders }, receivers)
    }

    /// Queues a request. The answer comes once its batch is committed. A full queue answers at once.
    pub fn submit(
        &self,
        run_id: RunId,
        request: Q,
    ) -> impl Future<Output = Result<A, EngineError>> + use<Q, A> {
        let (reply, answer) = oneshot::channel();
        let sender = &self.senders[lane_idx(run_id, self.senders.len())];
        let refused = match sender.try_send(Item { request, reply }) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(_)) => Some(EngineError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Some(EngineError::Draining),
        };
        async move {
            match refused {
                Some(error) => Err(error),
                None => answer.await.unwrap_or(Err(EngineError::Draining)),
            }
        }
    }
}

/// By the random end of the id.
fn lane_idx(run_id: RunId, n_lanes: usize) -> usize {
    let (_, random) = run_id.as_uuid().as_u64_pair();
    usize::try_from(random % n_lanes as u64).unwrap_or(0)
}

/// Gathers what has queued up while the last batch was written, without waiting for more. `None`: all senders are gone.
pub(crate) async fn next_batch<Q, A>(
    queue: &mut mpsc::Receiver<Item<Q, A>>,
    max_size: usize,
) -> Option<Vec<Item<Q, A>>> {
    let mut batch = Vec::with_capacity(16);
    let n_received = queue.recv_many(&mut batch, max_size).await;
    (n_received > 0).then_some(batch)
}

/// Runs a transaction again where the store broke off: what is in it is safe to repeat, as the rules see what
/// an earlier try has done. A commit whose outcome is unknown is so resolved by reading, never by guessing.
pub(crate) async fn with_retries<T, F, Fut>(mut attempt: F) -> Result<T, EngineError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    const N_RETRIES: u32 = 5;
    let mut retry_idx = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error @ (StoreError::Internal(_) | StoreError::InvalidCursor(_))) => return Err(error.into()),
            Err(error) if retry_idx == N_RETRIES => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, retry_idx, "transaction broke off, trying again");
                let jitter = 0.5 + rand::random::<f64>();
                sleep(Duration::from_millis(10 << retry_idx).mul_f64(jitter)).await;
                retry_idx += 1;
            }
        }
    }
}
