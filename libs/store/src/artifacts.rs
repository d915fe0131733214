use std::{collections::BTreeMap, str::FromStr};

use async_trait::async_trait;
use tidegate_model::{ArtifactId, ArtifactKey, Namespace, Payload, RunId, Timestamp};

use crate::StoreError;

/// How an artifact is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactType {
    /// A text in Markdown.
    Markdown,
    /// A table.
    Table,
    /// A link.
    Link,
    /// How far something is, in percent.
    Progress,
    /// An image.
    Image,
    /// Any other value.
    Json,
}

impl ArtifactType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Markdown, Self::Table, Self::Link, Self::Progress, Self::Image, Self::Json];

    /// `MARKDOWN`, `TABLE`, `LINK`, `PROGRESS`, `IMAGE` or `JSON`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Markdown => "MARKDOWN",
            Self::Table => "TABLE",
            Self::Link => "LINK",
            Self::Progress => "PROGRESS",
            Self::Image => "IMAGE",
            Self::Json => "JSON",
        }
    }
}

impl FromStr for ArtifactType {
    /// The text that is none.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

/// Something that a run has to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// Its tenant.
    pub namespace: Namespace,
    /// What it is a version of.
    pub key: Option<ArtifactKey>,
    /// Which version of the key; 0: it has none.
    pub version: u64,
    /// How it is to be shown.
    pub artifact_type: ArtifactType,
    /// What it is, for people.
    pub description: String,
    /// In percent; only of [`ArtifactType::Progress`].
    pub progress: Option<f64>,
    /// Free pairs.
    pub labels: BTreeMap<String, String>,
    /// What is shown. `None` also where it was not read.
    pub data: Option<Payload>,
    /// The run that has made it.
    pub run: Option<RunId>,
    /// The uppermost run above that run.
    pub root: Option<RunId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What an artifact is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactName {
    /// Its id.
    Id(ArtifactId),
    /// Its key, and which version; `None`: the newest.
    Key(ArtifactKey, Option<u64>),
}

/// The versions of one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionedKey {
    /// The tenant.
    pub namespace: Namespace,
    /// What they have in common.
    pub key: ArtifactKey,
}

/// A page of artifacts, by id.
#[derive(Clone, Debug)]
pub struct ArtifactQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those of this uppermost run and the runs below it.
    pub root: Option<RunId>,
    /// Only those with this key.
    pub key: Option<ArtifactKey>,
    /// Only those of this type.
    pub artifact_type: Option<ArtifactType>,
    /// Only the newest version of each key.
    pub latest: bool,
    /// The oldest first.
    pub oldest_first: bool,
    /// Only those after this one.
    pub after: Option<ArtifactId>,
    /// How many at most.
    pub limit: usize,
}

/// Reads of artifacts.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait ArtifactRows: Send + Sync {
    /// An artifact with its data.
    async fn get_artifact(
        &self,
        namespace: &Namespace,
        name: &ArtifactName,
    ) -> Result<Option<Artifact>, StoreError>;

    /// A page of artifacts, without their data.
    async fn list_artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError>;
}

/// What a transaction does to artifacts.
#[async_trait]
pub trait ArtifactTx: Send {
    /// Those of these artifacts that are there, of any namespace, without their data, in any order.
    async fn find_artifacts(&mut self, ids: &[ArtifactId]) -> Result<Vec<Artifact>, StoreError>;

    /// How many artifacts each of these runs has, as far as it has some, in any order. The caller has locked the runs.
    async fn count_artifacts(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, u64)>, StoreError>;

    /// Takes the next `n` numbers of each key, which comes once in the slice. Gives the last of them, in the order of the
    /// slice. Nobody else gets one of these keys before the end of the transaction.
    async fn take_versions(
        &mut self,
        keys: &[(VersionedKey, u64)],
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError>;

    /// Inserts artifacts. Gives how many were: an id that is there is left out.
    async fn insert_artifacts(&mut self, artifacts: &[Artifact]) -> Result<usize, StoreError>;

    /// Deletes of each of these keys the versions up to this one. In a transaction that has taken versions of them.
    async fn delete_versions(&mut self, up_to: &[(VersionedKey, u64)]) -> Result<(), StoreError>;

    /// Locks an artifact for a change, and reads it without its data.
    async fn lock_artifact(
        &mut self,
        namespace: &Namespace,
        id: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError>;

    /// Writes description, progress and `updated_at` of a locked artifact, and its data where it has some.
    async fn update_artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError>;

    /// Takes an artifact away. False: there was none.
    async fn delete_artifact(&mut self, namespace: &Namespace, id: ArtifactId) -> Result<bool, StoreError>;
}
