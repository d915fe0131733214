//! Values that are too large for a row, from callers that send them in a message all the same.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tidegate_engine::EngineError;
use tidegate_model::{Namespace, Payload, limits};
use tidegate_payload::{PayloadError, Payloads};
use tidegate_proto::v1;
use tidegate_store::StoreError;
use tokio::time::timeout;

/// How long object storage may take for one value. Who waits for the answer gives up a little later: task-queue after
/// ten seconds, a session after its lease.
const OFFLOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the value of a payload is to be kept in object storage, and is not there yet.
pub(crate) fn is_large(payload: Option<&Payload>) -> bool {
    payload.is_some_and(|payload| split(payload).is_some())
}

/// Puts a value that is too large for a row into object storage, and leaves its claim check. `sha256` is that of the
/// value, where it is known.
pub(crate) async fn offload(
    payloads: &Payloads,
    namespace: &Namespace,
    payload: Option<Payload>,
    sha256: Option<[u8; 32]>,
) -> Result<Option<Payload>, EngineError> {
    let Some((metadata, value)) = payload.as_ref().and_then(split) else { return Ok(payload) };
    // What is dropped here leaves nothing but its row, for the collector: a value of a message is written in one request.
    let object = match timeout(OFFLOAD_TIMEOUT, payloads.put(namespace, value, sha256)).await {
        Ok(object) => object.map_err(engine_error)?,
        Err(_) => {
            let cause = format!("object storage did not take a value within {OFFLOAD_TIMEOUT:?}");
            return Err(StoreError::Unavailable(cause.into()).into());
        }
    };
    Ok(Some(Payload { data: metadata, object: Some(object) }))
}

/// What is known of parameters by their hashes.
pub(crate) struct Hashed {
    /// By which equal parameters are known, wherever their value is kept.
    pub params: [u8; 32],
    /// That of a value which is too large for a row.
    pub value: Option<[u8; 32]>,
}

/// Hashes parameters, and large ones without keeping others waiting.
///
/// What was encoded at random, such as by encryption, comes with a fingerprint: equal values are known by that.
pub(crate) async fn hash(payload: Option<&Payload>) -> Hashed {
    let Some(payload) = payload else { return Hashed { params: Sha256::digest([]).into(), value: None } };
    let fingerprint = fingerprint(payload);
    let hashed = hash_of_bytes(payload).await;
    match fingerprint {
        Some(fingerprint) => Hashed { params: Sha256::digest(&fingerprint).into(), ..hashed },
        None => hashed,
    }
}

/// What the sender says that equal values are known by.
fn fingerprint(payload: &Payload) -> Option<Bytes> {
    let v1::Payload { mut metadata, .. } = v1::Payload::decode(payload.data.clone()).ok()?;
    metadata.remove("fingerprint").filter(|fingerprint| !fingerprint.is_empty())
}

async fn hash_of_bytes(payload: &Payload) -> Hashed {
    let apart = |metadata: &Bytes, value: [u8; 32]| {
        Sha256::new().chain_update(metadata).chain_update(value).finalize().into()
    };
    match (payload.object, split(payload)) {
        (Some(object), _) => Hashed { params: apart(&payload.data, object.sha256), value: None },
        (None, Some((metadata, value))) => {
            let value = tidegate_payload::sha256(&value).await;
            Hashed { params: apart(&metadata, value), value: Some(value) }
        }
        (None, None) => Hashed { params: Sha256::digest(&payload.data).into(), value: None },
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
        PayloadError::Overloaded => EngineError::Overloaded,
        error => EngineError::Internal { cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::{ObjectId, ObjectRef};

    use super::*;

    #[tokio::test]
    async fn the_hash_is_of_the_value_and_not_of_the_object_that_holds_it() {
        let stored = async |sha256| {
            let object = Some(ObjectRef { id: ObjectId::new(), size: 100_000, sha256 });
            hash(Some(&Payload { data: "metadata".into(), object })).await.params
        };
        let inline = async |data: &'static str| hash(Some(&Payload::inline(data))).await.params;
        assert_eq!(stored([1; 32]).await, stored([1; 32]).await);
        assert_ne!(stored([1; 32]).await, stored([2; 32]).await, "another value");
        assert_ne!(stored([1; 32]).await, inline("metadata").await);
        assert_ne!(inline("1").await, hash(None).await.params);
    }

    #[tokio::test]
    async fn what_is_encoded_at_random_is_known_by_its_fingerprint() {
        let hash_of = async |fingerprint: &'static [u8], data: Vec<u8>| {
            let metadata = [("fingerprint".to_owned(), Bytes::from_static(fingerprint))].into();
            let payload = v1::Payload { metadata, data: data.into(), ..v1::Payload::default() };
            hash(Some(&Payload::inline(payload.encode_to_vec()))).await
        };
        let large = vec![7; limits::MAX_INLINE_PAYLOAD_SIZE + 1];
        let one = hash_of(b"f", vec![1]).await.params;
        assert_eq!(one, hash_of(b"f", vec![2]).await.params);
        assert_eq!(one, hash_of(b"f", large.clone()).await.params, "wherever it is kept");
        assert!(hash_of(b"f", large).await.value.is_some(), "and it is to be kept all the same");
        assert_ne!(one, hash_of(b"g", vec![1]).await.params);
        assert_ne!(
            hash_of(b"", vec![1]).await.params,
            hash_of(b"", vec![2]).await.params,
            "an empty one is none"
        );
    }

    #[tokio::test]
    async fn a_large_value_is_hashed_once() {
        let value = Bytes::from(vec![7; limits::MAX_INLINE_PAYLOAD_SIZE + 1]);
        let payload = v1::Payload { data: value.clone(), ..v1::Payload::default() };
        let hashed = hash(Some(&Payload::inline(payload.encode_to_vec()))).await;
        assert_eq!(hashed.value, Some(Sha256::digest(&value).into()));
    }
}
