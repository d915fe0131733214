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
    /// After so long, a stream that nothing is heard of has no free slots.
    silent_for: Duration,
    /// After so long, a run that its worker does not list is not held by it: time for two heartbeats, and before the end
    /// of its lease.
    unlisted_for: Duration,
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

/// Those who hold a run: its worker, and where that is of a pool, the process that executes it.
struct Holder {
    epoch: Epoch,
    /// Since when each.
    streams: HashMap<Key, Instant>,
    /// As assigned; unknown where the worker came with the run.
    cancel_grace: Option<prost_types::Duration>,
}

impl Workers {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            keep_stops_for: lease * 2,
            silent_for: lease,
            unlisted_for: lease / 2,
            inner: Mutex::default(),
        }
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
                    inner.send_stop(run_id, Some(&key(stream)));
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

    /// Forgets a stream that has ended, and answers how many runs its worker holds; `None`: another one has replaced it.
    pub(crate) fn leave(&self, stream: &Arc<WorkerStream>) -> Option<usize> {
        let mut inner = self.inner();
        let key = key(stream);
        if !inner.workers.get(&key).is_some_and(|worker| Arc::ptr_eq(&worker.stream, stream)) {
            return None;
        }
        let runs = inner.workers.remove(&key)?.runs;
        let n_runs = runs.len();
        for run_id in runs {
            inner.leave_run(run_id, &key);
        }
        Some(n_runs)
    }

    /// Asks a worker to drain, where it has its stream here.
    pub(crate) fn drain(&self, namespace: &Namespace, worker_id: &WorkerId) {
        if let Some(worker) = self.inner().workers.get(&(namespace.clone(), worker_id.clone())) {
            worker.stream.ask_to_drain();
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

    /// Notes what a process executes for its worker: it is told at once where that is to stop.
    pub(crate) fn note_executes(&self, stream: &WorkerStream, runs: &[Held]) {
        let mut inner = self.inner();
        runs.iter().for_each(|held| inner.hold(stream, *held, None));
    }

    /// Takes in what a worker says that it holds. Gives what it was assigned and does not list, and nobody else holds: an
    /// assignment that never arrived, or a run whose end is on its way.
    pub(crate) fn note_heartbeat(&self, stream: &WorkerStream, runs: &[Held]) -> Vec<Held> {
        let mut inner = self.inner();
        for held in runs {
            inner.hold(stream, *held, None);
        }
        let listed: HashSet<_> = runs.iter().map(|held| held.run_id).collect();
        let key = key(stream);
        let Inner { workers, holders, .. } = &*inner;
        let Some(worker) = workers.get(&key) else { return Vec::new() };
        let is_old = |run_id: &RunId| {
            let since = holders.get(run_id).and_then(|holder| holder.streams.get(&key));
            since.is_none_or(|since| since.elapsed() >= self.unlisted_for)
        };
        let unlisted = worker.runs.iter().filter(|run_id| !listed.contains(run_id) && is_old(run_id));
        let unlisted: Vec<RunId> = unlisted.copied().collect();
        unlisted.into_iter().filter_map(|run_id| inner.leave_run(run_id, &key)).collect()
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
        inner.send_stop(stop.run_id, None);
    }

    /// Tells a worker what the store says of a run that it lists; that the run is lost, all who hold it.
    pub(crate) fn cancel(&self, stream: &WorkerStream, held: Held, cause: CancelCause, message: &str) {
        let mut inner = self.inner();
        let holder = inner.holders.get(&held.run_id).filter(|holder| holder.epoch == held.epoch);
        let grace = holder.and_then(|holder| holder.cancel_grace);
        let cancel = Cancel {
            run_id: held.run_id.to_string(),
            epoch: held.epoch.0,
            cause: cause.into(),
            message: message.to_owned(),
            grace,
        };
        if cause == CancelCause::Lost {
            let others = holder.into_iter().flat_map(|holder| holder.streams.keys());
            let others = others.filter(|other| **other != key(stream));
            for other in others.filter_map(|other| inner.workers.get(other)) {
                other.stream.outbox.put_cancel(cancel.clone());
            }
            inner.drop_holder(held);
        }
        stream.outbox.put_cancel(cancel);
    }

    /// The store is to be asked about all that is held: hints may have been lost.
    pub(crate) fn recheck_all(&self) {
        for worker in self.inner().workers.values() {
            worker.stream.recheck();
        }
    }

    /// All streams, each with how many runs its worker holds.
    pub(crate) fn streams_with_runs(&self) -> Vec<(Arc<WorkerStream>, usize)> {
        let inner = self.inner();
        inner.workers.values().map(|worker| (Arc::clone(&worker.stream), worker.runs.len())).collect()
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
        if let Some(known) = self.holders.get(&held.run_id) {
            if known.epoch > held.epoch || (known.epoch == held.epoch && known.streams.contains_key(&key)) {
                return;
            }
            if known.epoch < held.epoch {
                self.drop_holder(Held { epoch: known.epoch, ..held });
            }
        }
        let Some(worker) = self.workers.get_mut(&key) else { return };
        worker.runs.insert(held.run_id);
        let new = || Holder { epoch: held.epoch, streams: HashMap::new(), cancel_grace: None };
        let holder = self.holders.entry(held.run_id).or_insert_with(new);
        holder.streams.insert(key.clone(), Instant::now());
        holder.cancel_grace = cancel_grace.or(holder.cancel_grace);
        self.send_stop(held.run_id, Some(&key));
    }

    /// One of the holders of a run is none any more. Gives what it was where it was the last of them.
    fn leave_run(&mut self, run_id: RunId, key: &Key) -> Option<Held> {
        if let Some(worker) = self.workers.get_mut(key) {
            worker.runs.remove(&run_id);
        }
        let holder = self.holders.get_mut(&run_id)?;
        holder.streams.remove(key);
        if !holder.streams.is_empty() {
            return None;
        }
        let epoch = holder.epoch;
        self.holders.remove(&run_id);
        Some(Held { run_id, epoch })
    }

    fn drop_holder(&mut self, held: Held) {
        if self.holders.get(&held.run_id).is_some_and(|holder| holder.epoch <= held.epoch)
            && let Some(holder) = self.holders.remove(&held.run_id)
        {
            for key in holder.streams.keys() {
                if let Some(worker) = self.workers.get_mut(key) {
                    worker.runs.remove(&held.run_id);
                }
            }
        }
    }

    /// Sends the stop of a run, if there is one, to those who hold it under that epoch, or to one of them.
    fn send_stop(&mut self, run_id: RunId, to: Option<&Key>) {
        let (Some(stop), Some(holder)) = (self.stops.get(&run_id), self.holders.get(&run_id)) else { return };
        if stop.epoch != holder.epoch {
            return;
        }
        let cause = if stop.grace.is_some() { CancelCause::Requested } else { CancelCause::Lost };
        let keys = holder.streams.keys().filter(|key| to.is_none_or(|to| to == *key));
        for worker in keys.filter_map(|key| self.workers.get(key)) {
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
