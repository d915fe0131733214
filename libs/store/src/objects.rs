use std::str::FromStr;

use async_trait::async_trait;
use tidegate_model::{Namespace, ObjectId, ObjectRef, Timestamp};

use crate::StoreError;

/// How an object in object storage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectState {
    /// It is announced; its bytes may be there, in part, or not at all.
    Uploading,
    /// Its bytes are there and are those that were announced.
    Complete,
    /// Nothing refers to it, and nothing may any more: it is being deleted.
    Deleting,
}

impl ObjectState {
    /// `UPLOADING`, `COMPLETE` or `DELETING`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "UPLOADING",
            Self::Complete => "COMPLETE",
            Self::Deleting => "DELETING",
        }
    }
}

impl FromStr for ObjectState {
    /// The text that is none.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "UPLOADING" => Ok(Self::Uploading),
            "COMPLETE" => Ok(Self::Complete),
            "DELETING" => Ok(Self::Deleting),
            _ => Err(text.to_owned()),
        }
    }
}

/// What is known of an object in object storage. Its bytes are announced before they are written, so that there is
/// no object without a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Which it is, and what its bytes are.
    pub object: ObjectRef,
    /// Its tenant: runs of no other may refer to it.
    pub namespace: Namespace,
    /// Where it is in object storage.
    pub key: String,
    /// How it stands.
    pub state: ObjectState,
}

/// What the collector has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// How many objects it looked at.
    pub n_judged: usize,
    /// Those to be deleted, DELETING by now, by id.
    pub orphans: Vec<ObjectRow>,
}

/// The rows of objects in object storage. What payloads refer to an object is told by their own rows.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait ObjectRows: Send + Sync {
    /// Announces an object. Gives its row, or that of an earlier announcement with the same id, which stays as it is; in
    /// the same namespace the announcement counts as a use for a while, unless the object is DELETING.
    async fn announce_object(&self, row: &ObjectRow, now: Timestamp) -> Result<ObjectRow, StoreError>;

    /// The row of an object of this namespace.
    async fn get_object(&self, namespace: &Namespace, id: ObjectId) -> Result<Option<ObjectRow>, StoreError>;

    /// UPLOADING becomes COMPLETE. False: there is no such object, or it is DELETING.
    async fn complete_object(
        &self,
        namespace: &Namespace,
        id: ObjectId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Judges up to `limit` objects that were neither used nor judged since `touched_before`, leaving out those that
    /// another transaction has locked: those that no payload of a run or artifact refers to become DELETING. What is DELETING
    /// already is given again, as its deletion may have broken off.
    async fn take_orphans(
        &self,
        touched_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Judged, StoreError>;

    /// Forgets objects that are DELETING; others stay.
    async fn forget_objects(&self, ids: &[ObjectId]) -> Result<(), StoreError>;
}
