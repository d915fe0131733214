use std::{marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tidegate_sdk_core::{
    CreatedRun, Error, ErrorKind,
    proto::{CancelRunResponse, Run, State},
};

use crate::{Client, json};

/// A run, by its id. Cheap to clone, and valid in any process at any time.
///
/// One of a function with `#[task]` or `#[flow]` knows the type `T` of its result, and can be awaited for it.
pub struct RunHandle<T = Untyped> {
    client: Client,
    id: Arc<str>,
    created: Option<bool>,
    value: PhantomData<fn() -> T>,
}

/// The result of a [`RunHandle`] that was found by an id or started by a name: who asks for it says its type.
#[derive(Clone, Copy, Debug)]
pub struct Untyped(());

impl RunHandle {
    /// What the run returned, once it has.
    ///
    /// # Errors
    /// `RunFailed`, `RunCrashed` or `RunCancelled` when it ended so; `Payload` when the result is no `T`; `NotFound`,
    /// `Unavailable`.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, Error> {
        result_of(&*self.wait().await?)
    }
}

impl<T: DeserializeOwned> RunHandle<T> {
    /// What the run returned, once it has.
    ///
    /// # Errors
    /// `RunFailed`, `RunCrashed` or `RunCancelled` when it ended so; `Payload` when the result is no `T`; `NotFound`,
    /// `Unavailable`.
    pub async fn result(&self) -> Result<T, Error> {
        result_of(&*self.wait().await?)
    }
}

/// Waits for what the run returns.
impl<T: DeserializeOwned + Send + 'static> IntoFuture for RunHandle<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.result().await })
    }
}

impl<T> Clone for RunHandle<T> {
    fn clone(&self) -> Self {
        self.typed()
    }
}

impl<T> std::fmt::Debug for RunHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> RunHandle<T> {
    pub(crate) fn new(client: Client, id: String) -> Self {
        Self { client, id: id.into(), created: None, value: PhantomData }
    }

    /// Of a run that this process asked for.
    pub(crate) fn of_created(client: Client, run: CreatedRun) -> Self {
        Self { created: Some(run.created), ..Self::new(client, run.id) }
    }

    /// Whether the call that gave this handle made the run. False: it was there, by its idempotency key, or because an
    /// earlier attempt of the parent had made it. `None` for one that was found by its id.
    pub fn created(&self) -> Option<bool> {
        self.created
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The same run, with a result of the type `U`.
    pub fn typed<U>(&self) -> RunHandle<U> {
        let (client, id) = (self.client.clone(), Arc::clone(&self.id));
        RunHandle { client, id, created: self.created, value: PhantomData }
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
pub async fn gather<T: DeserializeOwned>(handles: &[RunHandle<impl Sized>]) -> Result<Vec<T>, Error> {
    gather_all(handles).await.into_iter().collect()
}

/// As [`gather`], with each run's own outcome.
pub async fn gather_all<T: DeserializeOwned>(handles: &[RunHandle<impl Sized>]) -> Vec<Result<T, Error>> {
    let Some(first) = handles.first() else { return Vec::new() };
    let run_ids: Vec<String> = handles.iter().map(|handle| handle.id.to_string()).collect();
    let ended = first.client.core().wait_many(&run_ids).await;
    ended.into_iter().map(|run| result_of(&*run?)).collect()
}

pub(crate) fn result_of<T: DeserializeOwned>(run: &Run) -> Result<T, Error> {
    match Error::of_ended_run(run) {
        None => json::from_payload(run.result.as_ref()),
        Some(error) => Err(error),
    }
}
