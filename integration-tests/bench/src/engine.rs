//! An engine with nobody behind it: what it would hand to delivery is dropped.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidegate_engine::{
    Create, DeliveryFacts, Dispatch, DispatchError, Engine, LeaseQuestion, Operation, Options, QueueDepth,
    QueueTraffic, Standing, StopOrder,
};
use tidegate_model::{
    Epoch, Namespace, Payload, QueueName, RunId, RunKind, SystemClock, Timestamp, WorkPoolName, Worker,
    WorkerId, limits,
};
use tidegate_orchestration::{Draft, Event, Holder, Placement, Run};
use tidegate_store::RunStore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{load::drive, settings::Settings};

/// Bytes of the parameters, and of the result, of each run.
pub(crate) const PAYLOAD_SIZE: usize = 100;
/// What the worker of all runs is called.
pub(crate) const HOLDER: &str = "worker:bench:1";
/// Callers at a time for each lane: enough that a full batch waits while another is written.
const CALLERS_OF_A_LANE: usize = 2 * limits::MAX_BATCH_SIZE;

/// What a caller keeps of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub id: RunId,
    pub epoch: Epoch,
}

impl From<Run> for Known {
    fn from(run: Run) -> Self {
        Self { id: run.id, epoch: run.epoch }
    }
}

/// An engine with its background tasks.
pub(crate) struct RunningEngine {
    pub engine: Engine,
    options: Options,
    holder: Holder,
    _tasks: JoinSet<()>,
}

impl RunningEngine {
    pub fn start(store: Arc<dyn RunStore>, settings: &Settings) -> anyhow::Result<Self> {
        let mut options = Options::default();
        options.n_lanes = settings.lanes.unwrap_or(options.n_lanes);
        let (engine, background) = Engine::new(store, Arc::new(Nowhere), Arc::new(SystemClock), options);
        let mut tasks = JoinSet::new();
        for (_, task) in background {
            tasks.spawn(task);
        }
        if settings.feed {
            tasks.spawn(engine.clone().run_feed(CancellationToken::new()));
        }
        let holder = HOLDER.parse().map_err(|text| anyhow::anyhow!("{text} is not a holder"))?;
        Ok(Self { engine, options, holder, _tasks: tasks })
    }

    /// Lanes for creates, and as many for operations.
    pub fn n_lanes(&self) -> usize {
        self.options.n_lanes.get()
    }

    /// Creates all, as many callers do, and gives the runs and the time it took.
    pub async fn create(&self, creates: Vec<Create>) -> anyhow::Result<(Vec<Known>, Duration)> {
        let work =
            creates.into_iter().map(async |create| anyhow::Ok(self.engine.create(create).await?.run.into()));
        drive(work, self.n_callers()).await
    }

    /// The same for an operation on each.
    pub async fn operate(
        &self,
        runs: &[Known],
        operation: impl Fn(Known) -> Operation,
    ) -> anyhow::Result<(Vec<Known>, Duration)> {
        let operations: Vec<Operation> = runs.iter().copied().map(operation).collect();
        let work =
            operations.into_iter().map(async |one| anyhow::Ok(self.engine.operate(one).await?.run.into()));
        drive(work, self.n_callers()).await
    }

    /// Takes each run from its create to its end, as many workers do, and gives the time it took.
    pub async fn whole_lives(&self, creates: Vec<Create>) -> anyhow::Result<(Vec<Known>, Duration)> {
        let work = creates.into_iter().map(async |create| {
            let run = self.engine.create(create).await?.run.into();
            let run = self.engine.operate(self.claim(run)).await?.run.into();
            let run = self.engine.operate(start(run)).await?.run.into();
            anyhow::Ok(self.engine.operate(complete(run)).await?.run.into())
        });
        // Of the four steps one is a create: there are as many callers for each kind of lane.
        drive(work, 4 * self.n_callers()).await
    }

    pub fn claim(&self, run: Known) -> Operation {
        Operation::Claim {
            namespace: Namespace::default(),
            run_id: run.id,
            epoch: run.epoch,
            holder: self.holder.clone(),
        }
    }

    fn n_callers(&self) -> usize {
        CALLERS_OF_A_LANE * self.n_lanes()
    }
}

/// Tasks to be created.
pub(crate) fn creates(n_runs: usize) -> Vec<Create> {
    let create = |_| Create {
        draft: Draft::new(
            RunId::new(),
            RunKind::Task,
            "resize".parse().expect("is a name"),
            Placement::Queue(QueueName::default()),
        ),
        parameters: Some(payload()),
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
    };
    (0..n_runs).map(create).collect()
}

pub(crate) fn start(run: Known) -> Operation {
    report(run, Event::Started, None)
}

pub(crate) fn complete(run: Known) -> Operation {
    report(run, Event::Completed, Some(payload()))
}

pub(crate) fn report(run: Known, event: Event, result: Option<Payload>) -> Operation {
    let (namespace, run_id, epoch) = (Namespace::default(), run.id, run.epoch);
    Operation::Report { namespace, run_id, epoch, event, happened_at: None, result }
}

fn payload() -> Payload {
    Payload::inline(vec![7; PAYLOAD_SIZE])
}

struct Nowhere;

#[async_trait]
impl Dispatch for Nowhere {
    async fn enqueue(&self, _runs: &[Run]) -> Result<(), DispatchError> {
        Ok(())
    }

    async fn stop(&self, _orders: &[StopOrder]) -> Result<(), DispatchError> {
        Ok(())
    }

    async fn check_leases(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, DispatchError> {
        Ok(vec![false; questions.len()])
    }

    async fn describe(&self, _run: &Run) -> Result<DeliveryFacts, DispatchError> {
        Ok(DeliveryFacts { standing: Standing::Unknown, n_workers: 0, n_free_slots: 0, n_serving: 0 })
    }

    async fn describe_queue(
        &self,
        _namespace: &Namespace,
        _queue: &QueueName,
    ) -> Result<QueueTraffic, DispatchError> {
        Ok(QueueTraffic::default())
    }

    async fn list_queues(
        &self,
        _namespace: &Namespace,
        _after: Option<&QueueName>,
        _limit: usize,
    ) -> Result<Vec<(QueueName, QueueDepth)>, DispatchError> {
        Ok(Vec::new())
    }

    async fn queue_resumed(&self, _namespace: &Namespace, _queue: &QueueName) -> Result<(), DispatchError> {
        Ok(())
    }

    async fn work_pool_resumed(
        &self,
        _namespace: &Namespace,
        _work_pool: &WorkPoolName,
    ) -> Result<(), DispatchError> {
        Ok(())
    }

    async fn count_pool_workers(
        &self,
        _namespace: &Namespace,
        _work_pool: &WorkPoolName,
    ) -> Result<u32, DispatchError> {
        Ok(0)
    }

    async fn list_workers(
        &self,
        _namespace: &Namespace,
        _work_pool: Option<&WorkPoolName>,
        _after: Option<&WorkerId>,
        _limit: usize,
    ) -> Result<Vec<Worker>, DispatchError> {
        Ok(Vec::new())
    }

    async fn drain_worker(
        &self,
        _namespace: &Namespace,
        _worker_id: &WorkerId,
    ) -> Result<bool, DispatchError> {
        Ok(false)
    }

    async fn born_at(&self) -> Result<Timestamp, DispatchError> {
        Ok(Timestamp::UNIX_EPOCH)
    }
}
