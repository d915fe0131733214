use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Spread, Table, fine};

/// How long things took, one by one.
pub(crate) struct Latencies(Histogram<u64>);

/// An hour in microseconds: what takes longer counts as that.
const LONGEST: u64 = 3_600_000_000;

impl Latencies {
    pub fn new() -> Self {
        // With bounds: one without grows for no value that is recorded saturating, and keeps what is above 2 ms as 2 µs.
        Self(
            Histogram::new_with_bounds(1, LONGEST, 3)
                .expect("the bounds and 3 significant digits are allowed"),
        )
    }

    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// A percentile in milliseconds.
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

/// Percentiles of all rounds of a bound and of the subject that is compared with it, in milliseconds, and the ratio of those
/// of the same round.
pub(crate) fn percentiles(rounds: &[(Latencies, Latencies)], bound: &str, subject: &str) -> Table {
    let heading = [format!("{bound} ms: median (min to max)"), format!("{subject} ms")];
    let mut table = Table::new(&["percentile", &heading[0], &heading[1], "ratio"]);
    for percentile in [50.0, 90.0, 99.0] {
        let each = |of: fn(f64, f64) -> f64| {
            let values = rounds.iter().map(|(bound, subject)| {
                of(bound.percentile_ms(percentile), subject.percentile_ms(percentile))
            });
            Spread::of(values.collect()).show(fine)
        };
        table.add([
            format!("p{percentile}"),
            each(|bound, _| bound),
            each(|_, subject| subject),
            each(|bound, subject| subject / bound),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_times_are_kept() {
        let mut latencies = Latencies::new();
        for micros in [1, 1_500, 2_500, 70_000] {
            latencies.record(Duration::from_micros(micros));
        }
        latencies.record(Duration::from_secs(86_400));
        let told = [20.0, 40.0, 60.0, 80.0].map(|percentile| latencies.percentile_ms(percentile));
        for (told, expected) in told.into_iter().zip([0.001, 1.5, 2.5, 70.0]) {
            assert!((told / expected - 1.0).abs() < 0.002, "{told} ms, not {expected}");
        }
        assert!(latencies.percentile_ms(100.0) >= 3_600_000.0);
    }
}
