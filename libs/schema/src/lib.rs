//! JSON Schemas of parameters: compiled once, kept while they are in use, and asked what does not fit.
//!
//! Schemas come from outside. So references lead within a schema only, and patterns are those that a finite automaton
//! takes: none makes a check slower than its text is long. How much work a schema makes of a value is bounded as well.

mod cost;
pub mod jobs;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::cost::TooMuch;

/// Faults of one value that are told.
const MAX_FAULTS: usize = 16;
/// Characters of a fault that are told: it may repeat a value.
const MAX_FAULT_SIZE: usize = 300;
/// Bytes of a pattern once it is compiled.
const MAX_PATTERN_SIZE: usize = 1 << 20;
/// Schemas that may come to be asked of all parts of a value together.
const MAX_WORK: u64 = 5_000_000;

/// A part of a value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it is: `.user.name`, `.items[3]`; empty: the value itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSchema {
    message: String,
    is_too_much: bool,
}

impl NoSchema {
    fn new(message: String) -> Self {
        Self { message, is_too_much: false }
    }

    /// It may be a schema, and values are not checked by it, as that could take very long.
    pub fn is_too_much(&self) -> bool {
        self.is_too_much
    }
}

impl fmt::Display for NoSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NoSchema {}

/// Compiled schemas. The one that was not used for longest goes when there are too many.
#[derive(Debug)]
pub struct Schemas {
    most: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_text: HashMap<Arc<str>, (Arc<Schema>, u64)>,
    n_uses: u64,
}

#[derive(Debug)]
struct Schema {
    validator: Validator,
    /// Schemas that may come to be asked of one part of a value.
    steps: u64,
}

impl Schemas {
    /// Keeps up to `most` of them.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), known: Mutex::default() }
    }

    /// What of `value` does not fit the schema; up to 16 faults.
    ///
    /// # Errors
    /// The text is no schema.
    pub fn check(&self, schema: &str, value: &Value) -> Result<Vec<Fault>, NoSchema> {
        let compiled = self.get(schema)?;
        Ok(faults(&compiled, value))
    }

    fn get(&self, schema: &str) -> Result<Arc<Schema>, NoSchema> {
        if let Some(compiled) = self.known().get(schema) {
            return Ok(compiled);
        }
        // Not under the lock: two who compile the same one at once do no harm.
        let compiled = Arc::new(compile(&parse(schema)?)?);
        self.known().put(schema, &compiled, self.most);
        Ok(compiled)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn get(&mut self, schema: &str) -> Option<Arc<Schema>> {
        self.n_uses += 1;
        let (compiled, used) = self.by_text.get_mut(schema)?;
        *used = self.n_uses;
        Some(Arc::clone(compiled))
    }

    fn put(&mut self, schema: &str, compiled: &Arc<Schema>, most: usize) {
        if self.by_text.len() >= most {
            let oldest =
                self.by_text.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| Arc::clone(text));
            if let Some(oldest) = oldest {
                self.by_text.remove(&oldest);
            }
        }
        self.by_text.insert(schema.into(), (Arc::clone(compiled), self.n_uses));
    }
}

/// What of some default parameters does not fit a schema, whatever else is required.
///
/// # Errors
/// The text is no schema.
pub fn check_defaults(schema: &str, defaults: &Value) -> Result<Vec<Fault>, NoSchema> {
    let mut schema = parse(schema)?;
    compile(&schema)?;
    if let Some(object) = schema.as_object_mut() {
        object.remove("required");
    }
    Ok(faults(&compile(&schema)?, defaults))
}

fn parse(schema: &str) -> Result<Value, NoSchema> {
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| NoSchema::new(format!("is no JSON: {error}")))?;
    if !schema.is_object() {
        return Err(NoSchema::new("is no JSON object, such as {\"type\": \"object\"}".to_owned()));
    }
    Ok(schema)
}

fn compile(schema: &Value) -> Result<Schema, NoSchema> {
    let too_much = |too_much| match too_much {
        TooMuch::NotKnown(message) => NoSchema::new(message),
        TooMuch::Work(message) => NoSchema { message, is_too_much: true },
    };
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_SIZE);
    let no_schema = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path();
        NoSchema::new(format!("is no JSON Schema: at `{place}`: {}", cut(&error.to_string())))
    };
    let steps = cost::steps(schema).map_err(too_much)?;
    let validator = jsonschema::options().with_pattern_options(patterns).build(schema).map_err(no_schema)?;
    Ok(Schema { validator, steps })
}

fn faults(schema: &Schema, value: &Value) -> Vec<Fault> {
    let (n_parts, depth) = cost::size(value);
    let alone = |message: String| vec![Fault { path: String::new(), message }];
    if depth > cost::MAX_DEPTH {
        return alone(format!("have {depth} levels; at most {} can be checked by a schema", cost::MAX_DEPTH));
    }
    if n_parts.saturating_mul(schema.steps) > MAX_WORK {
        return alone(format!(
            "have {n_parts} parts, which is too much to be checked by this schema: pass where the data is instead of the \
             data"
        ));
    }
    let fault = |error: jsonschema::ValidationError<'_>| Fault {
        path: path(error.instance_path().as_str()),
        message: cut(&error.to_string()),
    };
    schema.validator.iter_errors(value).take(MAX_FAULTS).map(fault).collect()
}

/// A JSON pointer as the path of a field.
fn path(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .map(|part| match part.parse::<usize>() {
            Ok(idx) => format!("[{idx}]"),
            Err(_) => format!(".{}", part.replace("~1", "/").replace("~0", "~")),
        })
        .collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_FAULT_SIZE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> String {
        json!({
            "type": "object",
            "properties": {"n": {"type": "integer"}, "items": {"type": "array", "items": {"$ref": "#/$defs/name"}}},
            "required": ["n"],
            "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
        })
        .to_string()
    }

    #[test]
    fn faults_say_where_they_are() {
        let schemas = Schemas::new(4);
        let check = |value: Value| schemas.check(&schema(), &value).unwrap();
        assert_eq!(check(json!({"n": 1, "items": ["a"]})), []);
        let faults = check(json!({"n": "x", "items": ["a", "B"]}));
        let mut paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, [".items[1]", ".n"]);
        let missing = check(json!({}));
        assert!(missing[0].path.is_empty() && missing[0].message.contains("\"n\""), "{missing:?}");
    }

    #[test]
    fn defaults_may_leave_out_what_is_required() {
        assert_eq!(check_defaults(&schema(), &json!({})).unwrap(), []);
        assert_eq!(check_defaults(&schema(), &json!({"n": "x"})).unwrap()[0].path, ".n");
    }

    #[test]
    fn what_is_no_schema_is_told() {
        let schemas = Schemas::new(4);
        for (text, told) in [
            ("{", "is no JSON"),
            ("[1]", "is no JSON object"),
            (r#"{"type": "integr"}"#, "is no JSON Schema: at `/type`"),
            (r#"{"$ref": "https://example.org/schema.json"}"#, "refers to `https://example.org/schema.json`"),
            (r#"{"$ref": "file:///etc/hostname"}"#, "refers to `file:///etc/hostname`"),
            (r#"{"pattern": "(a)\\1"}"#, "is no JSON Schema"),
            (r#"{"pattern": "(\\w{100}){500}"}"#, "is no JSON Schema"),
            (r##"{"properties": {"x": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}"##, "may ask more than"),
        ] {
            let error = schemas.check(text, &json!({})).unwrap_err().to_string();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }

    #[test]
    fn values_that_would_take_long_are_refused() {
        let schemas = Schemas::new(4);
        let check = |schema: &str, value: &Value| schemas.check(schema, value).unwrap();
        let nested = |n| (0..n).fold(json!(1), |inner, _| json!({"x": inner}));
        let recursive = r##"{"properties": {"x": {"$ref": "#"}}}"##;
        assert_eq!(check(recursive, &nested(32)), []);
        let deep = check(recursive, &nested(33));
        assert!(deep[0].message.starts_with("have 33 levels; at most 32"), "{deep:?}");

        let costly: Vec<Value> = (0..1_000).map(|n| json!({"minimum": -n})).collect();
        let costly = json!({"properties": {"x": {"items": {"allOf": costly}}}}).to_string();
        assert_eq!(check(&costly, &json!({"x": vec![1; 100]})), []);
        let many = check(&costly, &json!({"x": vec![1; 20_000]}));
        assert!(many[0].message.starts_with("have 20002 parts"), "{many:?}");
    }

    #[test]
    fn each_is_compiled_once_and_the_one_that_is_not_used_goes() {
        let schemas = Schemas::new(2);
        let text = |n: u32| format!(r#"{{"minimum": {n}}}"#);
        let first = schemas.get(&text(1)).unwrap();
        schemas.get(&text(2)).unwrap();
        assert!(Arc::ptr_eq(&first, &schemas.get(&text(1)).unwrap()));
        let second = Arc::downgrade(&schemas.get(&text(2)).unwrap());
        schemas.get(&text(1)).unwrap();
        schemas.get(&text(3)).unwrap();
        assert!(second.upgrade().is_none(), "it was not used for longest");
        assert!(Arc::ptr_eq(&first, &schemas.get(&text(1)).unwrap()));
    }
}
