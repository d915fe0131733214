//! Variables: named values that runs share.

use tidegate_model::{Namespace, RunId, VariableName, VariableRevision, limits};
use tidegate_store::{StoreError, Variable, VariableKey, VariableQuery};

use crate::{Engine, EngineError, ask::RequestKey, commit::commit, lane::with_retries};

/// A variable as it is to be.
#[derive(Clone, Debug)]
pub struct SetVariable {
    /// Which.
    pub key: VariableKey,
    /// Its value: a JSON text.
    pub value: String,
    /// What people find it by.
    pub tags: Vec<String>,
    /// What it is for.
    pub description: String,
    /// One that is there is replaced.
    pub overwrite: bool,
    /// One that is there is replaced, if it is still as it was then.
    pub seen: Option<VariableRevision>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

/// Which variable is to go.
#[derive(Clone, Debug)]
pub struct DeleteVariable {
    /// Which.
    pub key: VariableKey,
    /// That there is none is no error.
    pub allow_missing: bool,
    /// Only if it is still as it was then.
    pub seen: Option<VariableRevision>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

impl Engine {
    /// Makes or changes a variable. True: it was made.
    pub async fn set_variable(&self, set: &SetVariable) -> Result<(Variable, bool), EngineError> {
        let request = self.variable_request("set", &set.key, set.request_id);
        with_retries(|| self.try_set_variable(set, &request)).await?
    }

    /// A variable.
    pub async fn get_variable(&self, key: &VariableKey) -> Result<Variable, EngineError> {
        let found = self.get_variables(&key.namespace, std::slice::from_ref(&key.name)).await?;
        found.into_iter().next().ok_or_else(|| not_found(key))
    }

    /// Those of these variables that are there, by name.
    pub async fn get_variables(
        &self,
        namespace: &Namespace,
        names: &[VariableName],
    ) -> Result<Vec<Variable>, EngineError> {
        Ok(self.store().get_variables(namespace, names).await?)
    }

    /// A page of variables.
    pub async fn list_variables(&self, query: &VariableQuery) -> Result<Vec<Variable>, EngineError> {
        Ok(self.store().list_variables(query).await?)
    }

    /// Takes a variable away.
    pub async fn delete_variable(&self, delete: &DeleteVariable) -> Result<(), EngineError> {
        let request = self.variable_request("delete", &delete.key, delete.request_id);
        with_retries(|| self.try_delete_variable(delete, &request)).await?
    }

    fn variable_request(&self, verb: &str, key: &VariableKey, request_id: Option<RunId>) -> RequestKey {
        RequestKey::of(request_id, format!("variable/{verb}:{}", key.name), &self.inner.options)
    }

    async fn try_set_variable(
        &self,
        set: &SetVariable,
        request: &RequestKey,
    ) -> Result<Result<(Variable, bool), EngineError>, StoreError> {
        let (store, now, key) = (&**self.store(), self.clock().now(), &set.key);
        let mut tx = store.begin().await?;
        let before = tx.lock_variable(key).await?;
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(match before {
                // Told as at first: what was made by this request has not been changed since.
                Some(variable) => {
                    let created = variable.created_at == variable.updated_at;
                    Ok((variable, created))
                }
                None => Err(not_found(key)),
            });
        }
        match (&before, set.seen) {
            (None, Some(_)) => return Ok(Err(not_found(key))),
            (Some(before), Some(seen)) if before.revision != seen => return Ok(Err(mismatch(key))),
            (Some(_), None) if !set.overwrite => {
                return Ok(Err(EngineError::VariableExists { name: key.name.to_string() }));
            }
            _ => {}
        }
        let variable = Variable {
            key: key.clone(),
            value: set.value.clone(),
            tags: set.tags.clone(),
            description: set.description.clone(),
            revision: VariableRevision::new(),
            created_at: before.as_ref().map_or(now, |before| before.created_at),
            updated_at: now,
        };
        let created = before.is_none();
        if created {
            let most = limits::MAX_VARIABLES;
            if tx.count_variables(&key.namespace, most).await? >= most {
                return Ok(Err(EngineError::TooManyVariables { most }));
            }
            if !tx.insert_variable(&variable).await? {
                return Err(StoreError::Unavailable(
                    "another request has made the variable meanwhile".into(),
                ));
            }
        } else {
            tx.update_variable(&variable).await?;
        }
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok((variable, created)))
    }

    async fn try_delete_variable(
        &self,
        delete: &DeleteVariable,
        request: &RequestKey,
    ) -> Result<Result<(), EngineError>, StoreError> {
        let (store, now, key) = (&**self.store(), self.clock().now(), &delete.key);
        let mut tx = store.begin().await?;
        let before = tx.lock_variable(key).await?;
        let named = request.reservation(&key.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(()));
        }
        match (before, delete.seen) {
            (None, _) if delete.allow_missing => return Ok(Ok(())),
            (None, _) => return Ok(Err(not_found(key))),
            (Some(before), Some(seen)) if before.revision != seen => return Ok(Err(mismatch(key))),
            _ => {}
        }
        tx.delete_variable(key).await?;
        tx.reserve_keys(&named, now).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(()))
    }
}

fn not_found(key: &VariableKey) -> EngineError {
    EngineError::VariableNotFound { name: key.name.to_string() }
}

fn mismatch(key: &VariableKey) -> EngineError {
    EngineError::VariableChanged { name: key.name.to_string() }
}
