//! All that can be done to runs, queues and limits that exist: what the command `tidegate` does.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{ConcurrencySettings, Error, ErrorKind, proto};

use crate::{Client, RunHandle, json};

/// Runs of one page of [`Client::runs`].
const PAGE_SIZE: i32 = 500;

/// What comes one after the other, from a server that may go away and come back meanwhile.
pub type Feed<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// Runs, by what they are.
impl Client {
    /// The runs that match `filter`, newest first, page by page as they are taken. The language is told at
    /// [`proto::ListRunsRequest`]: `state = FAILED AND created_at > -1h`.
    ///
    /// The feed ends with `InvalidArgument` for a wrong filter, or `Unavailable`.
    pub fn runs(&self, filter: &str) -> Feed<proto::Run> {
        let request = proto::ListRunsRequest {
            filter: filter.to_owned(),
            page_size: PAGE_SIZE,
            ..proto::ListRunsRequest::default()
        };
        let client = self.clone();
        let pages = stream::try_unfold(Some(request), move |request| {
            let client = client.clone();
            async move {
                let Some(request) = request else { return Ok::<_, Error>(None) };
                let page = client.core().list_runs(request.clone()).await?;
                let is_last = page.next_page_token.is_empty();
                let next = (!is_last)
                    .then_some(proto::ListRunsRequest { page_token: page.next_page_token, ..request });
                Ok(Some((stream::iter(page.runs.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(pages.try_flatten())
    }

    /// One page of runs, in any order.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong filter or order, `Unavailable`.
    pub async fn list_runs(&self, request: proto::ListRunsRequest) -> Result<proto::ListRunsResponse, Error> {
        self.core().list_runs(request).await
    }

    /// How many runs match `filter`.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong filter, `Unavailable`.
    pub async fn count_runs(&self, filter: &str) -> Result<proto::CountRunsResponse, Error> {
        self.core().count_runs(filter).await
    }

    /// The run that an idempotency key has made.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn find_run(&self, request: proto::FindRunRequest) -> Result<RunHandle, Error> {
        Ok(self.handle(self.core().peek_found_run(request).await?.id))
    }

    /// Events of runs as they happen.
    pub fn watch(&self, request: proto::WatchRunsRequest) -> Feed<proto::WatchRunsResponse> {
        Box::pin(self.core().watch(request))
    }

    /// Starts something that is done to many runs, or only counts them (`dry_run`).
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `Unavailable`; `FailedPrecondition` where it is about another number of runs than
    /// `expected_count`.
    pub async fn start_bulk_operation(
        &self,
        request: proto::StartBulkOperationRequest,
    ) -> Result<proto::BulkOperation, Error> {
        self.core().start_bulk_operation(request).await
    }

    /// How far a bulk operation has come.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn bulk_operation(&self, operation_id: &str) -> Result<proto::BulkOperation, Error> {
        self.core().bulk_operation(operation_id).await
    }

    /// Up to `limit` bulk operations, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn bulk_operations(&self, limit: usize) -> Result<Vec<proto::BulkOperation>, Error> {
        self.core().bulk_operations(limit).await
    }

    /// Has a bulk operation go no further; what was done stays.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn cancel_bulk_operation(&self, operation_id: &str) -> Result<proto::BulkOperation, Error> {
        self.core().cancel_bulk_operation(operation_id).await
    }
}

/// Queues.
impl Client {
    /// Sets how many runs of a queue may be held at once; `None`: as many as there are slots of workers.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn put_queue(&self, name: &str, max_slots: Option<u32>) -> Result<proto::Queue, Error> {
        self.core().put_queue(name, max_slots).await
    }

    /// A queue, how much waits in it and is held, and who serves it.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn queue(&self, name: &str) -> Result<proto::GetQueueResponse, Error> {
        self.core().get_queue(name).await
    }

    /// All queues that have settings or are in use, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn queues(&self) -> Result<Vec<proto::Queue>, Error> {
        self.core().queues().await
    }

    /// Takes the settings of a queue away; with `allow_missing` also where it has none.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_queue(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        self.core().delete_queue(name, allow_missing).await
    }

    /// Has no run of a queue start any more; what is held goes on.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn pause_queue(&self, name: &str, reason: &str) -> Result<proto::Queue, Error> {
        self.core().pause_queue(name, reason).await
    }

    /// Has the runs of a queue start again.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn resume_queue(&self, name: &str) -> Result<proto::Queue, Error> {
        self.core().resume_queue(name).await
    }
}

/// Concurrency limits.
impl Client {
    /// Defines a limit, or changes what it asks for: a number of slots, or [`ConcurrencySettings`].
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn put_concurrency_limit(
        &self,
        name: &str,
        settings: impl Into<ConcurrencySettings>,
    ) -> Result<proto::ConcurrencyLimit, Error> {
        self.core().put_concurrency_limit(name, settings).await
    }

    /// A limit and who has its slots.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn concurrency_limit(&self, name: &str) -> Result<proto::GetConcurrencyLimitResponse, Error> {
        self.core().get_concurrency_limit(name).await
    }

    /// All limits, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn concurrency_limits(&self) -> Result<Vec<proto::ConcurrencyLimit>, Error> {
        self.core().concurrency_limits().await
    }

    /// Takes a limit away, so that it does not bind; with `allow_missing` also where there is none.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_concurrency_limit(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        self.core().delete_concurrency_limit(name, allow_missing).await
    }
}

/// Logs, values, and the server.
impl Client {
    /// A page of log lines, of a run or of a tree.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn query_logs(
        &self,
        request: proto::QueryLogsRequest,
    ) -> Result<proto::QueryLogsResponse, Error> {
        self.core().query_logs(request).await
    }

    /// Log lines as they come, of a run or of a tree.
    pub fn follow_logs(&self, request: proto::TailLogsRequest) -> Feed<proto::TailLogsResponse> {
        Box::pin(self.core().tail_logs(request))
    }

    /// The value in a payload of a run, an event or a pause; a large one is fetched from object storage.
    ///
    /// # Errors
    /// `Payload` when it is no `T`; `NotFound`, `Unavailable`, or `CHECKSUM_MISMATCH` where it has changed there.
    pub async fn value<T: DeserializeOwned>(&self, payload: &proto::Payload) -> Result<T, Error> {
        let mut payload = payload.clone();
        self.core().resolve(&mut payload).await?;
        json::from_payload(Some(&payload))
    }

    /// What the server is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn version(&self) -> Result<proto::GetVersionResponse, Error> {
        self.core().version().await
    }

    /// The bounds that requests are held to.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn limits(&self) -> Result<proto::GetLimitsResponse, Error> {
        self.core().limits().await
    }
}

/// What can be asked of a run, and done to it.
impl<T> RunHandle<T> {
    /// Why the run is where it is.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn explain(&self) -> Result<proto::Explanation, Error> {
        self.client().core().explain_run(self.id()).await
    }

    /// All that has happened to the run, oldest first.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn history(&self) -> Result<Vec<proto::RunEvent>, Error> {
        self.client().core().history(self.id()).await
    }

    /// The run's events: those so far, and then as they happen, until it has ended.
    pub fn watch(&self) -> Feed<proto::RunEvent> {
        let request = proto::WatchRunsRequest {
            run_ids: vec![self.id().to_owned()],
            from_start: true,
            until_ended: true,
            ..proto::WatchRunsRequest::default()
        };
        let events = self.client().watch(request);
        Box::pin(events.map_ok(|told| stream::iter(told.events.into_iter().map(Ok))).try_flatten())
    }

    /// Has a queued run wait until it is resumed; `timeout` is how long it may (`None`: for ever).
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where its state does not allow it.
    pub async fn pause(&self, timeout: Option<Duration>, reason: &str) -> Result<proto::Run, Error> {
        let timeout = timeout.map(prost_types::Duration::try_from).transpose().map_err(|error| {
            let message = format!("timeout {timeout:?} is too long: {error}");
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        self.client().core().pause_run(self.id(), timeout, reason).await
    }

    /// Has a paused run go on; its code is given `input`. `pause_key` is the pause that is meant; empty: whichever it
    /// is in.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `Payload`, `InvalidArgument` for an input that cannot travel; `FailedPrecondition` where
    /// the run's state does not allow it.
    pub async fn resume<I: Serialize + ?Sized>(
        &self,
        pause_key: &str,
        input: &I,
    ) -> Result<proto::Run, Error> {
        let input = json::to_payload(input)?;
        self.client().core().resume_run(self.id(), pause_key, Some(input)).await
    }

    /// What the pauses of the run ask for and what they were given, by key; [`Client::value`] reads it.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn inputs(&self) -> Result<Vec<proto::RunInput>, Error> {
        self.client().core().run_inputs(self.id()).await
    }

    /// Has a run that has ended tried again.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where its state does not allow it.
    pub async fn retry(&self, reason: &str) -> Result<proto::Run, Error> {
        self.client().core().retry_run(self.id(), reason).await
    }

    /// Deletes a run that has ended.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where it has not ended.
    pub async fn delete(&self) -> Result<(), Error> {
        self.client().core().delete_run(self.id()).await
    }

    /// The run's log lines: those so far, and then as they come; with `with_children` of the whole tree below it,
    /// where it is the root of one. The feed does not end by itself.
    pub fn follow_logs(&self, with_children: bool) -> Feed<proto::LogEntry> {
        let id = self.id().to_owned();
        let (run_id, root_run_id) = if with_children { (String::new(), id) } else { (id, String::new()) };
        let request = proto::TailLogsRequest { run_id, root_run_id, ..proto::TailLogsRequest::default() };
        let lines = self.client().follow_logs(request);
        Box::pin(lines.map_ok(|told| stream::iter(told.entries.into_iter().map(Ok))).try_flatten())
    }

    /// The runs that this one has started.
    pub fn children(&self) -> Feed<RunHandle> {
        let client = self.client().clone();
        let runs = self.client().runs(&format!("parent_run_id = {}", self.id()));
        Box::pin(runs.map(move |run| run.map(|run| client.handle(run.id))))
    }

    /// As [`RunHandle::wait`], where the end of the run is all that matters.
    ///
    /// # Errors
    /// `RunFailed`, `RunCrashed` or `RunCancelled` when it ended so; `NotFound`, `Unavailable`.
    pub async fn completed(&self) -> Result<Arc<proto::Run>, Error> {
        let run = self.wait().await?;
        Error::of_ended_run(&run).map_or(Ok(run), Err)
    }
}
