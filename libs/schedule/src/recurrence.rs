use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated};

use crate::{
    Invalid,
    civil::{Calendar, Clock},
};

const FIELD: &str = "rrule.rule";
/// Bytes of a rule with its lines.
const MAX_SIZE: usize = 4_096;
/// A rule that counts is walked from its start.
const MAX_COUNT: u32 = 10_000;
/// Lines of RDATE and EXDATE have at most so many dates in all.
const MAX_DATES: usize = 1_000;

/// A recurrence rule of RFC 5545, as times of a calendar: all of it is in the time of the zone, written as if that were
/// UTC, so that the library knows of no change of the clocks.
#[derive(Clone, Debug)]
pub(crate) struct RecurrenceCalendar {
    rule: RRule<Unvalidated>,
    start: DateTime,
    /// Further times, and times that are none.
    dates: Vec<DateTime>,
    except: Vec<DateTime>,
    clock: Clock,
}

/// A rule as it was read, with the zone that its DTSTART names.
pub(crate) struct Read {
    pub(crate) calendar: RecurrenceCalendar,
    pub(crate) zone: TimeZone,
}

/// Reads a rule. `zone` is that of the schedule, where it names one.
pub(crate) fn parse(text: &str, zone: Option<&TimeZone>, created_at: Timestamp) -> Result<Read, Invalid> {
    if text.trim().is_empty() {
        return Err(refuse("is empty: give one such as `FREQ=WEEKLY;BYDAY=MO,WE`"));
    }
    if text.len() > MAX_SIZE {
        return Err(refuse(format!("has {} bytes; at most {MAX_SIZE} are allowed", text.len())));
    }
    let lines = Lines::of(text)?;
    let zone = match (&lines.zone, zone) {
        (Some(named), Some(own)) if named != own => {
            let (named, own) = (named.iana_name().unwrap_or("?"), own.iana_name().unwrap_or("?"));
            return Err(refuse(format!(
                "has a DTSTART in {named}, and time_zone is {own}: leave one of them out"
            )));
        }
        (Some(zone), _) | (None, Some(zone)) => zone.clone(),
        (None, None) => TimeZone::UTC,
    };
    let start = match lines.start {
        Some(start) => start.in_zone(&zone),
        None => zone.to_datetime(created_at).with().subsec_nanosecond(0).build().unwrap_or_default(),
    };
    let rule: RRule<Unvalidated> = localized(&lines.rule, &zone)?
        .parse()
        .map_err(|error| refuse(format!("`{}` is no recurrence rule: {error}", shown(&lines.rule))))?;
    if rule.get_count().is_some_and(|count| count > MAX_COUNT) {
        return Err(refuse(format!("has a COUNT above {MAX_COUNT}: give an UNTIL")));
    }
    let is_sub_daily =
        matches!(rule.get_freq(), Frequency::Hourly | Frequency::Minutely | Frequency::Secondly);
    let calendar = RecurrenceCalendar {
        rule,
        start,
        dates: lines.dates.iter().map(|date| date.in_zone(&zone)).collect(),
        except: lines.except.iter().map(|date| date.in_zone(&zone)).collect(),
        clock: if is_sub_daily { Clock::Elapsed } else { Clock::Wall },
    };
    calendar.set(start).map_err(|error| refuse(format!("`{}`: {error}", shown(&lines.rule))))?;
    if calendar.next(start).is_none() {
        return Err(refuse(format!("`{}` never fires", shown(&lines.rule))));
    }
    Ok(Read { calendar, zone })
}

fn refuse(why: impl Into<String>) -> Invalid {
    Invalid::new(FIELD, why)
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

impl RecurrenceCalendar {
    /// The rule beginning at `start`.
    fn set(&self, start: DateTime) -> Result<RRuleSet, rrule::RRuleError> {
        self.rule.clone().build(to_chrono(start))
    }

    /// A start near `from` that gives the same times after it, so that no call walks all the way from the first one.
    /// Months and years are few, and not equally long.
    fn start_near(&self, from: DateTime) -> DateTime {
        let unit = match self.rule.get_freq() {
            Frequency::Weekly => 7 * 86_400,
            Frequency::Daily => 86_400,
            Frequency::Hourly => 3_600,
            Frequency::Minutely => 60,
            Frequency::Secondly => 1,
            Frequency::Monthly | Frequency::Yearly => return self.start,
        };
        if self.rule.get_count().is_some() || from <= self.start {
            return self.start;
        }
        let step = unit * i64::from(self.rule.get_interval().max(1));
        let since = from.duration_since(self.start).as_secs();
        // One step short: a week or day has several times.
        let n_steps = (since / step - 1).max(0);
        self.start.checked_add(jiff::SignedDuration::from_secs(n_steps * step)).unwrap_or(self.start)
    }

    fn next_of_rule(&self, from: DateTime) -> Option<DateTime> {
        let mut from = from;
        // Those that are excepted are skipped here.
        for _ in 0..=MAX_DATES {
            let set = self.set(self.start_near(from)).ok()?;
            let next = set.after(to_chrono(from)).all(1).dates.first().map(of_chrono)?;
            if !self.except.contains(&next) {
                return Some(next);
            }
            from = next.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
        }
        None
    }
}

impl Calendar for RecurrenceCalendar {
    fn next(&self, from: DateTime) -> Option<DateTime> {
        let whole = from.with().subsec_nanosecond(0).build().ok()?;
        let from =
            if whole == from { from } else { whole.checked_add(jiff::SignedDuration::from_secs(1)).ok()? };
        let date =
            self.dates.iter().filter(|date| **date >= from && !self.except.contains(date)).min().copied();
        self.next_of_rule(from).into_iter().chain(date).min()
    }

    fn clock(&self) -> Clock {
        self.clock
    }
}

/// A time as it is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// Of the zone.
    Local(DateTime),
    /// With a `Z`.
    Utc(Timestamp),
}

impl Written {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let what = || refuse(format!("`{}` is no time of RFC 5545, such as `20260131T090000`", shown(text)));
        let (bare, is_utc) = text.strip_suffix('Z').map_or((text, false), |bare| (bare, true));
        let full = if bare.len() == 8 { format!("{bare}T000000") } else { bare.to_owned() };
        let time = DateTime::strptime("%Y%m%dT%H%M%S", &full).map_err(|_| what())?;
        if !(1_900..=2_200).contains(&time.year()) {
            return Err(refuse(format!("`{}` is not in the years 1900 to 2200", shown(text))));
        }
        if !is_utc {
            return Ok(Self::Local(time));
        }
        let at = TimeZone::UTC.to_timestamp(time).map_err(|_| what())?;
        Ok(Self::Utc(at))
    }

    fn in_zone(self, zone: &TimeZone) -> DateTime {
        match self {
            Self::Local(time) => time,
            Self::Utc(at) => zone.to_datetime(at),
        }
    }
}

/// The lines of a rule.
#[derive(Default)]
struct Lines {
    rule: String,
    start: Option<Written>,
    zone: Option<TimeZone>,
    dates: Vec<Written>,
    except: Vec<Written>,
}

impl Lines {
    fn of(text: &str) -> Result<Self, Invalid> {
        let mut lines = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let upper = line.to_ascii_uppercase();
            if !line.contains(':') || upper.starts_with("FREQ=") {
                lines.set_rule(&upper)?;
                continue;
            }
            let (head, value) = line.split_once(':').unwrap_or((line, ""));
            let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
            lines.read_zone(parameters)?;
            match name.to_ascii_uppercase().as_str() {
                "RRULE" => lines.set_rule(&value.to_ascii_uppercase())?,
                "DTSTART" if lines.start.is_none() => lines.start = Some(Written::parse(value.trim())?),
                "DTSTART" => return Err(refuse("has two DTSTART")),
                "RDATE" => lines.dates.append(&mut times(value)?),
                "EXDATE" => lines.except.append(&mut times(value)?),
                other => {
                    let other = shown(other);
                    return Err(refuse(format!(
                        "has a line {other}; DTSTART, RRULE, RDATE and EXDATE are understood"
                    )));
                }
            }
        }
        if lines.rule.is_empty() {
            return Err(refuse("has no RRULE"));
        }
        if lines.dates.len() + lines.except.len() > MAX_DATES {
            return Err(refuse(format!("has more than {MAX_DATES} dates in RDATE and EXDATE")));
        }
        Ok(lines)
    }

    fn set_rule(&mut self, rule: &str) -> Result<(), Invalid> {
        if !self.rule.is_empty() {
            return Err(refuse("has two RRULE: make two schedules of them"));
        }
        self.rule = rule.to_owned();
        Ok(())
    }

    fn read_zone(&mut self, parameters: &str) -> Result<(), Invalid> {
        for parameter in parameters.split(';') {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            if !name.eq_ignore_ascii_case("TZID") {
                continue;
            }
            let zone = TimeZone::get(value).map_err(|_| {
                refuse(format!("names the time zone `{}`, which is none of the IANA database", shown(value)))
            })?;
            if self.zone.as_ref().is_some_and(|other| *other != zone) {
                return Err(refuse("names two time zones"));
            }
            self.zone = Some(zone);
        }
        Ok(())
    }
}

fn times(value: &str) -> Result<Vec<Written>, Invalid> {
    value.split(',').map(|time| Written::parse(time.trim())).collect()
}

/// The rule with its UNTIL in the time of the zone, marked as UTC as the library wants it beside such a start.
fn localized(rule: &str, zone: &TimeZone) -> Result<String, Invalid> {
    let part = |part: &str| match part.split_once('=') {
        Some(("UNTIL", value)) => {
            // A date alone is all of its day.
            let whole_day = if value.len() == 8 { format!("{value}T235959") } else { value.to_owned() };
            let until = Written::parse(&whole_day)?.in_zone(zone);
            Ok(format!("UNTIL={}Z", until.strftime("%Y%m%dT%H%M%S")))
        }
        _ => Ok(part.to_owned()),
    };
    let parts: Result<Vec<_>, _> = rule.split(';').filter(|part| !part.is_empty()).map(part).collect();
    Ok(parts?.join(";"))
}

fn to_chrono(time: DateTime) -> chrono::DateTime<Tz> {
    let date = NaiveDate::from_ymd_opt(
        time.year().into(),
        time.month().unsigned_abs().into(),
        time.day().unsigned_abs().into(),
    );
    let clock = NaiveTime::from_hms_opt(
        time.hour().unsigned_abs().into(),
        time.minute().unsigned_abs().into(),
        time.second().unsigned_abs().into(),
    );
    NaiveDateTime::new(date.unwrap_or_default(), clock.unwrap_or_default()).and_utc().with_timezone(&Tz::UTC)
}

#[expect(clippy::cast_possible_truncation, reason = "a valid time fits")]
fn of_chrono(time: &chrono::DateTime<Tz>) -> DateTime {
    DateTime::new(
        time.year() as i16,
        time.month() as i8,
        time.day() as i8,
        time.hour() as i8,
        time.minute() as i8,
        time.second() as i8,
        0,
    )
    .unwrap_or_default()
}
