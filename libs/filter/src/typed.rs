use tidegate_model::{RunKind, Timestamp};
use tidegate_orchestration::StateType;
use tidegate_store::{Comparison, Field, Filter, Value};

use crate::{parser::Dialect, time, token::Literal};

/// What is compared, by its name in a filter.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Field(Field, Type),
    /// `flow` or `task`: the name of a run of that kind.
    Function(RunKind),
    /// `labels.KEY`.
    Label(String),
}

/// What a field holds, and so how it is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Type {
    State,
    Kind,
    Text,
    List,
    Map,
    Run,
    Session,
    Number,
    Time,
}

const FIELDS: &[(&str, Field, Type)] = &[
    ("id", Field::Id, Type::Run),
    ("state", Field::State, Type::State),
    ("state_name", Field::StateName, Type::Text),
    ("kind", Field::Kind, Type::Kind),
    ("name", Field::Name, Type::Text),
    ("run_name", Field::RunName, Type::Text),
    ("queue", Field::Queue, Type::Text),
    ("session_id", Field::Session, Type::Session),
    ("holder", Field::Holder, Type::Text),
    ("deployment", Field::Deployment, Type::Text),
    ("work_pool", Field::WorkPool, Type::Text),
    ("schedule", Field::Schedule, Type::Text),
    ("cache_key", Field::CacheKey, Type::Text),
    ("fairness_key", Field::FairnessKey, Type::Text),
    ("tags", Field::Tags, Type::List),
    ("labels", Field::Labels, Type::Map),
    ("parent_run_id", Field::Parent, Type::Run),
    ("root_run_id", Field::Root, Type::Run),
    ("depth", Field::Depth, Type::Number),
    ("attempt", Field::Attempt, Type::Number),
    ("crashes", Field::Crashes, Type::Number),
    ("retries", Field::Retries, Type::Number),
    ("priority", Field::Priority, Type::Number),
    ("created_at", Field::CreatedAt, Type::Time),
    ("due_at", Field::DueAt, Type::Time),
    ("fire_at", Field::FireAt, Type::Time),
    ("expires_at", Field::ExpiresAt, Type::Time),
    ("started_at", Field::StartedAt, Type::Time),
    ("ended_at", Field::EndedAt, Type::Time),
];

/// What a filter selects among.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Runs,
    Deployments,
}

/// Filters of runs and deployments, whose fields are known. `now` is what spans such as `-1h` count from.
pub(super) struct Typed {
    pub of: Of,
    pub now: Timestamp,
}

impl Dialect for Typed {
    type Subject = Subject;
    type Filter = Filter;

    fn subject(&self, name: &str) -> Result<Subject, String> {
        subject(self.of, name)
    }

    fn compare(&self, subject: &Subject, operator: &'static str, literal: &Literal) -> Result<Filter, Fault> {
        compare(subject, operator, literal, self.now)
    }

    fn all(filters: Vec<Filter>) -> Filter {
        Filter::And(filters)
    }

    fn any(filters: Vec<Filter>) -> Filter {
        Filter::Or(filters)
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }
}

/// Those of the fields of a run that its deployment gives it.
const OF_DEPLOYMENTS: &[&str] =
    &["deployment", "work_pool", "queue", "priority", "tags", "labels", "created_at"];

/// What has this name, or a sentence that says what there is.
fn subject(of: Of, name: &str) -> Result<Subject, String> {
    let is_of_deployments = name == "flow" || name.starts_with("labels.") || OF_DEPLOYMENTS.contains(&name);
    if of == Of::Deployments && !is_of_deployments {
        let known = OF_DEPLOYMENTS.join(", ");
        return Err(format!("`{name}` is no field of a deployment; there are flow, labels.KEY, {known}"));
    }
    if let Some((_, field, field_type)) = FIELDS.iter().find(|(known, _, _)| *known == name) {
        return Ok(Subject::Field(*field, *field_type));
    }
    match (name, name.strip_prefix("labels.")) {
        ("flow", _) => Ok(Subject::Function(RunKind::Flow)),
        ("task", _) => Ok(Subject::Function(RunKind::Task)),
        (_, Some(key)) if !key.is_empty() => Ok(Subject::Label(key.to_owned())),
        _ => {
            let known: Vec<_> = FIELDS.iter().map(|(known, _, _)| *known).collect();
            Err(format!(
                "`{name}` is no field of a run; there are flow, task, labels.KEY, {}",
                known.join(", ")
            ))
        }
    }
}

/// Which part of a comparison is wrong, and a sentence that says what would fit.
pub(super) enum Fault {
    Operator(String),
    Value(String),
}

/// A comparison whose operator and value fit the subject. `now` is what spans such as `-1h` count from.
fn compare(subject: &Subject, operator: &str, literal: &Literal, now: Timestamp) -> Result<Filter, Fault> {
    if literal.text.contains('\0') {
        return Err(Fault::Value("a value has no NUL characters".to_owned()));
    }
    match subject {
        Subject::Function(kind) => compare_function(*kind, operator, literal),
        Subject::Label(key) => compare_label(key, operator, literal),
        Subject::Field(field, Type::List | Type::Map) => compare_collection(*field, operator, literal),
        Subject::Field(field, _) if operator == ":" => {
            if literal.is_any() {
                return Ok(Filter::IsSet(*field));
            }
            let message = "`:` is for tags and labels, and asks with `:*` whether a field is set; use `=`";
            Err(Fault::Operator(message.to_owned()))
        }
        Subject::Field(field, Type::Text) => compare_text(operator, literal, |comparison, text| {
            Filter::Compare(*field, comparison, Value::Text(text))
        }),
        Subject::Field(field, field_type) => {
            let comparison = comparison(*field_type, operator)?;
            let value = value(*field_type, &literal.text, now).map_err(Fault::Value)?;
            Ok(Filter::Compare(*field, comparison, value))
        }
    }
}

/// `flow = etl` is the name of runs of that kind; runs of the other kind have no such field.
fn compare_function(kind: RunKind, operator: &str, literal: &Literal) -> Result<Filter, Fault> {
    let is_kind = Filter::Compare(Field::Kind, Comparison::Equal, Value::Kind(kind));
    if operator == ":" {
        return if literal.is_any() {
            Ok(is_kind)
        } else {
            Err(Fault::Operator(format!("`:` goes with `*` here; use `{} =`", kind.as_str())))
        };
    }
    let is_negated = operator == "!=";
    let named = compare_text(if is_negated { "=" } else { operator }, literal, |comparison, text| {
        Filter::Compare(Field::Name, comparison, Value::Text(text))
    })?;
    let both = Filter::And(vec![is_kind, named]);
    Ok(if is_negated { Filter::Not(Box::new(both)) } else { both })
}

/// AIP-160 has `labels.KEY:*` for a key that is there, and `:` as `=` below a map.
fn compare_label(key: &str, operator: &str, literal: &Literal) -> Result<Filter, Fault> {
    if operator == ":" && literal.is_any() {
        return Ok(Filter::Compare(Field::Labels, Comparison::Has, Value::Text(key.to_owned())));
    }
    let operator = if operator == ":" { "=" } else { operator };
    compare_text(operator, literal, |comparison, text| {
        Filter::Compare(Field::Labels, comparison, Value::Label { key: key.to_owned(), text })
    })
}

fn compare_collection(field: Field, operator: &str, literal: &Literal) -> Result<Filter, Fault> {
    let example = if field == Field::Tags {
        "a list is asked with `:`, as in `tags:nightly`"
    } else {
        "a map is asked with `labels.KEY = value`, or `labels:KEY` for a key that is there"
    };
    if operator != ":" {
        return Err(Fault::Operator(example.to_owned()));
    }
    if literal.is_any() {
        return Ok(Filter::IsSet(field));
    }
    if !literal.stars.is_empty() {
        let message = "an item is asked for as a whole; a star itself is written `\\*` in quotes";
        return Err(Fault::Value(message.to_owned()));
    }
    Ok(Filter::Compare(field, Comparison::Has, Value::Text(literal.text.clone())))
}

/// A comparison with a text, in which stars at the ends stand for any text.
fn compare_text(
    operator: &str,
    literal: &Literal,
    filter: impl Fn(Comparison, String) -> Filter,
) -> Result<Filter, Fault> {
    let comparison = comparison(Type::Text, operator)?;
    let text = &literal.text;
    let last = text.len().saturating_sub(1);
    let (like, part) = match literal.stars[..] {
        [] => return Ok(filter(comparison, text.clone())),
        [at] if at == last => (Comparison::StartsWith, &text[..last]),
        [0] => (Comparison::EndsWith, &text[1..]),
        [0, at] if at == last => (Comparison::Contains, &text[1..last]),
        _ => {
            let message =
                "`*` goes at the beginning and the end of a text; a star itself is written `\\*` in quotes";
            return Err(Fault::Value(message.to_owned()));
        }
    };
    let like = filter(like, part.to_owned());
    match comparison {
        Comparison::Equal => Ok(like),
        Comparison::NotEqual => Ok(Filter::Not(Box::new(like))),
        _ => Err(Fault::Operator("`*` goes with `=` and `!=` only".to_owned())),
    }
}

fn comparison(field_type: Type, operator: &str) -> Result<Comparison, Fault> {
    match (field_type, operator) {
        (_, "=") => Ok(Comparison::Equal),
        (_, "!=") => Ok(Comparison::NotEqual),
        (Type::State | Type::Kind | Type::Run | Type::Session, _) => {
            Err(Fault::Operator(format!("`{operator}` does not fit this field; use `=` or `!=`")))
        }
        (_, "<") => Ok(Comparison::Less),
        (_, "<=") => Ok(Comparison::LessOrEqual),
        (_, ">") => Ok(Comparison::Greater),
        _ => Ok(Comparison::GreaterOrEqual),
    }
}

fn value(field_type: Type, text: &str, now: Timestamp) -> Result<Value, String> {
    match field_type {
        Type::Text | Type::List | Type::Map => Ok(Value::Text(text.to_owned())),
        Type::State => text.to_ascii_uppercase().parse().map(Value::State).map_err(|_| {
            let known: Vec<_> = StateType::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is no state; there are {}", known.join(", "))
        }),
        Type::Kind => text
            .to_ascii_lowercase()
            .parse::<RunKind>()
            .map(Value::Kind)
            .map_err(|_| format!("`{text}` is no kind; there are flow and task")),
        Type::Run => {
            text.parse().map(Value::Run).map_err(|error: tidegate_model::InvalidId| error.to_string())
        }
        Type::Session => {
            text.parse().map(Value::Session).map_err(|error: tidegate_model::InvalidId| error.to_string())
        }
        Type::Number => text.parse().map(Value::Number).map_err(|_| format!("`{text}` is no whole number")),
        Type::Time => time::parse(text, now).map(Value::Time).ok_or_else(|| {
            format!("`{text}` is no time such as \"2026-01-31T12:00:00Z\", 2026-01-31, now or -1h")
        }),
    }
}
