use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_delivery::Pausable;
use tokio::time::Instant;

/// A queue that no worker here has asked about for so long is forgotten, so that there are no more of them than are used.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// The queues and work pools of which api has said that they are paused. Nothing is taken from them until it is told that they are
/// resumed; as that may be lost, one run is claimed now and then to find out.
pub(crate) struct Paused {
    probe_interval: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// When the next run of each is claimed.
    next_probes: HashMap<Pausable, Instant>,
    /// How often one was resumed.
    n_resumed: u64,
}

/// How much may be taken from a queue or of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// It is not known to be paused.
    All,
    /// One run, to see whether it still is.
    Probe,
    /// Nothing before then.
    NothingFor(Duration),
}

/// The resumes that were heard of when something was asked.
#[derive(Clone, Copy)]
pub(crate) struct Resumes(u64);

impl Paused {
    pub(crate) fn new(probe_interval: Duration) -> Self {
        Self { probe_interval, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be read before api is asked.
    pub(crate) fn resumes(&self) -> Resumes {
        Resumes(self.inner().n_resumed)
    }

    /// Notes that api has said so. What it said may be older than a resume that was heard of since it was asked: that one
    /// is not undone, and api is asked again. True where it was not known to be paused.
    pub(crate) fn note(&self, what: &Pausable, asked_at: Resumes) -> bool {
        let mut inner = self.inner();
        if inner.n_resumed != asked_at.0 {
            return false;
        }
        let now = Instant::now();
        // Nobody has asked about them for long: their workers have left.
        inner.next_probes.retain(|_, next_probe| *next_probe + FORGOTTEN_AFTER > now);
        let next_probe = now + self.probe_interval.mul_f64(rand::random_range(0.5..1.0));
        inner.next_probes.insert(what.clone(), next_probe).is_none()
    }

    /// Forgets that it was paused. True where it was known to be.
    pub(crate) fn forget(&self, what: &Pausable) -> bool {
        let mut inner = self.inner();
        inner.n_resumed += 1;
        inner.next_probes.remove(what).is_some()
    }

    /// Forgets all: a resume may have been missed.
    pub(crate) fn forget_all(&self) {
        let mut inner = self.inner();
        inner.n_resumed += 1;
        inner.next_probes.clear();
    }

    /// True where it is known to be paused.
    pub(crate) fn is_paused(&self, what: &Pausable) -> bool {
        self.inner().next_probes.contains_key(what)
    }

    /// How much may be taken from it now. Of those who ask at once, one may probe.
    pub(crate) fn allowance(&self, what: &Pausable) -> Allowance {
        let mut inner = self.inner();
        let Some(next_probe) = inner.next_probes.get_mut(what) else { return Allowance::All };
        let now = Instant::now();
        if *next_probe > now {
            return Allowance::NothingFor(*next_probe - now);
        }
        *next_probe = now + self.probe_interval;
        Allowance::Probe
    }

    /// A probe found nothing to claim: the next who asks may probe, for other functions.
    pub(crate) fn probe_again(&self, what: &Pausable) {
        if let Some(next_probe) = self.inner().next_probes.get_mut(what) {
            *next_probe = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> Pausable {
        let queue = name.parse().expect("a queue name");
        Pausable::Queue(tidegate_delivery::QueueId { namespace: Default::default(), queue })
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_paused_queue_one_run_is_taken_now_and_then() {
        let paused = Paused::new(Duration::from_secs(10));
        assert_eq!(paused.allowance(&queue("q")), Allowance::All);
        assert!(paused.note(&queue("q"), paused.resumes()));
        assert!(!paused.note(&queue("q"), paused.resumes()), "known");
        assert!(matches!(paused.allowance(&queue("q")), Allowance::NothingFor(_)));
        assert_eq!(paused.allowance(&queue("p")), Allowance::All);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(paused.allowance(&queue("q")), Allowance::Probe);
        assert_eq!(
            paused.allowance(&queue("q")),
            Allowance::NothingFor(Duration::from_secs(10)),
            "one at a time"
        );
        paused.probe_again(&queue("q"));
        assert_eq!(paused.allowance(&queue("q")), Allowance::Probe, "that one found nothing");
        assert!(paused.forget(&queue("q")));
        assert_eq!(paused.allowance(&queue("q")), Allowance::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_queue_that_nobody_asks_about_is_forgotten() {
        let paused = Paused::new(Duration::from_secs(10));
        paused.note(&queue("left"), paused.resumes());
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(paused.allowance(&queue("left")), Allowance::Probe, "its workers came back in time");
        tokio::time::advance(FORGOTTEN_AFTER + Duration::from_secs(10)).await;
        paused.note(&queue("q"), paused.resumes());
        assert!(!paused.is_paused(&queue("left")) && paused.is_paused(&queue("q")));
    }

    #[test]
    fn an_answer_from_before_a_resume_does_not_undo_it() {
        let paused = Paused::new(Duration::from_secs(10));
        let asked_at = paused.resumes();
        assert!(!paused.forget(&queue("q")));
        assert!(!paused.note(&queue("q"), asked_at));
        assert_eq!(paused.allowance(&queue("q")), Allowance::All);
        let asked_at = paused.resumes();
        paused.forget_all();
        paused.note(&queue("q"), asked_at);
        assert!(!paused.is_paused(&queue("q")));
    }
}
