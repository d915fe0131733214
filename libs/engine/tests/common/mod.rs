//! An engine over a SQLite store, with a clock that the test moves and a delivery that only takes notes.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tidegate_engine::{
    Create, Created, DeliveryFacts, Dispatch, DispatchError, Engine, EngineError, LeaseQuestion, Operated,
    Operation, Options, QueueDepth, QueueTraffic, Standing, StopOrder,
};
use tidegate_model::{
    Clock, Epoch, Namespace, Payload, QueueName, RunId, RunKind, SessionId, Timestamp, WorkPoolName, Worker,
    WorkerId,
};
use tidegate_orchestration::{Draft, Event, Holder, Placement, Run};
use tidegate_store::{RunStore, Session};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::ManualClock;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// A delivery that takes notes.
#[derive(Default)]
pub struct Notes {
    pub enqueued: Mutex<Vec<(RunId, Epoch)>>,
    pub stopped: Mutex<Vec<StopOrder>>,
    /// While true every call fails.
    pub is_down: std::sync::atomic::AtomicBool,
    /// What `check_leases` answers.
    pub has_leases: std::sync::atomic::AtomicBool,
    /// What `describe` answers; `None`: that nothing is known.
    pub facts: Mutex<Option<DeliveryFacts>>,
    /// What `describe_queue` answers; `None`: that nothing is there.
    pub traffic: Mutex<Option<QueueTraffic>>,
    /// What `list_queues` answers, those after the one that is named.
    pub in_use: Mutex<Vec<(QueueName, QueueDepth)>>,
    /// The queues of which it was told that they are resumed.
    pub resumed: Mutex<Vec<QueueName>>,
    pub resumed_pools: Mutex<Vec<WorkPoolName>>,
    /// The live workers; one that is drained is noted in `drained`.
    pub live: Mutex<Vec<WorkerId>>,
    pub drained: Mutex<Vec<WorkerId>>,
    pub changed: tokio::sync::Notify,
}

impl Notes {
    fn check(&self) -> Result<(), DispatchError> {
        if self.is_down.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(DispatchError { cause: "down for the test".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Dispatch for Notes {
    async fn enqueue(&self, runs: &[Run]) -> Result<(), DispatchError> {
        self.check()?;
        self.enqueued
            .lock()
            .expect("no test panicked with it")
            .extend(runs.iter().map(|run| (run.id, run.epoch)));
        self.changed.notify_waiters();
        Ok(())
    }

    async fn stop(&self, orders: &[StopOrder]) -> Result<(), DispatchError> {
        self.check()?;
        self.stopped.lock().expect("no test panicked with it").extend_from_slice(orders);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn check_leases(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, DispatchError> {
        self.check()?;
        Ok(vec![self.has_leases.load(std::sync::atomic::Ordering::SeqCst); questions.len()])
    }

    async fn describe(&self, _run: &Run) -> Result<DeliveryFacts, DispatchError> {
        self.check()?;
        let facts = self.facts.lock().expect("no test panicked with it").clone();
        Ok(facts.unwrap_or(DeliveryFacts {
            standing: Standing::Unknown,
            n_workers: 0,
            n_free_slots: 0,
            n_serving: 0,
        }))
    }

    async fn describe_queue(
        &self,
        _namespace: &Namespace,
        _queue: &QueueName,
    ) -> Result<QueueTraffic, DispatchError> {
        self.check()?;
        Ok(self.traffic.lock().expect("no test panicked with it").unwrap_or_default())
    }

    async fn list_queues(
        &self,
        _namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<(QueueName, QueueDepth)>, DispatchError> {
        self.check()?;
        let in_use = self.in_use.lock().expect("no test panicked with it").clone();
        let is_after = |(name, _): &(QueueName, QueueDepth)| after.is_none_or(|after| name > after);
        Ok(in_use.into_iter().filter(is_after).take(limit).collect())
    }

    async fn queue_resumed(&self, _namespace: &Namespace, queue: &QueueName) -> Result<(), DispatchError> {
        self.check()?;
        self.resumed.lock().expect("no test panicked with it").push(queue.clone());
        self.changed.notify_waiters();
        Ok(())
    }

    async fn work_pool_resumed(
        &self,
        _namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<(), DispatchError> {
        self.check()?;
        self.resumed_pools.lock().expect("no test panicked with it").push(work_pool.clone());
        Ok(())
    }

    async fn count_pool_workers(
        &self,
        _namespace: &Namespace,
        _work_pool: &WorkPoolName,
    ) -> Result<u32, DispatchError> {
        self.check()?;
        Ok(2)
    }

    async fn list_workers(
        &self,
        _namespace: &Namespace,
        _work_pool: Option<&WorkPoolName>,
        _after: Option<&WorkerId>,
        _limit: usize,
    ) -> Result<Vec<Worker>, DispatchError> {
        self.check()?;
        Ok(Vec::new())
    }

    async fn drain_worker(
        &self,
        _namespace: &Namespace,
        worker_id: &WorkerId,
    ) -> Result<bool, DispatchError> {
        self.check()?;
        let is_live = self.live.lock().expect("no test panicked with it").contains(worker_id);
        if is_live {
            self.drained.lock().expect("no test panicked with it").push(worker_id.clone());
        }
        Ok(is_live)
    }

    async fn born_at(&self) -> Result<Timestamp, DispatchError> {
        self.check()?;
        Ok(Timestamp::UNIX_EPOCH)
    }
}

pub struct Fixture {
    pub engine: Engine,
    pub clock: Arc<ManualClock>,
    pub notes: Arc<Notes>,
    pub store: Arc<dyn RunStore>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Fixture {
    pub async fn new() -> Self {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
        Self::over(store)
    }

    /// Over this store.
    pub fn over(store: Arc<dyn RunStore>) -> Self {
        Self::with(store, options())
    }

    /// With these options.
    pub fn with(store: Arc<dyn RunStore>, options: Options) -> Self {
        let (clock, notes) = (Arc::new(ManualClock::new()), Arc::new(Notes::default()));
        let mut tasks = JoinSet::new();
        let engine = start_with(
            Arc::clone(&store),
            Arc::clone(&notes),
            Arc::clone(&clock) as Arc<dyn Clock>,
            options,
            &mut tasks,
        );
        let stop = CancellationToken::new();
        tasks.spawn(engine.clone().run_feed(stop.clone()));
        Self { engine, clock, notes, store, stop, _tasks: tasks }
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A session that is open for 15 s.
    pub async fn session(&self) -> SessionId {
        self.session_in(&Namespace::default()).await
    }

    /// One in this namespace.
    pub async fn session_in(&self, namespace: &Namespace) -> SessionId {
        let now = self.clock.now();
        let session = Session {
            id: SessionId::new(),
            namespace: namespace.clone(),
            identity: "host:1".to_owned(),
            expires_at: now + Duration::from_secs(15),
        };
        assert!(self.store.put_session(&session).await.expect("the store answers"));
        session.id
    }

    pub async fn create(&self, create: Create) -> Result<Created, EngineError> {
        self.engine.create(create).await
    }

    /// A queued run that is there.
    pub async fn queued(&self) -> Run {
        self.create(task()).await.expect("is created").run
    }

    /// A child that is there.
    pub async fn child_of(&self, parent: &Run) -> Run {
        let mut create = task();
        create.draft.parent = Some(parent.id);
        self.create(create).await.expect("is created").run
    }

    pub async fn claim(&self, run: &Run, worker: &str) -> Result<Operated, EngineError> {
        let holder = Holder::Worker(worker.parse().expect("is a worker id"));
        let namespace = Namespace::default();
        self.engine.operate(Operation::Claim { namespace, run_id: run.id, epoch: run.epoch, holder }).await
    }

    pub async fn report(&self, run: &Run, event: Event) -> Result<Operated, EngineError> {
        self.report_with(run, event, None).await
    }

    pub async fn report_with(
        &self,
        run: &Run,
        event: Event,
        result: Option<Payload>,
    ) -> Result<Operated, EngineError> {
        let (namespace, run_id, epoch) = (Namespace::default(), run.id, run.epoch);
        let report = Operation::Report { namespace, run_id, epoch, event, happened_at: None, result };
        self.engine.operate(report).await
    }

    /// Of what happened so long ago.
    pub async fn report_late(&self, run: &Run, event: Event, age: Duration) -> Result<Operated, EngineError> {
        let (namespace, run_id, epoch) = (Namespace::default(), run.id, run.epoch);
        let happened_at = Some(self.clock.now() - age);
        let report = Operation::Report { namespace, run_id, epoch, event, happened_at, result: None };
        self.engine.operate(report).await
    }

    /// Claims and starts.
    pub async fn start(&self, run: &Run) -> Run {
        let claimed = self.claim(run, "w").await.expect("is claimed").run;
        self.report(&claimed, Event::Started).await.expect("is started").run
    }

    pub async fn cancel(&self, run: &Run) -> Operated {
        let (namespace, reason) = (Namespace::default(), "enough".to_owned());
        self.engine
            .operate(Operation::Cancel { namespace, run_id: run.id, reason, actor: Some("ada".to_owned()) })
            .await
            .expect("can be cancelled")
    }

    pub async fn get(&self, run: &Run) -> Run {
        self.engine.get(&Namespace::default(), run.id).await.expect("is there").run
    }

    /// `state/name` of a run.
    pub async fn state(&self, run: &Run) -> String {
        let run = self.get(run).await;
        format!("{}/{}", run.state.state_type(), run.state.name)
    }

    /// The numbers and states of its history.
    pub async fn history(&self, run: &Run) -> Vec<(u64, String)> {
        let events = self.store.list_events(&Namespace::default(), run.id, 0, 1_000).await.expect("reads");
        events
            .into_iter()
            .map(|event| (event.seq, format!("{}/{}", event.state_type, event.state_name)))
            .collect()
    }

    /// Waits until the notes of the delivery say so.
    pub async fn until_noted(&self, is_so: impl Fn(&Notes) -> bool) {
        let wait = async {
            loop {
                let changed = self.notes.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_so(&self.notes) {
                    return;
                }
                changed.await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.expect("the delivery is told in time");
    }
}

/// An engine whose background runs in `tasks`.
pub fn start_engine(
    store: Arc<dyn RunStore>,
    notes: Arc<Notes>,
    clock: Arc<dyn Clock>,
    tasks: &mut JoinSet<()>,
) -> Engine {
    start_with(store, notes, clock, options(), tasks)
}

/// In which nobody looks for itself before it is woken.
pub fn options() -> Options {
    Options { lease_poll_interval: Duration::from_secs(3_600), ..Options::default() }
}

fn start_with(
    store: Arc<dyn RunStore>,
    notes: Arc<Notes>,
    clock: Arc<dyn Clock>,
    options: Options,
    tasks: &mut JoinSet<()>,
) -> Engine {
    let (engine, background) = Engine::new(store, notes, clock, options);
    for (_, task) in background {
        tasks.spawn(task);
    }
    engine
}

/// A task for the default queue.
pub fn task() -> Create {
    Create {
        draft: Draft::new(
            RunId::new(),
            RunKind::Task,
            "resize".parse().expect("is a name"),
            Placement::Queue(QueueName::default()),
        ),
        parameters: None,
        params_hash: [0; 32],
        idempotency_key: None,
        use_existing: false,
        refresh_cache: false,
        schedule: None,
        is_child_call: false,
        parent_epoch: None,
        actor: None,
        job: None,
        deploy: None,
    }
}

/// A task with an idempotency key.
pub fn keyed_task(key: &str) -> Create {
    Create { idempotency_key: Some(key.to_owned()), ..task() }
}
