//! Payloads as `(encoding, data)`: Python sees of the metadata what follows the encoding as `;key=value`.

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use tidegate_sdk_core::{
    payload::{self, FINGERPRINT},
    proto::Payload,
};

/// `(encoding, data)` in Python.
pub(crate) type Encoded<'py> = (String, Bound<'py, PyBytes>);

/// What Python has encoded.
pub(crate) fn to_proto(encoding: &str, data: impl Into<Bytes>) -> Payload {
    let mut parts = encoding.split(';');
    let mut payload = payload::encoded(parts.next().unwrap_or_default(), data);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = if key == FINGERPRINT { unhex(value) } else { Bytes::copy_from_slice(value.as_bytes()) };
        payload.metadata.insert(key.to_owned(), value);
    }
    payload
}

/// A payload for Python.
pub(crate) fn from_proto<'py>(py: Python<'py>, payload: &Payload) -> Encoded<'py> {
    let mut encoding = payload::encoding(payload).to_owned();
    for (key, value) in &payload.metadata {
        if key == FINGERPRINT {
            encoding.push_str(&format!(";{key}={}", hex(value)));
        } else if key != payload::ENCODING
            && let Ok(value) = std::str::from_utf8(value)
            && !value.contains(';')
        {
            encoding.push_str(&format!(";{key}={value}"));
        }
    }
    (encoding, PyBytes::new(py, &payload.data))
}

/// As [`from_proto`], where there is one.
pub(crate) fn from_optional<'py>(py: Python<'py>, payload: Option<&Payload>) -> Option<Encoded<'py>> {
    payload.map(|payload| from_proto(py, payload))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    text.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}
