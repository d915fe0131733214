//! Automations: what is done when something happens to a run.

use std::fmt;

use bytes::Bytes;
use tidegate_model::{AutomationName, AutomationRevision, Namespace, RunId, limits};
use tidegate_store::{Automation, AutomationKey, AutomationRecord, StoreError, Trigger};

use crate::{Engine, EngineError, ask::RequestKey, commit::commit, lane::with_retries};

/// An automation as it is to be.
#[derive(Clone)]
pub struct SetAutomation {
    /// Which.
    pub key: AutomationKey,
    /// What it is for.
    pub description: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// What is done: the encoded message `tidegate.v1.Webhook`. It has secrets.
    pub action: Bytes,
    /// One that is there is replaced.
    pub overwrite: bool,
    /// One that is there is replaced, if it is still as it was then.
    pub seen: Option<AutomationRevision>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// Without the action, which has secrets.
impl fmt::Debug for SetAutomation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, description, trigger, action, overwrite, seen, request_id } = self;
        f.debug_struct("SetAutomation")
            .field("key", key)
            .field("description", description)
            .field("trigger", trigger)
            .field("action", &format_args!("<{} bytes>", action.len()))
            .field("overwrite", overwrite)
            .field("seen", seen)
            .field("request_id", request_id)
            .finish()
    }
}

/// Which automation is to go.
#[derive(Clone, Debug)]
pub struct DeleteAutomation {
    /// Which.
    pub key: AutomationKey,
    /// That there is none is no error.
    pub allow_missing: bool,
    /// Only if it is still as it was then.
    pub seen: Option<AutomationRevision>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// Firings that go in one transaction: a statement about hundreds of thousands could take longer than one may.
const CLEARED_AT_ONCE: usize = 10_000;

/// How far a deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletion {
    /// Some firings are gone, and there may be more.
    GoesOn,
    /// It is gone, or was.
    IsDone,
}

impl Engine {
    /// Makes or changes an automation, but for whether it is paused. True: it was made.
    pub async fn set_automation(&self, set: &SetAutomation) -> Result<(Automation, bool), EngineError> {
        let request = self.automation_request("set", &set.key, set.request_id);
        with_retries(|| self.try_set_automation(set, &request)).await?
    }

    /// An automation.
    pub async fn get_automation(&self, key: &AutomationKey) -> Result<Automation, EngineError> {
        self.store().get_automation(key).await?.ok_or_else(|| not_found(key))
    }

    /// Up to `limit` automations of a namespace by name, with names after `after`.
    pub async fn list_automations(
        &self,
        namespace: &Namespace,
        after: Option<&AutomationName>,
        limit: usize,
    ) -> Result<Vec<Automation>, EngineError> {
        Ok(self.store().list_automations(namespace, after, limit).await?)
    }

    /// Takes an automation away, with its firings.
    pub async fn delete_automation(&self, delete: &DeleteAutomation) -> Result<(), EngineError> {
        let request = self.automation_request("delete", &delete.key, delete.request_id);
        while with_retries(|| self.try_delete_automation(delete, &request)).await?? == Deletion::GoesOn {}
        Ok(())
    }

    /// Has nothing set an automation off any more, and its firings wait; or has both go on.
    pub async fn pause_automation(
        &self,
        key: &AutomationKey,
        paused: bool,
        request_id: Option<RunId>,
    ) -> Result<Automation, EngineError> {
        let request = self.automation_request(if paused { "pause" } else { "resume" }, key, request_id);
        with_retries(|| self.try_pause_automation(key, paused, &request)).await?
    }

    fn automation_request(&self, verb: &str, key: &AutomationKey, request_id: Option<RunId>) -> RequestKey {
        RequestKey::of(request_id, format!("automation/{verb}:{}", key.name), &self.inner.options)
    }

    async fn try_set_automation(
        &self,
        set: &SetAutomation,
        request: &RequestKey,
    ) -> Result<Result<(Automation, bool), EngineError>, StoreError> {
        let (store, now, key) = (&**self.store(), self.clock().now(), &set.key);
        let mut tx = store.begin().await?;
        let before = tx.lock_automation(key).await?;
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(match before {
                // Told as at first: what was made by this request has not been changed since.
                Some(automation) => {
                    let created = automation.created_at == automation.updated_at;
                    Ok((automation, created))
                }
                None => Err(not_found(key)),
            });
        }
        match (&before, set.seen) {
            (None, Some(_)) => return Ok(Err(not_found(key))),
            (Some(before), Some(seen)) if before.revision != seen => return Ok(Err(mismatch(key))),
            (Some(_), None) if !set.overwrite => {
                return Ok(Err(EngineError::AutomationExists { name: key.name.to_string() }));
            }
            _ => {}
        }
        let created = before.is_none();
        let (is_paused, record, created_at) = match before {
            Some(before) => (before.is_paused, before.record, before.created_at),
            None => (false, AutomationRecord::default(), now),
        };
        let automation = Automation {
            key: key.clone(),
            description: set.description.clone(),
            trigger: set.trigger.clone(),
            action: set.action.clone(),
            is_paused,
            record,
            revision: AutomationRevision::new(),
            created_at,
            updated_at: now,
        };
        if created {
            let most = limits::MAX_AUTOMATIONS;
            if tx.count_automations(&key.namespace, most).await? >= most {
                return Ok(Err(EngineError::TooManyAutomations { most }));
            }
            if !tx.insert_automation(&automation).await? {
                return Err(StoreError::Unavailable(
                    "another request has made the automation meanwhile".into(),
                ));
            }
        } else {
            tx.update_automation(&automation).await?;
        }
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok((automation, created)))
    }

    async fn try_delete_automation(
        &self,
        delete: &DeleteAutomation,
        request: &RequestKey,
    ) -> Result<Result<Deletion, EngineError>, StoreError> {
        let (store, now, key) = (&**self.store(), self.clock().now(), &delete.key);
        let mut tx = store.begin().await?;
        let before = tx.lock_automation(key).await?;
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(Deletion::IsDone));
        }
        match (before, delete.seen) {
            (None, _) if delete.allow_missing => return Ok(Ok(Deletion::IsDone)),
            (None, _) => return Ok(Err(not_found(key))),
            (Some(before), Some(seen)) if before.revision != seen => return Ok(Err(mismatch(key))),
            _ => {}
        }
        if tx.clear_firings(key, CLEARED_AT_ONCE).await? == CLEARED_AT_ONCE {
            commit(store, tx, &[]).await?;
            return Ok(Ok(Deletion::GoesOn));
        }
        tx.delete_automation(key).await?;
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(Deletion::IsDone))
    }

    async fn try_pause_automation(
        &self,
        key: &AutomationKey,
        paused: bool,
        request: &RequestKey,
    ) -> Result<Result<Automation, EngineError>, StoreError> {
        let (store, now) = (&**self.store(), self.clock().now());
        let mut tx = store.begin().await?;
        let Some(before) = tx.lock_automation(key).await? else { return Ok(Err(not_found(key))) };
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(before));
        }
        // What was set stays as it was, and so does its revision.
        let automation = Automation { is_paused: paused, ..before };
        tx.update_automation(&automation).await?;
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(automation))
    }
}

fn not_found(key: &AutomationKey) -> EngineError {
    EngineError::AutomationNotFound { name: key.name.to_string() }
}

fn mismatch(key: &AutomationKey) -> EngineError {
    EngineError::AutomationChanged { name: key.name.to_string() }
}
