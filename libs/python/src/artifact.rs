use std::collections::BTreeMap;

use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};
use tidegate_sdk_core::{
    payload,
    proto::{self, ArtifactType},
};

/// An artifact as it was at one moment.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Artifact(pub(crate) proto::Artifact);

#[pymethods]
impl Artifact {
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// `markdown`, `table`, `link`, `progress`, `image` or `json`.
    #[getter]
    fn r#type(&self) -> String {
        type_name(self.0.r#type()).to_lowercase()
    }

    #[getter]
    fn key(&self) -> &str {
        &self.0.key
    }

    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    #[getter]
    fn description(&self) -> &str {
        &self.0.description
    }

    #[getter]
    fn progress(&self) -> Option<f64> {
        self.0.progress
    }

    #[getter]
    fn labels(&self) -> BTreeMap<String, String> {
        self.0.labels.clone()
    }

    #[getter]
    fn run_id(&self) -> &str {
        &self.0.run_id
    }

    #[getter]
    fn root_run_id(&self) -> &str {
        &self.0.root_run_id
    }

    /// `(encoding, data)`, where it was read.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Option<(String, Bound<'py, PyBytes>)> {
        let data = self.0.data.as_ref()?;
        Some((payload::encoding(data).to_owned(), PyBytes::new(py, &data.data)))
    }
}

/// What is to be kept, as Python says it.
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn new_artifact(
    r#type: &str,
    key: String,
    description: String,
    progress: Option<f64>,
    data: Option<(String, Vec<u8>)>,
    labels: BTreeMap<String, String>,
    run_id: String,
    epoch: u64,
) -> PyResult<proto::NewArtifact> {
    let artifact_type = ArtifactType::from_str_name(&format!("ARTIFACT_TYPE_{}", r#type.to_uppercase()));
    let artifact_type = artifact_type
        .ok_or_else(|| PyValueError::new_err(format!("type={:?} is no type of artifact", r#type)))?;
    Ok(proto::NewArtifact {
        id: String::new(),
        key,
        r#type: artifact_type.into(),
        description,
        progress,
        labels,
        data: data.map(|(encoding, data)| payload::encoded(&encoding, data)),
        run_id,
        epoch,
    })
}

fn type_name(artifact_type: ArtifactType) -> &'static str {
    artifact_type.as_str_name().trim_start_matches("ARTIFACT_TYPE_")
}
