use std::time::Duration;

use rand::Rng;

/// Exponential, capped, jittered: the n-th delay is drawn evenly from the upper half of `first × 2ⁿ`.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    n_made: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, n_made: 0 }
    }

    /// For connections and calls: 50 ms to 5 s.
    pub(crate) const fn standard() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.first.saturating_mul(2_u32.saturating_pow(self.n_made)).min(self.cap);
        self.n_made = self.n_made.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.n_made = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full_ms in [100, 200, 400, 800, 1_000, 1_000] {
            let delay = backoff.next();
            assert!(
                delay >= Duration::from_millis(full_ms / 2) && delay <= Duration::from_millis(full_ms),
                "{delay:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
