//! What all replicas know of the workers of this one, and what people ask of workers.

use std::time::Duration;

use tidegate_delivery::{Error, WorkerNews, WorkerQuery, WorkerTerms};
use tidegate_model::{Namespace, WorkPoolName, WorkerAbout, WorkerEnd, WorkerId, WorkerLoad, limits};
use tidegate_proto::internal::{
    DrainWorkerRequest, DrainWorkerResponse, ListWorkersRequest, ListWorkersResponse,
};
use tidegate_wire::{Violations, invalid, to_status, worker_to_proto};
use tokio::time::timeout;
use tonic::Status;

use crate::{
    pool::Chain,
    shared::Shared,
    stream::{Introduced, WorkerStream},
};

/// A worker whose replica has died is lost after this; all are told of every few seconds.
const LIVE_FOR: Duration = Duration::from_secs(15);
/// For how long people are told of a worker that has ended.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
const TERMS: WorkerTerms = WorkerTerms { live_for: LIVE_FOR, kept_for: KEPT_FOR };
/// How long a stream waits until others know of it. Beyond that, the next round tells.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells of all workers of this replica, or of those of a tenant. Those that were asked to drain, and did not hear of
/// it, hear of it now.
pub(crate) async fn tell_all(shared: &Shared, namespace: Option<&Namespace>) -> Result<(), Error> {
    let mut streams = shared.workers.streams_with_runs();
    streams.retain(|(stream, _)| {
        stream.introduced.is_some() && namespace.is_none_or(|namespace| *namespace == stream.namespace)
    });
    for streams in streams.chunks(limits::MAX_BATCH_SIZE) {
        let news = streams.iter().filter_map(|(stream, n_runs)| news_of(shared, stream, *n_runs, None));
        let news: Vec<_> = news.collect();
        let asked = shared.delivery.tell_workers(&news, TERMS).await?;
        for ((stream, _), _) in streams.iter().zip(asked).filter(|(_, asked)| *asked) {
            stream.ask_to_drain();
        }
    }
    Ok(())
}

/// Tells that a worker has come, or has come back, or how it has ended.
pub(crate) async fn tell_one(shared: &Shared, stream: &WorkerStream, n_runs: usize, end: Option<WorkerEnd>) {
    let Some(news) = news_of(shared, stream, n_runs, end) else { return };
    let worker_id = &stream.worker_id;
    match timeout(PATIENCE, shared.delivery.tell_workers(std::slice::from_ref(&news), TERMS)).await {
        Ok(Ok(asked)) => {
            if asked.first() == Some(&true) && end.is_none() {
                stream.ask_to_drain();
            }
        }
        Ok(Err(error)) => {
            let why = Chain(&error);
            tracing::warn!(worker.id = %worker_id, "others do not know yet how {worker_id} stands: {why}");
        }
        Err(_) => {
            tracing::warn!(worker.id = %worker_id, "others do not know yet how {worker_id} stands: no answer in {PATIENCE:?}");
        }
    }
}

fn news_of(
    shared: &Shared,
    stream: &WorkerStream,
    n_runs: usize,
    end: Option<WorkerEnd>,
) -> Option<WorkerNews> {
    let Introduced { stream: name, opened_at, about } = stream.introduced.as_ref()?;
    let free = stream.credits(*shared.config.lease.duration);
    let load = WorkerLoad {
        last_seen_at: shared.clock.now() - stream.silent_for(),
        n_free_task_slots: free.tasks,
        n_free_flow_slots: free.flows,
        n_runs: u32::try_from(n_runs).unwrap_or(u32::MAX),
        is_draining: stream.draining().is_cancelled(),
    };
    Some(WorkerNews {
        namespace: stream.namespace.clone(),
        worker_id: stream.worker_id.clone(),
        stream: name.clone(),
        opened_at: *opened_at,
        about: WorkerAbout::clone(about),
        load,
        end,
    })
}

/// A page of the workers of all replicas.
pub(crate) async fn list(
    shared: &Shared,
    request: ListWorkersRequest,
) -> Result<ListWorkersResponse, Status> {
    let mut violations = Violations::default();
    let namespace: Option<Namespace> = violations.parse("namespace", &request.namespace);
    let work_pool: Option<WorkPoolName> = match request.work_pool.as_str() {
        "" => None,
        name => violations.parse("work_pool", name),
    };
    let after: Option<WorkerId> = match request.after.as_str() {
        "" => None,
        id => violations.parse("after", id),
    };
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    if !(1..=limits::MAX_WORKERS_OF_PAGE).contains(&limit) {
        let most = limits::MAX_WORKERS_OF_PAGE;
        violations.add("limit", format!("is {limit}: 1 to {most} are allowed"));
    }
    let Some(namespace) = namespace.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    if after.is_none() {
        // Those of this replica as they are now; others tell of theirs every few seconds.
        tell_all(shared, Some(&namespace)).await.map_err(|error| to_status(&error))?;
    }
    let query =
        WorkerQuery { namespace: &namespace, work_pool: work_pool.as_ref(), after: after.as_ref(), limit };
    let workers = shared.delivery.workers(query).await.map_err(|error| to_status(&error))?;
    Ok(ListWorkersResponse { workers: workers.into_iter().map(worker_to_proto).collect() })
}

/// Has a worker drain, whichever replica has its stream.
pub(crate) async fn drain(
    shared: &Shared,
    request: DrainWorkerRequest,
) -> Result<DrainWorkerResponse, Status> {
    let mut violations = Violations::default();
    let namespace: Option<Namespace> = violations.parse("namespace", &request.namespace);
    let worker_id: Option<WorkerId> = violations.parse("worker_id", &request.worker_id);
    let (Some(namespace), Some(worker_id)) = (namespace, worker_id) else {
        return Err(invalid(violations.into_vec()));
    };
    let is_live = shared.delivery.drain_worker(&namespace, &worker_id).await;
    let is_live = is_live.map_err(|error| to_status(&error))?;
    if is_live {
        shared.workers.drain(&namespace, &worker_id); // the hint comes, too
    }
    Ok(DrainWorkerResponse { is_live })
}
