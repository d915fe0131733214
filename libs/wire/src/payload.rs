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
    let (n_entries, most) = (payload.metadata.len(), limits::MAX_METADATA_ENTRIES);
    if n_entries > most {
        violations.add(field, format!("has {n_entries} metadata entries; at most {most} are allowed"));
    }
    let (max_key, max_value) = (limits::MAX_METADATA_KEY_SIZE, limits::MAX_METADATA_VALUE_SIZE);
    if payload.metadata.iter().any(|(key, value)| key.len() > max_key || value.len() > max_value) {
        let message = format!("has a metadata key above {max_key} bytes or a value above {max_value} bytes");
        violations.add(field, message);
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
