//! From times of a calendar to instants: what a change of the clocks does to them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Segments between two changes of the clocks that one call looks through: about 250 years of two changes each.
const MAX_SEGMENTS: usize = 500;

/// Times of a calendar, in order.
pub(crate) trait Calendar {
    /// The first time at or after `from`, which is in whole seconds or not; `None`: there is none.
    fn next(&self, from: DateTime) -> Option<DateTime>;

    /// How its times go through a change of the clocks.
    fn clock(&self) -> Clock;
}

/// How times of a calendar go through a change of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// A time that does not exist fires at the next instant that does, and one that exists twice fires at the first.
    Wall,
    /// The times are those of each hour that passes: none is made up for, and one that exists twice fires twice.
    Elapsed,
}

/// The first instant at or after `from` of a calendar in a zone.
///
/// Between two changes of the clocks, instants and times of the calendar differ by a constant, so each such segment is
/// looked through on its own; what is between two of them, or in both, is up to [`Clock`].
pub(crate) fn first_at_or_after(
    calendar: &dyn Calendar,
    zone: &TimeZone,
    from: Timestamp,
) -> Option<Timestamp> {
    let mut start = from;
    // From where it was asked last, and what came then: mostly true behind the next change as well.
    let mut known: Option<(DateTime, DateTime)> = None;
    for _ in 0..MAX_SEGMENTS {
        let offset = zone.to_offset(start);
        let mut begin = offset.to_datetime(start);
        if calendar.clock() == Clock::Wall
            && let Some(change) = change_at_or_before(zone, start)
        {
            let before = zone
                .to_offset(change.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?)
                .to_datetime(change);
            if change == start
                && before < begin
                && calendar.next(before).is_some_and(|missing| missing < begin)
            {
                return Some(change);
            }
            // Up to here the times were there before the clocks went back.
            begin = begin.max(before);
        }
        let next = match known {
            Some((asked, next)) if asked <= begin && begin <= next => next,
            _ => calendar.next(begin)?,
        };
        known = Some((begin, next));
        let at = offset.to_timestamp(next).ok();
        match zone.following(start).next().map(|change| change.timestamp()) {
            Some(change) if at.is_none_or(|at| at >= change) => start = change,
            _ => return at,
        }
    }
    None
}

/// The last change of the clocks at or before an instant.
fn change_at_or_before(zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let after = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
    zone.preceding(after).next().map(|change| change.timestamp())
}
