use tidegate_model::{Worker, WorkerAbout, WorkerEnd, WorkerLoad};
use tidegate_proto::v1;

use crate::{timestamp_from_proto, timestamp_to_proto};

/// A worker as it is told to people and between services.
pub fn worker_to_proto(worker: Worker) -> v1::Worker {
    let Worker { id, about, load, came_at, end } = worker;
    let told_end = match end {
        None => v1::WorkerEnd::Unspecified,
        Some(WorkerEnd::Drained) => v1::WorkerEnd::Drained,
        Some(WorkerEnd::Left) => v1::WorkerEnd::Left,
        Some(WorkerEnd::Lost) => v1::WorkerEnd::Lost,
    };
    v1::Worker {
        id: id.to_string(),
        work_pool: about.work_pool.map(|pool| pool.to_string()).unwrap_or_default(),
        queues: about.queues.iter().map(ToString::to_string).collect(),
        labels: about.labels,
        sdk: about.sdk,
        n_free_task_slots: load.n_free_task_slots,
        n_free_flow_slots: load.n_free_flow_slots,
        n_runs: load.n_runs,
        last_seen_at: Some(timestamp_to_proto(load.last_seen_at)),
        is_live: end.is_none(),
        is_draining: load.is_draining && end.is_none(),
        n_functions: about.n_functions,
        name: about.name,
        host: about.host,
        process_id: about.process_id,
        n_task_slots: about.n_task_slots,
        n_flow_slots: about.n_flow_slots,
        came_at: Some(timestamp_to_proto(came_at)),
        end: told_end.into(),
    }
}

/// As a service has told it; `None`: it is none that this version reads.
pub fn worker_from_proto(worker: v1::Worker) -> Option<Worker> {
    let end = match worker.end() {
        v1::WorkerEnd::Unspecified => None,
        v1::WorkerEnd::Drained => Some(WorkerEnd::Drained),
        v1::WorkerEnd::Left => Some(WorkerEnd::Left),
        v1::WorkerEnd::Lost => Some(WorkerEnd::Lost),
    };
    let work_pool = match worker.work_pool.as_str() {
        "" => None,
        name => Some(name.parse().ok()?),
    };
    let about = WorkerAbout {
        name: worker.name,
        host: worker.host,
        process_id: worker.process_id,
        sdk: worker.sdk,
        work_pool,
        queues: worker.queues.iter().map(|queue| queue.parse().ok()).collect::<Option<_>>()?,
        n_functions: worker.n_functions,
        labels: worker.labels,
        n_task_slots: worker.n_task_slots,
        n_flow_slots: worker.n_flow_slots,
    };
    let load = WorkerLoad {
        last_seen_at: timestamp_from_proto(&worker.last_seen_at?)?,
        n_free_task_slots: worker.n_free_task_slots,
        n_free_flow_slots: worker.n_free_flow_slots,
        n_runs: worker.n_runs,
        is_draining: worker.is_draining,
    };
    let came_at = timestamp_from_proto(&worker.came_at?)?;
    Some(Worker { id: worker.id.parse().ok()?, about, load, came_at, end })
}

#[cfg(test)]
mod tests {
    use tidegate_model::Timestamp;

    use super::*;

    #[test]
    fn a_worker_comes_out_as_it_went_in() {
        for end in [None, Some(WorkerEnd::Drained), Some(WorkerEnd::Left), Some(WorkerEnd::Lost)] {
            let about = WorkerAbout {
                name: "nightly".to_owned(),
                host: "node-1".to_owned(),
                process_id: 7,
                sdk: "test/0".to_owned(),
                work_pool: Some("site".parse().unwrap()),
                queues: vec!["b".parse().unwrap(), "a".parse().unwrap()],
                n_functions: 3,
                labels: [("gpu".to_owned(), "a100".to_owned())].into(),
                n_task_slots: 4,
                n_flow_slots: 5,
            };
            let load = WorkerLoad {
                last_seen_at: Timestamp::from_micros(1_800_000_000_000_001),
                n_free_task_slots: 1,
                n_free_flow_slots: 2,
                n_runs: 6,
                is_draining: end.is_none(),
            };
            let came_at = Timestamp::from_micros(1_700_000_000_000_000);
            let worker = Worker { id: "w:7:0f".parse().unwrap(), about, load, came_at, end };
            assert_eq!(worker_from_proto(worker_to_proto(worker.clone())), Some(worker));
        }
    }
}
