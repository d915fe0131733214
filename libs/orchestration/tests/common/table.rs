//! The table of states and events: what the rules are held to, and what the documents show.

use tidegate_orchestration::Run;

use super::{NOW, PAUSE};

/// What becomes of a run in a state that takes an event.
pub struct Row {
    /// As in `common::phases`.
    pub state: &'static str,
    /// As in `common::events`.
    pub event: &'static str,
    /// For a queued run: the states entered, `same` where nothing changes, `no` where it is refused.
    pub queued: &'static str,
    /// For a local run.
    pub local: &'static str,
}

const fn row(state: &'static str, event: &'static str, queued: &'static str, local: &'static str) -> Row {
    Row { state, event, queued, local }
}

/// A row for each pair that is not refused. The runs have no retries left, and a crash of theirs is forgiven.
pub const TABLE: &[Row] = &[
    row("SCHEDULED", "claimed", "PENDING/Pending", "no"),
    row("SCHEDULED", "slot_refused", "SCHEDULED/AwaitingConcurrencySlot", "no"),
    row("SCHEDULED", "slot_skipped", "CANCELLED/Skipped", "no"),
    row("SCHEDULED", "cache_hit", "COMPLETED/Cached", "COMPLETED/Cached"),
    row("SCHEDULED", "started", "no", "RUNNING/Running"),
    row("SCHEDULED", "upstream_failed", "no", "FAILED/UpstreamFailed"),
    row("SCHEDULED", "crashed", "no", "CRASHED/Crashed"),
    row("SCHEDULED", "timer_fired", "SCHEDULED/Late", "no"),
    row("SCHEDULED", "cancel_requested", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("SCHEDULED", "pause_requested", "PAUSED/Paused", "no"),
    row("SCHEDULED", "resume_requested", "same", "same"),
    row("SCHEDULED", "adopted", "no", "PENDING/Pending"),
    row("PENDING", "started", "RUNNING/Running", "RUNNING/Running"),
    row("PENDING", "upstream_failed", "FAILED/UpstreamFailed", "FAILED/UpstreamFailed"),
    row("PENDING", "crashed", "CRASHED/Crashed SCHEDULED/Rescheduled", "CRASHED/Crashed"),
    row("PENDING", "released", "SCHEDULED/Released", "no"),
    row("PENDING", "timer_fired", "SCHEDULED/Released", "no"),
    row("PENDING", "cancel_requested", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("PENDING", "pause_requested", "PAUSED/Paused", "no"),
    row("PENDING", "resume_requested", "same", "same"),
    row("PENDING", "adopted", "no", "PENDING/Pending"),
    row("RUNNING", "started", "same", "same"),
    row("RUNNING", "completed", "COMPLETED/Completed", "COMPLETED/Completed"),
    row("RUNNING", "failed", "FAILED/Failed", "FAILED/Failed"),
    row("RUNNING", "timed_out", "FAILED/TimedOut", "FAILED/TimedOut"),
    row("RUNNING", "upstream_failed", "FAILED/UpstreamFailed", "FAILED/UpstreamFailed"),
    row("RUNNING", "paused", "PAUSED/Paused", "PAUSED/Paused"),
    row("RUNNING", "paused, suspending", "PAUSED/Suspended", "no"),
    row("RUNNING", "crashed", "CRASHED/Crashed SCHEDULED/Rescheduled", "CRASHED/Crashed"),
    row("RUNNING", "timer_fired", "FAILED/TimedOut", "FAILED/TimedOut"),
    row("RUNNING", "cancel_requested", "CANCELLING/Cancelling", "CANCELLING/Cancelling"),
    row("RUNNING", "pause_requested", "PAUSED/Suspended", "no"),
    row("RUNNING", "resume_requested", "same", "same"),
    row("RUNNING", "adopted", "no", "PENDING/Pending"),
    row("PAUSED", "started", "same", "same"),
    row("PAUSED", "completed", "COMPLETED/Completed", "COMPLETED/Completed"),
    row("PAUSED", "failed", "FAILED/Failed", "FAILED/Failed"),
    row("PAUSED", "timed_out", "FAILED/TimedOut", "FAILED/TimedOut"),
    row("PAUSED", "paused", "same", "same"),
    row("PAUSED", "crashed", "CRASHED/Crashed SCHEDULED/Rescheduled", "CRASHED/Crashed"),
    row("PAUSED", "timer_fired", "FAILED/PauseExpired", "FAILED/PauseExpired"),
    row("PAUSED", "cancel_requested", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("PAUSED", "pause_requested", "same", "same"),
    row("PAUSED", "resume_requested", "RUNNING/Running", "RUNNING/Running"),
    row("PAUSED", "adopted", "no", "PENDING/Pending"),
    row("PAUSED without a process", "timer_fired", "FAILED/PauseExpired", "no"),
    row("PAUSED without a process", "cancel_requested", "CANCELLED/Cancelled", "no"),
    row("PAUSED without a process", "pause_requested", "same", "no"),
    row("PAUSED without a process", "resume_requested", "SCHEDULED/Resuming", "no"),
    row("CANCELLING", "started", "same", "same"),
    row("CANCELLING", "completed", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "failed", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "timed_out", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "upstream_failed", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "cancelled", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "crashed", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "timer_fired", "CANCELLED/Cancelled", "CANCELLED/Cancelled"),
    row("CANCELLING", "cancel_requested", "same", "same"),
    row("CANCELLING", "adopted", "no", "CANCELLED/Cancelled PENDING/Pending"),
    row("COMPLETED", "started", "same", "same"),
    row("COMPLETED", "completed", "same", "same"),
    row("COMPLETED", "cancel_requested", "same", "same"),
    row("COMPLETED", "retry_requested", "SCHEDULED/AwaitingRetry", "no"),
    row("COMPLETED", "adopted", "no", "same"),
    row("FAILED", "started", "same", "same"),
    row("FAILED", "failed", "same", "same"),
    row("FAILED", "timed_out", "same", "same"),
    row("FAILED", "upstream_failed", "same", "same"),
    row("FAILED", "cancel_requested", "same", "same"),
    row("FAILED", "retry_requested", "SCHEDULED/AwaitingRetry", "no"),
    row("FAILED", "adopted", "no", "PENDING/Pending"),
    row("CRASHED", "cancel_requested", "same", "same"),
    row("CRASHED", "retry_requested", "SCHEDULED/AwaitingRetry", "no"),
    row("CRASHED", "adopted", "no", "PENDING/Pending"),
    row("CANCELLED", "started", "same", "same"),
    row("CANCELLED", "completed", "same", "same"),
    row("CANCELLED", "failed", "same", "same"),
    row("CANCELLED", "timed_out", "same", "same"),
    row("CANCELLED", "upstream_failed", "same", "same"),
    row("CANCELLED", "cancelled", "same", "same"),
    row("CANCELLED", "cancel_requested", "same", "same"),
    row("CANCELLED", "retry_requested", "SCHEDULED/AwaitingRetry", "no"),
    row("CANCELLED", "adopted", "no", "PENDING/Pending"),
];

/// Runs that differ from those of [`TABLE`], and the rows in which that shows.
pub struct Variant {
    /// What is so of them, as the documents say it.
    pub when: &'static str,
    /// Makes a run of the table one of them.
    pub adapt: fn(&mut Run),
    /// What takes the place of the table's rows.
    pub rows: &'static [Row],
}

/// All conditions on which a rule turns, one at a time.
pub const VARIANTS: &[Variant] = &[
    Variant {
        when: "a retry is left",
        adapt: |run| run.policies.retry.max_retries = 1,
        rows: &[
            row("RUNNING", "failed", FAILED_AND_RETRIED, FAILED_AND_RETRIED),
            row("RUNNING", "timed_out", TIMED_OUT_AND_RETRIED, TIMED_OUT_AND_RETRIED),
            row("RUNNING", "timer_fired", TIMED_OUT_AND_RETRIED, TIMED_OUT_AND_RETRIED),
            row("PAUSED", "failed", FAILED_AND_RETRIED, FAILED_AND_RETRIED),
            row("PAUSED", "timed_out", TIMED_OUT_AND_RETRIED, TIMED_OUT_AND_RETRIED),
        ],
    },
    Variant {
        when: "no crash is forgiven",
        adapt: |run| run.policies.crash.max_crashes = 0,
        rows: &[
            row("PENDING", "crashed", "CRASHED/Crashed", "CRASHED/Crashed"),
            row("RUNNING", "crashed", "CRASHED/Crashed", "CRASHED/Crashed"),
            row("PAUSED", "crashed", "CRASHED/Crashed", "CRASHED/Crashed"),
        ],
    },
    Variant {
        when: "it should have started by now",
        adapt: |run| run.expires_at = (!run.is_local()).then_some(NOW),
        rows: &[
            row("SCHEDULED", "claimed", "CANCELLED/Expired", "no"),
            row("SCHEDULED", "timer_fired", "CANCELLED/Expired", "no"),
        ],
    },
    Variant {
        when: "it went on after this pause before",
        adapt: |run| run.resumed_keys = vec![PAUSE.to_owned()],
        rows: &[
            row("RUNNING", "paused", "same", "same"),
            row("RUNNING", "paused, suspending", "same", "same"),
        ],
    },
];

const FAILED_AND_RETRIED: &str = "FAILED/Failed SCHEDULED/AwaitingRetry";
const TIMED_OUT_AND_RETRIED: &str = "FAILED/TimedOut SCHEDULED/AwaitingRetry";

/// The outcome for a pair, where `rows` take the place of the table's: `no` where it has no row.
pub fn outcome(rows: &[Row], state: &str, event: &str, is_local: bool) -> &'static str {
    let row = rows.iter().chain(TABLE).find(|row| row.state == state && row.event == event);
    row.map_or("no", |row| if is_local { row.local } else { row.queued })
}
