//! Entries of the wire to lines of the store, and back.

use tidegate_model::{RunId, limits};
use tidegate_proto::v1;
use tidegate_store::log::{LogBatch, LogLevel, LogLine, LogScope, StoredLine};
use tidegate_wire::{Violations, timestamp_from_proto, timestamp_to_proto};
use tonic::Status;

const MAX_LOGGER: usize = 256;
const MAX_MESSAGE: usize = 64 << 10;
const MAX_WRITER: usize = 256;
const CUT: &str = "… [cut]";
/// What a line takes in memory beside its texts.
const LINE_OVERHEAD: usize = 200;

/// Checks a batch; every fault is told with its field.
pub(crate) fn parse_batch(request: v1::IngestLogsRequest) -> Result<LogBatch, Status> {
    let namespace = tidegate_wire::namespace(&request.namespace)?;
    let mut violations = Violations::default();
    if !(1..=MAX_WRITER).contains(&request.writer_id.len()) {
        let n_bytes = request.writer_id.len();
        violations.add("writer_id", format!("has {n_bytes} bytes; 1 to {MAX_WRITER} are allowed"));
    }
    let n_entries = request.entries.len();
    if n_entries > limits::MAX_BATCH_SIZE {
        violations.add("entries", format!("has {n_entries}; at most {} are allowed", limits::MAX_BATCH_SIZE));
        return Err(tidegate_wire::invalid(violations.into_vec()));
    }
    let mut lines = Vec::with_capacity(n_entries);
    for (entry_idx, entry) in request.entries.into_iter().enumerate() {
        let mut wrong = Violations::below(format!("entries[{entry_idx}]."));
        lines.extend(parse_line(entry, &mut wrong));
        for violation in wrong.into_vec() {
            violations.add(&violation.field, violation.description);
        }
    }
    if violations.is_empty() {
        Ok(LogBatch { namespace, writer: request.writer_id, lines })
    } else {
        Err(tidegate_wire::invalid(violations.into_vec()))
    }
}

fn parse_line(entry: v1::LogEntry, violations: &mut Violations) -> Option<LogLine> {
    let run: Option<RunId> = violations.parse("run_id", &entry.run_id);
    let root =
        if entry.root_run_id.is_empty() { run } else { violations.parse("root_run_id", &entry.root_run_id) };
    if entry.attempt == 0 {
        violations.add("attempt", "is not set: attempts count from 1");
    }
    if entry.seq == 0 {
        violations.add("seq", "is not set: number the lines of this process from 1");
    }
    let logged_at = match &entry.logged_at {
        None => {
            violations.add("logged_at", "is not set");
            None
        }
        Some(logged_at) => {
            let parsed = timestamp_from_proto(logged_at);
            if parsed.is_none() {
                violations.add("logged_at", "is not a time between the years 1 and 9999");
            }
            parsed
        }
    };
    let level = parse_level("level", entry.level, violations);
    if !violations.is_empty() {
        return None;
    }
    Some(LogLine {
        run: run?,
        root: root?,
        attempt: entry.attempt,
        seq: entry.seq,
        logged_at: logged_at?,
        level: level?,
        logger: cut(entry.logger, MAX_LOGGER, ""),
        message: cut(entry.message, MAX_MESSAGE, CUT),
        // They come from a trace context that somebody else made: a wrong one is no reason to lose the line.
        trace_id: is_hex(&entry.trace_id, 32).then_some(entry.trace_id),
        span_id: is_hex(&entry.span_id, 16).then_some(entry.span_id),
    })
}

pub(crate) fn parse_level(field: &str, number: i32, violations: &mut Violations) -> Option<LogLevel> {
    let level = LogLevel::from_number(number);
    if level.is_none() {
        violations.add(field, format!("{number} is no severity: 0 to 24 are allowed"));
    }
    level
}

/// Whose lines are asked for: exactly one of the two ids is required.
pub(crate) fn parse_scope(run_id: &str, root_run_id: &str, violations: &mut Violations) -> Option<LogScope> {
    match (run_id.is_empty(), root_run_id.is_empty()) {
        (false, true) => violations.parse("run_id", run_id).map(LogScope::Run),
        (true, false) => violations.parse("root_run_id", root_run_id).map(LogScope::Tree),
        (true, true) => {
            violations.add("run_id", "neither run_id nor root_run_id is set: say whose lines");
            None
        }
        (false, false) => {
            violations.add("root_run_id", "run_id is set too: give one of them");
            None
        }
    }
}

pub(crate) fn entry_to_proto(stored: StoredLine) -> v1::LogEntry {
    let line = stored.line;
    v1::LogEntry {
        run_id: line.run.to_string(),
        root_run_id: line.root.to_string(),
        attempt: line.attempt,
        seq: line.seq,
        logged_at: Some(timestamp_to_proto(line.logged_at)),
        level: line.level.number().into(),
        logger: line.logger,
        message: line.message,
        trace_id: line.trace_id.unwrap_or_default(),
        span_id: line.span_id.unwrap_or_default(),
    }
}

/// Bytes of a batch in memory, roughly.
pub(crate) fn size_of_batch(batch: &LogBatch) -> usize {
    batch.lines.iter().map(size_of_line).sum()
}

/// Bytes of a line in memory, roughly.
pub(crate) fn size_of_line(line: &LogLine) -> usize {
    line.message.len() + line.logger.len() + LINE_OVERHEAD
}

fn cut(mut text: String, max: usize, mark: &str) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - mark.len()));
        text.push_str(mark);
    }
    text
}

fn is_hex(text: &str, n_digits: usize) -> bool {
    text.len() == n_digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn entry() -> v1::LogEntry {
        v1::LogEntry {
            run_id: RunId::new().to_string(),
            attempt: 1,
            seq: 1,
            logged_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..Default::default()
        }
    }

    fn batch(entries: Vec<v1::LogEntry>) -> v1::IngestLogsRequest {
        v1::IngestLogsRequest { writer_id: "w".to_owned(), batch_seq: 1, entries, ..Default::default() }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = v1::LogEntry { message: "ä".repeat(40_000), logger: "x".repeat(300), ..entry() };
        let line = parse_batch(batch(vec![long])).unwrap().lines.remove(0);
        assert!(
            line.message.len() <= MAX_MESSAGE && line.message.ends_with("ä… [cut]"),
            "{}",
            line.message.len()
        );
        assert_eq!(line.logger.len(), MAX_LOGGER);
        assert_eq!(line.root, line.run);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = v1::LogEntry { run_id: "x".to_owned(), level: 99, ..Default::default() };
        let status = parse_batch(batch(vec![entry(), wrong])).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        for field in ["run_id", "attempt", "seq", "logged_at", "level"] {
            assert!(
                status.message().contains(&format!("entries[1].{field}:")),
                "{field}: {}",
                status.message()
            );
        }
        let no_writer = v1::IngestLogsRequest { writer_id: String::new(), ..batch(vec![]) };
        assert!(parse_batch(no_writer).unwrap_err().message().contains("writer_id"));
        assert!(parse_batch(batch(vec![entry(); 1_001])).unwrap_err().message().contains("entries"));
    }

    #[test]
    fn a_wrong_trace_id_is_left_out() {
        let odd =
            v1::LogEntry { trace_id: "zz".to_owned(), span_id: "00f067aa0ba902b7".to_owned(), ..entry() };
        let line = parse_batch(batch(vec![odd])).unwrap().lines.remove(0);
        assert_eq!((line.trace_id, line.span_id.as_deref()), (None, Some("00f067aa0ba902b7")));
    }
}
