//! Values that are too large for a message, on their way to and from object storage.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_stream::iter;
use uuid::Uuid;

use crate::{
    Error, ErrorKind,
    connection::Connection,
    ends,
    error::answered,
    proto::{
        self, Failure, Payload, PayloadReference, PresignedRequest,
        payload_service_client::PayloadServiceClient, report, upload_payload_request::Message,
    },
    retry::Backoff,
};

/// Bytes of one message of an upload: within the bound of the protocol.
const CHUNK: usize = 512 << 10;
/// How long one try of a transfer may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(1_200);

/// KiB of results that local runs have handed over and that are not in object storage yet, at most. A larger result goes
/// alone.
pub(crate) const UPLOAD_ROOM_KIB: u32 = 64 << 10;

/// Room for a large result on its way to object storage. Dropped, it is another's.
#[derive(Debug)]
pub struct UploadRoom {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Moves large values for all that this process does. Cheap to clone; its work is done on the core's thread.
#[derive(Clone)]
pub(crate) struct Transfer(Arc<Connection>);

impl Transfer {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }

    /// True when the value is too large for a message.
    pub(crate) fn is_large(&self, payload: Option<&Payload>) -> bool {
        payload.is_some_and(|payload| payload.data.len() > self.0.max_inline())
    }

    /// Room for the result of a local run, which goes on while its result is uploaded: without a bound, an outage of object
    /// storage would fill the memory of a flow that calls on. `None` for a result that travels in its report.
    pub(crate) fn room(&self, size: usize) -> Option<impl Future<Output = UploadRoom> + Send + use<>> {
        if size <= self.0.max_inline() {
            return None;
        }
        let n_kib = u32::try_from(size.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(UPLOAD_ROOM_KIB);
        let room = Arc::clone(&self.0.upload_room);
        Some(async move { UploadRoom { _permit: room.acquire_many_owned(n_kib).await.ok() } }) // nobody closes it
    }

    /// Uploads a value that is too large for a message, and leaves the reference to it.
    ///
    /// # Errors
    /// `InvalidArgument` above the server's bound; else as for any call.
    pub(crate) async fn offload(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        let Some(payload) = payload else { return Ok(()) };
        if !self.is_large(Some(payload)) {
            return Ok(());
        }
        let (this, data) = (self.clone(), payload.data.clone());
        payload.reference = Some(self.on_core(async move { this.upload(data).await }).await?);
        payload.data = Bytes::new();
        Ok(())
    }

    /// As [`Transfer::offload`] for the value in an event, for as long as it takes: a server that is away comes back, and
    /// what fails for another cause is tried some times anew. A value that cannot be taken becomes a failure that says so.
    pub(crate) async fn offload_event(&self, mut event: report::Event) -> report::Event {
        let mut patience = Patience::default();
        loop {
            let report::Event::Completed(completed) = &mut event else { return event };
            let Err(error) = self.offload(completed.result.as_mut()).await else { return event };
            let size = completed.result.as_ref().map_or(0, |result| result.data.len());
            let max_payload = self.0.max_payload();
            if size > max_payload {
                let message = ends::too_large("the result has", size, max_payload, "return");
                return report::Event::Failed(ends::no_value(message));
            }
            if error.is_denied() || !patience.wait_after(&error).await {
                let message = format!("the result cannot be kept: {error}");
                // Where the value is not at fault, the run's own retries may help.
                let failure = Failure { non_retryable: false, ..ends::no_value(message) };
                return report::Event::Failed(failure);
            }
            tracing::warn!("a result is not uploaded yet, and is tried again: {error}");
        }
    }

    /// Puts the value in the place of its reference.
    ///
    /// # Errors
    /// `PAYLOAD_NOT_FOUND`, `CHECKSUM_MISMATCH`; else as for any call.
    pub(crate) async fn resolve(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        let Some(payload) = payload else { return Ok(()) };
        let Some(reference) = payload.reference.clone() else { return Ok(()) };
        let this = self.clone();
        payload.data = self.on_core(async move { this.download(&reference).await }).await?;
        payload.reference = None;
        Ok(())
    }

    /// As [`Transfer::resolve`], for as long as it takes; a fault of the server is given some tries.
    pub(crate) async fn resolve_patiently(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        let Some(payload) = payload else { return Ok(()) };
        let mut patience = Patience::default();
        loop {
            let Err(error) = self.resolve(Some(&mut *payload)).await else { return Ok(()) };
            let may_pass = error.is_retryable() || error.kind() == ErrorKind::Internal;
            if !may_pass || !patience.wait_after(&error).await {
                return Err(error);
            }
            tracing::warn!("a value is not downloaded yet, and is tried again: {error}");
        }
    }

    /// Who asks may have an executor that knows neither sockets nor timers.
    fn on_core<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let done = self.0.runtime.spawn(work);
        async move {
            done.await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the transfer of a value broke off")))
        }
    }

    async fn upload(&self, data: Bytes) -> Result<PayloadReference, Error> {
        self.0.learn_limits().await;
        let max_payload = self.0.max_payload();
        if data.len() > max_payload {
            let message = ends::too_large("a value has", data.len(), max_payload, "pass");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let request = proto::CreateUploadRequest {
            namespace: self.namespace(),
            size_bytes: data.len() as u64,
            sha256: sha256(data.clone()).await?,
            request_id: Uuid::now_v7().to_string(),
        };
        let announced = self
            .0
            .call(|channel| {
                let request = self.0.request(request.clone(), None);
                async move { PayloadServiceClient::new(channel).create_upload(request).await }
            })
            .await?;
        let object_id = answered(announced.reference, "reference")?.object_id;
        if let Some(presigned) = announced.request
            && let Some(uploaded) = self.upload_directly(&object_id, &presigned, data.clone()).await
        {
            return uploaded;
        }
        self.upload_through_api(&object_id, data).await
    }

    /// `None`: object storage did not take it, or has something else now (what answers for it need not be it), and the
    /// api is to take it.
    async fn upload_directly(
        &self,
        object_id: &str,
        request: &PresignedRequest,
        data: Bytes,
    ) -> Option<Result<PayloadReference, Error>> {
        self.send(request, data).await?;
        let request =
            proto::CompleteUploadRequest { namespace: self.namespace(), object_id: object_id.to_owned() };
        let completed = self
            .0
            .call_within(TRANSFER_TIMEOUT, |channel| {
                let request = self.0.request(request.clone(), None);
                async move { PayloadServiceClient::new(channel).complete_upload(request).await }
            })
            .await;
        match completed {
            Err(error) if !error.is_retryable() => {
                tracing::warn!("object storage took a value that is not there; the server takes it: {error}");
                None
            }
            completed => Some(completed.and_then(|completed| answered(completed.reference, "reference"))),
        }
    }

    async fn upload_through_api(&self, object_id: &str, data: Bytes) -> Result<PayloadReference, Error> {
        let start = proto::UploadStart { namespace: self.namespace(), object_id: object_id.to_owned() };
        let uploaded = self
            .0
            .call_within(TRANSFER_TIMEOUT, |channel| {
                let mut rest = data.clone();
                let chunks = std::iter::from_fn(move || {
                    (!rest.is_empty()).then(|| Message::Chunk(rest.split_to(rest.len().min(CHUNK))))
                });
                let messages = [Message::Start(start.clone())].into_iter().chain(chunks);
                let messages = messages.map(|message| proto::UploadPayloadRequest { message: Some(message) });
                let request = self.0.request(iter(messages), None);
                async move { PayloadServiceClient::new(channel).upload_payload(request).await }
            })
            .await?;
        answered(uploaded.reference, "reference")
    }

    async fn download(&self, reference: &PayloadReference) -> Result<Bytes, Error> {
        let request = proto::CreateDownloadRequest {
            namespace: self.namespace(),
            object_id: reference.object_id.clone(),
        };
        let granted = self
            .0
            .call(|channel| {
                let request = self.0.request(request.clone(), None);
                async move { PayloadServiceClient::new(channel).create_download(request).await }
            })
            .await?;
        if let Some(request) = &granted.request
            && let Some(data) = self.send(request, Bytes::new()).await
        {
            if is_of(reference, &data).await? {
                return Ok(data);
            }
            let id = &reference.object_id;
            tracing::warn!("object storage gave something else than {id}; the server is asked instead");
        }
        let data = self.download_through_api(reference).await?;
        if is_of(reference, &data).await? {
            return Ok(data);
        }
        let message = format!(
            "the value {} has changed in object storage: its size or SHA-256 is not that of its run",
            reference.object_id
        );
        Err(Error::of_item("CHECKSUM_MISMATCH", &message))
    }

    async fn download_through_api(&self, reference: &PayloadReference) -> Result<Bytes, Error> {
        let request = proto::DownloadPayloadRequest {
            namespace: self.namespace(),
            object_id: reference.object_id.clone(),
        };
        let size = reference.size_bytes;
        self.0
            .call_within(TRANSFER_TIMEOUT, |channel| {
                let request = self.0.request(request.clone(), None);
                async move {
                    let mut chunks =
                        PayloadServiceClient::new(channel).download_payload(request).await?.into_inner();
                    let mut all = Vec::new();
                    while let Some(message) = chunks.message().await? {
                        all.extend_from_slice(&message.chunk);
                        if all.len() as u64 > size {
                            break; // the checksum tells
                        }
                    }
                    Ok(tonic::Response::new(Bytes::from(all)))
                }
            })
            .await
    }

    /// Makes a presigned request; its answer's body. `None`: object storage cannot be reached from here, or does not
    /// grant it; the api will do.
    async fn send(&self, request: &PresignedRequest, body: Bytes) -> Option<Bytes> {
        let outcome = match timeout(TRANSFER_TIMEOUT, self.try_send(request, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {TRANSFER_TIMEOUT:?}")),
        };
        outcome
            .inspect_err(|cause| {
                tracing::warn!("object storage did not take a request; the server is asked instead: {cause}");
            })
            .ok()
    }

    async fn try_send(&self, request: &PresignedRequest, body: Bytes) -> Result<Bytes, String> {
        // Without its URL, which is a key to the object.
        let cause = |error: reqwest::Error| error.without_url().to_string();
        let method = request.method.parse().map_err(|_| format!("`{}` is no method", request.method))?;
        let mut sending = self.0.http()?.request(method, &request.url).body(body);
        for (name, value) in &request.headers {
            sending = sending.header(name, value);
        }
        let response = sending.send().await.and_then(reqwest::Response::error_for_status).map_err(cause)?;
        let mut pieces = response.bytes_stream();
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece.map_err(cause)?);
            if all.len() > self.0.max_payload() {
                return Err("the answer is larger than any value".to_owned());
            }
        }
        Ok(all.into())
    }

    fn namespace(&self) -> String {
        self.0.options.namespace.clone()
    }
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transfer")
    }
}

/// How often a transfer is tried anew that a server, which is there, refuses.
const MAX_FAULTS: u32 = 8;

/// How long a transfer goes on.
struct Patience {
    backoff: Backoff,
    n_faults: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { backoff: Backoff::standard(), n_faults: 0 }
    }
}

impl Patience {
    /// Waits, and gives true where another try is to follow: always after an outage, and some times after a refusal.
    async fn wait_after(&mut self, error: &Error) -> bool {
        if !error.is_retryable() {
            self.n_faults += 1;
            if self.n_faults > MAX_FAULTS {
                return false;
            }
        }
        sleep(error.retry_after().unwrap_or_else(|| self.backoff.next())).await;
        true
    }
}

async fn is_of(reference: &PayloadReference, data: &Bytes) -> Result<bool, Error> {
    Ok(data.len() as u64 == reference.size_bytes && sha256(data.clone()).await? == reference.sha256)
}

/// Away from the core's thread, which has heartbeats to send.
async fn sha256(data: Bytes) -> Result<Bytes, Error> {
    use sha2::{Digest as _, Sha256};

    let hashed = tokio::task::spawn_blocking(move || Bytes::copy_from_slice(&Sha256::digest(&data))).await;
    hashed.map_err(|_| Error::new(ErrorKind::Internal, "the checksum of a value was not made"))
}
