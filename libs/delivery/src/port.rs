use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use tidegate_model::{Namespace, QueueName, Timestamp, Worker, WorkerId};

use crate::{
    Capacity, Entry, EntryId, Error, Function, Generation, Held, Hints, Lease, LeaseQuestion, Pausable,
    PoolId, QueueId, Requirements, Serving, Standing, Stop, Taken, Takers, Want, WorkerNews, WorkerQuery,
    WorkerTerms,
};

/// Where deliveries are kept.
///
/// Any number of replicas use one state at once; each operation is atomic per entry and per run, and
/// may be repeated. All are batched: a call is one round trip, or a few. Dropping the future of a call
/// leaves open whether it took effect.
///
/// **Clocks.** Whether an entry is due is judged by the caller's `now`: it is a hint, and the store
/// judges it again. Claims and leases are judged by one clock for all replicas, the adapter's own, so
/// callers give durations only.
///
/// **Turns.** Entries of a queue with a fairness key form a group, and so do all without one, whatever their functions.
/// Among entries of the same priority, the groups take turns: a group whose entry was taken comes behind all other
/// groups, and so does one that begins to have ready entries. A group of many thus keeps nobody waiting for longer than
/// a round. What is known of turns follows what is ready; a queue in which no entry has a key knows of none. Until then
/// the group without a key keeps its turn, also where none of its entries is ready. And where more than 500 groups have
/// had their turn through other functions, a take may go by some of their older turns.
#[async_trait]
pub trait Delivery: Send + Sync + 'static {
    /// Makes runs wait for workers. The same run and epoch twice is one entry, also while it is
    /// claimed; a higher epoch replaces a lower one; a lower one is ignored. Hints the listeners.
    async fn enqueue(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error>;

    /// Takes the best entries: larger priority first, then the group whose turn it is, then earlier due, then
    /// smaller run id. Each is claimed: it stays known and is ready again when `claim_lease` is over, unless
    /// it was forgotten or put back before.
    ///
    /// The work of a call is bounded. It makes up to 1,000 entries ready that have become due or were claimed for too
    /// long, beginning with those of any function and requirements: where there are more, the others compete in the takes
    /// that follow. And it looks for at least any 256 of the different requirements of a function that begin with the
    /// same label, and any 512 in all: where there are more, `next_in` is a second at most.
    async fn take(&self, want: Want<'_>) -> Result<Taken, Error>;

    /// Ends claims and makes the entries wait until their `due_at`; also rescores entries that wait, and
    /// makes entries that are unknown. One with a lower epoch than the known one is ignored. Hints the
    /// listeners.
    async fn put_back(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error>;

    /// Forgets entries and claims of these runs under these epochs and lower ones. Unknown ones are no
    /// error.
    async fn forget(&self, entries: &[EntryId]) -> Result<(), Error>;

    /// Grants leases for `duration` from now. One under a higher epoch replaces a lower one; under the
    /// same epoch it is renewed; under a lower epoch it is ignored.
    async fn lease(&self, leases: &[Lease], duration: Duration) -> Result<(), Error>;

    /// Makes leases last for `duration` from now. Answers in order: false where there is no lease of this
    /// tenant under this epoch. One that has expired and was not released yet is renewed, too. `hindrances` says for people
    /// what keeps some of the runs from beginning; it is known until the next renewal, and goes with the lease.
    async fn renew(
        &self,
        namespace: &Namespace,
        held: &[Held],
        hindrances: &HashMap<Held, String>,
        duration: Duration,
    ) -> Result<Vec<bool>, Error>;

    /// Ends leases under these epochs and lower ones. Unknown ones are no error.
    async fn release(&self, held: &[Held]) -> Result<(), Error>;

    /// Hands out at most about `limit` leases that have expired, each to one judge at a time: it is handed
    /// out again only when `judge_for` is over and it was neither released nor renewed.
    async fn expired(&self, limit: usize, judge_for: Duration) -> Result<Vec<Lease>, Error>;

    /// Answers in order: true where the run is leased under this epoch, or where a claim of it is under
    /// way that may have led to this epoch.
    async fn check(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, Error>;

    /// The age of the state. The first call after a loss starts a new one.
    async fn generation(&self) -> Result<Generation, Error>;

    /// Tells all replicas, this one too, to stop runs.
    async fn stop(&self, stops: &[Stop]) -> Result<(), Error>;

    /// Tells all replicas, this one too, that a queue or a work pool is not paused any more.
    async fn resumed(&self, what: &Pausable) -> Result<(), Error>;

    /// Listens to hints from now on.
    fn hints(&self) -> Hints;

    /// Where a run stands, under this epoch or another one. A delayed entry that is due by `now` is ready, though
    /// no take has moved it yet.
    async fn standing(&self, entry: &EntryId, now: Timestamp) -> Result<Standing, Error>;

    /// Says what the workers of a replica serve, in place of what it said before. It holds for `duration`.
    /// `replica` is a name that no other replica has.
    async fn announce(&self, replica: &str, servings: &[Serving], duration: Duration) -> Result<(), Error>;

    /// The workers of all replicas that could take a run of the function with these requirements from the queue,
    /// as announced last.
    async fn takers(
        &self,
        queue: &QueueId,
        function: &Function,
        requires: &Requirements,
    ) -> Result<Takers, Error>;

    /// The workers of all replicas that serve the queue, whatever they take from it, as announced last.
    async fn queue_capacity(&self, queue: &QueueId) -> Result<Capacity, Error>;

    /// The workers of a work pool, of all replicas, as announced last.
    async fn pool_capacity(&self, pool: &PoolId) -> Result<Capacity, Error>;

    /// Tells of workers, in place of what was told before; each then counts as heard of now. Of a worker's streams the
    /// latest counts: what is told of an earlier one, or of one whose end is known, changes nothing. Answers in order: true
    /// where the worker was asked to drain. Of a tenant, the [`MAX_TOLD_WORKERS`] that were heard of last are kept.
    ///
    /// [`MAX_TOLD_WORKERS`]: tidegate_model::limits::MAX_TOLD_WORKERS
    async fn tell_workers(&self, news: &[WorkerNews], terms: WorkerTerms) -> Result<Vec<bool>, Error>;

    /// The workers of all replicas by id, live ones and those that have ended and are still known.
    async fn workers(&self, query: WorkerQuery<'_>) -> Result<Vec<Worker>, Error>;

    /// Notes that a worker is to drain, which stays through its streams, and tells all replicas, this one too. False: no
    /// live worker has this id.
    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, Error>;

    /// How much waits in one queue.
    async fn depth(&self, queue: &QueueId) -> Result<QueueDepth, Error>;

    /// How much waits in up to `limit` queues of a tenant whose names come after `after`, by name: in those that have
    /// entries or were in use within the last hour.
    async fn depths_of(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<QueueDepth>, Error>;

    /// How much waits, per queue, with a zero for queues that were in use within the last hour.
    async fn depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>, Error>;
}

/// How much waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue.
    pub queue: QueueId,
    /// Entries that a worker could take.
    pub ready: u64,
    /// Entries that wait for their time; an entry counts here until the first take after it is due.
    pub delayed: u64,
    /// Entries that were taken and are being claimed.
    pub claimed: u64,
}
