//! Queues: their settings, and what goes on in them.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, queue_service_client::QueueServiceClient as Queues},
};

impl Client {
    /// Sets how many runs of a queue may be held at once; `None`: as many as there are slots of workers.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn put_queue(&self, name: &str, max_slots: Option<u32>) -> Result<proto::Queue, Error> {
        let request = proto::PutQueueRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            max_slots,
            request_id: new_run_id(),
        };
        let send = async |channel, request| Queues::new(channel).put_queue(request).await;
        answered(self.ask(request, send).await?.queue, "queue")
    }

    /// A queue, how much waits in it and is held, and who serves it.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn get_queue(&self, name: &str) -> Result<proto::GetQueueResponse, Error> {
        let request =
            proto::GetQueueRequest { namespace: self.options().namespace.clone(), name: name.to_owned() };
        self.ask(request, async |channel, request| Queues::new(channel).get_queue(request).await).await
    }

    /// All queues that have settings or are in use, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn queues(&self) -> Result<Vec<proto::Queue>, Error> {
        self.find_queues("").await
    }

    /// Those of them that a filter selects: `ListQueuesRequest.filter`. Empty: all.
    ///
    /// # Errors
    /// `InvalidArgument`, which says what is wrong with the filter; `Unavailable`.
    pub async fn find_queues(&self, filter: &str) -> Result<Vec<proto::Queue>, Error> {
        let (mut queues, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListQueuesRequest {
                namespace: self.options().namespace.clone(),
                page_size: 1_000,
                page_token,
                filter: filter.to_owned(),
            };
            let send = async |channel, request| Queues::new(channel).list_queues(request).await;
            let page = self.ask(request, send).await?;
            queues.extend(page.queues);
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            page_token = page.next_page_token;
        }
    }

    /// Takes the settings of a queue away, its pause among them; with `allow_missing` also where it has none.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_queue(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteQueueRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            allow_missing,
            request_id: new_run_id(),
        };
        self.ask(request, async |channel, request| Queues::new(channel).delete_queue(request).await).await?;
        Ok(())
    }

    /// Has no run of a queue start any more; what is held goes on.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn pause_queue(&self, name: &str, reason: &str) -> Result<proto::Queue, Error> {
        let request = proto::PauseQueueRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            reason: reason.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Queues::new(channel).pause_queue(request).await;
        answered(self.ask(request, send).await?.queue, "queue")
    }

    /// Has the runs of a queue start again.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn resume_queue(&self, name: &str) -> Result<proto::Queue, Error> {
        let request = proto::ResumeQueueRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Queues::new(channel).resume_queue(request).await;
        answered(self.ask(request, send).await?.queue, "queue")
    }
}
