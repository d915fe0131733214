use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// While the store was out of reach, or nothing of the suite ran, no process could renew its session; and while a clock
/// was wrong, none was renewed to the right time. Each gets the time to do so first.
#[derive(Clone)]
pub(crate) struct Amnesty {
    duration: Duration,
    ends_at: Arc<Mutex<Instant>>,
}

impl Amnesty {
    /// One that begins now, and anew with each cause.
    pub fn new(duration: Duration) -> Self {
        Self { duration, ends_at: Arc::new(Mutex::new(Instant::now() + duration)) }
    }

    /// Does `judge`, unless there is an amnesty. `ask` reaches the store first, also during an amnesty, so that an outage
    /// meanwhile is noticed; it gives when a clock was last set.
    pub async fn unless<E>(
        &self,
        ask: impl Future<Output = Result<Option<Instant>, E>>,
        judge: impl Future<Output = Result<usize, E>>,
    ) -> Result<usize, E> {
        let set_at = ask.await.inspect_err(|_| self.begin(Instant::now()))?;
        if let Some(set_at) = set_at {
            self.begin(set_at);
        }
        if *self.ends_at() > Instant::now() {
            return Ok(0);
        }
        judge.await.inspect_err(|_| self.begin(Instant::now()))
    }

    fn begin(&self, at: Instant) {
        let mut ends_at = self.ends_at();
        *ends_at = (*ends_at).max(at + self.duration);
    }

    fn ends_at(&self) -> MutexGuard<'_, Instant> {
        self.ends_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    const DURATION: Duration = Duration::from_secs(15);
    const N_LOST: usize = 3;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Store {
        Answers,
        IsAway,
        /// It answers, and is away when it is judged.
        BreaksOff,
        /// It answers, and a clock was set so many seconds ago.
        WasSet(u64),
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_judged_before_all_had_the_time_to_renew() {
        use Store::{Answers, BreaksOff, IsAway, WasSet};

        // When, what the turn finds, and whether it judges.
        let turns = [
            (0, Answers, false),
            (14, Answers, false),
            (16, Answers, true),
            (20, IsAway, false),
            (22, Answers, false),
            (34, IsAway, false),
            (36, Answers, false),
            (48, Answers, false),
            (50, Answers, true),
            (60, BreaksOff, true),
            (74, Answers, false),
            (76, Answers, true),
            (80, WasSet(0), false),
            (90, WasSet(10), false),
            (94, WasSet(14), false),
            (96, WasSet(16), true),
            (98, Answers, true),
        ];
        let (begun, amnesty) = (Instant::now(), Amnesty::new(DURATION));
        for (at, store, judges) in turns {
            sleep_until(begun + Duration::from_secs(at)).await;
            let ask = async {
                match store {
                    IsAway => Err("away"),
                    WasSet(ago) => Ok(Some(Instant::now() - Duration::from_secs(ago))),
                    Answers | BreaksOff => Ok(None),
                }
            };
            let mut judged = false;
            let judge = async {
                judged = true;
                if store == BreaksOff { Err("broke off") } else { Ok(N_LOST) }
            };
            let outcome = amnesty.unless(ask, judge).await;
            assert_eq!(judged, judges, "{store:?} at {at} s");
            let expected = match store {
                IsAway => Err("away"),
                BreaksOff => Err("broke off"),
                Answers | WasSet(_) => Ok(if judges { N_LOST } else { 0 }),
            };
            assert_eq!(outcome, expected, "{store:?} at {at} s");
        }
    }
}
