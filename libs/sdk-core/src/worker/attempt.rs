use std::{pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Hindrance, actor::Command};
use crate::{
    Codecs, Error, clock,
    connection::Connection,
    ends,
    pause::{Clock, Pauser},
    proto::{self, Assign, ReportOutcome, report},
    stop::{Stop, StopSender, StopSignal},
    transfer::Transfer,
};

/// How long parameters are fetched before the run counts as started: well under the least start timeout by default.
const FETCH_BEFORE_START: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The code returned.
    Completed(Option<proto::Payload>),
    /// The same, and it has something to say of that.
    CompletedAs(Box<report::Completed>),
    /// The code raised.
    Failed(proto::Failure),
    /// Its time was over and it was stopped.
    TimedOut,
    /// A run whose result it needs did not complete, so its code is not executed. It need not have started.
    UpstreamFailed {
        /// That run.
        run_id: String,
        /// How that one ended, for people; may be empty.
        cause: String,
    },
    /// A cancel was asked and it was stopped.
    Cancelled,
    /// The process that executed it went away, for this cause.
    Crashed(String),
    /// It was not started and is given back.
    Released,
}

impl End {
    /// Its result as it goes to the server. One that a codec cannot take is a failure that says so; one that is encoded
    /// already stays as it is.
    pub(crate) fn encoded(self, codecs: &Codecs) -> Self {
        match self {
            Self::Completed(Some(mut result)) => match codecs.encode(Some(&mut result)) {
                Ok(()) => Self::Completed(Some(result)),
                Err(error) => cannot_be_kept(&error),
            },
            Self::CompletedAs(mut completed) => match codecs.encode(completed.result.as_mut()) {
                Ok(()) => Self::CompletedAs(completed),
                Err(error) => cannot_be_kept(&error),
            },
            end => end,
        }
    }

    /// What its code returned, where it did.
    pub(crate) fn result(&self) -> Option<&proto::Payload> {
        match self {
            Self::Completed(result) => result.as_ref(),
            Self::CompletedAs(completed) => completed.result.as_ref(),
            _ => None,
        }
    }
}

fn cannot_be_kept(error: &Error) -> End {
    End::Failed(ends::no_value(format!("the result cannot be kept: {error}")))
}

impl From<End> for report::Event {
    fn from(end: End) -> Self {
        match end {
            End::Completed(result) => Self::Completed(report::Completed { result, message: String::new() }),
            End::CompletedAs(completed) => Self::Completed(*completed),
            End::Failed(failure) => Self::Failed(failure),
            End::TimedOut => Self::TimedOut(report::TimedOut {}),
            End::UpstreamFailed { run_id, cause } => {
                Self::UpstreamFailed(report::UpstreamFailed { upstream_run_id: run_id, cause })
            }
            End::Cancelled => Self::Cancelled(report::Cancelled {}),
            End::Crashed(cause) => Self::Crashed(report::Crashed { cause }),
            End::Released => Self::Released(report::Released {}),
        }
    }
}

/// The attempts that a worker was given.
#[derive(Debug)]
pub struct Attempts {
    inbox: mpsc::Receiver<Attempt>,
    drain: CancellationToken,
}

impl Attempts {
    pub(super) fn new(inbox: mpsc::Receiver<Attempt>, drain: CancellationToken) -> Self {
        Self { inbox, drain }
    }

    /// The next attempt; `None` once the worker drains. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Attempt> {
        while let Some(attempt) = self.drain.run_until_cancelled(self.inbox.recv()).await.flatten() {
            // Here, and so by who asks, never by the core's thread.
            if let Some(attempt) = attempt.decoded() {
                return Some(attempt);
            }
        }
        // What was not taken is dropped, and so given back.
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        None
    }
}

/// One attempt of a run, in the executor's hands. It holds a slot until it is finished. Dropped unfinished, it is
/// given back if it had not started, and else reported as crashed.
#[derive(Debug)]
pub struct Attempt {
    assign: Assign,
    stop: StopSignal,
    stop_sender: StopSender,
    commands: mpsc::UnboundedSender<Command>,
    pauser: Pauser,
    hindrance: Hindrance,
    codecs: Codecs,
    clock: Clock,
    started: bool,
    finished: bool,
}

impl Attempt {
    pub(super) fn new(
        assign: Assign,
        commands: mpsc::UnboundedSender<Command>,
        connection: Arc<Connection>,
        hindrance: Hindrance,
    ) -> (Self, StopSender) {
        let (stop_sender, stop) = StopSender::new();
        let clock = Clock::new(clock::duration_of(assign.run_timeout.as_ref()));
        let (run_id, epoch, kind) = (assign.run_id.clone(), assign.epoch, assign.kind());
        let (of, reporter) = ((run_id.clone(), epoch), commands.clone());
        let reporting = Arc::new(move |event, reply| {
            let command = Command {
                run_id: run_id.clone(),
                epoch,
                kind,
                event: Some(event),
                happened_at: Instant::now(),
                ends: false,
                reply: Some(reply),
            };
            let _ = reporter.send(command); // a worker that has ended drops the reply
            std::future::ready(()).boxed()
        });
        let codecs = connection.options.codecs.clone();
        let attempt = Self {
            codecs,
            pauser: Pauser::new(connection, reporting, of, clock.clone()),
            hindrance,
            assign,
            stop,
            stop_sender: stop_sender.clone(),
            commands,
            clock,
            started: false,
            finished: false,
        };
        (attempt, stop_sender)
    }

    /// What to execute.
    pub fn assign(&self) -> &Assign {
        &self.assign
    }

    /// Hears when to stop.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Says that the code starts now, and starts its clock: when `run_timeout` is over, the stop signal says so.
    /// Does not wait for the server: should the run have been taken away, the stop signal says `Lost`.
    pub fn start(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.send(Some(report::Event::Started(report::Started {})), false);
        self.clock.start();
        if self.assign.run_timeout.is_some()
            && let Ok(runtime) = crate::runtime::handle()
        {
            let clock = self.clock.clone();
            crate::runtime::spawn(&runtime, "run timeout", clock.watch(self.stop_sender.clone()));
        }
    }

    /// True when what the run is called with is in object storage.
    pub(super) fn has_to_fetch(&self) -> bool {
        self.assign.parameters.as_ref().is_some_and(|parameters| parameters.reference.is_some())
    }

    /// Fetches what the run is called with, and then hands itself over. Where that takes long, the run is said to have
    /// started, so that it is not delivered to someone else meanwhile.
    pub(super) async fn fetch(mut self, transfer: Transfer, attempts: mpsc::Sender<Self>) {
        let mut parameters = self.assign.parameters.take();
        let mut stop = self.stop_signal();
        let start_at = Instant::now() + FETCH_BEFORE_START;
        let fetched = {
            let mut fetching = pin!(transfer.resolve_patiently(parameters.as_mut()));
            loop {
                tokio::select! {
                    fetched = &mut fetching => break Some(fetched),
                    stop = stop.next() => match stop {
                        Stop::Go => {}
                        Stop::Cancel { .. } => return self.finish(End::Cancelled),
                        Stop::TimedOut => return self.finish(End::TimedOut),
                        // Dropped, it is given back, or counts as crashed.
                        Stop::Lost { .. } | Stop::Shutdown => break None,
                    },
                    () = sleep_until(start_at), if !self.started => self.start(),
                }
            }
        };
        match fetched {
            None => {}
            Some(Ok(())) => {
                self.assign.parameters = parameters;
                let _ = attempts.try_send(self); // where nobody takes it any more, that gives it back
            }
            Some(Err(error)) => {
                self.start();
                let message = format!("what the run is called with cannot be had: {error}");
                self.finish(End::Failed(ends::no_value(message)));
            }
        }
    }

    /// Tells what keeps the code from beginning.
    pub fn hindrance(&self) -> Hindrance {
        self.hindrance.clone()
    }

    /// Has the code wait until the run is resumed.
    pub fn pauser(&self) -> Pauser {
        self.pauser.clone()
    }

    /// Reports the end and frees the slot. A run that was lost is not reported, whatever is given here.
    pub fn finish(mut self, end: End) {
        let end = end.encoded(&self.codecs);
        self.end(end);
    }

    /// As [`Attempt::finish`]; what it returns waits for the run's state after the report. `None`: the run was no longer
    /// this worker's.
    pub fn finish_and_hear(mut self, end: End) -> impl Future<Output = Option<proto::State>> + Send + use<> {
        let end = end.encoded(&self.codecs);
        let (reply, answer) = oneshot::channel();
        self.finished = true;
        self.clock.end();
        self.send_and_hear(Some(end.into()), true, Some(reply));
        async move {
            let outcome = answer.await.ok()?; // a run that is lost is forgotten with its reports
            (outcome.current_epoch == outcome.epoch || outcome.accepted).then_some(outcome.state).flatten()
        }
    }

    /// Frees the slot and reports nothing: someone else, such as the process that executes the run, has said what became
    /// of it.
    pub fn leave(mut self) {
        self.finished = true;
        self.clock.end();
        self.send(None, true);
    }

    /// Undoes what codecs have done to the parameters. Where that fails, this attempt has.
    fn decoded(mut self) -> Option<Self> {
        let Err(error) = self.codecs.decode(self.assign.parameters.as_mut()) else { return Some(self) };
        self.start();
        let message = format!("what the run is called with cannot be read: {error}");
        self.finish(End::Failed(ends::no_value(message)));
        None
    }

    fn end(&mut self, end: End) {
        self.finished = true;
        self.clock.end();
        self.send(Some(end.into()), true);
    }

    fn send(&self, event: Option<report::Event>, ends: bool) {
        self.send_and_hear(event, ends, None);
    }

    fn send_and_hear(
        &self,
        event: Option<report::Event>,
        ends: bool,
        reply: Option<oneshot::Sender<ReportOutcome>>,
    ) {
        let command = Command {
            run_id: self.assign.run_id.clone(),
            epoch: self.assign.epoch,
            kind: self.assign.kind(),
            event,
            happened_at: Instant::now(),
            ends,
            reply,
        };
        let _ = self.commands.send(command); // the worker may have ended after its grace
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.finished {
            let end =
                if self.started { End::Crashed("the worker dropped the run".into()) } else { End::Released };
            self.end(end);
        }
    }
}
