//! The specification of a schedule, but for its times.

use prost::Message as _;
use tidegate_engine::EngineError;
use tidegate_model::{QueueName, limits};
use tidegate_orchestration::Collision;
use tidegate_proto::v1::{self, OverlapPolicy};
use tidegate_store::LimitSettings;
use tidegate_wire::{Violations, check_list, duration_from_proto};

/// What a stored specification says.
///
/// # Errors
/// `Internal`, where it is none.
pub fn schedule_spec_of(encoded: &[u8]) -> Result<v1::ScheduleSpec, EngineError> {
    v1::ScheduleSpec::decode(encoded).map_err(|error| EngineError::Internal {
        cause: format!("a stored schedule cannot be read: {error}"),
    })
}

/// How many runs of a schedule may be held at once.
pub fn overlap_limit(spec: &v1::ScheduleSpec) -> Option<LimitSettings> {
    let on_collision = match spec.overlap() {
        OverlapPolicy::Unspecified | OverlapPolicy::Allow => return None,
        OverlapPolicy::Skip => Collision::Skip,
        OverlapPolicy::Queue => Collision::Wait,
        OverlapPolicy::CancelRunning => Collision::CancelOldest,
    };
    Some(LimitSettings { on_collision, ..LimitSettings::from(1) })
}

/// Notes what is wrong with a specification, but for its times.
pub fn check_schedule_spec(spec: &v1::ScheduleSpec, violations: &mut Violations) {
    for (field, text, most) in [
        ("description", &spec.description, limits::MAX_DESCRIPTION_SIZE),
        ("parameters", &spec.parameters, limits::MAX_SCHEDULE_JSON_SIZE),
        ("job_variables", &spec.job_variables, limits::MAX_SCHEDULE_JSON_SIZE),
    ] {
        if text.len() > most {
            violations.add(field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
    }
    for (field, text) in [("parameters", &spec.parameters), ("job_variables", &spec.job_variables)] {
        match serde_json::from_str(text) {
            _ if text.is_empty() => {}
            Ok(serde_json::Value::Object(_)) => {}
            Ok(_) => violations.add(field, "are no JSON object, such as {\"n\": 1}"),
            Err(error) => violations.add(field, format!("are no JSON: {error}")),
        }
    }
    check_list("tags", &spec.tags, (limits::MAX_TAGS, limits::MAX_TAG_SIZE), violations);
    if !spec.queue.is_empty() {
        violations.parse::<QueueName>("queue", &spec.queue);
    }
    if v1::CatchUpPolicy::try_from(spec.catch_up).is_err() {
        violations.add("catch_up", format!("{} is no catch-up policy", spec.catch_up));
    }
    if OverlapPolicy::try_from(spec.overlap).is_err() {
        violations.add("overlap", format!("{} is no overlap policy", spec.overlap));
    }
    if spec.max_catch_up > limits::MAX_CATCH_UP {
        let most = limits::MAX_CATCH_UP;
        violations.add(
            "max_catch_up",
            format!("{} is more than {most}, the most runs that are made up for", spec.max_catch_up),
        );
    }
    for (field, span, most) in [
        ("jitter", &spec.jitter, limits::MAX_JITTER),
        ("catch_up_grace", &spec.catch_up_grace, limits::MAX_CATCH_UP_GRACE),
    ] {
        let Some(span) = span else { continue };
        if duration_from_proto(span).is_none_or(|span| span > most) {
            violations.add(
                field,
                format!("{}.{:09} s is out of the range 0 s to {most:?}", span.seconds, span.nanos),
            );
        }
    }
}
