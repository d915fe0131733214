//! Tells whether the loops of a process still go round.
//!
//! A loop says what it is about to do: [`beat`] before a turn and whenever it has come further in a long one, [`rest`]
//! before a sleep, [`wait`] before it waits for work that may never come. It is late once it has said nothing for the
//! patience of its [`Pulse`] beyond that. Whoever runs the loop gives it its pulse ([`Pulse::scope`]), so that no loop
//! needs to know who looks: outside of a scope these three do nothing, and a task that never beats is never late.
//!
//! What fails and is tried again beats: a loop is late when it hangs or has ended, not because a database is away.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Pulse;
}

/// A turn begins, or has come further: more is heard within the patience.
pub fn beat() {
    rest(Duration::ZERO);
}

/// Nothing is to be heard for at most this long, beside the patience.
pub fn rest(at_most: Duration) {
    let _ = CURRENT.try_with(|pulse| pulse.expect_within(at_most));
}

/// Nothing may be heard for as long as it takes: there is nothing to be done.
pub fn wait() {
    let _ = CURRENT.try_with(|pulse| pulse.say(Standing::Waits));
}

/// What is known of one loop. Clones are of the same loop.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    patience: Duration,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has not beaten yet, and is no loop as far as we know.
    Silent,
    Waits,
    /// The next beat is due at this time.
    DueBy(Instant),
    Retired,
}

impl Pulse {
    /// Of a loop that is late when it is silent for `patience` beyond what it has said.
    pub fn new(name: &'static str, patience: Duration) -> Self {
        Self(Arc::new(Inner { name, patience, standing: Mutex::new(Standing::Silent) }))
    }

    /// The loop's name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Runs the loop. One that has ended is late after the patience, unless it is begun again or retired.
    pub async fn scope<F: Future>(&self, task: F) -> F::Output {
        let output = CURRENT.scope(self.clone(), task).await;
        if *self.standing() != Standing::Silent {
            self.expect_within(Duration::ZERO);
        }
        output
    }

    /// The loop is not needed any more.
    pub fn retire(&self) {
        self.say(Standing::Retired);
    }

    /// For how long it has been late. `None`: it is not.
    pub fn late_by(&self) -> Option<Duration> {
        let Standing::DueBy(due_by) = *self.standing() else { return None };
        Instant::now().checked_duration_since(due_by).filter(|late| !late.is_zero())
    }

    fn expect_within(&self, at_most: Duration) {
        // A sleep that is as good as endless is a wait.
        let due_by = Instant::now().checked_add(at_most.saturating_add(self.0.patience));
        self.say(due_by.map_or(Standing::Waits, Standing::DueBy));
    }

    fn say(&self, now: Standing) {
        let mut standing = self.standing();
        if *standing != Standing::Retired {
            *standing = now;
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pulses of a process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pulses(Arc<All>);

#[derive(Debug)]
struct All {
    patience: Duration,
    pulses: Mutex<Vec<Pulse>>,
}

impl Pulses {
    /// None yet; each will be late after this `patience`.
    pub fn new(patience: Duration) -> Self {
        Self(Arc::new(All { patience, pulses: Mutex::default() }))
    }

    /// How long a loop may be silent.
    pub fn patience(&self) -> Duration {
        self.0.patience
    }

    /// A pulse for one more loop.
    pub fn add(&self, name: &'static str) -> Pulse {
        let pulse = Pulse::new(name, self.0.patience);
        let mut pulses = self.pulses();
        pulses.retain(|pulse| *pulse.standing() != Standing::Retired);
        pulses.push(pulse.clone());
        pulse
    }

    /// The names of the loops that are late, each once.
    pub fn late(&self) -> Vec<&'static str> {
        self.names_of(|pulse| pulse.late_by().is_some())
    }

    /// The names of the loops that have said anything yet, each once.
    pub fn heard(&self) -> Vec<&'static str> {
        self.names_of(|pulse| !matches!(*pulse.standing(), Standing::Silent | Standing::Retired))
    }

    fn names_of(&self, which: impl Fn(&Pulse) -> bool) -> Vec<&'static str> {
        let pulses = self.pulses();
        let mut names: Vec<_> = pulses.iter().filter(|pulse| which(pulse)).map(Pulse::name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn pulses(&self) -> MutexGuard<'_, Vec<Pulse>> {
        self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_secs(1);

    /// Runs a loop of these steps, each a second long after what it says.
    fn spawn(pulses: &Pulses, steps: Vec<fn()>, then: impl Future<Output = ()> + Send + 'static) -> Pulse {
        let pulse = pulses.add("loop");
        let body = {
            let pulse = pulse.clone();
            async move {
                let steps = async {
                    for step in steps {
                        step();
                        tokio::time::sleep(MOMENT).await;
                    }
                    then.await;
                };
                pulse.scope(steps).await;
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(body);
        pulse
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_or_has_ended_is_late_after_the_patience() {
        for then in [true, false] {
            let pulses = Pulses::new(PATIENCE);
            spawn(&pulses, vec![beat, wait, beat], async move {
                if then {
                    std::future::pending::<()>().await;
                }
            });
            tokio::time::sleep(PATIENCE + MOMENT).await;
            assert_eq!(pulses.late(), Vec::<&str>::new());
            tokio::time::sleep(PATIENCE).await;
            assert_eq!(pulses.late(), ["loop"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_rests_waits_or_never_beats_is_not_late() {
        let all: [Vec<fn()>; 4] = [
            vec![beat, (|| rest(Duration::from_secs(1_000))) as fn()],
            vec![beat, wait],
            vec![],
            vec![(|| rest(Duration::MAX)) as fn()],
        ];
        for steps in all {
            let pulses = Pulses::new(PATIENCE);
            spawn(&pulses, steps, std::future::pending());
            tokio::time::sleep(Duration::from_secs(1_000)).await;
            assert_eq!(pulses.late(), Vec::<&str>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_late_no_more_and_who_is_retired_is_forgotten() {
        let pulses = Pulses::new(PATIENCE);
        let pulse = pulses.add("loop");
        pulse.scope(async { beat() }).await;
        tokio::time::sleep(2 * PATIENCE).await;
        assert_eq!(pulse.late_by(), Some(PATIENCE));
        pulse.scope(async { beat() }).await;
        assert_eq!(pulses.late(), Vec::<&str>::new());
        pulse.retire();
        pulse.scope(async { beat() }).await;
        tokio::time::sleep(2 * PATIENCE).await;
        assert_eq!(pulses.late(), Vec::<&str>::new());
        pulses.add("other");
        assert_eq!(pulses.pulses().len(), 1);
    }
}
