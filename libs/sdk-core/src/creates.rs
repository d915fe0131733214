use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use prost::Message;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::{
    CreatedRun, Error, ErrorKind,
    client::new_run_id,
    connection::Connection,
    ends,
    proto::{self, run_service_client::RunServiceClient},
    retry::Backoff,
    runtime,
    transfer::Transfer,
};

/// Runs of one request, at most.
const MAX_BATCH: usize = 1_000;
/// Bytes of one request beyond which no further run is added; a message may have 8 MiB, a run little over 2.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Creates that wait for a lane, at most; callers beyond that wait.
const QUEUE: usize = 10_000;
/// Requests under way at once. While they are, further creates gather.
const LANES: usize = 2;

/// Gathers concurrent creates into batches. No create waits while a lane is free.
#[derive(Clone)]
pub(crate) struct Creates {
    queue: mpsc::Sender<Item>,
    connection: Arc<Connection>,
    transfer: Transfer,
}

struct Item {
    run: proto::NewRun,
    reply: oneshot::Sender<Result<CreatedRun, Error>>,
}

impl Creates {
    pub(crate) fn start(connection: Arc<Connection>) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let runtime = connection.runtime.clone();
        runtime::spawn(&runtime, "creates", gather(Arc::clone(&connection), items));
        Self { queue, transfer: Transfer::new(Arc::clone(&connection)), connection }
    }

    pub(crate) async fn create(&self, run: proto::NewRun) -> Result<CreatedRun, Error> {
        self.enqueue(run).await.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) async fn create_all(&self, runs: Vec<proto::NewRun>) -> Vec<Result<CreatedRun, Error>> {
        let mut replies = Vec::with_capacity(runs.len());
        for run in runs {
            replies.push(self.enqueue(run).await);
        }
        let mut outcomes = Vec::with_capacity(replies.len());
        for reply in replies {
            outcomes.push(reply.await.unwrap_or_else(|_| Err(gone())));
        }
        outcomes
    }

    /// Returns once the create is in the queue, and parameters that are too large for it are uploaded; with what will be
    /// its outcome.
    pub(crate) async fn enqueue(
        &self,
        mut run: proto::NewRun,
    ) -> oneshot::Receiver<Result<CreatedRun, Error>> {
        if run.id.is_empty() {
            run.id = new_run_id();
        }
        let (reply, outcome) = oneshot::channel();
        if let Err(error) = self.connection.options.codecs.encode_parameters(run.parameters.as_mut()) {
            let _ = reply.send(Err(error));
            return outcome;
        }
        if let Err(error) = ends::check_parameters(&run, self.connection.max_payload()) {
            let _ = reply.send(Err(error));
            return outcome;
        }
        if let Err(error) = self.transfer.offload(run.parameters.as_mut()).await {
            let _ = reply.send(Err(error));
            return outcome;
        }
        // A closed queue drops `reply`, which the receiver sees.
        let _ = self.queue.send(Item { run, reply }).await;
        outcome
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Internal, "the connection thread is gone")
}

async fn gather(connection: Arc<Connection>, mut items: mpsc::Receiver<Item>) {
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut held_over: Option<Item> = None;
    loop {
        let Ok(lane) = Arc::clone(&lanes).acquire_owned().await else { return };
        let first = match held_over.take() {
            Some(item) => item,
            None => match items.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let mut n_bytes = first.run.encoded_len();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            let Ok(item) = items.try_recv() else { break };
            n_bytes += item.run.encoded_len();
            if n_bytes > MAX_BATCH_BYTES {
                held_over = Some(item);
                break;
            }
            batch.push(item);
        }
        let connection = Arc::clone(&connection);
        let runtime = connection.runtime.clone();
        runtime::spawn(&runtime, "create batch", async move {
            send(&connection, batch).await;
            drop(lane);
        });
    }
}

/// Sends a batch until every item has its answer: items that the server could not take for now are repeated,
/// under the same ids.
async fn send(connection: &Connection, batch: Vec<Item>) {
    let give_up = Instant::now() + connection.options.call_deadline;
    let mut backoff = Backoff::standard();
    let mut left: VecDeque<Item> = batch.into();
    loop {
        let request = proto::CreateRunsRequest {
            namespace: connection.options.namespace.clone(),
            runs: left.iter().map(|item| item.run.clone()).collect(),
        };
        let traceparent = left.front().map(|item| item.run.traceparent.clone());
        let n_tries = AtomicUsize::new(0);
        let response = connection
            .call(|channel| {
                n_tries.fetch_add(1, Ordering::Relaxed);
                let request = connection.request(request.clone(), traceparent.as_deref());
                async move { RunServiceClient::new(channel).create_runs(request).await }
            })
            .await;
        let outcomes = match response {
            Ok(response) if response.outcomes.len() == left.len() => response.outcomes,
            Ok(_) => {
                let error = Error::new(ErrorKind::Internal, "the server answered another number of runs");
                return fail(left, &error);
            }
            Err(error) => return fail(left, &error),
        };
        let may_repeat = Instant::now() < give_up;
        let mut again = VecDeque::new();
        for (item, outcome) in left.into_iter().zip(outcomes) {
            if outcome.error_reason.is_empty() {
                // A try whose answer was lost has made what this one has found under its id.
                let was_lost = n_tries.load(Ordering::Relaxed) > 1 && outcome.run_id == item.run.id;
                let created = CreatedRun {
                    id: outcome.run_id,
                    created: outcome.created || was_lost,
                    state: outcome.state.unwrap_or_default(),
                    epoch: outcome.epoch,
                    adopted: outcome.adopted,
                };
                let _ = item.reply.send(Ok(created)); // the caller may have gone
                continue;
            }
            let error = Error::of_item(&outcome.error_reason, &outcome.error_message);
            if error.is_retryable() && may_repeat {
                again.push_back(item);
            } else {
                let _ = item.reply.send(Err(error));
            }
        }
        if again.is_empty() {
            return;
        }
        left = again;
        sleep(backoff.next()).await;
    }
}

fn fail(items: VecDeque<Item>, error: &Error) {
    for item in items {
        let _ = item.reply.send(Err(error.clone()));
    }
}
