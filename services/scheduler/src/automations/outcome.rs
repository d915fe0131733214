use std::time::Duration;

use tidegate_model::{Timestamp, limits};
use tidegate_store::{Firing, FiringOutcome};
use tidegate_webhook::Failure;

/// The wait after the first try. Each further one is so many times as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const GROWTH: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// How much a wait is longer or shorter at most, so that what failed together does not come together again.
const SPREAD: f64 = 0.2;
/// A server that wants to be left alone for less is, for so long.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// What becomes of a firing after a try that has just ended. `jitter` is drawn evenly from 0 to 1.
pub(super) fn outcome_of(
    tried: Result<(), Failure>,
    firing: &Firing,
    now: Timestamp,
    jitter: f64,
) -> FiringOutcome {
    let Err(failure) = tried else { return FiringOutcome::Succeeded };
    let error = failure.to_string();
    let tried_until = firing.at + limits::FIRING_TRIED_FOR;
    if !failure.is_passing() || now >= tried_until {
        return FiringOutcome::GivenUp { error };
    }
    let wait = match failure.retry_after() {
        Some(asked) => asked.max(SHORTEST_WAIT),
        None => wait(firing.n_tries, jitter),
    };
    // The last try is the one at the end of that time.
    FiringOutcome::Failed { error, due_at: (now + wait).min(tried_until) }
}

/// How long to wait after so many tries.
fn wait(n_tries: u32, jitter: f64) -> Duration {
    let growth = GROWTH.saturating_pow(n_tries.saturating_sub(1));
    let wait = FIRST_WAIT.saturating_mul(growth).min(LONGEST_WAIT);
    wait.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * jitter)
}

#[cfg(test)]
mod tests {
    use tidegate_model::{Namespace, RunId};
    use tidegate_orchestration::{StateName, StateType};
    use tidegate_store::{AutomationKey, FiringKey};

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);
    const MIDDLE: f64 = 0.5;

    fn firing(n_tries: u32) -> Firing {
        let automation =
            AutomationKey { namespace: Namespace::default(), name: "page-me".parse().expect("is a name") };
        Firing {
            key: FiringKey { automation, run_id: RunId::new(), seq: 4 },
            state_type: StateType::Crashed,
            state_name: StateName::Crashed,
            message: String::new(),
            at: AT,
            attempt: 1,
            ended: true,
            n_tries,
            last_error: String::new(),
            due_at: AT,
            is_given_up: false,
        }
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Failure {
        Failure::Answered { status, text: String::new(), retry_after: retry_after.map(Duration::from_secs) }
    }

    /// After how many seconds it is tried again, if it was tried so long after the event. `None`: it is given up.
    fn waits(failure: Failure, n_tries: u32, after: Duration, jitter: f64) -> Option<f64> {
        let (now, error) = (AT + after, failure.to_string());
        match outcome_of(Err(failure), &firing(n_tries), now, jitter) {
            FiringOutcome::Failed { error: told, due_at } => {
                assert_eq!(told, error);
                Some(due_at.since(now).as_secs_f64())
            }
            FiringOutcome::GivenUp { error: told } => {
                assert_eq!(told, error);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_waited_for_longer_and_longer() {
        let waits = |n_tries, jitter| waits(answered(503, None), n_tries, Duration::ZERO, jitter);
        for (n_tries, seconds) in [
            (1, 5.0),
            (2, 15.0),
            (3, 45.0),
            (4, 135.0),
            (5, 405.0),
            (6, 1_215.0),
            (7, 3_600.0),
            (99, 3_600.0),
        ] {
            assert_eq!(waits(n_tries, MIDDLE), Some(seconds), "{n_tries}");
        }
        assert_eq!((waits(1, 0.0), waits(1, 1.0)), (Some(4.0), Some(6.0)));
    }

    #[test]
    fn a_server_says_when_to_come_again() {
        for (asked, seconds) in [(0, 1.0), (1, 1.0), (7, 7.0), (7_200, 7_200.0), (u64::MAX, 86_400.0)] {
            let failure = answered(429, Some(asked));
            assert_eq!(waits(failure, 3, Duration::ZERO, MIDDLE), Some(seconds), "{asked}");
        }
    }

    #[test]
    fn what_cannot_succeed_is_given_up_at_once_and_the_rest_after_a_day() {
        for failure in [
            answered(302, None),
            answered(400, None),
            answered(410, Some(5)),
            Failure::Refused("not there".to_owned()),
        ] {
            assert_eq!(waits(failure, 1, Duration::ZERO, MIDDLE), None);
        }
        let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
        for failure in [answered(408, None), answered(500, None), Failure::Silent("no answer".to_owned())] {
            assert_eq!(waits(failure.clone(), 9, day - minute, MIDDLE), Some(60.0), "the last try");
            assert_eq!(waits(failure, 9, day, MIDDLE), None);
        }
        assert_eq!(outcome_of(Ok(()), &firing(9), AT + 2 * day, MIDDLE), FiringOutcome::Succeeded);
    }
}
