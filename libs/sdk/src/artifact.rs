use serde::Serialize;
use serde_json::json;
use tidegate_sdk_core::{
    self as core, Error, Progress,
    proto::{self, ArtifactType},
};

use crate::{Client, Context, json::to_payload};

/// Something to show to people: a text, a table, a link, an image, or how far something is. Kept by
/// [`Context::create_artifact`] or [`Client::create_artifact`].
#[derive(Debug)]
pub struct Artifact {
    new: Result<proto::NewArtifact, Error>,
}

impl Artifact {
    /// A text in Markdown.
    pub fn markdown(text: &str) -> Self {
        Self::of(ArtifactType::Markdown, text)
    }

    /// A table: a sequence of maps or structs, of sequences, or a map of columns.
    pub fn table(rows: &(impl Serialize + ?Sized)) -> Self {
        Self::of(ArtifactType::Table, rows)
    }

    /// A link, shown by `text`; empty: by itself.
    pub fn link(link: &str, text: &str) -> Self {
        let mut value = json!({ "link": link });
        if !text.is_empty() {
            value["link_text"] = text.into();
        }
        Self::of(ArtifactType::Link, &value)
    }

    /// An image at this URL.
    pub fn image(url: &str) -> Self {
        Self::of(ArtifactType::Image, &json!({ "image_url": url }))
    }

    /// Any other value.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Self {
        Self::of(ArtifactType::Json, value)
    }

    /// How far something is, in percent; [`Context::write_progress`] tells how it goes on.
    pub fn progress(percent: f64) -> Self {
        let new = proto::NewArtifact {
            r#type: ArtifactType::Progress.into(),
            progress: Some(percent),
            ..Default::default()
        };
        Self { new: Ok(new) }
    }

    fn of(artifact_type: ArtifactType, value: &(impl Serialize + ?Sized)) -> Self {
        let new = to_payload(value).map(|data| proto::NewArtifact {
            r#type: artifact_type.into(),
            data: Some(data),
            ..Default::default()
        });
        Self { new }
    }

    /// What it is a version of: 1 to 128 characters of `a-z 0-9 -`. The newest hundred of a key are kept.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|new| new.key = key.into())
    }

    /// What it is, for people.
    pub fn description(self, description: impl Into<String>) -> Self {
        self.with(|new| new.description = description.into())
    }

    /// A free pair, to tell it from others.
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|new| drop(new.labels.insert(key.into(), value.into())))
    }

    fn with(mut self, change: impl FnOnce(&mut proto::NewArtifact)) -> Self {
        if let Ok(new) = &mut self.new {
            change(new);
        }
        self
    }
}

impl Client {
    /// Keeps an artifact that is no run's. It goes when it was not changed for as long as runs are kept.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `Payload` where the value cannot be written as JSON.
    pub async fn create_artifact(&self, artifact: Artifact) -> Result<proto::Artifact, Error> {
        self.core().create_artifact(artifact.new?).await
    }

    /// The newest version of a key, with its data.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn artifact(&self, key: impl Into<String>) -> Result<proto::Artifact, Error> {
        self.core().artifact(core::ArtifactName::Latest(key.into())).await
    }
}

impl Context {
    /// Keeps an artifact of this run; it goes with the run.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `Payload` where the value cannot be written as JSON; `FailedPrecondition` where the
    /// run was taken from this worker, or has as many artifacts as it may.
    pub async fn create_artifact(&self, artifact: Artifact) -> Result<proto::Artifact, Error> {
        let mut new = artifact.new?;
        self.run_id().clone_into(&mut new.run_id);
        new.epoch = self.epoch();
        self.client().core().create_artifact(new).await
    }

    /// Tells how far something is, by the id of its artifact, in percent; also of one that another run has made. Never waits: what is told faster than a few times
    /// a second is told together, and the last arrives.
    pub fn write_progress(&self, artifact_id: impl Into<String>, percent: f64) {
        let progress = Progress {
            artifact_id: artifact_id.into(),
            percent,
            description: None,
            run_id: self.run_id().to_owned(),
            epoch: self.epoch(),
        };
        self.client().core().write_progress(progress);
    }
}
