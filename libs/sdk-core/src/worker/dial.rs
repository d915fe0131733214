use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    Error, ErrorKind, clock,
    connection::{Connection, MAX_READ_SIZE, Peer},
    link::{Live, OUTGOING, Terms},
    proto::{
        self, WorkRequest, WorkResponse, work_request, work_response,
        worker_service_client::WorkerServiceClient,
    },
};

/// How long the service may take to answer a hello, before another replica of it is tried: leases run out meanwhile.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a worker stream and waits for its welcome.
pub(super) async fn dial(
    connection: Arc<Connection>,
    hello: proto::Hello,
) -> Result<Live<WorkRequest, WorkResponse>, Error> {
    let channel = connection.peer(Peer::TaskQueue).await?;
    let (outgoing, requests) = mpsc::channel(OUTGOING);
    let _ = outgoing.try_send(WorkRequest { message: Some(work_request::Message::Hello(hello)) });
    let opening = async {
        let mut client = WorkerServiceClient::new(channel).max_decoding_message_size(MAX_READ_SIZE);
        let request = connection.request(ReceiverStream::new(requests), Some(""));
        let mut incoming = client.work(request).await?.into_inner();
        let first = incoming.message().await?;
        Ok::<(Streaming<WorkResponse>, Option<WorkResponse>), tonic::Status>((incoming, first))
    };
    let opened = timeout(WELCOME_TIMEOUT, opening).await.map_err(|_| {
        Error::new(ErrorKind::Unavailable, format!("task-queue did not answer within {WELCOME_TIMEOUT:?}"))
    })?;
    let (incoming, first) = opened.map_err(|status| Error::from_status(&status))?;
    let Some(work_response::Message::Welcome(welcome)) = first.and_then(|response| response.message) else {
        return Err(Error::new(ErrorKind::Unavailable, "task-queue closed the stream instead of a welcome"));
    };
    connection.note_reached();
    connection.learn_limits().await;
    let terms = Terms::new(
        clock::duration_of(welcome.lease_duration.as_ref()),
        clock::duration_of(welcome.heartbeat_interval.as_ref()),
        welcome.max_batch_size,
    );
    Ok(Live { outgoing, incoming, terms })
}
