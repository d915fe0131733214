use bytes::Bytes;
use prost::Message as _;
use tidegate_model::{ObjectRef, Payload, limits};
use tidegate_proto::v1;

use crate::Violations;

/// A payload as it is stored: encoded, and opaque from here on.
pub fn payload_from_proto(
    payload: Option<&v1::Payload>,
    field: &str,
    violations: &mut Violations,
) -> Option<Payload> {
    let payload = payload?;
    if payload.data.len() > limits::MAX_MESSAGE_PAYLOAD_SIZE {
        violations.add(
            field,
            format!(
                "has {} bytes; at most {} are allowed in a message: upload them (PayloadService) and pass the reference",
                payload.data.len(),
                limits::MAX_MESSAGE_PAYLOAD_SIZE
            ),
        );
    }
    if payload.metadata.len() > 16 {
        violations
            .add(field, format!("has {} metadata entries; at most 16 are allowed", payload.metadata.len()));
    }
    if payload.metadata.iter().any(|(key, value)| key.len() > 64 || value.len() > 1_024) {
        violations.add(field, "has a metadata key above 64 bytes or a value above 1024 bytes");
    }
    let Some(reference) = &payload.reference else { return Some(Payload::inline(payload.encode_to_vec())) };
    if !payload.data.is_empty() {
        violations.add(field, "has both data and a reference: choose one");
    }
    let object = reference_from_proto(reference, &format!("{field}.reference"), violations)?;
    let metadata = v1::Payload { metadata: payload.metadata.clone(), ..v1::Payload::default() };
    Some(Payload { data: metadata.encode_to_vec().into(), object: Some(object) })
}

/// A stored payload to the wire. Bytes that are no payload come back as plain binary.
pub fn payload_to_proto(payload: &Payload) -> v1::Payload {
    let decoded = v1::Payload::decode(payload.data.clone()).unwrap_or_else(|_| v1::Payload {
        metadata: [("encoding".to_owned(), Bytes::from_static(b"binary/plain"))].into(),
        data: payload.data.clone(),
        reference: None,
    });
    v1::Payload { reference: payload.object.as_ref().map(reference_to_proto), ..decoded }
}

/// A reference to the wire.
pub fn reference_to_proto(object: &ObjectRef) -> v1::PayloadReference {
    v1::PayloadReference {
        object_id: object.id.to_string(),
        size_bytes: object.size,
        sha256: Bytes::copy_from_slice(&object.sha256),
    }
}

fn reference_from_proto(
    reference: &v1::PayloadReference,
    field: &str,
    violations: &mut Violations,
) -> Option<ObjectRef> {
    let id = violations.parse(&format!("{field}.object_id"), &reference.object_id);
    let sha256 = sha256(&reference.sha256, &format!("{field}.sha256"), violations);
    Some(ObjectRef { id: id?, size: reference.size_bytes, sha256: sha256? })
}

/// A SHA-256 in a required field.
pub fn sha256(bytes: &Bytes, field: &str, violations: &mut Violations) -> Option<[u8; 32]> {
    let sha256 = bytes[..].try_into().ok();
    if sha256.is_none() {
        violations.add(field, format!("has {} bytes; a SHA-256 has 32", bytes.len()));
    }
    sha256
}
