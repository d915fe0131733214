use tidegate_model::RunId;
use tidegate_orchestration::Run;

use crate::{Value, adapter};

/// How a list is ordered. Runs that are equal there come by id, in the same direction; runs without a value come last,
/// in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// The greatest first.
    pub descending: bool,
}

impl Default for Order {
    /// Newest first, as the ids have it.
    fn default() -> Self {
        Self { by: OrderBy::Id, descending: true }
    }
}

/// What a list can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields of a run say it")]
pub enum OrderBy {
    Id,
    CreatedAt,
    DueAt,
    StartedAt,
    EndedAt,
    Priority,
    Name,
    RunName,
}

impl OrderBy {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Id,
        Self::CreatedAt,
        Self::DueAt,
        Self::StartedAt,
        Self::EndedAt,
        Self::Priority,
        Self::Name,
        Self::RunName,
    ];

    /// The name of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::CreatedAt => "created_at",
            Self::DueAt => "due_at",
            Self::StartedAt => "started_at",
            Self::EndedAt => "ended_at",
            Self::Priority => "priority",
            Self::Name => "name",
            Self::RunName => "run_name",
        }
    }
}

/// A place in an ordered list: just after this run.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// What the run had in the field of the order; `None` also where the order is by id.
    pub value: Option<Value>,
    /// The run.
    pub id: RunId,
}

impl Position {
    /// The place of a run, also after it has changed or gone.
    pub fn of(run: &Run, by: OrderBy) -> Self {
        let value = match by {
            OrderBy::Id => None,
            OrderBy::CreatedAt => Some(Value::Time(run.created_at)),
            OrderBy::DueAt => Some(Value::Time(run.due_at)),
            OrderBy::StartedAt => run.started_at.map(Value::Time),
            OrderBy::EndedAt => adapter::ended_at(run).map(Value::Time),
            OrderBy::Priority => Some(Value::Number(run.priority.into())),
            OrderBy::Name => Some(Value::Text(run.name.as_str().to_owned())),
            OrderBy::RunName => Some(Value::Text(run.run_name.clone())),
        };
        Self { value, id: run.id }
    }

    /// Whether it may be a place in a list of this order. One that comes from outside need not be.
    pub fn is_of(&self, by: OrderBy) -> bool {
        match (&self.value, by) {
            (None, OrderBy::Id | OrderBy::StartedAt | OrderBy::EndedAt)
            | (
                Some(Value::Time(_)),
                OrderBy::CreatedAt | OrderBy::DueAt | OrderBy::StartedAt | OrderBy::EndedAt,
            )
            | (Some(Value::Number(_)), OrderBy::Priority) => true,
            // No database takes a text with NUL, and no run has one.
            (Some(Value::Text(text)), OrderBy::Name | OrderBy::RunName) => !text.contains('\0'),
            _ => false,
        }
    }
}
