use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{Worker, WorkerEnd};

use super::{
    json::time_json,
    table::Table,
    text::{printable, time_text},
};

/// `worker ls`.
pub fn worker_table(workers: &[Worker]) -> String {
    let mut table = Table::new(&["ID", "NAME", "POOL", "STATE", "RUNS", "FREE", "LAST SEEN", "VERSION"]);
    for worker in workers {
        table.row(vec![
            printable(&worker.id),
            printable(&worker.name),
            printable(&worker.work_pool),
            state_word(worker).to_owned(),
            worker.n_runs.to_string(),
            free_text(worker),
            time_text(worker.last_seen_at),
            printable(&worker.sdk),
        ]);
    }
    table.text()
}

/// `worker get`: the worker, and below it what it takes.
pub fn worker_detail(worker: &Worker) -> String {
    let mut text = worker_table(std::slice::from_ref(worker));
    let queues = printable(&worker.queues.join(", "));
    let takes = match worker.n_functions {
        0 => format!("takes runs of pool {} from {queues}", printable(&worker.work_pool)),
        n => format!("serves {n} flows and tasks from {queues}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{takes}");
    if !worker.labels.is_empty() {
        let labels: Vec<_> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(text, "labels {}", printable(&labels.join(", ")));
    }
    let _ = writeln!(
        text,
        "came {}; process {} of {}",
        time_text(worker.came_at),
        worker.process_id,
        printable(&worker.host)
    );
    text
}

/// A worker for programs.
pub fn worker_json(worker: &Worker) -> Value {
    json!({
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "process_id": worker.process_id,
        "sdk": worker.sdk,
        "work_pool": worker.work_pool,
        "queues": worker.queues,
        "labels": worker.labels,
        "n_functions": worker.n_functions,
        "n_task_slots": worker.n_task_slots,
        "n_flow_slots": worker.n_flow_slots,
        "n_free_task_slots": worker.n_free_task_slots,
        "n_free_flow_slots": worker.n_free_flow_slots,
        "n_runs": worker.n_runs,
        "is_live": worker.is_live,
        "is_draining": worker.is_draining,
        "end": worker.end().as_str_name().trim_start_matches("WORKER_END_"),
        "came_at": time_json(worker.came_at),
        "last_seen_at": time_json(worker.last_seen_at),
    })
}

/// How it stands, in a word.
const fn state_word(worker: &Worker) -> &'static str {
    match worker.end {
        end if end == WorkerEnd::Drained as i32 => "drained",
        end if end == WorkerEnd::Left as i32 => "left",
        end if end == WorkerEnd::Lost as i32 => "lost",
        _ if worker.is_draining => "draining",
        _ => "live",
    }
}

/// Its free slots of how many, of each kind that it has.
fn free_text(worker: &Worker) -> String {
    let kinds = [
        (worker.n_free_task_slots, worker.n_task_slots, "tasks"),
        (worker.n_free_flow_slots, worker.n_flow_slots, "flows"),
    ];
    let told = kinds.iter().filter(|(free, slots, _)| free + slots > 0);
    told.map(|(free, slots, kind)| format!("{free} of {slots} {kind}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_with_how_they_stand() {
        let at = |second: i64| Some(prost_types::Timestamp { seconds: 1_800_000_000 + second, nanos: 0 });
        let night = Worker {
            id: "night:7:0f".into(),
            name: "night".into(),
            host: "node-1".into(),
            process_id: 7,
            sdk: "tidegate-worker/0.1.0".into(),
            work_pool: "site".into(),
            queues: vec!["urgent".into(), "plain".into()],
            labels: [("gpu".to_owned(), "a100".to_owned())].into(),
            n_free_flow_slots: 3,
            n_flow_slots: 4,
            n_runs: 1,
            is_live: true,
            came_at: at(0),
            last_seen_at: at(60),
            ..Worker::default()
        };
        let states = |end: WorkerEnd, is_draining| {
            state_word(&Worker { end: end.into(), is_draining, ..Worker::default() })
        };
        assert_eq!(states(WorkerEnd::Unspecified, true), "draining");
        assert_eq!(states(WorkerEnd::Drained, false), "drained");
        assert_eq!(states(WorkerEnd::Left, false), "left");
        assert_eq!(states(WorkerEnd::Lost, false), "lost");
        let functions = Worker {
            work_pool: String::new(),
            n_functions: 2,
            n_task_slots: 10,
            n_free_task_slots: 10,
            ..night.clone()
        };
        let table = worker_table(&[night.clone(), functions.clone()]);
        assert!(table.contains("live    1      3 of 4 flows"), "{table}");
        assert!(table.contains("10 of 10 tasks, 3 of 4 flows"), "{table}");
        let detail = worker_detail(&night);
        for told in ["takes runs of pool site from urgent, plain", "labels gpu=a100", "process 7 of node-1"] {
            assert!(detail.contains(told), "{detail}");
        }
        assert!(worker_detail(&functions).contains("serves 2 flows and tasks from urgent, plain"));
        assert_eq!(worker_json(&night)["end"], "UNSPECIFIED");
    }
}
