use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_proto::v1::{ConcurrencyLimit, ConcurrencySlot};

use super::{
    json::time_json,
    table::Table,
    text::{duration_text, instant, printable, time_text},
};

/// `concurrency ls`.
pub fn limit_table(limits: &[ConcurrencyLimit]) -> String {
    let mut table = Table::new(&["NAME", "SLOTS", "TAKEN", "WAITING", "CHANGED"]);
    for limit in limits {
        table.row(vec![
            printable(&limit.name),
            limit.max_slots.to_string(),
            limit.used_slots.to_string(),
            limit.waiting_runs.to_string(),
            time_text(limit.updated_at),
        ]);
    }
    table.text()
}

/// `concurrency get`: the limit, and below it who has its slots.
pub fn limit_detail(limit: &ConcurrencyLimit, slots: &[ConcurrencySlot], now: Timestamp) -> String {
    let mut text = limit_table(std::slice::from_ref(limit));
    if !slots.is_empty() {
        let mut table = Table::new(&["RUN", "SINCE", "FOR"]);
        for slot in slots {
            let since = slot.acquired_at.and_then(instant);
            let held_for =
                since.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
            table.row(vec![
                slot.run_id.clone(),
                time_text(slot.acquired_at),
                held_for.map(duration_text).unwrap_or_default(),
            ]);
        }
        let _ = write!(text, "\n{}", table.text()); // writing to a String cannot fail
    }
    let n_more = limit.used_slots.saturating_sub(slots.len() as u64);
    if n_more > 0 {
        let _ = writeln!(text, "and {n_more} more");
    }
    text
}

/// A limit for programs.
pub fn limit_json(limit: &ConcurrencyLimit) -> Value {
    json!({
        "name": limit.name,
        "max_slots": limit.max_slots,
        "used_slots": limit.used_slots,
        "waiting_runs": limit.waiting_runs,
        "created_at": time_json(limit.created_at),
        "updated_at": time_json(limit.updated_at),
    })
}

/// A slot for programs.
pub fn slot_json(slot: &ConcurrencySlot) -> Value {
    json!({ "run_id": slot.run_id, "acquired_at": time_json(slot.acquired_at) })
}
