use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Attempt, Hindrance, WorkerHealth, WorkerOptions, WorkerStatus, dial, taken::Taken};
use crate::{
    Error, ErrorKind, clock,
    connection::Connection,
    ends,
    link::{self, Event, Link, Terms},
    options,
    proto::{
        self, CancelCause, Report, ReportOutcome, RunKind, WorkRequest, WorkResponse, report, work_request,
        work_response,
    },
    reports::Reports,
    runtime,
    stop::{Stop, StopSender},
    transfer::Transfer,
};

/// How long code that was told to stop at the end of the drain has before it is given up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the last reports may take to be answered, and the stream to end.
const CLOSING: Duration = Duration::from_secs(5);
/// Unanswered reports, at most; beyond that no credits are given, so that no more runs come.
const MAX_UNANSWERED: usize = 10_000;
/// Runs of which a heartbeat says what hinders them: the bound of the protocol.
const MAX_HINDRANCES: usize = 1_000;
/// How soon a heartbeat that says something new of that may follow another.
const HINDRANCE_PAUSE: Duration = Duration::from_secs(1);

/// What an attempt says to the worker.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) run_id: String,
    pub(super) epoch: u64,
    pub(super) kind: RunKind,
    /// What is reported. `None`: nothing is, because someone else reports what became of the run.
    pub(super) event: Option<report::Event>,
    /// When that happened.
    pub(super) happened_at: Instant,
    pub(super) ends: bool,
    /// Who waits for the answer.
    pub(super) reply: Option<oneshot::Sender<ReportOutcome>>,
}

/// How long a run is kept that came here though it is not served here.
const UNSERVED_PAUSE: Duration = Duration::from_secs(1);

/// A run that this worker holds: from its assignment until the report of its end is answered.
struct Held {
    epoch: u64,
    stop: StopSender,
    started: bool,
    hindrance: Hindrance,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    tasks: u32,
    flows: u32,
}

impl Slots {
    fn of(&mut self, kind: RunKind) -> &mut u32 {
        if kind == RunKind::Flow { &mut self.flows } else { &mut self.tasks }
    }
}

/// Who has the worker take no more runs.
#[derive(Debug)]
pub(super) struct Drain {
    /// Cancelled by its owner: running attempts have the grace of the options.
    pub(super) asked_here: CancellationToken,
    /// Cancelled with it, and where the server asks.
    pub(super) no_more: CancellationToken,
}

/// Where the drain stands.
enum Phase {
    Working,
    /// Running attempts may go on until then; `None`: until they end.
    Draining(Option<Instant>),
    /// They have been told to stop.
    Stopping(Instant),
    /// Only answers are awaited.
    Closing(Instant),
}

/// The task that owns a worker's stream. It never waits for user code.
pub(super) struct Actor {
    connection: Arc<Connection>,
    transfer: Transfer,
    options: WorkerOptions,
    worker_id: String,
    commands: mpsc::UnboundedReceiver<Command>, // bounded by the slots: an attempt sends two, and one for each pause
    commands_sender: mpsc::UnboundedSender<Command>,
    attempts: mpsc::Sender<Attempt>,
    drain: Drain,
    status: watch::Sender<WorkerStatus>,
    /// What it takes, in order. `None`: the runs of its pool, whatever they are called.
    serves: Option<Vec<proto::Function>>,
    /// It executes this one run for a worker of a pool, and ends with it.
    executes: Option<proto::HeldRun>,
    held: HashMap<String, Held>,
    taken: Taken,
    reports: Reports,
    /// Slots whose attempts have not ended.
    busy: Slots,
    /// Credits given on this stream and not used.
    outstanding: Slots,
    heartbeat_due: bool,
    /// Something else keeps a run from beginning; and when that may be told at the earliest.
    hindered: Arc<Notify>,
    hindered_from: Instant,
    max_batch_size: usize,
    phase: Phase,
    /// Once it was connected: how long a lease lasts.
    lease: Option<Duration>,
    /// When what is held may be another's, as the stream is lost; `None`: it is there.
    lost_at: Option<Instant>,
}

impl Actor {
    pub(super) fn new(
        connection: Arc<Connection>,
        options: WorkerOptions,
        worker_id: String,
        attempts: mpsc::Sender<Attempt>,
        drain: Drain,
        status: watch::Sender<WorkerStatus>,
    ) -> Self {
        let (commands_sender, commands) = mpsc::unbounded_channel();
        let serves = options.work_pool.is_empty().then(|| {
            let mut functions = options.functions.clone();
            functions.sort_by(|a, b| by_name(a).cmp(&by_name(b)));
            functions
        });
        Self {
            transfer: Transfer::new(Arc::clone(&connection)),
            reports: Reports::new(connection.options.call_deadline),
            connection,
            options,
            worker_id,
            commands,
            commands_sender,
            attempts,
            drain,
            status,
            serves,
            executes: None,
            held: HashMap::new(),
            taken: Taken::default(),
            busy: Slots::default(),
            outstanding: Slots::default(),
            heartbeat_due: false,
            hindered: Arc::default(),
            hindered_from: Instant::now(),
            max_batch_size: 1,
            phase: Phase::Working,
            lease: None,
            lost_at: None,
        }
    }

    /// Has it hold runs from the start on that it was not assigned on a stream of its own: those of an earlier worker.
    pub(super) fn hold(&mut self, runs: Vec<proto::Assign>) {
        for assign in runs {
            self.take(assign);
        }
    }

    /// Has it execute the one run that another worker was assigned, and end with that.
    pub(super) fn execute(&mut self, assign: proto::Assign, stop: Stop) {
        let (run_id, epoch) = (assign.run_id.clone(), assign.epoch);
        self.executes = Some(proto::HeldRun { run_id: run_id.clone(), epoch });
        self.take(assign);
        if let Some(held) = self.held.get(&run_id) {
            held.stop.send(stop);
        }
    }

    pub(super) async fn run(mut self) -> Result<(), Error> {
        let mut link = self.link();
        let mut heartbeat = interval(Duration::from_secs(5));
        loop {
            if self.may_close() {
                return self.close(link).await;
            }
            let outgoing = if self.has_something_to_say() { link.outgoing() } else { None };
            let drain = self.drain.asked_here.clone();
            let has_no_bound = matches!(self.phase, Phase::Working | Phase::Draining(None));
            let phase_ends = match self.phase {
                Phase::Working => None,
                Phase::Draining(at) => at,
                Phase::Stopping(at) | Phase::Closing(at) => Some(at),
            };
            let repeat_at = self.reports.next_repeat();
            let (hindered, from) = (Arc::clone(&self.hindered), self.hindered_from);
            let hindered = async {
                sleep_until(from).await;
                hindered.notified().await;
            };
            let far = Instant::now() + Duration::from_secs(3_600);
            let is_told_well = self.status.borrow().health == WorkerHealth::Serving;
            let loses_at = self.lost_at.filter(|_| is_told_well);
            tokio::select! {
                event = link.next() => match event {
                    Event::Up(terms) => self.on_up(terms, &mut heartbeat),
                    Event::Message(response) => self.on_message(response, &mut link),
                    Event::Down(error) => self.on_down(error).await?,
                },
                Some(command) = self.commands.recv() => {
                    self.on_command(command);
                    while let Ok(command) = self.commands.try_recv() {
                        self.on_command(command);
                    }
                }
                permit = link::room(outgoing) => {
                    if let Some(message) = self.next_message() {
                        permit.send(WorkRequest { message: Some(message) });
                    }
                }
                _ = heartbeat.tick(), if link.is_live() => self.heartbeat_due = true,
                () = hindered, if link.is_live() => {
                    self.heartbeat_due = true;
                    self.hindered_from = Instant::now() + HINDRANCE_PAUSE;
                }
                () = sleep_until(repeat_at.unwrap_or(far)), if repeat_at.is_some() => {
                    self.reports.repeat_due(Instant::now());
                }
                () = drain.cancelled(), if has_no_bound => {
                    self.take_no_more(Some(Instant::now() + self.options.drain_grace));
                }
                () = sleep_until(phase_ends.unwrap_or(far)), if phase_ends.is_some() => self.next_phase(),
                () = sleep_until(loses_at.unwrap_or(far)), if loses_at.is_some() => {} // the status says so
            }
            let is_live = link.is_live();
            self.lost_at = match (is_live, self.lost_at, self.lease) {
                (true, ..) | (false, None, None) => None,
                (false, None, Some(lease)) => Some(Instant::now() + lease),
                (false, since, _) => since,
            };
            let health = self.health(is_live);
            self.status.send_if_modified(|status| {
                let now = WorkerStatus {
                    connected: is_live,
                    n_running: self.busy.tasks + self.busy.flows,
                    n_finished: status.n_finished,
                    health,
                };
                let changed = now != *status;
                *status = now;
                changed
            });
        }
    }

    fn health(&self, is_live: bool) -> WorkerHealth {
        if self.drain.no_more.is_cancelled() {
            return WorkerHealth::Draining;
        }
        match (self.lease, self.lost_at) {
            (None, _) if !is_live => WorkerHealth::Connecting,
            (_, Some(lost_at)) if lost_at <= Instant::now() => WorkerHealth::Lost,
            _ => WorkerHealth::Serving,
        }
    }

    fn link(&self) -> Link<WorkRequest, WorkResponse> {
        let hello = proto::Hello {
            protocol_version: 1,
            namespace: self.connection.options.namespace.clone(),
            worker_id: self.worker_id.clone(),
            queues: self.options.queues.clone(),
            functions: self.options.functions.clone(),
            sdk: self.connection.options.sdk.clone(),
            labels: self.options.labels.clone(),
            work_pool: self.options.work_pool.clone(),
            executes: self.executes.clone().into_iter().collect(),
            name: self.options.name.clone(),
            host: options::host(),
            process_id: std::process::id(),
            task_slots: self.options.task_slots,
            flow_slots: self.options.flow_slots,
        };
        let connection = Arc::clone(&self.connection);
        Link::new(move || Box::pin(dial::dial(Arc::clone(&connection), hello.clone())))
    }

    fn on_up(&mut self, terms: Terms, heartbeat: &mut tokio::time::Interval) {
        *heartbeat = interval(terms.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.max_batch_size = terms.max_batch_size;
        self.lease = Some(terms.lease);
        self.outstanding = Slots::default();
        self.reports.resend_all();
        self.heartbeat_due = true; // the new stream learns at once what is held
        tracing::info!("worker {} is connected", self.worker_id);
    }

    async fn on_down(&mut self, error: Error) -> Result<(), Error> {
        self.outstanding = Slots::default();
        if error.is_refusal() {
            // It may be a proxy that refuses, and a job that outlives this worker is the next one's: so none is lost.
            for held in self.held.values() {
                held.stop.send(Stop::Shutdown);
            }
            return Err(error);
        }
        let error = self.connection.explain(error).await;
        tracing::warn!("worker {} is not connected, and tries again: {error}", self.worker_id);
        Ok(())
    }

    fn on_message(&mut self, response: WorkResponse, link: &mut Link<WorkRequest, WorkResponse>) {
        match response.message {
            Some(work_response::Message::Assignments(assignments)) => {
                for assign in assignments.assigns {
                    self.take(assign);
                }
            }
            Some(work_response::Message::Outcomes(outcomes)) => {
                for outcome in outcomes.outcomes {
                    self.on_outcome(&outcome);
                }
            }
            Some(work_response::Message::Cancels(cancels)) => {
                for cancel in cancels.cancels {
                    self.on_cancel(cancel);
                }
            }
            Some(work_response::Message::Reconnect(reconnect)) => {
                link.reconnect(clock::duration_of(reconnect.delay.as_ref()).unwrap_or_default());
            }
            Some(work_response::Message::Drain(drain)) => {
                if !self.is_draining() {
                    tracing::info!("worker {} is asked to end: {}", self.worker_id, drain.message);
                    self.take_no_more(None);
                }
            }
            Some(work_response::Message::Welcome(_)) | None => {}
        }
    }

    /// The service hears of it at once, so that others are given what this worker would have got.
    fn take_no_more(&mut self, ends_at: Option<Instant>) {
        self.phase = Phase::Draining(ends_at);
        self.drain.no_more.cancel();
        self.heartbeat_due = true;
    }

    fn take(&mut self, assign: proto::Assign) {
        let kind = assign.kind();
        let outstanding = self.outstanding.of(kind);
        *outstanding = outstanding.saturating_sub(1);
        let (run_id, epoch) = (assign.run_id.clone(), assign.epoch);
        if !self.taken.note(&run_id, epoch) {
            return; // delivered twice: the epoch makes the second a no-op, also where the first has ended by now
        }
        *self.busy.of(kind) += 1;
        let is_served = self.does_serve(&assign);
        let hindrance = Hindrance::new(Arc::clone(&self.hindered));
        let (commands, connection) = (self.commands_sender.clone(), Arc::clone(&self.connection));
        let (attempt, stop) = Attempt::new(assign, commands, connection, hindrance.clone());
        let earlier = self.held.insert(run_id.clone(), Held { epoch, stop, started: false, hindrance });
        if let Some(earlier) = earlier {
            earlier.stop.send(Stop::Lost { message: "the run was delivered again".into() });
            self.reports.forget(&run_id);
        }
        // Where nobody takes it any more, the attempt is dropped, and that gives it back.
        if self.is_draining() {
            drop(attempt);
        } else if !is_served {
            // Nothing of the run was executed: that it came here costs it neither a retry nor a crash. It keeps its slot for a
            // moment, so that one that comes again and again does not go round as fast as it can.
            let (kind, name) = (kind.as_str_name(), &attempt.assign().name);
            tracing::warn!("run {run_id} is given back: this worker does not serve the {kind} `{name}`");
            let giving_back = async move {
                tokio::time::sleep(UNSERVED_PAUSE).await;
                drop(attempt);
            };
            runtime::spawn(&self.connection.runtime, "run of others", giving_back);
        } else if attempt.has_to_fetch() {
            let fetching = attempt.fetch(self.transfer.clone(), self.attempts.clone());
            runtime::spawn(&self.connection.runtime, "parameter download", fetching);
        } else if let Err(error) = self.attempts.try_send(attempt) {
            tracing::debug!("run {run_id} is given back: {error}");
        }
    }

    fn does_serve(&self, assign: &proto::Assign) -> bool {
        let Some(serves) = self.serves.as_ref().filter(|_| self.executes.is_none()) else { return true };
        let wanted = (assign.kind, assign.name.as_str());
        serves.binary_search_by(|function| by_name(function).cmp(&wanted)).is_ok()
    }

    fn on_command(&mut self, command: Command) {
        if let Some(report::Event::Completed(completed)) = &command.event
            && self.transfer.is_large(completed.result.as_ref())
        {
            return self.upload_result(command);
        }
        if command.ends {
            let busy = self.busy.of(command.kind);
            *busy = busy.saturating_sub(1);
            self.status.send_modify(|status| status.n_finished += 1);
        }
        let held = self.held.get_mut(&command.run_id).filter(|held| held.epoch == command.epoch);
        let Some(held) = held else { return };
        let Some(event) = command.event else {
            self.held.remove(&command.run_id);
            self.reports.forget(&command.run_id);
            return;
        };
        held.started |= matches!(event, report::Event::Started(_));
        let event = Some(ends::bounded(event, self.connection.max_payload()));
        let report = Report { run_id: command.run_id, epoch: command.epoch, event, age: None };
        self.reports.push(report, command.happened_at, command.reply);
    }

    /// The command comes back with a reference in the place of the result; until then its slot is taken.
    fn upload_result(&self, command: Command) {
        let (transfer, commands) = (self.transfer.clone(), self.commands_sender.clone());
        runtime::spawn(&self.connection.runtime, "result upload", async move {
            let event = match command.event {
                Some(event) => Some(transfer.offload_event(event).await),
                None => None,
            };
            // Whatever comes of it, the attempt has ended only now.
            let happened_at = Instant::now();
            let _ = commands.send(Command { event, happened_at, ..command }); // or the worker has ended after its grace
        });
    }

    fn on_outcome(&mut self, outcome: &ReportOutcome) {
        let Some((report, reply)) = self.reports.answer(outcome) else { return };
        if let Some(reply) = reply {
            let _ = reply.send(outcome.clone()); // who asked may have gone
        }
        let is_start = matches!(report.event, Some(report::Event::Started(_)));
        if ends::stays_after_pause(&report, outcome) {
            return;
        }
        if outcome.accepted {
            if matches!(report.event, Some(report::Event::Paused(_))) {
                self.lose(&outcome.run_id, report.epoch, "the run is suspended");
            } else if !is_start {
                self.held.remove(&outcome.run_id);
            }
            return;
        }
        if let Some(next) = ends::follow_up(&report, outcome) {
            self.reports.push(next, Instant::now(), None);
            return;
        }
        if is_start && ends::is_cancelling(outcome) {
            return; // the cancel itself is on its way
        }
        tracing::info!("the report of run {} was refused: {}", outcome.run_id, outcome.message);
        self.lose(&outcome.run_id, report.epoch, &outcome.message);
    }

    fn on_cancel(&mut self, cancel: proto::Cancel) {
        let Some(held) = self.held.get(&cancel.run_id).filter(|held| held.epoch == cancel.epoch) else {
            return;
        };
        match cancel.cause() {
            CancelCause::Lost => self.lose(&cancel.run_id, cancel.epoch, &cancel.message),
            CancelCause::Requested | CancelCause::Unspecified => {
                let grace = clock::duration_of(cancel.grace.as_ref()).unwrap_or(Duration::from_secs(30));
                held.stop.send(Stop::Cancel { message: cancel.message, grace });
            }
        }
    }

    fn lose(&mut self, run_id: &str, epoch: u64, message: &str) {
        if self.held.get(run_id).is_some_and(|held| held.epoch == epoch)
            && let Some(held) = self.held.remove(run_id)
        {
            held.stop.send(Stop::Lost { message: message.to_owned() });
            self.reports.forget(run_id);
        }
    }

    fn is_draining(&self) -> bool {
        !matches!(self.phase, Phase::Working)
    }

    fn free(&self) -> Slots {
        if self.is_draining() || self.reports.len() >= MAX_UNANSWERED {
            return Slots::default();
        }
        let free = |slots: u32, busy: u32, outstanding: u32| slots.saturating_sub(busy + outstanding);
        Slots {
            tasks: free(self.options.task_slots, self.busy.tasks, self.outstanding.tasks),
            flows: free(self.options.flow_slots, self.busy.flows, self.outstanding.flows),
        }
    }

    fn has_something_to_say(&self) -> bool {
        let free = self.free();
        self.heartbeat_due || self.reports.has_ready() || free.tasks + free.flows > 0
    }

    fn next_message(&mut self) -> Option<work_request::Message> {
        if std::mem::take(&mut self.heartbeat_due) {
            let held = |(run_id, held): (&String, &Held)| proto::HeldRun {
                run_id: run_id.clone(),
                epoch: held.epoch,
            };
            let runs = self.held.iter().map(held).collect();
            let hindered = self.held.iter().filter_map(|(run_id, held)| {
                let message = held.hindrance.said();
                let hindrance =
                    |message| proto::Hindrance { run_id: run_id.clone(), epoch: held.epoch, message };
                (!message.is_empty()).then(|| hindrance(message))
            });
            let hindrances = hindered.take(MAX_HINDRANCES).collect();
            let is_draining = self.is_draining();
            return Some(work_request::Message::Heartbeat(proto::Heartbeat {
                runs,
                is_draining,
                hindrances,
            }));
        }
        let reports = self.reports.take(self.max_batch_size);
        if !reports.is_empty() {
            return Some(work_request::Message::Reports(proto::Reports { reports }));
        }
        let free = self.free();
        if free.tasks + free.flows == 0 {
            return None;
        }
        self.outstanding.tasks += free.tasks;
        self.outstanding.flows += free.flows;
        Some(work_request::Message::Credits(proto::Credits { tasks: free.tasks, flows: free.flows }))
    }

    fn may_close(&self) -> bool {
        (self.is_draining() || self.executes.is_some())
            && self.busy.tasks + self.busy.flows == 0
            && self.reports.is_empty()
            && self.held.is_empty()
            || matches!(self.phase, Phase::Closing(at) if Instant::now() >= at)
    }

    fn next_phase(&mut self) {
        self.phase = match self.phase {
            Phase::Working => Phase::Working,
            Phase::Draining(_) => {
                for held in self.held.values() {
                    held.stop.send(Stop::Shutdown);
                }
                Phase::Stopping(Instant::now() + LAST_WORDS)
            }
            Phase::Stopping(_) => {
                self.give_up();
                Phase::Closing(Instant::now() + CLOSING)
            }
            Phase::Closing(at) => Phase::Closing(at), // ended by may_close
        };
    }

    /// What has not ended by now goes down with the process; what never started is given back.
    fn give_up(&mut self) {
        let grace = self.options.drain_grace;
        let cause = format!("shutdown: the worker ended and the run did not end within {grace:?}");
        for (run_id, held) in &self.held {
            if self.reports.has_end_of(run_id, held.epoch) {
                continue;
            }
            let event = if held.started {
                report::Event::Crashed(report::Crashed { cause: cause.clone() })
            } else {
                report::Event::Released(report::Released {})
            };
            let report = Report { run_id: run_id.clone(), epoch: held.epoch, event: Some(event), age: None };
            self.reports.push(report, Instant::now(), None);
        }
        self.busy = Slots::default();
    }

    async fn close(mut self, mut link: Link<WorkRequest, WorkResponse>) -> Result<(), Error> {
        self.attempts = mpsc::channel(1).0;
        if self.heartbeat_due && self.is_draining() && link.is_live() {
            // That it drains is told before its stream ends, so that it is not taken for one that just left.
            if let Ok(permit) = timeout(CLOSING, link::room(link.outgoing())).await
                && let Some(message) = self.next_message()
            {
                permit.send(WorkRequest { message: Some(message) });
            }
        }
        link.half_close();
        if link.is_live() {
            let ended = async { while !matches!(link.next().await, Event::Down(_)) {} };
            let _ = timeout(CLOSING, ended).await;
        }
        if self.reports.is_empty() {
            return Ok(());
        }
        let message = format!("{} reports were not answered before the worker ended", self.reports.len());
        Err(Error::new(ErrorKind::DeadlineExceeded, message))
    }
}

fn by_name(function: &proto::Function) -> (i32, &str) {
    (function.kind, &function.name)
}
