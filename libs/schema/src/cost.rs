//! How much work a schema may make of a check. Parts of a value are looked at as often as the schema has ways to them, so
//! that a short text that refers to itself twice doubles the work with each level of a value, and a long chain of
//! references at each level takes more stack than there is.

use std::{collections::HashMap, ptr};

use serde_json::{Map, Value};

/// Levels of a value that is checked.
pub(crate) const MAX_DEPTH: usize = 32;
/// Schemas that may come to be asked of one innermost part of a value and of all around it.
const MAX_STEPS: u64 = 10_000;
/// Schemas within each other that may come to be asked at once.
const MAX_NESTING: usize = 256;
/// Patterns of a schema: each takes up to 1 MiB once it is compiled.
const MAX_PATTERNS: usize = 32;

/// Why a schema is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    /// It says something that is not looked into.
    NotKnown(String),
    /// A check could take very long.
    Work(String),
}

/// Up to how many schemas are asked of one innermost part of a value and of all around it.
///
/// # Errors
/// Too many; references that lead to where they are, or elsewhere than down from the root.
pub(crate) fn steps(schema: &Value) -> Result<u64, TooMuch> {
    let n_patterns = patterns(schema);
    if n_patterns > MAX_PATTERNS {
        return Err(TooMuch::Work(format!("has {n_patterns} patterns; at most {MAX_PATTERNS} are allowed")));
    }
    let mut count = Count { root: schema, known: HashMap::new(), n_around: 0 };
    Ok(count.of_part(schema, MAX_DEPTH)?.steps)
}

fn check_nesting(nesting: usize) -> Result<(), TooMuch> {
    if nesting > MAX_NESTING {
        let message =
            format!("may ask more than {MAX_NESTING} schemas within each other: refer to fewer others");
        return Err(TooMuch::Work(message));
    }
    Ok(())
}

fn patterns(value: &Value) -> usize {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("pattern", Value::String(_)) => 1,
                ("patternProperties", Value::Object(by_pattern)) => by_pattern.len() + patterns(value),
                _ => patterns(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

/// What a part of a value is: it is looked into by other keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Object,
    Array,
}

/// What it takes to look at a part of a value with all below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    /// Schemas that are asked of one innermost part and of all around it.
    steps: u64,
    /// Schemas that are asked within each other.
    nesting: usize,
}

impl Cost {
    /// Of two that are both asked.
    fn and(self, other: Self) -> Self {
        Self { steps: self.steps.saturating_add(other.steps), nesting: self.nesting.max(other.nesting) }
    }

    /// Of two of which one is asked.
    fn or(self, other: Self) -> Self {
        Self { steps: self.steps.max(other.steps), nesting: self.nesting.max(other.nesting) }
    }
}

struct Count<'a> {
    root: &'a Value,
    /// By schema, levels that may be below, and kind; `None`: it is being counted.
    known: HashMap<(usize, usize, Kind), Option<Cost>>,
    /// Schemas around the one that is being counted.
    n_around: usize,
}

impl<'a> Count<'a> {
    /// For a part of either kind, which may have so many levels.
    fn of_part(&mut self, schema: &'a Value, depth: usize) -> Result<Cost, TooMuch> {
        Ok(self.of(schema, depth, Kind::Object)?.or(self.of(schema, depth, Kind::Array)?))
    }

    fn of(&mut self, schema: &'a Value, depth: usize, kind: Kind) -> Result<Cost, TooMuch> {
        let Value::Object(keywords) = schema else { return Ok(Cost { steps: 1, nesting: 1 }) };
        let place = (ptr::from_ref(schema) as usize, depth, kind);
        match self.known.get(&place) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                let message =
                    "refers to itself without going into a value, and says nothing by that".to_owned();
                return Err(TooMuch::NotKnown(message));
            }
            None => {}
        }
        self.known.insert(place, None);
        self.n_around += 1;
        // Looked at before, as this function is within itself, too.
        check_nesting(self.n_around)?;
        let mut cost = self.at_once(keywords, depth, kind)?;
        if depth > 0 {
            cost = cost.and(self.below(keywords, depth - 1, kind)?);
        }
        self.n_around -= 1;
        cost = Cost { steps: cost.steps.saturating_add(1), nesting: cost.nesting + 1 };
        check_nesting(cost.nesting)?;
        if cost.steps > MAX_STEPS {
            let message = format!(
                "may ask more than {MAX_STEPS} schemas of one part of some parameters: let fewer alternatives refer to \
                 themselves, or to others"
            );
            return Err(TooMuch::Work(message));
        }
        self.known.insert(place, Some(cost));
        Ok(cost)
    }

    /// Those that are asked of the same part.
    fn at_once(
        &mut self,
        keywords: &'a Map<String, Value>,
        depth: usize,
        kind: Kind,
    ) -> Result<Cost, TooMuch> {
        let mut cost = Cost::default();
        for (keyword, value) in keywords {
            let schemas: Vec<&'a Value> = match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => vec![self.referred(reference)?],
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(TooMuch::NotKnown(format!("has {keyword}: refer by $ref")));
                }
                ("$id" | "id", Value::String(_)) if !ptr::eq(keywords, self.root_keywords()) => {
                    return Err(TooMuch::NotKnown(format!("has {keyword} below its root: leave it out")));
                }
                ("not" | "if" | "then" | "else", _) => vec![value],
                ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().collect(),
                ("dependentSchemas" | "dependencies", Value::Object(schemas)) => schemas.values().collect(),
                _ => continue,
            };
            for schema in schemas {
                cost = cost.and(self.of(schema, depth, kind)?);
            }
        }
        // What was looked at by these is found out by asking them again.
        if ["unevaluatedProperties", "unevaluatedItems"].iter().any(|key| keywords.contains_key(*key)) {
            cost = cost.and(cost);
        }
        Ok(cost)
    }

    /// Those that are asked of one of the parts below.
    fn below(&mut self, keywords: &'a Map<String, Value>, depth: usize, kind: Kind) -> Result<Cost, TooMuch> {
        let mut cost = Cost::default();
        for (keyword, value) in keywords {
            let of_keyword = match (kind, keyword.as_str(), value) {
                // One of them is for it.
                (Kind::Object, "properties", Value::Object(schemas)) => {
                    self.all(schemas.values(), depth, Cost::or)?
                }
                (Kind::Array, "prefixItems" | "items", Value::Array(schemas)) => {
                    self.all(schemas.iter(), depth, Cost::or)?
                }
                (Kind::Object, "patternProperties", Value::Object(schemas)) => {
                    self.all(schemas.values(), depth, Cost::and)?
                }
                (Kind::Object, "additionalProperties" | "unevaluatedProperties" | "propertyNames", _)
                | (Kind::Array, "items" | "additionalItems" | "unevaluatedItems" | "contains", _) => {
                    self.of_part(value, depth)?
                }
                _ => continue,
            };
            cost = cost.and(of_keyword);
        }
        Ok(cost)
    }

    fn all(
        &mut self,
        schemas: impl Iterator<Item = &'a Value>,
        depth: usize,
        joined: fn(Cost, Cost) -> Cost,
    ) -> Result<Cost, TooMuch> {
        let mut cost = Cost::default();
        for schema in schemas {
            cost = joined(cost, self.of_part(schema, depth)?);
        }
        Ok(cost)
    }

    fn root_keywords(&self) -> *const Map<String, Value> {
        self.root.as_object().map_or(ptr::null(), ptr::from_ref)
    }

    fn referred(&self, reference: &str) -> Result<&'a Value, TooMuch> {
        let found = reference.strip_prefix('#').and_then(decoded).and_then(|path| self.root.pointer(&path));
        found.ok_or_else(|| {
            let shown: String = reference.chars().take(80).collect();
            TooMuch::NotKnown(format!("refers to `{shown}`: refer to a part of it, such as `#/$defs/name`"))
        })
    }
}

/// A fragment without its `%20` and the like.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        bytes.push(if *first == b'%' {
            let digits = others.get(..2)?;
            rest = &others[2..];
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            *first
        });
    }
    String::from_utf8(bytes).ok()
}

/// How many parts a value has, itself included, and how many levels.
pub(crate) fn size(value: &Value) -> (u64, usize) {
    let parts: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => return (1, 0),
    };
    let (mut n_parts, mut depth) = (1, 0);
    for (n_below, depth_below) in parts.map(size) {
        n_parts += n_below;
        depth = depth.max(depth_below);
    }
    (n_parts, depth + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use serde_json::json;

    use super::*;

    /// `n` definitions, each of which asks the next twice.
    fn doubling(n: usize) -> Value {
        let next = |idx: usize| json!({"$ref": format!("#/$defs/{idx}")});
        let mut defs: Map<String, Value> =
            (0..n).map(|idx| (idx.to_string(), json!({"anyOf": [next(idx + 1), next(idx + 1)]}))).collect();
        defs.insert(n.to_string(), json!({"type": "integer"}));
        json!({"$ref": "#/$defs/0", "$defs": defs})
    }

    #[test]
    fn what_models_look_like_takes_few_steps() {
        let tree = json!({"$ref": "#/$defs/My%20Tree", "$defs": {"My Tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]+$"},
                "left": {"anyOf": [{"$ref": "#/$defs/My%20Tree"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/My%20Tree"}, {"type": "null"}]},
            },
        }}});
        let any_json = json!({"$ref": "#/$defs/j", "$defs": {"j": {"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"$ref": "#/$defs/j"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/j"}},
        ]}}});
        for schema in [tree, any_json, doubling(5)] {
            let steps = steps(&schema).unwrap();
            assert!((30..400).contains(&steps), "{steps}");
        }
    }

    #[test]
    fn what_could_take_very_long_is_refused() {
        let twice = json!({"properties": {"x": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        let chain: Map<String, Value> = (0..60)
            .map(|n| (n.to_string(), json!({"allOf": [{"$ref": format!("#/$defs/{}", n + 1)}]})))
            .collect();
        let mut deep = json!({"$ref": "#/$defs/0", "$defs": chain});
        deep["$defs"]["60"] = json!({"properties": {"x": {"$ref": "#"}}});
        let patterns: Vec<Value> = (0..40).map(|_| json!({"pattern": "a"})).collect();
        for (schema, told) in [
            (doubling(40), "more than 10000 schemas"),
            (twice, "more than 10000 schemas"),
            (deep, "within each other"),
            (json!({"allOf": patterns}), "40 patterns"),
        ] {
            let refused = steps(&schema).unwrap_err();
            assert!(matches!(&refused, TooMuch::Work(text) if text.contains(told)), "{refused:?}");
        }
    }

    #[test]
    fn what_is_not_looked_into_is_refused() {
        for (schema, told) in [
            (json!({"allOf": [{"$ref": "#"}]}), "refers to itself"),
            (json!({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}), "`#name`"),
            (json!({"$dynamicRef": "#"}), "$dynamicRef"),
            (json!({"allOf": [{"$id": "https://example.org/a"}]}), "$id"),
        ] {
            let refused = steps(&schema).unwrap_err();
            assert!(matches!(&refused, TooMuch::NotKnown(text) if text.contains(told)), "{refused:?}");
        }
        steps(&json!({"$id": "https://example.org/a", "properties": {"$id": {"type": "string"}}})).unwrap();
    }

    #[test]
    fn parts_and_levels_are_counted() {
        assert_eq!(size(&json!(1)), (1, 0));
        assert_eq!(size(&json!({"a": [1, {"b": 2}], "c": 3})), (6, 3));
    }
}
