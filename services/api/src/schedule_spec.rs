//! What is told about a schedule: checked, compared, and changed field by field.

use tidegate_deploy::{Times, check_schedule_spec};
use tidegate_proto::v1::{self, schedule_spec::Timetable};
use tidegate_wire::Violations;

/// A specification; what is wrong is noted.
pub(crate) fn parse_spec(spec: Option<v1::ScheduleSpec>, violations: &mut Violations) -> v1::ScheduleSpec {
    let spec = spec.unwrap_or_default();
    let mut below = Violations::below("spec.");
    check_schedule_spec(&spec, &mut below);
    Times::check(&spec, &mut below);
    violations.extend(below);
    spec
}

/// Whether both fire at the same times. The jitter moves the runs, not the times.
pub(crate) fn have_same_times(one: &v1::ScheduleSpec, other: &v1::ScheduleSpec) -> bool {
    let times = |spec: &v1::ScheduleSpec| {
        (spec.timetable.clone(), spec.time_zone.clone(), spec.start_at, spec.end_at)
    };
    times(one) == times(other)
}

/// The fields of a specification, as an update names them.
pub(crate) const FIELDS: [&str; 16] = [
    "cron",
    "interval",
    "rrule",
    "time_zone",
    "start_at",
    "end_at",
    "jitter",
    "parameters",
    "catch_up",
    "max_catch_up",
    "catch_up_grace",
    "overlap",
    "tags",
    "queue",
    "job_variables",
    "description",
];

/// Takes a field over. False: there is none of this name.
pub(crate) fn copy_field(path: &str, from: &v1::ScheduleSpec, to: &mut v1::ScheduleSpec) -> bool {
    match path {
        "*" => to.clone_from(from),
        "cron" => copy_timetable(from, to, |timetable| matches!(timetable, Timetable::Cron(_))),
        "interval" => copy_timetable(from, to, |timetable| matches!(timetable, Timetable::Interval(_))),
        "rrule" => copy_timetable(from, to, |timetable| matches!(timetable, Timetable::Rrule(_))),
        "time_zone" => to.time_zone.clone_from(&from.time_zone),
        "start_at" => to.start_at = from.start_at,
        "end_at" => to.end_at = from.end_at,
        "jitter" => to.jitter = from.jitter,
        "parameters" => to.parameters.clone_from(&from.parameters),
        "catch_up" => to.catch_up = from.catch_up,
        "max_catch_up" => to.max_catch_up = from.max_catch_up,
        "catch_up_grace" => to.catch_up_grace = from.catch_up_grace,
        "overlap" => to.overlap = from.overlap,
        "tags" => to.tags.clone_from(&from.tags),
        "queue" => to.queue.clone_from(&from.queue),
        "job_variables" => to.job_variables.clone_from(&from.job_variables),
        "description" => to.description.clone_from(&from.description),
        _ => return false,
    }
    true
}

/// Takes a timetable of this kind over; one that is not there takes that of its kind away.
fn copy_timetable(from: &v1::ScheduleSpec, to: &mut v1::ScheduleSpec, is_of: fn(&Timetable) -> bool) {
    let new = from.timetable.as_ref().filter(|timetable| is_of(timetable)).cloned();
    if new.is_some() || to.timetable.as_ref().is_some_and(is_of) {
        to.timetable = new;
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// A new field of the message is to be added to both lists.
    #[test]
    fn every_field_can_be_named() {
        for field in FIELDS {
            assert!(
                copy_field(field, &v1::ScheduleSpec::default(), &mut v1::ScheduleSpec::default()),
                "{field}"
            );
        }
        let set =
            prost_types::FileDescriptorSet::decode(tidegate_proto::FILE_DESCRIPTOR_SET).expect("is one");
        let messages = set.file.into_iter().flat_map(|file| file.message_type);
        let spec = messages.into_iter().find(|message| message.name() == "ScheduleSpec").expect("is there");
        let fields: Vec<_> = spec.field.iter().map(|field| field.name().to_owned()).collect();
        assert_eq!(fields, FIELDS);
    }
}
