use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_delivery::{Held, Stop};
use tidegate_model::{Epoch, Namespace, RunId, WorkerId};
use tidegate_proto::v1::{Cancel, CancelCause};
use tidegate_wire::duration_to_proto;
use tokio::time::Instant;

use crate::stream::{Credits, WorkerStream};

/// Stops that are kept for runs whose holder is not known here yet.
const MAX_KEPT_STOPS: usize = 100_000;

/// The workers with a stream at this replica, and what they hold: where a cancel has to go.
pub(crate) struct Workers {
    /// For how long a stop is kept: by then, a worker that moves here has told what it holds.
    keep_stops_for: Duration,
    /// After so long, a run that its worker does not list is not held.
    silent_for: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    workers: HashMap<Key, Worker>,
    holders: HashMap<RunId, Holder>,
    stops: HashMap<RunId, Stop>,
    stops_by_age: VecDeque<(Instant, RunId)>,
}

type Key = (Namespace, WorkerId);

struct Worker {
    stream: Arc<WorkerStream>,
    runs: HashSet<RunId>,
}

struct Holder {
    key: Key,
    epoch: Epoch,
    since: Instant,
    /// As assigned; unknown where the worker came with the run.
    cancel_grace: Option<prost_types::Duration>,
}

impl Workers {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { keep_stops_for: lease * 2, silent_for: lease, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream. Gives back the one of the same worker that it replaces.
    pub(crate) fn enter(&self, stream: &Arc<WorkerStream>) -> Option<Arc<WorkerStream>> {
        let mut inner = self.inner();
        match inner.workers.get_mut(&key(stream)) {
            // What the worker holds stays its own; a cancel may have been lost with the old stream.
            Some(worker) => {
                let replaced = std::mem::replace(&mut worker.stream, Arc::clone(stream));
                for run_id in worker.runs.clone() {
                    inner.send_stop(run_id);
                }
                Some(replaced)
            }
            None => {
                let worker = Worker { stream: Arc::clone(stream), runs: HashSet::new() };
                inner.workers.insert(key(stream), worker);
                None
            }
        }
    }

    /// Forgets a stream that has ended, unless another one has replaced it.
    pub(crate) fn leave(&self, stream: &Arc<WorkerStream>) {
        let mut inner = self.inner();
        let key = key(stream);
        if inner.workers.get(&key).is_some_and(|worker| Arc::ptr_eq(&worker.stream, stream))
            && let Some(worker) = inner.workers.remove(&key)
        {
            for run_id in worker.runs {
                inner.holders.remove(&run_id);
            }
        }
    }

    /// Notes that a run was assigned through the stream.
    pub(crate) fn note_assigned(
        &self,
        stream: &WorkerStream,
        held: Held,
        cancel_grace: Option<prost_types::Duration>,
    ) {
        self.inner().hold(stream, held, cancel_grace);
    }

    /// Takes in what a worker says that it holds.
    pub(crate) fn note_heartbeat(&self, stream: &WorkerStream, runs: &[Held]) {
        let mut inner = self.inner();
        for held in runs {
            inner.hold(stream, *held, None);
        }
        let listed: HashSet<_> = runs.iter().map(|held| held.run_id).collect();
        let Inner { workers, holders, .. } = &mut *inner;
        let Some(worker) = workers.get_mut(&key(stream)) else { return };
        worker.runs.retain(|run_id| {
            let is_young =
                || holders.get(run_id).is_some_and(|holder| holder.since.elapsed() < self.silent_for);
            let stays = listed.contains(run_id) || is_young();
            if !stays {
                holders.remove(run_id);
            }
            stays
        });
    }

    /// Notes that a run is no longer held under the epoch or a lower one.
    pub(crate) fn note_over(&self, held: &[Held]) {
        let mut inner = self.inner();
        for held in held {
            inner.drop_holder(*held);
        }
    }

    /// Tells the holder of a run to stop it; kept for a while where no holder is known.
    pub(crate) fn stop(&self, stop: &Stop) {
        let mut inner = self.inner();
        let now = Instant::now();
        while let Some((since, run_id)) = inner.stops_by_age.front().copied()
            && (now - since > self.keep_stops_for || inner.stops_by_age.len() >= MAX_KEPT_STOPS)
        {
            inner.stops_by_age.pop_front();
            inner.stops.remove(&run_id);
        }
        if inner.stops.get(&stop.run_id) == Some(stop) {
            return; // heard twice: directly, and as a hint
        }
        inner.stops.insert(stop.run_id, stop.clone());
        inner.stops_by_age.push_back((now, stop.run_id));
        inner.send_stop(stop.run_id);
    }

    /// Tells a worker what the store says of a run that it lists.
    pub(crate) fn cancel(&self, stream: &WorkerStream, held: Held, cause: CancelCause, message: &str) {
        let mut inner = self.inner();
        let holder = inner.holders.get(&held.run_id).filter(|holder| holder.epoch == held.epoch);
        let grace = holder.and_then(|holder| holder.cancel_grace);
        stream.outbox.put_cancel(Cancel {
            run_id: held.run_id.to_string(),
            epoch: held.epoch.0,
            cause: cause.into(),
            message: message.to_owned(),
            grace,
        });
        if cause == CancelCause::Lost {
            inner.drop_holder(held);
        }
    }

    /// The store is to be asked about all that is held: hints may have been lost.
    pub(crate) fn recheck_all(&self) {
        for worker in self.inner().workers.values() {
            worker.stream.recheck();
        }
    }

    /// All streams.
    pub(crate) fn streams(&self) -> Vec<Arc<WorkerStream>> {
        self.inner().workers.values().map(|worker| Arc::clone(&worker.stream)).collect()
    }

    /// How many streams there are, and their free slots in sum.
    pub(crate) fn totals(&self) -> (usize, Credits) {
        let streams = self.streams();
        let mut sum = Credits::default();
        for credits in streams.iter().map(|stream| stream.credits(self.silent_for)) {
            sum.tasks = sum.tasks.saturating_add(credits.tasks);
            sum.flows = sum.flows.saturating_add(credits.flows);
        }
        (streams.len(), sum)
    }
}

impl Inner {
    fn hold(&mut self, stream: &WorkerStream, held: Held, cancel_grace: Option<prost_types::Duration>) {
        let key = key(stream);
        let known = self.holders.get(&held.run_id);
        if known
            .is_some_and(|known| known.epoch > held.epoch || (known.epoch == held.epoch && known.key == key))
        {
            return;
        }
        let Some(worker) = self.workers.get_mut(&key) else { return };
        worker.runs.insert(held.run_id);
        let holder = Holder { key: key.clone(), epoch: held.epoch, since: Instant::now(), cancel_grace };
        let before = self.holders.insert(held.run_id, holder);
        if let Some(before) = before.filter(|before| before.key != key)
            && let Some(worker) = self.workers.get_mut(&before.key)
        {
            worker.runs.remove(&held.run_id);
        }
        self.send_stop(held.run_id);
    }

    fn drop_holder(&mut self, held: Held) {
        if self.holders.get(&held.run_id).is_some_and(|holder| holder.epoch <= held.epoch)
            && let Some(holder) = self.holders.remove(&held.run_id)
            && let Some(worker) = self.workers.get_mut(&holder.key)
        {
            worker.runs.remove(&held.run_id);
        }
    }

    /// Sends the stop of a run, if there is one, to its holder under that epoch, if there is one.
    fn send_stop(&mut self, run_id: RunId) {
        let (Some(stop), Some(holder)) = (self.stops.get(&run_id), self.holders.get(&run_id)) else { return };
        if stop.epoch != holder.epoch {
            return;
        }
        let cause = if stop.grace.is_some() { CancelCause::Requested } else { CancelCause::Lost };
        if let Some(worker) = self.workers.get(&holder.key) {
            worker.stream.outbox.put_cancel(Cancel {
                run_id: run_id.to_string(),
                epoch: stop.epoch.0,
                cause: cause.into(),
                message: stop.message.clone(),
                grace: stop.grace.map(duration_to_proto),
            });
        }
        if cause == CancelCause::Lost {
            let held = Held { run_id, epoch: stop.epoch };
            self.drop_holder(held);
        }
    }
}

fn key(stream: &WorkerStream) -> Key {
    (stream.namespace.clone(), stream.worker_id.clone())
}
