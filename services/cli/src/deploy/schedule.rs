//! A schedule of the file as the API has it.

use std::{ops::Range, time::Duration};

use tidegate_model::{Clock as _, SystemClock};
use tidegate_proto::v1::{
    CatchUpPolicy, CronTimetable, IntervalTimetable, OverlapPolicy, RRuleTimetable, ScheduleSpec,
    schedule_spec::Timetable,
};
use tidegate_schedule::{Rule, Schedule, Times};
use tidegate_sdk_core::WantedSchedule;
use tidegate_wire::{Violations, check_schedule};

use super::reader::{Reader, model_instant};

/// What becomes of times that were missed.
pub const CATCH_UPS: [(&str, CatchUpPolicy); 3] =
    [("skip", CatchUpPolicy::Skip), ("latest", CatchUpPolicy::Latest), ("all", CatchUpPolicy::All)];

/// What becomes of a run whose time comes while an earlier one is held.
pub const OVERLAPS: [(&str, OverlapPolicy); 4] = [
    ("allow", OverlapPolicy::Allow),
    ("skip", OverlapPolicy::Skip),
    ("queue", OverlapPolicy::Queue),
    ("cancel_running", OverlapPolicy::CancelRunning),
];

/// Where the fields that the rules of schedules name are in the file.
const KEYS: &[(&str, &str)] = &[
    ("cron", "cron"),
    ("interval.anchor", "anchor"),
    ("interval", "interval"),
    ("rrule", "rrule"),
    ("time_zone", "time_zone"),
    ("start_at", "start_at"),
    ("end_at", "end_at"),
    ("jitter", "jitter"),
];

/// Reads one schedule, and where its name is.
pub fn read(reader: Reader<'_>) -> Option<(WantedSchedule, Range<usize>)> {
    let name = reader.text("name").unwrap_or_else(|| "default".to_owned());
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_word || !(1..=128).contains(&name.len()) {
        reader.fault(
            "name",
            format!("{name:?} is no name of a schedule: 1 to 128 characters of A-Z a-z 0-9 . _ - are"),
        );
    }
    let spec = ScheduleSpec {
        timetable: timetable(&reader),
        time_zone: reader.text_or_empty("time_zone"),
        start_at: reader.instant("start_at"),
        end_at: reader.instant("end_at"),
        jitter: reader.span("jitter"),
        parameters: reader.json("parameters"),
        catch_up: reader.choice("catch_up", &CATCH_UPS),
        max_catch_up: reader.integer("max_catch_up", 1, 10_000).unwrap_or_default(),
        catch_up_grace: reader.span("catch_up_grace"),
        overlap: reader.choice("overlap", &OVERLAPS),
        tags: reader.texts("tags").unwrap_or_default(),
        queue: reader.text_or_empty("queue"),
        job_variables: reader.json("job_variables"),
        description: reader.text_or_empty("description"),
    };
    check(&reader, &spec);
    let paused = reader.flag("paused").unwrap_or_default();
    let at = reader.place("name");
    reader.finish();
    Some((WantedSchedule { name, spec, paused }, at))
}

fn timetable(reader: &Reader<'_>) -> Option<Timetable> {
    let (cron, every, rrule) = (reader.text("cron"), reader.span("interval"), reader.text("rrule"));
    let (day_and, anchor) = (reader.flag("day_and"), reader.instant("anchor"));
    let said: Vec<&str> =
        ["cron", "interval", "rrule"].into_iter().filter(|key| reader.has_own(key)).collect();
    match said[..] {
        [_] => {}
        [] => reader
            .fault("", "a schedule needs one of `cron`, `interval`, `rrule`, such as `cron = \"0 3 * * *\"`"),
        [_, second, ..] => {
            reader.fault(
                second,
                format!("a schedule has one of {}: make it two schedules", said.join(" and ")),
            );
        }
    }
    for (key, is_set, of) in
        [("day_and", day_and.is_some(), "cron"), ("anchor", anchor.is_some(), "interval")]
    {
        if is_set && !said.contains(&of) {
            reader.fault(key, format!("`{key}` is for schedules with `{of}`: take it out"));
        }
    }
    if let Some(expression) = cron {
        return Some(Timetable::Cron(CronTimetable { expression, day_and: day_and.unwrap_or_default() }));
    }
    if let Some(every) = every {
        return Some(Timetable::Interval(IntervalTimetable { every: Some(every), anchor }));
    }
    rrule.map(|rule| Timetable::Rrule(RRuleTimetable { rule }))
}

/// Notes what the server would refuse, by the same rules.
fn check(reader: &Reader<'_>, spec: &ScheduleSpec) {
    let length = |span: &prost_types::Duration| Duration::try_from(*span).unwrap_or_default();
    let rule = match &spec.timetable {
        None => return,
        Some(Timetable::Cron(cron)) => Rule::Cron { expression: &cron.expression, day_and: cron.day_and },
        Some(Timetable::Interval(interval)) => Rule::Interval {
            every: interval.every.as_ref().map(length).unwrap_or_default(),
            anchor: interval.anchor.map(model_instant),
        },
        Some(Timetable::Rrule(rrule)) => Rule::Recurrence(&rrule.rule),
    };
    let times = Times {
        rule,
        time_zone: &spec.time_zone,
        start_at: spec.start_at.map(model_instant),
        end_at: spec.end_at.map(model_instant),
        jitter: spec.jitter.as_ref().map(length).unwrap_or_default(),
        created_at: SystemClock.now(),
    };
    if let Err(invalid) = Schedule::new(&times) {
        let key = KEYS.iter().find(|(field, _)| invalid.field.starts_with(field)).map_or("", |(_, key)| *key);
        reader.fault(key, format!("`{key}` {}", invalid.description));
    }
    let mut violations = Violations::default();
    check_schedule(spec, &mut violations);
    // What is wrong with the jitter was told with the times.
    for violation in violations.into_vec().into_iter().filter(|violation| violation.field != "jitter") {
        let key = violation.field.split(['.', '[']).next().unwrap_or_default();
        reader.fault(key, format!("`{}` {}", violation.field, violation.description));
    }
    if spec.max_catch_up > 0 && spec.catch_up() != CatchUpPolicy::All {
        reader.fault("max_catch_up", "`max_catch_up` is for `catch_up = \"all\"`: set that, or take it out");
    }
}
