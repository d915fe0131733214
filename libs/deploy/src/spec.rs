//! The specification of a schedule, but for its times.

use prost::Message as _;
use tidegate_engine::EngineError;
use tidegate_orchestration::Collision;
use tidegate_proto::v1::{self, OverlapPolicy};
use tidegate_store::LimitSettings;
use tidegate_wire::{Violations, check_schedule};

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
    check_schedule(spec, violations);
    for (field, text) in [("parameters", &spec.parameters), ("job_variables", &spec.job_variables)] {
        match serde_json::from_str(text) {
            _ if text.is_empty() => {}
            Ok(serde_json::Value::Object(_)) => {}
            Ok(_) => violations.add(field, "are no JSON object, such as {\"n\": 1}"),
            Err(error) => violations.add(field, format!("are no JSON: {error}")),
        }
    }
}
