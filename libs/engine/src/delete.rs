use std::collections::HashMap;

use futures::{StreamExt as _, stream};
use tidegate_model::{Epoch, Namespace, RunId, Timestamp};
use tidegate_orchestration::Run;
use tidegate_store::{Below, RunTx, StoreError};

use crate::{Ask, Engine, EngineError, ask::reservation, cascade::N_BY_THEMSELVES, lane::with_retries};

impl Engine {
    /// Deletes a run that has ended, with all that belongs to it. Runs below it stay; those that are to end with it are
    /// cancelled before. Between others it stays while something below is open that is to end with what is above.
    pub async fn delete(&self, ask: &Ask) -> Result<(), EngineError> {
        let clear = self.clear_below(&ask.namespace, &[ask.run_id]).await?;
        let mut deleted = with_retries(|| self.try_delete(ask, &clear)).await?;
        if matches!(deleted, Err(EngineError::CascadePending { .. })) {
            self.cascade_from(ask.run_id).await?;
            let clear = self.clear_below(&ask.namespace, &[ask.run_id]).await?;
            deleted = with_retries(|| self.try_delete(ask, &clear)).await?;
        }
        deleted?;
        let actor = ask.actor.as_deref().unwrap_or("somebody");
        tracing::info!(run.id = %ask.run_id, "run {} was deleted by {actor}", ask.run_id);
        Ok(())
    }

    /// Of runs, those that have ended and from which nothing leads down to an open run that is to end with what is above: where
    /// nothing is above them, it does not matter. Each with the epoch of which that is true: no ended run gets a child, and one
    /// that is tried again takes it on.
    pub(crate) async fn clear_below(
        &self,
        namespace: &Namespace,
        ids: &[RunId],
    ) -> Result<Clear, EngineError> {
        let found = with_retries(|| self.inner.store.get_runs(Some(namespace), ids)).await?;
        let ended = found.iter().filter(|run| run.state.state_type().is_terminal());
        let mut clear = Clear { epochs: ended.map(|run| (run.id, run.epoch)).collect(), ..Clear::default() };
        let between = found.iter().filter(|run| clear.has(run) && run.parent.is_some());
        let between: Vec<RunId> = between.map(|run| run.id).collect();
        match (between.as_slice(), with_retries(|| self.inner.store.open_below(&between, 1)).await) {
            ([], _) => {}
            (_, Ok(below)) if below.is_empty() => {}
            ([run_id], outcome) => clear.note(*run_id, outcome?),
            // Some of them, or there is too much below all of them: each by itself.
            (between, _) => {
                let mut looks = stream::iter(between.to_vec())
                    .map(|run_id| async move {
                        let above = [run_id];
                        (run_id, with_retries(|| self.inner.store.open_below(&above, 1)).await)
                    })
                    .buffer_unordered(N_BY_THEMSELVES);
                while let Some((run_id, outcome)) = looks.next().await {
                    match outcome {
                        Ok(below) => clear.note(run_id, below),
                        Err(error) => {
                            // It is of no use to go on where the store does not answer at all.
                            self.inner.store.feed_end().await?;
                            tracing::warn!(run.id = %run_id, %error, "it could not be looked below run {run_id}: it stays");
                            clear.epochs.remove(&run_id);
                        }
                    }
                }
            }
        }
        Ok(clear)
    }

    async fn try_delete(&self, ask: &Ask, clear: &Clear) -> Result<Result<(), EngineError>, StoreError> {
        let now = self.inner.clock.now();
        let run_id = ask.run_id;
        let mut tx = self.inner.store.begin().await?;
        let found = tx.lock_runs(&[run_id]).await?.into_iter().find(|run| run.namespace == ask.namespace);
        let Some(run) = found else {
            let was_made = is_repeat(&mut *tx, ask, now).await?;
            return Ok(if was_made { Ok(()) } else { Err(EngineError::NotFound { run_id }) });
        };
        let state = run.state.state_type();
        if !state.is_terminal() {
            return Ok(Err(EngineError::NotEnded { run_id, state }));
        }
        if run.cascade_pending {
            return Ok(Err(EngineError::CascadePending { run_id, state }));
        }
        if !clear.has(&run) {
            return Ok(Err(match clear.open.get(&run_id) {
                Some(open) => EngineError::OpenBelow { run_id, open: *open },
                // It ended while it was looked below it: what it has left there is about to be seen to.
                None => EngineError::CascadePending { run_id, state },
            }));
        }
        tx.delete_runs(&[run_id]).await?;
        // After the keys that name the run have gone with it.
        if let Some(name) = request(ask) {
            let expires_at = now + self.inner.options.key_retention;
            tx.reserve_keys(&[reservation(&ask.namespace, run_id, &name, expires_at)], now).await?;
        }
        match tx.commit().await {
            Err(StoreError::CommitUnknown(cause)) => self.resolve_deletion(ask, cause).await.map(Ok),
            committed => committed.map(Ok),
        }
    }

    /// Finds out whether a deletion that went unanswered was made: the lock waits for one that is still under way.
    async fn resolve_deletion(
        &self,
        ask: &Ask,
        cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), StoreError> {
        let looked = with_retries(|| async {
            let mut tx = self.inner.store.begin().await?;
            tx.lock_runs(&[ask.run_id]).await
        });
        match looked.await {
            Ok(found) if found.is_empty() => Ok(()),
            Ok(_) => Err(StoreError::Unavailable(cause)),
            Err(_) => Err(StoreError::CommitUnknown(cause)),
        }
    }
}

/// Which runs may go.
#[derive(Default)]
pub(crate) struct Clear {
    epochs: HashMap<RunId, Epoch>,
    /// Of others that have ended, one that is open below.
    open: HashMap<RunId, RunId>,
}

impl Clear {
    fn note(&mut self, run_id: RunId, below: Vec<Below>) {
        if let Some(open) = below.first() {
            self.epochs.remove(&run_id);
            self.open.insert(run_id, open.id);
        }
    }

    /// True where the run has not changed since.
    pub fn has(&self, run: &Run) -> bool {
        self.epochs.get(&run.id) == Some(&run.epoch)
    }
}

fn request(ask: &Ask) -> Option<(String, String)> {
    Some((format!("delete:{}", ask.run_id), ask.request_id?.to_string()))
}

async fn is_repeat(tx: &mut dyn RunTx, ask: &Ask, now: Timestamp) -> Result<bool, StoreError> {
    let Some(name) = request(ask) else { return Ok(false) };
    let key = reservation(&ask.namespace, ask.run_id, &name, now);
    Ok(tx.find_keys(&[key], now).await?.iter().any(Option::is_some))
}
