//! Job templates: JSON in which `{{ name }}` stands for a job variable.

use serde_json::{Map, Value};

/// `template` with `variables` in their places.
///
/// A text that is one placeholder and nothing else becomes the variable's value, of whatever type; where the variable has
/// none, what would have had it is left out. Within a longer text a variable has to have a value, which is a text, a number
/// or a truth value.
///
/// # Errors
/// What is wrong, for people; `the job template …` is to stand before it.
pub(super) fn fill(template: Value, variables: &Map<String, Value>) -> Result<Value, String> {
    Ok(filled(template, variables)?.unwrap_or(Value::Null))
}

fn filled(template: Value, variables: &Map<String, Value>) -> Result<Option<Value>, String> {
    Ok(match template {
        Value::String(text) => match sole(&text) {
            Some(name) => variables.get(name).filter(|value| !value.is_null()).cloned(),
            None => Some(Value::String(in_text(&text, variables)?)),
        },
        Value::Array(items) => {
            let items = items.into_iter().filter_map(|item| filled(item, variables).transpose());
            Some(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Value::Object(fields) => {
            let field =
                |(name, value)| Some(filled(value, variables).transpose()?.map(|value| (name, value)));
            Some(Value::Object(fields.into_iter().filter_map(field).collect::<Result<_, _>>()?))
        }
        other => Some(other),
    })
}

/// The name in a text that is one placeholder.
fn sole(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inside.contains("{{") && !inside.contains("}}")).then(|| inside.trim())
}

fn in_text(text: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((inside, behind)) = behind.split_once("}}") else {
            return Err(format!("has `{text}`, in which a placeholder is not closed by `}}}}`"));
        };
        let name = inside.trim();
        filled.push_str(before);
        match variables.get(name) {
            Some(Value::String(value)) => filled.push_str(value),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => filled.push_str(&value.to_string()),
            Some(Value::Null) | None => {
                return Err(format!("has `{text}`, and the job variable `{name}` has no value: give it one"));
            }
            Some(Value::Array(_) | Value::Object(_)) => {
                return Err(format!("has `{text}`, and the job variable `{name}` is no text"));
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(template: Value, variables: Value) -> Result<Value, String> {
        fill(template, variables.as_object().unwrap())
    }

    #[test]
    fn a_placeholder_alone_keeps_the_type_and_is_left_out_without_a_value() {
        let template = json!({
            "cpus": "{{ cpus }}", "labels": "{{labels}}", "image": " {{ image }} ",
            "secrets": ["{{ secret }}", "always"], "plain": 1, "below": {"none": "{{ none }}"},
        });
        let filled = of(template, json!({"cpus": 0.5, "labels": {"a": "b"}, "image": null})).unwrap();
        let wanted = json!({
            "cpus": 0.5, "labels": {"a": "b"}, "secrets": ["always"], "plain": 1, "below": {},
        });
        assert_eq!(filled, wanted);
    }

    #[test]
    fn within_a_text_a_value_becomes_text() {
        let filled = of(
            json!("{{ team }}/{{name}}:{{ n }}-{{ on }}"),
            json!({"team": "a", "name": "b", "n": 3, "on": true}),
        );
        assert_eq!(filled.unwrap(), json!("a/b:3-true"));
        assert_eq!(
            of(json!("{{ a }}{{ b }}"), json!({"a": "x", "b": "{{ a }}"})).unwrap(),
            json!("x{{ a }}")
        );
    }

    #[test]
    fn what_cannot_be_filled_in_names_the_variable() {
        for (template, variables, told) in [
            ("v{{ tag }}", json!({}), "`tag` has no value"),
            ("v{{ tag }}", json!({"tag": ["a"]}), "`tag` is no text"),
            ("v{{ tag", json!({}), "not closed"),
        ] {
            let error = of(json!({"image": [template]}), variables).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
