use std::{
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
};

use futures::{Stream, StreamExt as _, stream::FuturesUnordered};
use tidegate_sdk_core::Error;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Call, Function, RunHandle,
    progress::{Progress, given_up},
};

/// What a submitted run will return; await it.
///
/// Dropping it changes nothing: the run goes on, and the one that submitted it waits for it. A run that failed and
/// that nobody has asked about makes that one fail (`on_unawaited_failure`).
#[derive(Debug)]
#[must_use = "a run that fails and that nobody asks about makes the one fail that submitted it: await it"]
pub struct RunFuture<T> {
    result: oneshot::Receiver<Result<T, Error>>,
    progress: Arc<Progress>,
    /// Has the run stopped.
    abandon: CancellationToken,
}

impl<T> RunFuture<T> {
    pub(crate) fn new(
        result: oneshot::Receiver<Result<T, Error>>,
        progress: Arc<Progress>,
        abandon: CancellationToken,
    ) -> Self {
        Self { result, progress, abandon }
    }

    /// The run's id; `None` until it is there, which it is not while it waits for other runs.
    pub fn id(&self) -> Option<String> {
        self.progress.run_id()
    }

    /// The name of the flow or task.
    pub fn name(&self) -> &'static str {
        self.progress.name
    }

    /// True once the run has ended.
    pub fn is_done(&self) -> bool {
        self.progress.see();
        self.progress.end().is_some()
    }

    /// Waits for the run's end, however it ends. What it returned is had by awaiting this.
    ///
    /// # Errors
    /// `RunFailed`, `RunCrashed`, `RunCancelled` when it ended so; why it could not be recorded.
    pub async fn wait(&self) -> Result<(), Error> {
        self.progress.see();
        self.progress.ended().await
    }

    /// Stops the run where this is dropped before its end.
    pub(crate) fn or_stop(self) -> OrStop<T> {
        OrStop { guard: Some(self.abandon.clone().drop_guard()), future: self }
    }
}

impl<T> Future for RunFuture<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.progress.see();
        let ended = ready!(Pin::new(&mut this.result).poll(cx));
        Poll::Ready(ended.unwrap_or_else(|_| Err(given_up(this.name()))))
    }
}

/// A run that its caller waits for: it is stopped when the caller goes on without it.
pub(crate) struct OrStop<T> {
    future: RunFuture<T>,
    guard: Option<DropGuard>,
}

impl<T> Future for OrStop<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let ended = ready!(Pin::new(&mut this.future).poll(cx));
        if let Some(guard) = this.guard.take() {
            guard.disarm();
        }
        Poll::Ready(ended)
    }
}

/// A run that another one waits for; see [`Call::wait_for`].
#[derive(Clone, Debug)]
pub struct Upstream(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Submitted(Arc<Progress>),
    Started(RunHandle),
}

/// Which one did not complete, and why.
pub(crate) struct UpstreamFailed {
    /// `None`: it was never created.
    pub(crate) run_id: Option<String>,
    pub(crate) error: Error,
}

impl Upstream {
    pub(crate) async fn completed(&self) -> Result<(), UpstreamFailed> {
        match &self.0 {
            Kind::Submitted(progress) => {
                let ended = progress.ended().await;
                ended.map_err(|error| UpstreamFailed { run_id: progress.run_id(), error })
            }
            Kind::Started(handle) => {
                let completed = handle.completed().await.map(drop);
                completed.map_err(|error| UpstreamFailed { run_id: Some(handle.id().to_owned()), error })
            }
        }
    }
}

impl<T> From<&RunFuture<T>> for Upstream {
    fn from(future: &RunFuture<T>) -> Self {
        // Who comes after it tells of its failure.
        future.progress.see();
        Self(Kind::Submitted(Arc::clone(&future.progress)))
    }
}

impl<T> From<&RunHandle<T>> for Upstream {
    fn from(handle: &RunHandle<T>) -> Self {
        Self(Kind::Started(handle.typed()))
    }
}

/// Submits each of these calls: `submit_all((0..10).map(double))`.
pub fn submit_all<F: Function>(calls: impl IntoIterator<Item = Call<F>>) -> Vec<RunFuture<F::Output>> {
    calls.into_iter().map(Call::submit).collect()
}

/// Waits until all of them have ended, however they do; they can be awaited for their results after that.
pub async fn wait<T>(futures: &[RunFuture<T>]) {
    for future in futures {
        future.progress.see();
    }
    for future in futures {
        let _ = future.progress.ended().await; // how it ended is told by its result
    }
}

/// The results of all of them, in order, once all have ended, each with its own outcome. For the first error instead,
/// collect it: `join_all(futures).await.into_iter().collect::<Result<Vec<_>, _>>()`.
pub async fn join_all<T>(futures: impl IntoIterator<Item = RunFuture<T>>) -> Vec<Result<T, Error>> {
    futures::future::join_all(futures).await
}

/// Their results as they end, each with its place in `futures`.
pub fn as_completed<T: Send + 'static>(
    futures: impl IntoIterator<Item = RunFuture<T>>,
) -> impl Stream<Item = (usize, Result<T, Error>)> + Send + Unpin {
    let numbered =
        futures.into_iter().enumerate().map(|(place, future)| async move { (place, future.await) });
    numbered.map(Box::pin).collect::<FuturesUnordered<_>>().fuse()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Client, task};

    #[task]
    async fn nothing() {}

    #[test]
    fn whoever_waits_hears_that_the_runtime_of_a_run_is_gone() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::connect("http://127.0.0.1:1", "").unwrap();
        let executing = runtime();
        let future = {
            let _inside = executing.enter();
            nothing().with_client(&client).submit()
        };
        drop(executing);
        let wait = async { tokio::time::timeout(Duration::from_secs(30), future.wait()).await };
        let error = runtime().block_on(wait).expect("it does not wait for ever").unwrap_err();
        assert!(error.message().contains("the Tokio runtime that executed it has ended"), "{error}");
    }
}
