//! Deployments: flows that can be started by name.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, deployment_service_client::DeploymentServiceClient as Deployments},
};

impl Client {
    /// Makes a deployment, or, with `update_if_exists`, gives one that is there this specification. Gives it as it is
    /// then, and whether it is new.
    ///
    /// # Errors
    /// `InvalidArgument`, `AlreadyExists`, `Unavailable`.
    pub async fn create_deployment(
        &self,
        name: &str,
        spec: proto::DeploymentSpec,
        update_if_exists: bool,
    ) -> Result<(proto::Deployment, bool), Error> {
        let (name, spec) = (name.to_owned(), Some(spec));
        let request = proto::CreateDeploymentRequest { name, spec, update_if_exists, ..Default::default() };
        let response = self.deploy(request).await?;
        Ok((answered(response.deployment, "deployment")?, response.created))
    }

    /// The same, with what keeps its runs from starting now. The namespace is the client's, and so is the id of the request.
    ///
    /// # Errors
    /// `InvalidArgument`, `AlreadyExists`, `NotFound` (its work pool), `FailedPrecondition` (it was changed since the `etag`
    /// was read), `Unavailable`.
    pub async fn deploy(
        &self,
        request: proto::CreateDeploymentRequest,
    ) -> Result<proto::CreateDeploymentResponse, Error> {
        let (namespace, request_id) = (self.options().namespace.clone(), new_run_id());
        let request = proto::CreateDeploymentRequest { namespace, request_id, ..request };
        self.ask(request, async |channel, request| Deployments::new(channel).create_deployment(request).await)
            .await
    }

    /// One deployment.
    ///
    /// # Errors
    /// `NotFound`, whose message has names like it; `InvalidArgument`, `Unavailable`.
    pub async fn get_deployment(&self, name: &str) -> Result<proto::Deployment, Error> {
        let request = proto::GetDeploymentRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
        };
        let send = async |channel, request| Deployments::new(channel).get_deployment(request).await;
        answered(self.ask(request, send).await?.deployment, "deployment")
    }

    /// All deployments that a filter selects, by name; empty: all.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong filter, `Unavailable`.
    pub async fn deployments(&self, filter: &str) -> Result<Vec<proto::Deployment>, Error> {
        let (mut deployments, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListDeploymentsRequest {
                namespace: self.options().namespace.clone(),
                filter: filter.to_owned(),
                page_size: 100,
                page_token,
            };
            let send = async |channel, request| Deployments::new(channel).list_deployments(request).await;
            let page = self.ask(request, send).await?;
            deployments.extend(page.deployments);
            if page.next_page_token.is_empty() {
                return Ok(deployments);
            }
            page_token = page.next_page_token;
        }
    }

    /// Changes the fields of a deployment's specification that `fields` names; with an `etag`, only where it is still as
    /// that was read.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `FailedPrecondition` (it was changed meanwhile), `Unavailable`.
    pub async fn update_deployment(
        &self,
        name: &str,
        spec: proto::DeploymentSpec,
        fields: &[&str],
        etag: &str,
    ) -> Result<proto::Deployment, Error> {
        let paths = fields.iter().map(|&field| field.to_owned()).collect();
        let request = proto::UpdateDeploymentRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            spec: Some(spec),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: etag.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Deployments::new(channel).update_deployment(request).await;
        answered(self.ask(request, send).await?.deployment, "deployment")
    }

    /// Takes a deployment away; its runs stay. With `allow_missing` also where it is not there.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_deployment(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteDeploymentRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            etag: String::new(),
            allow_missing,
            request_id: new_run_id(),
        };
        self.ask(request, async |channel, request| {
            Deployments::new(channel).delete_deployment(request).await
        })
        .await?;
        Ok(())
    }

    /// The versions of a deployment that are kept, the newest first.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn deployment_versions(&self, name: &str) -> Result<Vec<proto::DeploymentVersion>, Error> {
        let (mut versions, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListDeploymentVersionsRequest {
                namespace: self.options().namespace.clone(),
                name: name.to_owned(),
                page_size: 0,
                page_token,
            };
            let send =
                async |channel, request| Deployments::new(channel).list_deployment_versions(request).await;
            let page = self.ask(request, send).await?;
            versions.extend(page.versions);
            if page.next_page_token.is_empty() {
                return Ok(versions);
            }
            page_token = page.next_page_token;
        }
    }

    /// Gives a deployment what one of its versions said, as a new version.
    ///
    /// # Errors
    /// `NotFound`, also where that version is not kept; `Unavailable`.
    pub async fn rollback_deployment(&self, name: &str, version: u64) -> Result<proto::Deployment, Error> {
        let request = proto::RollbackDeploymentRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            version,
            etag: String::new(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Deployments::new(channel).rollback_deployment(request).await;
        answered(self.ask(request, send).await?.deployment, "deployment")
    }
}
