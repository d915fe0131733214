use tidegate_orchestration::{Placement, Run};

use super::{Comparison, Field, Filter, Value};
use crate::adapter;

impl Filter {
    /// True for the runs that a list with this filter gives: the same question, asked of one run in memory.
    ///
    /// A comparison that its field does not take, which the stores refuse, is true for no run.
    pub fn matches(&self, run: &Run) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(run)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(run)),
            Self::Not(part) => !part.matches(run),
            Self::Compare(field, comparison, value) => compare(run, *field, *comparison, value),
        }
    }
}

fn compare(run: &Run, field: Field, comparison: Comparison, value: &Value) -> bool {
    if adapter::comparable(field, comparison, value).is_err() {
        return false;
    }
    match value {
        Value::Text(wanted) if field == Field::Tags => run.tags.contains(wanted),
        Value::Text(wanted) => match text(run, field) {
            Some(text) if comparison == Comparison::StartsWith => text.starts_with(wanted),
            text => holds(comparison, text, wanted),
        },
        Value::Number(wanted) => holds(comparison, number(run, field), *wanted),
        Value::Time(wanted) => holds(comparison, time(run, field), wanted.as_micros()),
        Value::State(wanted) => holds(comparison, Some(run.state.state_type()), *wanted),
        Value::Kind(wanted) => holds(comparison, Some(run.kind), *wanted),
        Value::Run(wanted) => {
            let id = if field == Field::Root { Some(run.root) } else { run.parent };
            holds(comparison, id, *wanted)
        }
    }
}

/// Texts compare by their bytes, as in the stores.
fn text(run: &Run, field: Field) -> Option<&str> {
    match field {
        Field::StateName => Some(run.state.name.as_str()),
        Field::Name => Some(run.name.as_str()),
        Field::RunName => Some(&run.run_name),
        Field::Queue => match &run.placement {
            Placement::Queue(queue) => Some(queue.as_str()),
            Placement::Session(_) => None,
        },
        _ => None,
    }
}

fn number(run: &Run, field: Field) -> Option<i64> {
    match field {
        Field::Attempt => Some(run.attempt.into()),
        Field::Priority => Some(run.priority.into()),
        _ => None,
    }
}

fn time(run: &Run, field: Field) -> Option<i64> {
    let time = match field {
        Field::CreatedAt => Some(run.created_at),
        Field::DueAt => Some(run.due_at),
        Field::StartedAt => run.started_at,
        Field::EndedAt => adapter::ended_at(run),
        _ => None,
    };
    time.map(tidegate_model::Timestamp::as_micros)
}

/// A field without a value makes every comparison but `NotEqual` false.
fn holds<T: Ord>(comparison: Comparison, actual: Option<T>, wanted: T) -> bool {
    let Some(actual) = actual else { return comparison == Comparison::NotEqual };
    match comparison {
        Comparison::Equal => actual == wanted,
        Comparison::NotEqual => actual != wanted,
        Comparison::Less => actual < wanted,
        Comparison::LessOrEqual => actual <= wanted,
        Comparison::Greater => actual > wanted,
        Comparison::GreaterOrEqual => actual >= wanted,
        // Of texts and lists alone.
        Comparison::Has | Comparison::StartsWith => false,
    }
}
