//! Cache keys.

use std::sync::Arc;

use tidegate_model::{Namespace, RunId};
use tidegate_orchestration::Phase;

use super::fixture::*;
use crate::{CacheEntry, RunStore};

/// An entry of the default namespace with a run of its own.
pub fn cached(key: &str, seconds: u64) -> CacheEntry {
    CacheEntry {
        namespace: Namespace::default(),
        key: key.to_owned(),
        run_id: RunId::new(),
        expires_at: after(seconds),
    }
}

async fn put(store: &Arc<dyn RunStore>, entries: &[CacheEntry]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_cache_keys(entries).await.unwrap();
    tx.commit().await.unwrap();
}

async fn find(store: &Arc<dyn RunStore>, keys: &[(Namespace, &str)], seconds: u64) -> Vec<Option<RunId>> {
    let keys: Vec<_> = keys.iter().map(|(namespace, key)| (namespace.clone(), (*key).to_owned())).collect();
    let mut tx = store.begin().await.unwrap();
    tx.find_cache_keys(&keys, after(seconds)).await.unwrap()
}

/// The latest entry of a key serves in its namespace until it expires; answers come in the order of the keys.
pub async fn a_cached_run_is_found_until_it_expires(store: Arc<dyn RunStore>) {
    let (a, b) = (cached("a's \"key\"", 10), cached("b", 20));
    let other = CacheEntry { namespace: elsewhere(), ..cached("b", 30) };
    put(&store, &[b.clone(), other.clone(), a.clone()]).await;
    let own = Namespace::default();
    let asked = [(own.clone(), "b"), (elsewhere(), "b"), (own.clone(), "?"), (own.clone(), "a's \"key\"")];
    let found = [Some(b.run_id), Some(other.run_id), None, Some(a.run_id)];
    assert_eq!(find(&store, &asked, 9).await, found);
    assert_eq!(find(&store, &asked, 10).await, [Some(b.run_id), Some(other.run_id), None, None]);

    let (first, last) = (cached("b", 40), cached("b", 50));
    put(&store, &[first, last.clone()]).await;
    put(&store, &[]).await;
    assert_eq!(find(&store, &asked[..1], 45).await, [Some(last.run_id)], "the last one stays");
    assert_eq!(find(&store, &[], 0).await, []);
}

/// A result is copied with all that it says; a run without one gives none, and what was there is replaced.
pub async fn a_result_can_be_another_runs_too(store: Arc<dyn RunStore>) {
    let (with, without) =
        (entered(&queued(), Phase::Completed, T0), entered(&queued(), Phase::Completed, T0));
    let [first, second, third] = [queued(), queued(), queued()];
    insert(&store, &[&with, &without, &first, &second, &third]).await;
    let mut tx = store.begin().await.unwrap();
    tx.put_results(&[(with.id, payload(b"42")), (second.id, payload(b"old"))]).await.unwrap();
    tx.copy_results(&[(with.id, first.id), (with.id, second.id), (without.id, third.id)]).await.unwrap();
    tx.copy_results(&[]).await.unwrap();
    tx.commit().await.unwrap();
    let details = store.get_details(None, &ids(&[first, second, third.clone()])).await.unwrap();
    for detail in details {
        let expected = (detail.run.id != third.id).then(|| payload(b"42"));
        assert_eq!(detail.result, expected, "{detail:?}");
    }
}
