//! Values that are too large for a row, from callers that send them in a message all the same.

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tidegate_engine::EngineError;
use tidegate_model::{Namespace, Payload, limits};
use tidegate_payload::{PayloadError, Payloads};
use tidegate_proto::v1;
use tidegate_store::StoreError;

/// Whether the value of a payload is to be kept in object storage, and is not there yet.
pub(crate) fn is_large(payload: Option<&Payload>) -> bool {
    payload.is_some_and(|payload| split(payload).is_some())
}

/// Puts a value that is too large for a row into object storage, and leaves its claim check.
pub(crate) async fn offload(
    payloads: &Payloads,
    namespace: &Namespace,
    payload: Option<Payload>,
) -> Result<Option<Payload>, EngineError> {
    let Some((metadata, value)) = payload.as_ref().and_then(split) else { return Ok(payload) };
    let object = payloads.put(namespace, value).await.map_err(engine_error)?;
    Ok(Some(Payload { data: metadata, object: Some(object) }))
}

/// By which equal parameters are known, wherever their value is kept.
pub(crate) fn hash(payload: Option<&Payload>) -> [u8; 32] {
    let Some(payload) = payload else { return Sha256::digest([]).into() };
    let apart = |metadata: &Bytes, value: [u8; 32]| {
        Sha256::new().chain_update(metadata).chain_update(value).finalize().into()
    };
    match (payload.object, split(payload)) {
        (Some(object), _) => apart(&payload.data, object.sha256),
        (None, Some((metadata, value))) => apart(&metadata, Sha256::digest(&value).into()),
        (None, None) => Sha256::digest(&payload.data).into(),
    }
}

/// The metadata and the value of a payload whose value is too large for a row.
fn split(payload: &Payload) -> Option<(Bytes, Bytes)> {
    if payload.object.is_some() || payload.data.len() <= limits::MAX_INLINE_PAYLOAD_SIZE {
        return None;
    }
    let v1::Payload { metadata, data, .. } = v1::Payload::decode(payload.data.clone()).ok()?;
    if data.len() <= limits::MAX_INLINE_PAYLOAD_SIZE {
        return None;
    }
    let metadata = v1::Payload { metadata, ..v1::Payload::default() };
    Some((metadata.encode_to_vec().into(), data))
}

/// For whom object storage is a part of the store.
fn engine_error(error: PayloadError) -> EngineError {
    match error {
        PayloadError::Store(error) => error.into(),
        PayloadError::Storage(cause) => StoreError::Unavailable(cause).into(),
        error => EngineError::Internal { cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::{ObjectId, ObjectRef};

    use super::*;

    #[test]
    fn the_hash_is_of_the_value_and_not_of_the_object_that_holds_it() {
        let stored = |sha256| {
            let object = Some(ObjectRef { id: ObjectId::new(), size: 100_000, sha256 });
            hash(Some(&Payload { data: "metadata".into(), object }))
        };
        assert_eq!(stored([1; 32]), stored([1; 32]));
        assert_ne!(stored([1; 32]), stored([2; 32]), "another value");
        assert_ne!(stored([1; 32]), hash(Some(&Payload::inline("metadata"))));
        assert_ne!(hash(Some(&Payload::inline("1"))), hash(None));
    }
}
