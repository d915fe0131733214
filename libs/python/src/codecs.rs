use std::sync::Arc;

use pyo3::{prelude::*, types::PyBytes};
use tidegate_sdk_core::{self as core, PayloadCodec, proto::Payload};

use crate::{
    errors,
    payload::{Encoded, from_proto, to_proto},
};

/// Codecs written in Python. They are called by the thread that encodes or decodes, which has Python's lock: the core has
/// none of them, and never waits for that lock.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Codecs(core::Codecs);

#[pymethods]
impl Codecs {
    /// Values go through `writing` in turn; those of `reading` can be read as well.
    #[new]
    fn new(py: Python<'_>, writing: Vec<Py<PyAny>>, reading: Vec<Py<PyAny>>) -> PyResult<Self> {
        let all = |codecs: Vec<Py<PyAny>>| {
            let codecs = codecs.into_iter().map(|object| Ok(Arc::new(Codec::new(py, object)?) as _));
            codecs.collect::<PyResult<Vec<Arc<dyn PayloadCodec>>>>()
        };
        let (writing, reading) = (all(writing)?, all(reading)?);
        let codecs = core::Codecs::new(writing).and_then(|codecs| codecs.also_reading(reading));
        codecs.map(Self).map_err(|error| errors::raise(py, &error))
    }

    fn encode<'py>(&self, py: Python<'py>, encoding: &str, data: Vec<u8>) -> PyResult<Encoded<'py>> {
        Self::apply(py, encoding, data, |payload| self.0.encode(Some(payload)))
    }

    /// As `encode`, with what the server knows equal parameters by.
    fn encode_parameters<'py>(
        &self,
        py: Python<'py>,
        encoding: &str,
        data: Vec<u8>,
    ) -> PyResult<Encoded<'py>> {
        Self::apply(py, encoding, data, |payload| self.0.encode_parameters(Some(payload)))
    }

    /// What a codec that is not here has made stays as it is.
    fn decode<'py>(&self, py: Python<'py>, encoding: &str, data: Vec<u8>) -> PyResult<Encoded<'py>> {
        Self::apply(py, encoding, data, |payload| self.0.decode(Some(payload)))
    }
}

impl Codecs {
    fn apply<'py>(
        py: Python<'py>,
        encoding: &str,
        data: Vec<u8>,
        change: impl FnOnce(&mut Payload) -> Result<(), core::Error>,
    ) -> PyResult<Encoded<'py>> {
        let mut payload = to_proto(encoding, data);
        change(&mut payload).map_err(|error| errors::raise(py, &error))?;
        Ok(from_proto(py, &payload))
    }
}

/// An object with `name`, `encode` and `decode`, and perhaps `fingerprint`.
struct Codec {
    name: String,
    object: Py<PyAny>,
    has_fingerprint: bool,
}

impl Codec {
    fn new(py: Python<'_>, object: Py<PyAny>) -> PyResult<Self> {
        let name = object.getattr(py, "name")?.extract(py)?;
        let has_fingerprint = object.bind(py).hasattr("fingerprint")?;
        Ok(Self { name, object, has_fingerprint })
    }

    fn call(&self, method: &str, data: &[u8]) -> PyResult<Vec<u8>> {
        Python::attach(|py| {
            let made = self.object.bind(py).call_method1(method, (PyBytes::new(py, data),))?;
            made.extract()
        })
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

impl PayloadCodec for Codec {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.call("encode", data)?)
    }

    fn decode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.call("decode", data)?)
    }

    fn fingerprint(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        if self.has_fingerprint { Ok(self.call("fingerprint", data)?) } else { Plain.fingerprint(data) }
    }
}

/// For the default.
struct Plain;

impl PayloadCodec for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(data.to_vec())
    }

    fn decode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(data.to_vec())
    }
}
