//! Artifacts: what runs have to show to people, who have no codec: none is applied.

use prost::Message as _;
use tonic::transport::Channel;

use crate::{
    Client, Error,
    connection::MAX_READ_SIZE,
    error::answered,
    new_run_id,
    proto::{self, artifact_service_client::ArtifactServiceClient, get_artifact_request},
};

/// Artifacts of one message.
const MAX_BATCH: usize = 1_000;
/// Bytes of one message of many artifacts: within the bound of the protocol, also in the answer.
const MAX_BATCH_SIZE: usize = 4 << 20;
/// Artifacts of one page: their descriptions and labels fit into a message, however long they are.
const PAGE_SIZE: i32 = 200;

/// What an artifact is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactName {
    /// Its id.
    Id(String),
    /// The newest version of this key.
    Latest(String),
    /// This version of this key.
    Version(String, u64),
}

fn artifacts(channel: Channel) -> ArtifactServiceClient<Channel> {
    ArtifactServiceClient::new(channel).max_decoding_message_size(MAX_READ_SIZE)
}

impl Client {
    /// Keeps an artifact, and gives it without its data. A large value is uploaded before.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `NotFound` where there is no such run; `FailedPrecondition` where the run was
    /// taken from this process, or has as many artifacts as it may.
    pub async fn create_artifact(&self, mut artifact: proto::NewArtifact) -> Result<proto::Artifact, Error> {
        self.transfer().offload(artifact.data.as_mut()).await?;
        let request = proto::CreateArtifactRequest {
            namespace: self.options().namespace.clone(),
            artifact: Some(artifact),
            request_id: new_run_id(),
        };
        let send = async |channel, request| artifacts(channel).create_artifact(request).await;
        answered(self.ask(request, send).await?.artifact, "artifact")
    }

    /// Keeps many artifacts in few requests; each has its own outcome, in order.
    pub async fn create_artifacts(
        &self,
        new: Vec<proto::NewArtifact>,
    ) -> Vec<Result<proto::Artifact, Error>> {
        let mut outcomes = Vec::with_capacity(new.len());
        let mut batch = Vec::new();
        let mut size = 0;
        for mut artifact in new {
            // By its id a repeat is known.
            if artifact.id.is_empty() {
                artifact.id = new_run_id();
            }
            let uploaded = self.transfer().offload(artifact.data.as_mut()).await;
            let next_size = artifact.encoded_len();
            if uploaded.is_err() || batch.len() == MAX_BATCH || size + next_size > MAX_BATCH_SIZE {
                outcomes.extend(self.create_batch(std::mem::take(&mut batch)).await);
                size = 0;
            }
            match uploaded {
                Ok(()) => {
                    size += next_size;
                    batch.push(artifact);
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        outcomes.extend(self.create_batch(batch).await);
        outcomes
    }

    async fn create_batch(&self, batch: Vec<proto::NewArtifact>) -> Vec<Result<proto::Artifact, Error>> {
        let n_artifacts = batch.len();
        if n_artifacts == 0 {
            return Vec::new();
        }
        let request =
            proto::CreateArtifactsRequest { namespace: self.options().namespace.clone(), artifacts: batch };
        let send = async |channel, request| artifacts(channel).create_artifacts(request).await;
        match self.ask(request, send).await {
            Ok(answer) => answer.outcomes.into_iter().map(outcome).collect(),
            Err(error) => (0..n_artifacts).map(|_| Err(error.clone())).collect(),
        }
    }

    /// An artifact with its data, also where that has to be fetched from object storage.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn artifact(&self, name: ArtifactName) -> Result<proto::Artifact, Error> {
        let (artifact, version) = match name {
            ArtifactName::Id(id) => (get_artifact_request::Artifact::Id(id), 0),
            ArtifactName::Latest(key) => (get_artifact_request::Artifact::Key(key), 0),
            ArtifactName::Version(key, version) => (get_artifact_request::Artifact::Key(key), version),
        };
        let request = proto::GetArtifactRequest {
            namespace: self.options().namespace.clone(),
            artifact: Some(artifact),
            version,
        };
        let send = async |channel, request| artifacts(channel).get_artifact(request).await;
        let mut artifact = answered(self.ask(request, send).await?.artifact, "artifact")?;
        self.transfer().resolve(artifact.data.as_mut()).await?;
        Ok(artifact)
    }

    /// Up to `limit` artifacts without their data; `request` says which, and in which order. Namespace and pages are set
    /// here.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn artifacts(
        &self,
        mut request: proto::ListArtifactsRequest,
        limit: usize,
    ) -> Result<Vec<proto::Artifact>, Error> {
        let mut found: Vec<proto::Artifact> = Vec::new();
        while found.len() < limit {
            request.page_size = i32::try_from(limit - found.len()).unwrap_or(i32::MAX).min(PAGE_SIZE);
            let page = self.artifact_page(request.clone()).await?;
            found.extend(page.artifacts);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        Ok(found)
    }

    /// One page of artifacts without their data. The namespace is set here.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn artifact_page(
        &self,
        mut request: proto::ListArtifactsRequest,
    ) -> Result<proto::ListArtifactsResponse, Error> {
        request.namespace.clone_from(&self.options().namespace);
        let send = async |channel, request| artifacts(channel).list_artifacts(request).await;
        self.ask(request, send).await
    }

    /// Changes an artifact; `request` says what. Gives it without its data. Namespace and `request_id` are set here.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`; `FailedPrecondition` where the run was taken from this process.
    pub async fn update_artifact(
        &self,
        mut request: proto::UpdateArtifactRequest,
    ) -> Result<proto::Artifact, Error> {
        self.transfer().offload(request.data.as_mut()).await?;
        request.namespace.clone_from(&self.options().namespace);
        request.request_id = new_run_id();
        let send = async |channel, request| artifacts(channel).update_artifact(request).await;
        answered(self.ask(request, send).await?.artifact, "artifact")
    }

    /// Takes an artifact away; with `allow_missing` also where there is none.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn delete_artifact(&self, id: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteArtifactRequest {
            namespace: self.options().namespace.clone(),
            id: id.to_owned(),
            allow_missing,
            request_id: String::new(),
        };
        let send = async |channel, request| artifacts(channel).delete_artifact(request).await;
        self.ask(request, send).await.map(drop)
    }
}

fn outcome(outcome: proto::CreateArtifactOutcome) -> Result<proto::Artifact, Error> {
    if outcome.error_reason.is_empty() {
        return answered(outcome.artifact, "artifact");
    }
    Err(Error::of_item(&outcome.error_reason, &outcome.error_message))
}
