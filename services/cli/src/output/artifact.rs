use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_proto::v1::{Artifact, ArtifactType};
use tidegate_sdk_core::payload;

use super::{
    json::{payload_json, time_json},
    table::Table,
    text::{printable, time_text},
};

/// Characters of a description in a table.
const MAX_SHOWN: usize = 60;

/// `artifact ls`.
pub fn artifact_table(artifacts: &[Artifact]) -> String {
    let mut table = Table::new(&["ID", "TYPE", "KEY", "VERSION", "RUN", "CREATED", "DESCRIPTION"]);
    for artifact in artifacts {
        let version = if artifact.version == 0 { String::new() } else { artifact.version.to_string() };
        table.row(vec![
            artifact.id.clone(),
            type_text(artifact),
            artifact.key.clone(),
            version,
            artifact.run_id.clone(),
            time_text(artifact.created_at),
            first_line(&artifact.description),
        ]);
    }
    table.text()
}

/// `artifact get`: what it is, and below it what it shows.
pub fn artifact_detail(artifact: &Artifact) -> String {
    let key = match artifact.version {
        0 => String::new(),
        version => format!("{} (version {version})", artifact.key),
    };
    let mut text = String::new();
    for (name, value) in [
        ("id", artifact.id.clone()),
        ("type", type_text(artifact)),
        ("key", key),
        (
            "description",
            artifact.description.lines().map(printable).collect::<Vec<_>>().join("\n             "),
        ),
        ("run", artifact.run_id.clone()),
        ("created", time_text(artifact.created_at)),
        ("updated", time_text(artifact.updated_at)),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12} {value}"); // writing to a String cannot fail
        }
    }
    for (key, value) in &artifact.labels {
        let _ = writeln!(text, "label        {key}={}", printable(value));
    }
    if let Some(shown) = shown(artifact) {
        let _ = writeln!(text, "\n{shown}");
    }
    text
}

/// The data for people: a text as it is, another value as JSON.
fn shown(artifact: &Artifact) -> Option<String> {
    let value = payload_json(artifact.data.as_ref()?);
    let is_json = artifact.data.as_ref().is_some_and(|data| payload::encoding(data) == payload::JSON);
    Some(match value.as_str() {
        Some(text) if is_json => text.lines().map(printable).collect::<Vec<_>>().join("\n"),
        _ => format!("{value:#}"),
    })
}

fn type_text(artifact: &Artifact) -> String {
    let word = type_word(artifact.r#type()).to_lowercase();
    match artifact.progress {
        Some(progress) => format!("{word} {progress} %"),
        None => word,
    }
}

/// The type as programs are told: `MARKDOWN`.
fn type_word(artifact_type: ArtifactType) -> &'static str {
    artifact_type.as_str_name().trim_start_matches("ARTIFACT_TYPE_")
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown)
}

/// An artifact for programs.
pub fn artifact_json(artifact: &Artifact) -> Value {
    json!({
        "id": artifact.id,
        "namespace": artifact.namespace,
        "key": artifact.key,
        "version": artifact.version,
        "type": type_word(artifact.r#type()),
        "description": artifact.description,
        "progress": artifact.progress,
        "labels": artifact.labels,
        "data": artifact.data.as_ref().map(payload_json),
        "run_id": artifact.run_id,
        "root_run_id": artifact.root_run_id,
        "created_at": time_json(artifact.created_at),
        "updated_at": time_json(artifact.updated_at),
    })
}
