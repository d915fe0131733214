use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::Command;
use crate::{
    CreatedRun, End, Error, StopSignal, clock,
    connection::Connection,
    pause::{Clock, Pauser},
    proto::{self, Report, ReportOutcome, StateType, report},
    stop::StopSender,
    transfer::{Transfer, UploadRoom},
};

/// What the server says of an attempt's end.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The run has ended in this state.
    Ended(proto::State),
    /// Another attempt follows after this time: wait, then start again.
    Retry(Duration),
}

/// A run that this process executes. Dropped before its end, it is reported as crashed.
pub struct LocalRun {
    id: String,
    /// The run was there before, by its key: it is not ours to execute.
    existing: bool,
    state: proto::State,
    session_id: String,
    epoch: u64,
    stop: StopSignal,
    stop_sender: StopSender,
    run_timeout: Option<Duration>,
    /// Of the present attempt.
    clock: Clock,
    connection: Arc<Connection>,
    commands: mpsc::Sender<Command>,
}

impl LocalRun {
    pub(super) fn new(
        created: CreatedRun,
        is_ours: bool,
        (connection, commands, session_id): (Arc<Connection>, mpsc::Sender<Command>, String),
        (stop_sender, stop): (StopSender, StopSignal),
        run_timeout: Option<Duration>,
    ) -> Self {
        Self {
            existing: !is_ours,
            id: created.id,
            state: created.state,
            session_id,
            epoch: created.epoch,
            stop,
            stop_sender,
            run_timeout,
            clock: Clock::new(run_timeout),
            connection,
            commands,
        }
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The epoch under which the present attempt is executed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True when an earlier call with the same key, or the same call in an earlier attempt of the parent, had made the
    /// run: do not execute it; its result is to be had by [`crate::Client::wait`].
    pub fn is_existing(&self) -> bool {
        self.existing
    }

    /// The run's state when it was created or found.
    pub fn state(&self) -> &proto::State {
        &self.state
    }

    /// Hears when to stop.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Says that the code starts now, and starts its clock: when the run's timeout is over, the stop signal says so.
    /// Does not wait for the server, only for room in the queue.
    pub async fn start(&mut self) {
        drop(self.report(report::Event::Started(report::Started {}), None).await);
        if self.run_timeout.is_some() {
            self.clock.start();
            let watching = self.clock.clone().watch(self.stop_sender.clone());
            crate::runtime::spawn(&self.connection.runtime, "run timeout", watching);
        }
    }

    /// Has the code of the present attempt wait until the run is resumed. It cannot be suspended: nobody would execute
    /// it again.
    pub fn pauser(&self) -> Pauser {
        let (commands, session_id) = (self.commands.clone(), self.session_id.clone());
        let of = (self.id.clone(), self.epoch);
        let (run_id, epoch) = of.clone();
        let reporting = Arc::new(move |event, reply| {
            let report = Report { run_id: run_id.clone(), epoch, event: Some(event), age: None };
            let (session_id, happened_at) = (session_id.clone(), Instant::now());
            let command = Command::Report { session_id, report, happened_at, room: None, reply };
            let commands = commands.clone();
            let sending = async move {
                let _ = commands.send(command).await; // a closed session drops the reply
            };
            sending.boxed()
        });
        Pauser::new(Arc::clone(&self.connection), reporting, of, self.clock.clone())
    }

    /// Reports the end of an attempt. The report is under way when this returns, or a large result is, which goes before
    /// it; await what it returns for the verdict, or drop it where that does not matter. Waits while many large results
    /// are not uploaded yet; dropped meanwhile, it has reported nothing.
    pub async fn finish(&mut self, end: End) -> Outcome {
        let end = end.encoded(&self.connection.options.codecs);
        let size = end.result().map_or(0, |result| result.data.len());
        let room = match self.room(size) {
            Some(room) => Some(room.await),
            None => None,
        };
        self.finish_in(end, room).await
    }

    /// Ends the attempt's clock, and waits for room for its result, of `size` bytes, which [`LocalRun::finish_in`] is
    /// given. `None`: it needs none. Cancellation-safe.
    pub fn room(&self, size: usize) -> Option<impl Future<Output = UploadRoom> + Send + use<>> {
        self.clock.end();
        Transfer::new(Arc::clone(&self.connection)).room(size)
    }

    /// As [`LocalRun::finish`], for who has waited for room.
    pub async fn finish_in(&mut self, end: End, room: Option<UploadRoom>) -> Outcome {
        self.clock.end();
        let end = end.encoded(&self.connection.options.codecs);
        Outcome(self.report(end.into(), room).await)
    }

    /// After [`Verdict::Retry`]: the next attempt reports under this epoch.
    pub fn begin_again(&mut self, epoch: u64) {
        // A timeout of the attempt before is not one of the next.
        self.stop_sender.clear_timeout();
        self.clock = Clock::new(self.run_timeout);
        self.epoch = epoch;
    }

    async fn report(
        &self,
        event: report::Event,
        room: Option<UploadRoom>,
    ) -> oneshot::Receiver<ReportOutcome> {
        let (reply, answer) = oneshot::channel();
        let report = Report { run_id: self.id.clone(), epoch: self.epoch, event: Some(event), age: None };
        // Before the wait for a place in the queue.
        let (session_id, happened_at) = (self.session_id.clone(), Instant::now());
        // A closed session drops the reply, which the receiver sees.
        let command = Command::Report { session_id, report, happened_at, room, reply };
        let _ = self.commands.send(command).await;
        answer
    }
}

impl Drop for LocalRun {
    fn drop(&mut self) {
        if self.existing {
            return; // it is another's
        }
        // The session knows whether the run has ended, or is to have another attempt that will not come now.
        let abandon = Command::Abandon { run_id: self.id.clone(), epoch: self.epoch };
        if let Err(mpsc::error::TrySendError::Full(abandon)) = self.commands.try_send(abandon) {
            let commands = self.commands.clone();
            crate::runtime::spawn(&self.connection.runtime, "abandoned run", async move {
                let _ = commands.send(abandon).await; // a session that is closed has ended its runs
            });
        }
    }
}

impl std::fmt::Debug for LocalRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalRun").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// An end that was reported.
#[derive(Debug)]
pub struct Outcome(oneshot::Receiver<ReportOutcome>);

impl Outcome {
    /// Waits for the server's verdict, and the epoch that holds from then on.
    ///
    /// # Errors
    /// `SESSION_LOST` when the server has given up the session, `STALE_EPOCH` when it has given up the run.
    pub async fn verdict(self) -> Result<(Verdict, u64), Error> {
        verdict_of(&self.0.await.map_err(|_| super::lost())?)
    }
}

fn verdict_of(outcome: &ReportOutcome) -> Result<(Verdict, u64), Error> {
    let state = outcome.state.clone().unwrap_or_default();
    if !outcome.accepted {
        // A run that someone else ended (a cancel, say) has its verdict all the same.
        let is_over = matches!(
            state.r#type(),
            StateType::Cancelled | StateType::Failed | StateType::Crashed | StateType::Completed
        );
        if is_over {
            return Ok((Verdict::Ended(state), outcome.current_epoch));
        }
        return Err(Error::of_item(&outcome.reason, &outcome.message));
    }
    let verdict = if state.r#type() == StateType::Scheduled {
        Verdict::Retry(clock::between(state.occurred_at.as_ref(), outcome.due_at.as_ref()))
    } else {
        Verdict::Ended(state)
    };
    Ok((verdict, outcome.current_epoch))
}
