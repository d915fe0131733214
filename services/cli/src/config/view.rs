//! `tidegate config view`: what holds, and who said so.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{
    file::Source,
    settings::{Origin, Setting, Settings},
};
use crate::{ask::Outcome, common::Common, output::Table, printer::Printer};

/// `config view`: each key with its value; with `sources` also where it comes from.
pub fn view(common: &Common, sources: bool) -> Outcome {
    let source = Source::read()?;
    let settings = Settings::over(&source, common)?;
    let printer = Printer::new(settings.output.value, settings.color.value);
    let rows = rows(&settings, &source);
    let value = || {
        let field = |(key, value, origin): &(&str, String, String)| {
            let value = if sources { json!({ "value": value, "source": origin }) } else { json!(value) };
            ((*key).to_owned(), value)
        };
        Value::Object(rows.iter().map(field).collect::<Map<_, _>>())
    };
    let text = || {
        let mut table = Table::new(if sources { &["KEY", "VALUE", "SOURCE"] } else { &["KEY", "VALUE"] });
        for (key, value, origin) in &rows {
            let cells = [*key, value, origin].map(str::to_owned);
            table.row(cells[..if sources { 3 } else { 2 }].to_vec());
        }
        table.text()
    };
    printer.answer(value, text)
}

/// Key, value and source of each setting.
fn rows(settings: &Settings, source: &Source) -> Vec<(&'static str, String, String)> {
    let Settings { profile, address, namespace, output, color } = settings;
    let text = |key, setting: &Setting<String>| (key, setting.value.clone(), told(&setting.origin, source));
    vec![
        text("profile", profile),
        text("address", address),
        text("namespace", namespace),
        ("output", word(output.value), told(&output.origin, source)),
        ("color", word(color.value), told(&color.origin, source)),
    ]
}

fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn told(origin: &Origin, source: &Source) -> String {
    let path = source.path.display();
    match origin {
        Origin::Flag(option) => format!("option {option}"),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::Profile(name, line) => format!("profile {name}, {path}:{line}"),
        Origin::File(line) => format!("{path}:{line}"),
        Origin::Default => "default".to_owned(),
    }
}
