use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream::FuturesOrdered};
use tidegate_engine::{Engine, EngineError};
use tidegate_model::{ErrorCode, Reason, ServiceError, SessionId, limits};
use tidegate_orchestration::{Holder, StateType};
use tidegate_payload::Payloads;
use tidegate_proto::v1::{self, session_request, session_response, session_service_server::SessionService};
use tidegate_store::{EventRow, Session};
use tidegate_wire::{Violations, duration_to_proto, invalid, invalid_field, namespace, to_status};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    SessionConfig,
    outcome::{Order, report_all},
};

/// The version of the protocol that this service speaks.
const PROTOCOL_VERSION: u32 = 1;
/// How often a session looks for cancels itself, behind the wake-ups, which may be lost.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Batches of reports under way for one stream; beyond that it is not read.
const MAX_BATCHES: usize = 8;

/// `SessionService` over an engine.
pub(crate) struct Service {
    engine: Engine,
    payloads: Payloads,
    config: SessionConfig,
    stop: CancellationToken,
    streams: TaskTracker,
}

impl Service {
    pub fn new(engine: Engine, payloads: Payloads, config: SessionConfig, stop: CancellationToken) -> Self {
        Self { engine, payloads, config, stop, streams: TaskTracker::new() }
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = self.stop.run_until_cancelled(timeout(*self.config.lease_duration, inbound.message()));
        let first = match hello.await {
            None => return Err(to_status(&EngineError::Draining)),
            Some(Err(_)) => {
                return Err(invalid_field("hello", "did not come in time; it is the first message"));
            }
            Some(Ok(first)) => first?.and_then(|request| request.message),
        };
        let Some(session_request::Message::Hello(hello)) = first else {
            return Err(invalid_field("hello", "is missing: the first message introduces the process"));
        };
        let session = parse_hello(hello)?;
        // Subscribed before the session is opened, so that no cancel falls between.
        let stops = self.engine.session_stops();
        let (sender, receiver) = mpsc::channel(64);
        let mut actor = Actor {
            engine: self.engine.clone(),
            payloads: self.payloads.clone(),
            config: self.config.clone(),
            session,
            sender,
            stops,
            order: Order::default(),
        };
        actor.renew().await?;
        let welcome = session_response::Message::Welcome(v1::SessionWelcome {
            lease_duration: Some(duration_to_proto(*self.config.lease_duration)),
            heartbeat_interval: Some(duration_to_proto(*self.config.heartbeat_interval)),
            max_batch_size: u32::try_from(limits::MAX_BATCH_SIZE).unwrap_or(u32::MAX),
        });
        actor.send(welcome).await;
        // What was cancelled while the process had no stream.
        actor.poll_stops().await?;
        let stop = self.stop.clone();
        self.streams.spawn(async move {
            if let Err(status) = actor.run(inbound, stop).await {
                let _ = actor.sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn parse_hello(hello: v1::SessionHello) -> Result<Session, Status> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(to_status(&UnknownProtocol { asked: hello.protocol_version }));
    }
    let namespace = namespace(&hello.namespace)?;
    let mut violations = Violations::below("hello.");
    let id: Option<SessionId> = violations.parse("session_id", &hello.session_id);
    if hello.identity.len() > limits::MAX_NAME_SIZE {
        violations.add(
            "identity",
            format!("has {} bytes; at most {} are allowed", hello.identity.len(), limits::MAX_NAME_SIZE),
        );
    }
    match id {
        Some(id) if violations.is_empty() => {
            let expires_at = id.created_at();
            Ok(Session { id, namespace, identity: hello.identity, expires_at })
        }
        _ => Err(invalid(violations.into_vec())),
    }
}

/// One stream.
struct Actor {
    engine: Engine,
    payloads: Payloads,
    config: SessionConfig,
    session: Session,
    sender: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    stops: broadcast::Receiver<Arc<EventRow>>,
    order: Order,
}

impl Actor {
    async fn run(
        &mut self,
        mut inbound: Streaming<v1::SessionRequest>,
        stop: CancellationToken,
    ) -> Result<(), Status> {
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        polls.reset();
        let mut renewals = interval(*self.config.heartbeat_interval);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesOrdered::new();
        // Reports that were read are answered before the stream ends.
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled(), if is_open => {
                    is_open = false;
                    let delay = Some(duration_to_proto(Duration::from_millis(500).mul_f64(0.5 + rand::random::<f64>())));
                    self.send(session_response::Message::Reconnect(v1::Reconnect { delay })).await;
                }
                Some(outcomes) = under_way.next(), if !under_way.is_empty() => self.answer(outcomes).await,
                message = inbound.message(), if is_open && under_way.len() < MAX_BATCHES => {
                    match message?.map(|request| request.message) {
                        None => is_open = false,
                        Some(Some(session_request::Message::Reports(reports))) => {
                            under_way.push_back(self.report(reports)?);
                        }
                        Some(Some(session_request::Message::Heartbeat(_))) => self.renew().await?,
                        Some(Some(session_request::Message::Goodbye(_))) => {
                            while let Some(outcomes) = under_way.next().await {
                                self.answer(outcomes).await;
                            }
                            return self.end().await;
                        }
                        Some(Some(session_request::Message::Hello(_))) => {
                            return Err(invalid_field("hello", "comes a second time: it is the first message only"));
                        }
                        Some(None) => return Err(invalid_field("message", "is not set")),
                    }
                }
                event = self.stops.recv() => match event {
                    Ok(event) => self.forward_stop(&event).await?,
                    // Some were missed: look for them.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.poll_stops().await?,
                    Err(broadcast::error::RecvError::Closed) => return Err(to_status(&EngineError::Draining)),
                },
                // Its heartbeats are behind reports that are not read because of us, so that its silence says nothing. It
                // cannot last: each batch is answered within seconds.
                _ = renewals.tick(), if is_open && under_way.len() >= MAX_BATCHES => self.renew().await?,
                _ = polls.tick() => self.poll_stops().await?,
            }
        }
        Ok(())
    }

    fn report(
        &mut self,
        reports: v1::Reports,
    ) -> Result<impl Future<Output = Vec<v1::ReportOutcome>> + Send + use<>, Status> {
        let reports = reports.reports;
        if reports.len() > limits::MAX_BATCH_SIZE {
            let message =
                format!("has {} items; at most {} are allowed", reports.len(), limits::MAX_BATCH_SIZE);
            return Err(invalid_field("reports", message));
        }
        let namespace = &self.session.namespace;
        let reports = reports.into_iter().map(|report| (Ok(namespace.clone()), report)).collect();
        Ok(report_all(&self.engine, &self.payloads, &mut self.order, reports))
    }

    async fn answer(&mut self, outcomes: Vec<v1::ReportOutcome>) {
        self.send(session_response::Message::Outcomes(v1::ReportOutcomes { outcomes })).await;
    }

    /// Opens or renews the session.
    async fn renew(&mut self) -> Result<(), Status> {
        let now = self.engine.clock().now();
        self.session.expires_at = now + *self.config.lease_duration;
        let is_alive =
            self.engine.store().put_session(&self.session).await.map_err(|error| to_status(&error))?;
        if is_alive { Ok(()) } else { Err(to_status(&EngineError::SessionLost)) }
    }

    async fn end(&mut self) -> Result<(), Status> {
        let Session { namespace, id, .. } = &self.session;
        self.engine.store().end_session(namespace, *id).await.map_err(|error| to_status(&error))
    }

    async fn forward_stop(&mut self, event: &EventRow) -> Result<(), Status> {
        if event.holder != Some(Holder::Session(self.session.id)) {
            return Ok(());
        }
        if event.state_type == StateType::Cancelling {
            return self.poll_stops().await;
        }
        // Taken away before it ran, or while it waited for a retry: it was held under the epoch before this one.
        let cancel = v1::Cancel {
            run_id: event.run_id.to_string(),
            epoch: event.epoch.0.saturating_sub(1),
            cause: v1::CancelCause::Lost.into(),
            message: event.message.clone(),
            grace: None,
        };
        self.send_cancels(vec![cancel]).await;
        Ok(())
    }

    /// Sends what the store has as CANCELLING. The process knows what it was told before.
    async fn poll_stops(&mut self) -> Result<(), Status> {
        let store = self.engine.store();
        let runs = store
            .cancelling_runs(self.session.id, limits::MAX_BATCH_SIZE)
            .await
            .map_err(|error| to_status(&error))?;
        if runs.is_empty() {
            return Ok(());
        }
        let cancels = runs
            .into_iter()
            .map(|run| v1::Cancel {
                run_id: run.id.to_string(),
                epoch: run.epoch.0,
                cause: v1::CancelCause::Requested.into(),
                message: run.state.message,
                grace: Some(duration_to_proto(run.policies.cancel_grace)),
            })
            .collect();
        self.send_cancels(cancels).await;
        Ok(())
    }

    async fn send_cancels(&self, cancels: Vec<v1::Cancel>) {
        self.send(session_response::Message::Cancels(v1::Cancels { cancels })).await;
    }

    /// A process that does not read is not waited for longer than its lease.
    async fn send(&self, message: session_response::Message) {
        let response = v1::SessionResponse { message: Some(message) };
        let deadline = Instant::now() + *self.config.lease_duration;
        let _ = tokio::time::timeout_at(deadline, self.sender.send(Ok(response))).await;
    }
}

#[derive(Debug, thiserror::Error)]
#[error("hello.protocol_version is {asked}; this service speaks {PROTOCOL_VERSION}: use a matching SDK")]
struct UnknownProtocol {
    asked: u32,
}

impl ServiceError for UnknownProtocol {
    fn code(&self) -> ErrorCode {
        ErrorCode::FailedPrecondition
    }

    fn reason(&self) -> Reason {
        Reason::ProtocolVersion
    }
}
