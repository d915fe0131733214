//! The way from a commit to delivery, where delivery is slow.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{Fixture, Notes, task};
use futures::future::join_all;
use tidegate_engine::{
    Create, DeliveryFacts, Dispatch, DispatchError, Engine, LeaseQuestion, Options, QueueDepth, QueueTraffic,
    StopOrder,
};
use tidegate_model::{Namespace, QueueName, RunId, Timestamp, WorkPoolName, Worker, WorkerId};
use tidegate_orchestration::Run;
use tidegate_store::{LimitKey, RunStore};
use tidegate_store_sqlite::SqliteStore;
use tokio::{sync::Semaphore, task::JoinSet};

/// A delivery that takes a batch of runs only with a permit, and notes how many came with each.
struct Gate {
    notes: Arc<Notes>,
    permits: Semaphore,
    n_calls: AtomicUsize,
    sizes: std::sync::Mutex<Vec<usize>>,
}

#[async_trait]
impl Dispatch for Gate {
    async fn enqueue(&self, runs: &[Run]) -> Result<(), DispatchError> {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        self.sizes.lock().expect("no test panicked with it").push(runs.len());
        self.notes.changed.notify_waiters();
        self.permits.acquire().await.expect("is never closed").forget();
        self.notes.enqueue(runs).await
    }

    async fn stop(&self, orders: &[StopOrder]) -> Result<(), DispatchError> {
        self.notes.stop(orders).await
    }

    async fn check_leases(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, DispatchError> {
        self.notes.check_leases(questions).await
    }

    async fn describe(&self, run: &Run) -> Result<DeliveryFacts, DispatchError> {
        self.notes.describe(run).await
    }

    async fn describe_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
    ) -> Result<QueueTraffic, DispatchError> {
        self.notes.describe_queue(namespace, queue).await
    }

    async fn list_queues(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<(QueueName, QueueDepth)>, DispatchError> {
        self.notes.list_queues(namespace, after, limit).await
    }

    async fn queue_resumed(&self, namespace: &Namespace, queue: &QueueName) -> Result<(), DispatchError> {
        self.notes.queue_resumed(namespace, queue).await
    }

    async fn work_pool_resumed(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<(), DispatchError> {
        self.notes.work_pool_resumed(namespace, work_pool).await
    }

    async fn count_pool_workers(
        &self,
        namespace: &Namespace,
        work_pool: &WorkPoolName,
    ) -> Result<u32, DispatchError> {
        self.notes.count_pool_workers(namespace, work_pool).await
    }

    async fn list_workers(
        &self,
        namespace: &Namespace,
        work_pool: Option<&WorkPoolName>,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<Vec<Worker>, DispatchError> {
        self.notes.list_workers(namespace, work_pool, after, limit).await
    }

    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, DispatchError> {
        self.notes.drain_worker(namespace, worker_id).await
    }

    async fn born_at(&self) -> Result<Timestamp, DispatchError> {
        self.notes.born_at().await
    }
}

/// The engine of a fixture behind a gate; its own notes are of what has passed.
async fn gated() -> (Fixture, Arc<Gate>, JoinSet<()>) {
    let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.expect("a store opens"));
    let mut fixture = Fixture::over(Arc::clone(&store));
    let gate = Arc::new(Gate {
        notes: Arc::clone(&fixture.notes),
        permits: Semaphore::new(0),
        n_calls: AtomicUsize::new(0),
        sizes: std::sync::Mutex::default(),
    });
    let (engine, background) = Engine::new(
        store,
        Arc::clone(&gate) as Arc<dyn Dispatch>,
        Arc::clone(fixture.engine.clock()),
        Options::default(),
    );
    let mut tasks = JoinSet::new();
    for (_, task) in background {
        tasks.spawn(task);
    }
    fixture.engine = engine;
    (fixture, gate, tasks)
}

fn is_noted(notes: &Notes, run: RunId) -> bool {
    notes.enqueued.lock().expect("no test panicked with it").iter().any(|(id, _)| *id == run)
}

fn limited() -> Create {
    let mut create = task();
    create.draft.concurrency_limits = vec!["db".to_owned()];
    create
}

#[tokio::test]
async fn what_finds_delivery_busy_is_swept_at_once() {
    let (fixture, gate, _tasks) = gated().await;
    gate.permits.add_permits(1);
    let held = fixture.queued().await;
    let held = fixture.start(&held).await;
    fixture.until_noted(|notes| is_noted(notes, held.id)).await;
    let stuck = fixture.queued().await;
    fixture.until_noted(|_| gate.n_calls.load(Ordering::SeqCst) == 2).await;
    // One batch each, and more of them than may wait.
    let mut runs = vec![stuck.id];
    for _ in 0..100 {
        runs.push(fixture.queued().await.id);
    }
    fixture.cancel(&held).await;
    gate.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    fixture.until_noted(|notes| is_noted(notes, stuck.id)).await;
    fixture
        .until_noted(|notes| {
            let stopped = notes.stopped.lock().expect("no test panicked with it");
            stopped.iter().any(|order| order.run_id == held.id)
        })
        .await;
    // Once a later one has come, the turn that made up for the others is over.
    let last = fixture.queued().await;
    fixture.until_noted(|notes| is_noted(notes, last.id)).await;
    let n_swept = fixture.engine.enqueue_due(Timestamp::UNIX_EPOCH, 1_000).await.expect("sweeps");
    assert!(n_swept > 0, "the batches were more than may wait");
    let missing = runs.iter().filter(|run| !is_noted(&fixture.notes, **run)).count();
    assert_eq!(missing, 0, "of {} runs", runs.len());
}

#[tokio::test]
async fn those_who_wait_for_a_slot_keep_nobody_else_waiting() {
    const N_BATCHES: usize = 4;

    let (fixture, gate, _tasks) = gated().await;
    let key = LimitKey { namespace: Namespace::default(), name: "db".to_owned() };
    fixture.engine.put_limit(key.clone(), 0).await.expect("is defined");
    let n_runs = (N_BATCHES - 1) * tidegate_model::limits::MAX_BATCH_SIZE + 1;
    gate.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    let created = join_all((0..n_runs).map(|_| fixture.create(limited()))).await;
    let runs: Vec<Run> = created.into_iter().map(|created| created.expect("is created").run).collect();
    for claimed in join_all(runs.iter().map(|run| fixture.claim(run, "w"))).await {
        assert!(claimed.expect("is answered").is_waiting());
    }
    let marker = fixture.queued().await;
    fixture.until_noted(|notes| is_noted(notes, marker.id)).await;

    gate.permits.forget_permits(Semaphore::MAX_PERMITS);
    let n_before = gate.n_calls.load(Ordering::SeqCst);
    fixture.engine.put_limit(key, u32::try_from(n_runs).expect("is small")).await.expect("is raised");
    fixture.until_noted(|_| gate.n_calls.load(Ordering::SeqCst) == n_before + 1).await;
    let other = fixture.queued().await;
    gate.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    fixture.until_noted(|_| gate.n_calls.load(Ordering::SeqCst) == n_before + N_BATCHES + 1).await;
    fixture.until_noted(|notes| is_noted(notes, other.id)).await;
    let sizes = gate.sizes.lock().expect("no test panicked with it")[n_before..].to_vec();
    let others = sizes.iter().position(|size| *size == 1).expect("is there");
    assert!(others <= 2, "with the next batch at the latest, not after all of them: {sizes:?}");
}
