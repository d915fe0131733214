//! The services that the client speaks to.

use std::pin::Pin;

use tidegate_sdk_core::proto::*;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Answer, Conn, PayloadCall};

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The server side: it hands on what it is asked.
pub(super) struct Service {
    pub(super) creates: mpsc::Sender<(CreateRunsRequest, Answer<CreateRunsResponse>)>,
    pub(super) waits: mpsc::Sender<(WaitRunsRequest, mpsc::Sender<Result<WaitRunsResponse, Status>>)>,
    pub(super) gets: mpsc::Sender<(GetRunRequest, Answer<GetRunResponse>)>,
    pub(super) workers: mpsc::Sender<Conn<WorkRequest, WorkResponse>>,
    pub(super) sessions: mpsc::Sender<Conn<SessionRequest, SessionResponse>>,
    pub(super) logs: mpsc::Sender<Conn<IngestLogsRequest, IngestLogsResponse>>,
    pub(super) pauses: mpsc::Sender<(AwaitResumeRequest, Answer<AwaitResumeResponse>)>,
    pub(super) resumes: mpsc::Sender<(ResumeRunRequest, Answer<ResumeRunResponse>)>,
    pub(super) payloads: mpsc::Sender<PayloadCall>,
    pub(super) acquires: mpsc::Sender<(AcquireSlotsRequest, Answer<AcquireSlotsResponse>)>,
    pub(super) releases: mpsc::Sender<ReleaseSlotsRequest>,
    pub(super) endpoints: watch::Receiver<Option<GetEndpointsResponse>>,
    pub(super) server_id: watch::Receiver<String>,
    pub(super) pool_type: watch::Receiver<WorkPoolType>,
}

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("no test asks for this"))
}

#[tonic::async_trait]
impl system_service_server::SystemService for Service {
    async fn get_endpoints(
        &self,
        _: Request<GetEndpointsRequest>,
    ) -> Result<Response<GetEndpointsResponse>, Status> {
        let endpoints =
            self.endpoints.clone().wait_for(Option::is_some).await.ok().and_then(|now| now.clone());
        Ok(Response::new(endpoints.ok_or_else(|| Status::unavailable("the test is over"))?))
    }

    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        let server_id = self.server_id.borrow().clone();
        Ok(Response::new(GetVersionResponse { server_id, ..Default::default() }))
    }

    async fn get_diagnosis(
        &self,
        _: Request<GetDiagnosisRequest>,
    ) -> Result<Response<GetDiagnosisResponse>, Status> {
        Ok(Response::new(GetDiagnosisResponse::default()))
    }

    async fn get_limits(&self, _: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        Ok(Response::new(GetLimitsResponse::default()))
    }
}

#[tonic::async_trait]
impl run_service_server::RunService for Service {
    async fn create_run(&self, _: Request<CreateRunRequest>) -> Result<Response<CreateRunResponse>, Status> {
        not_asked()
    }

    async fn create_runs(
        &self,
        request: Request<CreateRunsRequest>,
    ) -> Result<Response<CreateRunsResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.creates.send((request.into_inner(), answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone"))).map(Response::new)
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.gets.send((request.into_inner(), answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone"))).map(Response::new)
    }

    async fn list_runs(&self, _: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        not_asked()
    }

    async fn find_run(&self, _: Request<FindRunRequest>) -> Result<Response<FindRunResponse>, Status> {
        not_asked()
    }

    async fn count_runs(&self, _: Request<CountRunsRequest>) -> Result<Response<CountRunsResponse>, Status> {
        not_asked()
    }

    type WaitRunsStream = Out<WaitRunsResponse>;

    async fn wait_runs(
        &self,
        request: Request<WaitRunsRequest>,
    ) -> Result<Response<Out<WaitRunsResponse>>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let _ = self.waits.send((request.into_inner(), responses)).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    type WatchRunsStream = Out<WatchRunsResponse>;

    async fn watch_runs(
        &self,
        _: Request<WatchRunsRequest>,
    ) -> Result<Response<Out<WatchRunsResponse>>, Status> {
        not_asked()
    }

    async fn cancel_run(&self, _: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        not_asked()
    }

    async fn pause_run(&self, _: Request<PauseRunRequest>) -> Result<Response<PauseRunResponse>, Status> {
        not_asked()
    }

    async fn resume_run(
        &self,
        request: Request<ResumeRunRequest>,
    ) -> Result<Response<ResumeRunResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.resumes.send((request.into_inner(), answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone"))).map(Response::new)
    }

    async fn list_run_inputs(
        &self,
        _: Request<ListRunInputsRequest>,
    ) -> Result<Response<ListRunInputsResponse>, Status> {
        not_asked()
    }

    async fn retry_run(&self, _: Request<RetryRunRequest>) -> Result<Response<RetryRunResponse>, Status> {
        not_asked()
    }

    async fn delete_run(&self, _: Request<DeleteRunRequest>) -> Result<Response<DeleteRunResponse>, Status> {
        not_asked()
    }

    async fn await_resume(
        &self,
        request: Request<AwaitResumeRequest>,
    ) -> Result<Response<AwaitResumeResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.pauses.send((request.into_inner(), answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone"))).map(Response::new)
    }

    async fn explain_run(
        &self,
        _: Request<ExplainRunRequest>,
    ) -> Result<Response<ExplainRunResponse>, Status> {
        not_asked()
    }

    async fn list_run_events(
        &self,
        _: Request<ListRunEventsRequest>,
    ) -> Result<Response<ListRunEventsResponse>, Status> {
        not_asked()
    }
}

#[tonic::async_trait]
impl worker_service_server::WorkerService for Service {
    type WorkStream = Out<WorkResponse>;

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Out<WorkResponse>>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let _ = self.workers.send(Conn { requests: request.into_inner(), responses }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tonic::async_trait]
impl session_service_server::SessionService for Service {
    type SessionStream = Out<SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Out<SessionResponse>>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let _ = self.sessions.send(Conn { requests: request.into_inner(), responses }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Each pool is there, and starts what [`Fake::pool_type`] says.
#[tonic::async_trait]
impl work_pool_service_server::WorkPoolService for Service {
    async fn get_work_pool(
        &self,
        request: Request<GetWorkPoolRequest>,
    ) -> Result<Response<GetWorkPoolResponse>, Status> {
        let r#type: i32 = (*self.pool_type.borrow()).into();
        let spec = WorkPoolSpec { r#type, ..Default::default() };
        let name = request.into_inner().name;
        let work_pool = Some(WorkPool { name, spec: Some(spec), ..Default::default() });
        Ok(Response::new(GetWorkPoolResponse { work_pool, ..Default::default() }))
    }

    async fn create_work_pool(
        &self,
        _: Request<CreateWorkPoolRequest>,
    ) -> Result<Response<CreateWorkPoolResponse>, Status> {
        not_asked()
    }

    async fn list_work_pools(
        &self,
        _: Request<ListWorkPoolsRequest>,
    ) -> Result<Response<ListWorkPoolsResponse>, Status> {
        not_asked()
    }

    async fn update_work_pool(
        &self,
        _: Request<UpdateWorkPoolRequest>,
    ) -> Result<Response<UpdateWorkPoolResponse>, Status> {
        not_asked()
    }

    async fn delete_work_pool(
        &self,
        _: Request<DeleteWorkPoolRequest>,
    ) -> Result<Response<DeleteWorkPoolResponse>, Status> {
        not_asked()
    }

    async fn pause_work_pool(
        &self,
        _: Request<PauseWorkPoolRequest>,
    ) -> Result<Response<PauseWorkPoolResponse>, Status> {
        not_asked()
    }

    async fn resume_work_pool(
        &self,
        _: Request<ResumeWorkPoolRequest>,
    ) -> Result<Response<ResumeWorkPoolResponse>, Status> {
        not_asked()
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        not_asked()
    }

    async fn drain_worker(
        &self,
        _: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        not_asked()
    }
}

#[tonic::async_trait]
impl log_service_server::LogService for Service {
    type IngestLogsStream = Out<IngestLogsResponse>;

    async fn ingest_logs(
        &self,
        request: Request<Streaming<IngestLogsRequest>>,
    ) -> Result<Response<Out<IngestLogsResponse>>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let _ = self.logs.send(Conn { requests: request.into_inner(), responses }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn query_logs(&self, _: Request<QueryLogsRequest>) -> Result<Response<QueryLogsResponse>, Status> {
        not_asked()
    }

    type TailLogsStream = Out<TailLogsResponse>;

    async fn tail_logs(
        &self,
        _: Request<TailLogsRequest>,
    ) -> Result<Response<Out<TailLogsResponse>>, Status> {
        not_asked()
    }
}

impl Service {
    async fn payload_call<T>(&self, call: impl FnOnce(Answer<T>) -> PayloadCall) -> Result<T, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.payloads.send(call(answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone")))
    }
}

#[tonic::async_trait]
impl payload_service_server::PayloadService for Service {
    async fn create_upload(
        &self,
        request: Request<CreateUploadRequest>,
    ) -> Result<Response<CreateUploadResponse>, Status> {
        let request = request.into_inner();
        self.payload_call(|answer| PayloadCall::CreateUpload(request, answer)).await.map(Response::new)
    }

    async fn upload_payload(
        &self,
        request: Request<Streaming<UploadPayloadRequest>>,
    ) -> Result<Response<UploadPayloadResponse>, Status> {
        let mut messages = request.into_inner();
        let (mut object_id, mut bytes) = (String::new(), Vec::new());
        while let Some(message) = messages.message().await? {
            match message.message.unwrap() {
                upload_payload_request::Message::Start(start) => object_id = start.object_id,
                upload_payload_request::Message::Chunk(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
        self.payload_call(|answer| PayloadCall::Upload(object_id, bytes, answer)).await.map(Response::new)
    }

    async fn complete_upload(
        &self,
        request: Request<CompleteUploadRequest>,
    ) -> Result<Response<CompleteUploadResponse>, Status> {
        let request = request.into_inner();
        self.payload_call(|answer| PayloadCall::CompleteUpload(request, answer)).await.map(Response::new)
    }

    async fn create_download(
        &self,
        request: Request<CreateDownloadRequest>,
    ) -> Result<Response<CreateDownloadResponse>, Status> {
        let request = request.into_inner();
        self.payload_call(|answer| PayloadCall::CreateDownload(request, answer)).await.map(Response::new)
    }

    type DownloadPayloadStream = Out<DownloadPayloadResponse>;

    async fn download_payload(
        &self,
        request: Request<DownloadPayloadRequest>,
    ) -> Result<Response<Out<DownloadPayloadResponse>>, Status> {
        let request = request.into_inner();
        let bytes = self.payload_call(|answer| PayloadCall::Download(request, answer)).await?;
        let message = Ok(DownloadPayloadResponse { chunk: bytes.into() });
        Ok(Response::new(Box::pin(tokio_stream::once(message))))
    }
}

#[tonic::async_trait]
impl concurrency_service_server::ConcurrencyService for Service {
    async fn put_concurrency_limit(
        &self,
        _: Request<PutConcurrencyLimitRequest>,
    ) -> Result<Response<PutConcurrencyLimitResponse>, Status> {
        not_asked()
    }

    async fn get_concurrency_limit(
        &self,
        _: Request<GetConcurrencyLimitRequest>,
    ) -> Result<Response<GetConcurrencyLimitResponse>, Status> {
        not_asked()
    }

    async fn list_concurrency_limits(
        &self,
        _: Request<ListConcurrencyLimitsRequest>,
    ) -> Result<Response<ListConcurrencyLimitsResponse>, Status> {
        not_asked()
    }

    async fn delete_concurrency_limit(
        &self,
        _: Request<DeleteConcurrencyLimitRequest>,
    ) -> Result<Response<DeleteConcurrencyLimitResponse>, Status> {
        not_asked()
    }

    async fn acquire_slots(
        &self,
        request: Request<AcquireSlotsRequest>,
    ) -> Result<Response<AcquireSlotsResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.acquires.send((request.into_inner(), answer)).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone"))).map(Response::new)
    }

    async fn renew_slots(
        &self,
        _: Request<RenewSlotsRequest>,
    ) -> Result<Response<RenewSlotsResponse>, Status> {
        not_asked()
    }

    async fn release_slots(
        &self,
        request: Request<ReleaseSlotsRequest>,
    ) -> Result<Response<ReleaseSlotsResponse>, Status> {
        let _ = self.releases.send(request.into_inner()).await;
        Ok(Response::new(ReleaseSlotsResponse {}))
    }
}
