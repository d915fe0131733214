//! Idempotency keys: P4.

use std::{slice::from_ref, sync::Arc};

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::Phase;
use tokio::task::JoinSet;

use super::fixture::*;
use crate::{KeyOwner, KeyReservation, KeyUse, RunStore};

/// A reservation for a run of its own.
pub fn reservation(scope: &str, key: &str) -> KeyReservation {
    let run_id = RunId::new();
    let mut params_hash = [7; 32];
    params_hash[..16].copy_from_slice(run_id.as_uuid().as_bytes());
    KeyReservation {
        namespace: Namespace::default(),
        scope: scope.to_owned(),
        key: key.to_owned(),
        run_id,
        params_hash,
        expires_at: after(100),
    }
}

fn owner(key: &KeyReservation) -> KeyOwner {
    KeyOwner { run_id: key.run_id, params_hash: key.params_hash }
}

async fn reserve(store: &Arc<dyn RunStore>, keys: &[KeyReservation], seconds: u64) -> Vec<KeyOwner> {
    let mut tx = store.begin().await.unwrap();
    let owners = tx.reserve_keys(keys, after(seconds)).await.unwrap();
    tx.commit().await.unwrap();
    owners
}

/// Answers come in the order of the slice; the first owns, within a slice too; namespace and scope tell keys apart.
pub async fn the_first_reservation_owns_the_key(store: Arc<dyn RunStore>) {
    let b = reservation("task:resize", "b's \"key\"");
    let a = reservation("task:resize", "a");
    let b_again = reservation("task:resize", "b's \"key\"");
    let other_scope = reservation("task:other", "a");
    let other_namespace = KeyReservation { namespace: elsewhere(), ..reservation("task:resize", "a") };
    let keys = [b.clone(), a.clone(), b_again, other_scope.clone(), other_namespace.clone()];
    let owners = reserve(&store, &keys, 0).await;
    assert_eq!(owners, [owner(&b), owner(&a), owner(&b), owner(&other_scope), owner(&other_namespace)]);

    let new = reservation("task:resize", "new");
    let later = [reservation("task:resize", "a"), new.clone(), reservation("task:resize", "b's \"key\"")];
    assert_eq!(reserve(&store, &later, 1).await, [owner(&a), owner(&new), owner(&b)]);
    assert_eq!(reserve(&store, &[], 1).await, []);
}

/// At its expiry a key can be taken, and only then.
pub async fn an_expired_key_is_given_anew(store: Arc<dyn RunStore>) {
    let first = reservation("flow:etl", "daily");
    reserve(&store, from_ref(&first), 0).await;
    let second = KeyReservation { expires_at: after(200), ..reservation("flow:etl", "daily") };
    assert_eq!(reserve(&store, from_ref(&second), 99).await, [owner(&first)]);
    assert_eq!(reserve(&store, from_ref(&second), 100).await, [owner(&second)]);
    // With the new owner's expiry.
    assert_eq!(reserve(&store, &[first], 199).await, [owner(&second)]);
}

/// A reservation lives and dies with its transaction.
pub async fn a_rolled_back_reservation_is_none(store: Arc<dyn RunStore>) {
    let mut tx = store.begin().await.unwrap();
    tx.reserve_keys(&[reservation("flow:etl", "daily")], T0).await.unwrap();
    drop(tx);
    let second = reservation("flow:etl", "daily");
    assert_eq!(within(reserve(&store, from_ref(&second), 0)).await, [owner(&second)]);
}

/// A second transaction waits for the one that has reserved the key, and finds its owner; of many at once, with many
/// keys in any order, one owns each.
pub async fn of_two_transactions_one_owns_the_key(store: Arc<dyn RunStore>) {
    let first = reservation("flow:etl", "daily");
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.reserve_keys(from_ref(&first), T0).await.unwrap(), [owner(&first)]);
    let keys = [reservation("flow:etl", "daily")];
    let mut second = Box::pin(reserve(&store, &keys, 0));
    assert!(is_waiting(&mut second).await);
    tx.commit().await.unwrap();
    assert_eq!(within(second).await, [owner(&first)]);

    let mut callers = JoinSet::new();
    for caller in 0..6 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut keys: Vec<_> = (0..20).map(|n| reservation("flow:etl", &format!("{n}"))).collect();
            if caller % 2 == 0 {
                keys.reverse();
            }
            let mut owners = reserve(&store, &keys, 0).await;
            if caller % 2 == 0 {
                owners.reverse();
            }
            owners
        });
    }
    let answers = within(callers.join_all()).await;
    assert!(answers.iter().all(|owners| *owners == answers[0]));
}

/// It is kept how often a key was answered by the run that owns it, and forgotten with a new owner.
pub async fn a_run_knows_its_keys_and_who_got_it_by_them(store: Arc<dyn RunStore>) {
    let first = reservation("flow:etl", "daily \"7\"");
    let other = KeyReservation { run_id: first.run_id, ..reservation("request", "b") };
    reserve(&store, &[first.clone(), other.clone()], 0).await;
    let used = |key: &KeyReservation, n_answers, seconds: Option<u64>| KeyUse {
        scope: key.scope.clone(),
        key: key.key.clone(),
        n_answers,
        answered_at: seconds.map(after),
    };
    let of_run = async |run| store.keys_of_run(&first.namespace, run, 10).await.unwrap();
    assert_eq!(of_run(first.run_id).await, [used(&first, 0, None), used(&other, 0, None)]);
    for (n, seconds) in [(2, 5), (1, 7)] {
        let mut tx = store.begin().await.unwrap();
        tx.reserve_keys(&[first.clone(), other.clone()], after(seconds)).await.unwrap();
        let elsewhere = KeyReservation { namespace: elsewhere(), ..first.clone() };
        tx.note_answers(&[(first.clone(), n), (elsewhere, 9)], after(seconds)).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(of_run(first.run_id).await, [used(&first, 3, Some(7)), used(&other, 0, None)]);
    assert_eq!(store.keys_of_run(&first.namespace, first.run_id, 1).await.unwrap().len(), 1);
    assert_eq!(store.keys_of_run(&elsewhere(), first.run_id, 10).await.unwrap(), []);
    let second = KeyReservation { run_id: RunId::new(), expires_at: after(200), ..first.clone() };
    assert_eq!(reserve(&store, from_ref(&second), 99).await, [owner(&first)]);
    reserve(&store, from_ref(&second), 100).await;
    assert_eq!(of_run(second.run_id).await, [used(&second, 0, None)]);
    assert_eq!(of_run(first.run_id).await, [used(&other, 0, None)]);
}

/// Keys are looked up without being taken; one that has expired has no owner.
pub async fn owners_are_found_without_reserving(store: Arc<dyn RunStore>) {
    let (known, unknown) = (reservation("flow:etl", "known"), reservation("flow:etl", "unknown"));
    reserve(&store, from_ref(&known), 0).await;
    let asked = [unknown.clone(), KeyReservation { run_id: RunId::new(), ..known.clone() }];
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.find_keys(&asked, after(99)).await.unwrap(), [None, Some(owner(&known))]);
    assert_eq!(tx.find_keys(&asked, after(100)).await.unwrap(), [None, None]);
    tx.commit().await.unwrap();
    assert_eq!(reserve(&store, from_ref(&unknown), 99).await, [owner(&unknown)]);
}

/// A parent may be open for longer than keys are kept: it still finds its children. Their keys go after its end.
pub async fn a_childs_key_lasts_as_long_as_its_parent_is_open(store: Arc<dyn RunStore>) {
    let parent = queued();
    insert(&store, &[&parent]).await;
    let scope = format!("run:{}", parent.id);
    let (child, stray) = (reservation(&scope, "n"), reservation(&format!("run:{}", RunId::new()), "n"));
    reserve(&store, &[child.clone(), stray.clone(), reservation("flow:etl", "daily")], 0).await;
    let again = [reservation(&scope, "n")];
    assert_eq!(reserve(&store, &again, 100).await, [owner(&child)], "expired, and still its own");
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.find_keys(&again, after(100)).await.unwrap(), [Some(owner(&child))]);
    drop(tx);
    assert_eq!(store.purge(T0, after(101), 100).await.unwrap(), 2, "the other two go");
    assert_eq!(store.purge(T0, after(102), 100).await.unwrap(), 0);
    assert_eq!(reserve(&store, &again, 103).await, [owner(&child)]);

    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&[parent.id]).await.unwrap();
    tx.update_runs(&[(entered(&parent, Phase::Completed, after(104)), None)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.purge(T0, after(200_000), 100).await.unwrap(), 1);
}

/// The run of a key is found by namespace, scope and key, until the key expires.
pub async fn a_key_is_found_until_it_expires(store: Arc<dyn RunStore>) {
    let key = reservation("flow:etl", "it's");
    reserve(&store, from_ref(&key), 0).await;
    let find = async |namespace: &Namespace, scope, text, seconds| {
        store.find_key(namespace, scope, text, after(seconds)).await.unwrap()
    };
    let here = Namespace::default();
    assert_eq!(find(&here, "flow:etl", "it's", 99).await, Some(key.run_id));
    assert_eq!(find(&here, "flow:etl", "it's", 100).await, None);
    assert_eq!(find(&here, "flow:etl", "its", 99).await, None);
    assert_eq!(find(&here, "task:etl", "it's", 99).await, None);
    assert_eq!(find(&elsewhere(), "flow:etl", "it's", 99).await, None);
    let of_child = reservation("run:x", "n");
    reserve(&store, from_ref(&of_child), 0).await;
    assert_eq!(find(&here, "run:x", "n", 100).await, Some(of_child.run_id), "as its parent finds it");
}
