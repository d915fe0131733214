mod matches;

use tidegate_model::{RunId, RunKind, SessionId, Timestamp};
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
    /// The field has a value; a list or a map has at least one.
    IsSet(Field),
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `Value::Run`; `Equal` and `NotEqual` only.
    Id,
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
    /// `Value::Session`; `Equal` and `NotEqual` only. A queued run has none.
    Session,
    /// `Value::Text`: `worker:<id>` or `session:<id>`; a run that nobody holds has none.
    Holder,
    /// `Value::Text`: `flow/deployment`.
    Deployment,
    /// `Value::Text`: the work pool; a run for workers that serve its function has none.
    WorkPool,
    /// `Value::Text`: the name that the schedule has within its deployment.
    Schedule,
    /// `Value::Text`.
    CacheKey,
    /// `Value::Text`.
    FairnessKey,
    /// `Value::Text`; `Has` only.
    Tags,
    /// `Has` with `Value::Text`: there is a label of this key. Else `Value::Label`: the value of that key, and a run
    /// without the key has none.
    Labels,
    /// `Value::Run`; `Equal` and `NotEqual` only.
    Parent,
    /// `Value::Run`; `Equal` and `NotEqual` only.
    Root,
    /// `Value::Number`.
    Depth,
    /// `Value::Number`.
    Attempt,
    /// `Value::Number`.
    Crashes,
    /// `Value::Number`.
    Retries,
    /// `Value::Number`.
    Priority,
    /// `Value::Time`.
    CreatedAt,
    /// `Value::Time`.
    DueAt,
    /// `Value::Time`; a run that no schedule made is neither before nor after.
    FireAt,
    /// `Value::Time`; most runs have none.
    ExpiresAt,
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
    /// For a list: one of its items is the value. For a map: one of its keys is.
    Has,
    /// For a text: it begins with the value (`name = "etl*"`).
    StartsWith,
    /// For a text: it ends with the value (`name = "*daily"`).
    EndsWith,
    /// For a text: the value is somewhere in it (`name = "*day*"`).
    Contains,
}

impl Field {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Id,
        Self::State,
        Self::StateName,
        Self::Kind,
        Self::Name,
        Self::RunName,
        Self::Queue,
        Self::Session,
        Self::Holder,
        Self::Deployment,
        Self::WorkPool,
        Self::Schedule,
        Self::CacheKey,
        Self::FairnessKey,
        Self::Tags,
        Self::Labels,
        Self::Parent,
        Self::Root,
        Self::Depth,
        Self::Attempt,
        Self::Crashes,
        Self::Retries,
        Self::Priority,
        Self::CreatedAt,
        Self::DueAt,
        Self::FireAt,
        Self::ExpiresAt,
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
        Self::EndsWith,
        Self::Contains,
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
    Session(SessionId),
    /// What a label of this key is compared with.
    Label {
        key: String,
        text: String,
    },
}
