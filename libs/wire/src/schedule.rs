//! The specification of a schedule, but for its times.

use tidegate_model::{QueueName, limits};
use tidegate_proto::v1;

use crate::{Violations, check_list, duration_from_proto};

/// Notes what is wrong with the specification of a schedule, but for its times and for what its JSON says.
pub fn check_schedule(spec: &v1::ScheduleSpec, violations: &mut Violations) {
    for (field, text, most) in [
        ("description", &spec.description, limits::MAX_DESCRIPTION_SIZE),
        ("parameters", &spec.parameters, limits::MAX_SCHEDULE_JSON_SIZE),
        ("job_variables", &spec.job_variables, limits::MAX_SCHEDULE_JSON_SIZE),
    ] {
        if text.len() > most {
            violations.add(field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
    }
    check_list("tags", &spec.tags, (limits::MAX_TAGS, limits::MAX_TAG_SIZE), violations);
    if !spec.queue.is_empty() {
        violations.parse::<QueueName>("queue", &spec.queue);
    }
    if v1::CatchUpPolicy::try_from(spec.catch_up).is_err() {
        violations.add("catch_up", format!("{} is no catch-up policy", spec.catch_up));
    }
    if v1::OverlapPolicy::try_from(spec.overlap).is_err() {
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
