//! Work pools, their limits, who names them, and what their workers are to start.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::Namespace;

use super::fixture::*;
use crate::{Deployment, DeploymentKey, NewRun, QueuePause, RunStore, WorkPool, WorkPoolKey};

fn key(name: &str) -> WorkPoolKey {
    WorkPoolKey { namespace: Namespace::default(), name: name.parse().unwrap() }
}

fn first(name: &str) -> WorkPool {
    let spec = Bytes::from_static(b"\0spec\xff");
    WorkPool { key: key(name), version: 1, spec, pause: None, created_at: T0, updated_at: T0 }
}

async fn put(store: &Arc<dyn RunStore>, pool: &WorkPool, max_slots: Option<Option<u32>>) {
    let mut tx = store.begin_queue_change(&pool.key.namespace).await.unwrap();
    tx.put_work_pool(pool, max_slots).await.unwrap();
    tx.commit().await.unwrap();
}

/// What was put is read as it was, by key and by name, within its namespace.
pub async fn work_pools_are_kept_and_listed(store: Arc<dyn RunStore>) {
    let (a, b) = (first("a.A-1"), first("b_2"));
    let foreign = WorkPool { key: WorkPoolKey { namespace: elsewhere(), ..a.key.clone() }, ..first("x") };
    for pool in [&b, &a, &foreign] {
        put(&store, pool, Some(None)).await;
    }
    let namespace = Namespace::default();
    assert_eq!(store.list_work_pools(&namespace, None, 10).await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.list_work_pools(&namespace, None, 1).await.unwrap(), std::slice::from_ref(&a));
    let after_first = store.list_work_pools(&namespace, Some(&a.key.name), 10).await.unwrap();
    assert_eq!(after_first, std::slice::from_ref(&b));
    let names = store.list_work_pool_names(&namespace, 10).await.unwrap();
    assert_eq!(names, [a.key.name.clone(), b.key.name.clone()]);
    let asked = [foreign.key.clone(), key("unknown")];
    assert_eq!(store.get_work_pools(&asked).await.unwrap(), std::slice::from_ref(&foreign));

    let pause = QueuePause { at: after(3), by: Some("ada".into()), reason: "\u{1F40B} \"why\"".into() };
    let paused =
        WorkPool { version: 2, pause: Some(pause), spec: Bytes::new(), updated_at: after(3), ..a.clone() };
    put(&store, &paused, None).await;
    let mut tx = store.begin_claims(&[namespace.clone()].into()).await.unwrap();
    assert_eq!(tx.read_work_pools(std::slice::from_ref(&a.key)).await.unwrap(), [paused]);
    drop(tx);
    let mut tx = store.begin_queue_change(&namespace).await.unwrap();
    for (limit, n_counted) in [(10, 2), (2, 2), (1, 1)] {
        assert_eq!(tx.count_work_pools(&namespace, limit).await.unwrap(), n_counted);
    }
}

/// It is that of the last put which said something of it, and goes with the pool.
pub async fn a_work_pools_limit_comes_and_goes_with_it(store: Arc<dyn RunStore>) {
    let pool = first("site");
    let limits = [pool.key.limit()];
    for (max_slots, expected) in
        [(Some(Some(3)), Some(3)), (None, Some(3)), (Some(None), None), (Some(Some(0)), Some(0))]
    {
        put(&store, &pool, max_slots).await;
        let found = store.get_limits(&limits, T0).await.unwrap().pop();
        assert_eq!(found.and_then(|found| found.limit.settings.max_slots), expected);
    }
    let mut tx = store.begin_queue_change(&pool.key.namespace).await.unwrap();
    assert_eq!(tx.delete_work_pool(&pool.key).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.get_limits(&limits, T0).await.unwrap(), []);
    assert_eq!(store.get_work_pools(&[pool.key]).await.unwrap(), []);
}

/// And is there for those who are about to name it.
pub async fn a_work_pool_that_is_named_stays(store: Arc<dyn RunStore>) {
    let pool = first("site");
    put(&store, &pool, None).await;
    let namespace = Namespace::default();
    let deployment = DeploymentKey { namespace: namespace.clone(), name: "etl/nightly".parse().unwrap() };
    let deployment = Deployment {
        key: deployment,
        version: 1,
        spec: Bytes::new(),
        work_pool: Some(pool.key.name.clone()),
        created_at: T0,
        updated_at: T0,
    };
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.keep_work_pool(&key("unknown")).await.unwrap());
    assert!(tx.keep_work_pool(&pool.key).await.unwrap());
    tx.put_deployment(&deployment, None, None, 3).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.get_deployments(std::slice::from_ref(&deployment.key)).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&deployment));

    let mut tx = store.begin_queue_change(&namespace).await.unwrap();
    assert_eq!(tx.delete_work_pool(&pool.key).await.unwrap(), Some(deployment.key.name.clone()));
    tx.commit().await.unwrap();
    assert_eq!(store.get_work_pools(std::slice::from_ref(&pool.key)).await.unwrap().len(), 1);
    let mut tx = store.begin().await.unwrap();
    tx.put_deployment(&Deployment { work_pool: None, version: 2, ..deployment }, None, None, 3)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin_queue_change(&namespace).await.unwrap();
    assert_eq!(tx.delete_work_pool(&pool.key).await.unwrap(), None);
}

/// Each run its own, and those of the pool that are held are counted.
pub async fn runs_of_a_work_pool_have_their_jobs(store: Arc<dyn RunStore>) {
    let run = |pool: Option<&str>| {
        let mut run = made(draft());
        run.work_pool = pool.map(|pool| pool.parse().unwrap());
        run
    };
    let (plain, one, other) = (run(None), run(Some("site")), run(Some("other")));
    let held = entered(&run(Some("site")), running(), T0);
    let job = |run: &tidegate_orchestration::Run, job: &'static [u8]| NewRun {
        job: Some(Bytes::from_static(job)),
        ..bare(run)
    };
    let rows = [bare(&plain), job(&one, b"\0one\xff"), job(&other, b""), bare(&held)];
    let mut tx = store.begin().await.unwrap();
    tx.insert_runs(&rows).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let mut jobs = tx.get_jobs(&[plain.id, one.id, other.id]).await.unwrap();
    jobs.sort();
    let mut expected = [(one.id, Bytes::from_static(b"\0one\xff")), (other.id, Bytes::new())];
    expected.sort();
    assert_eq!(jobs, expected);
    drop(tx);
    let counted = |pool: &str, limit| {
        let (store, key) = (Arc::clone(&store), key(pool));
        async move { store.count_held_in_work_pool(&key, limit).await.unwrap() }
    };
    assert_eq!([counted("site", 9).await, counted("site", 0).await, counted("other", 9).await], [1, 0, 0]);
}
