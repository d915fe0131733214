//! Recurrence rules of RFC 5545, as times of a calendar: all of a rule is in the time of the zone, written as if that were
//! UTC, so that the library knows of no change of the clocks.

mod rule;
mod text;

use jiff::{Timestamp, civil::DateTime, tz::Offset};

use crate::civil::{Calendar, Clock};

use rule::RuleTimes;
pub(crate) use text::parse;

/// Excluded times in a row after which a search ends.
const MAX_EXCLUDED: usize = 20_000;

/// The times of rules and dates, without others. Times are seconds of the calendar since the beginning of 1970.
#[derive(Debug, Default)]
pub(crate) struct RecurrenceCalendar {
    rules: Vec<RuleTimes>,
    /// In order, as those below.
    dates: Vec<i64>,
    excluded_rules: Vec<RuleTimes>,
    excluded_dates: Vec<i64>,
}

impl RecurrenceCalendar {
    fn first_at_or_after(&self, mut from: i64) -> Option<i64> {
        let mut rules: Vec<_> = self.rules.iter().map(|rule| rule.from(from).peekable()).collect();
        for _ in 0..MAX_EXCLUDED {
            let date = self.dates.get(self.dates.partition_point(|date| *date < from)).copied();
            let of_rules = rules.iter_mut().filter_map(|times| {
                while times.next_if(|time| *time < from).is_some() {}
                times.peek().copied()
            });
            let next = of_rules.chain(date).min()?;
            if !self.excludes(next) {
                return Some(next);
            }
            from = next + 1;
        }
        None
    }

    fn excludes(&self, time: i64) -> bool {
        self.excluded_dates.binary_search(&time).is_ok()
            || self.excluded_rules.iter().any(|rule| rule.from(time).next() == Some(time))
    }
}

impl Calendar for RecurrenceCalendar {
    fn next(&self, from: DateTime) -> Option<DateTime> {
        let whole = from.with().subsec_nanosecond(0).build().ok()?;
        datetime(self.first_at_or_after(seconds(whole) + i64::from(whole != from))?)
    }

    fn clock(&self) -> Clock {
        let follows_hours = self.dates.is_empty() && self.rules.iter().all(RuleTimes::leaves_out_no_hour);
        if follows_hours { Clock::Elapsed } else { Clock::Wall }
    }
}

/// The seconds of a time of the calendar.
fn seconds(time: DateTime) -> i64 {
    // The last days of jiff's calendar are no instants, and far behind all times of rules.
    Offset::UTC.to_timestamp(time).map_or(i64::MAX, Timestamp::as_second)
}

fn datetime(seconds: i64) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?))
}
