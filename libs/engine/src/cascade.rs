use std::collections::{BTreeSet, HashMap};

use tidegate_model::RunId;
use tidegate_orchestration::{Event, Run, StateType, apply};
use tidegate_store::{StoreError, Sweep};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError, lane::with_retries, operate::Changes};

/// Parents of one transaction, and their children at most.
const N_PARENTS: usize = 100;
const N_CHILDREN: usize = 1_000;

impl Engine {
    /// Cancels the open children of a run that was cancelled, and theirs, level by level. Gives how many runs it
    /// cancelled. Dying in the middle loses nothing: the flags in the rows have the sweep go on.
    pub async fn cascade_from(&self, run_id: RunId) -> Result<usize, EngineError> {
        let mut n_cancelled = 0;
        let mut level = vec![run_id];
        while !level.is_empty() {
            let mut next = Vec::new();
            for parents in level.chunks(N_PARENTS) {
                loop {
                    let step = with_retries(|| self.cascade_step(parents)).await?;
                    n_cancelled += step.cancelled.len();
                    next.extend(step.cancelled);
                    if step.is_done {
                        break;
                    }
                }
            }
            level = next;
        }
        Ok(n_cancelled)
    }

    /// Brings about all ends of children that are due, whoever left them. Gives how many runs it cancelled.
    pub async fn cascade_all(&self) -> Result<usize, EngineError> {
        let mut n_cancelled = 0;
        loop {
            let parents = with_retries(|| self.pending_cascades()).await?;
            if parents.is_empty() {
                return Ok(n_cancelled);
            }
            n_cancelled += with_retries(|| self.cascade_step(&parents)).await?.cancelled.len();
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

    /// Parents whose cascades are due and that nobody else is busy with. They are not locked any more: parents and
    /// children are then locked together, in id order.
    async fn pending_cascades(&self) -> Result<Vec<RunId>, StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let parents = tx.sweep(&Sweep::Cascades, N_PARENTS).await?;
        Ok(parents.into_iter().map(|run| run.id).collect())
    }

    async fn cascade_step(&self, parents: &[RunId]) -> Result<CascadeStep, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        // A parent that ends or is cancelled gets no new child, so none can be missed after this.
        let children = tx.open_children(parents, N_CHILDREN).await?;
        let ids: BTreeSet<RunId> = parents.iter().chain(&children).copied().collect();
        let locked = tx.lock_runs(&ids.into_iter().collect::<Vec<_>>()).await?;
        let locked: HashMap<RunId, Run> = locked.into_iter().map(|run| (run.id, run)).collect();
        let parents: Vec<Run> = parents
            .iter()
            .filter_map(|id| locked.get(id))
            .filter(|run| run.cascade_pending)
            .cloned()
            .collect();
        if parents.is_empty() {
            return Ok(CascadeStep { cancelled: Vec::new(), is_done: true });
        }
        let is_done = children.len() < N_CHILDREN;
        let mut cancelled = Vec::with_capacity(children.len());
        let mut changes = Changes::new(Vec::new());
        for child in children.iter().filter_map(|id| locked.get(id)) {
            // A parent that somebody else has seen to meanwhile is not among them.
            let Some(parent) = parents.iter().find(|parent| Some(parent.id) == child.parent) else {
                continue;
            };
            let event = Event::CancelRequested { reason: reason(parent), actor: None };
            if let Ok(step) = apply(child, None, &event, now, 0.5)
                && !step.transitions.is_empty()
            {
                cancelled.push(child.id);
                changes.take(child, &event, None, step, now);
            }
        }
        if is_done {
            for mut parent in parents {
                // A parent may itself be a child that was cancelled just now; that change must not be undone.
                if let Some(changed) = changes.run(parent.id) {
                    parent = changed.clone();
                }
                parent.cascade_pending = false;
                changes.note(parent);
            }
        }
        self.send(changes.commit(&*self.inner.store, tx).await?);
        Ok(CascadeStep { cancelled, is_done })
    }
}

struct CascadeStep {
    cancelled: Vec<RunId>,
    /// False: the parents have further open children.
    is_done: bool,
}

fn reason(parent: &Run) -> String {
    let how = match parent.state.state_type() {
        StateType::Failed => "failed",
        StateType::Crashed => "crashed",
        _ => "was cancelled",
    };
    format!("its parent {} ({}) {how}", parent.run_name, parent.id)
}
