//! The specification of a pool, which may change while its worker is at work.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use tidegate_sdk_core::{
    Client,
    proto::{Assign, WorkPool, WorkPoolSpec},
};
use tracing::warn;

use super::{StartError, marks, owner::Owner, template};
use crate::job::Job;

/// A pool, as jobs are started for it.
pub struct Pool {
    client: Client,
    /// Whose it is, whatever address that has.
    server: String,
    name: String,
    known: Mutex<WorkPoolSpec>,
}

impl Pool {
    /// `pool`, as `client` has told it.
    ///
    /// # Errors
    /// Where the server does not tell which it is.
    pub(crate) async fn new(client: Client, pool: &WorkPool) -> anyhow::Result<Self> {
        let version = client.version().await.context("ask the server which it is")?;
        if version.server_id.is_empty() {
            bail!(
                "the server does not tell which it is: its store does not answer, or it is older than this worker"
            );
        }
        let known = Mutex::new(pool.spec.clone().unwrap_or_default());
        Ok(Self { client, server: version.server_id, name: pool.name.clone(), known })
    }

    /// By which a worker called `owner` knows the jobs that it has started for the pool.
    pub(super) fn labels(&self, owner: &Owner) -> BTreeMap<String, String> {
        marks::of_worker(&self.server, self.namespace(), &self.name, owner.label())
    }

    /// Whether a job whose marks name no server is one of this pool. A worker of before wrote none, and another server may have a
    /// pool and a worker of the same names; the id of a run, though, nobody else has.
    ///
    /// # Errors
    /// `Passing` where the server does not answer.
    pub(super) async fn has_run(&self, assign: &Assign) -> Result<bool, StartError> {
        match self.client.peek_run(&assign.run_id).await {
            Ok(run) => Ok(run.work_pool == self.name),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(StartError::Passing(format!(
                "whose the job of run {} is cannot be asked: {error}",
                assign.run_id
            ))),
        }
    }

    /// The only worker called `name` of the pool, as far as `data_dir` tells.
    ///
    /// # Errors
    /// Where that cannot be used.
    pub(super) fn owner(&self, name: &str, data_dir: &Path) -> anyhow::Result<Owner> {
        Owner::of(name, &format!("{}/{}/{}", self.server, self.namespace(), self.name), data_dir)
    }

    fn namespace(&self) -> &str {
        &self.client.options().namespace
    }

    /// What the template of the pool, or else `own`, says of a job, with the job's variables in their places.
    ///
    /// # Errors
    /// `Job` where it cannot be read, or lacks a variable.
    pub(super) async fn describe(&self, job: &Job, own: &str) -> Result<Value, StartError> {
        let spec = self.spec().await;
        let text = if spec.job_template.is_empty() { own } else { &spec.job_template };
        let wrong = |fault: String| StartError::Job(format!("the job template of the pool {fault}"));
        let read: Value =
            serde_json::from_str(text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
        let mut variables = defaults(&spec.job_variable_schema);
        variables.extend(job.variables.clone());
        template::fill(read, &variables).map_err(wrong)
    }

    /// As it is now; where the server does not answer, as it was when it last did.
    async fn spec(&self) -> WorkPoolSpec {
        match self.client.get_work_pool(&self.name).await {
            Ok(answer) => {
                let spec = answer.work_pool.and_then(|pool| pool.spec).unwrap_or_default();
                self.lock().clone_from(&spec);
                spec
            }
            Err(error) => {
                warn!("the pool {} is taken as it was: {error}", self.name);
                self.lock().clone()
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, WorkPoolSpec> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The defaults that a JSON Schema tells of its properties.
fn defaults(schema: &str) -> Map<String, Value> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let default = |(name, property): (String, Value)| Some((name, property.get("default")?.clone()));
    properties.into_iter().filter_map(default).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_those_of_the_schema() {
        let schema = r#"{"properties": {"zone": {"default": "b"}, "size": {"type": "integer"}}}"#;
        assert_eq!(Value::Object(defaults(schema)), json!({"zone": "b"}));
        assert!(defaults("").is_empty());
    }
}
