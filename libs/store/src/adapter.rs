//! What the adapters share: how values become columns and come back, and which statements ran.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt::Display,
    num::NonZeroU32,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tidegate_model::{FairnessKey, QueueName, RunId, SessionId, Timestamp, limits};
use tidegate_orchestration::{
    CachePolicy, Holder, ParentPolicies, ParentPolicy, Phase, Placement, Rate, Run, StateType,
};

use crate::{
    BulkTarget, Comparison, Field, Filter, FiringOutcome, KeyReservation, LimitSettings, ListQuery, OrderBy,
    StoreError, Value, VersionedKey,
};

/// A statement of an adapter, from one of its query files. It remembers whether it was ever used, so that a
/// test can tell which query files no conformance case reaches.
#[derive(Debug)]
pub struct Statement {
    name: &'static str,
    sql: &'static str,
    used: AtomicBool,
}

impl Statement {
    /// `name` is the path of the file below `queries/`.
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, used: AtomicBool::new(false) }
    }

    /// The path of the file below `queries/`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its text, to be executed.
    pub fn sql(&self) -> &'static str {
        self.used.store(true, Ordering::Relaxed);
        self.sql
    }

    /// Whether it was executed in this process.
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

/// The error for a column that holds what it must not.
pub fn unreadable(column: &'static str, value: impl Display) -> StoreError {
    StoreError::Internal(format!("column {column} holds `{value}`"))
}

/// Reads a column by the rule of its type.
pub fn parse<T: FromStr>(column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| unreadable(column, text))
}

/// Reads a number that is kept in a signed or wider column.
pub fn number<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| unreadable(column, value))
}

/// A number for a signed column. Counters of runs stay far below its bound.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A span in microseconds, the store's resolution; finer parts are cut off.
pub fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Reads a span in microseconds.
pub fn span(column: &'static str, micros: i64) -> Result<Duration, StoreError> {
    Ok(Duration::from_micros(number(column, micros)?))
}

/// A limit for SQL.
pub fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Before when a run that waits for a slot must have been handed over to be handed over anew; the column has 0 for one
/// that was not.
pub fn handed_before(handed_before: Option<Timestamp>) -> i64 {
    handed_before.map_or(1, Timestamp::as_micros).max(1)
}

/// How much may be taken of something that is not bounded: more than anybody takes, and far from what SQL counts.
const UNBOUNDED: i64 = 1 << 40;

/// A bound for SQL.
pub fn bound(bound: Option<impl Into<u64>>) -> i64 {
    bound.and_then(|bound| i64::try_from(bound.into()).ok()).unwrap_or(UNBOUNDED).min(UNBOUNDED)
}

/// A fairness key for the column, which has the empty text for a run without one.
pub fn fairness_key(key: Option<&FairnessKey>) -> &str {
    key.map_or("", FairnessKey::as_str)
}

/// The columns of what a limit asks for. A limit without slots has the most that there can be: the version before
/// knows no other.
pub struct SettingsColumns {
    /// False: its slots do not bind.
    pub has_slots: bool,
    /// How many slots it has.
    pub max_slots: i64,
    /// Starts in each period; `None`: it has no rate.
    pub max_starts: Option<i64>,
    /// The period, in microseconds.
    pub period: Option<i64>,
    /// Starts that may come at once.
    pub burst: Option<i64>,
}

impl SettingsColumns {
    /// Of these settings.
    pub fn of(settings: &LimitSettings) -> Self {
        let max_slots = settings.max_slots.unwrap_or(limits::MAX_CONCURRENCY_SLOTS);
        Self {
            has_slots: settings.max_slots.is_some(),
            max_slots: max_slots.into(),
            max_starts: settings.rate.map(|rate| rate.max_starts.get().into()),
            period: settings.rate.map(|rate| micros(rate.period)),
            burst: settings.rate.map(|rate| rate.burst.get().into()),
        }
    }

    /// The settings that they say.
    pub fn settings(&self, on_collision: &str) -> Result<LimitSettings, StoreError> {
        let max_slots = number("max_slots", self.max_slots)?;
        let rate = match (self.max_starts, self.period, self.burst) {
            (Some(max_starts), Some(period), Some(burst)) => Some(Rate {
                max_starts: non_zero("max_starts", max_starts)?,
                period: span("period", period)?,
                burst: non_zero("burst", burst)?,
            }),
            _ => None,
        };
        let on_collision = parse("on_collision", on_collision)?;
        Ok(LimitSettings { max_slots: self.has_slots.then_some(max_slots), rate, on_collision })
    }
}

fn non_zero(column: &'static str, value: i64) -> Result<NonZeroU32, StoreError> {
    NonZeroU32::new(number(column, value)?).ok_or_else(|| unreadable(column, value))
}

/// Text from users' programs as the databases take it: Postgres refuses NUL, and one such text would fail a
/// whole batch.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// When the run ended: the time of a terminal state.
pub fn ended_at(run: &Run) -> Option<Timestamp> {
    run.state.state_type().is_terminal().then_some(run.state.at)
}

/// The queue and the session of a placement: exactly one is there.
pub fn placement_columns(placement: &Placement) -> (Option<&str>, Option<SessionId>) {
    match placement {
        Placement::Queue(queue) => (Some(queue.as_str()), None),
        Placement::Session(session) => (None, Some(*session)),
    }
}

/// Reads a placement.
pub fn placement(queue: Option<&str>, session: Option<SessionId>) -> Result<Placement, StoreError> {
    match (queue, session) {
        (Some(queue), None) => Ok(Placement::Queue(parse::<QueueName>("queue", queue)?)),
        (None, Some(session)) => Ok(Placement::Session(session)),
        _ => Err(unreadable("queue", "both or none of queue and session")),
    }
}

/// Reads a phase from the columns `state`, `holder` and `timer_at`. The timer of a SCHEDULED run follows from other
/// columns.
pub fn phase(state: &str, holder: Option<&str>, timer_at: Option<i64>) -> Result<Phase, StoreError> {
    let timer = timer_at.map(Timestamp::from_micros);
    let held = || -> Result<Holder, StoreError> {
        parse("holder", holder.ok_or_else(|| unreadable("holder", "nothing though the run is held"))?)
    };
    Ok(match parse("state", state)? {
        StateType::Scheduled => Phase::Scheduled,
        StateType::Pending => Phase::Pending { holder: held()?, start_by: timer },
        StateType::Running => Phase::Running { holder: held()?, deadline: timer },
        StateType::Paused => Phase::Paused {
            holder: match holder {
                None => None,
                Some(holder) => Some(parse("holder", holder)?),
            },
            expires_at: timer,
        },
        StateType::Cancelling => Phase::Cancelling {
            holder: held()?,
            close_at: timer.ok_or_else(|| unreadable("timer_at", "nothing though the run is cancelling"))?,
        },
        StateType::Completed => Phase::Completed,
        StateType::Failed => Phase::Failed,
        StateType::Crashed => Phase::Crashed,
        StateType::Cancelled => Phase::Cancelled,
    })
}

/// The columns of a bulk operation's target: its filter, or the run of its tree.
pub fn bulk_target_columns(target: &BulkTarget) -> (Option<&str>, Option<RunId>) {
    match target {
        BulkTarget::Filter(filter) => (Some(filter), None),
        BulkTarget::Tree(run_id) => (None, Some(*run_id)),
    }
}

/// The target that these columns hold.
pub fn bulk_target(filter: Option<String>, tree: Option<RunId>) -> Result<BulkTarget, StoreError> {
    match (filter, tree) {
        (Some(filter), None) => Ok(BulkTarget::Filter(filter)),
        (None, Some(run_id)) => Ok(BulkTarget::Tree(run_id)),
        _ => Err(unreadable("filter", "both or none of filter and tree_run_id")),
    }
}

/// What has become of a firing, as columns: how it ended, what it failed of, and when it is due again or was given up.
pub fn firing_outcome_columns(
    outcome: &FiringOutcome,
    now: Timestamp,
) -> (&'static str, &str, Option<Timestamp>) {
    match outcome {
        FiringOutcome::Succeeded => ("succeeded", "", None),
        FiringOutcome::Dropped => ("dropped", "", None),
        FiringOutcome::Failed { error, due_at } => ("failed", error, Some(*due_at)),
        FiringOutcome::GivenUp { error } => ("given_up", error, Some(now)),
    }
}

/// Counts by reason as a JSON object.
pub fn skipped_json(skipped: &BTreeMap<String, u64>) -> String {
    let counts = skipped.iter().map(|(reason, count)| (reason.clone(), serde_json::Value::from(*count)));
    serde_json::Value::Object(counts.collect()).to_string()
}

/// The filter for runs in one of these states.
pub fn state_among(states: &[StateType]) -> Filter {
    let is = |state: &StateType| Filter::Compare(Field::State, Comparison::Equal, Value::State(*state));
    Filter::Or(states.iter().map(is).collect())
}

/// The filter for runs that were created by then.
pub fn created_by(time: Timestamp) -> Filter {
    Filter::Compare(Field::CreatedAt, Comparison::LessOrEqual, Value::Time(time))
}

/// The flags of a run's parent policies: whether it goes on where its parent is cancelled, fails, crashes.
pub fn detach_flags(policies: &ParentPolicies) -> [bool; 3] {
    let ParentPolicies { on_cancel, on_failure, on_crash } = *policies;
    [on_cancel, on_failure, on_crash].map(|policy| policy == ParentPolicy::Detach)
}

/// Reads the flags of a run's parent policies.
pub fn parent_policies(detach_flags: [bool; 3]) -> ParentPolicies {
    let policy = |is_detached| if is_detached { ParentPolicy::Detach } else { ParentPolicy::Cancel };
    let [on_cancel, on_failure, on_crash] = detach_flags.map(policy);
    ParentPolicies { on_cancel, on_failure, on_crash }
}

/// Reads a cache policy.
pub fn cache_policy(
    key: Option<String>,
    expires_after: Option<i64>,
) -> Result<Option<CachePolicy>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let expires_after = match expires_after {
        None => None,
        Some(micros) => Some(span("cache_expires_after", micros)?),
    };
    Ok(Some(CachePolicy { key, expires_after }))
}

/// The condition that an artifact is the newest version of its key.
pub const IS_LATEST_ARTIFACT: &str = " AND artifacts.key IS NOT NULL AND artifacts.version = (\
    SELECT MAX(newer.version) FROM artifacts AS newer \
    WHERE newer.namespace = artifacts.namespace AND newer.key = artifacts.key)";

/// The last versions that were taken of these keys, by (namespace, key), in the order of the keys.
pub fn versions_of(
    keys: &[(VersionedKey, u64)],
    last: &HashMap<(&str, &str), u64>,
) -> Result<Vec<u64>, StoreError> {
    let version = |(key, _): &(VersionedKey, u64)| {
        let version = last.get(&(key.namespace.as_str(), key.key.as_str()));
        version.copied().ok_or_else(|| StoreError::Internal(format!("key `{}` has no version", key.key)))
    };
    keys.iter().map(version).collect()
}

/// What an idempotency key is unique by: namespace, scope, key.
pub type KeyName<'a> = (&'a str, &'a str, &'a str);

/// The first reservation of each key, in the order in which all adapters take the keys' locks.
pub fn first_reservations(keys: &[KeyReservation]) -> BTreeMap<KeyName<'_>, &KeyReservation> {
    let mut first = BTreeMap::new();
    for key in keys {
        first.entry(key_name(key)).or_insert(key);
    }
    first
}

/// The name of a reservation's key.
pub fn key_name(key: &KeyReservation) -> KeyName<'_> {
    (key.namespace.as_str(), &key.scope, &key.key)
}

/// The column of a field, after a check that the comparison and the value fit it.
pub fn comparable(field: Field, comparison: Comparison, value: &Value) -> Result<&'static str, StoreError> {
    use Comparison::{Contains, EndsWith, Equal, Has, NotEqual, StartsWith};

    let is_equality = matches!(comparison, Equal | NotEqual);
    let is_part = matches!(comparison, StartsWith | EndsWith | Contains);
    let fits = match (field, value) {
        (Field::State, Value::State(_))
        | (Field::Kind, Value::Kind(_))
        | (Field::Session, Value::Session(_))
        | (Field::Id | Field::Parent | Field::Root, Value::Run(_)) => is_equality,
        (Field::Tags | Field::Labels, Value::Text(_)) => comparison == Has,
        (Field::Labels, Value::Label { .. })
        | (
            Field::StateName
            | Field::Name
            | Field::RunName
            | Field::Queue
            | Field::Holder
            | Field::Deployment
            | Field::WorkPool
            | Field::Schedule
            | Field::CacheKey
            | Field::FairnessKey,
            Value::Text(_),
        ) => comparison != Has,
        (
            Field::Depth | Field::Attempt | Field::Crashes | Field::Retries | Field::Priority,
            Value::Number(_),
        )
        | (
            Field::CreatedAt
            | Field::DueAt
            | Field::FireAt
            | Field::ExpiresAt
            | Field::StartedAt
            | Field::EndedAt,
            Value::Time(_),
        ) => comparison != Has && !is_part,
        _ => false,
    };
    if fits {
        Ok(column(field))
    } else {
        Err(StoreError::Internal(format!("a filter compares {field:?} by {comparison:?} with {value:?}")))
    }
}

/// The column of a field.
pub fn column(field: Field) -> &'static str {
    match field {
        Field::Id => "runs.id",
        Field::State => "runs.state",
        Field::StateName => "runs.state_name",
        Field::Kind => "runs.kind",
        Field::Name => "runs.name",
        Field::RunName => "runs.run_name",
        Field::Queue => "runs.queue",
        Field::Session => "runs.session_id",
        Field::Holder => "runs.holder",
        Field::Deployment => "runs.deployment",
        Field::WorkPool => "runs.work_pool",
        Field::Schedule => "runs.schedule",
        Field::CacheKey => "runs.cache_key",
        Field::FairnessKey => "runs.fairness_key",
        Field::Tags => "runs.tags",
        Field::Labels => "runs.labels",
        Field::Parent => "runs.parent_id",
        Field::Root => "runs.root_id",
        Field::Depth => "runs.depth",
        Field::Attempt => "runs.attempt",
        Field::Crashes => "runs.crashes",
        Field::Retries => "runs.retries",
        Field::Priority => "runs.priority",
        Field::CreatedAt => "runs.created_at",
        Field::DueAt => "runs.due_at",
        Field::FireAt => "runs.fire_at",
        Field::ExpiresAt => "runs.expires_at",
        Field::StartedAt => "runs.started_at",
        Field::EndedAt => "runs.ended_at",
    }
}

/// The operator of a comparison that is one in SQL; the others are written by the adapters.
pub fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        _ => "=",
    }
}

/// A part of a page that one statement reads, by one index. The parts of [`page_parts`] follow each other.
#[derive(Debug, PartialEq)]
pub enum PagePart<'a> {
    /// Runs with a value in this column, by value and id.
    ByValue {
        /// The column.
        column: &'static str,
        /// Only those after this value and id.
        after: Option<(&'a Value, RunId)>,
    },
    /// Runs by id.
    ById {
        /// Only those without a value in this column.
        unset: Option<&'static str>,
        /// Only those after this id.
        after: Option<RunId>,
    },
}

/// The parts of a page, in their order: each is read as far as the ones before it have left room.
pub fn page_parts(list: &ListQuery) -> Vec<PagePart<'_>> {
    let after = list.after.as_ref();
    let (column, is_nullable) = match list.order.by {
        OrderBy::Id => return vec![PagePart::ById { unset: None, after: after.map(|after| after.id) }],
        OrderBy::CreatedAt => ("runs.created_at", false),
        OrderBy::DueAt => ("runs.due_at", false),
        OrderBy::StartedAt => ("runs.started_at", true),
        OrderBy::EndedAt => ("runs.ended_at", true),
        OrderBy::Priority => ("runs.priority", false),
        OrderBy::Name => ("runs.name", false),
        OrderBy::RunName => ("runs.run_name", false),
    };
    let mut parts = Vec::new();
    let is_past_values = after.is_some_and(|after| after.value.is_none());
    if !is_past_values {
        let after = after.and_then(|after| Some((after.value.as_ref()?, after.id)));
        parts.push(PagePart::ByValue { column, after });
    }
    if is_nullable {
        let after = after.filter(|_| is_past_values).map(|after| after.id);
        parts.push(PagePart::ById { unset: Some(column), after });
    }
    parts
}
