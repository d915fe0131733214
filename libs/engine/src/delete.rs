use tidegate_model::Timestamp;
use tidegate_store::{RunTx, StoreError};

use crate::{Ask, Engine, EngineError, ask::reservation, lane::with_retries};

impl Engine {
    /// Deletes a run that has ended, with all that belongs to it. Runs below it stay; those that are to end with it are
    /// cancelled before.
    pub async fn delete(&self, ask: &Ask) -> Result<(), EngineError> {
        let mut deleted = with_retries(|| self.try_delete(ask)).await?;
        if matches!(deleted, Err(EngineError::CascadePending { .. })) {
            self.cascade_from(ask.run_id).await?;
            deleted = with_retries(|| self.try_delete(ask)).await?;
        }
        deleted?;
        let actor = ask.actor.as_deref().unwrap_or("somebody");
        tracing::info!(run.id = %ask.run_id, "run {} was deleted by {actor}", ask.run_id);
        Ok(())
    }

    async fn try_delete(&self, ask: &Ask) -> Result<Result<(), EngineError>, StoreError> {
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

fn request(ask: &Ask) -> Option<(String, String)> {
    Some((format!("delete:{}", ask.run_id), ask.request_id?.to_string()))
}

async fn is_repeat(tx: &mut dyn RunTx, ask: &Ask, now: Timestamp) -> Result<bool, StoreError> {
    let Some(name) = request(ask) else { return Ok(false) };
    let key = reservation(&ask.namespace, ask.run_id, &name, now);
    Ok(tx.find_keys(&[key], now).await?.iter().any(Option::is_some))
}
