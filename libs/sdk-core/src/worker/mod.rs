//! Takes queued runs and reports what became of them (`WorkerService.Work`).

mod actor;
mod attempt;
mod dial;
mod executor;
mod health;
mod hindrance;
mod taken;

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use attempt::{Attempt, Attempts, End};
pub use health::HealthListener;
pub use hindrance::Hindrance;

use crate::{Client, Error, ErrorKind, options, proto, runtime};

/// Free slots that a worker may have, at most, of each kind: the bound of the protocol.
const MAX_SLOTS: u32 = 10_000;
/// Bytes of a worker's name: its id has at most 256.
const MAX_NAME: usize = 128;

/// What a worker serves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What people call it; its id begins with that. Empty: this machine's name.
    pub name: String,
    /// The queues. 1 to 64.
    pub queues: Vec<String>,
    /// The flows and tasks. 1 to 10,000; none where it works for a pool.
    pub functions: Vec<proto::Function>,
    /// The work pool that it works for: it takes all runs of that which come through `queues`. Empty: it serves functions.
    pub work_pool: String,
    /// What tells it from other workers: it gets the runs that require no label which it lacks. At most 50.
    pub labels: BTreeMap<String, String>,
    /// Tasks at once. At most 10,000.
    pub task_slots: u32,
    /// Flows at once; they mostly wait for their children. At most 10,000.
    pub flow_slots: u32,
    /// How long running attempts may go on after [`Worker::drain`]; any time where it is the server that asks.
    pub drain_grace: Duration,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its stream is open.
    pub connected: bool,
    /// Attempts that the executor has and has not ended.
    pub n_running: u32,
    /// Attempts that it has ended since the start.
    pub n_finished: u64,
    /// Whether it takes runs.
    pub health: WorkerHealth,
}

/// Whether a worker takes runs, as probes are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerHealth {
    /// It has not been connected yet.
    #[default]
    Connecting,
    /// It is connected, or was within the time of a lease: its runs are its own.
    Serving,
    /// The stream to the server has been lost for longer than a lease: its runs are given to others.
    Lost,
    /// It takes no more runs.
    Draining,
    /// It has ended.
    Ended,
}

impl WorkerHealth {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Connecting => "not connected to the server yet",
            Self::Serving => "takes runs",
            Self::Lost => "the stream to the server has been lost for longer than a lease",
            Self::Draining => "takes no more runs",
            Self::Ended => "has ended",
        }
    }
}

/// A worker that takes runs until it is drained, here or by the server. Dropping it drains it.
#[derive(Debug)]
pub struct Worker {
    id: String,
    drain: CancellationToken,
    status: watch::Receiver<WorkerStatus>,
    done: watch::Receiver<Option<Result<(), Error>>>,
    health: Option<DropGuard>,
}

impl Worker {
    /// Connects and begins to take runs, which come out of [`Attempts`]. A server that is away is tried again for
    /// ever, with the held runs kept.
    ///
    /// # Errors
    /// `InvalidArgument` where the options are out of bounds.
    pub fn start(client: &Client, options: WorkerOptions) -> Result<(Self, Attempts), Error> {
        Self::start_holding(client, options, Vec::new())
    }

    /// As [`Worker::start`]; `runs` are those that an earlier worker was assigned and that this one has from now on. They
    /// are the first that come out of [`Attempts`].
    ///
    /// # Errors
    /// As for [`Worker::start`].
    pub fn start_holding(
        client: &Client,
        options: WorkerOptions,
        runs: Vec<proto::Assign>,
    ) -> Result<(Self, Attempts), Error> {
        validate(&options)?;
        let n_held = runs.len();
        Ok(Self::launch(client, options, n_held, |actor| actor.hold(runs)))
    }

    fn launch(
        client: &Client,
        options: WorkerOptions,
        n_held: usize,
        prepare: impl FnOnce(&mut actor::Actor),
    ) -> (Self, Attempts) {
        let name = if options.name.is_empty() { options::host() } else { options.name.clone() };
        let id = format!("{name}:{}:{:08x}", std::process::id(), rand::random::<u32>());
        let drain = CancellationToken::new();
        let no_more = drain.child_token();
        let (done_sender, done) = watch::channel(None);
        let (status_sender, status) = watch::channel(WorkerStatus::default());
        let told = status_sender.clone();
        // Credits bound what is in it, so sending never finds it full.
        let n_slots = options.task_slots as usize + options.flow_slots as usize + n_held;
        let (attempts, inbox) = mpsc::channel(n_slots);
        let mut actor = actor::Actor::new(
            client.connection().clone(),
            options,
            id.clone(),
            attempts,
            actor::Drain { asked_here: drain.clone(), no_more: no_more.clone() },
            status_sender,
        );
        prepare(&mut actor);
        runtime::spawn(client.runtime(), "worker", async move {
            let result = actor.run().await;
            told.send_modify(|status| {
                (status.connected, status.health) = (false, WorkerHealth::Ended);
            });
            done_sender.send_replace(Some(result));
        });
        (Self { id, drain, status, done, health: None }, Attempts::new(inbox, no_more))
    }

    /// Its name, process id and a random part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes no more runs, gives back what was not started, and gives the rest `drain_grace` to end. Where the server asks
    /// for it, the rest may take as long as it needs, unless this is called as well.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// How it stands; follow it for changes.
    pub fn status(&self) -> watch::Receiver<WorkerStatus> {
        self.status.clone()
    }

    /// Tells who asks there, by HTTP, how the worker is, as long as there is this.
    ///
    /// `/livez` is 200 where the process lives. `/readyz`, and `/health`, are 200 while the worker is
    /// [`WorkerHealth::Serving`], else 503. It is a thread of the core that answers, so code which is busy for long is no
    /// fault.
    pub fn serve_health(&mut self, listener: HealthListener) {
        self.health = Some(listener.serve(self.status()));
    }

    /// Completes when the worker has ended: drained by [`Worker::drain`] or the server, or refused for good.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn stopped(&self) -> Result<(), Error> {
        let mut done = self.done.clone();
        let ended = done.wait_for(Option::is_some).await.map(|result| result.clone());
        match ended {
            Ok(Some(result)) => result,
            _ => Err(Error::new(ErrorKind::Internal, "the connection thread is gone")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

fn validate(options: &WorkerOptions) -> Result<(), Error> {
    let wrong = |message: &str| Err(Error::new(ErrorKind::InvalidArgument, message));
    if options.functions.is_empty() && options.work_pool.is_empty() {
        return wrong("the worker serves no flow and no task: give it at least one");
    }
    if !options.functions.is_empty() && !options.work_pool.is_empty() {
        return wrong("a worker of a pool takes all runs of that: it serves no functions of its own");
    }
    if options.name.len() > MAX_NAME || options.name.chars().any(char::is_control) {
        return wrong("the name of a worker has at most 128 bytes, and no control characters");
    }
    if options.queues.is_empty() || options.queues.len() > 64 {
        return wrong("a worker serves 1 to 64 queues");
    }
    if options.task_slots > MAX_SLOTS || options.flow_slots > MAX_SLOTS {
        return wrong("a worker has at most 10,000 slots for tasks and as many for flows");
    }
    if options.task_slots + options.flow_slots == 0 {
        return wrong("a worker needs at least one slot");
    }
    Ok(())
}
