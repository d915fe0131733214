//! What is done to many runs at once: durable, in steps, carried on by whoever is there.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::join_all;
use tidegate_model::{BulkOperationId, Namespace, RunId, Timestamp};
use tidegate_orchestration::{Event, Rejection, Run, StateType, apply};
use tidegate_store::{
    Among, BulkAction, BulkOperation, BulkPlace, BulkState, BulkTarget, RunTx, Selection, StoreError,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    Engine, EngineError, cascade::Order, commit::commit, delete::Clear, dispatch::Outbound,
    lane::with_retries, operate::Changes,
};

/// Runs of one step.
const STEP: usize = 1_000;
/// Runs of one turn, after which others get theirs. They are looked up at once: each look at a tree walks all of it.
const TURN: usize = 20_000;
/// How long a process that carries an operation on may take for a step before another one does.
const LEASE: Duration = Duration::from_secs(5);
/// Operations that one process carries on at a time.
const N_AT_A_TIME: usize = 2;

/// What is to be done to many runs.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// By which it is known: the same one again starts nothing.
    pub id: BulkOperationId,
    /// The tenant.
    pub namespace: Namespace,
    /// What is to be done.
    pub action: BulkAction,
    /// To which runs.
    pub target: BulkTarget,
    /// Why; may be empty.
    pub reason: String,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// For a pause: how long a run may wait; `None`: for ever.
    pub pause_timeout: Option<Duration>,
    /// How many runs it is to be about when it is counted; `None`: any number.
    pub expected_count: Option<u64>,
}

/// The states from which an action leads anywhere. A COMPLETED run is tried again only by itself.
const fn states(action: BulkAction) -> &'static [StateType] {
    use StateType::{Cancelled, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled};
    match action {
        BulkAction::Cancel => &[Scheduled, Pending, Running, Paused],
        BulkAction::Pause => &[Scheduled, Pending, Running],
        BulkAction::Resume => &[Paused],
        BulkAction::Retry => &[Failed, Crashed, Cancelled],
        BulkAction::Delete => &[Completed, Failed, Crashed, Cancelled],
    }
}

impl Engine {
    /// How many runs an operation would be about. Fails where the caller expects another number.
    pub async fn count_bulk(&self, bulk: &Bulk) -> Result<u64, EngineError> {
        self.counted(bulk).await.map(|operation| operation.n_matched)
    }

    /// Starts an operation, durable when it returns; this process carries it on at once, where it runs
    /// [`Engine::run_bulk_operations`]. One that was started before by the same id is given as it is.
    pub async fn start_bulk(&self, bulk: &Bulk) -> Result<BulkOperation, EngineError> {
        if let Some(started) = self.started(bulk).await? {
            return Ok(started);
        }
        let operation = self.counted(bulk).await?;
        let is_new = with_retries(|| async {
            let mut tx = self.inner.store.begin().await?;
            let is_new = tx.put_bulk_operation(&operation).await?;
            // One that was put before by this very call is found as such.
            commit(&*self.inner.store, tx, &[]).await?;
            Ok(is_new)
        })
        .await?;
        self.inner.bulk.notify_one();
        if is_new {
            return Ok(operation);
        }
        self.started(bulk).await?.ok_or(EngineError::BulkOperationIdUsed { id: bulk.id })
    }

    async fn started(&self, bulk: &Bulk) -> Result<Option<BulkOperation>, EngineError> {
        with_retries(|| self.inner.store.get_bulk_operation(&bulk.namespace, bulk.id)).await
    }

    /// As it begins, if it is about as many runs as the caller expects. They are counted as of the time that it bears, by
    /// which it finds them later.
    async fn counted(&self, bulk: &Bulk) -> Result<BulkOperation, EngineError> {
        let mut operation = self.operation(bulk).await?;
        let selection = selection(&operation)?;
        operation.n_matched = with_retries(|| self.inner.store.count_selected(&selection)).await?;
        match bulk.expected_count {
            Some(expected) if expected != operation.n_matched => {
                Err(EngineError::BulkCountMismatch { count: operation.n_matched, expected })
            }
            _ => Ok(operation),
        }
    }

    async fn operation(&self, bulk: &Bulk) -> Result<BulkOperation, EngineError> {
        if let BulkTarget::Tree(run_id) = bulk.target {
            self.get_all(&bulk.namespace, &[run_id]).await?;
        }
        let now = self.inner.clock.now();
        Ok(BulkOperation {
            id: bulk.id,
            namespace: bulk.namespace.clone(),
            action: bulk.action,
            target: bulk.target.clone(),
            reason: bulk.reason.clone(),
            actor: bulk.actor.clone(),
            pause_timeout: bulk.pause_timeout,
            created_at: now,
            state: BulkState::Running,
            ended_at: None,
            cursor: None,
            lease_until: now,
            n_matched: 0,
            n_done: 0,
            skipped: BTreeMap::new(),
        })
    }

    /// An operation as it stands.
    pub async fn bulk_operation(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<BulkOperation, EngineError> {
        let found = self.inner.store.get_bulk_operation(namespace, id).await?;
        found.ok_or(EngineError::BulkOperationNotFound { id })
    }

    /// Has an operation go no further. What was done stays; one that is over stays as it is.
    pub async fn stop_bulk(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<BulkOperation, EngineError> {
        self.bulk_operation(namespace, id).await?;
        let stopped = with_retries(|| async {
            let mut tx = self.inner.store.begin().await?;
            let Some(mut operation) = tx.lock_bulk_operation(id).await? else { return Ok(None) };
            if operation.state == BulkState::Running {
                self.end(&mut *tx, &mut operation, BulkState::Cancelled).await?;
                commit(&*self.inner.store, tx, &[]).await?;
            }
            Ok(Some(operation))
        });
        stopped.await?.ok_or(EngineError::BulkOperationNotFound { id })
    }

    /// Carries operations on as soon as one is started in this process, until `stop`.
    pub async fn run_bulk_operations(self, stop: CancellationToken) {
        let n_at_work = AtomicUsize::new(N_AT_A_TIME);
        let lanes = (0..N_AT_A_TIME).map(|_| async {
            // First those that an earlier process has left behind.
            loop {
                match stop.run_until_cancelled(self.carry_on_bulk()).await {
                    None => return,
                    Some(Ok(0)) => {}
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "a bulk operation broke off; the scheduler's sweep carries it on");
                    }
                }
                // The lanes have one pulse, which waits while all of them do.
                if n_at_work.fetch_sub(1, Ordering::Relaxed) == 1 {
                    tidegate_pulse::wait();
                }
                if stop.run_until_cancelled(self.inner.bulk.notified()).await.is_none() {
                    return;
                }
                n_at_work.fetch_add(1, Ordering::Relaxed);
                tidegate_pulse::beat();
            }
        });
        join_all(lanes).await;
    }

    /// Takes a turn at an operation that nobody carries on. Gives how many runs it has seen to, and 0 where there is no
    /// such operation; one whose last turn this was counts for at least 1.
    pub async fn carry_on_bulk(&self) -> Result<usize, EngineError> {
        let Some(operation) = with_retries(|| self.claim_bulk()).await? else { return Ok(0) };
        tokio::select! {
            outcome = self.take_turn(&operation) => outcome,
            never = self.keep_lease(operation.id) => never,
        }
    }

    /// Renews the lease of an operation for as long as it is polled: a look at a large tree takes longer than one.
    async fn keep_lease<T>(&self, id: BulkOperationId) -> T {
        loop {
            sleep(LEASE / 2).await;
            let renewed = async {
                let mut tx = self.inner.store.begin().await?;
                let Some(mut operation) = tx.lock_bulk_operation(id).await? else { return Ok(()) };
                operation.lease_until = self.inner.clock.now() + LEASE;
                tx.update_bulk_operation(&operation).await?;
                commit(&*self.inner.store, tx, &[]).await
            };
            if let Err(error) = renewed.await {
                tracing::debug!(bulk_operation.id = %id, %error, "a lease was not renewed: another process may look as well");
            }
        }
    }

    async fn take_turn(&self, operation: &BulkOperation) -> Result<usize, EngineError> {
        let selection = match selection(operation) {
            Ok(selection) => selection,
            Err(error) => {
                tracing::error!(bulk_operation.id = %operation.id, %error, "a stored filter is not understood any more");
                self.stop_bulk(&operation.namespace, operation.id).await?;
                return Ok(1);
            }
        };
        let mut n_seen = 0;
        let mut cursor = operation.cursor;
        while n_seen < TURN {
            let page =
                with_retries(|| self.inner.store.select_runs(&selection, cursor, TURN - n_seen)).await?;
            if page.is_empty() {
                if let (true, BulkTarget::Tree(root)) = (is_tree_cancel(operation), &operation.target) {
                    self.cancel_rest(operation.id, *root).await?;
                }
                with_retries(|| self.finish_bulk(operation.id)).await?;
                return Ok(n_seen.max(1));
            }
            if operation.action == BulkAction::Delete {
                // Of the whole page: what is below one of them may come before it.
                let ids: Vec<RunId> = page.iter().map(|place| place.run).collect();
                if let Err(error) = self.cascade_each(&ids, Order::Upward).await {
                    tracing::warn!(bulk_operation.id = %operation.id, %error, "runs that are still to end others are skipped");
                }
            }
            for chunk in page.chunks(STEP) {
                let ids: Vec<RunId> = chunk.iter().map(|place| place.run).collect();
                let clear = match operation.action {
                    BulkAction::Delete => self.clear_below(&operation.namespace, &ids).await?,
                    _ => Clear::default(),
                };
                let until = chunk.last().copied();
                let step = with_retries(|| self.bulk_step(operation.id, cursor..until, &ids, &clear)).await?;
                let Some(unfinished) = step else { return Ok(n_seen.max(1)) };
                if !unfinished.is_empty() {
                    // At once, so that a tree is cancelled when its operation is over.
                    self.cascade_each(&unfinished, Order::Upward).await?;
                }
                cursor = until;
                n_seen += chunk.len();
            }
        }
        with_retries(|| self.release_bulk(operation.id)).await?;
        self.inner.bulk.notify_one();
        Ok(n_seen)
    }

    async fn claim_bulk(&self) -> Result<Option<BulkOperation>, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let Some(mut operation) = tx.sweep_bulk_operation(now).await? else { return Ok(None) };
        operation.lease_until = now + LEASE;
        tx.update_bulk_operation(&operation).await?;
        commit(&*self.inner.store, tx, &[]).await?;
        Ok(Some(operation))
    }

    /// Gives the lease back, so that the next turn can be anyone's.
    async fn release_bulk(&self, id: BulkOperationId) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(mut operation) = tx.lock_bulk_operation(id).await? else { return Ok(()) };
        operation.lease_until = self.inner.clock.now();
        tx.update_bulk_operation(&operation).await?;
        commit(&*self.inner.store, tx, &[]).await
    }

    /// Does it to the runs of a chunk, and moves the cursor over them. Gives those below which something is
    /// left to be cancelled, where the operation sees to it. `None`: it is over, or another process is ahead.
    async fn bulk_step(
        &self,
        id: BulkOperationId,
        cursor: Range<Option<BulkPlace>>,
        chunk: &[RunId],
        clear: &Clear,
    ) -> Result<Option<Vec<RunId>>, StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let Some(mut operation) = tx.lock_bulk_operation(id).await? else { return Ok(None) };
        if operation.cursor == cursor.end {
            // An earlier try was committed, though nobody said so. What it has left below is the sweep's.
            return Ok((operation.state == BulkState::Running).then(Vec::new));
        }
        if operation.state != BulkState::Running || operation.cursor != cursor.start {
            return Ok(None);
        }
        operation.cursor = cursor.end;
        operation.lease_until = now + LEASE;
        let locked = tx.lock_runs(chunk).await?;
        let locked: Vec<Run> =
            locked.into_iter().filter(|run| run.namespace == operation.namespace).collect();
        skip(&mut operation, "RUN_NOT_FOUND", chunk.len() - locked.len());
        if operation.action == BulkAction::Delete {
            delete(&mut *tx, &mut operation, &locked, clear).await?;
            tx.update_bulk_operation(&operation).await?;
            commit(&*self.inner.store, tx, &[]).await?;
            return Ok(Some(Vec::new()));
        }
        let mut done = Vec::with_capacity(locked.len());
        for run in &locked {
            match outcome(&operation, run, now) {
                Outcome::Done(event, step) => done.push((run, event, step)),
                Outcome::Skipped(reason) => skip(&mut operation, reason, 1),
            }
        }
        operation.n_done += done.len() as u64;
        let is_tree_cancel = is_tree_cancel(&operation);
        let mut unfinished = Vec::new();
        if is_tree_cancel {
            let ids: Vec<RunId> = done.iter().map(|(run, ..)| run.id).collect();
            unfinished = tx.have_more_below(&ids).await?;
            let is_unfinished: HashSet<RunId> = unfinished.iter().copied().collect();
            for (run, _, step) in &mut done {
                step.run.cascade_pending = is_unfinished.contains(&run.id);
            }
        }
        let mut changes = Changes::new(Vec::new());
        for (run, event, step) in done {
            changes.take(run, &event, operation.actor.as_deref(), *step, now);
        }
        tx.update_bulk_operation(&operation).await?;
        let mut outbound = if changes.is_empty() {
            commit(&*self.inner.store, tx, &[]).await?;
            Outbound::default()
        } else {
            changes.commit(&*self.inner.store, tx, now).await?
        };
        // Of a tree, most of what is below is the operation's own.
        outbound.cascade &= !is_tree_cancel;
        self.send(outbound);
        Ok(Some(unfinished))
    }

    /// Cancels what is still open below the uppermost run of a tree: started meanwhile by runs that ended by themselves, so that
    /// no cancelled run leads to it. Where someone has tried that uppermost run again, all is left to the new attempt.
    async fn cancel_rest(&self, id: BulkOperationId, root: RunId) -> Result<(), EngineError> {
        let above = [root];
        if with_retries(|| self.inner.store.open_below(&above, 1)).await?.is_empty() {
            return Ok(());
        }
        let flag = async || {
            let mut tx = self.inner.store.begin().await?;
            let operation = tx.lock_bulk_operation(id).await?;
            if operation.is_none_or(|operation| operation.state != BulkState::Running) {
                return Ok(false);
            }
            let mut changes = Changes::new(Vec::new());
            let locked = tx.lock_runs(&[root]).await?;
            for run in locked.into_iter().filter(|run| !is_open(run)) {
                changes.note(Run { cascade_pending: true, ..run });
            }
            changes.commit(&*self.inner.store, tx, self.inner.clock.now()).await?;
            Ok(true)
        };
        if with_retries(flag).await? {
            self.cascade_from(root).await?;
        }
        Ok(())
    }

    /// Closes an operation that has come to the last run.
    async fn finish_bulk(&self, id: BulkOperationId) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(mut operation) = tx.lock_bulk_operation(id).await? else { return Ok(()) };
        if operation.state != BulkState::Running {
            return Ok(());
        }
        if let (BulkAction::Delete, BulkTarget::Tree(_)) = (operation.action, &operation.target) {
            // A run from which nothing leads up to the root any more, because another delete was faster, is not met.
            let n_seen = operation.n_done + operation.skipped.values().sum::<u64>();
            let n_missed = operation.n_matched.saturating_sub(n_seen);
            skip(&mut operation, "RUN_NOT_FOUND", usize::try_from(n_missed).unwrap_or(usize::MAX));
        }
        self.end(&mut *tx, &mut operation, BulkState::Completed).await?;
        commit(&*self.inner.store, tx, &[]).await
    }

    async fn end(
        &self,
        tx: &mut dyn RunTx,
        operation: &mut BulkOperation,
        state: BulkState,
    ) -> Result<(), StoreError> {
        operation.state = state;
        operation.ended_at = Some(self.inner.clock.now());
        tx.update_bulk_operation(operation).await
    }
}

fn selection(operation: &BulkOperation) -> Result<Selection, EngineError> {
    let among = match &operation.target {
        BulkTarget::Filter(text) => {
            // Times relative to now are so to when it was asked for.
            let filter = tidegate_filter::parse(text, operation.created_at)
                .map_err(|error| EngineError::InvalidFilter { cause: error.to_string() })?;
            Among::Filter(filter)
        }
        BulkTarget::Tree(run_id) => {
            // As a cancel of its uppermost run would.
            let with_detached = operation.action != BulkAction::Cancel;
            Among::Tree { run_id: *run_id, with_detached }
        }
    };
    Ok(Selection {
        namespace: operation.namespace.clone(),
        among,
        states: states(operation.action).to_vec(),
        created_by: operation.created_at,
    })
}

/// Neither ended nor about to.
fn is_open(run: &Run) -> bool {
    states(BulkAction::Cancel).contains(&run.state.state_type())
}

fn is_tree_cancel(operation: &BulkOperation) -> bool {
    operation.action == BulkAction::Cancel && matches!(operation.target, BulkTarget::Tree(_))
}

fn skip(operation: &mut BulkOperation, reason: &str, n_runs: usize) {
    if n_runs > 0 {
        *operation.skipped.entry(reason.to_owned()).or_default() += n_runs as u64;
    }
}

async fn delete(
    tx: &mut dyn RunTx,
    operation: &mut BulkOperation,
    locked: &[Run],
    clear: &Clear,
) -> Result<(), StoreError> {
    let ended = locked.iter().filter(|run| run.state.state_type().is_terminal());
    let (ended, kept): (Vec<&Run>, Vec<&Run>) = ended.partition(|run| !run.cascade_pending && clear.has(run));
    skip(operation, "TRANSITION_NOT_ALLOWED", locked.len() - kept.len() - ended.len());
    skip(operation, "OPEN_RUNS_BELOW", kept.len());
    let ended: Vec<RunId> = ended.into_iter().map(|run| run.id).collect();
    operation.n_done += tx.delete_runs(&ended).await? as u64;
    Ok(())
}

enum Outcome {
    Done(Event, Box<tidegate_orchestration::Step>),
    Skipped(&'static str),
}

fn outcome(operation: &BulkOperation, run: &Run, now: Timestamp) -> Outcome {
    let (reason, actor) = (operation.reason.clone(), operation.actor.clone());
    let event = match operation.action {
        BulkAction::Cancel => Event::CancelRequested { reason, actor },
        BulkAction::Pause => Event::PauseRequested { timeout: operation.pause_timeout, reason, actor },
        BulkAction::Resume => Event::ResumeRequested { actor },
        // Deletions are none of the rules' business.
        BulkAction::Retry | BulkAction::Delete => Event::RetryRequested { reason, actor },
    };
    // It was in one of them when it was selected.
    if !states(operation.action).contains(&run.state.state_type()) {
        return Outcome::Skipped("TRANSITION_NOT_ALLOWED");
    }
    match apply(run, None, &event, now, rand::random()) {
        Ok(step) if step.transitions.is_empty() => Outcome::Skipped("NOTHING_TO_DO"),
        Ok(step) => Outcome::Done(event, Box::new(step)),
        Err(Rejection::LocalRun { .. }) => Outcome::Skipped("LOCAL_RUN"),
        Err(_) => Outcome::Skipped("TRANSITION_NOT_ALLOWED"),
    }
}
