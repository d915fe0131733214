use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use tidegate_proto::v1::{LogEntry, LogLevel, Payload, Run, RunEvent, RunInput};
use tidegate_sdk_core::payload;

use super::{
    deployment::policies_text,
    table::Table,
    text::{kind_word, printable, run_duration_text, state_text, time_text},
};

/// The most characters of a value that a person is shown; `-o json` has all.
const MAX_SHOWN: usize = 2_000;

/// `run get`: what there is to know of a run, and its history.
pub fn run_detail(run: &Run, history: &[RunEvent], now: Timestamp) -> String {
    let state = run.state.clone().unwrap_or_default();
    let mut lines = vec![
        ("id", run.id.clone()),
        ("name", printable(&run.name)),
        ("run name", printable(&run.run_name)),
        ("kind", kind_word(run.kind()).to_owned()),
        ("state", state_text(Some(&state))),
        ("because", printable(&state.message)),
        ("attempt", run.attempt.to_string()),
        ("crashes", nonzero(run.crashes)),
        ("retries", nonzero(run.retries)),
        ("pool", printable(&run.work_pool)),
        ("queue", run.queue.clone()),
        ("session", run.session_id.clone()),
        ("holder", printable(&run.holder)),
        ("priority", if run.priority == 0 { String::new() } else { run.priority.to_string() }),
        ("tags", printable(&run.tags.join(", "))),
        ("labels", printable(&pairs(&run.labels).join(", "))),
        ("deployment", deployment_text(run)),
        ("schedule", printable(&run.schedule)),
        ("fire time", time_text(run.fire_at)),
        ("limits", printable(&run.concurrency_limits.join(", "))),
        ("fair by", printable(&run.fairness_key)),
        ("requires", printable(&pairs(&run.required_worker_labels).join(", "))),
        ("prefers", printable(&run.preferred_worker)),
        ("cache key", printable(&run.cache_key)),
        ("parent", run.parent_run_id.clone()),
        ("root", if run.root_run_id == run.id { String::new() } else { run.root_run_id.clone() }),
        (
            "policies",
            run.policies.as_ref().map(|policies| policies_text(policies, run.kind())).unwrap_or_default(),
        ),
        ("created", time_text(run.created_at)),
        ("due", time_text(run.due_at)),
        ("expires", time_text(run.expires_at)),
        ("started", time_text(run.started_at)),
        ("ended", time_text(run.ended_at)),
        ("pause", printable(&run.pause_key)),
        ("until", time_text(run.pause_expires_at)),
        ("duration", run_duration_text(run, now)),
        ("parameters", run.parameters.as_ref().map(payload_text).unwrap_or_default()),
        ("result", run.result.as_ref().map(payload_text).unwrap_or_default()),
    ];
    if let Some(failure) = &run.failure {
        lines.push(("failure", printable(&format!("{}: {}", failure.error_type, failure.message))));
    }
    let mut text = String::new();
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty() && value != "-") {
        let _ = writeln!(text, "{name:<10}  {value}"); // writing to a String cannot fail
    }
    if let Some(failure) = run.failure.as_ref().filter(|failure| !failure.traceback.is_empty()) {
        let _ =
            writeln!(text, "\n{}", failure.traceback.lines().map(printable).collect::<Vec<_>>().join("\n"));
    }
    if !history.is_empty() {
        let mut table = Table::new(&["SEQ", "TIME", "STATE", "ATTEMPT", "EPOCH", "HOLDER", "MESSAGE"]);
        for event in history {
            let state = event.state.clone().unwrap_or_default();
            table.row(vec![
                event.seq.to_string(),
                time_text(state.occurred_at),
                state_text(Some(&state)),
                event.attempt.to_string(),
                event.epoch.to_string(),
                printable(&event.holder),
                printable(&state.message),
            ]);
        }
        let _ = write!(text, "\n{}", table.text());
    }
    text
}

/// `run watch`: one event a line.
pub fn event_line(event: &RunEvent) -> String {
    let state = event.state.clone().unwrap_or_default();
    let mut line = format!(
        "{}  {}  {} {}  {}",
        time_text(state.occurred_at),
        event.run_id,
        kind_word(event.kind()),
        printable(&event.name),
        state_text(Some(&state)),
    );
    if event.attempt > 1 {
        let _ = write!(line, "  attempt {}", event.attempt);
    }
    if !state.message.is_empty() {
        let _ = write!(line, "  {}", printable(&state.message));
    }
    line
}

/// `run logs`: one line. `with_run` names the run, where lines of many are shown.
pub fn log_line(entry: &LogEntry, with_run: bool) -> String {
    let level = log_level_word(entry.level());
    let run = if with_run { format!("  {}", entry.run_id) } else { String::new() };
    let logger =
        if entry.logger.is_empty() { String::new() } else { format!("  {}", printable(&entry.logger)) };
    format!("{}{run}  {level:<5}{logger}  {}", time_text(entry.logged_at), printable(&entry.message))
}

/// `INFO`; `-` where it is not given.
pub fn log_level_word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Unspecified => "-",
        given => given.as_str_name().trim_start_matches("LOG_LEVEL_"),
    }
}

/// `run inputs`: what the pauses of a run ask for, and what they were given.
pub fn input_table(inputs: &[RunInput]) -> String {
    let mut table = Table::new(&["PAUSE", "REQUEST", "INPUT"]);
    for input in inputs {
        let text = |payload: &Option<Payload>| payload.as_ref().map(payload_text).unwrap_or_default();
        table.row(vec![printable(&input.pause_key), text(&input.request), text(&input.input)]);
    }
    table.text()
}

pub(super) fn pairs(labels: &BTreeMap<String, String>) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// The deployment of a run with the version that it was made by.
fn deployment_text(run: &Run) -> String {
    let name = printable(&run.deployment);
    if run.deployment_version == 0 { name } else { format!("{name}, version {}", run.deployment_version) }
}

fn nonzero(count: u32) -> String {
    if count == 0 { String::new() } else { count.to_string() }
}

fn payload_text(value: &Payload) -> String {
    if let Some(reference) = &value.reference {
        let (size, id) = (reference.size_bytes, &reference.object_id);
        let encoding = printable(payload::encoding(value));
        return format!("{size} bytes of {encoding} in object storage as {id}; --full fetches them");
    }
    match payload::encoding(value) {
        payload::NULL => String::new(),
        payload::JSON => {
            let text = printable(&String::from_utf8_lossy(&value.data));
            if text.chars().count() <= MAX_SHOWN {
                text
            } else {
                let cut: String = text.chars().take(MAX_SHOWN).collect();
                format!("{cut}… ({} bytes; -o json has all)", value.data.len())
            }
        }
        other => format!("{} bytes of {}", value.data.len(), printable(other)),
    }
}
