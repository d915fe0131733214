use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    Error, ErrorKind, Options, diagnosis,
    ends::{DEFAULT_MAX_INLINE, DEFAULT_MAX_PAYLOAD},
    proto,
    retry::Backoff,
    slots, trace, transfer,
};

/// The largest message that is read: above any that the server sends.
pub(crate) const MAX_READ_SIZE: usize = 64 << 20;
/// How long one try of a unary call may take.
pub(crate) const TRY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the api is pinged, and how long it may take to answer that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// The same for task-queue and log-ingest. Worker streams carry leases, of 15 s by default: one that has gone silent must
/// be noticed, and another replica be reached, before they end.
const PEER_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(4));
/// How long the api may take to say where a service is, before it is looked for where it was.
const ENDPOINTS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long object storage may take to take a connection, before the server is asked instead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections of one process: to the api, and to task-queue and log-ingest where those are elsewhere.
pub(crate) struct Connection {
    pub(crate) options: Options,
    pub(crate) runtime: Handle,
    pub(crate) api: Channel,
    /// To the api as well, for calls that stay open until slots are there: a server takes so many on one connection, and
    /// other calls, which are to give slots back, must not wait for them.
    pub(crate) slots: Channel,
    pub(crate) slot_lines: slots::Lines,
    reached: AtomicBool,
    max_payload: AtomicUsize,
    max_inline: AtomicUsize,
    limits_known: AtomicBool,
    /// Channels by address, so that a role that moved back finds its old one. Where it was last comes last.
    peers: Mutex<Vec<KnownPeer>>,
    /// For object storage.
    http: OnceLock<reqwest::Client>,
    /// KiB of results that may still be handed over for their upload.
    pub(crate) upload_room: Arc<Semaphore>,
}

/// Which service a stream goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    TaskQueue,
    LogIngest,
}

struct KnownPeer {
    peer: Peer,
    address: String,
    channel: Channel,
}

impl Connection {
    pub(crate) fn new(options: Options, runtime: Handle) -> Result<Self, Error> {
        let api = open(&options.address, KEEPALIVE, &runtime)?;
        let slots = open(&options.address, KEEPALIVE, &runtime)?;
        Ok(Self {
            options,
            runtime,
            api,
            slots,
            slot_lines: slots::Lines::default(),
            reached: AtomicBool::new(false),
            max_payload: AtomicUsize::new(DEFAULT_MAX_PAYLOAD),
            max_inline: AtomicUsize::new(DEFAULT_MAX_INLINE),
            limits_known: AtomicBool::new(false),
            peers: Mutex::new(Vec::new()),
            http: OnceLock::new(),
            upload_room: Arc::new(Semaphore::new(transfer::UPLOAD_ROOM_KIB as usize)),
        })
    }

    /// A server has answered once.
    pub(crate) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(crate) fn note_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// Bytes of one payload that the server takes.
    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// Bytes of a value that travels within a message; a larger one is uploaded before.
    pub(crate) fn max_inline(&self) -> usize {
        self.max_inline.load(Ordering::Relaxed)
    }

    /// A client for requests to object storage.
    pub(crate) fn http(&self) -> Result<&reqwest::Client, String> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        // A second installation is refused, which changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let client = client.map_err(|error| error.to_string())?;
        Ok(self.http.get_or_init(|| client))
    }

    /// Asks the server for its ends, once; until it has answered the defaults hold.
    pub(crate) async fn learn_limits(&self) {
        if self.limits_known.load(Ordering::Relaxed) {
            return;
        }
        let request = proto::GetLimitsRequest {};
        let mut client = proto::system_service_client::SystemServiceClient::new(self.api.clone());
        let asked = timeout(TRY_TIMEOUT, client.get_limits(request)).await;
        if let Ok(Ok(limits)) = asked {
            self.limits_known.store(true, Ordering::Relaxed);
            let limits = limits.into_inner();
            if let Ok(size @ 1..) = usize::try_from(limits.max_payload_size_bytes) {
                self.max_payload.store(size, Ordering::Relaxed);
            }
            if let Ok(size @ 1..) = usize::try_from(limits.max_inline_payload_size_bytes) {
                self.max_inline.store(size, Ordering::Relaxed);
            }
        }
    }

    /// Makes one unary call, and repeats it while the server is unavailable or full: after the delay that the
    /// server asks for, else with backoff, until the call's deadline. `make` must be safe to repeat.
    pub(crate) async fn call<T, F, Fut>(&self, make: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(TRY_TIMEOUT, make).await
    }

    /// As [`Connection::call`], with another bound for one try.
    pub(crate) async fn call_within<T, F, Fut>(&self, try_timeout: Duration, make: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let start = Instant::now();
        let mut backoff = Backoff::standard();
        loop {
            let error = match timeout(try_timeout, make(self.api.clone())).await {
                Ok(Ok(response)) => {
                    self.note_reached();
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => Error::from_status(&status),
                Err(_) => Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("{} did not answer within {try_timeout:?}", self.options.address),
                ),
            };
            if !error.reason().is_empty() {
                self.note_reached();
            }
            if !error.is_retryable() {
                return Err(self.explain(error).await);
            }
            let patience =
                if self.was_reached() { self.options.call_deadline } else { self.options.first_contact };
            let pause = error.retry_after().unwrap_or_else(|| backoff.next());
            if start.elapsed() + pause > patience {
                return Err(self.explain(error).await);
            }
            sleep(pause).await;
        }
    }

    /// Says what is there instead where no server has ever answered.
    pub(crate) async fn explain(&self, error: Error) -> Error {
        if self.was_reached() { error } else { diagnosis::explain(error, &self.options, &self.api).await }
    }

    /// A channel to `peer`, asked for anew each time: after a failure the service may be elsewhere. While the api does not
    /// answer it is where it was: what a worker holds must not be lost because the api is away.
    pub(crate) async fn peer(&self, peer: Peer) -> Result<Channel, Error> {
        let known = self.peers().iter().rfind(|known| known.peer == peer).map(|known| known.channel.clone());
        let address = match known {
            None => self.address_of(peer).await?,
            Some(known) => match timeout(ENDPOINTS_TIMEOUT, self.address_of(peer)).await {
                Ok(Ok(address)) => address,
                Ok(Err(error)) if !error.is_retryable() => return Err(error),
                Ok(Err(_)) | Err(_) => return Ok(known),
            },
        };
        let mut peers = self.peers();
        let known = match peers.iter().position(|known| known.peer == peer && known.address == address) {
            Some(idx) => peers.remove(idx),
            None => {
                let channel = open(&address, PEER_KEEPALIVE, &self.runtime)?;
                KnownPeer { peer, address, channel }
            }
        };
        let channel = known.channel.clone();
        peers.push(known);
        Ok(channel)
    }

    async fn address_of(&self, peer: Peer) -> Result<String, Error> {
        let request = proto::GetEndpointsRequest {};
        let endpoints = self
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel).get_endpoints(request).await
            })
            .await?;
        let address = match peer {
            Peer::TaskQueue => endpoints.task_queue_address,
            Peer::LogIngest => endpoints.log_ingest_address,
        };
        // Worker and log streams get a connection apart from that of the calls: its flow control is its own.
        Ok(if address.is_empty() { self.options.address.clone() } else { address })
    }

    fn peers(&self) -> MutexGuard<'_, Vec<KnownPeer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `message` with the trace context of `traceparent`, or of the current span.
    pub(crate) fn request<T>(&self, message: T, traceparent: Option<&str>) -> Request<T> {
        let mut request = Request::new(message);
        let current = || trace::current_traceparent().unwrap_or_default();
        let traceparent = traceparent.map_or_else(current, str::to_owned);
        if let Ok(value) = traceparent.parse()
            && !traceparent.is_empty()
        {
            request.metadata_mut().insert("traceparent", value);
        }
        request
    }
}

fn open(
    address: &str,
    (ping_interval, ping_timeout): (Duration, Duration),
    runtime: &Handle,
) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, format!("`{address}` is no address of a server: {error}"))
    })?;
    let _inside = runtime.enter(); // the channel's own task lives on the core's thread
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ping_interval)
        .keep_alive_timeout(ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_lazy())
}
