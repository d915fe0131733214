//! Named values that runs share.

use std::sync::Arc;

use tidegate_model::{Namespace, VariableName, VariableRevision};

use super::fixture::*;
use crate::{RunStore, Variable, VariableKey, VariableQuery};

fn key(name: &str) -> VariableKey {
    VariableKey { namespace: Namespace::default(), name: name.parse().unwrap() }
}

fn variable(name: &str) -> Variable {
    Variable {
        key: key(name),
        value: "1".to_owned(),
        tags: Vec::new(),
        description: String::new(),
        revision: VariableRevision::new(),
        created_at: T0,
        updated_at: T0,
    }
}

async fn insert_variables(store: &Arc<dyn RunStore>, variables: &[&Variable]) {
    let mut tx = store.begin().await.unwrap();
    for variable in variables {
        assert!(tx.insert_variable(variable).await.unwrap());
    }
    tx.commit().await.unwrap();
}

fn every() -> VariableQuery {
    VariableQuery {
        namespace: Namespace::default(),
        name_prefix: String::new(),
        tag: None,
        after: None,
        limit: 10,
    }
}

async fn listed(store: &Arc<dyn RunStore>, query: &VariableQuery) -> Vec<String> {
    let found = store.list_variables(query).await.unwrap();
    found.into_iter().map(|variable| variable.key.name.to_string()).collect()
}

/// What was set is read as it was; a change keeps when it was made; a name is taken once in a namespace.
pub async fn variables_are_set_changed_and_deleted(store: Arc<dyn RunStore>) {
    let whole = Variable {
        value: "{\"a\": [1, 2.50, \"\\u0000 \u{1f30a}\"]}".to_owned(),
        tags: vec!["b, c".to_owned(), "a\"".to_owned()],
        description: "two\nlines".to_owned(),
        updated_at: after(1),
        ..variable("a-b_1")
    };
    let foreign =
        Variable { key: VariableKey { namespace: elsewhere(), ..whole.key.clone() }, ..variable("x") };
    insert_variables(&store, &[&whole, &foreign]).await;
    let own = Namespace::default();
    let names: [VariableName; 2] = [whole.key.name.clone(), "unknown".parse().unwrap()];
    assert_eq!(store.get_variables(&own, &names).await.unwrap(), std::slice::from_ref(&whole));
    assert_eq!(store.get_variables(&elsewhere(), &names).await.unwrap(), [foreign]);

    let mut tx = store.begin().await.unwrap();
    assert!(!tx.insert_variable(&Variable { key: whole.key.clone(), ..variable("x") }).await.unwrap());
    assert_eq!(tx.lock_variable(&key("unknown")).await.unwrap(), None);
    assert_eq!(tx.lock_variable(&whole.key).await.unwrap(), Some(whole.clone()));
    let changed = Variable { key: whole.key.clone(), updated_at: after(2), ..variable("x") };
    tx.update_variable(&Variable { created_at: after(2), ..changed.clone() }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.get_variables(&own, &names).await.unwrap(), [changed]);

    let mut tx = store.begin().await.unwrap();
    tx.delete_variable(&whole.key).await.unwrap();
    assert_eq!(tx.count_variables(&own, 9).await.unwrap(), 0);
    assert_eq!(tx.count_variables(&elsewhere(), 9).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.get_variables(&own, &names).await.unwrap(), []);
}

/// By name, by what the names begin with, by tag, page by page.
pub async fn variables_are_listed_by_name(store: Arc<dyn RunStore>) {
    let tagged = |name, tag: &str| Variable { tags: vec!["x".to_owned(), tag.to_owned()], ..variable(name) };
    let (a, ab, a_c) = (variable("a"), tagged("ab", "ml"), tagged("a_c", "m"));
    let foreign = Variable { key: VariableKey { namespace: elsewhere(), ..key("a") }, ..variable("a") };
    insert_variables(&store, &[&ab, &a_c, &a, &variable("b"), &foreign]).await;
    assert_eq!(listed(&store, &every()).await, ["a", "a_c", "ab", "b"]);
    assert_eq!(listed(&store, &VariableQuery { limit: 2, ..every() }).await, ["a", "a_c"]);
    let after = VariableQuery { after: Some("a_c".parse().unwrap()), ..every() };
    assert_eq!(listed(&store, &after).await, ["ab", "b"]);
    let with_prefix = |prefix: &str| VariableQuery { name_prefix: prefix.to_owned(), ..every() };
    assert_eq!(listed(&store, &with_prefix("a_")).await, ["a_c"]);
    assert_eq!(listed(&store, &with_prefix("a")).await, ["a", "a_c", "ab"]);
    assert_eq!(listed(&store, &VariableQuery { tag: Some("m".to_owned()), ..every() }).await, ["a_c"]);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.count_variables(&Namespace::default(), 3).await.unwrap(), 3);
}

/// Who changes a variable has others wait, and of two who make one, one does.
pub async fn a_locked_variable_makes_the_second_wait(store: Arc<dyn RunStore>) {
    insert_variables(&store, &[&variable("a")]).await;
    let mut tx = store.begin().await.unwrap();
    tx.lock_variable(&key("a")).await.unwrap();
    assert!(tx.insert_variable(&variable("b")).await.unwrap());
    let mut second = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        let locked = tx.lock_variable(&key("a")).await.unwrap();
        (locked.unwrap().value, tx.insert_variable(&variable("b")).await.unwrap())
    });
    assert!(is_waiting(&mut second).await);
    tx.update_variable(&Variable { value: "2".to_owned(), ..variable("a") }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(within(second).await, ("2".to_owned(), false));
}
