use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{BackfillScheduleResponse, QueuePause, Schedule, ScheduleFire};

use super::{
    json::time_json,
    queue::pause_text,
    table::Table,
    text::{printable, time_text},
};
use crate::deploy::{Fields, of_schedule};

fn fields(schedule: &Schedule) -> Fields {
    of_schedule(&schedule.spec.clone().unwrap_or_default())
}

/// The rule alone: `0 3 * * *`.
fn rule(fields: &Fields) -> String {
    let rule = ["cron", "interval", "rrule"].iter().find_map(|key| fields.get(key));
    rule.map(plain).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    printable(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str())
}

fn pause(schedule: &Schedule) -> Option<QueuePause> {
    let pause = schedule.pause.clone()?;
    Some(QueuePause { paused_at: pause.paused_at, paused_by: pause.paused_by, reason: pause.reason })
}

/// `schedule ls`.
pub fn schedule_table(schedules: &[Schedule]) -> String {
    let mut table = Table::new(&["DEPLOYMENT", "NAME", "RULE", "ZONE", "NEXT", "LAST", "PAUSED"]);
    for schedule in schedules {
        let fields = fields(schedule);
        table.row(vec![
            printable(&schedule.deployment),
            printable(&schedule.name),
            rule(&fields),
            fields.get("time_zone").map_or_else(|| "UTC".to_owned(), plain),
            time_text(schedule.next_fire_at),
            time_text(schedule.last_fire_at),
            pause(schedule).as_ref().map(pause_text).unwrap_or_default(),
        ]);
    }
    table.text()
}

/// `schedule get`: the schedule, and below it what it says and what went wrong.
pub fn schedule_detail(schedule: &Schedule) -> String {
    let mut text = schedule_table(std::slice::from_ref(schedule));
    // Writing to a String cannot fail.
    let _ = writeln!(text);
    for (key, value) in fields(schedule) {
        let _ = writeln!(text, "{key}  {}", plain(&value));
    }
    if !schedule.last_run_id.is_empty() {
        let _ = writeln!(text, "last run  {}", schedule.last_run_id);
    }
    if schedule.missed_count > 0 {
        let _ = writeln!(text, "{} times were missed and made no run", schedule.missed_count);
    }
    if !schedule.last_error.is_empty() {
        let _ = writeln!(text, "the last time made no run: {}", printable(&schedule.last_error));
    }
    text
}

/// A schedule for programs.
pub fn schedule_json(schedule: &Schedule) -> Value {
    json!({
        "deployment": schedule.deployment,
        "name": schedule.name,
        "spec": fields(schedule),
        "pause": schedule.pause.as_ref().map(|pause| json!({
            "paused_at": time_json(pause.paused_at),
            "paused_by": pause.paused_by,
            "reason": pause.reason,
        })),
        "next_fire_at": time_json(schedule.next_fire_at),
        "last_fire_at": time_json(schedule.last_fire_at),
        "last_run_id": schedule.last_run_id,
        "missed_count": schedule.missed_count,
        "last_error": schedule.last_error,
        "etag": schedule.etag,
        "created_at": time_json(schedule.created_at),
        "updated_at": time_json(schedule.updated_at),
    })
}

/// A time, and when its run is due where that is later.
pub fn fire_text(fire: &ScheduleFire) -> String {
    let at = time_text(fire.fire_at);
    if fire.due_at == fire.fire_at {
        format!("{at}\n")
    } else {
        format!("{at}  due {}\n", time_text(fire.due_at))
    }
}

/// The same for programs.
pub fn fire_json(fire: &ScheduleFire) -> Value {
    json!({ "fire_at": time_json(fire.fire_at), "due_at": time_json(fire.due_at) })
}

/// `schedule backfill`: the first times, and how many runs were made, or would be.
pub fn backfill_text(made: &BackfillScheduleResponse, is_dry: bool) -> String {
    let mut text: String = made.fires.iter().map(fire_text).collect();
    let n_more = usize::try_from(made.count).unwrap_or(usize::MAX).saturating_sub(made.fires.len());
    if n_more > 0 {
        let _ = writeln!(text, "… and {n_more} more"); // writing to a String cannot fail
    }
    let verb = if is_dry { "would be made" } else { "were made" };
    let _ = writeln!(text, "{} times, of which {} runs {verb}", made.count, made.created_count);
    text
}

/// The same for programs.
pub fn backfill_json(made: &BackfillScheduleResponse) -> Value {
    json!({
        "count": made.count,
        "created_count": made.created_count,
        "fires": made.fires.iter().map(fire_json).collect::<Vec<_>>(),
        "run_ids": made.run_ids,
    })
}

#[cfg(test)]
mod tests {
    use tidegate_proto::v1::{CronTimetable, ScheduleSpec, schedule_spec::Timetable};

    use super::*;
    use crate::output::yaml;

    #[test]
    fn schedules_are_told_with_their_times() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let cron = CronTimetable { expression: "0 3 * * *".into(), day_and: false };
        let spec = ScheduleSpec {
            timetable: Some(Timetable::Cron(cron)),
            time_zone: "Europe/Berlin".into(),
            parameters: r#"{"day": "monday"}"#.into(),
            tags: vec!["a".into(), "b".into()],
            ..ScheduleSpec::default()
        };
        let schedule = Schedule {
            deployment: "etl/nightly".into(),
            name: "default".into(),
            spec: Some(spec),
            next_fire_at: at(1_790_042_400),
            last_fire_at: at(1_789_956_000),
            last_run_id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
            missed_count: 2,
            last_error: "the deployment refuses `day`".into(),
            etag: "e".into(),
            ..Schedule::default()
        };
        insta::assert_snapshot!(schedule_detail(&schedule));
        insta::assert_snapshot!(yaml(&schedule_json(&schedule)));
    }
}
