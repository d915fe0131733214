use std::{
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_delivery::{
    Capacity, Entry, Error, Function, Pausable, PoolId, QueueId, Requirements, Serving, Want,
};
use tidegate_model::{RunKind, WorkerId};
use tidegate_service_kit::pulse;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff, claims::PendingClaim, hello::Serves, paused::Allowance, shared::Shared,
    stream::WorkerStream,
};

/// The streams of workers that serve the same. One task takes entries for all of them, so no two of them ask
/// for the same entry, and a take is as large as their credits.
pub(crate) struct Pool {
    serves: Serves,
    /// The work pool that its members are of.
    work_pool: Option<PoolId>,
    tasks: Vec<Function>,
    flows: Vec<Function>,
    members: Mutex<Vec<Arc<WorkerStream>>>,
    wake: Notify,
    /// Cancelled when the last member has left.
    closed: CancellationToken,
}

/// The pools of this replica.
#[derive(Default)]
pub(crate) struct Pools {
    inner: Mutex<HashMap<Serves, Arc<Pool>>>,
}

impl Pools {
    fn inner(&self) -> MutexGuard<'_, HashMap<Serves, Arc<Pool>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream to the pool of what it serves, which begins with its first member.
    pub(crate) fn join(shared: &Arc<Shared>, serves: Serves, stream: &Arc<WorkerStream>) -> Arc<Pool> {
        let mut pools = shared.pools.inner();
        let pool = pools.entry(serves).or_insert_with_key(|serves| {
            let pool = Arc::new(Pool::new(serves.clone()));
            let (running, shared) = (Arc::clone(&pool), Arc::clone(shared));
            let pulse = shared.pulses.add("pool");
            shared.clone().background.spawn(async move {
                // A pool that panics would leave its workers without runs: then the service fails as a whole.
                let broken = shared.pool_broken.clone().drop_guard();
                pulse.scope(run(running, shared)).await;
                pulse.retire();
                broken.disarm();
            });
            pool
        });
        pool.members().push(Arc::clone(stream));
        Arc::clone(pool)
    }

    /// Removes a stream. Its pool ends with its last member.
    pub(crate) fn leave(&self, pool: &Arc<Pool>, stream: &Arc<WorkerStream>) {
        let mut pools = self.inner();
        let mut members = pool.members();
        members.retain(|member| !Arc::ptr_eq(member, stream));
        if members.is_empty() {
            pool.closed.cancel();
            if pools.get(&pool.serves).is_some_and(|known| Arc::ptr_eq(known, pool)) {
                pools.remove(&pool.serves);
            }
        }
    }

    /// Something is ready in a queue.
    pub(crate) fn wake_queue(&self, queue: &QueueId) {
        self.wake_where(|pool| pool.serves.queues.binary_search(queue).is_ok());
    }

    /// What was paused is not any more.
    pub(crate) fn wake_resumed(&self, what: &Pausable) {
        match what {
            Pausable::Queue(queue) => self.wake_queue(queue),
            Pausable::Pool(resumed) => self.wake_where(|pool| pool.work_pool.as_ref() == Some(resumed)),
        }
    }

    /// A run of a function is ready in a queue.
    pub(crate) fn wake_for(&self, queue: &QueueId, function: &Function, requires: &Requirements) {
        self.wake_where(|pool| {
            pool.serves.queues.binary_search(queue).is_ok()
                && pool.serves.functions.binary_search(function).is_ok()
                && requires.are_met_by(&pool.serves.labels)
        });
    }

    /// What the workers of this replica serve, and their free slots. A stream that was silent for `patience` has none.
    pub(crate) fn servings(&self, patience: Duration) -> Vec<Serving> {
        self.inner().values().map(|pool| pool.serving(patience)).collect()
    }

    pub(crate) fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    fn wake_where(&self, concerns: impl Fn(&Pool) -> bool) {
        self.inner().values().filter(|pool| concerns(pool)).for_each(|pool| pool.wake());
    }
}

impl Pool {
    fn new(serves: Serves) -> Self {
        let of = |kind| {
            let functions = serves.functions.iter().filter(|function| function.kind() == kind);
            functions.cloned().collect()
        };
        Self {
            tasks: of(RunKind::Task),
            flows: of(RunKind::Flow),
            work_pool: serves.work_pool(),
            serves,
            members: Mutex::default(),
            wake: Notify::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Looks for entries soon: a member has got credits, or there may be entries.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<WorkerStream>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self, patience: Duration) -> Serving {
        let members = self.members();
        let capacity = |member: &Arc<WorkerStream>| {
            let credits = member.credits(patience);
            Capacity { n_workers: 1, n_free_task_slots: credits.tasks, n_free_flow_slots: credits.flows }
        };
        Serving {
            queues: self.serves.queues.clone(),
            functions: self.serves.functions.clone(),
            labels: self.serves.labels.clone(),
            capacity: members.iter().map(capacity).sum(),
        }
    }

    fn free_slots(&self, kind: RunKind, patience: Duration) -> FreeSlots {
        let members = self.members();
        let free: Vec<u32> = members.iter().map(|member| *member.credits(patience).of(kind)).collect();
        FreeSlots::new(members.clone(), free)
    }

    /// What of the queue and the work pool is paused and may be probed by one run, or how long nothing may be taken.
    fn allowance(&self, shared: &Shared, queue: &QueueId) -> Result<Vec<Pausable>, Duration> {
        let pool = self.work_pool.clone().map(Pausable::Pool);
        let mut probed = Vec::new();
        for what in [Pausable::Queue(queue.clone())].into_iter().chain(pool) {
            match shared.paused.allowance(&what) {
                Allowance::All => {}
                Allowance::Probe => probed.push(what),
                Allowance::NothingFor(wait) => {
                    probed.iter().for_each(|what| shared.paused.probe_again(what));
                    return Err(wait);
                }
            }
        }
        Ok(probed)
    }

    /// Takes entries for the free slots of one kind and passes them on to be claimed. Answers how many there
    /// were, and when the next one is due.
    async fn fill(
        &self,
        shared: &Shared,
        kind: RunKind,
        turn: usize,
    ) -> Result<(usize, Option<Duration>), Error> {
        let functions = match kind {
            RunKind::Task => &self.tasks,
            RunKind::Flow => &self.flows,
        };
        let lease = *shared.config.lease.duration;
        let limit = self.free_slots(kind, lease).sum().min(shared.config.assign.batch_size.get() as usize);
        if functions.is_empty() || limit == 0 {
            return Ok((0, None));
        }
        // Room first: what has been taken never waits. There is some once a batch before has been judged.
        pulse::rest(*shared.config.engine_timeout + *shared.config.assign.patience);
        let Ok(mut room) = shared.claims.reserve_many(limit).await else { return Ok((0, None)) };
        pulse::beat();
        let mut slots = self.free_slots(kind, lease);
        let mut wanted = slots.sum().min(limit);
        let (mut n_taken, mut next_in) = (0, None);
        for queue in self.serves.in_order(turn) {
            if wanted == 0 {
                break;
            }
            let probed = match self.allowance(shared, queue) {
                Ok(probed) => probed,
                Err(wait) => {
                    next_in = next_in.into_iter().chain([wait]).min();
                    continue;
                }
            };
            let limit = if probed.is_empty() { wanted } else { 1 };
            let now = shared.clock.now();
            let claim_lease = *shared.config.lease.claim;
            let want = Want { queue, functions, labels: &self.serves.labels, limit, now, claim_lease };
            let taken = shared.delivery.take(want).await?;
            next_in = next_in.into_iter().chain(taken.next_in).min();
            if taken.entries.is_empty() {
                probed.iter().for_each(|what| shared.paused.probe_again(what));
            }
            n_taken += taken.entries.len();
            wanted = wanted.saturating_sub(taken.entries.len());
            let streams = slots.give_out(&taken.entries);
            for (entry, stream) in taken.entries.into_iter().zip(streams) {
                let (Some(stream), Some(permit)) = (stream, room.next()) else {
                    debug_assert!(false, "a take gives no more than was asked for");
                    continue; // its claim expires
                };
                stream.use_credit(kind);
                permit.send(PendingClaim { entry, stream });
            }
        }
        Ok((n_taken, next_in))
    }
}

/// The members of a pool and their free slots.
struct FreeSlots {
    members: Vec<Arc<WorkerStream>>,
    /// Of each member.
    free: Vec<u32>,
    /// Most free slots first, so that work spreads. A number that is not that of `free` any more is an old one.
    by_free: BinaryHeap<(u32, usize)>,
}

impl FreeSlots {
    fn new(members: Vec<Arc<WorkerStream>>, free: Vec<u32>) -> Self {
        let by_free = free.iter().enumerate().map(|(member_idx, free)| (*free, member_idx)).collect();
        Self { members, free, by_free }
    }

    fn sum(&self) -> usize {
        self.free.iter().map(|free| *free as usize).sum()
    }

    /// A stream for each of the entries. Those with a preferred worker choose first, so that another entry does not get
    /// its last slot.
    fn give_out(&mut self, entries: &[Entry]) -> Vec<Option<Arc<WorkerStream>>> {
        let mut streams = vec![None; entries.len()];
        if entries.iter().any(|entry| entry.prefers.is_some()) {
            let ids =
                self.members.iter().enumerate().map(|(member_idx, member)| (&member.worker_id, member_idx));
            let by_id: HashMap<&WorkerId, usize> = ids.collect();
            for (stream, entry) in streams.iter_mut().zip(entries) {
                let member_idx = entry.prefers.as_ref().and_then(|worker_id| by_id.get(worker_id)).copied();
                if let Some(member_idx) = member_idx.filter(|member_idx| self.free[*member_idx] > 0) {
                    self.free[member_idx] -= 1;
                    *stream = Some(Arc::clone(&self.members[member_idx]));
                }
            }
        }
        for stream in streams.iter_mut().filter(|stream| stream.is_none()) {
            *stream = self.take();
        }
        streams
    }

    /// A slot of the member with the most.
    fn take(&mut self) -> Option<Arc<WorkerStream>> {
        loop {
            let (known_free, member_idx) = self.by_free.pop()?;
            let free = &mut self.free[member_idx];
            let is_old = known_free != *free;
            if !is_old && *free > 0 {
                *free -= 1;
            }
            if *free > 0 {
                self.by_free.push((*free, member_idx));
            }
            if !is_old && known_free > 0 {
                return Some(Arc::clone(&self.members[member_idx]));
            }
        }
    }
}

/// Fills the slots of a pool until it is closed or the service stops. A take is never dropped half-way: what
/// it took would wait for its claim to end.
async fn run(pool: Arc<Pool>, shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    let mut turn = 0;
    let ended = || shared.stop.is_cancelled() || pool.closed.is_cancelled();
    while !ended() {
        pulse::beat();
        let until_next = match fill_all(&pool, &shared, &mut turn).await {
            Ok(until_next) => {
                backoff.reset();
                until_next
            }
            Err(error) => {
                let pause = backoff.next();
                tracing::warn!("no runs can be taken, next attempt in {pause:?}: {}", Chain(&error));
                pause
            }
        };
        pulse::rest(*shared.config.assign.poll_interval);
        let poll_at = Instant::now() + until_next.min(*shared.config.assign.poll_interval);
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => {}
            () = pool.closed.cancelled() => {}
            () = async {
                tokio::select! {
                    () = pool.wake.notified() => {}
                    () = tokio::time::sleep_until(poll_at) => {}
                }
                shared.engine_gate.open().await;
            } => {}
        }
    }
}

/// Fills until nothing more is ready or no slot is free. Answers how long until the next entry is due.
async fn fill_all(pool: &Pool, shared: &Shared, turn: &mut usize) -> Result<Duration, Error> {
    loop {
        pulse::beat();
        *turn = turn.wrapping_add(1);
        let (n_flows, flows_in) = pool.fill(shared, RunKind::Flow, *turn).await?;
        let (n_tasks, tasks_in) = pool.fill(shared, RunKind::Task, *turn).await?;
        if n_flows + n_tasks == 0 || shared.stop.is_cancelled() || shared.engine_gate.is_closed() {
            return Ok(flows_in.into_iter().chain(tasks_in).min().unwrap_or(Duration::MAX));
        }
    }
}

/// An error with its causes, as one sentence.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// Entries put back keep their time, so that they keep their place.
pub(crate) async fn put_back(shared: &Shared, entries: &[Entry]) {
    if entries.is_empty() {
        return;
    }
    if let Err(error) = shared.delivery.put_back(entries, shared.clock.now()).await {
        let n_entries = entries.len();
        tracing::warn!("{n_entries} entries come back only when their claim ends: {}", Chain(&error));
    }
}
