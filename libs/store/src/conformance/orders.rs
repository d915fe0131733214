//! Ordered lists, page by page.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::{Draft, Phase, Run};

use super::{
    fixture::*,
    matches::{Chance, random_run},
};
use crate::{
    Comparison, Count, CountQuery, Field, Filter, ListQuery, Order, OrderBy, Position, RunStore, Value,
};

fn query(namespace: &Namespace, order: Order, limit: usize) -> ListQuery {
    let newest = ListQuery::newest(namespace.clone(), Filter::And(Vec::new()), limit);
    ListQuery { order, ..newest }
}

fn orders() -> impl Iterator<Item = Order> {
    OrderBy::ALL.iter().flat_map(|by| [true, false].map(|descending| Order { by: *by, descending }))
}

/// Reads all pages; `between` is done after each.
async fn pages(
    store: &Arc<dyn RunStore>,
    mut query: ListQuery,
    mut between: impl AsyncFnMut(),
) -> Vec<RunId> {
    let mut listed = Vec::new();
    loop {
        let page = store.list_runs(&query).await.unwrap();
        assert!(page.len() <= query.limit);
        listed.extend(ids(&page));
        let Some(last) = page.last().filter(|_| page.len() == query.limit) else { return listed };
        query.after = Some(Position::of(last, query.order.by));
        between().await;
    }
}

/// Pages of any size give all runs by the field, then by id, and those without a value last.
pub async fn pages_follow_every_order(store: Arc<dyn RunStore>) {
    let mut chance = Chance::drawn();
    let runs: Vec<Run> = (0..40).map(|_| random_run(&mut chance, None)).collect();
    insert(&store, &runs.iter().collect::<Vec<_>>()).await;
    for order in orders() {
        let mut expected: Vec<&Run> = runs.iter().collect();
        expected.sort_by(|a, b| compare(a, b, order));
        let expected: Vec<RunId> = expected.iter().map(|run| run.id).collect();
        for limit in [1, 7, 40, 100] {
            let listed = pages(&store, query(&Namespace::default(), order, limit), async || {}).await;
            assert_eq!(listed, expected, "{order:?} by {limit}");
        }
    }
}

fn compare(a: &Run, b: &Run, order: Order) -> Ordering {
    let directed = |ordering: Ordering| if order.descending { ordering.reverse() } else { ordering };
    let by_value = match (Position::of(a, order.by).value, Position::of(b, order.by).value) {
        (Some(a), Some(b)) => directed(compare_values(&a, &b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_value.then(directed(a.id.cmp(&b.id)))
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        _ => panic!("{a:?} and {b:?} are of one type that has an order"),
    }
}

/// While runs are added and others change, those that stay as they are come once each. By id, and by what never
/// changes, no run at all comes twice.
pub async fn pages_hold_while_runs_are_added_and_changed(store: Arc<dyn RunStore>) {
    let mut chance = Chance::drawn();
    for (order_idx, order) in orders().enumerate() {
        // Each has its own runs.
        let namespace: Namespace = format!("order-{order_idx}").parse().unwrap();
        let mut drawn = || Run { namespace: namespace.clone(), ..random_run(&mut chance, None) };
        let mut stable = Vec::new();
        let mut changing = Vec::new();
        for n in 0..30 {
            let run = drawn();
            if n % 3 == 0 { changing.push(run) } else { stable.push(run) }
        }
        insert(&store, &stable.iter().chain(&changing).collect::<Vec<_>>()).await;
        let mut n_added = 0;
        let listed = pages(&store, query(&namespace, order, 4), async || {
            // A list from the newest ends by itself; one to the newest goes on as long as runs are added.
            if n_added < 10 {
                n_added += 1;
                insert(&store, &[&drawn()]).await;
            }
            if let Some(run) = changing.pop() {
                let seconds = u64::try_from(changing.len()).unwrap() * 2;
                let changed = Run {
                    started_at: Some(after(seconds)),
                    due_at: after(seconds),
                    ..entered(&run, Phase::Failed, after(seconds))
                };
                update(&store, &[(changed, None)]).await;
            }
        })
        .await;
        let mut times: HashMap<RunId, usize> = HashMap::new();
        for id in listed {
            *times.entry(id).or_default() += 1;
        }
        for run in &stable {
            assert_eq!(times.get(&run.id), Some(&1), "{order:?}: {run:?}");
        }
        let may_change = matches!(order.by, OrderBy::StartedAt | OrderBy::EndedAt | OrderBy::DueAt);
        if !may_change {
            assert!(times.values().all(|times| *times == 1), "{order:?}: {times:?}");
        }
    }
}

/// Counts are exact up to the bound, and above it say what they are worth.
pub async fn counts_say_what_they_are_worth(store: Arc<dyn RunStore>) {
    let runs: Vec<Run> = (0..20)
        .map(|n| made(Draft { run_name: if n < 5 { "few" } else { "many" }.to_owned(), ..draft() }))
        .collect();
    insert(&store, &runs.iter().collect::<Vec<_>>()).await;
    let count = async |run_name: &str, exact_up_to| {
        let value = Value::Text(run_name.to_owned());
        let filter = Filter::Compare(Field::RunName, Comparison::Equal, value);
        let query = CountQuery { namespace: "default".parse().unwrap(), filter, exact_up_to };
        store.count_runs(&query).await.unwrap()
    };
    assert_eq!(count("few", 100).await, Count::Exact(5));
    assert_eq!(count("few", 5).await, Count::Exact(5));
    assert_eq!(count("none", 5).await, Count::Exact(0));
    match count("many", 5).await {
        Count::AtLeast(n) => assert_eq!(n, 6),
        // A table that was never analysed has poor statistics; what was counted stands.
        Count::About(n) => assert!(n >= 6, "{n}"),
        Count::Exact(n) => panic!("{n} were counted"),
    }
    let everything = CountQuery { namespace: elsewhere(), filter: Filter::And(Vec::new()), exact_up_to: 5 };
    assert_eq!(store.count_runs(&everything).await.unwrap(), Count::Exact(0), "another namespace");
}
