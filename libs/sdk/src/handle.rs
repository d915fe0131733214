use std::sync::Arc;

use serde::de::DeserializeOwned;
use tidegate_sdk_core::{
    Error, ErrorKind,
    proto::{CancelRunResponse, Run, State},
};

use crate::{Client, json};

/// A run, by its id. Cheap to clone, and valid in any process at any time.
#[derive(Clone, Debug)]
pub struct RunHandle {
    client: Client,
    id: Arc<str>,
}

impl RunHandle {
    pub(crate) fn new(client: Client, id: String) -> Self {
        Self { client, id: id.into() }
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the run returned, once it has.
    ///
    /// # Errors
    /// `RunFailed`, `RunCrashed` or `RunCancelled` when it ended so; `Payload` when the result is no `T`; `NotFound`,
    /// `Unavailable`.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, Error> {
        result_of(&*self.wait().await?)
    }

    /// The run in full, once it has ended, however it did.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn wait(&self) -> Result<Arc<Run>, Error> {
        self.client.core().wait(&self.id).await
    }

    /// The run in full, as it is now.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn get(&self) -> Result<Run, Error> {
        self.client.core().get_run(&self.id).await
    }

    /// The run's state now.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn state(&self) -> Result<State, Error> {
        let state = self.client.core().peek_run(&self.id).await?.state;
        state.ok_or_else(|| Error::new(ErrorKind::Internal, "the server answered a run without a state"))
    }

    /// Cancels the run and its descendants.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn cancel(&self, reason: &str) -> Result<CancelRunResponse, Error> {
        self.client.core().cancel_run(&self.id, reason).await
    }
}

/// The results of all runs, in order, once all have ended: one wait for all of them, also for 10,000.
///
/// # Errors
/// That of the first run in order that has one.
pub async fn gather<T: DeserializeOwned>(handles: &[RunHandle]) -> Result<Vec<T>, Error> {
    gather_all(handles).await.into_iter().collect()
}

/// As [`gather`], with each run's own outcome.
pub async fn gather_all<T: DeserializeOwned>(handles: &[RunHandle]) -> Vec<Result<T, Error>> {
    let Some(first) = handles.first() else { return Vec::new() };
    let run_ids: Vec<String> = handles.iter().map(|handle| handle.id.to_string()).collect();
    let ended = first.client.core().wait_many(&run_ids).await;
    ended.into_iter().map(|run| result_of(&*run?)).collect()
}

fn result_of<T: DeserializeOwned>(run: &Run) -> Result<T, Error> {
    match Error::of_ended_run(run) {
        None => json::from_payload(run.result.as_ref()),
        Some(error) => Err(error),
    }
}
