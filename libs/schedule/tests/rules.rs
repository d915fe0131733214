//! What every timetable keeps to, and what is refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use proptest::prelude::*;
use tidegate_model::Timestamp;
use tidegate_schedule::{CatchUp, Missed, Plan, Rule, Schedule, Times};

fn micros(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn times(rule: Rule<'_>) -> Times<'_> {
    let created_at = micros("2020-01-01T00:00:00Z");
    Times { rule, time_zone: "", start_at: None, end_at: None, jitter: Duration::ZERO, created_at }
}

fn cron(expression: &str) -> Rule<'_> {
    Rule::Cron { expression, day_and: false }
}

const RULES: &[Rule<'_>] = &[
    Rule::Cron { expression: "*/7 * * * *", day_and: false },
    Rule::Cron { expression: "30 2 * * *", day_and: false },
    Rule::Cron { expression: "15 10 0,12 1,15 * MON", day_and: false },
    Rule::Cron { expression: "0 0 13 * FRI", day_and: true },
    Rule::Cron { expression: "0 12 L * *", day_and: false },
    Rule::Interval { every: Duration::from_secs(5_400), anchor: None },
    Rule::Interval { every: Duration::from_secs(3 * 86_400), anchor: None },
    Rule::Recurrence("FREQ=DAILY;INTERVAL=2;BYHOUR=1,2;BYMINUTE=30"),
    Rule::Recurrence("FREQ=MONTHLY;BYDAY=-1FR"),
    Rule::Recurrence("FREQ=MINUTELY;INTERVAL=17"),
    Rule::Recurrence("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;WKST=SU"),
    Rule::Recurrence(
        "DTSTART:20200131T010000\nRRULE:FREQ=MONTHLY\nEXDATE:20260331T010000\nRDATE:20260401T013000",
    ),
];
const ZONES: &[&str] =
    &["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata"];

proptest! {
    #[test]
    fn times_grow_and_are_the_same_from_wherever_one_looks(
        rule in prop::sample::select(RULES), time_zone in prop::sample::select(ZONES),
        second in 1_735_689_600_i64..1_830_000_000, back in 0_i64..200_000,
    ) {
        let schedule = Schedule::new(&Times { time_zone, ..times(rule) }).unwrap();
        let from = Timestamp::from_micros(second * 1_000_000);
        let all: Vec<_> = schedule.from(from).take(12).collect();
        prop_assert!(all.iter().all(|at| *at >= from));
        prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        let earlier = from - Duration::from_secs(back.unsigned_abs());
        let same: Vec<_> = schedule.from(earlier).filter(|at| *at >= from).take(12).collect();
        prop_assert_eq!(&all, &same);
        let (first, last) = (all[0], all[11]);
        prop_assert_eq!(schedule.between(first, last, 100), &all[..11]);
        prop_assert_eq!(schedule.next_after(first), Some(all[1]));
    }

    #[test]
    fn jitter_is_bounded_and_always_the_same(second in 0_i64..2_000_000_000, id in "[a-z]{1,8}") {
        let jitter = Duration::from_secs(60);
        let schedule = Schedule::new(&Times { jitter, ..times(cron("* * * * *")) }).unwrap();
        let at = Timestamp::from_micros(second * 1_000_000);
        let fire = schedule.fire(&id, at);
        prop_assert!(fire.due_at >= at && fire.due_at <= at + jitter);
        prop_assert_eq!(fire, schedule.fire(&id, at));
    }

    #[test]
    fn every_time_is_made_missed_or_to_come_exactly_once(
        n_turns in 1_usize..6, steps in prop::collection::vec(1_u64..5_000, 6), grace in 0_u64..1_000, kept in 0_usize..5, most in 1_usize..4,
    ) {
        let schedule = Schedule::new(&times(cron("* * * * *"))).unwrap();
        let begin = micros("2026-03-01T00:00:00Z");
        let catch_up = CatchUp { missed: Missed::All(kept), grace: Duration::from_secs(grace) };
        let (mut planned, mut now, mut fires, mut n_missed) = (begin, begin, Vec::new(), 0);
        for seconds in &steps[..n_turns] {
            now = now + Duration::from_secs(*seconds);
            loop {
                let plan = schedule.plan(planned, now, catch_up, most);
                prop_assert!(plan.fires.len() <= most);
                fires.extend(plan.fires);
                n_missed += plan.n_missed;
                planned = plan.next.unwrap();
                if planned > now {
                    break;
                }
            }
        }
        let all = schedule.between(begin, planned, 100_000);
        prop_assert!(fires.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(fires.iter().all(|at| all.contains(at)));
        prop_assert_eq!(fires.len() as u64 + n_missed, all.len() as u64);
    }
}

#[test]
fn missed_times_are_dealt_with_as_was_asked() {
    let schedule = Schedule::new(&times(cron("0 * * * *"))).unwrap();
    let at = |hour: u32| micros(&format!("2026-03-01T{hour:02}:00:00Z"));
    let now = micros("2026-03-01T05:00:30Z");
    let plan = |missed| schedule.plan(at(1), now, CatchUp { missed, grace: Duration::from_secs(60) }, 100);
    let expected = |fires: Vec<Timestamp>, n_missed| Plan { fires, n_missed, next: Some(at(6)) };
    assert_eq!(plan(Missed::Skip), expected(vec![at(5)], 4));
    assert_eq!(plan(Missed::Latest), expected(vec![at(4), at(5)], 3));
    assert_eq!(plan(Missed::All(2)), expected(vec![at(3), at(4), at(5)], 2));
    assert_eq!(plan(Missed::All(100)), expected((1..6).map(at).collect(), 0));
    // Later than the grace, it is missed as well.
    let late = micros("2026-03-01T05:01:01Z");
    let plan =
        schedule.plan(at(5), late, CatchUp { missed: Missed::Skip, grace: Duration::from_secs(60) }, 100);
    assert_eq!(plan, expected(vec![], 1));
}

#[test]
fn years_of_missed_seconds_are_counted_in_turns() {
    let schedule = Schedule::new(&times(cron("* * * * * *"))).unwrap();
    let (begin, now) = (micros("2026-03-01T00:00:00Z"), micros("2026-03-04T00:00:00Z"));
    let catch_up = CatchUp { missed: Missed::All(3), grace: Duration::ZERO };
    let (mut planned, mut fires, mut n_missed, mut n_turns) = (begin, Vec::new(), 0, 0);
    while planned <= now {
        let plan = schedule.plan(planned, now, catch_up, 1_000);
        fires.extend(plan.fires);
        n_missed += plan.n_missed;
        planned = plan.next.unwrap();
        n_turns += 1;
    }
    assert!(n_turns > 1);
    assert_eq!((fires.len(), n_missed), (4, 3 * 86_400 - 3));
}

#[test]
fn bounds_are_kept() {
    let start_at = Some(micros("2026-03-01T10:30:00Z"));
    let end_at = Some(micros("2026-03-01T13:00:00Z"));
    let schedule = Schedule::new(&Times { start_at, end_at, ..times(cron("0 * * * *")) }).unwrap();
    let all: Vec<_> = schedule.from(micros("2026-01-01T00:00:00Z")).map(|at| at.to_string()).collect();
    assert_eq!(all, ["2026-03-01T11:00:00Z", "2026-03-01T12:00:00Z"]);
    let finite = Schedule::new(&times(Rule::Recurrence("FREQ=DAILY;COUNT=3"))).unwrap();
    assert_eq!(finite.from(micros("2019-01-01T00:00:00Z")).count(), 3);
    let until = Rule::Recurrence("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY;UNTIL=20260103");
    assert_eq!(Schedule::new(&times(until)).unwrap().from(micros("2019-01-01T00:00:00Z")).count(), 3);
}

#[test]
fn days_of_month_and_of_week_are_either_or_both() {
    let first = |day_and| {
        let rule = Rule::Cron { expression: "0 0 13 * FRI", day_and };
        let schedule = Schedule::new(&times(rule)).unwrap();
        schedule.first_at_or_after(micros("2026-03-14T00:00:00Z")).unwrap().to_string()
    };
    assert_eq!(first(false), "2026-03-20T00:00:00Z");
    assert_eq!(first(true), "2026-11-13T00:00:00Z");
}

#[test]
fn what_is_wrong_is_told_with_its_field_and_its_mend() {
    let refused = |times: Times<'_>| {
        let invalid = Schedule::new(&times).unwrap_err();
        (invalid.field, invalid.description)
    };
    let long = "1,".repeat(200) + " * * * *";
    let interval = |seconds| Rule::Interval { every: Duration::from_secs_f64(seconds), anchor: None };
    let many = format!("FREQ=DAILY;COUNT={}", 100_000);
    for (rule, field, part) in [
        (cron(""), "cron.expression", "is empty"),
        (cron("0 3 * *"), "cron.expression", "has 4 fields"),
        (
            cron("61 * * * *"),
            "cron.expression",
            "`61 * * * *` is no cron expression at column 1, the minute `61`",
        ),
        (cron("0 3 * * FOO"), "cron.expression", "at column 9, the day of week `FOO`"),
        (cron("0 0 30 2 *"), "cron.expression", "never fires"),
        (cron("@often"), "cron.expression", "is no cron expression"),
        (cron(&long), "cron.expression", "at most 256"),
        (interval(0.5), "interval.every", "1 s to 366 days"),
        (interval(1e9), "interval.every", "1 s to 366 days"),
        (Rule::Recurrence(""), "rrule.rule", "FREQ=WEEKLY"),
        (Rule::Recurrence("FREQ=SOMETIMES"), "rrule.rule", "is no recurrence rule"),
        (Rule::Recurrence("DTSTART:yesterday\nRRULE:FREQ=DAILY"), "rrule.rule", "`yesterday` is no time"),
        (Rule::Recurrence("RRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY"), "rrule.rule", "never fires"),
        (Rule::Recurrence("RRULE:FREQ=DAILY\nVALARM:1"), "rrule.rule", "a line `VALARM`"),
        (Rule::Recurrence("DTSTART:20260101T000000"), "rrule.rule", "no RRULE and no RDATE"),
        (Rule::Recurrence("FREQ=DAILY;COUNT=many"), "rrule.rule", "the COUNT `MANY`"),
        (Rule::Recurrence("FREQ=DAILY;INTERVAL=0"), "rrule.rule", "never fires"),
        (
            Rule::Recurrence("DTSTART;TZID=Mars/Base:20260101T000000\nRRULE:FREQ=DAILY"),
            "rrule.rule",
            "`Mars/Base`",
        ),
        (Rule::Recurrence("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"), "rrule.rule", "never fires"),
        (Rule::Recurrence(&many), "rrule.rule", "COUNT above 10000"),
    ] {
        let (found, description) = refused(times(rule));
        assert!(found == field && description.contains(part), "{rule:?}: {found} {description}");
    }
    let (field, description) = refused(Times { time_zone: "Berlin", ..times(cron("0 3 * * *")) });
    assert!(
        field == "time_zone" && description.contains("`Berlin`") && description.contains("Europe/Berlin")
    );
    let two = Rule::Recurrence("DTSTART;TZID=Europe/Berlin:20260101T000000\nRRULE:FREQ=DAILY");
    let (_, description) = refused(Times { time_zone: "UTC", ..times(two) });
    assert!(description.contains("leave one of them out"), "{description}");
    let at = Some(micros("2026-01-01T00:00:00Z"));
    assert_eq!(refused(Times { start_at: at, end_at: at, ..times(cron("0 3 * * *")) }).0, "end_at");
    assert_eq!(
        refused(Times { jitter: Duration::from_secs(90_000), ..times(cron("0 3 * * *")) }).0,
        "jitter"
    );
}

#[test]
fn a_time_far_from_its_anchor_costs_no_walk() {
    let rules = [
        "DTSTART:19000101T000000\nRRULE:FREQ=SECONDLY",
        "DTSTART:19000101T000000\nRRULE:FREQ=MINUTELY;INTERVAL=7",
    ];
    for rule in rules {
        let schedule = Schedule::new(&times(Rule::Recurrence(rule))).unwrap();
        let from = micros("2150-01-01T00:00:00Z");
        // Walked from its start, this would take hours.
        assert_eq!(schedule.from(from).take(100).count(), 100);
    }
}

#[test]
fn sets_of_rules_are_joined_and_others_are_left_out() {
    let all = |text: &str, from: &str, n: usize| -> Vec<String> {
        let schedule = Schedule::new(&times(Rule::Recurrence(text))).unwrap();
        schedule.from(micros(from)).take(n).map(|at| at.to_string()).collect()
    };
    let weekdays = "DTSTART:20260101T090000\nRRULE:FREQ=DAILY;UNTIL=20260106\nEXRULE:FREQ=WEEKLY;BYDAY=SA,SU";
    assert_eq!(
        all(weekdays, "2026-01-02T00:00:00Z", 9),
        ["2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z", "2026-01-06T09:00:00Z"]
    );
    let both = "DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY\nRRULE:FREQ=WEEKLY;BYDAY=MO";
    assert_eq!(
        all(both, "2026-01-30T00:00:00Z", 3),
        ["2026-02-01T09:00:00Z", "2026-02-02T09:00:00Z", "2026-02-09T09:00:00Z"]
    );
    let dates = "RDATE:20260301T100000,20260201T100000";
    assert_eq!(all(dates, "2026-01-01T00:00:00Z", 9), ["2026-02-01T10:00:00Z", "2026-03-01T10:00:00Z"]);
    let last_working_day = "DTSTART:19000101T090000\nRRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1";
    assert_eq!(
        all(last_working_day, "2026-01-31T00:00:00Z", 2),
        ["2026-02-27T09:00:00Z", "2026-03-31T09:00:00Z"]
    );
    let each_fifth_month = "DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;INTERVAL=5";
    assert_eq!(
        all(each_fifth_month, "2027-01-01T00:00:00Z", 2),
        ["2027-04-01T09:00:00Z", "2027-09-01T09:00:00Z"]
    );
    let each_other_week = "DTSTART:20260101T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU";
    assert_eq!(
        all(each_other_week, "2026-03-01T12:00:00Z", 2),
        ["2026-03-09T09:00:00Z", "2026-03-15T09:00:00Z"]
    );
}

#[test]
fn no_rule_names_more_times_of_a_period_than_can_be_made_at_once() {
    let list = |n: u32| (0..n).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
    let (hours, sixty) = (list(24), list(60));
    let each_second = format!(
        "DTSTART:19700101T000000\nRRULE:FREQ=YEARLY;BYDAY=MO;BYHOUR={hours};BYMINUTE={sixty};BYSECOND={sixty}"
    );
    let refused = Schedule::new(&times(Rule::Recurrence(&each_second))).unwrap_err();
    assert!(refused.description.contains("86400 times of a day, too many for FREQ=YEARLY"), "{refused}");
    let each_hour = format!("DTSTART:19700101T000000\nRRULE:FREQ=YEARLY;BYDAY=MO;BYHOUR={hours}");
    let schedule = Schedule::new(&times(Rule::Recurrence(&each_hour))).unwrap();
    assert_eq!(schedule.next_after(micros("2026-03-02T05:30:00Z")), Some(micros("2026-03-02T06:00:00Z")));
}

/// Rules of any parts, sensible or not.
fn any_rule() -> impl Strategy<Value = String> {
    let part = |name: &'static str, low: i32, high: i32| {
        prop::collection::vec(low..=high, 1..3).prop_map(move |values| {
            let values: Vec<String> = values.iter().map(i32::to_string).collect();
            format!(";{name}={}", values.join(","))
        })
    };
    let parts = prop_oneof![
        part("BYMONTH", 0, 13),
        part("BYMONTHDAY", -32, 32),
        part("BYYEARDAY", -367, 367),
        part("BYWEEKNO", -54, 54),
        part("BYHOUR", 0, 24),
        part("BYMINUTE", 0, 60),
        part("BYSECOND", 0, 60),
        part("BYSETPOS", -5, 5),
        (-6_i32..6).prop_map(|nth| format!(";BYDAY={nth}TU,FR")),
        (0_u32..70_000).prop_map(|interval| format!(";INTERVAL={interval}")),
        (0_u32..20).prop_map(|count| format!(";COUNT={count}")),
        Just(";WKST=SU".to_owned()),
    ];
    const FREQS: &[&str] = &["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"];
    (prop::sample::select(FREQS), prop::collection::vec(parts, 0..4))
        .prop_map(|(freq, parts)| format!("FREQ={freq}{}", parts.concat()))
}

proptest! {
    #[test]
    fn no_rule_of_any_parts_ends_in_a_panic(text in any_rule(), second in 1_300_000_000_i64..1_800_000_000) {
        let rule = Rule::Recurrence(&text);
        if let Ok(schedule) = Schedule::new(&Times { time_zone: "Europe/Berlin", ..times(rule) }) {
            let all: Vec<_> = schedule.from(Timestamp::from_micros(second * 1_000_000)).take(5).collect();
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        }
    }
}
