mod matches;

use tidegate_model::{RunId, RunKind, Timestamp};
use tidegate_orchestration::StateType;

/// Which runs: a parsed and typed AIP-160 filter. Adapters turn it into SQL with bound parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of these; empty: every run.
    And(Vec<Filter>),
    /// One of these; empty: no run.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A field compared with a value of its type.
    Compare(Field, Comparison, Value),
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `Value::State`; `Equal` and `NotEqual` only.
    State,
    /// `Value::Text`: the state's name.
    StateName,
    /// `Value::Kind`; `Equal` and `NotEqual` only.
    Kind,
    /// `Value::Text`: the flow's or task's name.
    Name,
    /// `Value::Text`.
    RunName,
    /// `Value::Text`; a local run has none and is equal to no queue.
    Queue,
    /// `Value::Text`; `Has` only.
    Tags,
    /// `Value::Run`; `Equal` and `NotEqual` only.
    Parent,
    /// `Value::Run`; `Equal` and `NotEqual` only.
    Root,
    /// `Value::Number`.
    Attempt,
    /// `Value::Number`.
    Priority,
    /// `Value::Time`.
    CreatedAt,
    /// `Value::Time`.
    DueAt,
    /// `Value::Time`; a run that never started is neither before nor after.
    StartedAt,
    /// `Value::Time`; a run that has not ended is neither before nor after.
    EndedAt,
}

/// How a field is compared. A field without a value makes every comparison but `NotEqual` false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// For a list: one of its items is the value.
    Has,
    /// For a text: it begins with the value (`name = "etl*"`).
    StartsWith,
}

impl Field {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::State,
        Self::StateName,
        Self::Kind,
        Self::Name,
        Self::RunName,
        Self::Queue,
        Self::Tags,
        Self::Parent,
        Self::Root,
        Self::Attempt,
        Self::Priority,
        Self::CreatedAt,
        Self::DueAt,
        Self::StartedAt,
        Self::EndedAt,
    ];
}

impl Comparison {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Has,
        Self::StartsWith,
    ];
}

/// A value of a filter.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the types say it")]
pub enum Value {
    Text(String),
    Number(i64),
    Time(Timestamp),
    State(StateType),
    Kind(RunKind),
    Run(RunId),
}
