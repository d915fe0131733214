use std::{pin::Pin, time::Duration};

use tidegate_engine::EngineError;
use tidegate_model::{ErrorCode, ObjectId, ObjectRef, Reason, ServiceError};
use tidegate_payload::{Download, Payloads, PresignedRequest, Upload};
use tidegate_proto::v1::{self, payload_service_server::PayloadService, upload_payload_request::Message};
use tidegate_wire::{
    Violations, invalid, invalid_field, namespace, reference_to_proto, sha256, timestamp_to_proto, to_status,
};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use crate::stream::{Pull, ResponseStream, pulled};

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an upload may take: shorter than any time after which its object may be collected.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(1_800);
/// What an upload must bring on the whole, beside one silence: it holds room from others until it is over.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// `PayloadService` over object storage.
pub(crate) struct Service {
    payloads: Payloads,
    stop: CancellationToken,
    uploads: TaskTracker,
}

impl Service {
    /// What is uploaded is in `uploads`, which who stops the service waits for.
    pub fn new(payloads: Payloads, stop: CancellationToken, uploads: TaskTracker) -> Self {
        Self { payloads, stop, uploads }
    }

    /// Does it in a task of its own: where the caller goes away, what was written so far is taken away all the same.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.uploads.spawn(async move {
            let _ = reply.send(work.await); // who asked may have gone
        });
        answer.await.unwrap_or_else(|_| Err(to_status(&EngineError::Draining)))
    }
}

#[tonic::async_trait]
impl PayloadService for Service {
    async fn create_upload(
        &self,
        request: Request<v1::CreateUploadRequest>,
    ) -> Result<Response<v1::CreateUploadResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let mut violations = Violations::default();
        let id = match request.request_id.as_str() {
            "" => Some(ObjectId::new()),
            text => violations.parse("request_id", text),
        };
        let sha256 = sha256(&request.sha256, "sha256", &mut violations);
        let (Some(id), Some(sha256)) = (id, sha256) else { return Err(invalid(violations.into_vec())) };
        let object = ObjectRef { id, size: request.size_bytes, sha256 };
        let presigned =
            self.payloads.announce(&namespace, object).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::CreateUploadResponse {
            reference: Some(reference_to_proto(&object)),
            request: presigned.map(presigned_to_proto),
        }))
    }

    async fn upload_payload(
        &self,
        request: Request<Streaming<v1::UploadPayloadRequest>>,
    ) -> Result<Response<v1::UploadPayloadResponse>, Status> {
        let mut chunks = request.into_inner();
        let first = self.stop.run_until_cancelled(next_message(&mut chunks)).await;
        let first = first.unwrap_or_else(|| Err(to_status(&EngineError::Draining)))?;
        let Some(Message::Start(start)) = first else {
            return Err(invalid_field("start", "is missing: the first message names the upload"));
        };
        let namespace = namespace(&start.namespace)?;
        let id = object_id(&start.object_id)?;
        let upload = self.payloads.upload(&namespace, id).await.map_err(|error| to_status(&error))?;
        let stop = self.stop.clone();
        let object = self.apart(async move { receive(upload, chunks, &stop).await }).await?;
        Ok(Response::new(v1::UploadPayloadResponse { reference: Some(reference_to_proto(&object)) }))
    }

    async fn complete_upload(
        &self,
        request: Request<v1::CompleteUploadRequest>,
    ) -> Result<Response<v1::CompleteUploadResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = object_id(&request.object_id)?;
        let payloads = self.payloads.clone();
        let stop = self.stop.clone();
        let completing =
            async move { payloads.complete(&namespace, id, &stop).await.map_err(|error| to_status(&error)) };
        let object = self.apart(completing).await?;
        Ok(Response::new(v1::CompleteUploadResponse { reference: Some(reference_to_proto(&object)) }))
    }

    async fn create_download(
        &self,
        request: Request<v1::CreateDownloadRequest>,
    ) -> Result<Response<v1::CreateDownloadResponse>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = object_id(&request.object_id)?;
        let granted = self.payloads.presigned_download(&namespace, id).await;
        let (object, presigned) = granted.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::CreateDownloadResponse {
            reference: Some(reference_to_proto(&object)),
            request: presigned.map(presigned_to_proto),
        }))
    }

    type DownloadPayloadStream = ResponseStream<v1::DownloadPayloadResponse>;

    async fn download_payload(
        &self,
        request: Request<v1::DownloadPayloadRequest>,
    ) -> Result<Response<Self::DownloadPayloadStream>, Status> {
        let request = request.into_inner();
        let namespace = namespace(&request.namespace)?;
        let id = object_id(&request.object_id)?;
        let download = self.payloads.download(&namespace, id).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(pulled(Chunks(download), self.stop.clone())))
    }
}

struct Chunks(Download);

impl Pull<v1::DownloadPayloadResponse> for Chunks {
    async fn pull(&mut self) -> Result<Option<v1::DownloadPayloadResponse>, Status> {
        let chunk = self.0.next().await.map_err(|error| to_status(&error))?;
        Ok(chunk.map(|chunk| v1::DownloadPayloadResponse { chunk }))
    }
}

/// Takes an upload to its end, or takes away what was written of it.
async fn receive(
    mut upload: Upload,
    chunks: Streaming<v1::UploadPayloadRequest>,
    stop: &CancellationToken,
) -> Result<ObjectRef, Status> {
    let received = {
        let within = time_for(upload.object().size);
        let taking: Pin<Box<_>> = Box::pin(timeout(within, take_chunks(&mut upload, chunks)));
        match stop.run_until_cancelled(taking).await {
            None => Err(to_status(&EngineError::Draining)),
            Some(Err(_)) => Err(too_slow("did not all come", within)),
            Some(Ok(taken)) => taken,
        }
    };
    match received {
        Ok(()) => upload.finish().await.map_err(|error| to_status(&error)),
        Err(status) => {
            upload.abort().await;
            Err(status)
        }
    }
}

/// How long an upload of so many bytes may take.
fn time_for(size: u64) -> Duration {
    (SILENCE + Duration::from_secs(size / MIN_BYTES_PER_SECOND)).min(UPLOAD_TIMEOUT)
}

async fn take_chunks(
    upload: &mut Upload,
    mut chunks: Streaming<v1::UploadPayloadRequest>,
) -> Result<(), Status> {
    while let Some(message) = next_message(&mut chunks).await? {
        match message {
            Message::Chunk(chunk) => upload.write(chunk).await.map_err(|error| to_status(&error))?,
            Message::Start(_) => {
                return Err(invalid_field("start", "comes a second time: it is the first message only"));
            }
        }
    }
    Ok(())
}

/// The next message of an upload; `None`: the end.
async fn next_message(chunks: &mut Streaming<v1::UploadPayloadRequest>) -> Result<Option<Message>, Status> {
    let next = timeout(SILENCE, chunks.message()).await;
    let next = next.map_err(|_| too_slow("did not go on", SILENCE))?;
    match next? {
        None => Ok(None),
        Some(request) => match request.message {
            Some(message) => Ok(Some(message)),
            None => Err(invalid_field("message", "is not set")),
        },
    }
}

/// The line may be better next time.
fn too_slow(what: &'static str, within: Duration) -> Status {
    to_status(&TooSlow { what, within })
}

#[derive(Debug, thiserror::Error)]
#[error("the bytes of the upload {what} within {within:?}, and nothing of it is kept: send them again")]
struct TooSlow {
    what: &'static str,
    within: Duration,
}

impl ServiceError for TooSlow {
    fn code(&self) -> ErrorCode {
        ErrorCode::DeadlineExceeded
    }

    fn reason(&self) -> Reason {
        Reason::UploadTooSlow
    }
}

fn object_id(text: &str) -> Result<ObjectId, Status> {
    let mut violations = Violations::default();
    violations.parse("object_id", text).ok_or_else(|| invalid(violations.into_vec()))
}

fn presigned_to_proto(request: PresignedRequest) -> v1::PresignedRequest {
    v1::PresignedRequest {
        method: request.method.to_owned(),
        url: request.url,
        headers: request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        expires_at: Some(timestamp_to_proto(request.expires_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_upload_follows_its_size() {
        let times = [1, 24 << 20, 256 << 20].map(|size| time_for(size).as_secs());
        assert_eq!(times, [60, 60 + 384, 1_800]);
    }
}
