use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    Error, LogWriter, Options, Progress, ProgressWriter, Session,
    connection::{Connection, MAX_READ_SIZE},
    creates::Creates,
    error::answered,
    follow,
    proto::{self, run_service_client::RunServiceClient},
    runtime, trace,
    transfer::Transfer,
    waits::Waits,
};

/// Results that are fetched from object storage at once.
const MAX_DOWNLOADS: usize = 4;

/// A new run id: a UUIDv7 in canonical text form. Ids are made here, so that a repeated create names the
/// same run.
pub fn new_run_id() -> String {
    Uuid::now_v7().to_string()
}

/// A run that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedRun {
    /// Its id: the one asked for, or of the run that the idempotency key had made before.
    pub id: String,
    /// False when it was there before.
    pub created: bool,
    /// Its state.
    pub state: proto::State,
    /// Its epoch.
    pub epoch: u64,
    /// True for a local child of an earlier attempt of its parent that is now this process's to execute.
    pub adopted: bool,
}

/// Speaks to one Tidegate. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Connection>,
    creates: Creates,
    transfer: Transfer,
    waits: Waits,
    session: OnceLock<Session>,
    logs: OnceLock<LogWriter>,
    progress: ProgressWriter,
    pid: u32,
}

impl Client {
    /// A client that connects with its first call.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong address; `Internal` when the connection thread does not start.
    pub fn new(options: Options) -> Result<Self, Error> {
        let runtime = runtime::handle()?;
        let connection = Arc::new(Connection::new(options, runtime)?);
        let shared = Shared {
            creates: Creates::start(Arc::clone(&connection)),
            transfer: Transfer::new(Arc::clone(&connection)),
            waits: Waits::start(Arc::clone(&connection)),
            session: OnceLock::new(),
            logs: OnceLock::new(),
            progress: ProgressWriter::default(),
            pid: std::process::id(),
            connection,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How it connects.
    pub fn options(&self) -> &Options {
        &self.shared.connection.options
    }

    /// False in a forked child: its connections belong to the parent, and it must make a new client.
    pub fn is_of_this_process(&self) -> bool {
        runtime::is_of_this_process(self.shared.pid)
    }

    /// The core's runtime, to wait for this client's futures from code that is not async.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.shared.connection.runtime
    }

    /// Bytes of one value that the server keeps, as far as that is known: until a session or a worker has begun, it is the
    /// default.
    pub fn max_payload_size(&self) -> usize {
        self.shared.connection.max_payload()
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.shared.connection
    }

    pub(crate) fn transfer(&self) -> &Transfer {
        &self.shared.transfer
    }

    fn runs(channel: Channel) -> RunServiceClient<Channel> {
        RunServiceClient::new(channel).max_decoding_message_size(MAX_READ_SIZE)
    }

    fn namespace(&self, given: &mut String) {
        if given.is_empty() {
            given.clone_from(&self.options().namespace);
        }
    }

    /// Creates one run; it is durable when this returns. Concurrent calls travel together.
    ///
    /// # Errors
    /// `InvalidArgument`, `AlreadyExists`, `FailedPrecondition` (the parent has ended), `Unavailable`.
    pub async fn create_run(&self, mut run: proto::NewRun) -> Result<CreatedRun, Error> {
        let span = trace::Span::of_create(&run.name, &run.traceparent);
        run.traceparent = span.traceparent();
        let created = self.shared.creates.create(run).await;
        span.end(created.as_ref().err().map(Error::message));
        created
    }

    /// Creates many runs under one span; each has its own outcome, in order.
    pub async fn create_runs(&self, mut runs: Vec<proto::NewRun>) -> Vec<Result<CreatedRun, Error>> {
        let Some(first) = runs.first() else { return Vec::new() };
        let span = trace::Span::of_create(&first.name, &first.traceparent);
        let traceparent = span.traceparent();
        for run in &mut runs {
            run.traceparent.clone_from(&traceparent);
        }
        let outcomes = self.shared.creates.create_all(runs).await;
        let failed = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        span.end(failed.map(Error::message));
        outcomes
    }

    /// The run in full, with its parameters and result, also where they have to be fetched from object storage.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn get_run(&self, run_id: &str) -> Result<proto::Run, Error> {
        self.resolved(self.peek_run(run_id).await?).await
    }

    async fn resolved(&self, mut run: proto::Run) -> Result<proto::Run, Error> {
        self.shared.transfer.resolve(run.parameters.as_mut()).await?;
        self.shared.transfer.resolve(run.result.as_mut()).await?;
        self.options().codecs.decode(run.parameters.as_mut())?;
        self.options().codecs.decode(run.result.as_mut())?;
        Ok(run)
    }

    /// As [`Client::get_run`], but large values stay references.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn peek_run(&self, run_id: &str) -> Result<proto::Run, Error> {
        let request = proto::GetRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            ..Default::default()
        };
        let connection = &self.shared.connection;
        let response = connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).get_run(request).await }
            })
            .await?;
        answered(response.run, "run")
    }

    /// A page of runs.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong filter, `Unavailable`.
    pub async fn list_runs(
        &self,
        mut request: proto::ListRunsRequest,
    ) -> Result<proto::ListRunsResponse, Error> {
        self.namespace(&mut request.namespace);
        let connection = &self.shared.connection;
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).list_runs(request).await }
            })
            .await
    }

    /// How many runs a filter gives.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong filter, `Unavailable`.
    pub async fn count_runs(&self, filter: &str) -> Result<proto::CountRunsResponse, Error> {
        let request = proto::CountRunsRequest {
            namespace: self.options().namespace.clone(),
            filter: filter.to_owned(),
        };
        let connection = &self.shared.connection;
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).count_runs(request).await }
            })
            .await
    }

    /// The run that an idempotency key has made, in full.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn find_run(&self, request: proto::FindRunRequest) -> Result<proto::Run, Error> {
        self.resolved(self.peek_found_run(request).await?).await
    }

    /// As [`Client::find_run`], but large values stay references.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn peek_found_run(&self, mut request: proto::FindRunRequest) -> Result<proto::Run, Error> {
        self.namespace(&mut request.namespace);
        let connection = &self.shared.connection;
        let response = connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).find_run(request).await }
            })
            .await?;
        answered(response.run, "run")
    }

    /// The run in full, once it has ended, with its result; large parameters stay a reference, see
    /// [`Client::resolve`]. All waits of a process share few streams. Wrap it in a timeout to bound it; dropping it is
    /// safe.
    ///
    /// # Errors
    /// `NotFound`, or `Unavailable` when the server stayed away for longer than `outage_patience`.
    pub async fn wait(&self, run_id: &str) -> Result<Arc<proto::Run>, Error> {
        self.with_result(self.shared.waits.wait(run_id).await?).await
    }

    /// As [`Client::wait`] for each of `run_ids`, in order.
    pub async fn wait_many(&self, run_ids: &[String]) -> Vec<Result<Arc<proto::Run>, Error>> {
        let ended = self.shared.waits.wait_many(run_ids).await;
        let results = ended.into_iter().map(|run| async { self.with_result(run?).await });
        stream::iter(results).buffered(MAX_DOWNLOADS).collect().await
    }

    /// Puts a large value in the place of its reference, and undoes what codecs have done to it.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, or `CHECKSUM_MISMATCH` where it has changed in object storage.
    pub async fn resolve(&self, payload: &mut proto::Payload) -> Result<(), Error> {
        self.shared.transfer.resolve(Some(payload)).await?;
        self.options().codecs.decode(Some(payload))
    }

    async fn with_result(&self, run: Arc<proto::Run>) -> Result<Arc<proto::Run>, Error> {
        let codecs = &self.options().codecs;
        let is_plain = |result: &proto::Payload| result.reference.is_none() && !codecs.can_decode(result);
        if run.result.as_ref().is_none_or(is_plain) {
            return Ok(run);
        }
        let mut run = Arc::unwrap_or_clone(run);
        self.shared.transfer.resolve(run.result.as_mut()).await?;
        codecs.decode(run.result.as_mut())?;
        Ok(Arc::new(run))
    }

    /// Events as they happen. A broken stream is resumed where it broke; the stream ends only with an error,
    /// or, with `until_ended`, with the last run.
    pub fn watch(
        &self,
        mut request: proto::WatchRunsRequest,
    ) -> impl Stream<Item = Result<proto::WatchRunsResponse, Error>> + Send + use<> {
        self.namespace(&mut request.namespace);
        follow::watch(Arc::clone(&self.shared.connection), request)
    }

    /// Cancels a run and its descendants.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn cancel_run(&self, run_id: &str, reason: &str) -> Result<proto::CancelRunResponse, Error> {
        let request = proto::CancelRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
            request_id: new_run_id(),
        };
        let connection = &self.shared.connection;
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).cancel_run(request).await }
            })
            .await
    }

    /// Why a run is where it is.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn explain_run(&self, run_id: &str) -> Result<proto::Explanation, Error> {
        let request = proto::ExplainRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
        };
        let connection = &self.shared.connection;
        let response = connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).explain_run(request).await }
            })
            .await?;
        answered(response.explanation, "explanation")
    }

    /// A page of a run's history.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn list_run_events(
        &self,
        mut request: proto::ListRunEventsRequest,
    ) -> Result<proto::ListRunEventsResponse, Error> {
        self.namespace(&mut request.namespace);
        let connection = &self.shared.connection;
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { Self::runs(channel).list_run_events(request).await }
            })
            .await
    }

    /// The whole history of a run, oldest first.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn history(&self, run_id: &str) -> Result<Vec<proto::RunEvent>, Error> {
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListRunEventsRequest {
                run_id: run_id.to_owned(),
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let page = self.list_run_events(request).await?;
            events.extend(page.events);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            page_token = page.next_page_token;
        }
    }

    /// A page of log lines.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn query_logs(
        &self,
        mut request: proto::QueryLogsRequest,
    ) -> Result<proto::QueryLogsResponse, Error> {
        self.namespace(&mut request.namespace);
        follow::query_logs(&self.shared.connection, request).await
    }

    /// Log lines as they come. A broken stream is resumed where it broke.
    pub fn tail_logs(
        &self,
        mut request: proto::TailLogsRequest,
    ) -> impl Stream<Item = Result<proto::TailLogsResponse, Error>> + Send + use<> {
        self.namespace(&mut request.namespace);
        follow::tail_logs(Arc::clone(&self.shared.connection), request)
    }

    /// What the server is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn version(&self) -> Result<proto::GetVersionResponse, Error> {
        self.shared
            .connection
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel)
                    .get_version(proto::GetVersionRequest {})
                    .await
            })
            .await
    }

    /// How the services find what they depend on.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn diagnosis(&self) -> Result<proto::GetDiagnosisResponse, Error> {
        self.shared
            .connection
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel)
                    .get_diagnosis(proto::GetDiagnosisRequest {})
                    .await
            })
            .await
    }

    /// Where workers and log writers are to connect; an empty address is the one that was called.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn endpoints(&self) -> Result<proto::GetEndpointsResponse, Error> {
        self.shared
            .connection
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel)
                    .get_endpoints(proto::GetEndpointsRequest {})
                    .await
            })
            .await
    }

    /// The bounds that requests are held to.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn limits(&self) -> Result<proto::GetLimitsResponse, Error> {
        self.shared
            .connection
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel)
                    .get_limits(proto::GetLimitsRequest {})
                    .await
            })
            .await
    }

    /// The session of this process; it opens with its first local run.
    pub fn session(&self) -> &Session {
        self.shared
            .session
            .get_or_init(|| Session::start(Arc::clone(&self.shared.connection), self.shared.creates.clone()))
    }

    /// The log writer of this process; it connects with its first line.
    pub fn logs(&self) -> &LogWriter {
        self.shared.logs.get_or_init(|| LogWriter::start(Arc::clone(&self.shared.connection)))
    }

    /// Tells how far something is, by its artifact. Never waits: while one update of an artifact travels, later ones take
    /// the place of each other, and the last is told. What the server does not take is told in the log of this process.
    pub fn write_progress(&self, progress: Progress) {
        self.shared.progress.write(self, progress);
    }

    /// The progress of artifacts that is on its way.
    pub fn progress(&self) -> &ProgressWriter {
        &self.shared.progress
    }

    /// Flushes logs, progress and reports and ends the session in order, within `deadline`.
    pub async fn close(&self, deadline: Duration) {
        let session = async {
            if let Some(session) = self.shared.session.get() {
                session.close(deadline).await;
            }
        };
        let logs = async {
            if let Some(logs) = self.shared.logs.get()
                && !logs.flush(deadline).await
            {
                tracing::warn!("not all log lines reached the server within {deadline:?}");
            }
        };
        let progress = async {
            if !self.shared.progress.flush(deadline).await {
                tracing::warn!("not all progress reached the server within {deadline:?}");
            }
        };
        futures::join!(session, logs, progress);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.options().address).finish_non_exhaustive()
    }
}
