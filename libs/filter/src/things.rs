use tidegate_model::Timestamp;

use crate::{
    Error, JsonFilter,
    json::{Node, path_of},
    nearest::nearest,
    parser::{Dialect, parse_by},
    time,
    token::Literal,
    typed::Fault,
};

/// What a list has, and the fields by which a filter may ask for some of it.
#[derive(Clone, Copy, Debug)]
pub struct Things {
    /// One of them, with its article: `a queue`.
    pub one: &'static str,
    /// Each field by its keys with points between them. What is below `spec` is found without that, too.
    pub fields: &'static [(&'static str, FieldType)],
}

/// What a field holds, and so how it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A text, or several; ordered by their bytes.
    Text,
    /// One of these words, in letters of either case.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// An instant: `2026-01-31T12:00:00Z`, `2026-01-31`, `now`, `-1h`.
    Time,
    /// A span of time, which the thing has in seconds: `90s`, `1h30m`.
    Span,
    /// Other fields, which are asked for each by itself; of this one only whether it is set.
    Group,
    /// Keys of the users, and values of any kind: `labels.team = ml`.
    Map,
}

impl JsonFilter {
    /// As `parse`, for things whose fields are known: a field that they have not is an error, and so is a value that does not
    /// fit its field.
    ///
    /// # Errors
    /// What is wrong and at which column.
    pub fn parse_of(things: &'static Things, text: &str, now: Timestamp) -> Result<Self, Error> {
        parse_by(Known { things, now }, text).map(Self)
    }
}

/// Of things whose fields are known.
struct Known {
    things: &'static Things,
    now: Timestamp,
}

impl Dialect for Known {
    type Subject = (Vec<String>, FieldType);
    type Filter = Node;

    fn subject(&self, name: &str) -> Result<Self::Subject, String> {
        let path = path_of(name)?;
        match self.field_type(name) {
            Some(field_type) => Ok((path, field_type)),
            None => Err(self.unknown(name)),
        }
    }

    fn compare(
        &self,
        (path, field_type): &Self::Subject,
        operator: &'static str,
        literal: &Literal,
    ) -> Result<Node, Fault> {
        let is_order = !matches!(operator, "=" | "!=" | ":");
        if is_order && !literal.stars.is_empty() {
            return Err(Fault::Operator("`*` goes with `=`, `!=` and `:` only".to_owned()));
        }
        // Whether it is set is asked of each.
        if !(operator == ":" && literal.is_any()) {
            self.check(&path.join("."), *field_type, is_order, literal)?;
        }
        let time = time::parse(&literal.text, self.now);
        let literal = match time::span(&literal.text) {
            Some(span) if *field_type == FieldType::Span => {
                Literal { text: span.as_secs().to_string(), stars: Vec::new() }
            }
            _ => literal.clone(),
        };
        Ok(Node::Compare { path: path.clone(), operator, literal, time })
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

impl Known {
    /// Of what type the field of this name is. `None`: there is none.
    fn field_type(&self, name: &str) -> Option<FieldType> {
        let is_meant = |field: &str| field == name || field.strip_prefix("spec.") == Some(name);
        let found = self.things.fields.iter().find(|(field, _)| is_meant(field));
        if let Some((_, field_type)) = found {
            return Some(*field_type);
        }
        let is_below = |field: &str| name.strip_prefix(field).is_some_and(|key| key.starts_with('.'));
        let maps = self.things.fields.iter().filter(|(_, field_type)| *field_type == FieldType::Map);
        let mut names = maps.map(|(field, _)| *field);
        names
            .any(|field| is_below(field) || field.strip_prefix("spec.").is_some_and(is_below))
            .then_some(FieldType::Map)
    }

    fn unknown(&self, name: &str) -> String {
        let short = |field: &'static str| field.strip_prefix("spec.").unwrap_or(field);
        let all = || self.things.fields.iter().map(|(field, _)| *field);
        let one = self.things.one;
        match nearest(name, all().map(short).chain(all())) {
            Some(near) => format!("`{name}` is no field of {one}; did you mean `{near}`?"),
            None => {
                let known: Vec<_> = all().map(short).collect();
                format!("`{name}` is no field of {one}; there are {}", known.join(", "))
            }
        }
    }

    fn check(
        &self,
        name: &str,
        field_type: FieldType,
        is_order: bool,
        literal: &Literal,
    ) -> Result<(), Fault> {
        let text = &literal.text;
        match field_type {
            FieldType::Text | FieldType::Map => Ok(()),
            FieldType::Word(_) | FieldType::Flag if is_order => {
                Err(Fault::Operator(format!("`{name}` has no order: it goes with `=` and `!=`")))
            }
            FieldType::Word(words) => {
                let is_one = words.iter().any(|word| word.eq_ignore_ascii_case(text));
                let told = || format!("`{text}` is no {name}; there are {}", words.join(", "));
                if is_one || !literal.stars.is_empty() { Ok(()) } else { Err(Fault::Value(told())) }
            }
            FieldType::Flag => match text.as_str() {
                "true" | "false" => Ok(()),
                _ => {
                    Err(Fault::Value(format!("`{text}` is neither true nor false, one of which `{name}` is")))
                }
            },
            FieldType::Number if text.parse::<f64>().is_err() => {
                Err(Fault::Value(format!("`{text}` is no number, which `{name}` is")))
            }
            FieldType::Time if time::parse(text, self.now).is_none() => Err(Fault::Value(format!(
                "`{text}` is no time, which `{name}` is: 2026-01-31T12:00:00Z, 2026-01-31, now, or a span from now such \
                 as -1h"
            ))),
            FieldType::Span if time::span(text).is_none() => {
                let message = format!("`{text}` is no span of time, which `{name}` is: 90s, 1h30m, 2d");
                Err(Fault::Value(message))
            }
            FieldType::Number | FieldType::Time | FieldType::Span => Ok(()),
            FieldType::Group => {
                let below = format!("{name}.");
                let fields = self.things.fields.iter().map(|(field, _)| *field);
                let known: Vec<_> = fields.filter(|field| field.starts_with(&below)).collect();
                Err(Fault::Value(format!(
                    "`{name}` has fields of its own: ask for `{name}:*`, or for {}",
                    known.join(", ")
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    const BERTHS: Things = Things {
        one: "a berth",
        fields: &[
            ("name", FieldType::Text),
            ("max_slots", FieldType::Number),
            ("is_free", FieldType::Flag),
            ("pause", FieldType::Group),
            ("pause.reason", FieldType::Text),
            ("spec.type", FieldType::Word(&["DOCK", "BUOY"])),
            ("labels", FieldType::Map),
            ("spec.parameters", FieldType::Map),
            ("updated_at", FieldType::Time),
            ("every", FieldType::Span),
        ],
    };

    #[test]
    fn what_fits_is_asked_of_the_things() {
        let berth = json!({
            "name": "north", "max_slots": 4, "is_free": true, "pause": null, "labels": { "team.eu/x": "ml" },
            "spec": { "type": "DOCK", "parameters": { "day": "monday" } }, "updated_at": "2026-09-21T13:33:20Z",
            "every": 5400.0,
        });
        for (text, expected) in [
            ("", true),
            ("name = n* AND max_slots >= 4", true),
            ("type = dock", true),
            ("spec.type = (buoy OR DOCK)", true),
            ("type = buoy", false),
            ("is_free = true", true),
            ("is_free != true", false),
            ("pause:*", false),
            ("NOT pause.reason = repairs", true),
            ("labels.team.eu/x = ml", true),
            ("labels:team.eu/x", true),
            ("parameters.day = monday", true),
            ("spec.parameters.day = tuesday", false),
            ("updated_at > -1h", true),
            ("updated_at = 2026-09-21T13:33:20.000Z", true),
            ("updated_at != 2026-09-21T15:33:20+02:00", false),
            ("updated_at < 2026-09-21", false),
            ("every = 1h30m", true),
            ("every = 5400s", true),
            ("every > 90m", false),
            ("every > 5m every < 1d", true),
            ("every:*", true),
        ] {
            let filter = JsonFilter::parse_of(&BERTHS, text, NOW).expect(text);
            assert_eq!(filter.matches(&berth), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_column_and_what_would() {
        for (text, column, message) in [
            ("nam = x", 1, "`nam` is no field of a berth; did you mean `name`?"),
            ("name = x max_slot > 1", 10, "did you mean `max_slots`?"),
            ("spec.tpye = dock", 1, "did you mean `spec.type`?"),
            (
                "harbour = x",
                1,
                "there are name, max_slots, is_free, pause, pause.reason, type, labels, parameters, updated_at, every",
            ),
            ("name.first = x", 1, "`name.first` is no field"),
            ("max_slots > many", 13, "`many` is no number, which `max_slots` is"),
            ("type = quay", 8, "`quay` is no type; there are DOCK, BUOY"),
            ("type > dock", 6, "`type` has no order"),
            ("is_free = yes", 11, "`yes` is neither true nor false"),
            ("updated_at > yesterday", 14, "`yesterday` is no time"),
            ("every > often", 9, "`often` is no span of time"),
            ("every = 90", 9, "90s, 1h30m"),
            ("pause = x", 9, "ask for `pause:*`, or for pause.reason"),
            ("name > a*", 6, "`*` goes with"),
            ("spec. = x", 1, "key on each side"),
        ] {
            let error = JsonFilter::parse_of(&BERTHS, text, NOW).expect_err(text);
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
