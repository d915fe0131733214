//! The real service on a loopback port with the delivery state in memory; a fake api; and workers of a few
//! lines.
#![allow(clippy::unwrap_used, dead_code, reason = "tests only; not every test file uses all of it")]

pub mod fake_api;
pub mod observed;

use std::{sync::Arc, time::Duration};

use fake_api::FakeApi;
use tidegate_delivery::Delivery as DeliveryPort;
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_model::{Clock, RunId, SystemClock};
use tidegate_proto::{
    internal::{
        CancelRunsRequest, CancelledRun, CheckLeasesRequest, Delivery, DescribeDeliveryRequest,
        DescribeDeliveryResponse, EnqueueRunsRequest, LeaseQuestion,
        delivery_service_client::DeliveryServiceClient, run_engine_service_server::RunEngineServiceServer,
    },
    v1::{
        Assign, Cancel, Credits, Function, Heartbeat, HeldRun, Hello, Hindrance, Payload, Report,
        ReportOutcome, Reports, RunKind, WorkRequest, WorkResponse, report::Event, work_request,
        work_response, worker_service_client::WorkerServiceClient,
    },
};
use tidegate_service_kit::{GrpcRoutes, HumanDuration, Supervisor, channel, serve_grpc};
use tidegate_task_queue::Config;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Where the end of a lease is waited for.
pub const LEASE: Duration = Duration::from_millis(1_500);
/// Where a lease is to be kept: a busy machine may hold up a heartbeat by seconds.
pub const KEPT_LEASE: Duration = Duration::from_secs(5);

pub struct Suite {
    pub api: Arc<FakeApi>,
    pub delivery: Arc<MemoryDelivery>,
    pub deliveries: DeliveryServiceClient<Channel>,
    pub channel: Channel,
    pub tasks: Supervisor,
    config: Config,
    engine: Channel,
    /// The api is a process of its own: it outlives the service.
    api_tasks: Supervisor,
}

/// Another replica of the service, on the same delivery state.
pub struct Replica {
    pub deliveries: DeliveryServiceClient<Channel>,
    pub channel: Channel,
    pub tasks: Supervisor,
}

pub fn config() -> Config {
    let mut config = Config::default();
    // Longer than any test: most workers here send no heartbeats, and one that is silent for a lease gets nothing.
    config.lease.duration = HumanDuration::new(6 * PATIENCE);
    config.lease.heartbeat_interval = HumanDuration::new(LEASE / 5);
    config.lease.sweep_interval = HumanDuration::new(Duration::from_millis(20));
    // Far away, so that a test that passes has not waited for the poll.
    config.assign.poll_interval = HumanDuration::new(Duration::from_secs(60));
    config.assign.patience = HumanDuration::new(Duration::from_millis(200));
    config.drain.spread = HumanDuration::new(Duration::ZERO);
    // Most tests leave their workers behind.
    config.drain.streams = HumanDuration::new(Duration::from_millis(20));
    config
}

/// The same with a lease whose end a test may see.
pub fn leased_for(lease: Duration) -> Config {
    let mut config = config();
    config.lease.duration = HumanDuration::new(lease);
    config
}

pub async fn start() -> Suite {
    start_with(config()).await
}

pub async fn start_with(config: Config) -> Suite {
    let tasks = Supervisor::with_grace(PATIENCE);
    start_on(config, |delivery| delivery, Arc::new(SystemClock), tasks).await
}

/// The service on what `wrap` makes of the delivery state, on a machine with this clock.
pub async fn start_on<D: DeliveryPort>(
    config: Config,
    wrap: impl FnOnce(Arc<MemoryDelivery>) -> Arc<D>,
    clock: Arc<dyn Clock>,
    tasks: Supervisor,
) -> Suite {
    let api = Arc::new(FakeApi::default());
    let mut grpc = GrpcRoutes::new();
    grpc.add(RunEngineServiceServer::from_arc(Arc::clone(&api)));
    let (engine, api_tasks) = serve(grpc, Supervisor::with_grace(PATIENCE)).await;

    let delivery = Arc::new(MemoryDelivery::new(Arc::new(SystemClock)));
    let state = wrap(Arc::clone(&delivery));
    let Replica { deliveries, channel, tasks } = replica(&config, state, &engine, clock, tasks).await;
    Suite { api, delivery, deliveries, channel, tasks, config, engine, api_tasks }
}

async fn replica(
    config: &Config,
    state: Arc<dyn DeliveryPort>,
    engine: &Channel,
    clock: Arc<dyn Clock>,
    tasks: Supervisor,
) -> Replica {
    let mut grpc = GrpcRoutes::new();
    let starting =
        tidegate_task_queue::start_with_clock(config, state, engine.clone(), clock, &tasks, &mut grpc);
    starting.await.unwrap();
    let (channel, tasks) = serve(grpc, tasks).await;
    Replica { deliveries: DeliveryServiceClient::new(channel.clone()), channel, tasks }
}

async fn serve(grpc: GrpcRoutes, tasks: Supervisor) -> (Channel, Supervisor) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    serve_grpc(listener, grpc, &[], &tasks).await.unwrap();
    (channel, tasks)
}

impl Suite {
    /// Another replica of the service.
    pub async fn replica(&self) -> Replica {
        self.replica_with_clock(Arc::new(SystemClock)).await
    }

    /// The same on a machine with this clock.
    pub async fn replica_with_clock(&self, clock: Arc<dyn Clock>) -> Replica {
        let state = Arc::clone(&self.delivery) as _;
        replica(&self.config, state, &self.engine, clock, Supervisor::with_grace(PATIENCE)).await
    }

    /// Creates a run and enqueues it, as api does.
    pub async fn enqueue(&mut self, kind: RunKind, name: &str, priority: i32) -> RunId {
        let run_id = self.api.create(kind, name);
        self.enqueue_again(run_id, kind, name, priority).await;
        run_id
    }

    pub async fn describe(&mut self, run_id: RunId, name: &str) -> DescribeDeliveryResponse {
        let delivery = Delivery {
            namespace: "default".to_owned(),
            queue: "default".to_owned(),
            kind: RunKind::Task.into(),
            name: name.to_owned(),
            run_id: run_id.to_string(),
            ..Delivery::default()
        };
        let request = DescribeDeliveryRequest { delivery: Some(delivery) };
        self.deliveries.describe_delivery(request).await.unwrap().into_inner()
    }

    pub async fn enqueue_again(&mut self, run_id: RunId, kind: RunKind, name: &str, priority: i32) {
        self.enqueue_in("default", run_id, kind, name, priority).await;
    }

    /// A task in a queue of its own.
    pub async fn task_in(&mut self, queue: &str, name: &str) -> RunId {
        let run_id = self.api.create(RunKind::Task, name);
        self.enqueue_in(queue, run_id, RunKind::Task, name, 0).await;
        run_id
    }

    /// Tasks of one name, in the largest batches.
    pub async fn enqueue_all(&mut self, runs: &[RunId], name: &str) {
        for runs in runs.chunks(1_000) {
            let delivery = |run_id: &RunId| self.delivery_of("default", *run_id, RunKind::Task, name, 0);
            let deliveries = runs.iter().map(delivery).collect();
            self.deliveries.enqueue_runs(EnqueueRunsRequest { deliveries }).await.unwrap();
        }
    }

    async fn enqueue_in(&mut self, queue: &str, run_id: RunId, kind: RunKind, name: &str, priority: i32) {
        let deliveries = vec![self.delivery_of(queue, run_id, kind, name, priority)];
        self.deliveries.enqueue_runs(EnqueueRunsRequest { deliveries }).await.unwrap();
    }

    fn delivery_of(&self, queue: &str, run_id: RunId, kind: RunKind, name: &str, priority: i32) -> Delivery {
        Delivery {
            namespace: "default".to_owned(),
            queue: queue.to_owned(),
            kind: kind.into(),
            name: name.to_owned(),
            run_id: run_id.to_string(),
            epoch: self.api.epoch(run_id),
            priority,
            due_at: Some(self.api.due_at(run_id)),
            ..Delivery::default()
        }
    }

    pub async fn task(&mut self, name: &str) -> RunId {
        self.enqueue(RunKind::Task, name, 0).await
    }

    pub async fn cancel(&mut self, run_id: RunId, name: &str) {
        self.stop(run_id, name, Some(prost_types::Duration { seconds: 7, nanos: 0 })).await;
    }

    /// Without a grace: the run was taken away from its worker.
    pub async fn stop(&mut self, run_id: RunId, name: &str, grace: Option<prost_types::Duration>) {
        let run = CancelledRun {
            namespace: "default".to_owned(),
            queue: "default".to_owned(),
            run_id: run_id.to_string(),
            epoch: self.api.epoch(run_id),
            grace,
            message: "asked by a test".to_owned(),
            kind: RunKind::Task.into(),
            name: name.to_owned(),
            ..CancelledRun::default()
        };
        self.deliveries.cancel_runs(CancelRunsRequest { runs: vec![run] }).await.unwrap();
    }

    pub async fn is_leased(&mut self, run_id: &str, epoch: u64) -> bool {
        let question = LeaseQuestion {
            namespace: "default".to_owned(),
            queue: "default".to_owned(),
            run_id: run_id.to_owned(),
            epoch,
        };
        let request = CheckLeasesRequest { questions: vec![question] };
        self.deliveries.check_leases(request).await.unwrap().into_inner().leased == [true]
    }

    /// Waits until leases are judged: nothing is called lost before.
    pub async fn until_judging(&mut self) {
        let nobody = RunId::new().to_string();
        timeout(PATIENCE, async {
            while self.is_leased(&nobody, 1).await {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("leases are judged");
    }

    pub async fn until_nothing_is_kept(&self) {
        timeout(PATIENCE, async {
            while self.delivery.footprint() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the delivery state is empty");
    }

    /// Asks the delivery state itself: a state that is young says that all is leased through the rpc.
    pub async fn until_leased(&self, assign: &Assign) {
        let held = tidegate_delivery::Held {
            run_id: assign.run_id.parse().unwrap(),
            epoch: tidegate_model::Epoch(assign.epoch),
        };
        let queue = tidegate_delivery::QueueId {
            namespace: tidegate_model::Namespace::default(),
            queue: tidegate_model::QueueName::default(),
        };
        let question = tidegate_delivery::LeaseQuestion { queue, held };
        timeout(PATIENCE, async {
            while self.delivery.check(std::slice::from_ref(&question)).await.unwrap() != [true] {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the run is leased");
    }

    pub async fn worker(&self, id: &str, tasks: &[&str]) -> Worker {
        Worker::open(self, hello(id, tasks)).await
    }

    pub async fn end(self) {
        self.tasks.stop();
        self.tasks.finished(PATIENCE).await.unwrap();
        self.api_tasks.stop();
        self.api_tasks.finished(PATIENCE).await.unwrap();
    }
}

pub fn hello(id: &str, tasks: &[&str]) -> Hello {
    let task = |name: &&str| Function { kind: RunKind::Task.into(), name: (*name).to_owned() };
    Hello {
        protocol_version: 1,
        namespace: String::new(),
        worker_id: id.to_owned(),
        queues: vec!["default".to_owned()],
        functions: tasks.iter().map(task).collect(),
        sdk: "test/0".to_owned(),
        ..Hello::default()
    }
}

/// A worker that does what a test says.
pub struct Worker {
    requests: Option<mpsc::Sender<WorkRequest>>,
    responses: Streaming<WorkResponse>,
}

impl Worker {
    pub async fn open(suite: &Suite, hello: Hello) -> Self {
        Self::open_at(&suite.channel, hello).await
    }

    /// On this replica.
    pub async fn open_at(channel: &Channel, hello: Hello) -> Self {
        let mut worker = Self::first(channel, work_request::Message::Hello(hello)).await;
        let welcome = worker.next().await.unwrap();
        assert!(matches!(welcome, Some(work_response::Message::Welcome(_))), "{welcome:?}");
        worker
    }

    /// Whatever comes first.
    pub async fn open_with(suite: &Suite, first: work_request::Message) -> Self {
        Self::first(&suite.channel, first).await
    }

    async fn first(channel: &Channel, first: work_request::Message) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        requests.try_send(WorkRequest { message: Some(first) }).unwrap();
        let mut client = WorkerServiceClient::new(channel.clone());
        let responses = client.work(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { requests: Some(requests), responses }
    }

    pub async fn say(&self, message: work_request::Message) {
        let request = WorkRequest { message: Some(message) };
        // A stream that the service has ended takes nothing more.
        let _ = self.requests.as_ref().unwrap().send(request).await;
    }

    pub async fn credits(&self, tasks: u32, flows: u32) {
        self.say(work_request::Message::Credits(Credits { tasks, flows })).await;
    }

    pub async fn heartbeat(&self, held: &[&Assign]) {
        self.heartbeat_with(held, Vec::new()).await;
    }

    /// One that says what keeps runs from beginning.
    pub async fn heartbeat_with(&self, held: &[&Assign], hindrances: Vec<Hindrance>) {
        let runs = held.iter().map(|run| HeldRun { run_id: run.run_id.clone(), epoch: run.epoch }).collect();
        self.say(work_request::Message::Heartbeat(Heartbeat { runs, hindrances, is_draining: false })).await;
    }

    pub async fn report(&self, assign: &Assign, event: Event) {
        self.report_late(assign, event, None).await;
    }

    /// Of what happened so long ago.
    pub async fn report_late(&self, assign: &Assign, event: Event, age: Option<prost_types::Duration>) {
        let (run_id, epoch) = (assign.run_id.clone(), assign.epoch);
        let report = Report { run_id, epoch, event: Some(event), age };
        self.say(work_request::Message::Reports(Reports { reports: vec![report] })).await;
    }

    /// Reports, and waits for the outcome.
    pub async fn settle(&mut self, assign: &Assign, event: Event) -> ReportOutcome {
        self.report(assign, event).await;
        self.outcome().await
    }

    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<work_response::Message>, Status> {
        let message = timeout(PATIENCE, self.responses.message()).await.expect("a message in time")?;
        Ok(message.map(|message| message.message.unwrap()))
    }

    /// How the stream ends, whatever else comes before.
    pub async fn end(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// The next assignments.
    pub async fn assigned(&mut self) -> Vec<Assign> {
        match self.next().await.unwrap() {
            Some(work_response::Message::Assignments(assignments)) => assignments.assigns,
            other => panic!("assignments, not {other:?}"),
        }
    }

    /// So many assignments, in however many messages.
    pub async fn assigned_n(&mut self, n_runs: usize) -> Vec<Assign> {
        let mut assigns = Vec::new();
        while assigns.len() < n_runs {
            assigns.extend(self.assigned().await);
        }
        assert_eq!(assigns.len(), n_runs);
        assigns
    }

    pub async fn outcome(&mut self) -> ReportOutcome {
        match self.next().await.unwrap() {
            Some(work_response::Message::Outcomes(outcomes)) => {
                let [outcome] = outcomes.outcomes.as_slice() else { panic!("{outcomes:?}") };
                outcome.clone()
            }
            other => panic!("outcomes, not {other:?}"),
        }
    }

    pub async fn cancelled(&mut self) -> Cancel {
        match self.next().await.unwrap() {
            Some(work_response::Message::Cancels(cancels)) => {
                let [cancel] = cancels.cancels.as_slice() else { panic!("{cancels:?}") };
                cancel.clone()
            }
            other => panic!("cancels, not {other:?}"),
        }
    }

    /// Nothing has been sent but the answer to a heartbeat's question about an unknown run: a way to see,
    /// without a pause, that no assignment was on its way.
    pub async fn nothing_else_came(&mut self) {
        let unknown = Assign { run_id: RunId::new().to_string(), epoch: 1, ..Assign::default() };
        self.heartbeat(&[&unknown]).await;
        assert_eq!(self.cancelled().await.run_id, unknown.run_id);
    }
}

pub fn started() -> Event {
    Event::Started(tidegate_proto::v1::report::Started {})
}

pub fn completed() -> Event {
    Event::Completed(tidegate_proto::v1::report::Completed::default())
}

/// With a result that api puts into object storage.
pub fn completed_large() -> Event {
    let result = Payload { data: vec![b'1'; 100 << 10].into(), ..Payload::default() };
    Event::Completed(tidegate_proto::v1::report::Completed { result: Some(result), ..Default::default() })
}

pub fn cancelled() -> Event {
    Event::Cancelled(tidegate_proto::v1::report::Cancelled {})
}
