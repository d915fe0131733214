use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_proto::v1::{CollisionPolicy, ConcurrencyLimit, ConcurrencySlot, RateLimit};

use super::{
    json::time_json,
    table::Table,
    text::{duration_text, instant, printable, time_text},
};

/// `concurrency ls`.
pub fn limit_table(limits: &[ConcurrencyLimit]) -> String {
    let mut table =
        Table::new(&["NAME", "SLOTS", "TAKEN", "RATE", "TOKENS", "ON COLLISION", "WAITING", "CHANGED"]);
    for limit in limits {
        table.row(vec![
            printable(&limit.name),
            number_text(limit.max_slots),
            limit.used_slots.to_string(),
            limit.rate.as_ref().map_or_else(|| "-".to_owned(), rate_text),
            number_text(limit.free_tokens),
            collision_text(limit.on_collision()).to_owned(),
            limit.waiting_runs.to_string(),
            time_text(limit.updated_at),
        ]);
    }
    table.text()
}

fn number_text(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// As it is set, with the burst where that is another: `10 in 1.0 s burst 20`.
fn rate_text(rate: &RateLimit) -> String {
    let period = rate.period.and_then(|period| Duration::try_from(period).ok()).unwrap_or_default();
    let burst = if rate.burst == rate.max_starts { String::new() } else { format!(" burst {}", rate.burst) };
    format!("{} in {}{burst}", rate.max_starts, duration_text(period))
}

const fn collision_text(policy: CollisionPolicy) -> &'static str {
    match policy {
        CollisionPolicy::Unspecified | CollisionPolicy::Wait => "wait",
        CollisionPolicy::Skip => "skip",
        CollisionPolicy::CancelOldest => "cancel-oldest",
        CollisionPolicy::CancelNewest => "cancel-newest",
    }
}

/// `concurrency get`: the limit, and below it who has its slots.
pub fn limit_detail(limit: &ConcurrencyLimit, slots: &[ConcurrencySlot], now: Timestamp) -> String {
    let mut text = limit_table(std::slice::from_ref(limit));
    if !limit.template.is_empty() {
        let _ = writeln!(text, "bound by {}", printable(&limit.template));
    }
    if limit.next_token_at.is_some() {
        let _ = writeln!(text, "the next token comes at {}", time_text(limit.next_token_at));
    }
    if !slots.is_empty() {
        let has_several = slots.iter().any(|slot| slot.slot_count > 1);
        let mut columns = vec!["LIMIT", "RUN", "SINCE", "FOR"];
        columns.extend(has_several.then_some("SLOTS"));
        let mut table = Table::new(&columns);
        for slot in slots {
            let since = slot.acquired_at.and_then(instant);
            let held_for =
                since.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
            let mut row = vec![
                printable(&slot.limit),
                if slot.run_id.is_empty() { format!("code {}", slot.owner_id) } else { slot.run_id.clone() },
                time_text(slot.acquired_at),
                held_for.map(duration_text).unwrap_or_default(),
            ];
            row.extend(has_several.then(|| slot.slot_count.to_string()));
            table.row(row);
        }
        let _ = write!(text, "\n{}", table.text()); // writing to a String cannot fail
    }
    let n_shown: u64 = slots.iter().map(|slot| u64::from(slot.slot_count.max(1))).sum();
    let n_more = limit.used_slots.saturating_sub(n_shown);
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
        "rate": limit.rate.as_ref().map(rate_json),
        "free_tokens": limit.free_tokens,
        "next_token_at": time_json(limit.next_token_at),
        "on_collision": limit.on_collision().as_str_name().trim_start_matches("COLLISION_POLICY_"),
        "template": limit.template,
    })
}

/// A rate for programs.
pub fn rate_json(rate: &RateLimit) -> Value {
    let period = rate.period.and_then(|period| Duration::try_from(period).ok()).unwrap_or_default();
    json!({ "max_starts": rate.max_starts, "period_seconds": period.as_secs_f64(), "burst": rate.burst })
}

/// A slot for programs.
pub fn slot_json(slot: &ConcurrencySlot) -> Value {
    json!({
        "limit": slot.limit,
        "run_id": slot.run_id,
        "acquired_at": time_json(slot.acquired_at),
        "owner_id": slot.owner_id,
        "lease_expires_at": time_json(slot.lease_expires_at),
        "slot_count": slot.slot_count.max(1),
    })
}
