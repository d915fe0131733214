use bytes::Bytes;

use crate::ObjectId;

/// A user's value as it travels and is stored. No service looks inside, so it is passed on without a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// The encoded message `tidegate.v1.Payload`, without its reference.
    pub data: Bytes,
    /// The object that holds the value, where it is too large for a row; `data` has the metadata then.
    pub object: Option<ObjectRef>,
}

impl Payload {
    /// A payload that holds its value itself.
    pub fn inline(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), object: None }
    }
}

/// Names an object in object storage, and says what its bytes must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// The object.
    pub id: ObjectId,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}
