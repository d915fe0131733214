//! Workers: delivery knows them, the store does not.

use tidegate_model::{Namespace, RunId, WorkPoolName, Worker, WorkerId};

use crate::{DispatchError, Engine, EngineError};

impl Engine {
    /// Up to `limit` workers of a namespace whose ids come after `after`, by id: live ones, and those that have ended a short
    /// time ago; of one pool, where it is named.
    ///
    /// # Errors
    /// Delivery does not answer.
    pub async fn list_workers(
        &self,
        namespace: &Namespace,
        work_pool: Option<&WorkPoolName>,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<Vec<Worker>, EngineError> {
        self.dispatch().list_workers(namespace, work_pool, after, limit).await.map_err(unavailable)
    }

    /// Has a worker take no more runs, let those it has end, and then end itself. A repetition changes nothing; one with the
    /// same `request_id` also when the worker has ended meanwhile, or another one has taken its id.
    ///
    /// # Errors
    /// `WorkerNotFound`, or delivery does not answer.
    pub async fn drain_worker(
        &self,
        namespace: &Namespace,
        worker_id: &WorkerId,
        request_id: Option<RunId>,
    ) -> Result<(), EngineError> {
        let scope = format!("worker/drain:{worker_id}");
        if let Some(request_id) = request_id {
            match self.was_done(namespace, &scope, request_id).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Delivery needs no store for it, and most repeats come while the worker lives.
                Err(error) => {
                    tracing::warn!(worker.id = %worker_id, %error, "whether worker {worker_id} was drained before cannot be asked");
                }
            }
        }
        let is_live = self.dispatch().drain_worker(namespace, worker_id).await.map_err(unavailable)?;
        if !is_live {
            return Err(EngineError::WorkerNotFound { worker_id: worker_id.clone() });
        }
        if let Some(request_id) = request_id
            && let Err(error) = self.keep_done(namespace, &scope, request_id).await
        {
            tracing::warn!(worker.id = %worker_id, %error, "a repeat of the drain of worker {worker_id} will not be known");
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: DispatchError) -> EngineError {
    EngineError::DeliveryUnavailable { cause: error.to_string() }
}
