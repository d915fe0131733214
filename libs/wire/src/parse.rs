use std::{fmt::Display, str::FromStr, time::Duration};

use prost::Message as _;
use tidegate_model::{Clock as _, FieldViolation, Namespace, Payload, RunId, SystemClock, Timestamp, limits};
use tidegate_orchestration::{CrashPolicy, Draft, ParentPolicy, Placement, Policies, RetryPolicy};
use tidegate_proto::v1;
use tonic::Status;

use crate::{duration_from_proto, invalid_field, kind_from_proto, timestamp_from_proto};

const DAY: Duration = Duration::from_secs(86_400);

/// The faults of a request, gathered so that the caller learns all of them at once.
#[derive(Debug, Default)]
pub struct Violations {
    prefix: String,
    found: Vec<FieldViolation>,
}

impl Violations {
    /// Faults below a path: `runs[3].`.
    pub fn below(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), found: Vec::new() }
    }

    /// Notes a fault.
    pub fn add(&mut self, field: &str, description: impl Into<String>) {
        self.found.push(FieldViolation {
            field: format!("{}{field}", self.prefix),
            description: description.into(),
        });
    }

    /// Parses a text, or notes why it does not parse.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All faults.
    pub fn into_vec(self) -> Vec<FieldViolation> {
        self.found
    }
}

/// The namespace of a request; empty is the default one.
pub fn namespace(text: &str) -> Result<Namespace, Status> {
    if text.is_empty() {
        return Ok(Namespace::default());
    }
    text.parse().map_err(|error: tidegate_model::InvalidName| invalid_field("namespace", error.to_string()))
}

/// The page size of a request: `default` for 0, at most [`limits::MAX_PAGE_SIZE`].
pub fn page_size(asked: i32, default: usize) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(limits::MAX_PAGE_SIZE)),
        Err(_) => Err(invalid_field("page_size", format!("{asked} is negative; 0 means {default}"))),
    }
}

/// Checks a run to be created. `id` serves where the caller gave none.
///
/// The payload is given back apart from the draft, as no rule looks at it.
pub fn parse_draft(
    namespace: &Namespace,
    new: &v1::NewRun,
    id: RunId,
    violations: &mut Violations,
) -> Option<(Draft, Option<Payload>)> {
    let id = if new.id.is_empty() { Some(id) } else { violations.parse("id", &new.id) };
    let kind = kind_from_proto(new.kind);
    if kind.is_none() {
        violations
            .add("kind", format!("is {}: RUN_KIND_FLOW (1) or RUN_KIND_TASK (2) is required", new.kind));
    }
    let name = violations.parse("name", &new.name);
    if new.run_name.len() > limits::MAX_NAME_SIZE || new.run_name.chars().any(char::is_control) {
        violations.add(
            "run_name",
            format!(
                "has {} bytes; at most {} without control characters are allowed",
                new.run_name.len(),
                limits::MAX_NAME_SIZE
            ),
        );
    }
    let placement = match &new.placement {
        None => {
            violations.add("queue", "neither queue nor session_id is set: say who executes the run");
            None
        }
        Some(v1::new_run::Placement::Queue(queue)) => violations.parse("queue", queue).map(Placement::Queue),
        Some(v1::new_run::Placement::SessionId(id)) => {
            violations.parse("session_id", id).map(Placement::Session)
        }
    };
    let parent = if new.parent_run_id.is_empty() {
        None
    } else {
        violations.parse("parent_run_id", &new.parent_run_id)
    };
    let parameters = payload_from_proto(new.parameters.as_ref(), "parameters", violations);
    let policies = parse_policies(new.policies.as_ref(), violations);
    let due_at = new.due_at.as_ref().and_then(|due_at| parse_due_at(due_at, violations));
    if due_at.is_some() && matches!(placement, Some(Placement::Session(_))) {
        violations
            .add("due_at", "is set for a local run, which its process starts when it likes: use a queue");
    }
    if !(-100..=100).contains(&new.priority) {
        violations.add("priority", format!("{} is out of the range -100 to 100", new.priority));
    }
    check_tags(&new.tags, violations);
    if new.idempotency_key.len() > limits::MAX_IDEMPOTENCY_KEY_SIZE {
        violations.add(
            "idempotency_key",
            format!(
                "has {} bytes; at most {} are allowed",
                new.idempotency_key.len(),
                limits::MAX_IDEMPOTENCY_KEY_SIZE
            ),
        );
    }
    if new.idempotency_key.chars().any(char::is_control) {
        violations.add("idempotency_key", "has control characters, which are not allowed");
    }
    if !new.traceparent.is_empty() && !is_traceparent(&new.traceparent) {
        let shown: String = new.traceparent.chars().take(80).collect();
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        violations.add("traceparent", format!("`{shown}` is no W3C traceparent such as {example}"));
    }
    if !violations.is_empty() {
        return None;
    }
    let draft = Draft {
        id: id?,
        namespace: namespace.clone(),
        kind: kind?,
        name: name?,
        run_name: new.run_name.clone(),
        placement: placement?,
        parent,
        policies,
        priority: new.priority,
        tags: new.tags.clone(),
        traceparent: (!new.traceparent.is_empty()).then(|| new.traceparent.clone()),
        due_at,
    };
    Some((draft, parameters))
}

/// A payload as it is stored: encoded, and opaque from here on.
pub fn payload_from_proto(
    payload: Option<&v1::Payload>,
    field: &str,
    violations: &mut Violations,
) -> Option<Payload> {
    let payload = payload?;
    if payload.data.len() > limits::MAX_PAYLOAD_SIZE {
        violations.add(
            field,
            format!(
                "has {} bytes; at most {} are allowed: store large values elsewhere and pass a reference",
                payload.data.len(),
                limits::MAX_PAYLOAD_SIZE
            ),
        );
    }
    if payload.metadata.len() > 16 {
        violations
            .add(field, format!("has {} metadata entries; at most 16 are allowed", payload.metadata.len()));
    }
    if payload.metadata.iter().any(|(key, value)| key.len() > 64 || value.len() > 1_024) {
        violations.add(field, "has a metadata key above 64 bytes or a value above 1024 bytes");
    }
    Some(Payload(payload.encode_to_vec().into()))
}

/// A stored payload to the wire. Bytes that are no payload come back as plain binary.
pub fn payload_to_proto(payload: &Payload) -> v1::Payload {
    v1::Payload::decode(payload.0.clone()).unwrap_or_else(|_| v1::Payload {
        metadata: [("encoding".to_owned(), bytes::Bytes::from_static(b"binary/plain"))].into(),
        data: payload.0.clone(),
    })
}

/// Cuts a text to at most `max_size` bytes, at a character.
pub(crate) fn cut(mut text: String, max_size: usize) -> String {
    text.truncate(text.floor_char_boundary(max_size));
    text
}

fn parse_due_at(due_at: &prost_types::Timestamp, violations: &mut Violations) -> Option<Timestamp> {
    let parsed = timestamp_from_proto(due_at);
    // By the machine's clock, roughly: the bound is ten years.
    let latest = SystemClock.now() + limits::MAX_DELAY;
    match parsed {
        Some(due_at) if due_at <= latest => Some(due_at),
        Some(due_at) => {
            violations.add("due_at", format!("{due_at} is too far ahead; {latest} is the latest"));
            None
        }
        None => {
            violations.add("due_at", format!("{} s is out of the range of a timestamp", due_at.seconds));
            None
        }
    }
}

/// True for a W3C `traceparent` of version 00.
pub fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    match text.split('-').collect::<Vec<_>>()[..] {
        [version, trace_id, parent_id, flags] => {
            version == "00" && is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2)
        }
        _ => false,
    }
}

fn check_tags(tags: &[String], violations: &mut Violations) {
    if tags.len() > limits::MAX_TAGS {
        violations.add("tags", format!("has {} tags; at most {} are allowed", tags.len(), limits::MAX_TAGS));
    }
    for (tag_idx, tag) in tags.iter().enumerate() {
        if !(1..=limits::MAX_TAG_SIZE).contains(&tag.len()) || tag.chars().any(char::is_control) {
            violations.add(
                &format!("tags[{tag_idx}]"),
                format!(
                    "has {} bytes; 1 to {} without control characters are allowed",
                    tag.len(),
                    limits::MAX_TAG_SIZE
                ),
            );
        }
    }
}

fn parse_policies(policies: Option<&v1::Policies>, violations: &mut Violations) -> Policies {
    let default = Policies::default();
    let Some(policies) = policies else { return default };
    Policies {
        retry: policies.retry.as_ref().map(|retry| parse_retry(retry, violations)).unwrap_or_default(),
        crash: policies
            .crash
            .as_ref()
            .and_then(|crash| crash.max_crashes)
            .map(|max_crashes| {
                if max_crashes > 1_000 {
                    violations.add("policies.crash.max_crashes", format!("{max_crashes} is above 1000"));
                }
                CrashPolicy { max_crashes }
            })
            .unwrap_or_default(),
        run_timeout: span(
            &policies.run_timeout,
            "policies.run_timeout",
            (Duration::from_millis(1), DAY * 365),
            violations,
        ),
        start_timeout: span(
            &policies.start_timeout,
            "policies.start_timeout",
            (Duration::from_secs(1), DAY / 24),
            violations,
        )
        .unwrap_or(default.start_timeout),
        cancel_grace: span(
            &policies.cancel_grace,
            "policies.cancel_grace",
            (Duration::ZERO, DAY / 24),
            violations,
        )
        .unwrap_or(default.cancel_grace),
        parent: match policies.parent() {
            v1::ParentPolicy::Detach => ParentPolicy::Detach,
            v1::ParentPolicy::Cancel | v1::ParentPolicy::Unspecified => ParentPolicy::Cancel,
        },
    }
}

fn parse_retry(retry: &v1::RetryPolicy, violations: &mut Violations) -> RetryPolicy {
    if retry.max_retries > 10_000 {
        violations.add("policies.retry.max_retries", format!("{} is above 10000", retry.max_retries));
    }
    if retry.delays.len() > 100 {
        violations.add(
            "policies.retry.delays",
            format!("has {} entries; at most 100 are allowed", retry.delays.len()),
        );
    }
    let bounds = (Duration::ZERO, DAY * 30);
    let delays = retry
        .delays
        .iter()
        .enumerate()
        .filter_map(|(delay_idx, delay)| {
            span(&Some(*delay), &format!("policies.retry.delays[{delay_idx}]"), bounds, violations)
        })
        .collect();
    if !(0.0..=10.0).contains(&retry.backoff_factor) {
        violations.add(
            "policies.retry.backoff_factor",
            format!("{} is out of the range 0 to 10", retry.backoff_factor),
        );
    }
    if !(0.0..=1.0).contains(&retry.jitter_factor) {
        violations.add(
            "policies.retry.jitter_factor",
            format!("{} is out of the range 0 to 1", retry.jitter_factor),
        );
    }
    RetryPolicy {
        max_retries: retry.max_retries,
        delays,
        backoff_factor: if retry.backoff_factor == 0.0 { 1.0 } else { retry.backoff_factor },
        max_delay: span(&retry.max_delay, "policies.retry.max_delay", bounds, violations)
            .unwrap_or(RetryPolicy::default().max_delay),
        jitter_factor: retry.jitter_factor,
    }
}

/// An optional span within bounds, both inclusive; one out of them is noted.
fn span(
    value: &Option<prost_types::Duration>,
    field: &str,
    (least, most): (Duration, Duration),
    violations: &mut Violations,
) -> Option<Duration> {
    let value = value.as_ref()?;
    let parsed = duration_from_proto(value).filter(|span| (least..=most).contains(span));
    if parsed.is_none() {
        violations.add(
            field,
            format!("{}.{:09} s is out of the range {least:?} to {most:?}", value.seconds, value.nanos),
        );
    }
    parsed
}
