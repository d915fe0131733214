//! Automations: what the server itself does when something happens to a run.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, automation_service_client::AutomationServiceClient as Automations},
};

/// Automations of one page: as many as a namespace may have.
const PAGE_SIZE: i32 = 100;
/// Firings of one page at most.
const MAX_FIRINGS: i32 = 1_000;

impl Client {
    /// Makes or changes an automation; `request` says what it is to be. True: it was made. Namespace and `request_id` are
    /// set here.
    ///
    /// # Errors
    /// `AlreadyExists` where it is there and is not to be replaced; `FailedPrecondition` where it was changed meanwhile, or
    /// there are as many as there may be; `NotFound` where `etag` is of one that is gone; `InvalidArgument`, `Unavailable`.
    pub async fn set_automation(
        &self,
        mut request: proto::SetAutomationRequest,
    ) -> Result<(proto::Automation, bool), Error> {
        request.namespace.clone_from(&self.options().namespace);
        request.request_id = new_run_id();
        let send = async |channel, request| Automations::new(channel).set_automation(request).await;
        let answer = self.ask(request, send).await?;
        Ok((answered(answer.automation, "automation")?, answer.created))
    }

    /// An automation, without its secrets.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn automation(&self, name: &str) -> Result<proto::Automation, Error> {
        let request = proto::GetAutomationRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
        };
        let send = async |channel, request| Automations::new(channel).get_automation(request).await;
        answered(self.ask(request, send).await?.automation, "automation")
    }

    /// All automations by name, without their secrets.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn automations(&self) -> Result<Vec<proto::Automation>, Error> {
        let (mut automations, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListAutomationsRequest {
                namespace: self.options().namespace.clone(),
                page_size: PAGE_SIZE,
                page_token,
            };
            let send = async |channel, request| Automations::new(channel).list_automations(request).await;
            let page = self.ask(request, send).await?;
            automations.extend(page.automations);
            if page.next_page_token.is_empty() {
                return Ok(automations);
            }
            page_token = page.next_page_token;
        }
    }

    /// Takes an automation away, and its firings that are still to be carried out; with `allow_missing` also where there is
    /// none.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn delete_automation(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteAutomationRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            allow_missing,
            etag: String::new(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Automations::new(channel).delete_automation(request).await;
        self.ask(request, send).await.map(drop)
    }

    /// Has nothing set an automation off any more, and its firings wait.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn pause_automation(&self, name: &str) -> Result<proto::Automation, Error> {
        let request = proto::PauseAutomationRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Automations::new(channel).pause_automation(request).await;
        answered(self.ask(request, send).await?.automation, "automation")
    }

    /// Has an automation set off again by what happens from now on, and its firings that wait carried out.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn resume_automation(&self, name: &str) -> Result<proto::Automation, Error> {
        let request = proto::ResumeAutomationRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Automations::new(channel).resume_automation(request).await;
        answered(self.ask(request, send).await?.automation, "automation")
    }

    /// Up to `limit` firings of an automation that are still to be carried out or were given up, by run and event.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn firings(&self, name: &str, limit: usize) -> Result<Vec<proto::Firing>, Error> {
        let (mut firings, mut page_token): (Vec<proto::Firing>, _) = (Vec::new(), String::new());
        while firings.len() < limit {
            let page_size = i32::try_from(limit - firings.len()).unwrap_or(MAX_FIRINGS).min(MAX_FIRINGS);
            let page = self.firing_page(name, page_size, page_token).await?;
            firings.extend(page.firings);
            if page.next_page_token.is_empty() {
                break;
            }
            page_token = page.next_page_token;
        }
        Ok(firings)
    }

    /// One page of them.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn firing_page(
        &self,
        name: &str,
        page_size: i32,
        page_token: String,
    ) -> Result<proto::ListFiringsResponse, Error> {
        let request = proto::ListFiringsRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            page_size,
            page_token,
        };
        let send = async |channel, request| Automations::new(channel).list_firings(request).await;
        self.ask(request, send).await
    }
}
