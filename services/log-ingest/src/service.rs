use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tidegate_proto::v1::{
    IngestLogsRequest, IngestLogsResponse, QueryLogsRequest, QueryLogsResponse, TailLogsRequest,
    TailLogsResponse, log_service_server::LogService,
};
use tidegate_service_kit::CancellationToken;
use tidegate_store::log::LogStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use crate::{Config, TailConfig, error::Error, ingest::Ingest, lanes::Lanes, query, tail::Tail};

/// `tidegate.v1.LogService`.
pub(crate) struct Service {
    store: Arc<dyn LogStore>,
    lanes: Lanes,
    tail: TailConfig,
    stop: CancellationToken,
    streams: Places,
    tails: Places,
}

/// A bound on open streams.
struct Places {
    free: Arc<Semaphore>,
    limit: usize,
    what: &'static str,
    key: &'static str,
}

impl Places {
    fn new(limit: usize, what: &'static str, key: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, what, key }
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            tidegate_wire::to_status(&Error::TooMany { what: self.what, limit: self.limit, key: self.key })
        })
    }
}

impl Service {
    pub(crate) fn new(
        config: &Config,
        store: Arc<dyn LogStore>,
        lanes: Lanes,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            lanes,
            tail: config.tail.clone(),
            stop,
            streams: Places::new(config.ingest.max_streams.get(), "ingest streams", "ingest.max_streams"),
            tails: Places::new(config.tail.max_tails.get(), "tails", "tail.max_tails"),
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl LogService for Service {
    type IngestLogsStream = Answers<IngestLogsResponse>;
    type TailLogsStream = Answers<TailLogsResponse>;

    async fn ingest_logs(
        &self,
        request: Request<Streaming<IngestLogsRequest>>,
    ) -> Result<Response<Self::IngestLogsStream>, Status> {
        let place = self.streams.take()?;
        let ingest = Ingest::new(request.into_inner(), self.lanes.clone(), self.stop.clone(), place);
        Ok(Response::new(ingest.answers()))
    }

    async fn query_logs(
        &self,
        request: Request<QueryLogsRequest>,
    ) -> Result<Response<QueryLogsResponse>, Status> {
        query::run(&*self.store, request.into_inner()).await.map(Response::new)
    }

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let place = self.tails.take()?;
        let (store, stop) = (Arc::clone(&self.store), self.stop.clone());
        let tail = Tail::open(request.get_ref(), store, &self.tail, stop, place).await?;
        Ok(Response::new(tail.answers()))
    }
}
