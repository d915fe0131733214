use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Client, Error, ErrorKind,
    connection::Connection,
    new_run_id,
    proto::{self, concurrency_service_client::ConcurrencyServiceClient},
    retry::Backoff,
    runtime,
};

/// How long one question for slots stays open. Less than a try of a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the answer may take beyond that.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many of a process may ask for the slots of the same limits at a time, each by a call that stays open: far fewer than
/// a server takes on one connection. The others wait here, in their order, and a slot that comes free finds enough who ask.
/// Of different limits all ask, over a connection that is for nothing else.
const MAX_ASKING: usize = 64;
/// How long the end of a block waits for the server to be told.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a block of code takes slots.
#[derive(Clone, Debug)]
pub struct SlotOptions {
    /// How long the slots are held after the process was heard of last: 1 s to 1 h. It is heard of every third of that.
    pub lease: Duration,
    /// How many slots of each limit, and tokens of its rate.
    pub n_slots: u32,
    /// A limit that is not defined is an error, `NotFound`. False: it does not bind.
    pub must_exist: bool,
    /// How long to wait for what is not there; `None`: for as long as it takes.
    pub timeout: Option<Duration>,
    /// The run whose code it is, to show it; empty: none.
    pub run_id: String,
}

impl Default for SlotOptions {
    /// One slot, 30 s, and for as long as it takes.
    fn default() -> Self {
        let lease = Duration::from_secs(30);
        Self { lease, n_slots: 1, must_exist: false, timeout: None, run_id: String::new() }
    }
}

/// Slots of concurrency limits, held until this is released or dropped. The core's own thread renews their lease, so
/// that code which is busy cannot lose them.
#[derive(Debug)]
pub struct Slots {
    owner: String,
    is_lost: Arc<AtomicBool>,
    lost: CancellationToken,
    /// Ends the renewing, which gives the slots up.
    held: Option<DropGuard>,
    released: CancellationToken,
}

impl Client {
    /// Takes slots and tokens of each of these concurrency limits, all or none; see [`Slots`].
    ///
    /// # Errors
    /// `DeadlineExceeded` when `options.timeout` passed first; `NotFound` where a limit must exist and does not;
    /// `InvalidArgument`, also where a limit never has so many; `Unavailable`.
    pub async fn acquire_slots<S: Into<String>>(
        &self,
        limits: impl IntoIterator<Item = S>,
        options: SlotOptions,
    ) -> Result<Slots, Error> {
        let limits: Vec<String> = limits.into_iter().map(Into::into).collect();
        if options.n_slots == 0 {
            let message = "n_slots is 0: a block takes at least one slot of each of its limits";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
        let connection = Arc::clone(self.connection());
        let line = connection.slot_lines.join(&limits);
        let Some(turn) = line.turn(deadline).await else {
            let message = format!(
                "the concurrency limits {limits:?} had nothing left for {:?}: {MAX_ASKING} others of this process came first",
                options.timeout.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::DeadlineExceeded, message));
        };
        let lease =
            Lease { connection: Arc::clone(&connection), owner: new_run_id(), duration: options.lease };
        // Whoever gives up waiting, by dropping this, gives up its place as well.
        let mut place = Place { lease: Some(lease.clone()) };
        let asked_at = lease.acquire(&limits, &options, deadline).await?;
        place.lease = None;
        drop(turn);
        let (is_lost, lost, released) = (Arc::default(), CancellationToken::new(), CancellationToken::new());
        let held = CancellationToken::new();
        let renewing = renew(lease.clone(), asked_at, held.clone(), Arc::clone(&is_lost), lost.clone());
        let (owner, done) = (lease.owner.clone(), released.clone());
        runtime::spawn(self.runtime(), "slots", async move {
            renewing.await;
            lease.release().await;
            done.cancel();
        });
        Ok(Slots { owner, is_lost, lost, held: Some(held.drop_guard()), released })
    }
}

impl Slots {
    /// The id under which the server has them.
    pub fn owner_id(&self) -> &str {
        &self.owner
    }

    /// True where the lease ended before the slots were released: others may have had them meanwhile.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Waits until the lease is lost; for ever where it never is.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives them up, and waits until the server knows. False where they were lost before.
    pub async fn release(mut self) -> bool {
        self.held = None;
        self.released.cancelled().await;
        !self.is_lost()
    }
}

/// The lines of a process, by their limits. One line for all of them would let code that holds slots of one limit, and
/// needs others, wait for those who wait for it.
#[derive(Default)]
pub(crate) struct Lines {
    by_limits: Mutex<HashMap<Vec<String>, Arc<Semaphore>>>,
}

impl Lines {
    fn join<'a>(&'a self, limits: &'a [String]) -> Line<'a> {
        let mut by_limits = self.by_limits();
        let turns = by_limits.entry(limits.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(MAX_ASKING)));
        Line { lines: self, limits, turns: Arc::clone(turns) }
    }

    fn by_limits(&self) -> MutexGuard<'_, HashMap<Vec<String>, Arc<Semaphore>>> {
        self.by_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who wants slots of the same limits. The last one to leave takes it away: limits of a template are without number.
struct Line<'a> {
    lines: &'a Lines,
    limits: &'a [String],
    turns: Arc<Semaphore>,
}

impl Line<'_> {
    /// Waits until few enough of those that came first still ask; `None`: until `deadline`, in vain. Dropped, it leaves its
    /// place to the next.
    async fn turn(&self, deadline: Option<Instant>) -> Option<SemaphorePermit<'_>> {
        let turn = self.turns.acquire();
        let turn = match deadline {
            Some(deadline) => timeout_at(deadline, turn).await.ok()?,
            None => turn.await,
        };
        Some(turn.expect("nobody closes it"))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut by_limits = self.lines.by_limits();
        // The map's and ours: nobody else is in it, nor can join meanwhile.
        if Arc::strong_count(&self.turns) == 2 {
            by_limits.remove(self.limits);
        }
    }
}

/// The place of who waits for slots.
struct Place {
    lease: Option<Lease>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let runtime = lease.connection.runtime.clone();
            runtime::spawn(&runtime, "slots", async move { lease.release().await });
        }
    }
}

#[derive(Clone)]
struct Lease {
    connection: Arc<Connection>,
    owner: String,
    duration: Duration,
}

impl Lease {
    fn client(&self) -> ConcurrencyServiceClient<tonic::transport::Channel> {
        ConcurrencyServiceClient::new(self.connection.api.clone())
    }

    fn namespace(&self) -> String {
        self.connection.options.namespace.clone()
    }

    /// Asks until it has all. Gives when it asked last, which is before the lease began.
    async fn acquire(
        &self,
        limits: &[String],
        options: &SlotOptions,
        deadline: Option<Instant>,
    ) -> Result<Instant, Error> {
        let mut backoff = Backoff::standard();
        loop {
            let asked_at = Instant::now();
            let left = deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(asked_at));
            let request = proto::AcquireSlotsRequest {
                namespace: self.namespace(),
                limits: limits.to_vec(),
                owner_id: self.owner.clone(),
                lease_duration: prost_types::Duration::try_from(self.duration).ok(),
                wait_timeout: prost_types::Duration::try_from(left.min(PATIENCE)).ok(),
                run_id: options.run_id.clone(),
                slot_count: options.n_slots,
                limits_must_exist: options.must_exist,
            };
            let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let mut client = ConcurrencyServiceClient::new(self.connection.slots.clone());
            let asking = async { client.acquire_slots(self.connection.request(request, None)).await };
            let answer = timeout(PATIENCE + TRY_TIMEOUT, asking).await;
            match answer.unwrap_or_else(|_| Err(tonic::Status::unavailable("no answer came in time"))) {
                Ok(answer) => {
                    self.connection.note_reached();
                    let answer = answer.into_inner();
                    if answer.acquired {
                        return Ok(asked_at);
                    }
                    if is_over() {
                        return Err(Error::new(
                            ErrorKind::DeadlineExceeded,
                            format!(
                                "the concurrency limit `{}` had nothing left for {:?}",
                                answer.awaited_limit,
                                options.timeout.unwrap_or_default()
                            ),
                        ));
                    }
                    backoff.reset();
                }
                Err(status) => {
                    let error = Error::from_status(&status);
                    if !error.is_retryable() || is_over() {
                        return Err(error);
                    }
                    sleep(error.retry_after().unwrap_or_else(|| backoff.next())).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        let request = proto::RenewSlotsRequest {
            namespace: self.namespace(),
            owner_id: self.owner.clone(),
            lease_duration: prost_types::Duration::try_from(self.duration).ok(),
        };
        let renewed = self.client().renew_slots(self.connection.request(request, None)).await;
        renewed.map(drop).map_err(|status| Error::from_status(&status))
    }

    /// Tells the server, which else learns it from the end of the lease.
    async fn release(&self) {
        let give_up_at = Instant::now() + self.duration.min(RELEASE_TIMEOUT);
        let released = async {
            let mut backoff = Backoff::standard();
            loop {
                let request =
                    proto::ReleaseSlotsRequest { namespace: self.namespace(), owner_id: self.owner.clone() };
                match self.client().release_slots(self.connection.request(request, None)).await {
                    Ok(_) => return,
                    Err(status) if Error::from_status(&status).is_retryable() => sleep(backoff.next()).await,
                    Err(status) => {
                        return tracing::warn!(%status, "slots were not released; their lease ends");
                    }
                }
            }
        };
        if timeout_at(give_up_at, released).await.is_err() {
            tracing::warn!("slots were not released, as no server answers; their lease ends");
        }
    }
}

/// Renews a lease until `held` is over, or the lease is: then says so, and holds on until `held` is over.
async fn renew(
    lease: Lease,
    asked_at: Instant,
    held: CancellationToken,
    is_lost: Arc<AtomicBool>,
    lost: CancellationToken,
) {
    // The call may have waited, and its wait is no part of the lease. After a long one the lease is renewed at once: then
    // its end is known.
    let mut ends_at = Instant::now() + lease.duration;
    let mut backoff = Backoff::standard();
    let mut pause = (lease.duration / 3).saturating_sub(asked_at.elapsed());
    let renewing = async {
        loop {
            sleep_until(ends_at.min(Instant::now() + pause)).await;
            let asked_at = Instant::now();
            match timeout_at(ends_at, lease.renew()).await {
                Ok(Ok(())) => {
                    ends_at = asked_at + lease.duration;
                    pause = lease.duration / 3;
                    backoff.reset();
                }
                // The server says that it is over, or nobody has heard of us for as long as it lasts.
                Ok(Err(error)) if !error.is_retryable() => return,
                Ok(Err(_)) if Instant::now() < ends_at => pause = backoff.next(),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    if held.run_until_cancelled(renewing).await.is_some() {
        is_lost.store(true, Ordering::Release);
        lost.cancel();
        held.cancelled().await;
    }
}
