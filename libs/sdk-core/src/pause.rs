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
    /// an earlier attempt. The run timeout does not go on meanwhile, and begins anew after it.
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
        if is_paused {
            self.clock.stop();
        }
        let input = self.resumed(&key).await;
        if is_paused {
            self.clock.start();
        }
        input
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
    over_at: Arc<watch::Sender<Option<Instant>>>,
}

impl Clock {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, over_at: Arc::new(watch::Sender::new(None)) }
    }

    /// The whole time lies ahead again.
    pub(crate) fn start(&self) {
        self.over_at.send_replace(self.limit.map(|limit| Instant::now() + limit));
    }

    pub(crate) fn stop(&self) {
        self.over_at.send_replace(None);
    }

    /// Says so when the time is over.
    pub(crate) async fn watch(self, stop: StopSender) {
        let mut over_at = self.over_at.subscribe();
        loop {
            let at = *over_at.borrow_and_update();
            let over = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return stop.send(Stop::TimedOut),
                _ = over_at.changed() => {}
                () = stop.nobody_listens() => return,
            }
        }
    }
}
