//! Deployments, their versions and their limits.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::Namespace;
use tidegate_orchestration::Collision;

use super::fixture::*;
use crate::{Deployment, DeploymentKey, DeploymentVersion, LimitSettings, RunStore};

fn key(name: &str) -> DeploymentKey {
    DeploymentKey { namespace: Namespace::default(), name: name.parse().unwrap() }
}

fn first(name: &str) -> Deployment {
    let spec = Bytes::from_static(b"\0spec\xff");
    Deployment { key: key(name), version: 1, spec, work_pool: None, created_at: T0, updated_at: T0 }
}

fn changed(before: &Deployment, spec: &'static [u8]) -> Deployment {
    let version = before.version + 1;
    Deployment { version, spec: spec.into(), updated_at: after(version), ..before.clone() }
}

async fn put(
    store: &Arc<dyn RunStore>,
    deployment: &Deployment,
    by: Option<&str>,
    limit: Option<&LimitSettings>,
) {
    let mut tx = store.begin().await.unwrap();
    tx.lock_deployment(&deployment.key).await.unwrap();
    tx.put_deployment(deployment, by, limit, 3).await.unwrap();
    tx.commit().await.unwrap();
}

async fn delete(store: &Arc<dyn RunStore>, key: &DeploymentKey) -> bool {
    let mut tx = store.begin().await.unwrap();
    let was_there = tx.delete_deployment(key).await.unwrap();
    tx.commit().await.unwrap();
    was_there
}

fn version(deployment: &Deployment, by: Option<&str>) -> DeploymentVersion {
    DeploymentVersion {
        version: deployment.version,
        spec: deployment.spec.clone(),
        created_at: deployment.updated_at,
        created_by: by.map(str::to_owned),
    }
}

/// What was put is read as it was, by key and by name, within its namespace; a change makes a version.
pub async fn deployments_are_kept_with_their_versions(store: Arc<dyn RunStore>) {
    let (daily, nightly) = (first("etl/a \"daily\""), first("etl/nightly"));
    let foreign =
        Deployment { key: DeploymentKey { namespace: elsewhere(), ..daily.key.clone() }, ..first("a/b") };
    for deployment in [&daily, &nightly, &foreign] {
        put(&store, deployment, None, None).await;
    }
    let namespace = Namespace::default();
    assert_eq!(store.list_deployments(&namespace, None, 10).await.unwrap(), [daily.clone(), nightly.clone()]);
    assert_eq!(store.list_deployments(&namespace, None, 1).await.unwrap(), std::slice::from_ref(&daily));
    let names = store.list_deployment_names(&namespace, 10).await.unwrap();
    assert_eq!(names, [daily.key.name.clone(), nightly.key.name.clone()]);
    assert_eq!(
        store.list_deployment_names(&namespace, 1).await.unwrap(),
        std::slice::from_ref(&daily.key.name)
    );
    let after_first = store.list_deployments(&namespace, Some(&daily.key.name), 10).await.unwrap();
    assert_eq!(after_first, std::slice::from_ref(&nightly));
    let asked = [foreign.key.clone(), key("etl/unknown")];
    assert_eq!(store.get_deployments(&asked).await.unwrap(), std::slice::from_ref(&foreign));

    let second = changed(&daily, b"other");
    put(&store, &Deployment { created_at: after(9), ..second.clone() }, Some("ada"), None).await;
    assert_eq!(
        store.get_deployments(std::slice::from_ref(&daily.key)).await.unwrap(),
        std::slice::from_ref(&second)
    );
    let versions = [version(&second, Some("ada")), version(&daily, None)];
    assert_eq!(store.list_deployment_versions(&daily.key, None, 10).await.unwrap(), versions);
    assert_eq!(store.list_deployment_versions(&daily.key, None, 1).await.unwrap(), versions[..1]);
    assert_eq!(store.list_deployment_versions(&daily.key, Some(2), 10).await.unwrap(), versions[1..]);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_deployment(&daily.key).await.unwrap(), Some(second));
    assert_eq!(tx.lock_deployment(&key("etl/unknown")).await.unwrap(), None);
    for (limit, n_counted) in [(10, 2), (2, 2), (1, 1)] {
        assert_eq!(tx.count_deployments(&namespace, limit).await.unwrap(), n_counted);
    }
    drop(tx);

    assert!(delete(&store, &daily.key).await);
    assert!(!delete(&store, &daily.key).await, "it was gone");
    assert_eq!(store.list_deployment_versions(&daily.key, None, 10).await.unwrap(), []);
    assert_eq!(
        store.list_deployment_versions(&foreign.key, None, 10).await.unwrap(),
        [version(&foreign, None)]
    );
    put(&store, &daily, None, None).await;
}

/// Each change forgets those before the last few.
pub async fn only_the_last_versions_are_kept(store: Arc<dyn RunStore>) {
    let mut deployment = first("etl/nightly");
    put(&store, &deployment, None, None).await;
    for _ in 0..4 {
        deployment = changed(&deployment, b"next");
        put(&store, &deployment, None, None).await;
    }
    let kept = store.list_deployment_versions(&deployment.key, None, 10).await.unwrap();
    assert_eq!(kept.iter().map(|version| version.version).collect::<Vec<_>>(), [5, 4, 3]);
}

/// Whatever says how many runs of a deployment are held, says so of its limit.
pub async fn a_deployments_limit_comes_and_goes_with_it(store: Arc<dyn RunStore>) {
    let deployment = first("etl/nightly");
    assert_eq!(deployment.key.limit().name, "deployment:etl/nightly");
    let settings = async || {
        let found = store.get_limits(&[deployment.key.limit()], T0).await.unwrap();
        found.into_iter().next().map(|used| used.limit.settings)
    };
    let limit = LimitSettings { on_collision: Collision::Skip, ..LimitSettings::from(2) };
    put(&store, &deployment, None, Some(&limit)).await;
    assert_eq!(settings().await, Some(limit));
    let second = changed(&deployment, b"2");
    put(&store, &second, None, Some(&5.into())).await;
    assert_eq!(settings().await, Some(5.into()));
    let third = changed(&second, b"3");
    put(&store, &third, None, None).await;
    assert_eq!(settings().await, None);
    put(&store, &changed(&third, b"4"), None, Some(&5.into())).await;
    delete(&store, &deployment.key).await;
    assert_eq!(settings().await, None);
}

/// Who looks whether a name is free has it until the end of the transaction.
pub async fn of_two_who_make_a_deployment_the_second_waits(store: Arc<dyn RunStore>) {
    let deployment = first("etl/nightly");
    let mut one = store.begin().await.unwrap();
    assert_eq!(one.lock_deployment(&deployment.key).await.unwrap(), None);
    let mut other = Box::pin(async {
        let mut tx = store.begin().await.unwrap();
        tx.lock_deployment(&deployment.key).await.unwrap()
    });
    assert!(is_waiting(&mut other).await);
    one.put_deployment(&deployment, None, None, 3).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(within(other).await, Some(deployment.clone()));
}
