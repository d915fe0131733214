use std::time::Duration;

use crate::Failure;

/// The rules of one run, fixed when it is created.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// What follows when the code raises.
    pub retry: RetryPolicy,
    /// What follows when the process goes away.
    pub crash: CrashPolicy,
    /// How long one attempt may take; `None`: no bound.
    pub run_timeout: Option<Duration>,
    /// How long a worker may hold the run without starting it.
    pub start_timeout: Duration,
    /// How long the code has to end after a cancel before it is killed.
    pub cancel_grace: Duration,
    /// How long after its due time a run that nobody has taken is called late; `None`: never.
    pub late_after: Option<Duration>,
    /// What the end of the parent does to this run.
    pub parent: ParentPolicies,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            crash: CrashPolicy::default(),
            run_timeout: None,
            start_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(30),
            late_after: None,
            parent: ParentPolicies::default(),
        }
    }
}

/// What follows when the code raises.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Further attempts after the first.
    pub max_retries: u32,
    /// Delays before the first, second, … retry; the last one repeats. Empty: no delay.
    pub delays: Vec<Duration>,
    /// Growth of the delay for each retry past the end of `delays`; 1 or less: none.
    pub backoff_factor: f64,
    /// The upper bound of a grown delay.
    pub max_delay: Duration,
    /// The delay is drawn evenly from delay × (1 ± jitter_factor); 0 to 1.
    pub jitter_factor: f64,
    /// Only errors of these types are retried; empty: all.
    pub retry_on: Vec<String>,
    /// Errors of these types are not, also where `retry_on` has them.
    pub never_retry_on: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 0,
            delays: Vec::new(),
            backoff_factor: 1.0,
            max_delay: Duration::from_secs(3_600),
            jitter_factor: 0.0,
            retry_on: Vec::new(),
            never_retry_on: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// Whether a further attempt may mend this failure. What the code's own side says against it stands.
    pub fn takes(&self, failure: &Failure) -> bool {
        !failure.non_retryable && self.takes_type(&failure.error_type)
    }

    /// Whether errors of this type are retried.
    pub fn takes_type(&self, error_type: &str) -> bool {
        let is_in = |types: &[String]| types.iter().any(|known| known == error_type);
        !is_in(&self.never_retry_on) && (self.retry_on.is_empty() || is_in(&self.retry_on))
    }

    /// The delay before retry number `retry_idx` (from 0). `jitter` is drawn evenly from 0 to 1 by the caller.
    pub fn delay(&self, retry_idx: u32, jitter: f64) -> Duration {
        let Some(last_idx) = self.delays.len().checked_sub(1) else { return Duration::ZERO };
        let listed_idx = usize::try_from(retry_idx).unwrap_or(usize::MAX).min(last_idx);
        let n_beyond = retry_idx.saturating_sub(u32::try_from(last_idx).unwrap_or(u32::MAX));
        let growth = self.backoff_factor.max(1.0).powf(f64::from(n_beyond));
        // The bound holds for growth: a listed delay above it is what the user wrote.
        let bound = self.max_delay.max(self.delays[listed_idx]).as_secs_f64();
        let grown = (self.delays[listed_idx].as_secs_f64() * growth).min(bound);
        let spread = 1.0 + self.jitter_factor.clamp(0.0, 1.0) * (2.0 * jitter.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(grown * spread).unwrap_or(self.max_delay)
    }
}

/// What follows when the process goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPolicy {
    /// How often the run is delivered again; 0: the first crash is final.
    pub max_crashes: u32,
}

impl Default for CrashPolicy {
    fn default() -> Self {
        Self { max_crashes: 3 }
    }
}

/// What the end of a parent does to its child, by how the parent ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParentPolicies {
    /// Where the parent is cancelled.
    pub on_cancel: ParentPolicy,
    /// Where it fails.
    pub on_failure: ParentPolicy,
    /// Where it crashes for good.
    pub on_crash: ParentPolicy,
}

impl ParentPolicies {
    /// The same however the parent ends.
    pub const fn all(policy: ParentPolicy) -> Self {
        Self { on_cancel: policy, on_failure: policy, on_crash: policy }
    }
}

/// What one kind of end of a parent does to its child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentPolicy {
    /// The child is cancelled.
    #[default]
    Cancel,
    /// The child goes on.
    Detach,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn delays_follow_the_list_then_grow_to_the_bound() {
        let policy = RetryPolicy {
            delays: seconds(&[1, 5, 10]),
            backoff_factor: 2.0,
            max_delay: Duration::from_secs(60),
            ..RetryPolicy::default()
        };
        let delays: Vec<u64> = (0..8).map(|retry_idx| policy.delay(retry_idx, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn one_number_repeats_and_none_is_no_delay() {
        let policy = RetryPolicy { delays: seconds(&[3]), ..RetryPolicy::default() };
        assert_eq!(policy.delay(7, 0.1), Duration::from_secs(3));
        assert_eq!(RetryPolicy::default().delay(7, 0.1), Duration::ZERO);
    }

    #[test]
    fn jitter_is_applied_to_both_sides() {
        let policy = RetryPolicy { delays: seconds(&[10]), jitter_factor: 0.5, ..RetryPolicy::default() };
        assert_eq!(policy.delay(0, 0.0), Duration::from_secs(5));
        assert_eq!(policy.delay(0, 1.0), Duration::from_secs(15));
    }

    #[test]
    fn lists_of_error_types_say_what_is_retried() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let failure = |error_type: &str| Failure { error_type: error_type.to_owned(), ..Failure::default() };
        let policy = RetryPolicy {
            retry_on: names(&["Timeout", "Busy"]),
            never_retry_on: names(&["Busy"]),
            ..RetryPolicy::default()
        };
        assert!(policy.takes(&failure("Timeout")));
        assert!(!policy.takes(&failure("Busy")), "never_retry_on beats retry_on");
        assert!(!policy.takes(&failure("ValueError")));
        assert!(
            !policy.takes(&Failure { non_retryable: true, ..failure("Timeout") }),
            "the code knows better"
        );
        let all = RetryPolicy { never_retry_on: names(&["Busy"]), ..RetryPolicy::default() };
        assert!(all.takes(&failure("anything")) && !all.takes(&failure("Busy")));
    }

    proptest! {
        #[test]
        fn a_delay_is_never_above_its_bound(
            base in 0_u64..100_000, factor in 0.0..10.0_f64, jitter_factor in 0.0..1.0_f64,
            retry_idx in any::<u32>(), jitter in 0.0..1.0_f64,
        ) {
            let policy = RetryPolicy {
                delays: seconds(&[base]), backoff_factor: factor, jitter_factor, ..RetryPolicy::default()
            };
            let bound = policy.max_delay.max(Duration::from_secs(base)).as_secs_f64() * (1.0 + jitter_factor);
            prop_assert!(policy.delay(retry_idx, jitter).as_secs_f64() <= bound + 1e-6);
        }
    }
}
