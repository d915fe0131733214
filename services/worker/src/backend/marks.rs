//! What is written to a Job or a container, so that it can be told whose it is and what for.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use prost::Message as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidegate_sdk_core::proto::Assign;

/// The server, by its id. Workers of before wrote none.
pub(super) const SERVER: &str = "tidegate.dev/server";
/// The run.
pub(super) const RUN_ID: &str = "tidegate.dev/run-id";
/// The epoch under which it was assigned.
pub(super) const EPOCH: &str = "tidegate.dev/epoch";
/// What the worker was assigned.
pub(super) const ASSIGN: &str = "tidegate.dev/assign";
/// What fits into a label of Kubernetes.
const MAX_LABEL: usize = 63;

/// The name of the job of a run under an epoch, which no two have.
pub(super) fn name_of(assign: &Assign) -> String {
    format!("tidegate-{}-{}", assign.run_id.replace('-', ""), assign.epoch)
}

/// By which a worker knows its own.
pub(super) fn of_worker(
    server: &str,
    namespace: &str,
    pool: &str,
    owner: String,
) -> BTreeMap<String, String> {
    let label = |name: &str, value: String| (format!("tidegate.dev/{name}"), value);
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "tidegate".to_owned()),
        (SERVER.to_owned(), label_value(server)),
        label("namespace", label_value(namespace)),
        label("pool", label_value(pool)),
        label("worker", owner),
    ])
}

/// By which the job of a run is known.
pub(super) fn of_run(assign: &Assign) -> [(String, String); 2] {
    [(RUN_ID.to_owned(), assign.run_id.clone()), (EPOCH.to_owned(), assign.epoch.to_string())]
}

/// What a worker was assigned, as text. Without what the run is called with: its process asks for that itself.
pub(super) fn written(assign: &Assign) -> String {
    let assign = Assign { parameters: None, ..assign.clone() };
    match serde_json::to_value(ByteString(assign.encode_to_vec())) {
        Ok(Value::String(text)) => text,
        _ => String::new(), // bytes always become a text
    }
}

/// What was written; `None` where that is not it.
pub(super) fn read(text: &str) -> Option<Assign> {
    let bytes: ByteString = serde_json::from_value(Value::String(text.to_owned())).ok()?;
    Assign::decode(bytes.0.as_slice()).ok()
}

/// `text` as the value of a label: itself where it may be, else its beginning and a hash.
pub(super) fn label_value(text: &str) -> String {
    let is_ends = |char: char| char.is_ascii_alphanumeric();
    let is_value = text.len() <= MAX_LABEL
        && text.chars().all(|char| is_ends(char) || matches!(char, '-' | '_' | '.'))
        && text.starts_with(is_ends)
        && text.ends_with(is_ends);
    if is_value {
        return text.to_owned();
    }
    let letter = |char: char| if is_ends(char) { char } else { '-' };
    let beginning: String = text.chars().map(letter).take(40).collect();
    let hash: String = Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", beginning.trim_matches('-')).trim_start_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_valid_and_tell_texts_apart() {
        assert_eq!(label_value("etl_nightly.v2"), "etl_nightly.v2");
        let (long, other) = ("x".repeat(100), "x".repeat(101));
        for text in [long.as_str(), &other, "-a", "a.", "a/b", "…", ""] {
            let value = label_value(text);
            assert!(value.len() <= MAX_LABEL && label_value(&value) == value, "{text}: {value}");
        }
        assert_ne!(label_value(&long), label_value(&other));
        assert_ne!(label_value("a/b"), label_value("a:b"));
    }

    #[test]
    fn what_was_written_can_be_read() {
        let assign = Assign { run_id: "r".into(), epoch: 7, ..Default::default() };
        let with_parameters = Assign { parameters: Some(Default::default()), ..assign.clone() };
        assert_eq!(read(&written(&with_parameters)), Some(assign));
        assert_eq!(read("no base64"), None);
    }
}
