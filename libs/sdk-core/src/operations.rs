//! What people ask of runs that exist: of one, or of many at once.

use std::time::Duration;

use tonic::{Response, Status, transport::Channel};

use crate::{
    Client, Error,
    connection::TRY_TIMEOUT,
    error::answered,
    new_run_id,
    proto::{
        self, bulk_operation_service_client::BulkOperationServiceClient as Bulk,
        run_service_client::RunServiceClient as Runs,
    },
};

/// How long the server may look through a tree or a namespace, and some.
const LOOK_TIMEOUT: Duration = Duration::from_secs(150);

impl Client {
    /// Has a queued run wait until it is resumed; `timeout` is how long it may (`None`: for ever).
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where its state does not allow it.
    pub async fn pause_run(
        &self,
        run_id: &str,
        timeout: Option<prost_types::Duration>,
        reason: &str,
    ) -> Result<proto::Run, Error> {
        let request = proto::PauseRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            timeout,
            reason: reason.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Runs::new(channel).pause_run(request).await;
        answered(self.ask(request, send).await?.run, "run")
    }

    /// Has a paused run go on; its code is given `input`. `pause_key` is the pause that is meant; empty: whichever it is
    /// in.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `InvalidArgument` where `input` is too large; `FailedPrecondition` where the run's state
    /// does not allow it.
    pub async fn resume_run(
        &self,
        run_id: &str,
        pause_key: &str,
        mut input: Option<proto::Payload>,
    ) -> Result<proto::Run, Error> {
        self.options().codecs.encode(input.as_mut())?;
        self.transfer().offload(input.as_mut()).await?;
        let request = proto::ResumeRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            pause_key: pause_key.to_owned(),
            input,
            request_id: new_run_id(),
        };
        let send = async |channel, request| Runs::new(channel).resume_run(request).await;
        answered(self.ask(request, send).await?.run, "run")
    }

    /// What the pauses of a run ask for and what they were given, by key; large values stay references, see
    /// [`Client::resolve`].
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn run_inputs(&self, run_id: &str) -> Result<Vec<proto::RunInput>, Error> {
        let mut inputs = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListRunInputsRequest {
                namespace: self.options().namespace.clone(),
                run_id: run_id.to_owned(),
                page_token,
                ..Default::default()
            };
            let send = async |channel, request| Runs::new(channel).list_run_inputs(request).await;
            let mut page = self.ask(request, send).await?;
            for input in &mut page.inputs {
                self.options().codecs.decode(input.input.as_mut())?;
            }
            inputs.extend(page.inputs);
            if page.next_page_token.is_empty() {
                return Ok(inputs);
            }
            page_token = page.next_page_token;
        }
    }

    /// Has a run that has ended tried again.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where its state does not allow it.
    pub async fn retry_run(&self, run_id: &str, reason: &str) -> Result<proto::Run, Error> {
        let request = proto::RetryRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Runs::new(channel).retry_run(request).await;
        answered(self.ask(request, send).await?.run, "run")
    }

    /// Deletes a run that has ended.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; `FailedPrecondition` where it has not ended.
    pub async fn delete_run(&self, run_id: &str) -> Result<(), Error> {
        let request = proto::DeleteRunRequest {
            namespace: self.options().namespace.clone(),
            run_id: run_id.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Runs::new(channel).delete_run(request).await;
        self.ask_within(LOOK_TIMEOUT, request, send).await.map(drop)
    }

    /// Starts something that is done to many runs, or only counts them; the namespace and, where there is none, the
    /// `request_id` are set here.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `Unavailable`; `FailedPrecondition` where it is about another number of runs than
    /// `expected_count`.
    pub async fn start_bulk_operation(
        &self,
        mut request: proto::StartBulkOperationRequest,
    ) -> Result<proto::BulkOperation, Error> {
        request.namespace.clone_from(&self.options().namespace);
        if request.request_id.is_empty() {
            request.request_id = new_run_id();
        }
        let send = async |channel, request| Bulk::new(channel).start_bulk_operation(request).await;
        answered(self.ask_within(LOOK_TIMEOUT, request, send).await?.operation, "bulk operation")
    }

    /// How far a bulk operation has come.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn bulk_operation(&self, operation_id: &str) -> Result<proto::BulkOperation, Error> {
        let request = proto::GetBulkOperationRequest {
            namespace: self.options().namespace.clone(),
            operation_id: operation_id.to_owned(),
        };
        let send = async |channel, request| Bulk::new(channel).get_bulk_operation(request).await;
        answered(self.ask(request, send).await?.operation, "bulk operation")
    }

    /// Up to `limit` bulk operations, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn bulk_operations(&self, limit: usize) -> Result<Vec<proto::BulkOperation>, Error> {
        let mut operations: Vec<proto::BulkOperation> = Vec::new();
        let mut page_token = String::new();
        loop {
            let n_missing = limit - operations.len();
            let page_size = i32::try_from(n_missing).unwrap_or(i32::MAX);
            let page = self.bulk_operation_page(page_size, page_token).await?;
            operations.extend(page.operations);
            operations.truncate(limit);
            if page.next_page_token.is_empty() || operations.len() == limit {
                return Ok(operations);
            }
            page_token = page.next_page_token;
        }
    }

    /// One page of bulk operations, newest first.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn bulk_operation_page(
        &self,
        page_size: i32,
        page_token: String,
    ) -> Result<proto::ListBulkOperationsResponse, Error> {
        let namespace = self.options().namespace.clone();
        let request = proto::ListBulkOperationsRequest { namespace, page_size, page_token };
        let send = async |channel, request| Bulk::new(channel).list_bulk_operations(request).await;
        self.ask(request, send).await
    }

    /// Has a bulk operation go no further; what was done stays. One that has ended is left as it is.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn cancel_bulk_operation(&self, operation_id: &str) -> Result<proto::BulkOperation, Error> {
        let request = proto::CancelBulkOperationRequest {
            namespace: self.options().namespace.clone(),
            operation_id: operation_id.to_owned(),
            request_id: String::new(),
        };
        let send = async |channel, request| Bulk::new(channel).cancel_bulk_operation(request).await;
        answered(self.ask(request, send).await?.operation, "bulk operation")
    }

    /// Makes a call that is safe to repeat.
    pub(crate) async fn ask<Q, A, F>(&self, request: Q, send: F) -> Result<A, Error>
    where
        Q: Clone,
        F: AsyncFn(Channel, tonic::Request<Q>) -> Result<Response<A>, Status>,
    {
        self.ask_within(TRY_TIMEOUT, request, send).await
    }

    /// As [`Client::ask`], with another bound for one try.
    async fn ask_within<Q, A, F>(&self, try_timeout: Duration, request: Q, send: F) -> Result<A, Error>
    where
        Q: Clone,
        F: AsyncFn(Channel, tonic::Request<Q>) -> Result<Response<A>, Status>,
    {
        let connection = self.connection();
        let make = |channel| send(channel, connection.request(request.clone(), None));
        connection.call_within(try_timeout, make).await
    }
}
