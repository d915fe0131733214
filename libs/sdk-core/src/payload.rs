//! How values become payloads and back. The services never look inside; the SDKs of all languages agree on
//! the metadata key `encoding`.

use bytes::Bytes;

use crate::proto::Payload;

/// The metadata key that says how to read `data`.
pub const ENCODING: &str = "encoding";
/// UTF-8 JSON.
pub const JSON: &str = "json/plain";
/// The bytes as they are.
pub const BINARY: &str = "binary/plain";
/// A Python pickle.
pub const PICKLE: &str = "python/pickle";
/// No value; `data` is empty.
pub const NULL: &str = "null";
/// Stands for a result that only its caller got.
pub const NOT_KEPT: &str = "not-kept";
/// Before the name of the codec that has made `data` of another payload, see [`crate::Codecs`].
pub const CODEC: &str = "codec/";
/// The metadata key of what equal parameters are known by, where `data` does not tell.
pub const FINGERPRINT: &str = "fingerprint";

/// A payload of `data` that is to be read as `encoding` says.
pub fn encoded(encoding: &str, data: impl Into<Bytes>) -> Payload {
    let metadata = [(ENCODING.to_owned(), Bytes::copy_from_slice(encoding.as_bytes()))].into();
    Payload { metadata, data: data.into(), reference: None }
}

/// A payload of a JSON text.
pub fn json(text: impl Into<Bytes>) -> Payload {
    encoded(JSON, text)
}

/// A payload without a value.
pub fn null() -> Payload {
    encoded(NULL, Bytes::new())
}

/// How to read `payload`. One without the key is JSON, or no value where it is empty.
pub fn encoding(payload: &Payload) -> &str {
    match payload.metadata.get(ENCODING) {
        Some(name) => std::str::from_utf8(name).unwrap_or("(no text)"),
        None if payload.data.is_empty() => NULL,
        None => JSON,
    }
}

/// What tells a payload from others: equal for equal values, also where they are encoded at random.
pub(crate) fn identity(payload: &Payload) -> Vec<u8> {
    match payload.metadata.get(FINGERPRINT) {
        Some(fingerprint) => fingerprint.to_vec(),
        None => prost::Message::encode_to_vec(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_how_to_read_it() {
        assert_eq!(encoding(&json("[1]")), JSON);
        assert_eq!(encoding(&null()), NULL);
        assert_eq!(encoding(&Payload::default()), NULL);
        assert_eq!(encoding(&Payload { data: "1".into(), ..Default::default() }), JSON);
    }
}
