use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_delivery::Held;
use tidegate_model::{Namespace, RunId, RunKind, Timestamp, WorkerAbout, WorkerId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

/// Free slots that a worker may have announced at a time, of each kind.
pub(crate) const MAX_CREDITS: u32 = 10_000;
/// Reports of one stream that may wait for api: a start and an end for each slot.
const MAX_REPORTS_IN_FLIGHT: usize = 4 * MAX_CREDITS as usize;

/// A worker's stream, after its Hello.
pub(crate) struct WorkerStream {
    pub(crate) namespace: Namespace,
    pub(crate) worker_id: WorkerId,
    pub(crate) outbox: Arc<Outbox>,
    /// What others are told of the worker. `None`: nothing, because it executes a run for one.
    pub(crate) introduced: Option<Introduced>,
    state: Mutex<State>,
    /// Cancelled when the worker takes no more.
    draining: CancellationToken,
    heartbeat: Notify,
    answered: Notify,
}

/// Who the worker is, and on which stream.
pub(crate) struct Introduced {
    /// A name that no other stream has.
    pub(crate) stream: String,
    pub(crate) opened_at: Timestamp,
    pub(crate) about: WorkerAbout,
}

struct State {
    credits: Credits,
    last_heard: Instant,
    /// What the last heartbeat listed, until it is handled. A newer one replaces it.
    heartbeat: Option<Holding>,
    /// Cancels may have been lost: ask the store about all runs at the next heartbeat.
    recheck: bool,
    reports_in_flight: usize,
    /// Runs whose start was not taken in. What follows of them is not either, so that api sees it in order.
    shed: HashSet<RunId>,
    /// The worker is yet to be told that it is to drain.
    is_asked_to_drain: bool,
}

/// Free slots by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credits {
    pub(crate) tasks: u32,
    pub(crate) flows: u32,
}

impl Credits {
    pub(crate) fn of(&mut self, kind: RunKind) -> &mut u32 {
        match kind {
            RunKind::Task => &mut self.tasks,
            RunKind::Flow => &mut self.flows,
        }
    }
}

impl WorkerStream {
    pub(crate) fn new(
        namespace: Namespace,
        worker_id: WorkerId,
        introduced: Option<Introduced>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let state = State {
            credits: Credits::default(),
            last_heard: Instant::now(),
            heartbeat: None,
            recheck: false,
            reports_in_flight: 0,
            shed: HashSet::new(),
            is_asked_to_drain: false,
        };
        Self {
            namespace,
            worker_id,
            outbox,
            introduced,
            state: Mutex::new(state),
            draining: CancellationToken::new(),
            heartbeat: Notify::new(),
            answered: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker is to take no more, and to end. One that drains already is not told.
    pub(crate) fn ask_to_drain(&self) {
        if !self.draining.is_cancelled() {
            self.state().is_asked_to_drain = true;
            self.draining.cancel();
        }
    }

    /// The worker takes no more, as it says itself.
    pub(crate) fn note_draining(&self) {
        self.draining.cancel();
    }

    /// Cancelled when the worker takes no more.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// True where it is to be told that it is to drain.
    pub(crate) fn is_asked_to_drain(&self) -> bool {
        self.state().is_asked_to_drain
    }

    /// How long nothing was heard of the worker.
    pub(crate) fn silent_for(&self) -> Duration {
        self.state().last_heard.elapsed()
    }

    pub(crate) fn note_heard(&self) {
        self.state().last_heard = Instant::now();
    }

    /// Adds free slots. The error is the sum that is too large.
    pub(crate) fn add_credits(&self, kind: RunKind, further: u32) -> Result<(), u64> {
        let mut state = self.state();
        let credits = state.credits.of(kind);
        let sum = u64::from(*credits) + u64::from(further);
        match u32::try_from(sum) {
            Ok(sum) if sum <= MAX_CREDITS => {
                *credits = sum;
                Ok(())
            }
            _ => Err(sum),
        }
    }

    /// Gives a credit back that led to nothing.
    pub(crate) fn return_credit(&self, kind: RunKind) {
        let mut state = self.state();
        let credits = state.credits.of(kind);
        *credits = credits.saturating_add(1).min(MAX_CREDITS);
    }

    pub(crate) fn use_credit(&self, kind: RunKind) {
        let mut state = self.state();
        let credits = state.credits.of(kind);
        *credits = credits.saturating_sub(1);
    }

    /// The free slots; none where the worker drains, has been silent for longer than `patience`, or its stream has ended:
    /// what it got would only be given back, or wait for its lease to end.
    pub(crate) fn credits(&self, patience: Duration) -> Credits {
        let state = self.state();
        let is_silent = state.last_heard.elapsed() > patience;
        if is_silent || self.draining.is_cancelled() || self.outbox.ended().is_cancelled() {
            Credits::default()
        } else {
            state.credits
        }
    }

    pub(crate) fn put_heartbeat(&self, holding: Holding) {
        self.state().heartbeat = Some(holding);
        self.heartbeat.notify_one();
    }

    /// Waits for a heartbeat that was not handled yet.
    pub(crate) async fn next_heartbeat(&self) -> Heartbeat {
        loop {
            {
                let mut state = self.state();
                if let Some(holding) = state.heartbeat.take() {
                    return Heartbeat { holding, recheck: std::mem::take(&mut state.recheck) };
                }
            }
            self.heartbeat.notified().await;
        }
    }

    pub(crate) fn recheck(&self) {
        self.state().recheck = true;
    }

    /// Whether a report of the run can be taken in now. One that was is to be answered.
    pub(crate) fn admit_report(&self, run_id: RunId, is_start: bool, has_room: bool) -> bool {
        let mut state = self.state();
        let follows_shed = !is_start && state.shed.contains(&run_id);
        let admitted = has_room && !follows_shed && state.reports_in_flight < MAX_REPORTS_IN_FLIGHT;
        if admitted {
            state.reports_in_flight += 1;
            state.shed.remove(&run_id);
        } else if is_start {
            state.shed.insert(run_id);
        }
        admitted
    }

    pub(crate) fn note_answered(&self, n_reports: usize) {
        let mut state = self.state();
        state.reports_in_flight = state.reports_in_flight.saturating_sub(n_reports);
        drop(state);
        self.answered.notify_one();
    }

    /// Waits until every report that was taken in is answered.
    pub(crate) async fn all_answered(&self) {
        while self.state().reports_in_flight > 0 {
            self.answered.notified().await;
        }
    }
}

/// What a worker says that it holds.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    pub(crate) runs: Vec<Held>,
    /// What keeps some of them from beginning.
    pub(crate) hindrances: HashMap<Held, String>,
}

/// What a heartbeat said.
pub(crate) struct Heartbeat {
    pub(crate) holding: Holding,
    /// The store is to be asked about all of them.
    pub(crate) recheck: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> WorkerStream {
        let worker_id = "w".parse().unwrap();
        WorkerStream::new(Namespace::default(), worker_id, None, Arc::new(Outbox::default()))
    }

    #[tokio::test]
    async fn credits_are_bounded_in_sum() {
        let stream = stream();
        stream.add_credits(RunKind::Task, MAX_CREDITS).unwrap();
        assert_eq!(stream.add_credits(RunKind::Task, 1), Err(u64::from(MAX_CREDITS) + 1));
        assert_eq!(stream.add_credits(RunKind::Task, u32::MAX), Err(10_000 + u64::from(u32::MAX)));
        stream.use_credit(RunKind::Task);
        stream.add_credits(RunKind::Task, 1).unwrap();
        stream.add_credits(RunKind::Flow, 1).unwrap();
    }

    #[tokio::test]
    async fn what_follows_a_start_that_was_shed_is_shed_until_the_start_comes_again() {
        let (stream, run, other) = (stream(), RunId::new(), RunId::new());
        assert!(!stream.admit_report(run, true, false));
        assert!(!stream.admit_report(run, false, true));
        assert!(stream.admit_report(other, false, true));
        assert!(stream.admit_report(run, true, true));
        assert!(stream.admit_report(run, false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_worker_has_no_credits() {
        let stream = stream();
        stream.add_credits(RunKind::Task, 3).unwrap();
        let patience = Duration::from_secs(15);
        assert_eq!(stream.credits(patience).tasks, 3);
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(stream.credits(patience).tasks, 0);
        stream.note_heard();
        assert_eq!(stream.credits(patience).tasks, 3);
    }
}
