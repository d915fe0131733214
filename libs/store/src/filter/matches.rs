use std::borrow::Cow;

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
            Self::IsSet(field) => is_set(run, *field),
        }
    }
}

fn compare(run: &Run, field: Field, comparison: Comparison, value: &Value) -> bool {
    if adapter::comparable(field, comparison, value).is_err() {
        return false;
    }
    match value {
        Value::Text(wanted) if field == Field::Tags => run.tags.contains(wanted),
        Value::Text(wanted) if field == Field::Labels => run.labels.contains_key(wanted),
        Value::Text(wanted) => holds_text(comparison, text(run, field).as_deref(), wanted),
        Value::Label { key, text } => holds_text(comparison, run.labels.get(key).map(String::as_str), text),
        Value::Number(wanted) => holds(comparison, number(run, field), *wanted),
        Value::Time(wanted) => holds(comparison, time(run, field), wanted.as_micros()),
        Value::State(wanted) => holds(comparison, Some(run.state.state_type()), *wanted),
        Value::Kind(wanted) => holds(comparison, Some(run.kind), *wanted),
        Value::Session(wanted) => holds(comparison, adapter::placement_columns(&run.placement).1, *wanted),
        Value::Run(wanted) => {
            let id = match field {
                Field::Id => Some(run.id),
                Field::Root => Some(run.root),
                _ => run.parent,
            };
            holds(comparison, id, *wanted)
        }
    }
}

fn is_set(run: &Run, field: Field) -> bool {
    match field {
        Field::Tags => !run.tags.is_empty(),
        Field::Labels => !run.labels.is_empty(),
        Field::Parent => run.parent.is_some(),
        Field::Session => run.is_local(),
        Field::Queue
        | Field::Holder
        | Field::Deployment
        | Field::WorkPool
        | Field::Schedule
        | Field::CacheKey
        | Field::FairnessKey => text(run, field).is_some(),
        Field::FireAt | Field::ExpiresAt | Field::StartedAt | Field::EndedAt => time(run, field).is_some(),
        Field::Id
        | Field::State
        | Field::StateName
        | Field::Kind
        | Field::Name
        | Field::RunName
        | Field::Root
        | Field::Depth
        | Field::Attempt
        | Field::Crashes
        | Field::Retries
        | Field::Priority
        | Field::CreatedAt
        | Field::DueAt => true,
    }
}

fn text(run: &Run, field: Field) -> Option<Cow<'_, str>> {
    let text = match field {
        Field::StateName => run.state.name.as_str(),
        Field::Name => run.name.as_str(),
        Field::RunName => &run.run_name,
        Field::Queue => match &run.placement {
            Placement::Queue(queue) => queue.as_str(),
            Placement::Session(_) => return None,
        },
        Field::Holder => return run.holder().map(|holder| holder.to_string().into()),
        Field::Deployment => run.deployment.as_deref()?,
        Field::WorkPool => run.work_pool.as_ref()?.as_str(),
        Field::Schedule => run.schedule.as_ref()?.as_str(),
        Field::CacheKey => &run.cache.as_ref()?.key,
        Field::FairnessKey => run.fairness_key.as_ref()?.as_str(),
        _ => return None,
    };
    Some(text.into())
}

fn number(run: &Run, field: Field) -> Option<i64> {
    match field {
        Field::Depth => Some(run.depth.into()),
        Field::Attempt => Some(run.attempt.into()),
        Field::Crashes => Some(run.crashes.into()),
        Field::Retries => Some(run.retries.into()),
        Field::Priority => Some(run.priority.into()),
        _ => None,
    }
}

fn time(run: &Run, field: Field) -> Option<i64> {
    let time = match field {
        Field::CreatedAt => Some(run.created_at),
        Field::DueAt => Some(run.due_at),
        Field::FireAt => run.fire_at,
        Field::ExpiresAt => run.expires_at,
        Field::StartedAt => run.started_at,
        Field::EndedAt => adapter::ended_at(run),
        _ => None,
    };
    time.map(tidegate_model::Timestamp::as_micros)
}

/// Texts compare by their bytes, as in the stores.
fn holds_text(comparison: Comparison, actual: Option<&str>, wanted: &str) -> bool {
    match (comparison, actual) {
        (Comparison::StartsWith, Some(actual)) => actual.starts_with(wanted),
        (Comparison::EndsWith, Some(actual)) => actual.ends_with(wanted),
        (Comparison::Contains, Some(actual)) => actual.contains(wanted),
        _ => holds(comparison, actual, wanted),
    }
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
        Comparison::Has | Comparison::StartsWith | Comparison::EndsWith | Comparison::Contains => false,
    }
}
