//! Lists and filters.

use std::sync::Arc;

use tidegate_model::{RunId, RunKind, SessionId};
use tidegate_orchestration::{Draft, Phase, Placement, Run, State, StateName, StateType};

use super::fixture::*;
use crate::{
    Comparison::{
        self, Contains, EndsWith, Equal, Greater, GreaterOrEqual, Has, Less, LessOrEqual, NotEqual,
        StartsWith,
    },
    Field, Filter, ListQuery, RunStore, StoreError, Value,
};

fn compare(field: Field, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare(field, comparison, value)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

async fn list(store: &Arc<dyn RunStore>, filter: Filter) -> Vec<RunId> {
    let query = ListQuery::newest("default".parse().unwrap(), filter, 100);
    ids(&store.list_runs(&query).await.unwrap())
}

/// A flow that runs and, below it, a local task that has ended.
async fn two_runs(store: &Arc<dyn RunStore>) -> (Run, Run) {
    let flow = made(Draft {
        kind: RunKind::Flow,
        name: "etl/daily".parse().unwrap(),
        run_name: "etl one".to_owned(),
        placement: Placement::Queue("gpu".parse().unwrap()),
        priority: 10,
        tags: vec!["nightly".to_owned(), "eu".to_owned()],
        due_at: Some(after(50)),
        ..draft()
    });
    let flow = Run {
        attempt: 2,
        started_at: Some(after(60)),
        state: State::new(running(), after(60)).described(StateName::Retrying, ""),
        ..flow
    };
    let task = Run {
        name: "Zip".parse().unwrap(),
        run_name: "zip two".to_owned(),
        placement: Placement::Session(SessionId::new()),
        priority: -10,
        created_at: after(1),
        due_at: after(51),
        attempt: 1,
        ..entered(&child(&flow), Phase::Completed, after(70))
    };
    insert(store, &[&flow, &task]).await;
    (flow, task)
}

/// Each field by each comparison that it takes, on a run that has it and one that has another value or none.
pub async fn every_field_and_comparison(store: Arc<dyn RunStore>) {
    let (flow, task) = two_runs(&store).await;
    let (f, t) = (flow.id, task.id);
    let both = || vec![t, f];

    // Fields that know only equal and not.
    for (field, of_flow, of_task) in [
        (Field::State, Value::State(StateType::Running), Value::State(StateType::Completed)),
        (Field::Kind, Value::Kind(RunKind::Flow), Value::Kind(RunKind::Task)),
    ] {
        assert_eq!(list(&store, compare(field, Equal, of_flow.clone())).await, [f], "{field:?}");
        assert_eq!(list(&store, compare(field, NotEqual, of_flow)).await, [t], "{field:?}");
        assert_eq!(list(&store, compare(field, Equal, of_task)).await, [t], "{field:?}");
    }
    let none = Value::Run(RunId::new());
    assert_eq!(list(&store, compare(Field::Parent, Equal, Value::Run(f))).await, [t]);
    assert_eq!(list(&store, compare(Field::Parent, Equal, none.clone())).await, []);
    assert_eq!(list(&store, compare(Field::Parent, NotEqual, Value::Run(f))).await, [f], "none is another");
    assert_eq!(list(&store, compare(Field::Root, Equal, Value::Run(f))).await, both());
    assert_eq!(list(&store, compare(Field::Root, Equal, Value::Run(t))).await, []);
    assert_eq!(list(&store, compare(Field::Root, NotEqual, Value::Run(f))).await, []);
    assert_eq!(list(&store, compare(Field::Root, NotEqual, none)).await, both());
    assert_eq!(list(&store, compare(Field::Tags, Has, text("eu"))).await, [f]);
    assert_eq!(list(&store, compare(Field::Tags, Has, text("e"))).await, []);

    // Fields with an order, where the flow's value is below the task's.
    for (field, low, high) in [
        (Field::Attempt, Value::Number(2), None),
        (Field::Priority, Value::Number(10), None),
        (Field::CreatedAt, Value::Time(T0), Some(Value::Time(after(1)))),
        (Field::DueAt, Value::Time(after(50)), Some(Value::Time(after(51)))),
    ] {
        // The counters are the other way round: the task's value is below.
        let (first, second) = if high.is_some() { (f, t) } else { (t, f) };
        let mark = high.unwrap_or(low);
        assert_eq!(list(&store, compare(field, Less, mark.clone())).await, [first], "{field:?}");
        assert_eq!(list(&store, compare(field, LessOrEqual, mark.clone())).await, both(), "{field:?}");
        assert_eq!(list(&store, compare(field, Equal, mark.clone())).await, [second], "{field:?}");
        assert_eq!(list(&store, compare(field, NotEqual, mark.clone())).await, [first], "{field:?}");
        assert_eq!(list(&store, compare(field, GreaterOrEqual, mark.clone())).await, [second], "{field:?}");
        assert_eq!(list(&store, compare(field, Greater, mark)).await, [], "{field:?}");
    }

    // Texts, by their bytes: capitals come first.
    for (field, of_flow, of_task) in [
        (Field::StateName, "Retrying", "Completed"),
        (Field::Name, "etl/daily", "Zip"),
        (Field::RunName, "etl one", "zip two"),
    ] {
        let (low, high) = if of_flow < of_task { (f, t) } else { (t, f) };
        let mark = text(of_flow.max(of_task));
        assert_eq!(list(&store, compare(field, Equal, text(of_flow))).await, [f], "{field:?}");
        assert_eq!(list(&store, compare(field, NotEqual, text(of_flow))).await, [t], "{field:?}");
        assert_eq!(list(&store, compare(field, StartsWith, text(&of_task[..3]))).await, [t], "{field:?}");
        assert_eq!(list(&store, compare(field, StartsWith, text(""))).await, both(), "{field:?}");
        assert_eq!(list(&store, compare(field, Less, mark.clone())).await, [low], "{field:?}");
        assert_eq!(list(&store, compare(field, LessOrEqual, mark.clone())).await, both(), "{field:?}");
        assert_eq!(list(&store, compare(field, GreaterOrEqual, mark.clone())).await, [high], "{field:?}");
        assert_eq!(list(&store, compare(field, Greater, mark)).await, [], "{field:?}");
    }

    // Fields that the task has not: every comparison but NotEqual is false for it.
    for comparison in [Equal, LessOrEqual, GreaterOrEqual, StartsWith] {
        assert_eq!(list(&store, compare(Field::Queue, comparison, text("gpu"))).await, [f]);
    }
    assert_eq!(list(&store, compare(Field::Queue, NotEqual, text("gpu"))).await, [t]);
    assert_eq!(list(&store, compare(Field::Queue, Less, text("zzz"))).await, [f]);
    assert_eq!(list(&store, compare(Field::Queue, Greater, text("a"))).await, [f]);
    for (field, has, at) in [(Field::StartedAt, f, after(60)), (Field::EndedAt, t, after(70))] {
        let has_not = if has == f { t } else { f };
        let at = Value::Time(at);
        for comparison in [Equal, LessOrEqual, GreaterOrEqual] {
            assert_eq!(list(&store, compare(field, comparison, at.clone())).await, [has], "{field:?}");
        }
        assert_eq!(list(&store, compare(field, NotEqual, at.clone())).await, [has_not], "{field:?}");
        assert_eq!(list(&store, compare(field, Less, at.clone())).await, [], "{field:?}");
        assert_eq!(list(&store, compare(field, Greater, at)).await, [], "{field:?}");
    }
}

/// And, Or and Not in each other, with their empty forms and with fields that have no value.
pub async fn nested_filters(store: Arc<dyn RunStore>) {
    let (flow, task) = two_runs(&store).await;
    let (f, t) = (flow.id, task.id);
    let not = |filter| Filter::Not(Box::new(filter));
    let gpu = || compare(Field::Queue, Equal, text("gpu"));
    let low = || compare(Field::Priority, Less, Value::Number(0));
    let eu = || compare(Field::Tags, Has, text("eu"));

    assert_eq!(list(&store, Filter::And(vec![])).await, [t, f]);
    assert_eq!(list(&store, Filter::Or(vec![])).await, []);
    assert_eq!(list(&store, not(Filter::Or(vec![]))).await, [t, f]);
    assert_eq!(list(&store, not(gpu())).await, [t], "no queue is not that queue");
    assert_eq!(list(&store, not(not(gpu()))).await, [f]);
    assert_eq!(list(&store, not(eu())).await, [t]);
    assert_eq!(list(&store, Filter::And(vec![gpu(), low()])).await, []);
    assert_eq!(list(&store, Filter::Or(vec![gpu(), low()])).await, [t, f]);
    assert_eq!(list(&store, Filter::And(vec![gpu(), Filter::Or(vec![low(), eu()])])).await, [f]);
    assert_eq!(list(&store, Filter::Or(vec![Filter::And(vec![gpu(), eu()]), low()])).await, [t, f]);
    assert_eq!(list(&store, not(Filter::And(vec![gpu(), not(low())]))).await, [t]);
    // As many as a filter of 4 KiB can hold.
    let many: Vec<Filter> = (0..800).map(|n| compare(Field::Priority, Equal, Value::Number(n))).collect();
    assert_eq!(list(&store, Filter::Or(many)).await, [f]);
}

/// A comparison that a field does not take never reaches the database.
pub async fn a_wrong_comparison_is_an_error(store: Arc<dyn RunStore>) {
    for filter in [
        compare(Field::State, Less, Value::State(StateType::Running)),
        compare(Field::Tags, Equal, text("eu")),
        compare(Field::Name, Has, text("x")),
        compare(Field::Attempt, Equal, text("x")),
        compare(Field::DueAt, StartsWith, Value::Time(T0)),
        compare(Field::Priority, Contains, Value::Number(1)),
        compare(Field::Id, Greater, Value::Run(RunId::new())),
        compare(Field::Labels, Equal, text("team")),
        compare(Field::Tags, Has, Value::Label { key: "team".to_owned(), text: "ml".to_owned() }),
    ] {
        let query = ListQuery::newest("default".parse().unwrap(), filter, 1);
        assert!(matches!(store.list_runs(&query).await, Err(StoreError::Internal(_))), "{query:?}");
    }
}

/// Values are values: quotes, wildcards and statements in them find only what is named so.
pub async fn values_are_no_sql(store: Arc<dyn RunStore>) {
    let names = ["100%", "100_", "100x", "it's", "\"; DROP TABLE runs; --", "a\\b", "' OR '1'='1"];
    let labelled = |name: &str| {
        // A key of the same kind comes from a filter alone: the border lets no run have it.
        let labels = [("key".to_owned(), name.to_owned()), (name.to_owned(), "value".to_owned())];
        let (run_name, tags) = (name.to_owned(), vec![name.to_owned()]);
        made(Draft { run_name, tags, labels: labels.into(), ..draft() })
    };
    let runs: Vec<Run> = names.iter().map(|name| labelled(name)).collect();
    insert(&store, &runs.iter().collect::<Vec<_>>()).await;
    for (name, run) in names.iter().zip(&runs) {
        assert_eq!(list(&store, compare(Field::RunName, Equal, text(name))).await, [run.id], "{name}");
        assert_eq!(list(&store, compare(Field::RunName, StartsWith, text(name))).await, [run.id], "{name}");
        assert_eq!(list(&store, compare(Field::RunName, EndsWith, text(name))).await, [run.id], "{name}");
        assert_eq!(list(&store, compare(Field::RunName, Contains, text(name))).await, [run.id], "{name}");
        assert_eq!(list(&store, compare(Field::Tags, Has, text(name))).await, [run.id], "{name}");
        assert_eq!(list(&store, compare(Field::Labels, Has, text(name))).await, [run.id], "{name}");
        for (key, value) in [("key", *name), (*name, "value")] {
            let label = Value::Label { key: key.to_owned(), text: value.to_owned() };
            assert_eq!(list(&store, compare(Field::Labels, Equal, label)).await, [run.id], "{name}");
        }
    }
    assert_eq!(list(&store, compare(Field::RunName, StartsWith, text("%"))).await, []);
    assert_eq!(list(&store, compare(Field::RunName, StartsWith, text("100"))).await.len(), 3);
}
