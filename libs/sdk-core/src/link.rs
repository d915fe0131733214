use std::time::Duration;

use futures::future::{BoxFuture, pending};
use tokio::{sync::mpsc, time::sleep};
use tonic::Streaming;

use crate::{Error, ErrorKind, retry::Backoff};

/// Messages that wait to be written, at most. Small, so that further reports gather into batches instead.
pub(crate) const OUTGOING: usize = 8;

/// What the service's welcome says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long a lease lasts without a heartbeat.
    pub(crate) lease: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_batch_size: usize,
}

impl Terms {
    pub(crate) fn new(
        lease: Option<Duration>,
        heartbeat_interval: Option<Duration>,
        max_batch_size: u32,
    ) -> Self {
        Self {
            lease: lease.unwrap_or(Duration::from_secs(15)),
            heartbeat_interval: heartbeat_interval
                .unwrap_or(Duration::from_secs(5))
                .clamp(Duration::from_millis(50), Duration::from_secs(3_600)),
            max_batch_size: usize::try_from(max_batch_size).unwrap_or(1_000).clamp(1, 1_000),
        }
    }
}

/// An open stream whose hello was answered.
pub(crate) struct Live<Out, In> {
    pub(crate) outgoing: mpsc::Sender<Out>,
    pub(crate) incoming: Streaming<In>,
    pub(crate) terms: Terms,
}

pub(crate) type Dialing<Out, In> = BoxFuture<'static, Result<Live<Out, In>, Error>>;

/// What happened on a link.
pub(crate) enum Event<In> {
    /// A new stream is open: what was unanswered is to be sent again.
    Up(Terms),
    Message(In),
    /// There is no stream for now; the next try is under way unless the error is final.
    Down(Error),
}

/// A bidirectional stream that is opened again with backoff whenever it breaks.
pub(crate) struct Link<Out, In> {
    dial: Box<dyn Fn() -> Dialing<Out, In> + Send>,
    live: Option<Live<Out, In>>,
    dialing: Option<Dialing<Out, In>>,
    backoff: Backoff,
    closing: bool,
}

impl<Out: Send + 'static, In: Send + 'static> Link<Out, In> {
    pub(crate) fn new(dial: impl Fn() -> Dialing<Out, In> + Send + 'static) -> Self {
        let dialing = Some(dial());
        Self { dial: Box::new(dial), live: None, dialing, backoff: Backoff::standard(), closing: false }
    }

    /// Where to write, while there is a stream.
    pub(crate) fn outgoing(&self) -> Option<mpsc::Sender<Out>> {
        self.live.as_ref().map(|live| live.outgoing.clone())
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Opens another stream after `delay`; the present one goes on until that is open.
    pub(crate) fn reconnect(&mut self, delay: Duration) {
        if self.dialing.is_none() {
            self.dial_after(delay);
        }
    }

    /// Ends this side of the stream; no other is opened.
    pub(crate) fn half_close(&mut self) {
        self.closing = true;
        self.dialing = None;
        if let Some(live) = &mut self.live {
            live.outgoing = mpsc::channel(1).0; // dropping the only sender ends the request stream
        }
    }

    fn dial_after(&mut self, delay: Duration) {
        let dialing = (self.dial)();
        self.dialing = Some(Box::pin(async move {
            sleep(delay).await;
            dialing.await
        }));
    }

    /// What happens next. Cancellation-safe.
    pub(crate) async fn next(&mut self) -> Event<In> {
        loop {
            let (live, dialing) = (&mut self.live, &mut self.dialing);
            let dialed = async {
                match dialing {
                    Some(dialing) => dialing.await,
                    None => pending().await,
                }
            };
            let message = async {
                match live {
                    Some(live) => live.incoming.message().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                dialed = dialed => {
                    self.dialing = None;
                    match dialed {
                        Ok(live) => {
                            let terms = live.terms;
                            self.live = Some(live);
                            return Event::Up(terms);
                        }
                        Err(error) => {
                            let pause = error.retry_after().unwrap_or_else(|| self.backoff.next());
                            self.dial_after(pause);
                            if self.live.is_none() {
                                return Event::Down(error);
                            }
                        }
                    }
                }
                message = message => match message {
                    Ok(Some(message)) => {
                        self.backoff.reset();
                        return Event::Message(message);
                    }
                    Ok(None) => {
                        return self.broken(Error::new(ErrorKind::Unavailable, "the server closed the stream"));
                    }
                    Err(status) => return self.broken(Error::from_status(&status)),
                },
            }
        }
    }

    fn broken(&mut self, error: Error) -> Event<In> {
        self.live = None;
        if self.dialing.is_none() && !self.closing {
            let pause = error.retry_after().unwrap_or_else(|| self.backoff.next());
            self.dial_after(pause);
        }
        Event::Down(error)
    }
}

/// A place in `outgoing`; never, where there is no stream or it is closed (its reader sees that). Cancellation-safe.
pub(crate) async fn room<Out>(outgoing: Option<mpsc::Sender<Out>>) -> mpsc::OwnedPermit<Out> {
    match outgoing {
        Some(outgoing) => match outgoing.reserve_owned().await {
            Ok(permit) => permit,
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}
