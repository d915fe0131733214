//! Requests that change something outside of one transaction: whether one with an id was carried out before.

use tidegate_model::{Namespace, RunId};
use tidegate_store::StoreError;

use crate::{Engine, EngineError, ask::RequestKey, commit::commit, lane::with_retries};

impl Engine {
    /// Whether this request was carried out to its end. `scope` names what is done to what: `schedule/backfill:a/b/c`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn was_done(
        &self,
        namespace: &Namespace,
        scope: &str,
        request_id: RunId,
    ) -> Result<bool, EngineError> {
        let request = RequestKey::of(Some(request_id), scope.to_owned(), &self.inner.options);
        with_retries(|| self.find_request(namespace, &request)).await
    }

    /// Keeps that this request was carried out to its end.
    ///
    /// # Errors
    /// The store does not answer: a repeat is carried out again.
    pub async fn keep_done(
        &self,
        namespace: &Namespace,
        scope: &str,
        request_id: RunId,
    ) -> Result<(), EngineError> {
        let request = RequestKey::of(Some(request_id), scope.to_owned(), &self.inner.options);
        with_retries(|| self.keep_request(namespace, &request)).await
    }

    async fn find_request(&self, namespace: &Namespace, request: &RequestKey) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        Ok(tx.find_keys(&request.reservation(namespace, now), now).await?.iter().any(Option::is_some))
    }

    async fn keep_request(&self, namespace: &Namespace, request: &RequestKey) -> Result<(), StoreError> {
        let (store, now) = (&**self.store(), self.clock().now());
        let mut tx = store.begin().await?;
        tx.reserve_keys(&request.reservation(namespace, now), now).await?;
        commit(store, tx, &[]).await
    }
}
