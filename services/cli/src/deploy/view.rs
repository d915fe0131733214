//! What a deployment of a file changes, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::plan::{Change, FieldChange, Plan};
use crate::output::printable;

/// Characters of a value that are shown to people.
const MAX_VALUE: usize = 120;

/// For people: each deployment with what is not the same, field by field.
pub fn text(plans: &[Plan], is_dry_run: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for plan in plans {
        let version = match plan.change {
            Change::Unchanged => format!(" (version {})", plan.version),
            Change::Changed => format!(" (after version {})", plan.version),
            _ => String::new(),
        };
        let _ = writeln!(text, "{}  {}{version}", printable(&plan.wanted.name), word(plan.change));
        write_fields(&plan.fields, "  ", &mut text);
        for schedule in &plan.schedules {
            let _ = writeln!(text, "  schedule {}  {}", printable(&schedule.name), word(schedule.change));
            write_fields(&schedule.fields, "    ", &mut text);
        }
    }
    let changed = plans.iter().filter(|plan| plan.changes()).count();
    let _ = match (changed, is_dry_run) {
        (0, _) => writeln!(text, "Nothing to change."),
        (_, true) => writeln!(text, "{changed} of {} would change; nothing was done.", plans.len()),
        (_, false) => writeln!(text, "{changed} of {} deployed.", plans.len()),
    };
    text
}

/// For programs.
pub fn json(plans: &[Plan], warnings: &[String], is_dry_run: bool) -> Json {
    let deployments: Vec<Json> = plans
        .iter()
        .map(|plan| {
            let schedules = plan.schedules.iter().map(|schedule| {
                json!({
                    "name": schedule.name,
                    "change": word(schedule.change),
                    "fields": fields_json(&schedule.fields),
                })
            });
            json!({
                "name": plan.wanted.name,
                "change": word(plan.change),
                "fields": fields_json(&plan.fields),
                "schedules": schedules.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "dry_run": is_dry_run, "deployments": deployments, "warnings": warnings })
}

fn write_fields(fields: &[FieldChange], indent: &str, text: &mut String) {
    let width = fields.iter().map(|field| field.key.len()).max().unwrap_or(0);
    for FieldChange { key, old, new } in fields {
        let _ = match (old, new) {
            (Json::Null, new) => writeln!(text, "{indent}+ {key:<width$}  {}", value(new)),
            (old, Json::Null) => writeln!(text, "{indent}- {key:<width$}  {}", value(old)),
            (old, new) => writeln!(text, "{indent}~ {key:<width$}  {} -> {}", value(old), value(new)),
        };
    }
}

fn value(value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.clone(),
        value => value.to_string(),
    };
    if text.chars().count() <= MAX_VALUE {
        return printable(&text);
    }
    let cut: String = text.chars().take(MAX_VALUE).collect();
    printable(&format!("{cut}…"))
}

fn fields_json(fields: &[FieldChange]) -> Vec<Json> {
    fields.iter().map(|field| json!({ "field": field.key, "old": field.old, "new": field.new })).collect()
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Unchanged => "unchanged",
        Change::Left => "left",
        Change::Deleted => "deleted",
    }
}
