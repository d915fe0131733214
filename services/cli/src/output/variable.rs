use serde_json::{Value, json};
use tidegate_proto::v1::Variable;

use super::{
    json::time_json,
    table::Table,
    text::{printable, time_text},
};

/// Characters of a value in a table.
const MAX_SHOWN: usize = 60;

/// `variable ls`.
pub fn variable_table(variables: &[Variable]) -> String {
    let mut table = Table::new(&["NAME", "VALUE", "TAGS", "UPDATED", "DESCRIPTION"]);
    for variable in variables {
        table.row(vec![
            variable.name.clone(),
            short(&variable.value_json),
            printable(&variable.tags.join(", ")),
            time_text(variable.updated_at),
            short(&variable.description),
        ]);
    }
    table.text()
}

/// As much of a text as a table shows.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown)
}

/// A variable for programs: its value as the JSON that it is.
pub fn variable_json(variable: &Variable) -> Value {
    json!({
        "name": variable.name,
        "value": serde_json::from_str::<Value>(&variable.value_json).unwrap_or_default(),
        "tags": variable.tags,
        "description": variable.description,
        "etag": variable.etag,
        "created_at": time_json(variable.created_at),
        "updated_at": time_json(variable.updated_at),
    })
}
