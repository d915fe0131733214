use std::marker::PhantomData;

use futures::future::BoxFuture;
use serde::Serialize;
use tidegate_sdk_core::{self as core, Error, proto::NewRun};

use super::{Call, Template};
use crate::{
    Client, Context, Function, RunFuture, RunHandle, json,
    local::{self, LocalCall},
};

impl Call {
    /// Starts a run with `params`. When this returns the run is durable.
    ///
    /// # Errors
    /// `Payload` when `params` cannot be written as JSON; `AlreadyExists`, `FailedPrecondition` (the parent has ended),
    /// `InvalidArgument`, `Unavailable`.
    pub async fn delay<P: Serialize + ?Sized>(self, params: &P) -> Result<RunHandle, Error> {
        let (run, client) = (self.queued(json::parameters(params)?), self.client()?);
        self.upstream_ended().await?;
        let created = client.core().create_run(run).await?;
        Ok(RunHandle::of_created(client, created))
    }

    /// Starts a run for each of `params`, in one batch. An idempotency key must not be set: it would be that of all.
    ///
    /// # Errors
    /// As for [`Call::delay`]: the first one. The other runs are started all the same.
    pub async fn delay_many<P: Serialize>(self, params: &[P]) -> Result<Vec<RunHandle>, Error> {
        let queued = |params| Ok(self.queued(json::parameters(params)?));
        let runs = params.iter().map(queued).collect::<Result<Vec<_>, Error>>()?;
        let client = self.client()?;
        self.upstream_ended().await?;
        let created = client.core().create_runs(runs).await;
        created
            .into_iter()
            .map(|created| created.map(|created| RunHandle::of_created(client.clone(), created)))
            .collect()
    }
}

impl<F: Function> Call<F> {
    /// A call without its parameters, for the options of the attribute.
    #[doc(hidden)]
    pub fn template() -> Call<Template<F>> {
        Call::of(None, F::KIND, F::NAME.to_owned(), Template(PhantomData))
    }

    #[cfg(test)]
    pub(crate) fn parameters(&self) -> &F {
        &self.function
    }

    /// A call with these parameters.
    pub fn of_function(function: F) -> Self {
        Self::template().with(function)
    }

    /// Starts it in the background of this process, as a local run: a child of the current run, which does not end
    /// before it. To be called in a Tokio runtime.
    pub fn submit(self) -> RunFuture<F::Output> {
        local::submit(self)
    }

    /// Has a worker execute it. When this returns the run is durable. Inside a run it is a child of that: when that
    /// is executed again, the n-th call of a function with the same parameters finds the run of the n-th such call
    /// before.
    ///
    /// # Errors
    /// `Payload` when the parameters cannot be written as JSON; `AlreadyExists`, `InvalidArgument`, `Unavailable`; that
    /// of a run which this was to [wait for](Call::wait_for).
    pub async fn delay(self) -> Result<RunHandle<F::Output>, Error> {
        let (run, client) = self.into_queued().await?;
        let created = client.core().create_run(run).await?;
        Ok(RunHandle::of_created(client, created))
    }

    /// What a queued run is made of, once what it comes after has ended.
    async fn into_queued(self) -> Result<(NewRun, Client), Error> {
        let call = self.in_current_run();
        let (run, client) = (call.queued(json::parameters(&call.function)?), call.client()?);
        call.upstream_ended().await?;
        Ok((run, client))
    }

    /// Makes it a child of the run that this is called in, unless another client or parent was said.
    fn in_current_run(mut self) -> Self {
        if let Some(context) = Context::current().filter(|_| self.client.is_none()) {
            self.client = Some(context.client().clone());
            if self.run.parent_run_id.is_empty() {
                return context.make_child(self);
            }
        }
        if self.run.parent_run_id.is_empty() {
            // What the attribute says of a parent is of no effect where there is none.
            self.run.inherit_labels = false;
            self.run.prefer_parent_worker = false;
        }
        self
    }

    /// What a local run is made of. What holds for queues alone is left out. Of its limits this process takes the slots
    /// itself.
    pub(crate) fn into_local(self) -> Result<LocalCall<F>, Error> {
        let parent =
            Context::current().filter(|_| self.client.is_none() && self.run.parent_run_id.is_empty());
        let call = self.in_current_run();
        let client = call.client()?;
        let run = NewRun {
            id: core::new_run_id(),
            parameters: Some(json::parameters(&call.function)?),
            priority: None,
            due_at: None,
            expires_at: None,
            concurrency_limits: Vec::new(),
            fairness_key: String::new(),
            required_worker_labels: Default::default(),
            prefer_parent_worker: false,
            deployment: String::new(),
            ..call.run.clone()
        };
        let run = call.child(run);
        let limits = call.run.concurrency_limits;
        Ok(LocalCall { client, run, limits, parent, upstream: call.upstream, function: call.function })
    }
}

impl<F> Call<Template<F>> {
    /// The same with parameters.
    #[doc(hidden)]
    pub fn with(self, function: F) -> Call<F> {
        let Self { client, run, queue, calls, always_new, upstream, function: Template(_) } = self;
        Call { client, run, queue, calls, always_new, upstream, function }
    }
}

/// Executes it here, as a local run: a child of the current run, or else a run of its own. Dropped before its end, it
/// is stopped.
impl<F: Function> IntoFuture for Call<F> {
    type Output = Result<F::Output, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { local::submit(self).or_stop().await })
    }
}

/// As `.delay()` for each of these calls, in few requests: `delay_all(urls.into_iter().map(fetch)).await`.
///
/// # Errors
/// The first one, as for `.delay()`. The other runs are started all the same, unless a value cannot be written.
pub async fn delay_all<F: Function>(
    calls: impl IntoIterator<Item = Call<F>>,
) -> Result<Vec<RunHandle<F::Output>>, Error> {
    let (mut runs, mut through) = (Vec::new(), None);
    for call in calls {
        let (run, client) = call.into_queued().await?;
        runs.push(run);
        through.get_or_insert(client); // calls of one place are of one client
    }
    let Some(client) = through else { return Ok(Vec::new()) };
    let created = client.core().create_runs(runs).await.into_iter();
    created.map(|created| created.map(|created| RunHandle::of_created(client.clone(), created))).collect()
}
