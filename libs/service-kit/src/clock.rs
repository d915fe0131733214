use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tidegate_model::{Clock, Timestamp};
use tidegate_pulse as pulse;
use tokio::time::{Instant, sleep};

use crate::Supervisor;

const INTERVAL: Duration = Duration::from_secs(10);
/// After a comparison that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Clocks that differ by less are as good as one.
const TOLERANCE: Duration = Duration::from_millis(20);
/// A difference that people are told of: machines whose time is kept do not come to that.
const NOTABLE: Duration = Duration::from_secs(1);

/// The clock of a dependency, which all replicas have in common: the machine's own, put right by how much it differs. So
/// what one replica has written is judged by another as if they were on one machine, whatever their machines say. To ask
/// it what time it is costs no more than to ask the machine.
pub struct SharedClock {
    whose: &'static str,
    /// What the machine's clock said at the beginning. Since then the machine is asked how much time has passed, and not what
    /// time it is: somebody may set its clock, and that is not to move ours until the two are compared.
    begun: (Timestamp, Instant),
    /// What is to be added to that (µs).
    ahead: AtomicI64,
    set_at: Mutex<Option<Instant>>,
}

impl SharedClock {
    /// How long it may take until all replicas that reach the dependency know that its clock was set.
    pub const KNOWN_AFTER: Duration = INTERVAL.saturating_add(RETRY);

    /// The clock of `whose`, which `there` asks for its time, on a machine whose clock is `own`. The two are compared at
    /// once, and then now and then until the process stops. While there is no answer, what was known last goes on.
    pub async fn start<F, Fut, E>(
        own: Arc<dyn Clock>,
        whose: &'static str,
        there: F,
        tasks: &Supervisor,
    ) -> Arc<Self>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Timestamp, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let clock = Arc::new(Self::new(&*own, whose));
        let mut is_told = clock.compare_or_tell(there(), false).await;
        let kept = Arc::clone(&clock);
        tasks.essential("clock", move |stop| async move {
            loop {
                let pause = if is_told { RETRY } else { INTERVAL };
                pulse::rest(pause);
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return Ok(());
                }
                pulse::beat();
                match stop.run_until_cancelled(kept.compare_or_tell(there(), is_told)).await {
                    Some(told) => is_told = told,
                    None => return Ok(()),
                }
            }
        });
        clock
    }

    fn new(own: &dyn Clock, whose: &'static str) -> Self {
        let begun = (own.now(), Instant::now());
        Self { whose, begun, ahead: AtomicI64::new(0), set_at: Mutex::new(None) }
    }

    fn unset(&self) -> Timestamp {
        self.begun.0 + self.begun.1.elapsed()
    }

    /// Looks how much our own differs. `there` asks for the time.
    ///
    /// # Errors
    /// That of `there`; what was known stays.
    pub async fn compare<E>(&self, there: impl Future<Output = Result<Timestamp, E>>) -> Result<(), E> {
        let (asked, before) = (Instant::now(), self.unset());
        let there = there.await?;
        // It was read somewhere between the question and the answer.
        let took = asked.elapsed();
        let ahead = there.as_micros() - (before + took / 2).as_micros();
        let known = self.ahead.load(Ordering::Relaxed);
        // What the way of the question can have made of it is none: the clock does not jump with each answer.
        if ahead.abs_diff(known) <= micros(TOLERANCE + took) {
            return Ok(());
        }
        self.ahead.store(ahead, Ordering::Relaxed);
        if ahead.abs_diff(known) > micros(NOTABLE) {
            *self.set_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.tell(ahead);
        }
        Ok(())
    }

    /// When it was last found that one of the two clocks had been set, by more than a second; or was wrong from the start.
    pub fn set_at(&self) -> Option<Instant> {
        *self.set_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether it failed, which is told once in a row.
    async fn compare_or_tell<E>(
        &self,
        there: impl Future<Output = Result<Timestamp, E>>,
        is_told: bool,
    ) -> bool
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let Err(error) = self.compare(there).await else { return false };
        if !is_told {
            let error = anyhow::Error::from(error);
            tracing::warn!(
                "the clock was not compared with that of {}, it goes on as before: {error:#}",
                self.whose
            );
        }
        true
    }

    fn tell(&self, ahead: i64) {
        let (magnitude, whose) = (Duration::from_micros(ahead.unsigned_abs()), self.whose);
        if magnitude <= NOTABLE {
            tracing::info!("the clock of this machine is right again by that of {whose}");
            return;
        }
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        tracing::warn!(
            "the clock of this machine is {magnitude:?} {side} that of {whose}, which is used: is the time of one of them \
             not kept?"
        );
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::from_micros(self.unset().as_micros().saturating_add(ahead))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOON: i64 = 12 * 3_600 * SECOND;

    /// The machine's clock, which tests set (µs).
    struct Machine(AtomicI64);

    impl Clock for Machine {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    fn machine(micros: i64) -> (Machine, SharedClock) {
        let machine = Machine(AtomicI64::new(micros));
        let clock = SharedClock::new(&machine, "the store");
        (machine, clock)
    }

    async fn says(micros: i64) -> Result<Timestamp, io::Error> {
        Ok(Timestamp::from_micros(micros))
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_wrong_either_way_is_put_right_and_one_that_is_set_later_moves_nothing() {
        for ahead in [300 * SECOND, -300 * SECOND] {
            let (own, clock) = machine(NOON + ahead);
            assert_eq!(clock.now().as_micros(), NOON + ahead);
            clock.compare(says(NOON)).await.unwrap();
            assert_eq!(clock.now().as_micros(), NOON);
            let set_at = clock.set_at();
            assert_eq!(set_at, Some(Instant::now()));

            sleep(Duration::from_secs(60)).await;
            own.0.store(NOON + 60 * SECOND, Ordering::Relaxed);
            assert_eq!(clock.now().as_micros(), NOON + 60 * SECOND);
            clock.compare(says(NOON + 60 * SECOND)).await.unwrap();
            assert_eq!((clock.now().as_micros(), clock.set_at()), (NOON + 60 * SECOND, set_at));

            // The other one is set.
            clock.compare(says(NOON)).await.unwrap();
            assert_eq!((clock.now().as_micros(), clock.set_at()), (NOON, Some(Instant::now())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_took_long_moves_nothing_that_it_may_be_the_cause_of() {
        let (_, clock) = machine(NOON);
        let late = async {
            sleep(Duration::from_secs(8)).await;
            says(NOON + 8 * SECOND).await
        };
        clock.compare(late).await.unwrap();
        assert_eq!(clock.now().as_micros(), NOON + 8 * SECOND);
        assert_eq!(clock.set_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_goes_on_while_there_is_no_answer() {
        let (_, clock) = machine(NOON);
        clock.compare(says(NOON + 7 * SECOND)).await.unwrap();
        let away = async { Err::<Timestamp, _>(io::Error::other("away")) };
        assert!(clock.compare(away).await.is_err());
        assert_eq!(clock.now().as_micros(), NOON + 7 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_fails_does_not_end_the_loop() {
        let (own, tasks) = (Arc::new(Machine(AtomicI64::new(NOON))), Supervisor::new());
        let n_asked = Arc::new(AtomicI64::new(0));
        let asked = Arc::clone(&n_asked);
        let there = move || {
            let n_before = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                if n_before < 3 { Err(io::Error::other("away")) } else { says(NOON + 300 * SECOND).await }
            }
        };
        let clock = SharedClock::start(own, "the store", there, &tasks).await;
        assert_eq!(clock.now().as_micros(), NOON);
        sleep(4 * INTERVAL).await;
        assert!(clock.now().as_micros() >= NOON + 300 * SECOND);
        assert_eq!(tasks.pulses().late(), Vec::<&str>::new());
        tasks.stop();
        tasks.finished(INTERVAL).await.unwrap();
    }
}
