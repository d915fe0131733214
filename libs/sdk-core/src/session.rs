//! Reports runs that execute in this process (`SessionService.Session`).

mod actor;
mod local_run;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

pub use local_run::{LocalRun, Verdict};

use crate::{
    Error, ErrorKind, clock, connection::Connection, creates::Creates, proto, runtime, stop::StopSender,
    transfer::UploadRoom,
};

/// Commands that wait for the session's task, at most; callers beyond that wait.
const QUEUE: usize = 1_024;

/// The session of this process. It opens with its first local run.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Connection>,
    creates: Creates,
    opened: Mutex<Option<Opened>>,
}

#[derive(Clone)]
struct Opened {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<SessionState>,
}

/// How the session stands.
#[derive(Clone, Debug)]
enum SessionState {
    Connecting,
    /// The service knows the session of this id.
    Open(String),
    /// There is no server, or it refuses for good.
    Refused(Error),
}

/// What is asked of the session's task.
enum Command {
    /// A run is about to be created in the session.
    Track { run_id: String, session_id: String, stop: StopSender },
    /// A run was not created after all.
    Forget { run_id: String },
    /// Instead of the run `asked`, the service gave this process the run `found`, of an earlier attempt of the parent,
    /// under `epoch`. The answer is false where this process still executes it, for that attempt.
    Adopt { asked: String, found: String, epoch: u64, reply: oneshot::Sender<bool> },
    /// Nobody executes the run any more. If it has not ended, it is reported as crashed.
    Abandon { run_id: String, epoch: u64 },
    /// A report of a run of the session `session_id`, of what happened at `happened_at`, with the room that its result takes
    /// until it is uploaded.
    Report {
        session_id: String,
        report: proto::Report,
        happened_at: Instant,
        room: Option<UploadRoom>,
        reply: oneshot::Sender<proto::ReportOutcome>,
    },
    /// A report whose result is in object storage by now.
    Uploaded { session_id: String, report: proto::Report, reply: oneshot::Sender<proto::ReportOutcome> },
    /// The service does not know this session any more.
    Lost { session_id: String },
    /// Say goodbye once all reports are answered.
    Close { reply: oneshot::Sender<()> },
}

impl Session {
    pub(crate) fn start(connection: Arc<Connection>, creates: Creates) -> Self {
        Self { shared: Arc::new(Shared { connection, creates, opened: Mutex::new(None) }) }
    }

    fn opened(&self) -> Opened {
        let mut opened = self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened
            && !opened.commands.is_closed()
        {
            return opened.clone();
        }
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (state_sender, state) = watch::channel(SessionState::Connecting);
        let connection = Arc::clone(&self.shared.connection);
        let actor = actor::Actor::new(connection, inbox, commands.downgrade(), state_sender);
        runtime::spawn(&self.shared.connection.runtime, "session", actor.run());
        let fresh = Opened { commands, state };
        *opened = Some(fresh.clone());
        fresh
    }

    /// Creates a run that this process executes: durable when the returned future completes. The create is under
    /// way once this has returned, so that many in a row travel together; it waits only while the queue is full
    /// or the session is being opened.
    ///
    /// # Errors
    /// `Unavailable` when there is no server.
    pub async fn create(
        &self,
        run: proto::NewRun,
    ) -> Result<impl Future<Output = Result<LocalRun, Error>> + Send + use<>, Error> {
        let begun = self.begin(&run).await?;
        let session = self.clone();
        Ok(async move {
            let mut begun = begun;
            for _ in 0..3 {
                match begun.finish().await {
                    // The session was lost before the run was created in it: it goes into the next one.
                    Err(error) if error.is_session_lost() => begun = session.begin(&run).await?,
                    outcome => return outcome,
                }
            }
            begun.finish().await
        })
    }

    async fn begin(&self, run: &proto::NewRun) -> Result<Begun, Error> {
        let opened = self.opened();
        let connection = &self.shared.connection;
        let session_id = match opened.id(connection.options.call_deadline).await {
            Ok(session_id) => session_id,
            Err(error) => return Err(connection.explain(error).await),
        };
        let mut run = run.clone();
        if run.id.is_empty() {
            run.id = crate::new_run_id();
        }
        let run_id = run.id.clone();
        run.placement = Some(proto::new_run::Placement::SessionId(session_id.clone()));
        let (stop, signal) = StopSender::new();
        let track =
            Command::Track { run_id: run_id.clone(), session_id: session_id.clone(), stop: stop.clone() };
        let run_timeout =
            run.policies.as_ref().and_then(|policies| clock::duration_of(policies.run_timeout.as_ref()));
        opened.commands.send(track).await.map_err(|_| closed())?;
        let outcome = self.shared.creates.enqueue(run).await;
        let connection = Arc::clone(&self.shared.connection);
        let stop = (stop, signal);
        Ok(Begun { opened, session_id, run_id, stop, run_timeout, outcome: Some(outcome), connection })
    }

    /// Waits until all reports are answered, and says goodbye, within `deadline`. A later local run opens a new
    /// session.
    pub async fn close(&self, deadline: Duration) {
        let opened = self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(opened) = opened else { return };
        let (reply, done) = oneshot::channel();
        let goodbye = async {
            if opened.commands.send(Command::Close { reply }).await.is_ok() {
                let _ = done.await;
            }
        };
        if timeout(deadline, goodbye).await.is_err() {
            tracing::warn!("not all reports of local runs were answered within {deadline:?}");
        }
    }
}

impl Opened {
    async fn id(&self, deadline: Duration) -> Result<String, Error> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, SessionState::Connecting));
        match timeout(deadline, known).await.map(|known| known.map(|state| state.clone())) {
            Ok(Ok(SessionState::Open(id))) => Ok(id),
            Ok(Ok(SessionState::Refused(error))) => Err(error),
            Ok(Ok(SessionState::Connecting) | Err(_)) => Err(closed()),
            Err(_) => {
                let message = format!("the server opened no session for local runs within {deadline:?}");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }
}

/// A create that is under way. Dropped, it is not taken back: the run is then ended once it is there.
struct Begun {
    opened: Opened,
    session_id: String,
    run_id: String,
    stop: (StopSender, crate::StopSignal),
    run_timeout: Option<Duration>,
    /// `None` once it has been heard.
    outcome: Option<oneshot::Receiver<Result<crate::CreatedRun, Error>>>,
    connection: Arc<Connection>,
}

impl Begun {
    async fn finish(mut self) -> Result<LocalRun, Error> {
        let outcome = match &mut self.outcome {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(closed())),
            None => Err(closed()),
        };
        self.outcome = None;
        let commands = self.opened.commands.clone();
        match outcome {
            Ok(created) => {
                let is_ours = take(&commands, &self.run_id, &created).await;
                let session_id = self.session_id.clone();
                let stop = self.stop.clone();
                let connection = Arc::clone(&self.connection);
                let session = (connection, commands, session_id);
                Ok(LocalRun::new(created, is_ours, session, stop, self.run_timeout))
            }
            Err(error) => {
                let _ = commands.send(Command::Forget { run_id: self.run_id.clone() }).await;
                if error.is_session_lost() {
                    let _ = commands.send(Command::Lost { session_id: self.session_id.clone() }).await;
                }
                Err(error)
            }
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome.take() else { return };
        let (commands, run_id) = (self.opened.commands.clone(), self.run_id.clone());
        runtime::spawn(&self.connection.runtime, "abandoned create", async move {
            let command = match outcome.await {
                Ok(Ok(created)) if take(&commands, &run_id, &created).await => {
                    Command::Abandon { run_id: created.id, epoch: created.epoch }
                }
                Ok(Ok(_)) => return,
                _ => Command::Forget { run_id },
            };
            let _ = commands.send(command).await; // a session that is closed has ended its runs
        });
    }
}

/// Has the session know which run it is that was asked for as `asked`. False: it is not this caller's to execute.
async fn take(commands: &mpsc::Sender<Command>, asked: &str, created: &crate::CreatedRun) -> bool {
    // With the cached result of another run there is nothing to execute.
    let has_result = created.state.r#type() == proto::StateType::Completed;
    if created.id == asked && !has_result {
        return true;
    }
    let asked = asked.to_owned();
    if !created.adopted {
        let _ = commands.send(Command::Forget { run_id: asked }).await;
        return false;
    }
    let (reply, is_ours) = oneshot::channel();
    let (found, epoch) = (created.id.clone(), created.epoch);
    let _ = commands.send(Command::Adopt { asked, found, epoch, reply }).await;
    is_ours.await.unwrap_or(true) // a session that is closed executes nothing else
}

fn closed() -> Error {
    Error::new(ErrorKind::Internal, "the session of this process is closed")
}

fn lost() -> Error {
    Error::of_item(
        "SESSION_LOST",
        "the session of this process was lost: the server counts its open runs as crashed",
    )
}
