//! The delivery state as a replica sees it whose hints are lost, or whose takes hang; and how often it takes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tidegate_delivery::{
    Capacity, Delivery, Entry, EntryId, Error, Function, Generation, Held, Hint, Hints, Lease, LeaseQuestion,
    Pausable, PoolId, QueueDepth, QueueId, Requirements, Serving, Standing, Stop, Taken, Takers, Want,
    WorkerNews, WorkerQuery, WorkerTerms, hint_channel,
};
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_model::{Namespace, QueueName, Timestamp, Worker, WorkerId};
use tokio::sync::{broadcast, watch};

pub struct Observed {
    inner: Arc<MemoryDelivery>,
    /// `Some`: what it listens to instead, on which nothing ever comes.
    silence: Option<broadcast::Sender<Hint>>,
    n_takes: AtomicUsize,
    hangs: watch::Sender<bool>,
}

impl Observed {
    pub fn new(inner: Arc<MemoryDelivery>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            silence: None,
            n_takes: AtomicUsize::new(0),
            hangs: watch::Sender::new(false),
        })
    }

    /// One to which no hint comes.
    pub fn deaf(inner: Arc<MemoryDelivery>) -> Arc<Self> {
        let silence = Some(hint_channel());
        Arc::new(Self { inner, silence, n_takes: AtomicUsize::new(0), hangs: watch::Sender::new(false) })
    }

    /// How many takes have begun.
    pub fn n_takes(&self) -> usize {
        self.n_takes.load(Ordering::SeqCst)
    }

    /// While true takes hang, before they look.
    pub fn set_hangs(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    pub async fn until_takes(&self, n_takes: usize) {
        let waiting = async {
            while self.n_takes() < n_takes {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(super::PATIENCE, waiting).await.expect("takes in time");
    }
}

#[async_trait]
impl Delivery for Observed {
    async fn enqueue(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.inner.enqueue(entries, now).await
    }

    async fn take(&self, want: Want<'_>) -> Result<Taken, Error> {
        self.n_takes.fetch_add(1, Ordering::SeqCst);
        let _ = self.hangs.subscribe().wait_for(|hangs| !hangs).await;
        self.inner.take(want).await
    }

    async fn put_back(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.inner.put_back(entries, now).await
    }

    async fn forget(&self, entries: &[EntryId]) -> Result<(), Error> {
        self.inner.forget(entries).await
    }

    async fn lease(&self, leases: &[Lease], duration: Duration) -> Result<(), Error> {
        self.inner.lease(leases, duration).await
    }

    async fn renew(
        &self,
        namespace: &Namespace,
        held: &[Held],
        hindrances: &HashMap<Held, String>,
        duration: Duration,
    ) -> Result<Vec<bool>, Error> {
        self.inner.renew(namespace, held, hindrances, duration).await
    }

    async fn release(&self, held: &[Held]) -> Result<(), Error> {
        self.inner.release(held).await
    }

    async fn expired(&self, limit: usize, judge_for: Duration) -> Result<Vec<Lease>, Error> {
        self.inner.expired(limit, judge_for).await
    }

    async fn check(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, Error> {
        self.inner.check(questions).await
    }

    async fn generation(&self) -> Result<Generation, Error> {
        self.inner.generation().await
    }

    async fn stop(&self, stops: &[Stop]) -> Result<(), Error> {
        self.inner.stop(stops).await
    }

    async fn resumed(&self, what: &Pausable) -> Result<(), Error> {
        self.inner.resumed(what).await
    }

    fn hints(&self) -> Hints {
        self.silence.as_ref().map_or_else(|| self.inner.hints(), |silence| silence.subscribe().into())
    }

    async fn standing(&self, entry: &EntryId, now: Timestamp) -> Result<Standing, Error> {
        self.inner.standing(entry, now).await
    }

    async fn announce(&self, replica: &str, servings: &[Serving], duration: Duration) -> Result<(), Error> {
        self.inner.announce(replica, servings, duration).await
    }

    async fn takers(
        &self,
        queue: &QueueId,
        function: &Function,
        requires: &Requirements,
    ) -> Result<Takers, Error> {
        self.inner.takers(queue, function, requires).await
    }

    async fn queue_capacity(&self, queue: &QueueId) -> Result<Capacity, Error> {
        self.inner.queue_capacity(queue).await
    }

    async fn pool_capacity(&self, pool: &PoolId) -> Result<Capacity, Error> {
        self.inner.pool_capacity(pool).await
    }

    async fn tell_workers(&self, news: &[WorkerNews], terms: WorkerTerms) -> Result<Vec<bool>, Error> {
        self.inner.tell_workers(news, terms).await
    }

    async fn workers(&self, query: WorkerQuery<'_>) -> Result<Vec<Worker>, Error> {
        self.inner.workers(query).await
    }

    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, Error> {
        self.inner.drain_worker(namespace, worker_id).await
    }

    async fn depth(&self, queue: &QueueId) -> Result<QueueDepth, Error> {
        self.inner.depth(queue).await
    }

    async fn depths_of(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<QueueDepth>, Error> {
        self.inner.depths_of(namespace, after, limit, now).await
    }

    async fn depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>, Error> {
        self.inner.depths(now).await
    }
}
