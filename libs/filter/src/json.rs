use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::Value;
use tidegate_model::Timestamp;

use crate::{
    Error,
    parser::{Dialect, parse_by},
    time,
    token::Literal,
    typed::Fault,
};

/// Which things, of such as a program has as JSON objects: `name = gpu* AND max_slots > 2`.
///
/// A field is a key, or keys with points between them; what is below `spec` is found without that, too. A list has a
/// value where one of its items has it. A word of an enumeration may be written without what all its words begin with:
/// `type = docker`.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonFilter(pub(super) Node);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare { path: Vec<String>, operator: &'static str, literal: Literal, time: Option<Timestamp> },
}

impl JsonFilter {
    /// Parses a filter; empty: everything. `now` is what times such as `-1h` count from.
    ///
    /// # Errors
    /// What is wrong and at which column; too long, too deep, too many comparisons.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, Error> {
        parse_by(Untyped { now }, text).map(Self)
    }

    /// Whether this is one of them.
    pub fn matches(&self, thing: &Value) -> bool {
        self.0.matches(thing)
    }

    /// Whether anything is asked of a field, or of what is below it: what nobody asks for need not be told.
    pub fn asks(&self, field: &str) -> bool {
        let mut paths = Vec::new();
        self.0.paths(&mut paths);
        let is_it = |key: Option<&String>| key.is_none_or(|key| key == field);
        paths.iter().any(|path| match path.first().map(String::as_str) {
            Some("spec") => is_it(path.get(1)),
            _ => is_it(path.first()),
        })
    }

    /// A field that is asked for and that such a thing has not, and those that it has. `thing` has each field that there is;
    /// what is below one that is null or empty there may be anything, such as a label.
    pub fn unknown_field(&self, thing: &Value) -> Option<(String, Vec<String>)> {
        let mut paths = Vec::new();
        self.0.paths(&mut paths);
        let is_known = |path: &[String]| {
            may_have(thing, path) || thing.get("spec").is_some_and(|spec| may_have(spec, path))
        };
        let unknown = paths.into_iter().find(|path| !is_known(path))?;
        let below = |key: &str| match thing.get(key) {
            Some(Value::Object(fields)) if unknown.len() > 1 => {
                fields.keys().map(|below| format!("{key}.{below}")).collect()
            }
            _ => Vec::new(),
        };
        let known: BTreeSet<String> =
            keys(thing).flat_map(|key| below(key).into_iter().chain([key.to_owned()])).collect();
        Some((unknown.join("."), known.into_iter().collect()))
    }
}

impl Node {
    fn matches(&self, thing: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(thing)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(thing)),
            Self::Not(node) => !node.matches(thing),
            Self::Compare { path, operator, literal, time } => {
                let values = values(thing, path).unwrap_or_default();
                match *operator {
                    ":" if literal.is_any() => values.into_iter().any(is_set),
                    ":" => values.into_iter().any(|value| has(value, literal)),
                    "=" => values.into_iter().any(|value| is_same(value, literal, *time)),
                    "!=" => !values.into_iter().any(|value| is_same(value, literal, *time)),
                    _ => values.into_iter().filter_map(|value| order(value, literal, *time)).any(|order| {
                        match *operator {
                            "<" => order.is_lt(),
                            "<=" => order.is_le(),
                            ">" => order.is_gt(),
                            _ => order.is_ge(),
                        }
                    }),
                }
            }
        }
    }

    fn paths<'a>(&'a self, found: &mut Vec<&'a Vec<String>>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.paths(found)),
            Self::Not(node) => node.paths(found),
            Self::Compare { path, .. } => found.push(path),
        }
    }
}

/// Of things whose fields nobody knows before.
struct Untyped {
    now: Timestamp,
}

impl Dialect for Untyped {
    type Subject = Vec<String>;
    type Filter = Node;

    fn subject(&self, name: &str) -> Result<Vec<String>, String> {
        path_of(name)
    }

    fn compare(
        &self,
        subject: &Vec<String>,
        operator: &'static str,
        literal: &Literal,
    ) -> Result<Node, Fault> {
        if !literal.stars.is_empty() && !matches!(operator, "=" | "!=" | ":") {
            return Err(Fault::Operator("`*` goes with `=`, `!=` and `:` only".to_owned()));
        }
        let (path, literal) = (subject.clone(), literal.clone());
        let time = time::parse(&literal.text, self.now);
        Ok(Node::Compare { path, operator, literal, time })
    }

    fn all(filters: Vec<Node>) -> Node {
        Node::All(filters)
    }

    fn any(filters: Vec<Node>) -> Node {
        Node::Any(filters)
    }

    fn not(filter: Node) -> Node {
        Node::Not(Box::new(filter))
    }
}

/// The keys of a field.
pub(super) fn path_of(name: &str) -> Result<Vec<String>, String> {
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(format!(
            "`{name}` is no field: it has a key on each side of a point, such as `spec.type`"
        ));
    }
    Ok(path)
}

/// The values at a path; `None`: there is no such field.
fn values<'a>(thing: &'a Value, path: &[String]) -> Option<Vec<&'a Value>> {
    let mut found = Vec::new();
    let is_there =
        reach(thing, path, &mut found) || thing.get("spec").is_some_and(|spec| reach(spec, path, &mut found));
    is_there.then_some(found)
}

fn reach<'a>(value: &'a Value, path: &[String], found: &mut Vec<&'a Value>) -> bool {
    match (value, path) {
        (Value::Array(items), _) => {
            let n_reached = items.iter().filter(|item| reach(item, path, found)).count();
            n_reached > 0 || path.is_empty()
        }
        (value, []) => {
            found.push(value);
            true
        }
        (Value::Object(fields), [first, rest @ ..]) => {
            // A key may have points itself, as those of labels do.
            let whole = fields.get(&path.join(".")).map(|value| reach(value, &[], found));
            whole.or_else(|| Some(reach(fields.get(first)?, rest, found))).unwrap_or(false)
        }
        _ => false,
    }
}

/// Whether there may be something at a path of things like this one.
fn may_have(thing: &Value, path: &[String]) -> bool {
    match (thing, path) {
        (Value::Null, _) | (_, []) => true,
        (Value::Array(items), _) => items.is_empty() || items.iter().any(|item| may_have(item, path)),
        (Value::Object(fields), [first, rest @ ..]) => {
            fields.is_empty() || fields.get(first).is_some_and(|field| may_have(field, rest))
        }
        _ => false,
    }
}

/// Names of the fields of a thing.
fn keys(thing: &Value) -> impl Iterator<Item = &str> {
    let spec = thing.get("spec").and_then(Value::as_object);
    let objects = thing.as_object().into_iter().chain(spec);
    objects.flat_map(|object| object.keys().map(String::as_str))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// An item of a list was come to already; of an object it is a key that is asked for.
fn has(value: &Value, literal: &Literal) -> bool {
    match value {
        Value::Object(fields) => fields.keys().any(|key| is_like(key, literal)),
        value => equals(value, literal),
    }
}

/// As `equals`; an instant is the same in whatever zone it is written.
fn is_same(value: &Value, literal: &Literal, time: Option<Timestamp>) -> bool {
    let instant = || value.as_str()?.parse::<jiff::Timestamp>().ok().map(|instant| instant.as_microsecond());
    equals(value, literal) || time.is_some_and(|time| instant() == Some(time.as_micros()))
}

fn equals(value: &Value, literal: &Literal) -> bool {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => false,
        Value::String(text) => is_like(text, literal) || is_word(text, &literal.text),
        Value::Bool(flag) => is_like(if *flag { "true" } else { "false" }, literal),
        Value::Number(number) => {
            let asked = literal.text.parse::<f64>().ok();
            is_like(&number.to_string(), literal) || asked.is_some() && asked == number.as_f64()
        }
    }
}

/// Whether a text is another, in which stars stand for any text.
fn is_like(text: &str, literal: &Literal) -> bool {
    let Some((&first, _)) = literal.stars.split_first() else { return text == literal.text };
    let Some(mut rest) = text.strip_prefix(&literal.text[..first]) else { return false };
    for (idx, &star) in literal.stars.iter().enumerate() {
        match literal.stars.get(idx + 1) {
            // The earliest place leaves the most for those that follow.
            Some(&next) => {
                let part = &literal.text[star + 1..next];
                let Some(at) = rest.find(part) else { return false };
                rest = &rest[at + part.len()..];
            }
            None => return rest.ends_with(&literal.text[star + 1..]),
        }
    }
    true
}

/// Whether a word of an enumeration is meant: `docker` for `WORK_POOL_TYPE_DOCKER`.
fn is_word(word: &str, asked: &str) -> bool {
    let is_enumerated =
        word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    let asked = asked.to_ascii_uppercase();
    let begins = word.strip_suffix(&asked);
    is_enumerated && !asked.is_empty() && begins.is_some_and(|start| start.is_empty() || start.ends_with('_'))
}

/// How a value lies to what is asked: as numbers, as times, or else as texts.
fn order(value: &Value, literal: &Literal, time: Option<Timestamp>) -> Option<Ordering> {
    match value {
        Value::Number(number) => number.as_f64()?.partial_cmp(&literal.text.parse::<f64>().ok()?),
        Value::String(text) => {
            let instant = text.parse::<jiff::Timestamp>().ok();
            match (instant, time) {
                (Some(instant), Some(time)) => Some(instant.as_microsecond().cmp(&time.as_micros())),
                _ => Some(text.as_str().cmp(&literal.text)),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn things() -> [Value; 3] {
        [
            json!({
                "name": "gpu-a", "max_slots": 4, "pause": null, "tags": ["night", "eu west"],
                "spec": { "type": "WORK_POOL_TYPE_DOCKER", "description": "" },
                "labels": { "team.eu/x": "ml" }, "updated_at": "2026-09-21T13:33:20Z",
            }),
            json!({
                "name": "gpu-b", "max_slots": 12, "pause": { "reason": "repairs" }, "tags": [],
                "spec": { "type": "WORK_POOL_TYPE_PROCESS", "description": "the lab's" },
                "labels": {}, "updated_at": "2026-09-21T12:00:00Z",
            }),
            json!({ "name": "cpu", "max_slots": null, "ready": true, "spec": {} }),
        ]
    }

    /// The numbers of the things that a filter selects.
    fn selected(text: &str) -> Vec<usize> {
        let filter = JsonFilter::parse(text, NOW).expect(text);
        let things = things();
        (0..things.len()).filter(|&idx| filter.matches(&things[idx])).collect()
    }

    #[test]
    fn things_are_selected_by_what_they_have() {
        for (filter, expected) in [
            ("", &[0, 1, 2][..]),
            ("name = gpu-a", &[0]),
            ("name != gpu-a", &[1, 2]),
            ("name = gpu* max_slots > 4", &[1]),
            ("max_slots <= 4", &[0]),
            ("max_slots = 4.0", &[0]),
            ("name = *p*-*", &[0, 1]),
            ("name = (cpu OR gpu-b)", &[1, 2]),
            ("NOT (name = cpu OR name = gpu-b)", &[0]),
            ("pause:*", &[1]),
            ("-pause:*", &[0, 2]),
            ("pause.reason = repairs", &[1]),
            ("tags:night", &[0]),
            ("tags:\"eu west\"", &[0]),
            ("tags:*", &[0]),
            ("type = docker", &[0]),
            ("type = (docker OR PROCESS)", &[0, 1]),
            ("spec.type = WORK_POOL_TYPE_DOCKER", &[0]),
            ("type = er", &[]),
            ("description:*", &[1]),
            ("labels.team.eu/x = ml", &[0]),
            ("labels:team.eu/x", &[0]),
            ("ready = true", &[2]),
            ("updated_at > -1h", &[0]),
            ("updated_at < 2026-09-21T13:00:00Z", &[1]),
            ("name > d", &[0, 1]),
        ] {
            assert_eq!(selected(filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_they_do_not_have_is_told_with_what_they_have() {
        let known = json!({
            "name": "", "max_slots": null, "tags": [], "labels": {}, "value": null,
            "pause": { "reason": "" }, "spec": { "type": "" },
        });
        let unknown = |text: &str| JsonFilter::parse(text, NOW).expect("is a filter").unknown_field(&known);
        let (told, there) = unknown("name = a AND slots > 3").expect("there are no slots");
        assert_eq!(told, "slots");
        assert_eq!(there, ["labels", "max_slots", "name", "pause", "spec", "tags", "type", "value"]);
        let (told, there) = unknown("pause.raeson = x").expect("there is no such field");
        assert!(told == "pause.raeson" && there.contains(&"pause.reason".to_owned()), "{there:?}");
        for unknown_one in ["name.first = x", "spec.tpe = docker", "NOT (pause.by:*)"] {
            assert!(unknown(unknown_one).is_some(), "{unknown_one}");
        }
        for known_one in
            ["pause.reason = x type = docker", "labels.team.eu/x = ml", "tags:x", "value.a.b = 1", "pause:*"]
        {
            assert_eq!(unknown(known_one), None, "{known_one}");
        }
    }

    #[test]
    fn it_is_known_of_which_fields_something_is_asked() {
        let asks = |text: &str, field: &str| JsonFilter::parse(text, NOW).expect(text).asks(field);
        for text in ["labels.a = x", "name = y AND NOT (spec.labels:b)", "spec:*", "labels:*"] {
            assert!(asks(text, "labels"), "{text}");
        }
        for text in ["", "name = labels", "spec.type = labels", "parameters.labels = x"] {
            assert!(!asks(text, "labels"), "{text}");
        }
    }

    #[test]
    fn errors_point_at_the_mistake() {
        for (filter, column, message) in [
            ("spec. = x", 1, "key on each side"),
            ("name > a*", 6, "`*` goes with"),
            ("name", 5, "is missing after `name`"),
        ] {
            let error = JsonFilter::parse(filter, NOW).expect_err(filter);
            assert_eq!(error.column, column, "{filter}: {error}");
            assert!(error.message.contains(message), "{filter}: {error}");
        }
    }
}
