//! The rules of schedules: at which times one fires, and what becomes of times that were missed.
//!
//! All of it is pure: no clock, no I/O; equal inputs give equal times on every replica. A time that a schedule fires at is
//! its *nominal* time, by which it is known; its run is due a part of the jitter later.

mod catch_up;
mod civil;
mod cron;
mod error;
mod interval;
mod recurrence;

use std::{fmt, time::Duration};

use jiff::{Timestamp as Instant, tz::TimeZone};
use sha2::{Digest as _, Sha256};
use tidegate_model::Timestamp;

pub use catch_up::{CatchUp, Missed, Plan};
pub use error::Invalid;

use civil::{Calendar, first_at_or_after};
use cron::CronCalendar;
use interval::DayCalendar;

/// The longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);

/// What is told about the times of a schedule.
#[derive(Clone, Debug)]
pub struct Times<'a> {
    /// By which rule.
    pub rule: Rule<'a>,
    /// A name of the IANA database; empty: `UTC`, or what an [`Rule::Recurrence`] names.
    pub time_zone: &'a str,
    /// No time before it fires.
    pub start_at: Option<Timestamp>,
    /// No time at or after it fires.
    pub end_at: Option<Timestamp>,
    /// Each run is due up to so much later: at most [`MAX_JITTER`].
    pub jitter: Duration,
    /// When the schedule was made: the anchor of what has no other.
    pub created_at: Timestamp,
}

/// A rule as text, or as numbers.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// A cron expression of five fields, or of six with seconds before them, at most 256 bytes. `day_and`: where day of
    /// month and day of week are both restricted, both must match, instead of one of them.
    Cron {
        /// The expression.
        expression: &'a str,
        /// Both days must match.
        day_and: bool,
    },
    /// Each time after an interval of 1 s to 366 days. Whole days are days of the zone's calendar.
    Interval {
        /// Between two times.
        every: Duration,
        /// One of the times; `None`: `created_at`.
        anchor: Option<Timestamp>,
    },
    /// RFC 5545: a rule, or lines of DTSTART, RRULE, RDATE, EXRULE and EXDATE; at most 4 KiB. Rules that leave out no hour
    /// follow each hour that passes; others keep the time on the wall.
    Recurrence(&'a str),
}

/// The times of a schedule. Cheap to ask, however far away they are.
#[derive(Clone)]
pub struct Schedule {
    timetable: Timetable,
    zone: TimeZone,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    jitter: Duration,
}

#[derive(Clone)]
enum Timetable {
    Calendar(std::sync::Arc<dyn Calendar + Send + Sync>),
    Elapsed { every: Duration, anchor: Instant },
}

/// A time at which a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fire {
    /// By which it is known.
    pub at: Timestamp,
    /// When its run is due.
    pub due_at: Timestamp,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("zone", &self.zone.iana_name()).finish_non_exhaustive()
    }
}

impl Schedule {
    /// Reads what is told about a schedule.
    ///
    /// # Errors
    /// What is wrong, with its field, value, cause and mend. A rule that never fires is wrong; one that fires no more, or
    /// is outside of `start_at` and `end_at`, is not.
    pub fn new(times: &Times<'_>) -> Result<Self, Invalid> {
        let named = match times.time_zone {
            "" => None,
            name => Some(zone(name)?),
        };
        if times.jitter > MAX_JITTER {
            return Err(Invalid::new("jitter", format!("is {:?}; at most 1 day is allowed", times.jitter)));
        }
        if let (Some(start_at), Some(end_at)) = (times.start_at, times.end_at)
            && end_at <= start_at
        {
            return Err(Invalid::new(
                "end_at",
                format!("is {end_at}, not after start_at, {start_at}: nothing would fire"),
            ));
        }
        let created_at =
            instant(times.created_at).ok_or_else(|| Invalid::new("created_at", "is out of range"))?;
        let (timetable, zone) = match times.rule {
            Rule::Cron { expression, day_and } => {
                let calendar = CronCalendar::parse(expression, day_and)?;
                (Timetable::Calendar(std::sync::Arc::new(calendar)), named.unwrap_or(TimeZone::UTC))
            }
            Rule::Interval { every, anchor } => {
                interval::check(every)?;
                let zone = named.unwrap_or(TimeZone::UTC);
                let anchor = match anchor {
                    Some(anchor) => {
                        instant(anchor).ok_or_else(|| Invalid::new("interval.anchor", "is out of range"))?
                    }
                    None => created_at,
                };
                let timetable = if interval::is_of_days(every) {
                    Timetable::Calendar(std::sync::Arc::new(DayCalendar::new(every, anchor, &zone)))
                } else {
                    Timetable::Elapsed { every, anchor }
                };
                (timetable, zone)
            }
            Rule::Recurrence(text) => {
                let read = recurrence::parse(text, named.as_ref(), created_at)?;
                (Timetable::Calendar(std::sync::Arc::new(read.calendar)), read.zone)
            }
        };
        let (start_at, end_at, jitter) = (times.start_at, times.end_at, times.jitter);
        Ok(Self { timetable, zone, start_at, end_at, jitter })
    }

    /// The first nominal time after `after`; `None`: it fires no more.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.first_at_or_after(Timestamp::from_micros(after.as_micros().checked_add(1)?))
    }

    /// The first nominal time at or after `from`; `None`: it fires no more.
    pub fn first_at_or_after(&self, from: Timestamp) -> Option<Timestamp> {
        let from = self.start_at.map_or(from, |start_at| start_at.max(from));
        let from = instant(from)?;
        let at = match &self.timetable {
            Timetable::Calendar(calendar) => first_at_or_after(&**calendar, &self.zone, from)?,
            Timetable::Elapsed { every, anchor } => interval::first_elapsed(*every, *anchor, from)?,
        };
        let at = Timestamp::from_micros(at.as_microsecond());
        self.end_at.is_none_or(|end_at| at < end_at).then_some(at)
    }

    /// The nominal times at or after `from`, in order and without an end where the schedule has none.
    pub fn from(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.first_at_or_after(from), |at| self.next_after(*at))
    }

    /// The nominal times from `from` until before `to`, in order: at most `limit`.
    pub fn between(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<Timestamp> {
        self.from(from).take_while(|at| *at < to).take(limit).collect()
    }

    /// The time with when its run is due: a part of the jitter later that is always the same for a schedule and a time.
    /// `id` tells the schedule from others.
    pub fn fire(&self, id: &str, at: Timestamp) -> Fire {
        Fire { at, due_at: at + self.jitter_of(id, at) }
    }

    fn jitter_of(&self, id: &str, at: Timestamp) -> Duration {
        let digest = Sha256::new().chain_update(at.as_micros().to_be_bytes()).chain_update(id).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        let bound = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_micros(u64::from_be_bytes(first) % bound)
    }
}

fn zone(name: &str) -> Result<TimeZone, Invalid> {
    TimeZone::get(name).map_err(|_| {
        let shown: String = name.chars().take(80).collect();
        Invalid::new(
            "time_zone",
            format!("`{shown}` is no time zone of the IANA database: give a name such as `Europe/Berlin`, or none for UTC"),
        )
    })
}

fn instant(at: Timestamp) -> Option<Instant> {
    Instant::from_microsecond(at.as_micros()).ok()
}
