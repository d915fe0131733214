use std::{num::NonZeroU32, time::Duration};

use tidegate_model::Timestamp;

/// So many starts in each period, kept by the generic cell rate algorithm in its form of virtual scheduling
/// (ITU-T Recommendation I.371, annex A; <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>).
///
/// Seen as a bucket it holds `burst` tokens and gets one every `period / max_starts`. So in any span of time at most
/// `burst + span * max_starts / period` starts are allowed, whatever the order in which differing clocks ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Starts in each period.
    pub max_starts: NonZeroU32,
    /// The period.
    pub period: Duration,
    /// Starts that may come at once after a rest.
    pub burst: NonZeroU32,
}

/// When the next start would come if all came evenly, in nanoseconds since the Unix epoch. All that is kept of a rate's
/// past; one that lies behind says no more than none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(pub i64);

impl Rate {
    /// The time of one token, rounded up to a nanosecond, so that the rate is never exceeded.
    fn interval(self) -> i128 {
        let nanos = self.period.as_nanos().div_ceil(u128::from(self.max_starts.get()));
        i128::from(u64::try_from(nanos).unwrap_or(u64::MAX)).max(1)
    }

    /// How long an empty bucket takes to fill.
    pub fn burst_span(self) -> Duration {
        let span = self.interval() * i128::from(self.burst.get());
        Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// Tokens that are there.
    pub fn n_free(self, arrival: Arrival, now: Timestamp) -> u64 {
        let ahead = (i128::from(arrival.0) - at(now)).max(0);
        let left = self.interval() * i128::from(self.burst.get()) - ahead;
        u64::try_from(left.div_euclid(self.interval())).unwrap_or(0)
    }

    /// Takes a token, where there is one.
    pub fn take(self, arrival: Arrival, now: Timestamp) -> Option<Arrival> {
        self.take_several(arrival, now, 1)
    }

    /// Takes so many tokens, where all of them are there.
    pub fn take_several(self, arrival: Arrival, now: Timestamp, n_tokens: u32) -> Option<Arrival> {
        if self.n_free(arrival, now) < n_tokens.into() {
            return None;
        }
        let next = i128::from(arrival.0).max(at(now)) + self.interval() * i128::from(n_tokens);
        Some(Arrival(i64::try_from(next).unwrap_or(i64::MAX)))
    }

    /// When a token is there.
    pub fn free_at(self, arrival: Arrival) -> Timestamp {
        self.several_free_at(arrival, 1)
    }

    /// When so many tokens are there; they never are where that is more than the burst.
    pub fn several_free_at(self, arrival: Arrival, n_tokens: u32) -> Timestamp {
        let n_kept = i128::from(self.burst.get()) - i128::from(n_tokens);
        let free_at = i128::from(arrival.0) - self.interval() * n_kept;
        // Up to the next microsecond: before that it is not there.
        let micros = -(-free_at).div_euclid(1_000);
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// The latest that may be kept at `now`: of an empty bucket. A slower rate, which this one took the place of, may
    /// have left a later one.
    pub fn latest(self, now: Timestamp) -> Arrival {
        let latest = at(now) + self.interval() * i128::from(self.burst.get());
        Arrival(i64::try_from(latest).unwrap_or(i64::MAX))
    }
}

impl Arrival {
    /// Of a bucket that is full at this time.
    pub fn at(time: Timestamp) -> Self {
        Self(i64::try_from(at(time)).unwrap_or(i64::MAX))
    }
}

fn at(time: Timestamp) -> i128 {
    i128::from(time.as_micros()) * 1_000
}
