//! A server whose `maxmemory` is used up: nothing more comes in, and everything goes out.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{
    collections::{HashMap, HashSet},
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use support::Server;
use tidegate_delivery::{
    Capacity, Delivery, Entry, EntryId, Function, Held, Labels, Lease, QueueId, Requirements, Serving, Want,
    WorkerNews, WorkerTerms,
};
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::{
    Epoch, Namespace, QueueName, RunId, Timestamp, WorkerAbout, WorkerLoad, limits::MAX_BATCH_SIZE,
};
use tracing::span;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const LONG: Duration = Duration::from_secs(600);
/// Their memory is many times what the server needs for its connections.
const N_ENTRIES: usize = 20 * MAX_BATCH_SIZE;

fn entry() -> Entry {
    let id = EntryId {
        queue: QueueId { namespace: Namespace::default(), queue: QueueName::default() },
        function: Function::Task("f".parse().unwrap()),
        requires: Requirements::default(),
        fairness_key: None,
        run_id: RunId::new(),
        epoch: Epoch(0),
    };
    Entry { id, priority: 0, due_at: NOW, prefers: None }
}

async fn take(delivery: &RedisDelivery, limit: usize) -> Vec<Entry> {
    let Entry { id, .. } = entry();
    let (functions, labels) = ([id.function], Labels::new());
    let want =
        Want { queue: &id.queue, functions: &functions, labels: &labels, limit, now: NOW, claim_lease: LONG };
    delivery.take(want).await.unwrap().entries
}

fn lease(entry: &Entry) -> Lease {
    Lease {
        held: Held { run_id: entry.id.run_id, epoch: Epoch(1) },
        namespace: Namespace::default(),
        worker_id: "w".parse().unwrap(),
    }
}

/// What comes after a take: the runs are leased, the worker says that it has them, and they end.
async fn finish(delivery: &RedisDelivery, taken: &[Entry]) {
    let leases: Vec<_> = taken.iter().map(lease).collect();
    let held: Vec<_> = leases.iter().map(|lease| lease.held).collect();
    let ids: Vec<_> = taken.iter().map(|entry| entry.id.clone()).collect();
    delivery.lease(&leases, LONG).await.unwrap();
    delivery.forget(&ids).await.unwrap();
    let renewed = delivery.renew(&Namespace::default(), &held, &HashMap::new(), LONG).await.unwrap();
    assert!(renewed.iter().all(|is_held| *is_held));
    delivery.release(&held).await.unwrap();
}

async fn used_memory(connection: &mut MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await.unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap()
}

/// Counts what the adapter logs at ERROR.
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with("tidegate_delivery_redis")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_full_server_takes_no_entries_and_is_drained_until_it_does_again() {
    let n_errors = Arc::new(AtomicUsize::new(0));
    let _logging = tracing::subscriber::set_default(Errors(Arc::clone(&n_errors)));
    let server = Server::start().await;
    let mut connection = server.connect().await.unwrap();
    let delivery = RedisDelivery::connect(&RedisOptions::new(&server.url())).await.unwrap();
    let empty = used_memory(&mut connection).await;
    let mut waiting = HashSet::new();
    for _ in 0..N_ENTRIES / MAX_BATCH_SIZE {
        let batch: Vec<_> = (0..MAX_BATCH_SIZE).map(|_| entry()).collect();
        delivery.enqueue(&batch, NOW).await.unwrap();
        waiting.extend(batch.into_iter().map(|entry| entry.id.run_id));
    }
    // What is used is far above it until many entries are out.
    let most = u64::midpoint(empty, used_memory(&mut connection).await);
    let limit = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(most).to_owned();
    limit.exec_async(&mut connection).await.unwrap();

    for _ in 0..3 {
        let refused = delivery.enqueue(&[entry(), entry()], NOW).await.unwrap_err();
        let cause = refused.source().unwrap().to_string();
        assert!(cause.contains("Redis is full") && cause.contains("maxmemory"), "{cause}");
    }
    assert_eq!(n_errors.load(Ordering::Relaxed), 1, "it is said once, not for each batch");

    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
    let taken = take(&delivery, 2).await;
    delivery.put_back(&taken, NOW).await.unwrap();
    let [first] = take(&delivery, 1).await.try_into().unwrap();
    assert_eq!(first, taken[0], "what is put back keeps its place");
    delivery.lease(&[lease(&first)], Duration::ZERO).await.unwrap();
    assert_eq!(delivery.expired(10, LONG).await.unwrap(), [lease(&first)]);
    finish(&delivery, std::slice::from_ref(&first)).await;
    assert!(waiting.remove(&first.id.run_id));

    // What replicas tell of themselves and of their workers goes on, too.
    delivery.generation().await.unwrap();
    let queue = first.id.queue.clone();
    let serving = Serving {
        queues: vec![queue.clone()],
        functions: vec![first.id.function.clone()],
        labels: Labels::new(),
        capacity: Capacity { n_workers: 1, n_free_task_slots: 1, n_free_flow_slots: 0 },
    };
    delivery.announce("replica", &[serving], LONG).await.unwrap();
    assert_eq!(delivery.queue_capacity(&queue).await.unwrap().n_workers, 1);
    let news = worker_news();
    let terms = WorkerTerms { live_for: LONG, kept_for: LONG };
    assert_eq!(delivery.tell_workers(std::slice::from_ref(&news), terms).await.unwrap(), [false]);
    assert!(delivery.drain_worker(&news.namespace, &news.worker_id).await.unwrap());
    assert!(used_memory(&mut connection).await > most, "it was full all the time");

    while !waiting.is_empty() {
        let taken = take(&delivery, MAX_BATCH_SIZE).await;
        assert!(!taken.is_empty(), "{} runs are left", waiting.len());
        finish(&delivery, &taken).await;
        assert!(taken.iter().all(|entry| waiting.remove(&entry.id.run_id)), "each comes once");
    }
    let again = entry();
    delivery.enqueue(std::slice::from_ref(&again), NOW).await.unwrap();
    assert_eq!(take(&delivery, 10).await, [again]);
}

fn worker_news() -> WorkerNews {
    let about = WorkerAbout {
        name: String::new(),
        host: String::new(),
        process_id: 1,
        sdk: "test/0".to_owned(),
        work_pool: None,
        queues: vec![QueueName::default()],
        n_functions: 1,
        labels: Labels::new(),
        n_task_slots: 1,
        n_flow_slots: 0,
    };
    let load = WorkerLoad {
        last_seen_at: NOW,
        n_free_task_slots: 1,
        n_free_flow_slots: 0,
        n_runs: 0,
        is_draining: false,
    };
    WorkerNews {
        namespace: Namespace::default(),
        worker_id: "w".parse().unwrap(),
        stream: "stream".to_owned(),
        opened_at: NOW,
        about,
        load,
        end: None,
    }
}
