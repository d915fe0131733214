//! Automations, and what sets them off.

use std::{slice::from_ref, sync::Arc};

use bytes::Bytes;
use tidegate_model::{AutomationRevision, Namespace, Timestamp};
use tidegate_orchestration::{Phase, Run, StateName, StateType};

use super::fixture::*;
use crate::{Automation, AutomationKey, AutomationRecord, EventRow, Firing, FiringKey, RunStore, Trigger};

/// An automation of the default namespace.
pub fn key(name: &str) -> AutomationKey {
    AutomationKey { namespace: Namespace::default(), name: name.parse().unwrap() }
}

/// One that CRASHED sets off.
pub fn automation(name: &str) -> Automation {
    Automation {
        key: key(name),
        description: String::new(),
        trigger: Trigger {
            states: vec![StateType::Crashed],
            state_names: Vec::new(),
            filter: String::new(),
            each_attempt: false,
        },
        action: Bytes::from_static(b"\0action\xff"),
        is_paused: false,
        record: AutomationRecord::default(),
        revision: AutomationRevision::new(),
        created_at: T0,
        updated_at: T0,
    }
}

/// The same in the other namespace.
pub fn foreign(name: &str) -> Automation {
    Automation { key: AutomationKey { namespace: elsewhere(), ..key(name) }, ..automation(name) }
}

/// Makes automations in a transaction of their own.
pub async fn insert_automations(store: &Arc<dyn RunStore>, automations: &[&Automation]) {
    let mut tx = store.begin().await.unwrap();
    for automation in automations {
        assert!(tx.insert_automation(automation).await.unwrap());
    }
    tx.commit().await.unwrap();
}

/// Changes an automation in a transaction of its own.
pub async fn update_automation(store: &Arc<dyn RunStore>, automation: &Automation) {
    let mut tx = store.begin().await.unwrap();
    tx.lock_automation(&automation.key).await.unwrap();
    tx.update_automation(automation).await.unwrap();
    tx.commit().await.unwrap();
}

/// The first event of a run, with which it ends as CRASHED.
pub fn crash(run: &Run, at: Timestamp) -> EventRow {
    event(&entered(run, Phase::Crashed, at), 1)
}

/// Runs by id, each with the event of its crash; the first crashed at `after(1)`, the second a second later, and so on.
pub async fn crashes(store: &Arc<dyn RunStore>, n: u64) -> Vec<EventRow> {
    let mut runs: Vec<Run> = (0..n).map(|_| queued()).collect();
    runs.sort_unstable_by_key(|run| run.id);
    let events: Vec<EventRow> = (1..).zip(&runs).map(|(idx, run)| crash(run, after(idx))).collect();
    append(store, &events).await;
    events
}

/// What an event sets off, as it is at first.
pub fn firing(automation: &AutomationKey, event: &EventRow) -> Firing {
    Firing {
        key: FiringKey { automation: automation.clone(), run_id: event.run_id, seq: event.seq },
        state_type: event.state_type,
        state_name: event.state_name,
        message: event.message.clone(),
        at: event.at,
        attempt: event.attempt,
        ended: event.ended,
        n_tries: 0,
        last_error: String::new(),
        due_at: event.at,
        is_given_up: false,
    }
}

/// The firings of an automation.
pub async fn listed(store: &Arc<dyn RunStore>, key: &AutomationKey) -> Vec<Firing> {
    store.list_firings(key, None, 100).await.unwrap()
}

/// What was set is read as it was; a change keeps the record and when it was made; a name is taken once in a namespace.
pub async fn automations_are_set_changed_and_deleted(store: Arc<dyn RunStore>) {
    let whole = Automation {
        description: "two\nlines".to_owned(),
        trigger: Trigger {
            states: vec![StateType::Failed, StateType::Crashed],
            state_names: vec![StateName::Late, StateName::TimedOut],
            filter: "tags:\"größe\"".to_owned(),
            each_attempt: true,
        },
        is_paused: true,
        record: AutomationRecord {
            n_succeeded: 7,
            n_given_up: 3,
            last_error: "no \"answer\"".to_owned(),
            last_succeeded_at: Some(after(3)),
        },
        updated_at: after(1),
        ..automation("Page.me-1")
    };
    let foreign = foreign("Page.me-1");
    insert_automations(&store, &[&whole, &foreign]).await;
    assert_eq!(store.get_automation(&whole.key).await.unwrap(), Some(whole.clone()));
    assert_eq!(store.get_automation(&foreign.key).await.unwrap(), Some(foreign.clone()));
    assert_eq!(store.get_automation(&key("page.me-1")).await.unwrap(), None);

    let mut tx = store.begin().await.unwrap();
    assert!(!tx.insert_automation(&automation("Page.me-1")).await.unwrap());
    assert_eq!(tx.lock_automation(&key("unknown")).await.unwrap(), None);
    assert_eq!(tx.lock_automation(&whole.key).await.unwrap(), Some(whole.clone()));
    let changed = Automation { updated_at: after(2), ..automation("Page.me-1") };
    let written =
        Automation { created_at: after(2), action: Bytes::from_static(b"other"), ..changed.clone() };
    tx.update_automation(&written).await.unwrap();
    tx.commit().await.unwrap();
    let changed = Automation { record: whole.record.clone(), action: written.action.clone(), ..changed };
    assert_eq!(store.get_automation(&whole.key).await.unwrap(), Some(changed));

    let mut tx = store.begin().await.unwrap();
    tx.delete_automation(&whole.key).await.unwrap();
    assert_eq!(tx.count_automations(&Namespace::default(), 9).await.unwrap(), 0);
    assert_eq!(tx.count_automations(&elsewhere(), 9).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.get_automation(&whole.key).await.unwrap(), None);
    assert_eq!(store.get_automation(&foreign.key).await.unwrap(), Some(foreign));
}

/// By name, page by page, within the namespace.
pub async fn automations_are_listed_by_name(store: Arc<dyn RunStore>) {
    let (a, b, c) = (automation("a"), automation("b"), automation("c"));
    insert_automations(&store, &[&b, &foreign("a"), &c, &a]).await;
    let own = Namespace::default();
    assert_eq!(store.list_automations(&own, None, 9).await.unwrap(), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(store.list_automations(&own, None, 2).await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.list_automations(&own, Some(&a.key.name), 9).await.unwrap(), [b, c.clone()]);
    assert_eq!(store.list_automations(&own, Some(&c.key.name), 9).await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.count_automations(&own, 2).await.unwrap(), 2);
}

/// Who changes an automation has others wait, and of two who make one, one does.
pub async fn a_locked_automation_makes_the_second_wait(store: Arc<dyn RunStore>) {
    insert_automations(&store, &[&automation("a")]).await;
    let mut tx = store.begin().await.unwrap();
    tx.lock_automation(&key("a")).await.unwrap();
    assert!(tx.insert_automation(&automation("b")).await.unwrap());
    let mut second = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        let locked = tx.lock_automation(&key("a")).await.unwrap();
        (locked.unwrap().description, tx.insert_automation(&automation("b")).await.unwrap())
    });
    assert!(is_waiting(&mut second).await);
    tx.update_automation(&Automation { description: "2".to_owned(), ..automation("a") }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(within(second).await, ("2".to_owned(), false));
}

/// By the type of the state or its name; the end of an attempt alone only where that is wanted; within the namespace; not
/// while paused. What was set off lives and dies with the event.
pub async fn an_event_sets_off_what_waits_for_it(store: Arc<dyn RunStore>) {
    let with = |name: &str, states: Vec<StateType>, state_names: Vec<StateName>| {
        let one = automation(name);
        Automation { trigger: Trigger { states, state_names, ..one.trigger.clone() }, ..one }
    };
    let by_type = automation("type");
    let by_name = with("name", Vec::new(), vec![StateName::TimedOut, StateName::Late]);
    let by_both = with("both", vec![StateType::Running, StateType::Crashed], vec![StateName::Crashed]);
    let mut each = automation("each");
    each.trigger.each_attempt = true;
    let paused = Automation { is_paused: true, ..automation("paused") };
    let foreign = foreign("type");
    let run = Run { attempt: 3, ..queued() };
    let late = EventRow { state_name: StateName::Late, ..event(&run, 1) };
    append(&store, from_ref(&late)).await;
    insert_automations(&store, &[&by_type, &by_name, &by_both, &each, &paused, &foreign]).await;
    assert_eq!(listed(&store, &by_name.key).await, [], "it was there before");

    let late = EventRow { seq: 2, ..late };
    let started = event(&entered(&run, running(), after(2)), 3);
    let crashed = EventRow {
        message: "größe \"x\"".to_owned(),
        ended: false,
        ..event(&entered(&run, Phase::Crashed, after(3)), 4)
    };
    let ended = event(&entered(&run, Phase::Crashed, after(4)), 5);
    let mut tx = store.begin().await.unwrap();
    tx.append_events(&[late.clone(), started.clone(), crashed.clone(), ended.clone()]).await.unwrap();
    drop(tx);
    for automation in [&by_type, &by_name, &by_both, &each] {
        assert_eq!(listed(&store, &automation.key).await, []);
    }
    append(&store, &[late.clone(), started.clone(), crashed.clone(), ended.clone()]).await;
    assert_eq!(listed(&store, &by_type.key).await, [firing(&by_type.key, &ended)]);
    assert_eq!(listed(&store, &by_name.key).await, [firing(&by_name.key, &late)]);
    let both = [firing(&by_both.key, &started), firing(&by_both.key, &ended)];
    assert_eq!(listed(&store, &by_both.key).await, both);
    let every = [firing(&each.key, &crashed), firing(&each.key, &ended)];
    assert_eq!(listed(&store, &each.key).await, every);
    assert_eq!(listed(&store, &paused.key).await, []);
    assert_eq!(listed(&store, &foreign.key).await, []);

    // Alone in its slice.
    let elsewhere = crash(&Run { namespace: elsewhere(), ..queued() }, after(5));
    append(&store, from_ref(&elsewhere)).await;
    assert_eq!(listed(&store, &foreign.key).await, [firing(&foreign.key, &elsewhere)]);
    assert_eq!(listed(&store, &by_type.key).await.len(), 1);
    update_automation(&store, &Automation { is_paused: false, ..paused.clone() }).await;
    let next = crashes(&store, 1).await;
    assert_eq!(listed(&store, &paused.key).await, [firing(&paused.key, &next[0])]);
}
