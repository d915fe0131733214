use std::time::Duration;

use jiff::{Span, Timestamp, civil::DateTime, tz::TimeZone};

use crate::{
    Invalid,
    civil::{Calendar, Clock},
};

const FIELD: &str = "interval.every";
const DAY: Duration = Duration::from_secs(86_400);
const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(366 * 86_400);

/// Refuses an interval out of bounds.
pub(crate) fn check(every: Duration) -> Result<(), Invalid> {
    if (MIN..=MAX).contains(&every) {
        return Ok(());
    }
    Err(Invalid::new(FIELD, format!("is {every:?}; 1 s to 366 days are allowed")))
}

/// Whether it counts days of the calendar.
pub(crate) fn is_of_days(every: Duration) -> bool {
    every.subsec_nanos() == 0 && every.as_secs().is_multiple_of(DAY.as_secs())
}

/// The first time at or after `from` that is a number of intervals from the anchor, by a clock without changes.
pub(crate) fn first_elapsed(every: Duration, anchor: Timestamp, from: Timestamp) -> Option<Timestamp> {
    let every = i128::try_from(every.as_nanos()).ok()?;
    let since = from.as_nanosecond() - anchor.as_nanosecond();
    let n = since.div_euclid(every) + i128::from(since.rem_euclid(every) != 0);
    Timestamp::from_nanosecond(anchor.as_nanosecond() + n * every).ok()
}

/// Each time after a number of days, at the hour of the anchor.
#[derive(Clone, Debug)]
pub(crate) struct DayCalendar {
    anchor: DateTime,
    n_days: i64,
}

impl DayCalendar {
    pub(crate) fn new(every: Duration, anchor: Timestamp, zone: &TimeZone) -> Self {
        let n_days = i64::try_from(every.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
        Self { anchor: zone.to_datetime(anchor), n_days }
    }
}

impl Calendar for DayCalendar {
    fn next(&self, from: DateTime) -> Option<DateTime> {
        let days = i64::from(self.anchor.date().until(from.date()).ok()?.get_days());
        let mut n = days.div_euclid(self.n_days) * self.n_days;
        loop {
            let next = self.anchor.checked_add(Span::new().try_days(n).ok()?).ok()?;
            if next >= from {
                return Some(next);
            }
            n = n.checked_add(self.n_days)?;
        }
    }

    fn clock(&self) -> Clock {
        Clock::Wall
    }
}
