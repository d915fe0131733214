use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{CountPrecision, GetQueueResponse, Queue, QueuePause};

use super::{
    json::{precision_text, time_json},
    table::Table,
    text::{printable, time_text},
};

/// `queue ls`.
pub fn queue_table(queues: &[Queue]) -> String {
    let mut table = Table::new(&["NAME", "SLOTS", "READY", "DELAYED", "CLAIMED", "PAUSED"]);
    for queue in queues {
        let depth = |count: fn(&tidegate_proto::v1::QueueDepth) -> u64| {
            queue.depth.as_ref().map(|depth| count(depth).to_string()).unwrap_or_default()
        };
        table.row(vec![
            printable(&queue.name),
            queue.max_slots.map_or_else(|| "no limit".to_owned(), |slots| slots.to_string()),
            depth(|depth| depth.ready_runs),
            depth(|depth| depth.delayed_runs),
            depth(|depth| depth.claimed_runs),
            queue.pause.as_ref().map(pause_text).unwrap_or_default(),
        ]);
    }
    table.text()
}

pub(super) fn pause_text(pause: &QueuePause) -> String {
    let mut text = time_text(pause.paused_at);
    for (word, value) in [(" by ", &pause.paused_by), (": ", &pause.reason)] {
        if !value.is_empty() {
            let _ = write!(text, "{word}{}", printable(value)); // writing to a String cannot fail
        }
    }
    text
}

/// A number of runs, as far as it is known.
pub fn count_text(count: u64, precision: CountPrecision) -> String {
    match precision {
        CountPrecision::Exact => count.to_string(),
        CountPrecision::Estimated => format!("about {count}"),
        CountPrecision::AtLeast => format!("at least {count}"),
        CountPrecision::Unspecified => "an unknown number of".to_owned(),
    }
}

/// `queue get`: the queue, and below it what goes on in it.
pub fn queue_detail(found: &GetQueueResponse) -> String {
    let mut text = queue_table(found.queue.as_slice());
    let GetQueueResponse { waiting_runs, awaiting_slot_runs, held_runs, .. } = found;
    let waiting = count_text(*waiting_runs, found.waiting_precision());
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{waiting} runs wait, {awaiting_slot_runs} of them for a slot; {held_runs} are held"
    );
    let _ = match &found.workers {
        Some(workers) => writeln!(
            text,
            "{} workers serve it, with {} free slots for tasks and {} for flows",
            workers.n_workers, workers.n_free_task_slots, workers.n_free_flow_slots
        ),
        None => writeln!(text, "task-queue does not answer: how many workers serve it is not known"),
    };
    text
}

/// A queue for programs.
pub fn queue_json(queue: &Queue) -> Value {
    json!({
        "name": queue.name,
        "max_slots": queue.max_slots,
        "pause": queue.pause.as_ref().map(|pause| json!({
            "paused_at": time_json(pause.paused_at),
            "paused_by": pause.paused_by,
            "reason": pause.reason,
        })),
        "depth": queue.depth.as_ref().map(|depth| json!({
            "ready_runs": depth.ready_runs,
            "delayed_runs": depth.delayed_runs,
            "claimed_runs": depth.claimed_runs,
        })),
        "created_at": time_json(queue.created_at),
        "updated_at": time_json(queue.updated_at),
    })
}

/// The same with what goes on in it.
pub fn queue_detail_json(found: &GetQueueResponse) -> Value {
    let mut value = queue_json(&found.queue.clone().unwrap_or_default());
    let is_counted = found.waiting_precision() != CountPrecision::Unspecified;
    value["waiting_runs"] = is_counted.then_some(found.waiting_runs).into();
    value["waiting_precision"] = precision_text(found.waiting_precision()).into();
    value["awaiting_slot_runs"] = found.awaiting_slot_runs.into();
    value["held_runs"] = found.held_runs.into();
    value["workers"] = found.workers.as_ref().map_or(Value::Null, |workers| {
        json!({
            "n_workers": workers.n_workers,
            "n_free_task_slots": workers.n_free_task_slots,
            "n_free_flow_slots": workers.n_free_flow_slots,
        })
    });
    value
}
