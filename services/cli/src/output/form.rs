use serde_json::Value;

/// A value as a YAML document. A text that some reader could take for something else is quoted as in JSON, which is YAML
/// too: `no` is false and `1:30` a number where YAML 1.1 is read.
pub fn yaml(value: &Value) -> String {
    escaped(&yaml_lines(value).iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// JSON or YAML in which characters that YAML does not take, that its readers take for ends of lines, or that a terminal
/// acts on, are written as escapes: they stand in quotes alone. JSON leaves them as they are.
pub fn escaped(document: &str) -> String {
    let is_odd = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if !document.contains(is_odd) {
        return document.to_owned();
    }
    document.chars().fold(String::with_capacity(document.len()), |mut text, c| {
        if is_odd(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
        text
    })
}

fn yaml_lines(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let field = |(key, value): (&String, &Value)| {
                let key = yaml_word(key);
                let lines = yaml_lines(value);
                if is_block(value) {
                    let below = lines.iter().map(|line| format!("  {line}"));
                    std::iter::once(format!("{key}:")).chain(below).collect()
                } else {
                    vec![format!("{key}: {}", lines.concat())]
                }
            };
            fields.iter().flat_map(field).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let item = |item: &Value| {
                let lines = yaml_lines(item).into_iter().enumerate();
                lines
                    .map(|(idx, line)| format!("{}{line}", if idx == 0 { "- " } else { "  " }))
                    .collect::<Vec<_>>()
            };
            items.iter().flat_map(item).collect()
        }
        Value::String(text) => vec![yaml_word(text)],
        scalar_or_empty => vec![scalar_or_empty.to_string()],
    }
}

/// Whether a value has lines of its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn yaml_word(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

/// What names each thing of an answer, one a line: what commands take to find it again.
pub fn names(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(names).collect(),
        Value::Object(fields) => {
            // A change answers with the run that it was made to.
            if let Some(run) = fields.get("run").filter(|run| run.is_object()) {
                return names(run);
            }
            let of = |key: &&str| fields.get(*key).filter(|value| !value.is_null());
            if let (None, Some(deployment), Some(name)) = (of(&"id"), of(&"deployment"), of(&"name")) {
                // A schedule is found by two words.
                return format!("{} {}", names(deployment).trim_end(), names(name));
            }
            let name = [
                "id",
                "name",
                "deleted",
                "run_id",
                "run_ids",
                "deployments",
                "pause_key",
                "version",
                "fire_at",
                "count",
                "message",
            ]
            .iter()
            .find_map(of);
            name.map_or_else(String::new, names)
        }
        Value::String(text) => format!("{}\n", super::text::printable(text)),
        other => format!("{other}\n"),
    }
}

/// Words that have a colour, with its escape sequence.
const COLOURS: [(&str, &str); 18] = [
    ("SCHEDULED", "\x1b[33m"),
    ("PENDING", "\x1b[36m"),
    ("RUNNING", "\x1b[34m"),
    ("PAUSED", "\x1b[35m"),
    ("CANCELLING", "\x1b[35m"),
    ("COMPLETED", "\x1b[32m"),
    ("FAILED", "\x1b[31m"),
    ("CRASHED", "\x1b[31m"),
    ("CANCELLED", "\x1b[90m"),
    ("TRACE", "\x1b[90m"),
    ("DEBUG", "\x1b[90m"),
    ("INFO", "\x1b[32m"),
    ("WARN", "\x1b[33m"),
    ("ERROR", "\x1b[31m"),
    ("FATAL", "\x1b[31m"),
    ("ok", "\x1b[32m"),
    ("warning", "\x1b[33m"),
    ("failed", "\x1b[31m"),
];

/// A text for people with colours: the first word of a line that is a state or a level has one, and the verdict that a
/// line of `doctor` begins with. Text of users is never more than a colour from it.
pub fn painted(text: &str) -> String {
    text.split_inclusive('\n').map(painted_line).collect()
}

fn painted_line(line: &str) -> String {
    let mut at = 0;
    for word in line.split_inclusive([' ', '\n']) {
        let bare = word.trim_end();
        let is_it =
            |word: &str| word == bare && (at == 0 || word.starts_with(|c: char| c.is_ascii_uppercase()));
        if let Some((_, colour)) = COLOURS.iter().find(|(word, _)| is_it(word)) {
            let end = at + bare.len();
            return format!("{}{colour}{bare}\x1b[0m{}", &line[..at], &line[end..]);
        }
        at += word.len();
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_state_of_a_line_has_a_colour() {
        assert_eq!(
            painted("ID   STATE\na    FAILED   it FAILED\nb    -\n"),
            "ID   STATE\na    \x1b[31mFAILED\x1b[0m   it FAILED\nb    -\n"
        );
    }

    #[test]
    fn a_thing_is_named_by_what_finds_it_again() {
        let runs = json!([{ "id": "a", "name": "etl" }, { "run": { "id": "b" }, "n_cancelled": 1 }]);
        assert_eq!(names(&runs), "a\nb\n");
        assert_eq!(names(&json!({ "name": "gpu", "pause": null })), "gpu\n");
        assert_eq!(names(&json!({ "deleted": "gpu" })), "gpu\n");
        assert_eq!(
            names(&json!({ "deleted": { "deployment": "etl/nightly", "name": "default" } })),
            "etl/nightly default\n"
        );
        assert_eq!(
            names(&json!({ "deployments": [{ "name": "etl/nightly", "change": "new" }] })),
            "etl/nightly\n"
        );
        assert_eq!(names(&json!([])), "");
    }

    #[test]
    fn what_is_no_text_to_a_terminal_or_to_yaml_is_escaped() {
        let value = json!({ "message": "a\u{9b}2Jb\u{7f}\u{2028}\u{feff}é" });
        assert_eq!(yaml(&value), "message: \"a\\u009b2Jb\\u007f\\u2028\\ufeffé\"\n");
        assert_eq!(serde_json::from_str::<Value>(&escaped(&value.to_string())).expect("is JSON"), value);
    }

    #[test]
    fn yaml_has_the_fields_of_json() {
        let run = json!({ "id": "a-1", "name": "yes", "n": 1, "message": "a\nb", "labels": {}, "tags": ["x: y", "z"] });
        let value =
            json!([run, { "state": { "type": "FAILED" }, "children": [{ "id": "b", "result": null }] }]);
        let expected = r#"
- id: a-1
  labels: {}
  message: "a\nb"
  "n": 1
  name: "yes"
  tags:
    - "x: y"
    - z
- children:
    - id: b
      result: null
  state:
    type: FAILED
"#
        .trim_start();
        assert_eq!(yaml(&value), expected);
    }
}
