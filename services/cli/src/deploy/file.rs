//! `tidegate.toml`: all that it says, or all that is wrong with it.

use std::{collections::HashMap, path::Path};

use toml_edit::ImDocument;

use super::{
    reader::Reader,
    source::{Faults, Source},
    spec::{self, Wanted},
};

/// Deployments of a file.
const MAX_DEPLOYMENTS: usize = 1_000;

/// The deployments of a file.
///
/// # Errors
/// All that is wrong, for people.
pub fn read(source: &Source, folder: &Path) -> Result<Vec<Wanted>, String> {
    let faults = Faults::default();
    let document = match ImDocument::parse(source.text.as_str()) {
        Ok(document) => document,
        Err(error) => {
            let cause: Vec<&str> = error.message().lines().collect();
            faults.add(error.span().unwrap_or(0..0), format!("is no TOML: {}", cause.join(", ")));
            return Err(source.describe(&faults));
        }
    };
    let root = Reader::new("this file", document.as_table(), None, 0..0, &faults);
    let defaults = document.get("defaults").and_then(toml_edit::Item::as_table_like);
    if let Some(reader) = root.table("defaults", "[defaults]", false) {
        refuse_own_keys(&reader);
        spec::read_spec(&reader, folder);
        reader.finish();
    }
    let tables = root.array("deployment", "[[deployment]]");
    if tables.is_empty() {
        root.fault(
            "deployment",
            "there is no deployment: begin one with `[[deployment]]`, and see `tidegate deploy --template`",
        );
    }
    if tables.len() > MAX_DEPLOYMENTS {
        let message = format!(
            "there are {} deployments; at most {MAX_DEPLOYMENTS} are allowed in a file",
            tables.len()
        );
        root.fault("deployment", message);
    }
    let mut wanted = Vec::new();
    let mut lines = HashMap::new();
    for (table, at) in tables.into_iter().take(MAX_DEPLOYMENTS) {
        let reader = Reader::new("a deployment", table, defaults, at, &faults);
        let name_at = reader.place("name");
        let Some(deployment) = spec::read(reader, folder) else { continue };
        let line = source.line(name_at.start);
        if let Some(first) = lines.insert(deployment.name.clone(), line) {
            faults.add(
                name_at,
                format!("`{}` is there already, in line {first}: choose another name", deployment.name),
            );
        }
        wanted.push(deployment);
    }
    root.finish();
    if faults.is_empty() { Ok(wanted) } else { Err(source.describe(&faults)) }
}

/// What each deployment has of its own is not for all of them.
fn refuse_own_keys(defaults: &Reader<'_>) {
    for key in ["flow", "name", "entrypoint", "command", "schedule"] {
        if defaults.has(key) {
            defaults.fault(key, format!("`{key}` is no key of [defaults]: give it to each deployment"));
        }
    }
}
