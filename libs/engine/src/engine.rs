use std::{future::Future, num::NonZeroUsize, pin::Pin, sync::Arc, time::Duration};

use tidegate_model::{Clock, Namespace, RunId, RunKind};
use tidegate_orchestration::Run;
use tidegate_store::{RunDetail, RunStore};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Create, Created, Dispatch, EngineError, Operated, Operation,
    create::run_create_lane,
    dispatch::{Outbound, Outbox, run_dispatcher},
    lane::Lanes,
    leases::LeaseWaits,
    metrics,
    operate::run_operate_lane,
    queues::QueueTurns,
    wait::{Waits, run_is_of},
};

/// How the engine writes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Transactions at a time for creates, and as many for operations. Two for each core of the database keep it busy
    /// while others wait for its disk. On SQLite, which has one writer, more than 1 costs.
    pub n_lanes: NonZeroUsize,
    /// Requests that may wait in each lane; beyond that callers get `Overloaded`.
    pub lane_capacity: NonZeroUsize,
    /// How long an idempotency key is kept.
    pub key_retention: Duration,
    /// How many calls may wait for slots at a time in this process; beyond that callers get `TooManyWait`.
    pub max_waiting_leases: usize,
    /// How many of one namespace may, so that it leaves places to others; beyond that its callers get
    /// `TooManyOfNamespaceWait`.
    pub max_waiting_leases_of_namespace: usize,
    /// How long who waits for slots trusts to be woken before it looks for itself. Less than the 15 s for which it keeps
    /// its place.
    pub lease_poll_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_lanes: const { NonZeroUsize::new(4).expect("4 is not 0") },
            lane_capacity: const { NonZeroUsize::new(20_000).expect("20,000 is not 0") },
            key_retention: Duration::from_secs(30 * 86_400),
            max_waiting_leases: 40_000,
            max_waiting_leases_of_namespace: 10_000,
            lease_poll_interval: Duration::from_secs(5),
        }
    }
}

/// A task that the engine needs to have run beside it, by name. It ends when the last [`Engine`] is dropped, so
/// that requests under way are finished first.
pub type BackgroundTask = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// The one way to change runs. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: Arc<dyn RunStore>,
    pub clock: Arc<dyn Clock>,
    pub dispatch: Arc<dyn Dispatch>,
    pub options: Options,
    creates: Lanes<Create, Created>,
    operations: Lanes<Operation, Operated>,
    outbox: Outbox,
    pub wakes: Wakes,
    /// Wakes those who carry on bulk operations.
    pub bulk: Notify,
    pub waits: Waits,
    pub leases: LeaseWaits,
    pub queue_turns: QueueTurns,
}

impl Engine {
    /// An engine over a store, with the tasks that its owner has to run.
    pub fn new(
        store: Arc<dyn RunStore>,
        dispatch: Arc<dyn Dispatch>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> (Self, Vec<BackgroundTask>) {
        metrics::describe();
        let (creates, create_queues) = Lanes::new(options.n_lanes.get(), options.lane_capacity.get());
        let (operations, operate_queues) = Lanes::new(options.n_lanes.get(), options.lane_capacity.get());
        let (outbox, inbox) = Outbox::new();
        let wakes = Wakes { cascades: Arc::default(), collisions: Arc::default() };
        let mut tasks: Vec<BackgroundTask> = Vec::new();
        for queue in create_queues {
            let lane = Lane::new(&store, &clock, &outbox, &wakes, options);
            tasks.push(("engine-creates", Box::pin(run_create_lane(queue, lane))));
        }
        for queue in operate_queues {
            let lane = Lane::new(&store, &clock, &outbox, &wakes, options);
            tasks.push(("engine-operations", Box::pin(run_operate_lane(queue, lane))));
        }
        {
            let (dispatch, store, clock) = (Arc::clone(&dispatch), Arc::clone(&store), Arc::clone(&clock));
            tasks.push(("engine-dispatch", Box::pin(run_dispatcher(inbox, dispatch, store, clock))));
        }
        let inner = Inner {
            store,
            clock,
            dispatch,
            options,
            creates,
            operations,
            outbox,
            wakes,
            bulk: Notify::new(),
            waits: Waits::default(),
            leases: LeaseWaits::new(options.max_waiting_leases, options.max_waiting_leases_of_namespace),
            queue_turns: QueueTurns::default(),
        };
        (Self { inner: Arc::new(inner) }, tasks)
    }

    /// Creates a run, or finds the one that its key or id has made before. Durable when it returns (P1).
    pub fn create(&self, create: Create) -> impl Future<Output = Result<Created, EngineError>> + use<> {
        self.inner.creates.submit(create)
    }

    /// Applies one operation to one run. Operations on the same run are applied in the order of the calls.
    pub fn operate(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<Operated, EngineError>> + use<> {
        self.inner.operations.submit(operation)
    }

    /// One run with its payloads.
    pub async fn get(&self, namespace: &Namespace, run_id: RunId) -> Result<RunDetail, EngineError> {
        let found = self.inner.store.get_details(Some(namespace), &[run_id]).await?;
        found.into_iter().next().ok_or(EngineError::NotFound { run_id })
    }

    /// The same; a run of another kind than `kind` is an error.
    pub async fn get_of_kind(
        &self,
        namespace: &Namespace,
        run_id: RunId,
        kind: Option<RunKind>,
    ) -> Result<RunDetail, EngineError> {
        let detail = self.get(namespace, run_id).await?;
        run_is_of(&detail.run, kind)?;
        Ok(detail)
    }

    /// Runs without payloads, in the order of the ids; one that is missing is an error.
    pub async fn get_all(&self, namespace: &Namespace, ids: &[RunId]) -> Result<Vec<Run>, EngineError> {
        let found = self.inner.store.get_runs(Some(namespace), ids).await?;
        let by_id: std::collections::HashMap<_, _> = found.into_iter().map(|run| (run.id, run)).collect();
        ids.iter().map(|id| by_id.get(id).cloned().ok_or(EngineError::NotFound { run_id: *id })).collect()
    }

    /// The store, for reads.
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.inner.store
    }

    /// The clock by which due times and timers are judged.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The way to delivery.
    pub fn dispatch(&self) -> &Arc<dyn Dispatch> {
        &self.inner.dispatch
    }

    /// Follows the feed of all events and wakes those who wait in this process, until `stop`. Without it waits are
    /// slow polls.
    pub async fn run_feed(self, stop: CancellationToken) {
        crate::feed::run(&*self.inner.store, &self.inner.waits, stop).await;
    }

    pub(crate) fn send(&self, outbound: Outbound) {
        self.inner.wakes.wake(&outbound);
        self.inner.outbox.put(outbound);
    }
}

/// What a writer lane needs.
pub(crate) struct Lane {
    pub store: Arc<dyn RunStore>,
    pub clock: Arc<dyn Clock>,
    pub options: Options,
    outbox: Outbox,
    wakes: Wakes,
}

impl Lane {
    fn new(
        store: &Arc<dyn RunStore>,
        clock: &Arc<dyn Clock>,
        outbox: &Outbox,
        wakes: &Wakes,
        options: Options,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            options,
            outbox: outbox.clone(),
            wakes: wakes.clone(),
        }
    }

    pub fn send(&self, outbound: Outbound) {
        self.wakes.wake(&outbound);
        self.outbox.put(outbound);
    }
}

/// Who is woken by what a batch leaves to be done.
#[derive(Clone)]
pub(crate) struct Wakes {
    /// Who brings about the ends of children.
    pub cascades: Arc<Notify>,
    /// Who asks runs to give way.
    pub collisions: Arc<Notify>,
}

impl Wakes {
    fn wake(&self, outbound: &Outbound) {
        if outbound.cascade {
            self.cascades.notify_one();
        }
        if outbound.collision {
            self.collisions.notify_one();
        }
    }
}
