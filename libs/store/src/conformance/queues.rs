//! Settings of queues, their limits, and what keeps a claim from missing a change.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_model::Namespace;
use tidegate_orchestration::{Draft, Phase, Placement, Run};

use super::fixture::*;
use crate::{Queue, QueueKey, QueuePause, RunStore};

fn key(name: &str) -> QueueKey {
    QueueKey { namespace: Namespace::default(), name: name.parse().unwrap() }
}

fn settings(name: &str, max_slots: Option<u32>) -> Queue {
    Queue { key: key(name), max_slots, pause: None, created_at: T0, updated_at: T0 }
}

async fn put(store: &Arc<dyn RunStore>, queues: &[Queue]) {
    for queue in queues {
        let mut tx = store.begin_queue_change(&queue.key.namespace).await.unwrap();
        tx.put_queue(queue).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn own() -> BTreeSet<Namespace> {
    BTreeSet::from([Namespace::default()])
}

async fn max_slots(store: &Arc<dyn RunStore>, key: &QueueKey) -> Option<u32> {
    let found = store.get_limits(&[key.limit()], T0).await.unwrap();
    found.first().and_then(|used| used.limit.settings.max_slots)
}

/// What was put is read as it was, by key and by name, within its namespace; a later put replaces all but the creation.
pub async fn settings_of_queues_are_kept_and_listed(store: Arc<dyn RunStore>) {
    let pause = QueuePause { at: after(3), by: Some("ada".to_owned()), reason: "a \"test\"".to_owned() };
    let paused = Queue { pause: Some(pause), updated_at: after(4), ..settings("a.b_c-D", Some(0)) };
    let unknown = QueuePause { at: after(5), by: None, reason: String::new() };
    let plain = Queue { pause: Some(unknown), ..settings("b", None) };
    let foreign = Queue { key: QueueKey { namespace: elsewhere(), ..plain.key.clone() }, ..plain.clone() };
    put(&store, &[paused.clone(), plain.clone(), foreign.clone()]).await;

    let namespace = Namespace::default();
    assert_eq!(store.list_queues(&namespace, None, 10).await.unwrap(), [paused.clone(), plain.clone()]);
    assert_eq!(store.list_queues(&namespace, None, 1).await.unwrap(), std::slice::from_ref(&paused));
    let after_first = store.list_queues(&namespace, Some(&paused.key.name), 10).await.unwrap();
    assert_eq!(after_first, std::slice::from_ref(&plain));
    let asked = [foreign.key.clone(), key("unknown")];
    assert_eq!(store.get_queues(&asked).await.unwrap(), [foreign]);
    let mut tx = store.begin_claims(&own()).await.unwrap();
    assert_eq!(
        tx.read_queues(std::slice::from_ref(&paused.key)).await.unwrap(),
        std::slice::from_ref(&paused)
    );
    drop(tx);

    let changed = Queue { max_slots: Some(7), pause: None, updated_at: after(9), ..paused.clone() };
    put(&store, &[Queue { created_at: after(8), ..changed.clone() }]).await;
    assert_eq!(
        store.get_queues(std::slice::from_ref(&changed.key)).await.unwrap(),
        std::slice::from_ref(&changed)
    );

    let mut tx = store.begin_queue_change(&namespace).await.unwrap();
    assert!(tx.delete_queue(&changed.key).await.unwrap());
    assert!(!tx.delete_queue(&changed.key).await.unwrap(), "it was gone");
    tx.commit().await.unwrap();
    assert_eq!(store.list_queues(&namespace, None, 10).await.unwrap(), [plain]);
}

/// Whatever says how many slots a queue has, says so of its limit.
pub async fn a_queues_limit_comes_and_goes_with_its_settings(store: Arc<dyn RunStore>) {
    let (bound, free) = (settings("bound", Some(2)), settings("free", None));
    assert_eq!(bound.key.limit().name, "queue:bound");
    put(&store, &[bound.clone(), free.clone()]).await;
    assert_eq!((max_slots(&store, &bound.key).await, max_slots(&store, &free.key).await), (Some(2), None));
    put(&store, &[Queue { max_slots: Some(5), ..bound.clone() }]).await;
    assert_eq!(max_slots(&store, &bound.key).await, Some(5));
    put(&store, &[Queue { max_slots: None, ..bound.clone() }]).await;
    assert_eq!(max_slots(&store, &bound.key).await, None);
    put(&store, std::slice::from_ref(&bound)).await;
    let mut tx = store.begin_queue_change(&Namespace::default()).await.unwrap();
    tx.delete_queue(&bound.key).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(max_slots(&store, &bound.key).await, None);
}

/// What somebody defined under the name of a queue's limit is theirs while the queue has no slots of its own.
pub async fn a_limit_of_that_name_which_is_not_the_queues_stays(store: Arc<dyn RunStore>) {
    let queue = settings("q", None);
    assert_eq!(queue.key.limit().queue(), Some(queue.key.clone()));
    store.put_limit(&queue.key.limit(), &4.into(), T0).await.unwrap();
    put(&store, &[queue.clone(), Queue { updated_at: after(1), ..queue.clone() }]).await;
    assert_eq!(max_slots(&store, &queue.key).await, Some(4));
    let mut tx = store.begin_queue_change(&Namespace::default()).await.unwrap();
    assert!(tx.delete_queue(&queue.key).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(max_slots(&store, &queue.key).await, Some(4));
}

/// Runs that are held without a slot get one and are marked; others, and those of other queues, are left alone.
pub async fn what_a_queue_holds_gets_a_slot_once(store: Arc<dyn RunStore>) {
    let in_queue = |name: &str| made(Draft { placement: Placement::Queue(name.parse().unwrap()), ..draft() });
    let held = |name: &str| entered(&in_queue(name), running(), T0);
    let (a, b, elsewhere, waiting) = (held("q"), held("q"), held("p"), in_queue("q"));
    let ended = entered(&in_queue("q"), Phase::Completed, T0);
    insert(&store, &[&a, &b, &elsewhere, &waiting, &ended]).await;
    put(&store, &[settings("q", Some(1))]).await;
    let hold = async |seconds| {
        let mut tx = store.begin_queue_change(&Namespace::default()).await.unwrap();
        let n_held = tx.hold_queue_slots(&key("q"), after(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        n_held
    };
    assert_eq!(hold(1).await, 2);
    let slots = store.list_slots(&key("q").limit(), after(1), 10).await.unwrap();
    let mut owners: Vec<_> = slots.iter().map(|slot| slot.owner).collect();
    owners.sort();
    assert_eq!(owners, [a.id, b.id]);
    assert!(slots.iter().all(|slot| slot.acquired_at == after(1) && slot.expires_at.is_none()), "{slots:?}");
    for run in [&a, &b] {
        assert_eq!(get(&store, run.id).await, Run { queue_slot: true, ..run.clone() });
    }
    for run in [&elsewhere, &waiting, &ended] {
        assert_eq!(get(&store, run.id).await, *run);
    }
    assert_eq!(hold(2).await, 0, "each has one");
    assert_eq!(store.count_held(&key("q"), 10).await.unwrap(), 2);
    assert_eq!(store.count_held(&key("q"), 1).await.unwrap(), 1, "no further");
    assert_eq!(
        store.count_held(&QueueKey { namespace: super::fixture::elsewhere(), ..key("q") }, 10).await.unwrap(),
        0
    );
}

/// Claims do not wait for each other; a change waits for those of its namespace, and what comes after it waits for the
/// change and sees it.
pub async fn a_change_of_a_queue_waits_for_claims_and_they_for_it(store: Arc<dyn RunStore>) {
    let queue = settings("q", Some(3));
    let namespace = Namespace::default();
    let claims = store.begin_claims(&own()).await.unwrap();
    if store.kind() != "sqlite" {
        // There is more than one writer at a time.
        drop(within(store.begin_claims(&own())).await.unwrap());
        let change = within(store.begin_queue_change(&elsewhere())).await.unwrap();
        let both = BTreeSet::from([namespace.clone(), elsewhere()]);
        assert!(is_waiting(&mut Box::pin(store.begin_claims(&both))).await);
        drop(change);
        drop(within(store.begin_claims(&both)).await.unwrap());
    }
    let mut change = Box::pin(store.begin_queue_change(&namespace));
    assert!(is_waiting(&mut change).await);
    drop(claims);
    let mut change = within(change).await.unwrap();
    change.put_queue(&queue).await.unwrap();
    let mut later = Box::pin(async {
        let mut tx = store.begin_claims(&own()).await.unwrap();
        tx.read_queues(&[key("q")]).await.unwrap()
    });
    assert!(is_waiting(&mut later).await);
    change.commit().await.unwrap();
    assert_eq!(within(later).await, [queue]);
}
