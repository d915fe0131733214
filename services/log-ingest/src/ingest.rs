//! An ingest stream: batches in, acknowledgements out.

use std::pin::Pin;

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use metrics::{counter, gauge};
use tidegate_model::Namespace;
use tidegate_proto::v1::{IngestLogsRequest, IngestLogsResponse};
use tidegate_service_kit::CancellationToken;
use tidegate_store::log::LogBatch;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};

use crate::{convert::parse_batch, error::Error, lanes::Lanes, metrics::*};

/// Batches that may be unacknowledged; beyond it nothing is read.
const MAX_IN_FLIGHT: usize = 64;

/// One stream. Reading, storing and acknowledging all happen while its answers are polled, so a writer that does
/// not read its acknowledgements holds itself back.
pub(crate) struct Ingest {
    inbound: Streaming<IngestLogsRequest>,
    lanes: Lanes,
    stop: CancellationToken,
    /// The batches under way, by their `batch_seq`, in order.
    in_flight: FuturesOrdered<BoxFuture<'static, Result<u64, Status>>>,
    namespace: Option<Namespace>,
    last_batch_seq: u64,
    /// Nothing is read any more; what is under way is acknowledged, then this is the end.
    end: Option<Result<(), Status>>,
    _writer: TaskTrackerToken,
    _place: OwnedSemaphorePermit,
}

impl Ingest {
    pub(crate) fn new(
        inbound: Streaming<IngestLogsRequest>,
        lanes: Lanes,
        stop: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        gauge!(STREAMS).increment(1.0);
        let writer = lanes.writer();
        Self {
            inbound,
            lanes,
            stop,
            in_flight: FuturesOrdered::new(),
            namespace: None,
            last_batch_seq: 0,
            end: None,
            _writer: writer,
            _place: place,
        }
    }

    /// The answers.
    pub(crate) fn answers(self) -> Pin<Box<dyn Stream<Item = Result<IngestLogsResponse, Status>> + Send>> {
        Box::pin(futures::stream::unfold(Some(self), |ingest| async move {
            let mut ingest = ingest?;
            match ingest.next().await? {
                Ok(response) => Some((Ok(response), Some(ingest))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<IngestLogsResponse, Status>> {
        loop {
            if self.in_flight.is_empty()
                && let Some(end) = self.end.take()
            {
                return end.err().map(Err);
            }
            tokio::select! {
                biased;
                Some(outcome) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    return Some(self.acknowledge(outcome));
                }
                () = self.stop.cancelled(), if self.end.is_none() => {
                    self.end = Some(Err(tidegate_wire::to_status(&Error::Draining)));
                }
                message = self.inbound.message(), if self.end.is_none() && self.in_flight.len() < MAX_IN_FLIGHT => {
                    match message {
                        Ok(Some(request)) => self.take(request).await,
                        Ok(None) => self.end = Some(Ok(())),
                        Err(status) => self.end = Some(Err(status)),
                    }
                }
            }
        }
    }

    /// One answer for all batches that are stored by now.
    fn acknowledge(&mut self, first: Result<u64, Status>) -> Result<IngestLogsResponse, Status> {
        let mut acked_batch_seq = first?;
        while let Some(Some(outcome)) = self.in_flight.next().now_or_never() {
            match outcome {
                Ok(batch_seq) => acked_batch_seq = batch_seq,
                Err(status) => {
                    // What comes behind it may be stored, but cannot be acknowledged.
                    self.in_flight.clear();
                    self.end = Some(Err(status));
                }
            }
        }
        Ok(IngestLogsResponse { acked_batch_seq })
    }

    async fn take(&mut self, request: IngestLogsRequest) {
        let batch_seq = request.batch_seq;
        match self.check(request) {
            Ok(batch) if batch.lines.is_empty() => {
                self.in_flight.push_back(std::future::ready(Ok(batch_seq)).boxed());
            }
            Ok(batch) => {
                let outcome = self.lanes.submit(batch).await;
                let stored = async move {
                    // A lane that is gone has not stored it.
                    let outcome =
                        outcome.await.unwrap_or_else(|_| Err(tidegate_wire::to_status(&Error::Draining)));
                    outcome.map(|()| batch_seq)
                };
                self.in_flight.push_back(stored.boxed());
            }
            Err(status) => {
                counter!(REFUSED).increment(1);
                self.end = Some(Err(status));
            }
        }
    }

    fn check(&mut self, request: IngestLogsRequest) -> Result<LogBatch, Status> {
        let (batch_seq, expected) = (request.batch_seq, self.last_batch_seq + 1);
        if batch_seq != expected {
            let fault = format!("{batch_seq} is not the next number of this stream, {expected}");
            return Err(tidegate_wire::invalid_field("batch_seq", fault));
        }
        let batch = parse_batch(request)?;
        let namespace = self.namespace.get_or_insert_with(|| batch.namespace.clone());
        if *namespace != batch.namespace {
            let fault = format!("`{}` is not that of the stream, `{namespace}`", batch.namespace);
            return Err(tidegate_wire::invalid_field("namespace", fault));
        }
        self.last_batch_seq = batch_seq;
        Ok(batch)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        gauge!(STREAMS).decrement(1.0);
    }
}
