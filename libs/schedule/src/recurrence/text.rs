//! The text of a recurrence rule: one rule, or lines of DTSTART, RRULE, RDATE, EXRULE and EXDATE.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rrule::{RRule, Unvalidated};

use super::{RecurrenceCalendar, rule::RuleTimes, seconds};
use crate::{Invalid, civil::Calendar as _};

const FIELD: &str = "rrule.rule";
/// Bytes of a rule with its lines.
const MAX_SIZE: usize = 4_096;
/// Lines of RRULE and EXRULE.
const MAX_RULES: usize = 20;

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
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Line::of).collect();
    let zone = zone_of(&lines, zone)?;
    let mut start = None;
    for line in lines.iter().filter(|line| line.name == "DTSTART") {
        let time = Written::parse(line.value)?.in_zone(&zone);
        if start.replace(time).is_some() {
            return Err(refuse("has two DTSTART: leave one of them out"));
        }
    }
    let created_at = || zone.to_datetime(created_at).with().subsec_nanosecond(0).build().unwrap_or_default();
    let start = seconds(start.unwrap_or_else(created_at));

    let mut calendar = RecurrenceCalendar::default();
    for line in &lines {
        match line.name.as_str() {
            "DTSTART" => {}
            "RRULE" => calendar.rules.push(rule(line.value, start, &zone)?),
            "EXRULE" => calendar.excluded_rules.push(rule(line.value, start, &zone)?),
            "RDATE" => calendar.dates.append(&mut times(line.value, &zone)?),
            "EXDATE" => calendar.excluded_dates.append(&mut times(line.value, &zone)?),
            other => {
                return Err(refuse(format!(
                    "has a line `{}`; DTSTART, RRULE, RDATE, EXRULE and EXDATE are understood",
                    shown(other)
                )));
            }
        }
    }
    if calendar.rules.len() + calendar.excluded_rules.len() > MAX_RULES {
        return Err(refuse(format!("has more than {MAX_RULES} rules: make several schedules of them")));
    }
    if calendar.rules.is_empty() && calendar.dates.is_empty() {
        return Err(refuse("has no RRULE and no RDATE"));
    }
    calendar.dates.sort_unstable();
    calendar.excluded_dates.sort_unstable();
    if calendar.next(DateTime::constant(1_900, 1, 1, 0, 0, 0, 0)).is_none() {
        return Err(refuse(format!("`{}` never fires", shown(text))));
    }
    Ok(Read { calendar, zone })
}

fn refuse(why: impl Into<String>) -> Invalid {
    Invalid::new(FIELD, why)
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

/// A line: `NAME;PARAMETERS:VALUE`, or a rule alone.
struct Line<'a> {
    name: String,
    parameters: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let Some((head, value)) = line.split_once(':') else {
            return Self { name: "RRULE".to_owned(), parameters: "", value: line };
        };
        let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
        Self { name: name.trim().to_ascii_uppercase(), parameters, value: value.trim() }
    }

    fn zone(&self) -> Option<&'a str> {
        let parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("TZID")).map(|(_, value)| value)
    }
}

/// The zone of all times: that of the schedule, or of the lines.
fn zone_of(lines: &[Line<'_>], own: Option<&TimeZone>) -> Result<TimeZone, Invalid> {
    let mut all: Option<TimeZone> = None;
    for name in lines.iter().filter_map(Line::zone) {
        let zone = TimeZone::get(name).map_err(|_| {
            refuse(format!("names the time zone `{}`, which is none of the IANA database", shown(name)))
        })?;
        if all.as_ref().is_some_and(|other| *other != zone) {
            return Err(refuse("names two time zones: write all times in one"));
        }
        all = Some(zone);
    }
    match (all, own) {
        (Some(named), Some(own)) if named != *own => {
            let (named, own) = (named.iana_name().unwrap_or("?"), own.iana_name().unwrap_or("?"));
            Err(refuse(format!("has times in {named}, and time_zone is {own}: leave one of them out")))
        }
        (Some(zone), _) => Ok(zone),
        (None, own) => Ok(own.cloned().unwrap_or(TimeZone::UTC)),
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
        let text = text.trim();
        let (bare, is_utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |bare| (bare, true));
        let full = if bare.len() == 8 { format!("{bare}T000000") } else { bare.to_owned() };
        let time = DateTime::strptime("%Y%m%dT%H%M%S", full).map_err(|_| what())?;
        if !(1_900..=2_200).contains(&time.year()) {
            return Err(refuse(format!("`{}` is not in the years 1900 to 2200", shown(text))));
        }
        if !is_utc {
            return Ok(Self::Local(time));
        }
        Ok(Self::Utc(TimeZone::UTC.to_timestamp(time).map_err(|_| what())?))
    }

    fn in_zone(self, zone: &TimeZone) -> DateTime {
        match self {
            Self::Local(time) => time,
            Self::Utc(at) => zone.to_datetime(at),
        }
    }
}

fn times(value: &str, zone: &TimeZone) -> Result<Vec<i64>, Invalid> {
    value.split(',').map(|time| Ok(seconds(Written::parse(time)?.in_zone(zone)))).collect()
}

fn rule(text: &str, start: i64, zone: &TimeZone) -> Result<RuleTimes, Invalid> {
    let (mut until, mut count, mut parts) = (None, None, Vec::new());
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let part = part.trim().to_ascii_uppercase();
        match part.split_once('=') {
            Some(("UNTIL", value)) => {
                // A date alone is all of its day.
                let value = if value.len() == 8 { format!("{value}T235959") } else { value.to_owned() };
                until = Some(seconds(Written::parse(&value)?.in_zone(zone)));
            }
            Some(("COUNT", value)) => {
                let number = value.parse();
                count =
                    Some(number.map_err(|_| {
                        refuse(format!("has the COUNT `{}`, which is no number", shown(value)))
                    })?);
            }
            Some(("BYEASTER", _)) => {
                return Err(refuse("has a BYEASTER, which RFC 5545 does not know: list the days as RDATE"));
            }
            _ => parts.push(part),
        }
    }
    let rule: RRule<Unvalidated> = parts
        .join(";")
        .parse()
        .map_err(|error| refuse(format!("`{}` is no recurrence rule: {error}", shown(text))))?;
    RuleTimes::new(rule, start, until, count)
        .map_err(|cause| refuse(format!("`{}` cannot be: {cause}", shown(text))))
}
