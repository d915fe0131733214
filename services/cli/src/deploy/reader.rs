//! A table of the file, read key by key. What is wrong is noted, and reading goes on.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use serde_json::{Map, Value as Json};
use tidegate_model::Timestamp;
use toml_edit::{Item, TableLike, Value};

use super::source::Faults;
use crate::common::parse_span;
use crate::names::nearest;

/// A table, and perhaps one beneath it that has what it does not say.
pub struct Reader<'a> {
    /// What it is, for people: `a deployment`.
    what: &'static str,
    own: &'a dyn TableLike,
    beneath: Option<&'a dyn TableLike>,
    at: Range<usize>,
    known: RefCell<HashSet<&'static str>>,
    faults: &'a Faults,
}

impl<'a> Reader<'a> {
    /// One of a table that is at `at`.
    pub fn new(
        what: &'static str,
        own: &'a dyn TableLike,
        beneath: Option<&'a dyn TableLike>,
        at: Range<usize>,
        faults: &'a Faults,
    ) -> Self {
        Self { what, own, beneath, at, known: RefCell::default(), faults }
    }

    /// Notes a fault at a key; where the table has no such key, at the table.
    pub fn fault(&self, key: &str, message: impl Into<String>) {
        self.faults.add(self.place(key), message);
    }

    /// Where a key has its value; the table, where it has none.
    pub fn place(&self, key: &str) -> Range<usize> {
        let tables = [Some(self.own), self.beneath];
        let place = tables.into_iter().flatten().find_map(|table| place(table, key));
        place.unwrap_or_else(|| self.at.clone())
    }

    /// Where a key of one of its tables has its value; the table, where that has none.
    pub fn place_in(&self, table: &str, key: &str) -> Range<usize> {
        let tables = [Some(self.own), self.beneath];
        let inner = tables.into_iter().flatten().filter_map(|from| from.get(table)?.as_table_like());
        let place = inner.into_iter().find_map(|inner| place(inner, key));
        place.unwrap_or_else(|| self.place(if table.is_empty() { key } else { table }))
    }

    /// Notes a fault at a place.
    pub fn fault_at(&self, at: Range<usize>, message: impl Into<String>) {
        self.faults.add(at, message);
    }

    /// One of a table within this one.
    pub fn below(&self, what: &'static str, table: &'a dyn TableLike, at: Range<usize>) -> Reader<'a> {
        Reader::new(what, table, None, at, self.faults)
    }

    /// Whether a key has a text.
    pub fn is_text(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(Item::is_str)
    }

    /// Whether the table itself has a key.
    pub fn has_own(&self, key: &str) -> bool {
        self.own.contains_key(key)
    }

    /// Whether the table itself, or the one beneath, has a key.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Notes the keys that nobody has asked for. What the table beneath has is its own affair.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, _) in self.own.iter().filter(|(key, _)| !known.contains(key)) {
            let at = self.own.key(key).and_then(toml_edit::Key::span).unwrap_or_else(|| self.at.clone());
            let mend = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let mut keys: Vec<&str> = known.iter().copied().collect();
                    keys.sort_unstable();
                    format!("there are {}", keys.join(", "))
                }
            };
            self.faults.add(at, format!("`{key}` is no key of {}: {mend}", self.what));
        }
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let item = self.get(key)?;
        self.typed(key, item, item.as_str(), "a text, such as \"nightly\"").map(str::to_owned)
    }

    /// A text, or empty.
    pub fn text_or_empty(&self, key: &'static str) -> String {
        self.text(key).unwrap_or_default()
    }

    /// A text that must be there.
    pub fn required_text(&self, key: &'static str, example: &str) -> Option<String> {
        if !self.has(key) {
            self.fault(key, format!("{} needs `{key}`, such as `{key} = {example}`", self.what));
        }
        self.text(key)
    }

    /// A whole number within bounds.
    pub fn integer<T: TryFrom<i64>>(&self, key: &'static str, least: i64, most: i64) -> Option<T> {
        let item = self.get(key)?;
        let number = self.typed(key, item, item.as_integer(), "a whole number, such as 3")?;
        let fits = (least..=most).contains(&number).then(|| T::try_from(number).ok()).flatten();
        if fits.is_none() {
            self.fault(key, format!("`{key}` is {number}; it may be {least} to {most}"));
        }
        fits
    }

    /// A number.
    pub fn number(&self, key: &'static str) -> Option<f64> {
        let item = self.get(key)?;
        // Whole numbers that are written here are small.
        let number = item.as_float().or_else(|| Some(i32::try_from(item.as_integer()?).ok()?.into()));
        self.typed(key, item, number, "a number, such as 1.5")
    }

    /// True or false.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let item = self.get(key)?;
        self.typed(key, item, item.as_bool(), "true or false")
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let item = self.get(key)?;
        let texts = item
            .as_array()
            .and_then(|array| array.iter().map(|value| value.as_str().map(str::to_owned)).collect());
        self.typed(key, item, texts, "a list of texts, such as [\"etl\", \"nightly\"]")
    }

    /// One of some words.
    pub fn choice<E: Copy + Into<i32>>(&self, key: &'static str, words: &[(&'static str, E)]) -> i32 {
        let Some(text) = self.text(key) else { return 0 };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return (*value).into();
        }
        let words = words.iter().map(|(word, _)| *word);
        let mend = match nearest(&text, words.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("it may be {}", words.collect::<Vec<_>>().join(", ")),
        };
        self.fault(key, format!("`{key}` is {text:?}: {mend}"));
        0
    }

    /// A span of time: `"90s"`, `"1d 2h"`.
    pub fn span(&self, key: &'static str) -> Option<prost_types::Duration> {
        let text = self.text(key)?;
        self.parsed(key, &text, parse_span(&text))
    }

    /// A span of time, or a list of them.
    pub fn spans(&self, key: &'static str) -> Vec<prost_types::Duration> {
        let texts = match self.get(key) {
            None => return Vec::new(),
            Some(item) if item.is_str() => self.text(key).map(|text| vec![text]),
            Some(_) => self.texts(key),
        };
        texts.unwrap_or_default().iter().filter_map(|text| self.parsed(key, text, parse_span(text))).collect()
    }

    /// An instant: a date and time with an offset, of TOML or as a text.
    pub fn instant(&self, key: &'static str) -> Option<prost_types::Timestamp> {
        let item = self.get(key)?;
        let text = item.as_str().map(str::to_owned).or_else(|| item.as_datetime().map(ToString::to_string));
        let text =
            self.typed(key, item, text, "a time with its offset, such as 2026-03-01T02:00:00+01:00")?;
        let instant = text.parse().map_err(|error: jiff::Error| {
            format!("{error}; write it with its offset, as 2026-03-01T02:00:00+01:00 or 2026-03-01T01:00:00Z")
        });
        let instant: jiff::Timestamp = self.parsed(key, &text, instant)?;
        // The store keeps microseconds.
        let micros = instant.as_microsecond();
        let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        Some(prost_types::Timestamp { seconds, nanos: i32::try_from(rest * 1_000).unwrap_or(0) })
    }

    /// A table of texts; keys that it does not have are those of the table beneath.
    pub fn labels(&self, key: &'static str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for table in self.tables(key, "a table of texts, such as {team = \"blue\"}").into_iter().rev() {
            for (label, item) in table.iter() {
                match item.as_str() {
                    Some(text) => drop(labels.insert(label.to_owned(), text.to_owned())),
                    None => self.wrong_kind(place(table, label), label, item, "a text, such as \"blue\""),
                }
            }
        }
        labels
    }

    /// A JSON object as text; names that it does not have are those of the table beneath. Empty: there is none.
    pub fn json(&self, key: &'static str) -> String {
        let mut object = Map::new();
        for table in self.tables(key, "a table, such as {day = \"monday\"}").into_iter().rev() {
            object.extend(self.object(table));
        }
        if object.is_empty() { String::new() } else { Json::Object(object).to_string() }
    }

    /// A table to be read by itself. `is_merged`: keys that it does not have are those of the table beneath.
    pub fn table(&self, key: &'static str, what: &'static str, is_merged: bool) -> Option<Reader<'a>> {
        let tables = self.tables(key, "a table");
        let beneath = tables.get(1).copied().filter(|_| is_merged);
        let own = *tables.first()?;
        Some(Reader::new(what, own, beneath, self.place(key), self.faults))
    }

    /// Tables of one name, each with where it is. `header` is what stands above each: `[[deployment]]`.
    pub fn array(&self, key: &'static str, header: &str) -> Vec<(&'a dyn TableLike, Range<usize>)> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if let Some(tables) = item.as_array_of_tables() {
            let at = |span: Option<Range<usize>>| span.unwrap_or_else(|| self.place(key));
            return tables.iter().map(|table| (table as &dyn TableLike, at(table.span()))).collect();
        }
        let inline = item.as_array().and_then(|array| {
            let table = |value: &'a Value| {
                let at = value.span().unwrap_or_else(|| self.place(key));
                value.as_inline_table().map(|table| (table as &dyn TableLike, at))
            };
            array.iter().map(table).collect()
        });
        self.typed(key, item, inline, &format!("a list of tables: write each below `{header}`"))
            .unwrap_or_default()
    }

    /// An item, of the table itself before that of the one beneath.
    fn get(&self, key: &'static str) -> Option<&'a Item> {
        self.known.borrow_mut().insert(key);
        let tables = [Some(self.own), self.beneath];
        tables.into_iter().flatten().find_map(|table| table.get(key))
    }

    /// The tables of a key: its own, and the one of the table beneath.
    fn tables(&self, key: &'static str, kind: &str) -> Vec<&'a dyn TableLike> {
        self.known.borrow_mut().insert(key);
        let mut tables = Vec::new();
        for from in [Some(self.own), self.beneath].into_iter().flatten() {
            let Some(item) = from.get(key) else { continue };
            match item.as_table_like() {
                Some(table) => tables.push(table),
                None => self.wrong_kind(place(from, key), key, item, kind),
            }
        }
        tables
    }

    fn typed<T>(&self, key: &'static str, item: &Item, value: Option<T>, kind: &str) -> Option<T> {
        if value.is_none() {
            self.wrong_kind(Some(self.place(key)), key, item, kind);
        }
        value
    }

    fn wrong_kind(&self, at: Option<Range<usize>>, key: &str, item: &Item, kind: &str) {
        let at = at.unwrap_or_else(|| self.at.clone());
        self.faults.add(at, format!("`{key}` is {}; it must be {kind}", kind_of(item)));
    }

    fn parsed<T>(&self, key: &'static str, text: &str, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, format!("`{key}` is {text:?}: {error}"));
                None
            }
        }
    }

    fn object(&self, table: &'a dyn TableLike) -> Map<String, Json> {
        let json = |(name, item): (&str, &'a Item)| Some((name.to_owned(), self.item_json(item)?));
        table.iter().filter_map(json).collect()
    }

    fn item_json(&self, item: &'a Item) -> Option<Json> {
        match item {
            Item::None => None,
            Item::Value(value) => self.value_json(value),
            Item::Table(table) => Some(Json::Object(self.object(table))),
            Item::ArrayOfTables(tables) => {
                Some(tables.iter().map(|table| Json::Object(self.object(table))).collect())
            }
        }
    }

    fn value_json(&self, value: &'a Value) -> Option<Json> {
        match value {
            Value::String(text) => Some(text.value().as_str().into()),
            Value::Integer(number) => Some((*number.value()).into()),
            Value::Boolean(flag) => Some((*flag.value()).into()),
            Value::Datetime(time) => Some(time.value().to_string().into()),
            Value::Array(values) => Some(values.iter().filter_map(|value| self.value_json(value)).collect()),
            Value::InlineTable(table) => Some(Json::Object(self.object(table))),
            Value::Float(number) => {
                let json = serde_json::Number::from_f64(*number.value()).map(Json::Number);
                if json.is_none() {
                    let at = value.span().unwrap_or_else(|| self.at.clone());
                    self.faults
                        .add(at, format!("{} is no number of JSON; write it as a text", number.value()));
                }
                json
            }
        }
    }
}

/// An instant as the rules of schedules take it.
pub fn model_instant(instant: prost_types::Timestamp) -> Timestamp {
    Timestamp::from_micros(
        instant.seconds.saturating_mul(1_000_000).saturating_add((instant.nanos / 1_000).into()),
    )
}

/// Where a key has its value; for a table, which may be all over the file, where it has its name.
fn place(table: &dyn TableLike, key: &str) -> Option<Range<usize>> {
    let (key, item) = table.get_key_value(key)?;
    let value = item.as_value().and_then(Value::span);
    value.or_else(|| key.span()).or_else(|| item.span())
}

fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Table(_) | Item::Value(Value::InlineTable(_)) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
        Item::Value(Value::String(_)) => "a text",
        Item::Value(Value::Integer(_)) => "a whole number",
        Item::Value(Value::Float(_)) => "a number",
        Item::Value(Value::Boolean(_)) => "true or false",
        Item::Value(Value::Datetime(_)) => "a date or a time",
        Item::Value(Value::Array(_)) => "a list",
    }
}
