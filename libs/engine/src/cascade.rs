use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, future::try_join_all, stream};
use tidegate_model::{Epoch, RunId};
use tidegate_orchestration::{Event, Run, StateType, apply};
use tidegate_store::{Below, RunTx, StoreError, Sweep};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError, lane::with_retries, operate::Changes};

/// Runs whose cascades one turn of the sweep sees to.
const N_ABOVE: usize = 1_000;
/// Runs that are found at a time, and cancelled before it is looked again.
const N_BELOW: usize = 100_000;
/// Cascades that are gone through at a time where they failed together.
pub(crate) const N_BY_THEMSELVES: usize = 2;
/// Runs of one transaction.
const CHUNK: usize = 1_000;

/// From which end a cascade goes through what is below.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Who was asked begins with the oldest.
    Upward,
    /// The sweep begins with the newest, so that it meets who was asked, and repeats none of his work.
    Downward,
}

/// A run that was cancelled by a cascade while something was left below it.
struct Mark {
    run: (RunId, Epoch),
    /// The one above, whose cascade it was.
    above: (RunId, Epoch),
}

/// What became of some runs below.
#[derive(Default)]
struct Cancelled {
    n_runs: usize,
    marks: Vec<Mark>,
}

impl Engine {
    /// Cancels the open runs below a run that was cancelled. Gives how many it cancelled. Dying in the middle loses
    /// nothing: flags of runs, which fall last, have the sweep go on.
    pub async fn cascade_from(&self, run_id: RunId) -> Result<usize, EngineError> {
        self.cascade(&[run_id], Order::Upward).await
    }

    /// Brings about all ends of children that are due, whoever left them. Gives how many runs it cancelled.
    pub async fn cascade_all(&self) -> Result<usize, EngineError> {
        let mut n_cancelled = 0;
        loop {
            let above = with_retries(|| self.pending_cascades()).await?;
            if above.is_empty() {
                return Ok(n_cancelled);
            }
            n_cancelled += self.cascade_each(&above, Order::Downward).await?;
        }
    }

    /// The same for some runs: together, and where that fails by themselves, so that none of them, say one with more below
    /// it than can be looked through, keeps the others from their cascades. What failed first is told when all were tried.
    pub(crate) async fn cascade_each(&self, above: &[RunId], order: Order) -> Result<usize, EngineError> {
        let mut failed = match self.cascade(above, order).await {
            Err(error) if above.len() > 1 => {
                tracing::warn!(n_runs = above.len(), %error, "cascades failed together; each is tried by itself");
                None
            }
            outcome => return outcome,
        };
        let mut n_cancelled = 0;
        let mut cascades = stream::iter(above.to_vec())
            .map(|run_id| async move { self.cascade(&[run_id], order).await })
            .buffer_unordered(N_BY_THEMSELVES);
        while let Some(outcome) = cascades.next().await {
            match outcome {
                Ok(n_runs) => n_cancelled += n_runs,
                Err(error) => {
                    // It is of no use to go on where the store does not answer at all.
                    self.inner.store.feed_end().await?;
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(n_cancelled), Err)
    }

    /// Runs cascades as soon as a run of this process leaves one, until `stop`.
    pub async fn run_cascades(self, stop: CancellationToken) {
        let woken = self.inner.wakes.cascades.clone();
        loop {
            tidegate_pulse::wait();
            if stop.run_until_cancelled(woken.notified()).await.is_none() {
                return;
            }
            tidegate_pulse::beat();
            // Cut wherever it is: what is left is another's.
            let Some(outcome) = stop.run_until_cancelled(self.cascade_all()).await else { return };
            if let Err(error) = outcome {
                tracing::warn!(%error, "children were not cancelled; the scheduler's sweep will do it");
            }
        }
    }

    /// Runs whose cascades are due and that nobody changes just now.
    async fn pending_cascades(&self) -> Result<Vec<RunId>, StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let above = tx.sweep(&Sweep::Cascades, N_ABOVE).await?;
        Ok(above.into_iter().map(|run| run.id).collect())
    }

    /// Brings about what is due below those of these runs that keep a flag, and takes the flags down.
    pub(crate) async fn cascade(&self, above: &[RunId], order: Order) -> Result<usize, EngineError> {
        let (mut n_cancelled, mut marks) = (0, Vec::new());
        loop {
            tidegate_pulse::beat();
            // Read for every walk: one that was retried meanwhile has its children for itself again.
            let found = with_retries(|| self.inner.store.get_runs(None, above)).await?;
            let pending: HashMap<RunId, Run> =
                found.into_iter().filter(|run| run.cascade_pending).map(|run| (run.id, run)).collect();
            let ids: Vec<RunId> = pending.keys().copied().collect();
            let mut below = match ids.as_slice() {
                [] => Vec::new(),
                // Looked for anew until there is nothing: a run may have started another before it was cancelled itself.
                ids => match order {
                    Order::Upward => with_retries(|| self.inner.store.open_below(ids, N_BELOW)).await?,
                    // The sweep has its next turn, and a look that took too long does so again.
                    Order::Downward => self.inner.store.open_below(ids, N_BELOW).await?,
                },
            };
            if below.is_empty() {
                // Whatever is below has ended or is CANCELLING by now, and gets no new children.
                self.settle_all(&pending, marks).await?;
                return Ok(n_cancelled);
            }
            if let Order::Downward = order {
                below.reverse();
            }
            let cancelled = self.cancel_below(&pending, &below).await?;
            n_cancelled += cancelled.n_runs;
            marks.extend(cancelled.marks);
        }
    }

    /// Side by side in as many transactions as the engine has lanes.
    async fn cancel_below(
        &self,
        above: &HashMap<RunId, Run>,
        below: &[Below],
    ) -> Result<Cancelled, EngineError> {
        let n_lanes = self.inner.options.n_lanes.get();
        let lanes = (0..n_lanes).map(|lane_idx| async move {
            let mut of_lane = Cancelled::default();
            for chunk in below.chunks(CHUNK).skip(lane_idx).step_by(n_lanes) {
                of_lane.add(with_retries(|| self.cancel_chunk(above, chunk)).await?);
            }
            Ok::<Cancelled, EngineError>(of_lane)
        });
        let mut cancelled = Cancelled::default();
        for of_lane in try_join_all(lanes).await? {
            cancelled.add(of_lane);
        }
        Ok(cancelled)
    }

    async fn cancel_chunk(
        &self,
        above: &HashMap<RunId, Run>,
        chunk: &[Below],
    ) -> Result<Cancelled, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let ids: Vec<RunId> = chunk.iter().map(|below| below.id).collect();
        let mut above_of: HashMap<RunId, RunId> = chunk.iter().map(|below| (below.id, below.above)).collect();
        let locked = tx.lock_runs(&ids).await?;
        let unchanged = unchanged(&mut *tx, above, chunk).await?;
        above_of.retain(|_, above| unchanged.contains(above));
        let mut steps = Vec::with_capacity(locked.len());
        for run in locked {
            let Some(above) = above_of.get(&run.id).and_then(|id| above.get(id)) else { continue };
            let event = Event::CancelRequested { reason: reason(above, &run), actor: None };
            if let Ok(step) = apply(&run, None, &event, now, 0.5)
                && !step.transitions.is_empty()
            {
                steps.push((above, run, event, step));
            }
        }
        let ids: Vec<RunId> = steps.iter().map(|(_, run, ..)| run.id).collect();
        let unfinished: HashSet<RunId> = tx.have_more_below(&ids).await?.into_iter().collect();
        let mut changes = Changes::new(Vec::new());
        let mut cancelled = Cancelled { n_runs: steps.len(), marks: Vec::new() };
        for (above, run, event, mut step) in steps {
            // The flag of the run above stands for what is below this one too, until that is retried: then nothing else does.
            step.run.cascade_pending = unfinished.contains(&run.id);
            if step.run.cascade_pending {
                let (run, above) = ((run.id, step.run.epoch), (above.id, above.epoch));
                cancelled.marks.push(Mark { run, above });
            }
            changes.take(&run, &event, event.actor(), step, now);
        }
        let mut outbound = changes.commit(&*self.inner.store, tx, now).await?;
        outbound.cascade = false;
        self.send(outbound);
        Ok(cancelled)
    }

    /// Takes down the flags of runs below which nothing is left to do: of these, and of those that were marked for them. What
    /// was marked for one that was retried meanwhile is left to a cascade of its own.
    async fn settle_all(&self, above: &HashMap<RunId, Run>, marks: Vec<Mark>) -> Result<(), EngineError> {
        let (settled, left): (Vec<Mark>, Vec<Mark>) = marks
            .into_iter()
            .partition(|mark| above.get(&mark.above.0).is_some_and(|above| above.epoch == mark.above.1));
        let mut done: HashMap<RunId, Epoch> = above.values().map(|run| (run.id, run.epoch)).collect();
        done.extend(settled.into_iter().map(|mark| mark.run));
        let ids: Vec<RunId> = done.keys().copied().collect();
        for chunk in ids.chunks(CHUNK) {
            with_retries(|| self.settle(chunk, &done)).await?;
        }
        if !left.is_empty() {
            self.inner.wakes.cascades.notify_one();
        }
        Ok(())
    }

    async fn settle(&self, ids: &[RunId], done: &HashMap<RunId, Epoch>) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let mut changes = Changes::new(Vec::new());
        for run in tx.lock_runs(ids).await? {
            // One that was retried meanwhile has no flag, or that of another end.
            if run.cascade_pending && done.get(&run.id) == Some(&run.epoch) {
                changes.note(Run { cascade_pending: false, ..run });
            }
        }
        changes.commit(&*self.inner.store, tx, self.inner.clock.now()).await?;
        Ok(())
    }
}

impl Cancelled {
    fn add(&mut self, other: Self) {
        self.n_runs += other.n_runs;
        self.marks.extend(other.marks);
    }
}

/// Those above the runs of a chunk whose end still stands. A retry takes the epoch on.
///
/// To be asked once the chunk is locked. A new attempt touches a run of the chunk only after the retry was committed, so
/// that a retry which is not seen here comes after what is done to the chunk. No lock is needed for that, and a lock that many
/// chunks share in turn would keep everyone else from the run above.
async fn unchanged(
    tx: &mut dyn RunTx,
    above: &HashMap<RunId, Run>,
    chunk: &[Below],
) -> Result<HashSet<RunId>, StoreError> {
    let ids: HashSet<RunId> = chunk.iter().map(|below| below.above).collect();
    let found = tx.read_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
    let stands =
        |run: &Run| run.cascade_pending && above.get(&run.id).is_some_and(|before| before.epoch == run.epoch);
    Ok(found.into_iter().filter(stands).map(|run| run.id).collect())
}

fn reason(above: &Run, run: &Run) -> String {
    let how = match above.state.state_type() {
        StateType::Failed => "failed",
        StateType::Crashed => "crashed",
        _ => "was cancelled",
    };
    let (name, id) = (&above.run_name, above.id);
    if run.parent == Some(id) {
        format!("its parent {name} ({id}) {how}")
    } else {
        format!("run {name} ({id}), which is above it, {how}")
    }
}
