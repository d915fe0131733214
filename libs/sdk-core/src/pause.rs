use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Error, Stop,
    connection::Connection,
    proto::{self, StateType, report, run_service_client::RunServiceClient},
    retry::Backoff,
    stop::StopSender,
    transfer::Transfer,
};

/// How long one question whether the run was resumed stays open.
const PATIENCE: Duration = Duration::from_secs(600);

/// Reports an event of an attempt, by its worker or its session; who is gone drops the reply.
type Reporting =
    Arc<dyn Fn(report::Event, oneshot::Sender<proto::ReportOutcome>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Has the code of an attempt wait until its run is resumed. Cheap to clone.
#[derive(Clone)]
pub struct Pauser {
    connection: Arc<Connection>,
    transfer: Transfer,
    reporting: Reporting,
    run_id: String,
    epoch: u64,
    clock: Clock,
}

impl Pauser {
    pub(crate) fn new(
        connection: Arc<Connection>,
        reporting: Reporting,
        (run_id, epoch): (String, u64),
        clock: Clock,
    ) -> Self {
        let transfer = Transfer::new(Arc::clone(&connection));
        Self { connection, transfer, reporting, run_id, epoch, clock }
    }

    /// Waits until this pause of the run is resumed, and gives what it is resumed with; at once where it was resumed in
    /// an earlier attempt. The run timeout does not go on meanwhile, and begins anew after it, also where the code gives
    /// up the wait and drops this.
    ///
    /// What it asks for stays as people can read it, whatever codecs there are.
    ///
    /// With `suspend`, which is for queued runs alone, the worker's slot is given back: then this does not complete, and
    /// the stop signal says that the run is lost to this attempt. The next one comes here again, and goes on.
    ///
    /// # Errors
    /// The server does not allow it, or the run ended instead; then the stop signal says so, too.
    pub async fn pause(&self, pause: report::Paused) -> Result<Option<proto::Payload>, Error> {
        let mut pause = pause;
        self.transfer.offload(pause.request.as_mut()).await?;
        let key = pause.key.clone();
        let outcome = self.report(report::Event::Paused(pause)).await?;
        if !outcome.accepted {
            return Err(Error::of_item(&outcome.reason, &outcome.message));
        }
        if outcome.current_epoch != self.epoch {
            // Suspended: this attempt is over.
            return std::future::pending().await;
        }
        let is_paused = outcome.state.is_some_and(|state| state.r#type() == StateType::Paused);
        let _stopped = is_paused.then(|| self.clock.stop());
        self.resumed(&key).await
    }

    async fn report(&self, event: report::Event) -> Result<proto::ReportOutcome, Error> {
        let (reply, answer) = oneshot::channel();
        (self.reporting)(event, reply).await;
        answer.await.map_err(|_| Error::of_item("STALE_EPOCH", "the run is no longer this process's"))
    }

    /// Asks for as long as it takes: a server that is away comes back, and the code has nothing else to do.
    async fn resumed(&self, key: &str) -> Result<Option<proto::Payload>, Error> {
        let mut backoff = Backoff::standard();
        loop {
            let request = proto::AwaitResumeRequest {
                namespace: self.connection.options.namespace.clone(),
                run_id: self.run_id.clone(),
                pause_key: key.to_owned(),
                timeout: prost_types::Duration::try_from(PATIENCE).ok(),
            };
            let mut client = RunServiceClient::new(self.connection.api.clone())
                .max_decoding_message_size(crate::connection::MAX_READ_SIZE);
            match client.await_resume(self.connection.request(request, None)).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    if answer.resumed {
                        let mut input = answer.input;
                        self.transfer.resolve_patiently(input.as_mut()).await?;
                        self.connection.options.codecs.decode(input.as_mut())?;
                        return Ok(input);
                    }
                    backoff.reset();
                }
                Err(status) => {
                    let error = Error::from_status(&status);
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    sleep(error.retry_after().unwrap_or_else(|| backoff.next())).await;
                }
            }
        }
    }
}

impl std::fmt::Debug for Pauser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pauser").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

/// The clock of an attempt's run timeout. It stands until it is started.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    limit: Option<Duration>,
    time: Arc<watch::Sender<Time>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Stands,
    OverAt(Instant),
    /// The attempt is over: whatever still waits for a resume must not start the clock against the next one.
    Ended,
}

impl Clock {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, time: Arc::new(watch::Sender::new(Time::Stands)) }
    }

    /// The whole time lies ahead again.
    pub(crate) fn start(&self) {
        self.set(self.limit.map_or(Time::Stands, |limit| Time::OverAt(Instant::now() + limit)));
    }

    /// The clock stands until what this gives is dropped.
    fn stop(&self) -> Stopped<'_> {
        self.set(Time::Stands);
        Stopped(self)
    }

    /// Stops the clock for good.
    pub(crate) fn end(&self) {
        self.set(Time::Ended);
    }

    fn set(&self, time: Time) {
        self.time.send_if_modified(|now| {
            let goes_on = *now != Time::Ended;
            if goes_on {
                *now = time;
            }
            goes_on
        });
    }

    /// Says so when the time is over.
    pub(crate) async fn watch(self, stop: StopSender) {
        let mut time = self.time.subscribe();
        loop {
            let over_at = match *time.borrow_and_update() {
                Time::Stands => None,
                Time::OverAt(at) => Some(at),
                Time::Ended => return,
            };
            let over = async {
                match over_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return stop.send(Stop::TimedOut),
                _ = time.changed() => {}
                () = stop.nobody_listens() => return,
            }
        }
    }
}

/// Starts a clock again that stands.
struct Stopped<'a>(&'a Clock);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(limit: Duration) -> (Clock, crate::StopSignal, tokio::task::JoinSet<()>) {
        let clock = Clock::new(Some(limit));
        let (sender, signal) = StopSender::new();
        let watching = clock.clone().watch(sender);
        (clock, signal, tokio::task::JoinSet::from_iter([watching]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_given_up_starts_the_clock_again() {
        let limit = Duration::from_secs(60);
        let (clock, mut signal, _watching) = watched(limit);
        clock.start();
        let stopped = clock.stop();
        sleep(2 * limit).await;
        assert_eq!(signal.now(), Stop::Go);
        drop(stopped);
        assert_eq!(signal.next().await, Stop::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_outlives_its_attempt_starts_nothing() {
        let limit = Duration::from_secs(60);
        let (clock, signal, _watching) = watched(limit);
        clock.start();
        let stopped = clock.stop();
        clock.end();
        drop(stopped);
        sleep(2 * limit).await;
        assert_eq!(signal.now(), Stop::Go);
    }
}
