use std::collections::HashMap;

use futures::future::try_join_all;
use tidegate_model::RunId;
use tidegate_orchestration::{Event, Run, StateType, apply};
use tidegate_store::{Below, StoreError, Sweep};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError, lane::with_retries, operate::Changes};

/// Runs whose cascades one turn of the sweep sees to.
const N_ABOVE: usize = 1_000;
/// Runs that are found at a time, and cancelled before it is looked again.
const N_BELOW: usize = 100_000;
/// Runs of one transaction.
const CHUNK: usize = 1_000;

/// From which end a cascade goes through what is below.
#[derive(Clone, Copy)]
enum Order {
    /// Who was asked begins with the oldest.
    Upward,
    /// The sweep begins with the newest, so that it meets who was asked, and repeats none of his work.
    Downward,
}

/// Why runs are cancelled.
pub(crate) enum Cause<'a> {
    /// These runs, which are above them, have ended.
    Above(&'a HashMap<RunId, Run>),
    /// Someone asked.
    Asked {
        /// Why; may be empty.
        reason: &'a str,
        /// Who, where that is known.
        actor: Option<&'a str>,
    },
}

impl Cause<'_> {
    fn event(&self, above: RunId, run: &Run) -> Option<Event> {
        let (reason, actor) = match self {
            Self::Above(runs) => (reason(runs.get(&above)?, run), None),
            Self::Asked { reason, actor } => ((*reason).to_owned(), actor.map(str::to_owned)),
        };
        Some(Event::CancelRequested { reason, actor })
    }
}

impl Engine {
    /// Cancels the open runs below a run that was cancelled. Gives how many it cancelled. Dying in the middle loses
    /// nothing: the flag of the run above, which falls last, has the sweep go on.
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
            n_cancelled += self.cascade(&above, Order::Downward).await?;
        }
    }

    /// Runs cascades as soon as a run of this process leaves one, until `stop`.
    pub async fn run_cascades(self, stop: CancellationToken) {
        let woken = self.inner.cascades.clone();
        while stop.run_until_cancelled(woken.notified()).await.is_some() {
            if let Err(error) = self.cascade_all().await {
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

    async fn cascade(&self, above: &[RunId], order: Order) -> Result<usize, EngineError> {
        let found = with_retries(|| self.inner.store.get_runs(None, above)).await?;
        let above: HashMap<RunId, Run> =
            found.into_iter().filter(|run| run.cascade_pending).map(|run| (run.id, run)).collect();
        if above.is_empty() {
            return Ok(0);
        }
        let ids: Vec<RunId> = above.keys().copied().collect();
        let n_cancelled = self.cancel_all(&ids, &Cause::Above(&above), order).await?;
        // Whatever is below has ended or is CANCELLING by now, and gets no new children.
        with_retries(|| self.settle(&ids)).await?;
        Ok(n_cancelled)
    }

    /// Cancels the open runs below `above`. The caller sees to it that this is carried on should it break off.
    pub(crate) async fn cancel_all_below(
        &self,
        above: &[RunId],
        cause: &Cause<'_>,
    ) -> Result<usize, EngineError> {
        self.cancel_all(above, cause, Order::Upward).await
    }

    async fn cancel_all(
        &self,
        above: &[RunId],
        cause: &Cause<'_>,
        order: Order,
    ) -> Result<usize, EngineError> {
        let mut n_cancelled = 0;
        loop {
            // Looked for anew until there is nothing: a run may have started another before it was cancelled itself.
            let mut below = with_retries(|| self.inner.store.open_below(above, N_BELOW)).await?;
            if below.is_empty() {
                return Ok(n_cancelled);
            }
            if let Order::Downward = order {
                below.reverse();
            }
            n_cancelled += self.cancel_below(cause, &below).await?;
        }
    }

    /// Side by side in as many transactions as the engine has lanes.
    async fn cancel_below(&self, cause: &Cause<'_>, below: &[Below]) -> Result<usize, EngineError> {
        let n_lanes = self.inner.options.n_lanes.get();
        let lanes = (0..n_lanes).map(|lane_idx| async move {
            let mut n_cancelled = 0;
            for chunk in below.chunks(CHUNK).skip(lane_idx).step_by(n_lanes) {
                n_cancelled += with_retries(|| self.cancel_chunk(cause, chunk)).await?;
            }
            Ok::<usize, EngineError>(n_cancelled)
        });
        Ok(try_join_all(lanes).await?.into_iter().sum())
    }

    async fn cancel_chunk(&self, cause: &Cause<'_>, chunk: &[Below]) -> Result<usize, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let ids: Vec<RunId> = chunk.iter().map(|below| below.id).collect();
        let above_of: HashMap<RunId, RunId> = chunk.iter().map(|below| (below.id, below.above)).collect();
        let mut changes = Changes::new(Vec::new());
        let mut n_cancelled = 0;
        for run in tx.lock_runs(&ids).await? {
            let Some(event) = above_of.get(&run.id).and_then(|above| cause.event(*above, &run)) else {
                continue;
            };
            if let Ok(mut step) = apply(&run, None, &event, now, 0.5)
                && !step.transitions.is_empty()
            {
                // What stands for the cascade stands for this run as well.
                step.run.cascade_pending = run.cascade_pending;
                n_cancelled += 1;
                changes.take(&run, &event, event.actor(), step, now);
            }
        }
        let mut outbound = changes.commit(&*self.inner.store, tx, now).await?;
        outbound.cascade = false;
        self.send(outbound);
        Ok(n_cancelled)
    }

    /// Takes down the flags of runs below which nothing is left to do.
    async fn settle(&self, above: &[RunId]) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let mut changes = Changes::new(Vec::new());
        for run in tx.lock_runs(above).await? {
            // One that was retried meanwhile has none.
            if run.cascade_pending {
                changes.note(Run { cascade_pending: false, ..run });
            }
        }
        changes.commit(&*self.inner.store, tx, self.inner.clock.now()).await?;
        Ok(())
    }
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
