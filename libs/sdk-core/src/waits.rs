use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, ErrorKind,
    connection::{Connection, MAX_READ_SIZE},
    proto::{self, Run, run_service_client::RunServiceClient},
    retry::Backoff,
    runtime,
};

/// Runs of one stream, at most: the bound of the protocol.
const MAX_PER_STREAM: usize = 10_000;
/// When so many streams are open, the small ones are closed and their runs put into one.
const MAX_STREAMS: usize = 8;
/// Commands that wait for the task, at most; callers beyond that wait.
const QUEUE: usize = 1_024;
/// How often runs that nobody waits for any more are forgotten.
const SWEEP: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<Arc<Run>, Error>>;

/// Waits for the ends of runs: all waits of a process share few `WaitRuns` streams. Ids that come while a
/// stream is being opened travel together in the next one.
pub(crate) struct Waits {
    connection: Arc<Connection>,
    commands: mpsc::Sender<Vec<(String, Reply)>>,
}

impl Waits {
    pub(crate) fn start(connection: Arc<Connection>) -> Self {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let runtime = connection.runtime.clone();
        runtime::spawn(&runtime, "waits", Multiplexer::new(Arc::clone(&connection)).run(inbox));
        Self { connection, commands }
    }

    pub(crate) async fn wait(&self, run_id: &str) -> Result<Arc<Run>, Error> {
        let ended = self.wait_many(&[run_id.to_owned()]).await.pop();
        ended.expect("one id gives one outcome")
    }

    pub(crate) async fn wait_many(&self, run_ids: &[String]) -> Vec<Result<Arc<Run>, Error>> {
        let mut outcomes = Vec::with_capacity(run_ids.len());
        let mut asked = Vec::with_capacity(run_ids.len());
        for run_id in run_ids {
            // A malformed id would fail all that travel with it.
            outcomes.push(Uuid::try_parse(run_id).map_err(|_| run_id).map(|id| {
                let (reply, ended) = oneshot::channel();
                asked.push((id.to_string(), reply));
                ended
            }));
        }
        let _ = self.commands.send(asked).await; // a closed queue drops the replies, which is seen below
        let mut ended = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            ended.push(match outcome {
                Ok(run) => run.await.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Internal, "the connection thread is gone"))
                }),
                Err(run_id) => {
                    Err(Error::new(ErrorKind::InvalidArgument, format!("`{run_id}` is not the id of a run")))
                }
            });
        }
        self.explain(&mut ended).await;
        ended
    }

    /// Thousands of waits may have failed for one cause: it is looked for once.
    async fn explain(&self, ended: &mut [Result<Arc<Run>, Error>]) {
        let mut cause: Option<Error> = None;
        for error in ended.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
            if self.connection.was_reached() {
                return;
            }
            *error = match &cause {
                Some(cause) => cause.clone(),
                None => self.connection.explain(error.clone()).await,
            };
            cause = Some(error.clone()).filter(Error::is_unavailable);
        }
    }
}

enum StreamEvent {
    Opened,
    Ended(Vec<Run>),
    Closed(Option<Error>),
}

struct OpenStream {
    run_ids: HashSet<String>,
    stop: CancellationToken,
    opened: bool,
    progressed: bool,
}

struct Multiplexer {
    connection: Arc<Connection>,
    waiters: HashMap<String, Vec<Reply>>,
    /// Ids that are in no stream.
    pool: Vec<String>,
    /// Groups of ids that failed together on a NOT_FOUND that did not say whose; each gets its own stream.
    suspects: Vec<Vec<String>>,
    streams: HashMap<u64, OpenStream>,
    n_made: u64,
    backoff: Backoff,
    not_before: Instant,
    failing_since: Option<Instant>,
}

impl Multiplexer {
    fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            waiters: HashMap::new(),
            pool: Vec::new(),
            suspects: Vec::new(),
            streams: HashMap::new(),
            n_made: 0,
            backoff: Backoff::standard(),
            not_before: Instant::now(),
            failing_since: None,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Vec<(String, Reply)>>) {
        // Bounded: a stream that runs ahead of this task is held back by the flow control of its connection.
        let (events, mut stream_events) = mpsc::channel(64);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_work = !self.pool.is_empty() || !self.suspects.is_empty();
            let held_back = has_work && Instant::now() < self.not_before;
            tokio::select! {
                command = inbox.recv() => {
                    let Some(asked) = command else { break };
                    self.add(asked);
                    while let Ok(asked) = inbox.try_recv() {
                        self.add(asked);
                    }
                }
                Some((id, event)) = stream_events.recv() => self.on_event(id, event),
                () = sleep_until(self.not_before), if held_back => {}
                _ = sweep.tick() => self.forget_abandoned(),
            }
            self.open_streams(&events);
        }
        for stream in self.streams.values() {
            stream.stop.cancel();
        }
    }

    fn add(&mut self, asked: Vec<(String, Reply)>) {
        for (run_id, reply) in asked {
            let waiters = self.waiters.entry(run_id.clone()).or_default();
            if waiters.is_empty() {
                self.pool.push(run_id);
            }
            waiters.push(reply);
        }
    }

    fn on_event(&mut self, id: u64, event: StreamEvent) {
        match event {
            StreamEvent::Opened => {
                self.note_answer();
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.opened = true;
                }
            }
            StreamEvent::Ended(runs) => {
                self.note_answer();
                for run in runs {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.run_ids.remove(&run.id);
                        stream.progressed = true;
                    }
                    let run = Arc::new(run);
                    for reply in self.waiters.remove(&run.id).unwrap_or_default() {
                        let _ = reply.send(Ok(Arc::clone(&run)));
                    }
                }
            }
            StreamEvent::Closed(error) => {
                let Some(stream) = self.streams.remove(&id) else { return };
                let left: Vec<String> =
                    stream.run_ids.into_iter().filter(|id| self.waiters.contains_key(id)).collect();
                self.on_closed(left, error, stream.progressed);
            }
        }
    }

    fn note_answer(&mut self) {
        self.connection.note_reached();
        self.failing_since = None;
        self.backoff.reset();
    }

    fn on_closed(&mut self, left: Vec<String>, error: Option<Error>, progressed: bool) {
        if left.is_empty() {
            return;
        }
        match error {
            Some(error) if error.is_not_found() => self.on_not_found(left, &error),
            Some(error) if !error.is_retryable() => self.fail(&left, &error),
            error => {
                let error =
                    error.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the server closed the wait"));
                let options = &self.connection.options;
                let patience = if self.connection.was_reached() {
                    options.outage_patience
                } else {
                    options.first_contact
                };
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > patience {
                    self.failing_since = None;
                    self.fail(&left, &error);
                    return;
                }
                let pause = match error.retry_after() {
                    Some(pause) => pause,
                    None if progressed => Duration::ZERO,
                    None => self.backoff.next(),
                };
                self.not_before = self.not_before.max(Instant::now() + pause);
                self.pool.extend(left);
            }
        }
    }

    /// One unknown id fails the whole stream. Where the server does not say which it was, halves are tried.
    fn on_not_found(&mut self, mut left: Vec<String>, error: &Error) {
        let named = error.metadata("run_id").and_then(|named| left.iter().position(|id| id == named));
        match named {
            _ if left.len() == 1 => self.fail(&left, error),
            Some(position) => {
                let unknown = left.swap_remove(position);
                self.fail(&[unknown], error);
                self.pool.extend(left);
            }
            None => {
                let other_half = left.split_off(left.len() / 2);
                self.suspects.extend([left, other_half]);
            }
        }
    }

    fn fail(&mut self, run_ids: &[String], error: &Error) {
        for run_id in run_ids {
            for reply in self.waiters.remove(run_id).unwrap_or_default() {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    fn open_streams(&mut self, events: &mpsc::Sender<(u64, StreamEvent)>) {
        if Instant::now() < self.not_before {
            return;
        }
        for group in std::mem::take(&mut self.suspects) {
            self.open(group, events);
        }
        let is_opening = self.streams.values().any(|stream| !stream.opened);
        if is_opening || self.pool.is_empty() {
            return;
        }
        if self.streams.len() >= MAX_STREAMS {
            self.merge_small();
        }
        let mut run_ids = std::mem::take(&mut self.pool);
        run_ids.retain(|run_id| self.waiters.contains_key(run_id)); // a merged stream may have told of it since
        if run_ids.is_empty() {
            return;
        }
        self.pool = run_ids.split_off(run_ids.len().min(MAX_PER_STREAM));
        self.open(run_ids, events);
    }

    fn merge_small(&mut self) {
        let small: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.run_ids.len() < MAX_PER_STREAM / 2)
            .map(|(id, _)| *id)
            .collect();
        for id in small {
            if let Some(stream) = self.streams.remove(&id) {
                stream.stop.cancel();
                self.pool.extend(stream.run_ids);
            }
        }
    }

    fn open(&mut self, run_ids: Vec<String>, events: &mpsc::Sender<(u64, StreamEvent)>) {
        self.n_made += 1;
        let id = self.n_made;
        let request = proto::WaitRunsRequest {
            namespace: self.connection.options.namespace.clone(),
            run_ids: run_ids.clone(),
            mode: proto::WaitMode::All.into(),
            timeout: None,
            kind: proto::RunKind::Unspecified.into(),
        };
        let stop = CancellationToken::new();
        let stream = OpenStream {
            run_ids: run_ids.into_iter().collect(),
            stop: stop.clone(),
            opened: false,
            progressed: false,
        };
        self.streams.insert(id, stream);
        let connection = Arc::clone(&self.connection);
        let events = events.clone();
        runtime::spawn(&self.connection.runtime, "wait stream", async move {
            let reading = read(&connection, request, id, &events);
            if let Some(error) = stop.run_until_cancelled(reading).await {
                let _ = events.send((id, StreamEvent::Closed(error))).await;
            }
        });
    }

    fn forget_abandoned(&mut self) {
        self.waiters.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });
        self.pool.retain(|run_id| self.waiters.contains_key(run_id));
        let waiters = &self.waiters;
        self.streams.retain(|_, stream| {
            stream.run_ids.retain(|run_id| waiters.contains_key(run_id));
            if stream.run_ids.is_empty() {
                stream.stop.cancel();
            }
            !stream.run_ids.is_empty()
        });
    }
}

/// Reads one stream to its end; `None` when the server closed it in order.
async fn read(
    connection: &Connection,
    request: proto::WaitRunsRequest,
    id: u64,
    events: &mpsc::Sender<(u64, StreamEvent)>,
) -> Option<Error> {
    let mut client = RunServiceClient::new(connection.api.clone()).max_decoding_message_size(MAX_READ_SIZE);
    let opened = client.wait_runs(connection.request(request, Some(""))).await;
    let mut stream = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Some(Error::from_status(&status)),
    };
    let _ = events.send((id, StreamEvent::Opened)).await;
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                let _ = events.send((id, StreamEvent::Ended(response.runs))).await;
            }
            Ok(None) => return None,
            Err(status) => return Some(Error::from_status(&status)),
        }
    }
}
