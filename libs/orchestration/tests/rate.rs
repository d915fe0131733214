//! A rate against models that are simpler than it: a bucket that is filled step by step, and a window that slides.

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use tidegate_model::Timestamp;
use tidegate_orchestration::{Arrival, Rate};

const T0: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn any_rate() -> impl Strategy<Value = Rate> {
    let number = || prop_oneof![1..5_u32, 1..2_000_u32].prop_filter_map("is not 0", NonZeroU32::new);
    (number(), number(), 1..100_000_u64).prop_map(|(max_starts, burst, millis)| Rate {
        max_starts,
        period: Duration::from_millis(millis),
        burst,
    })
}

/// How long after the one before each asks: mostly about as long as a token takes.
fn any_pauses() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![4 => 0..4_u64, 1 => 0..1_000_u64, 1 => Just(0)], 1..200)
}

fn interval_nanos(rate: Rate) -> u128 {
    rate.period.as_nanos().div_ceil(u128::from(rate.max_starts.get()))
}

/// Asks at these times, and gives those at which a token was got.
fn granted(rate: Rate, times: &[Timestamp]) -> Vec<Timestamp> {
    let mut arrival = Arrival::default();
    let mut granted = Vec::new();
    for now in times {
        let n_free = rate.n_free(arrival, *now);
        match rate.take(arrival, *now) {
            Some(next) => {
                assert!(n_free > 0 && next <= rate.latest(*now));
                assert_eq!(rate.n_free(next, *now), n_free - 1, "a token is one");
                granted.push(*now);
                arrival = next;
            }
            None => {
                let free_at = rate.free_at(arrival);
                assert!(n_free == 0 && free_at > *now);
                assert!(rate.n_free(arrival, free_at) > 0, "it is there when it was said to be");
                let before = free_at - Duration::from_micros(1);
                assert_eq!(rate.n_free(arrival, before), 0, "and not before");
            }
        }
    }
    granted
}

proptest! {
    /// With a clock that does not go back it is the bucket, token for token.
    #[test]
    fn it_is_a_bucket_that_fills_evenly(rate in any_rate(), pauses in any_pauses()) {
        let interval = interval_nanos(rate);
        let full = interval * u128::from(rate.burst.get());
        let (mut level, mut now, mut times, mut expected) = (full, T0, Vec::new(), Vec::new());
        for pause in pauses {
            let pause = Duration::from_micros(pause * u64::try_from(interval / 2_000).expect("is small"));
            now = now + pause;
            level = full.min(level + pause.as_nanos());
            times.push(now);
            if level >= interval {
                level -= interval;
                expected.push(now);
            }
        }
        prop_assert_eq!(granted(rate, &times), expected);
    }

    /// Several tokens are there when as many single ones are, and cost the same.
    #[test]
    fn several_tokens_are_as_many_single_ones(rate in any_rate(), n_before in 0..50_u32, n in 1..50_u32) {
        let take = |arrival, _| rate.take(arrival, T0);
        let Some(before) = (0..n_before).try_fold(Arrival::default(), take) else { return Ok(()) };
        let one_by_one = (0..n).try_fold(before, take);
        prop_assert_eq!(rate.take_several(before, T0, n), one_by_one);
        if one_by_one.is_none() && n <= rate.burst.get() {
            let free_at = rate.several_free_at(before, n);
            prop_assert!(free_at > T0 && rate.take_several(before, free_at, n).is_some());
            let early = free_at - Duration::from_micros(1);
            prop_assert!(rate.take_several(before, early, n).is_none());
        }
    }

    /// Whatever the clocks say: no window has more starts than the burst and what its length allows.
    #[test]
    fn no_window_has_more_starts_than_it_may(
        rate in any_rate(),
        steps in prop::collection::vec((0..6_u64, 0..4_u64), 1..200),
    ) {
        let interval = interval_nanos(rate);
        let step = u64::try_from(interval / 2_000).expect("is small");
        let (mut now, mut times) = (T0, Vec::new());
        for (forward, behind) in steps {
            now = now + Duration::from_micros(forward * step);
            // Of a replica whose clock is behind.
            times.push(now - Duration::from_micros(behind * step));
        }
        let mut starts = granted(rate, &times);
        starts.sort();
        for (first_idx, first) in starts.iter().enumerate() {
            for (n_more, last) in starts[first_idx..].iter().enumerate() {
                let allowed = u128::from(rate.burst.get()) + last.since(*first).as_nanos() / interval;
                prop_assert!((n_more as u128) < allowed, "{} starts from {first} to {last}", n_more + 1);
            }
        }
    }
}
