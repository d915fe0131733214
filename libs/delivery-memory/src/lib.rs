//! Delivery state in the memory of one process: for `tidegate dev`, and for tests. A restart loses it, as
//! losing Redis would, and the scheduler fills it again from the store.

mod lane;
mod leases;
mod queue;
mod turns;
mod workers;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tidegate_delivery::{
    Capacity, Delivery, DrainHint, Entry, EntryId, Error, Function, Generation, Held, Hint, Hints, Lease,
    LeaseQuestion, Pausable, PoolId, QueueDepth, QueueId, ReadyHint, Requirements, Serving, Standing, Stop,
    Taken, Takers, Want, WorkerNews, WorkerQuery, WorkerTerms, hint_channel,
};
use tidegate_model::{Clock, Namespace, QueueName, Timestamp, Worker, WorkerId};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    leases::Leases,
    queue::{OnEqualEpoch, Queue},
    workers::Workers,
};

/// For how long a drained queue is still counted.
const KEPT_IN_DEPTHS: Duration = Duration::from_secs(3_600);

/// Delivery state in memory. Its replicas are clones of one [`Arc`].
pub struct MemoryDelivery {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

/// All that a wipe loses.
struct State {
    queues: HashMap<QueueId, Queue>,
    leases: Leases,
    /// What each replica announced, and until when it holds.
    servings: HashMap<String, (Vec<Serving>, Instant)>,
    workers: Workers,
    born_at: Timestamp,
    /// The same instant, on the clock that judges leases.
    born: Instant,
}

impl MemoryDelivery {
    /// An empty state, born now. `clock` gives the time of birth only; leases and claims are judged by the
    /// runtime's monotonic clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State::born_now(&*clock));
        Self { clock, state, hints: hint_channel() }
    }

    /// Loses everything, as `FLUSHALL` does on Redis: for tests.
    pub fn wipe(&self) {
        *self.state() = State::born_now(&*self.clock);
    }

    /// How many entries and leases are kept.
    pub fn footprint(&self) -> usize {
        let state = self.state();
        state.queues.values().map(Queue::footprint).sum::<usize>() + state.leases.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in an operation may lose some of the state, which is allowed; the store knows it all.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, entries: &[Entry], now: Timestamp, on_equal: OnEqualEpoch) {
        let mut hints: HashMap<&QueueId, Timestamp> = HashMap::new();
        let mut state = self.state();
        for entry in entries {
            let queue = state.queues.entry(entry.id.queue.clone()).or_default();
            queue.used_at(now);
            if queue.place(entry, now, on_equal) {
                let due_at = hints.entry(&entry.id.queue).or_insert(entry.due_at);
                *due_at = entry.due_at.min(*due_at);
            }
        }
        drop(state);
        if !hints.is_empty() {
            let ready = |(queue, due_at): (&QueueId, Timestamp)| ReadyHint { queue: queue.clone(), due_at };
            // No listener is no error.
            let _ = self.hints.send(Hint::Ready(hints.into_iter().map(ready).collect()));
        }
    }
}

impl State {
    fn born_now(clock: &dyn Clock) -> Self {
        Self {
            queues: HashMap::new(),
            leases: Leases::default(),
            servings: HashMap::new(),
            workers: Workers::default(),
            born_at: clock.now(),
            born: Instant::now(),
        }
    }
}

#[async_trait]
impl Delivery for MemoryDelivery {
    async fn enqueue(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.place(entries, now, OnEqualEpoch::Keep);
        Ok(())
    }

    async fn take(&self, want: Want<'_>) -> Result<Taken, Error> {
        let mut state = self.state();
        let Some(queue) = state.queues.get_mut(want.queue) else { return Ok(Taken::default()) };
        Ok(queue.take(want))
    }

    async fn put_back(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.place(entries, now, OnEqualEpoch::Replace);
        Ok(())
    }

    async fn forget(&self, entries: &[EntryId]) -> Result<(), Error> {
        let mut state = self.state();
        for entry in entries {
            if let Some(queue) = state.queues.get_mut(&entry.queue) {
                queue.forget(entry.run_id, entry.epoch);
            }
        }
        Ok(())
    }

    async fn lease(&self, leases: &[Lease], duration: Duration) -> Result<(), Error> {
        let mut state = self.state();
        for lease in leases {
            state.leases.grant(lease, Instant::now() + duration);
        }
        Ok(())
    }

    async fn renew(
        &self,
        namespace: &Namespace,
        held: &[Held],
        hindrances: &HashMap<Held, String>,
        duration: Duration,
    ) -> Result<Vec<bool>, Error> {
        let mut state = self.state();
        let expires = Instant::now() + duration;
        let renew = |held: &Held| {
            let hindrance = hindrances.get(held).map_or("", String::as_str);
            state.leases.renew(namespace, *held, hindrance, expires)
        };
        Ok(held.iter().map(renew).collect())
    }

    async fn release(&self, held: &[Held]) -> Result<(), Error> {
        let mut state = self.state();
        for held in held {
            state.leases.release(*held);
        }
        Ok(())
    }

    async fn expired(&self, limit: usize, judge_for: Duration) -> Result<Vec<Lease>, Error> {
        Ok(self.state().leases.expired(limit, judge_for))
    }

    async fn check(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, Error> {
        let state = self.state();
        let is_held = |question: &LeaseQuestion| {
            let queue = state.queues.get(&question.queue);
            state.leases.is_held(question.held) || queue.is_some_and(|queue| queue.is_claimed(question.held))
        };
        Ok(questions.iter().map(is_held).collect())
    }

    async fn generation(&self) -> Result<Generation, Error> {
        let state = self.state();
        Ok(Generation { born_at: state.born_at, age: state.born.elapsed(), now: self.clock.now() })
    }

    async fn stop(&self, stops: &[Stop]) -> Result<(), Error> {
        if !stops.is_empty() {
            // No listener is no error.
            let _ = self.hints.send(Hint::Stop(stops.to_vec()));
        }
        Ok(())
    }

    async fn resumed(&self, what: &Pausable) -> Result<(), Error> {
        // No listener is no error.
        let _ = self.hints.send(Hint::Resumed(what.clone()));
        Ok(())
    }

    fn hints(&self) -> Hints {
        self.hints.subscribe().into()
    }

    async fn standing(&self, entry: &EntryId, now: Timestamp) -> Result<Standing, Error> {
        let state = self.state();
        if let Some((lease, expires_in, hindrance)) = state.leases.holder(entry.run_id) {
            let (worker_id, hindrance) = (lease.worker_id.clone(), hindrance.to_owned());
            return Ok(Standing::Leased { worker_id, expires_in, hindrance });
        }
        let queue = state.queues.get(&entry.queue);
        Ok(queue.and_then(|queue| queue.standing(entry.run_id, now)).unwrap_or(Standing::Unknown))
    }

    async fn announce(&self, replica: &str, servings: &[Serving], duration: Duration) -> Result<(), Error> {
        let mut state = self.state();
        let now = Instant::now();
        state.servings.retain(|_, (_, until)| *until > now);
        state.servings.insert(replica.to_owned(), (servings.to_vec(), now + duration));
        Ok(())
    }

    async fn takers(
        &self,
        queue: &QueueId,
        function: &Function,
        requires: &Requirements,
    ) -> Result<Takers, Error> {
        let state = self.state();
        let now = Instant::now();
        let announced = state.servings.values().filter(|(_, until)| *until > now);
        Ok(Takers::among(announced.flat_map(|(servings, _)| servings), queue, function, requires))
    }

    async fn queue_capacity(&self, queue: &QueueId) -> Result<Capacity, Error> {
        let state = self.state();
        let now = Instant::now();
        let announced = state.servings.values().filter(|(_, until)| *until > now);
        let serving = announced.flat_map(|(servings, _)| servings);
        Ok(serving.filter(|serving| serving.serves_queue(queue)).map(|serving| serving.capacity).sum())
    }

    async fn pool_capacity(&self, pool: &PoolId) -> Result<Capacity, Error> {
        let state = self.state();
        let now = Instant::now();
        let announced = state.servings.values().filter(|(_, until)| *until > now);
        let serving = announced.flat_map(|(servings, _)| servings);
        Ok(serving.filter(|serving| serving.serves_pool(pool)).map(|serving| serving.capacity).sum())
    }

    async fn tell_workers(&self, news: &[WorkerNews], terms: WorkerTerms) -> Result<Vec<bool>, Error> {
        Ok(self.state().workers.tell(news, terms))
    }

    async fn workers(&self, query: WorkerQuery<'_>) -> Result<Vec<Worker>, Error> {
        Ok(self.state().workers.list(query))
    }

    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, Error> {
        let is_live = self.state().workers.drain(namespace, worker_id);
        if is_live {
            let hint = DrainHint { namespace: namespace.clone(), worker_id: worker_id.clone() };
            // No listener is no error.
            let _ = self.hints.send(Hint::Drain(hint));
        }
        Ok(is_live)
    }

    async fn depth(&self, queue: &QueueId) -> Result<QueueDepth, Error> {
        let state = self.state();
        let found = state.queues.get(queue).map(|found| found.depth(queue.clone()));
        Ok(found.unwrap_or_else(|| QueueDepth { queue: queue.clone(), ready: 0, delayed: 0, claimed: 0 }))
    }

    async fn depths_of(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<QueueDepth>, Error> {
        let mut depths = self.depths(now).await?;
        depths.retain(|depth| {
            depth.queue.namespace == *namespace && after.is_none_or(|after| depth.queue.queue > *after)
        });
        depths.sort_by(|a, b| a.queue.cmp(&b.queue));
        depths.truncate(limit);
        Ok(depths)
    }

    async fn depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>, Error> {
        let mut state = self.state();
        let oldest = now - KEPT_IN_DEPTHS;
        state.queues.retain(|_, queue| queue.footprint() > 0 || queue.last_used_at() >= oldest);
        Ok(state.queues.iter().map(|(id, queue)| queue.depth(id.clone())).collect())
    }
}
