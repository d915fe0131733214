use tidegate_model::{RunId, RunKind, Timestamp};
use tidegate_orchestration::StateType;
use tidegate_store::{Comparison, Field, Filter, Value};

/// What a field holds, and so how it is compared.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    State,
    Kind,
    Text,
    List,
    Run,
    Number,
    Time,
}

const FIELDS: &[(&str, Field, Type)] = &[
    ("state", Field::State, Type::State),
    ("state_name", Field::StateName, Type::Text),
    ("kind", Field::Kind, Type::Kind),
    ("name", Field::Name, Type::Text),
    ("run_name", Field::RunName, Type::Text),
    ("queue", Field::Queue, Type::Text),
    ("tags", Field::Tags, Type::List),
    ("parent_run_id", Field::Parent, Type::Run),
    ("root_run_id", Field::Root, Type::Run),
    ("attempt", Field::Attempt, Type::Number),
    ("priority", Field::Priority, Type::Number),
    ("created_at", Field::CreatedAt, Type::Time),
    ("due_at", Field::DueAt, Type::Time),
    ("started_at", Field::StartedAt, Type::Time),
    ("ended_at", Field::EndedAt, Type::Time),
];

/// The field of this name, or a sentence that says which there are.
pub(super) fn field(name: &str) -> Result<(Field, FieldType), String> {
    match FIELDS.iter().find(|(known, _, _)| *known == name) {
        Some((_, field, field_type)) => Ok((*field, FieldType(*field_type))),
        None => {
            let known: Vec<_> = FIELDS.iter().map(|(known, _, _)| *known).collect();
            Err(format!("`{name}` is no field of a run; there are {}", known.join(", ")))
        }
    }
}

/// The type of a field, for [`compare`].
#[derive(Clone, Copy)]
pub(super) struct FieldType(Type);

/// Which part of a comparison is wrong, and a sentence that says what would fit.
pub(super) enum Fault {
    Operator(String),
    Value(String),
}

/// A comparison whose operator and value fit the field.
pub(super) fn compare(
    field: Field,
    FieldType(field_type): FieldType,
    operator: &str,
    text: &str,
) -> Result<Filter, Fault> {
    let comparison = match (field_type, operator) {
        (Type::List, ":") => Comparison::Has,
        (Type::List, _) => {
            return Err(Fault::Operator("a list is asked with `:`, as in `tags:nightly`".to_owned()));
        }
        (_, ":") => return Err(Fault::Operator("`:` is for lists; use `=`".to_owned())),
        (_, "=") => Comparison::Equal,
        (_, "!=") => Comparison::NotEqual,
        (Type::State | Type::Kind | Type::Run, _) => {
            return Err(Fault::Operator(format!("`{operator}` does not fit this field; use `=` or `!=`")));
        }
        (_, "<") => Comparison::Less,
        (_, "<=") => Comparison::LessOrEqual,
        (_, ">") => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    };
    if field_type == Type::Text
        && let Some(prefix) = text.strip_suffix('*')
    {
        let starts = Filter::Compare(field, Comparison::StartsWith, Value::Text(prefix.to_owned()));
        return match comparison {
            Comparison::Equal => Ok(starts),
            Comparison::NotEqual => Ok(Filter::Not(Box::new(starts))),
            _ => Err(Fault::Operator("`*` goes with `=` and `!=` only".to_owned())),
        };
    }
    if text.contains('\0') {
        return Err(Fault::Value("a value has no NUL characters".to_owned()));
    }
    Ok(Filter::Compare(field, comparison, value(field_type, text).map_err(Fault::Value)?))
}

fn value(field_type: Type, text: &str) -> Result<Value, String> {
    match field_type {
        Type::Text | Type::List => Ok(Value::Text(text.to_owned())),
        Type::State => text.to_ascii_uppercase().parse().map(Value::State).map_err(|_| {
            let known: Vec<_> = StateType::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is no state; there are {}", known.join(", "))
        }),
        Type::Kind => text
            .to_ascii_lowercase()
            .parse::<RunKind>()
            .map(Value::Kind)
            .map_err(|_| format!("`{text}` is no kind; there are flow and task")),
        Type::Run => text.parse::<RunId>().map(Value::Run).map_err(|error| error.to_string()),
        Type::Number => text.parse().map(Value::Number).map_err(|_| format!("`{text}` is no whole number")),
        Type::Time => text
            .parse::<jiff::Timestamp>()
            .map(|time| Value::Time(Timestamp::from_micros(time.as_microsecond())))
            .map_err(|_| format!("`{text}` is no time such as \"2026-01-31T12:00:00Z\"")),
    }
}
