//! Times over the days on which clocks change, in zones of all kinds.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use tidegate_model::Timestamp;
use tidegate_schedule::{Rule, Schedule, Times};

fn micros(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn schedule(rule: Rule<'_>, time_zone: &str) -> Schedule {
    let created_at = micros("2020-01-01T00:00:00Z");
    Schedule::new(&Times {
        rule,
        time_zone,
        start_at: None,
        end_at: None,
        jitter: Duration::ZERO,
        created_at,
    })
    .unwrap()
}

fn cron(expression: &'static str) -> Rule<'static> {
    Rule::Cron { expression, day_and: false }
}

/// From the first time at or after a local one, so many, as local times with their offsets.
fn local(schedule: &Schedule, time_zone: &str, from: &str, n: usize) -> String {
    let zone = jiff::tz::TimeZone::get(time_zone).unwrap();
    let from = from.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap();
    let from = Timestamp::from_micros(from.timestamp().as_microsecond());
    let show = |at: Timestamp| {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap().to_zoned(zone.clone());
        at.strftime("%d %H:%M%:z").to_string()
    };
    schedule.from(from).take(n).map(show).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn fires(rule: Rule<'_>, time_zone: &str, from: &str, expected: &str) {
    let n = expected.split(", ").count();
    assert_eq!(
        local(&schedule(rule, time_zone), time_zone, from, n),
        expected,
        "{rule:?} in {time_zone} from {from}"
    );
}

/// A time of each day, `HH:MM`, by every kind of rule: they are the same times.
#[track_caller]
fn daily(time: &str, time_zone: &str, from: &str, expected: &str) {
    let (hour, minute) = time.split_once(':').unwrap();
    let expression = format!("{minute} {hour} * * *");
    fires(Rule::Cron { expression: &expression, day_and: false }, time_zone, from, expected);
    let rule = format!("DTSTART:20100110T{hour}{minute}00\nRRULE:FREQ=DAILY");
    fires(Rule::Recurrence(&rule), time_zone, from, expected);
    let zone = jiff::tz::TimeZone::get(time_zone).unwrap();
    let first =
        format!("2010-01-10T{time}").parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap();
    let anchor = Some(Timestamp::from_micros(first.timestamp().as_microsecond()));
    fires(Rule::Interval { every: Duration::from_secs(86_400), anchor }, time_zone, from, expected);
}

const NEW_YORK: &str = "America/New_York";
const BERLIN: &str = "Europe/Berlin";

#[test]
fn a_time_that_does_not_exist_fires_at_the_next_that_does() {
    // Clocks go from 02:00 to 03:00.
    daily("02:30", NEW_YORK, "2026-03-07T00:00", "07 02:30-05:00, 08 03:00-04:00, 09 02:30-04:00");
    daily("02:30", BERLIN, "2026-03-28T00:00", "28 02:30+01:00, 29 03:00+02:00, 30 02:30+02:00");
    // From 01:00 to 02:00.
    daily("01:15", "Europe/London", "2026-03-28T00:00", "28 01:15+00:00, 29 02:00+01:00, 30 01:15+01:00");
    // By half an hour, in the other half of the world: from 02:00 to 02:30.
    daily(
        "02:10",
        "Australia/Lord_Howe",
        "2026-10-03T00:00",
        "03 02:10+10:30, 04 02:30+11:00, 05 02:10+11:00",
    );
    // At midnight, to 01:00.
    daily("00:00", "America/Santiago", "2026-09-05T00:00", "05 00:00-04:00, 06 01:00-03:00, 07 00:00-03:00");
    // Two of a day that fall into the gap are one.
    fires(
        cron("0,30 2 * * *"),
        NEW_YORK,
        "2026-03-07T02:10",
        "07 02:30-05:00, 08 03:00-04:00, 09 02:00-04:00",
    );
    // One that is there beside one that is not is one, too.
    fires(
        cron("30 2,3 * * *"),
        NEW_YORK,
        "2026-03-08T00:00",
        "08 03:00-04:00, 08 03:30-04:00, 09 02:30-04:00",
    );
    // A whole day was left out.
    daily(
        "09:00",
        "Pacific/Apia",
        "2011-12-28T00:00",
        "28 09:00-10:00, 29 09:00-10:00, 31 00:00+14:00, 31 09:00+14:00",
    );
}

#[test]
fn a_time_that_exists_twice_fires_once() {
    daily("01:30", NEW_YORK, "2026-10-31T00:00", "31 01:30-04:00, 01 01:30-04:00, 02 01:30-05:00");
    daily("02:30", BERLIN, "2026-10-24T00:00", "24 02:30+02:00, 25 02:30+02:00, 26 02:30+01:00");
    daily("01:30", "Europe/London", "2026-10-24T00:00", "24 01:30+01:00, 25 01:30+01:00, 26 01:30+00:00");
    daily("02:00", "Australia/Sydney", "2026-04-04T00:00", "04 02:00+11:00, 05 02:00+11:00, 06 02:00+10:00");
    daily(
        "01:45",
        "Australia/Lord_Howe",
        "2026-04-04T00:00",
        "04 01:45+11:00, 05 01:45+11:00, 06 01:45+10:30",
    );
    daily("23:30", "America/Santiago", "2026-04-03T12:00", "03 23:30-03:00, 04 23:30-03:00, 05 23:30-04:00");
    // Also where several hours are named.
    fires(
        cron("30 1,13 * * *"),
        NEW_YORK,
        "2026-11-01T00:00",
        "01 01:30-04:00, 01 13:30-05:00, 02 01:30-05:00",
    );
    // Asked from within the second of the two hours.
    let zone = jiff::tz::TimeZone::get(NEW_YORK).unwrap();
    let second = zone.to_ambiguous_zoned("2026-11-01T01:10".parse().unwrap()).later().unwrap();
    let after = Timestamp::from_micros(second.timestamp().as_microsecond());
    let next = schedule(cron("30 1 * * *"), NEW_YORK).next_after(after).unwrap();
    assert_eq!(next, micros("2026-11-02T06:30:00Z"));
}

#[test]
fn what_fires_each_hour_fires_each_hour_that_passes() {
    fires(cron("0 * * * *"), NEW_YORK, "2026-11-01T00:30", "01 01:00-04:00, 01 01:00-05:00, 01 02:00-05:00");
    fires(cron("0 * * * *"), NEW_YORK, "2026-03-08T00:30", "08 01:00-05:00, 08 03:00-04:00, 08 04:00-04:00");
    fires(cron("@hourly"), BERLIN, "2026-10-25T01:30", "25 02:00+02:00, 25 02:00+01:00, 25 03:00+01:00");
    fires(
        cron("*/15 * * * *"),
        NEW_YORK,
        "2026-11-01T01:30",
        "01 01:30-04:00, 01 01:45-04:00, 01 01:00-05:00, 01 01:15-05:00",
    );
    fires(
        cron("*/20 * * * *"),
        "Australia/Lord_Howe",
        "2026-04-05T01:30",
        "05 01:40+11:00, 05 01:40+10:30, 05 02:00+10:30",
    );
    // However that no hour is left out is written.
    fires(
        cron("0 0-23 * * *"),
        NEW_YORK,
        "2026-11-01T00:30",
        "01 01:00-04:00, 01 01:00-05:00, 01 02:00-05:00",
    );
    let hourly = Rule::Recurrence("FREQ=HOURLY");
    fires(hourly, NEW_YORK, "2026-11-01T00:30", "01 01:00-04:00, 01 01:00-05:00, 01 02:00-05:00");
    fires(hourly, NEW_YORK, "2026-03-08T00:30", "08 01:00-05:00, 08 03:00-04:00, 08 04:00-04:00");
}

#[test]
fn recurrence_rules_by_the_day_keep_the_time_on_the_wall() {
    let nightly = Rule::Recurrence("DTSTART:20200101T023000\nRRULE:FREQ=DAILY");
    fires(nightly, NEW_YORK, "2026-03-07T00:00", "07 02:30-05:00, 08 03:00-04:00, 09 02:30-04:00");
    fires(nightly, BERLIN, "2026-10-24T00:00", "24 02:30+02:00, 25 02:30+02:00, 26 02:30+01:00");
    // One that names its hours does too, whatever its FREQ is.
    let minutely = Rule::Recurrence("DTSTART:20200101T000000\nRRULE:FREQ=MINUTELY;BYHOUR=1,2;BYMINUTE=30");
    fires(minutely, NEW_YORK, "2026-03-08T00:00", "08 01:30-05:00, 08 03:00-04:00, 09 01:30-04:00");
    fires(minutely, NEW_YORK, "2026-11-01T00:00", "01 01:30-04:00, 01 02:30-05:00, 02 01:30-05:00");
    let each_other_hour = Rule::Recurrence("DTSTART:20200101T000000\nRRULE:FREQ=HOURLY;INTERVAL=2");
    fires(each_other_hour, NEW_YORK, "2026-03-08T00:00", "08 00:00-05:00, 08 03:00-04:00, 08 04:00-04:00");
    let named = Rule::Recurrence("DTSTART;TZID=Europe/Berlin:20200101T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,FR");
    let created_at = micros("2020-01-01T00:00:00Z");
    let times = Times {
        rule: named,
        time_zone: "",
        start_at: None,
        end_at: None,
        jitter: Duration::ZERO,
        created_at,
    };
    let named = Schedule::new(&times).unwrap();
    assert_eq!(
        local(&named, BERLIN, "2026-03-27T00:00", 3),
        "27 09:00+01:00, 30 09:00+02:00, 03 09:00+02:00"
    );
}

#[test]
fn intervals_of_days_keep_the_hour_and_others_pass() {
    let interval = |hours: u64, anchor| Rule::Interval {
        every: Duration::from_secs(hours * 3_600),
        anchor: Some(micros(anchor)),
    };
    let daily = interval(24, "2026-01-10T07:30:00Z"); // 02:30 in New York
    fires(daily, NEW_YORK, "2026-03-07T00:00", "07 02:30-05:00, 08 03:00-04:00, 09 02:30-04:00");
    let at_half_past_one = interval(24, "2026-07-10T05:30:00Z");
    fires(at_half_past_one, NEW_YORK, "2026-10-31T00:00", "31 01:30-04:00, 01 01:30-04:00, 02 01:30-05:00");
    let hourly = interval(1, "2026-01-10T07:00:00Z");
    fires(hourly, NEW_YORK, "2026-11-01T00:30", "01 01:00-04:00, 01 01:00-05:00, 01 02:00-05:00");
    let each_36_hours = interval(36, "2026-03-07T05:00:00Z");
    fires(each_36_hours, NEW_YORK, "2026-03-07T00:00", "07 00:00-05:00, 08 13:00-04:00, 10 01:00-04:00");
    let weekly = interval(7 * 24, "2026-03-02T14:00:00Z");
    fires(weekly, NEW_YORK, "2026-03-01T00:00", "02 09:00-05:00, 09 09:00-04:00, 16 09:00-04:00");
}

#[test]
fn zones_without_changes_have_none() {
    for zone in ["Asia/Kolkata", "Asia/Kathmandu", "UTC"] {
        let schedule = schedule(cron("30 2 * * *"), zone);
        let times = schedule.from(micros("2026-01-01T00:00:00Z"));
        let times: Vec<_> = times.take(366).map(Timestamp::as_micros).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 86_400_000_000), "{zone}");
    }
    fires(cron("30 2 * * *"), "Asia/Kathmandu", "2026-03-08T00:00", "08 02:30+05:45, 09 02:30+05:45");
}

#[test]
fn zones_are_known_where_the_system_has_none() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for zone in [NEW_YORK, BERLIN, "Australia/Lord_Howe"] {
        assert!(bundled.get(zone).is_ok(), "{zone}");
    }
}
