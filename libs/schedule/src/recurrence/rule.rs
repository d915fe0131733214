//! One rule. It is expanded from a period near to the time that is asked for, so that no call walks from its start.

use chrono::TimeZone as _;
use jiff::{ToSpan as _, civil::DateTime};
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated};

use super::{datetime, seconds};

/// The most times of a rule that counts, which are listed once.
const MAX_COUNT: u32 = 10_000;
/// Times that the longest period of a rule may have: the library makes all of a period at once.
const MAX_TIMES_OF_PERIOD: usize = 20_000;
/// Beyond it nothing fires: it is further away than anyone plans, and a search has an end there.
const END: DateTime = DateTime::constant(2_201, 1, 1, 0, 0, 0, 0);

const DAY: i64 = 86_400;

/// The times of one rule.
#[derive(Debug)]
pub(super) struct RuleTimes {
    rule: RRule,
    start: i64,
    /// Beyond it there is none.
    until: i64,
    /// All times of a rule that counts.
    counted: Option<Vec<i64>>,
}

impl RuleTimes {
    /// A rule, which says nothing of its UNTIL and COUNT itself: they are about times of the calendar.
    pub(super) fn new(
        rule: RRule<Unvalidated>,
        start: i64,
        until: Option<i64>,
        count: Option<u32>,
    ) -> Result<Self, String> {
        let first = to_chrono(start).ok_or("its start is out of range")?;
        let rule = rule.validate(first).map_err(|error| error.to_string())?;
        let days = match rule.get_freq() {
            Frequency::Yearly => 366,
            Frequency::Monthly => 31,
            Frequency::Weekly => 7,
            Frequency::Daily | Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => 1,
        };
        let named = |values: &[u8]| values.len().max(1);
        let of_day = named(rule.get_by_hour()) * named(rule.get_by_minute()) * named(rule.get_by_second());
        if days * of_day > MAX_TIMES_OF_PERIOD {
            return Err(format!(
                "it names {of_day} times of a day, too many for FREQ={}: name fewer, or have a shorter FREQ",
                rule.get_freq()
            ));
        }
        let until = until.unwrap_or(i64::MAX).min(seconds(END) - 1);
        let mut times = Self { rule, start, until, counted: None };
        if let Some(count) = count {
            if count > MAX_COUNT {
                return Err(format!("has a COUNT above {MAX_COUNT}: give an UNTIL"));
            }
            let counted = times.from(start).take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
            times.counted = Some(counted);
        }
        Ok(times)
    }

    /// Whether it fires in every hour of its days.
    pub(super) fn leaves_out_no_hour(&self) -> bool {
        let interval = self.rule.get_interval();
        self.rule.get_by_hour().is_empty()
            && match self.rule.get_freq() {
                Frequency::Hourly => interval == 1,
                Frequency::Minutely => interval <= 60,
                Frequency::Secondly => interval <= 3_600,
                _ => false,
            }
    }

    /// Its times at or after `from`, in order.
    pub(super) fn from(&self, from: i64) -> Box<dyn Iterator<Item = i64> + '_> {
        if let Some(counted) = &self.counted {
            return Box::new(counted[counted.partition_point(|time| *time < from)..].iter().copied());
        }
        let near = if from <= self.until { self.start_near(from).and_then(to_chrono) } else { None };
        let Some(near) = near else { return Box::new(std::iter::empty()) };
        let set = RRuleSet::new(near).rrule(self.rule.clone()).limit();
        let times = (&set).into_iter().map(|time| time.timestamp());
        let until = self.until;
        Box::new(times.skip_while(move |time| *time < from).take_while(move |time| *time <= until))
    }

    /// A start that gives the same times from `from` on: in the last period of the rule that begins before it.
    fn start_near(&self, from: i64) -> Option<i64> {
        if from <= self.start {
            return Some(self.start);
        }
        let interval = i64::from(self.rule.get_interval()).max(1);
        let periods_before = |begin: i64, length: i64| {
            let step = length * interval;
            begin + (from - begin).div_euclid(step) * step
        };
        let start = datetime(self.start)?;
        let near = match self.rule.get_freq() {
            Frequency::Secondly => periods_before(self.start, 1),
            Frequency::Minutely => periods_before(self.start, 60),
            Frequency::Hourly => periods_before(self.start, 3_600),
            Frequency::Daily => periods_before(self.start, DAY),
            Frequency::Weekly => {
                let first_day = i64::from(self.rule.get_week_start().num_days_from_monday());
                let day = i64::from(start.weekday().to_monday_zero_offset());
                let week = seconds(start.start_of_day()) - (day - first_day).rem_euclid(7) * DAY;
                periods_before(week, 7 * DAY)
            }
            Frequency::Monthly => {
                let months = |time: DateTime| i64::from(time.year()) * 12 + i64::from(time.month());
                let passed = (months(datetime(from)?) - months(start)) / interval * interval;
                seconds(start.first_of_month().start_of_day().checked_add(passed.months()).ok()?)
            }
            Frequency::Yearly => {
                let years = |time: DateTime| i64::from(time.year());
                let passed = (years(datetime(from)?) - years(start)) / interval * interval;
                seconds(start.first_of_year().start_of_day().checked_add(passed.years()).ok()?)
            }
        };
        Some(near.max(self.start))
    }
}

fn to_chrono(seconds: i64) -> Option<chrono::DateTime<Tz>> {
    Tz::UTC.timestamp_opt(seconds, 0).single()
}
