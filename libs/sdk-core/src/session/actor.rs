use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

use super::{Command, SessionState};
use crate::{
    Error, ErrorKind, clock,
    connection::{Connection, MAX_READ_SIZE},
    ends,
    link::{self, Event, Link, Live, OUTGOING, Terms},
    proto::{
        self, CancelCause, ReportOutcome, SessionRequest, SessionResponse, report, session_request,
        session_response, session_service_client::SessionServiceClient,
    },
    reports::Reports,
    runtime,
    stop::{Stop, StopSender},
    transfer::{Transfer, UploadRoom},
};

/// How long the service may take to answer a hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// Unanswered reports, at most; beyond that commands, and so the user's code, wait.
const MAX_UNANSWERED: usize = 10_000;
/// How long the stream may take to end after a goodbye.
const CLOSING: Duration = Duration::from_secs(2);

type SessionLink = Link<SessionRequest, SessionResponse>;

/// A run of this session that has not ended.
struct Open {
    stop: StopSender,
    /// That under which its code was given it. What is said under an older one is of code that has lost it since.
    since_epoch: u64,
    /// That of the attempt to come, once the server has granted a retry.
    next_epoch: Option<u64>,
    /// Nobody executes it any more.
    abandoned: bool,
    /// Its code has ended, and the result is on its way to object storage; the report follows.
    uploading: bool,
}

impl Open {
    fn new(stop: StopSender, since_epoch: u64) -> Self {
        Self { stop, since_epoch, next_epoch: None, abandoned: false, uploading: false }
    }

    fn epoch(&self) -> u64 {
        self.next_epoch.unwrap_or(self.since_epoch)
    }
}

/// The task that owns the session's stream. It never waits for user code.
pub(super) struct Actor {
    connection: Arc<Connection>,
    transfer: Transfer,
    inbox: mpsc::Receiver<Command>,
    /// For uploads, which come back; who executes runs keeps the session open.
    commands: mpsc::WeakSender<Command>,
    state: watch::Sender<SessionState>,
    session_id: String,
    runs: HashMap<String, Open>,
    reports: Reports,
    n_uploads: usize,
    heartbeat_due: bool,
    max_batch_size: usize,
    close: Option<oneshot::Sender<()>>,
}

impl Actor {
    pub(super) fn new(
        connection: Arc<Connection>,
        inbox: mpsc::Receiver<Command>,
        commands: mpsc::WeakSender<Command>,
        state: watch::Sender<SessionState>,
    ) -> Self {
        Self {
            transfer: Transfer::new(Arc::clone(&connection)),
            reports: Reports::new(connection.options.call_deadline),
            connection,
            inbox,
            commands,
            state,
            session_id: new_session_id(),
            runs: HashMap::new(),
            n_uploads: 0,
            heartbeat_due: false,
            max_batch_size: 1,
            close: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut link = self.link();
        let mut heartbeat = interval(Duration::from_secs(5));
        loop {
            if self.close.is_some() && self.reports.is_empty() && self.n_uploads == 0 {
                return self.say_goodbye(link).await;
            }
            let has_something = self.heartbeat_due || self.reports.has_ready();
            let outgoing = if has_something { link.outgoing() } else { None };
            let repeat_at = self.reports.next_repeat();
            let far = Instant::now() + Duration::from_secs(3_600);
            let has_room = self.reports.len() < MAX_UNANSWERED;
            tokio::select! {
                event = link.next() => match event {
                    Event::Up(terms) => self.on_up(terms, &mut heartbeat),
                    Event::Message(response) => self.on_message(response, &mut link),
                    Event::Down(error) => if self.on_down(error, &mut link).is_break() { return },
                },
                command = self.inbox.recv(), if has_room => {
                    let Some(command) = command else { return self.say_goodbye(link).await };
                    self.on_command(command, &mut link);
                    for _ in 0..1_000 {
                        let Ok(command) = self.inbox.try_recv() else { break };
                        self.on_command(command, &mut link);
                    }
                }
                permit = link::room(outgoing) => {
                    if let Some(message) = self.next_message() {
                        permit.send(SessionRequest { message: Some(message) });
                    }
                }
                _ = heartbeat.tick(), if link.is_live() => self.heartbeat_due = true,
                () = sleep_until(repeat_at.unwrap_or(far)), if repeat_at.is_some() => {
                    self.reports.repeat_due(Instant::now());
                }
            }
        }
    }

    fn link(&self) -> SessionLink {
        let options = &self.connection.options;
        let hello = proto::SessionHello {
            protocol_version: 1,
            namespace: options.namespace.clone(),
            session_id: self.session_id.clone(),
            identity: options.identity.clone(),
            sdk: options.sdk.clone(),
        };
        let connection = Arc::clone(&self.connection);
        Link::new(move || Box::pin(dial(Arc::clone(&connection), hello.clone())))
    }

    fn on_up(&mut self, terms: Terms, heartbeat: &mut tokio::time::Interval) {
        *heartbeat = interval(terms.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.max_batch_size = terms.max_batch_size;
        self.reports.resend_all();
        self.heartbeat_due = true;
        self.state.send_replace(SessionState::Open(self.session_id.clone()));
    }

    fn on_down(&mut self, error: Error, link: &mut SessionLink) -> std::ops::ControlFlow<()> {
        if error.is_session_lost() {
            self.lose(link);
            return std::ops::ControlFlow::Continue(());
        }
        if error.is_refusal() || !self.connection.was_reached() {
            // Who asked for the session hears why; the next local run tries anew.
            self.lose_runs();
            self.state.send_replace(SessionState::Refused(error));
            return std::ops::ControlFlow::Break(());
        }
        tracing::debug!("the session is not connected, and tries again: {error}");
        std::ops::ControlFlow::Continue(())
    }

    /// The service has given this session up. Its runs are lost; a new one is opened for those to come.
    fn lose(&mut self, link: &mut SessionLink) {
        tracing::warn!("session {} was lost, and {} open runs with it", self.session_id, self.runs.len());
        self.lose_runs();
        self.session_id = new_session_id();
        self.state.send_replace(SessionState::Connecting);
        *link = self.link();
    }

    fn lose_runs(&mut self) {
        for (_, open) in self.runs.drain() {
            open.stop.send(Stop::Lost { message: super::lost().message().to_owned() });
        }
        self.reports.clear();
    }

    fn on_message(&mut self, response: SessionResponse, link: &mut SessionLink) {
        match response.message {
            Some(session_response::Message::Outcomes(outcomes)) => {
                for outcome in outcomes.outcomes {
                    self.on_outcome(&outcome);
                }
            }
            Some(session_response::Message::Cancels(cancels)) => {
                for cancel in cancels.cancels {
                    self.on_cancel(cancel);
                }
            }
            Some(session_response::Message::Reconnect(reconnect)) => {
                link.reconnect(clock::duration_of(reconnect.delay.as_ref()).unwrap_or_default());
            }
            Some(session_response::Message::Welcome(_)) | None => {}
        }
    }

    fn on_outcome(&mut self, outcome: &ReportOutcome) {
        let Some((report, reply)) = self.reports.answer(outcome) else { return };
        if let Some(next) = ends::follow_up(&report, outcome) {
            self.reports.push(next, Instant::now(), reply);
            return;
        }
        if let Some(reply) = reply {
            let _ = reply.send(outcome.clone()); // who asked may have gone
        }
        if self.runs.get(&outcome.run_id).is_some_and(|open| report.epoch < open.since_epoch) {
            return;
        }
        let state = outcome.state.as_ref().map_or(proto::StateType::Unspecified, proto::State::r#type);
        let is_start = matches!(report.event, Some(report::Event::Started(_)));
        let goes_on = state == proto::StateType::Scheduled
            || state == proto::StateType::Cancelling
            || ends::stays_after_pause(&report, outcome);
        if outcome.accepted && is_start || goes_on {
            // It goes on: as started, to be retried, or to be ended by the report of the cancel that crossed.
            let Some(open) = self.runs.get_mut(&outcome.run_id) else { return };
            if outcome.accepted && !is_start && state == proto::StateType::Scheduled {
                open.next_epoch = Some(outcome.current_epoch);
                if open.abandoned {
                    self.abandon(outcome.run_id.clone(), outcome.current_epoch);
                }
            }
            return;
        }
        if ends::is_fault(outcome) && self.crash(&report, &outcome.message) {
            return;
        }
        let Some(open) = self.runs.remove(&outcome.run_id) else { return };
        if !outcome.accepted {
            open.stop.send(Stop::Lost { message: outcome.message.clone() });
        }
    }

    /// Where the server has a fault with a report that does not pass, says that the run has crashed: it would stay as it
    /// is for as long as this process lives. False where that was what the report said.
    fn crash(&mut self, report: &proto::Report, fault: &str) -> bool {
        if matches!(report.event, Some(report::Event::Crashed(_))) {
            return false;
        }
        let Some(open) = self.runs.get_mut(&report.run_id) else { return true };
        open.abandoned = true;
        open.stop.send(Stop::Lost { message: fault.to_owned() });
        let cause = format!("the server did not take a report of its process: {fault}");
        let event = Some(report::Event::Crashed(report::Crashed { cause }));
        self.reports.push(proto::Report { event, ..report.clone() }, Instant::now(), None);
        true
    }

    /// Ends a run that nobody executes any more. Where an end of it is on its way, that one's answer comes first.
    fn abandon(&mut self, run_id: String, epoch: u64) {
        let Some(open) = self.runs.get_mut(&run_id) else { return }; // it has ended, or is lost
        if epoch < open.since_epoch {
            return;
        }
        open.abandoned = true;
        if open.uploading || self.reports.has_end_of(&run_id, open.since_epoch) {
            return;
        }
        let epoch = epoch.max(open.epoch());
        let cause = "its process dropped the run before it had ended".to_owned();
        let event = Some(report::Event::Crashed(report::Crashed { cause }));
        self.reports.push(proto::Report { run_id, epoch, event, age: None }, Instant::now(), None);
    }

    fn on_cancel(&self, cancel: proto::Cancel) {
        let Some(open) = self.runs.get(&cancel.run_id).filter(|open| cancel.epoch >= open.epoch()) else {
            return;
        };
        let grace = clock::duration_of(cancel.grace.as_ref()).unwrap_or(Duration::from_secs(30));
        open.stop.send(match cancel.cause() {
            CancelCause::Lost => Stop::Lost { message: cancel.message },
            CancelCause::Requested | CancelCause::Unspecified => {
                Stop::Cancel { message: cancel.message, grace }
            }
        });
    }

    fn on_command(&mut self, command: Command, link: &mut SessionLink) {
        match command {
            Command::Track { run_id, session_id, stop } if session_id == self.session_id => {
                self.runs.insert(run_id, Open::new(stop, 1)); // a run that is made here begins with epoch 1
            }
            Command::Track { stop, .. } => {
                stop.send(Stop::Lost { message: super::lost().message().to_owned() });
            }
            Command::Forget { run_id } => {
                self.runs.remove(&run_id);
            }
            Command::Adopt { asked, found, epoch, reply } => {
                let asked = self.runs.remove(&asked); // gone where the session was lost, which it has been told
                // Where the answer to the end of the earlier attempt is still to come, the run is known, but not by
                // this epoch.
                let is_ours = self.runs.get(&found).is_none_or(|open| open.epoch() < epoch);
                if let Some(open) = asked.filter(|_| is_ours) {
                    let earlier = self.runs.insert(found, Open::new(open.stop, epoch));
                    if let Some(earlier) = earlier {
                        let message = "the run was given to the next attempt of its parent".to_owned();
                        earlier.stop.send(Stop::Lost { message });
                    }
                }
                let _ = reply.send(is_ours); // who asked may have gone
            }
            Command::Abandon { run_id, epoch } => self.abandon(run_id, epoch),
            Command::Report { session_id, report, happened_at, room, reply }
                if session_id == self.session_id =>
            {
                self.report((report, happened_at), room, reply);
            }
            Command::Report { .. } => {} // of a lost session; the dropped reply says so
            Command::Uploaded { session_id, report, reply } => {
                self.n_uploads -= 1;
                if session_id == self.session_id {
                    self.set_uploading(&report, false);
                    // Whatever came of the upload, the attempt has ended only now.
                    self.push(report, Instant::now(), reply);
                }
            }
            Command::Lost { session_id } if session_id == self.session_id => self.lose(link),
            Command::Lost { .. } => {}
            Command::Close { reply } => self.close = Some(reply),
        }
    }

    /// A result that is too large for a message is uploaded before, away from this task and from who reports it. Who
    /// reports it has waited for its room: were the inbox shut instead, no upload could come back.
    fn report(
        &mut self,
        (report, happened_at): (proto::Report, Instant),
        room: Option<UploadRoom>,
        reply: oneshot::Sender<ReportOutcome>,
    ) {
        let is_large = matches!(&report.event, Some(report::Event::Completed(completed))
            if self.transfer.is_large(completed.result.as_ref()));
        let Some(commands) = self.commands.upgrade().filter(|_| is_large) else {
            return self.push(report, happened_at, reply);
        };
        self.set_uploading(&report, true);
        self.n_uploads += 1;
        let (transfer, session_id) = (self.transfer.clone(), self.session_id.clone());
        runtime::spawn(&self.connection.runtime, "result upload", async move {
            let event = match report.event {
                Some(event) => Some(transfer.offload_event(event).await),
                None => None,
            };
            let report = proto::Report { event, ..report };
            drop(room); // a reference is left of the result
            let _ = commands.send(Command::Uploaded { session_id, report, reply }).await; // or it has ended
        });
    }

    fn set_uploading(&mut self, report: &proto::Report, yes: bool) {
        let open = self.runs.get_mut(&report.run_id).filter(|open| open.since_epoch <= report.epoch);
        if let Some(open) = open {
            open.uploading = yes;
        }
    }

    fn push(&mut self, report: proto::Report, happened_at: Instant, reply: oneshot::Sender<ReportOutcome>) {
        let max_payload = self.connection.max_payload();
        let event = report.event.map(|event| ends::bounded(event, max_payload));
        self.reports.push(proto::Report { event, ..report }, happened_at, Some(reply));
    }

    fn next_message(&mut self) -> Option<session_request::Message> {
        if std::mem::take(&mut self.heartbeat_due) {
            return Some(session_request::Message::Heartbeat(proto::SessionHeartbeat {}));
        }
        let reports = self.reports.take(self.max_batch_size);
        (!reports.is_empty()).then_some(session_request::Message::Reports(proto::Reports { reports }))
    }

    async fn say_goodbye(self, mut link: SessionLink) {
        if let Some(outgoing) = link.outgoing() {
            let message = Some(session_request::Message::Goodbye(proto::SessionGoodbye {}));
            let _ = outgoing.send(SessionRequest { message }).await;
            drop(outgoing);
            link.half_close();
            let ended = async { while !matches!(link.next().await, Event::Down(_)) {} };
            let _ = timeout(CLOSING, ended).await;
        }
        if let Some(reply) = self.close {
            let _ = reply.send(());
        }
    }
}

async fn dial(
    connection: Arc<Connection>,
    hello: proto::SessionHello,
) -> Result<Live<SessionRequest, SessionResponse>, Error> {
    // The first call is one that is repeated for a while: a server that is just starting is waited for.
    if !connection.was_reached() {
        connection
            .call(|channel| async move {
                proto::system_service_client::SystemServiceClient::new(channel)
                    .get_version(proto::GetVersionRequest {})
                    .await
            })
            .await?;
    }
    connection.learn_limits().await;
    let (outgoing, requests) = mpsc::channel(OUTGOING);
    let _ = outgoing.try_send(SessionRequest { message: Some(session_request::Message::Hello(hello)) });
    let opening = async {
        let mut client =
            SessionServiceClient::new(connection.api.clone()).max_decoding_message_size(MAX_READ_SIZE);
        let request = connection.request(ReceiverStream::new(requests), Some(""));
        let mut incoming = client.session(request).await?.into_inner();
        let first = incoming.message().await?;
        Ok::<(Streaming<SessionResponse>, Option<SessionResponse>), tonic::Status>((incoming, first))
    };
    let opened = timeout(WELCOME_TIMEOUT, opening).await.map_err(|_| {
        Error::new(ErrorKind::Unavailable, format!("the api did not answer within {WELCOME_TIMEOUT:?}"))
    })?;
    let (incoming, first) = opened.map_err(|status| Error::from_status(&status))?;
    let Some(session_response::Message::Welcome(welcome)) = first.and_then(|response| response.message)
    else {
        return Err(Error::new(ErrorKind::Unavailable, "the api closed the stream instead of a welcome"));
    };
    let terms = Terms::new(
        clock::duration_of(welcome.lease_duration.as_ref()),
        clock::duration_of(welcome.heartbeat_interval.as_ref()),
        welcome.max_batch_size,
    );
    Ok(Live { outgoing, incoming, terms })
}

fn new_session_id() -> String {
    Uuid::now_v7().to_string()
}
