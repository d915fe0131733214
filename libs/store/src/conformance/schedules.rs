//! Schedules, how far they come, and their limits.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::{Namespace, RunId, ScheduleId, Timestamp};
use tidegate_orchestration::Collision;

use super::fixture::*;
use crate::{
    Deployment, DeploymentKey, LimitKey, LimitSettings, RunStore, Schedule, ScheduleKey, SchedulePause,
    ScheduleProgress, ScheduleQuery,
};

fn key(deployment: &str, name: &str) -> ScheduleKey {
    let deployment = DeploymentKey { namespace: Namespace::default(), name: deployment.parse().unwrap() };
    ScheduleKey { deployment, name: name.parse().unwrap() }
}

fn schedule(deployment: &str, name: &str, next_fire_at: Option<Timestamp>) -> Schedule {
    Schedule {
        key: key(deployment, name),
        id: ScheduleId::new(),
        version: 1,
        spec: Bytes::from_static(b"\0spec\xff"),
        pause: None,
        created_at: T0,
        updated_at: T0,
        progress: ScheduleProgress { next_fire_at, ..ScheduleProgress::default() },
    }
}

async fn put(store: &Arc<dyn RunStore>, schedule: &Schedule, limit: Option<&LimitSettings>) {
    let mut tx = store.begin().await.unwrap();
    tx.lock_deployment(&schedule.key.deployment).await.unwrap();
    tx.put_schedule(schedule, limit).await.unwrap();
    tx.commit().await.unwrap();
}

async fn settings(store: &Arc<dyn RunStore>, limit: LimitKey) -> Option<LimitSettings> {
    store.get_limits(&[limit], T0).await.unwrap().pop().map(|used| used.limit.settings)
}

/// What was put is read as it was, by key and in the order of names, within its namespace and deployment.
pub async fn schedules_are_kept_and_listed(store: Arc<dyn RunStore>) {
    let full = Schedule {
        version: 7,
        pause: Some(SchedulePause {
            at: after(3),
            by: Some("ada".to_owned()),
            reason: "why \"not\"".to_owned(),
        }),
        updated_at: after(9),
        progress: ScheduleProgress {
            next_fire_at: None,
            last_fire_at: Some(after(5)),
            last_run: Some(RunId::new()),
            n_missed: 11,
            last_error: Some("größe".to_owned()),
        },
        ..schedule("etl/nightly", "b", None)
    };
    let early = schedule("etl/hourly", "z", Some(after(1)));
    let late = schedule("etl/nightly", "c", Some(after(2)));
    let foreign = Schedule {
        key: ScheduleKey {
            deployment: DeploymentKey { namespace: elsewhere(), ..full.key.deployment.clone() },
            ..full.key.clone()
        },
        ..schedule("etl/nightly", "b", Some(after(4)))
    };
    for schedule in [&late, &full, &early, &foreign] {
        put(&store, schedule, None).await;
    }
    for schedule in [&full, &late, &foreign] {
        assert_eq!(store.get_schedule(&schedule.key).await.unwrap().as_ref(), Some(schedule));
    }
    assert_eq!(store.get_schedule(&key("etl/nightly", "B")).await.unwrap(), None);
    assert_eq!(store.next_schedule_at().await.unwrap(), Some(after(1)));

    let list = async |deployment: Option<&str>, last: Option<&Schedule>, limit: usize| {
        let query = ScheduleQuery {
            namespace: Namespace::default(),
            deployment: deployment.map(|name| name.parse().unwrap()),
            after: last.map(|last| (last.key.deployment.name.clone(), last.key.name.clone())),
            limit,
        };
        store.list_schedules(&query).await.unwrap()
    };
    assert_eq!(list(None, None, 10).await, [early.clone(), full.clone(), late.clone()]);
    assert_eq!(list(None, None, 2).await, [early.clone(), full.clone()]);
    assert_eq!(list(None, Some(&full), 10).await, std::slice::from_ref(&late));
    assert_eq!(list(Some("etl/nightly"), None, 10).await, [full.clone(), late.clone()]);
    assert_eq!(list(Some("etl/nightly"), Some(&full), 10).await, std::slice::from_ref(&late));
    assert_eq!(list(Some("etl/nightly"), Some(&early), 10).await, [full.clone(), late.clone()]);
    assert_eq!(list(Some("etl/hourly"), Some(&late), 10).await, []);

    let changed = Schedule { version: 8, pause: None, spec: Bytes::from_static(b"other"), ..full.clone() };
    put(&store, &changed, None).await;
    assert_eq!(store.get_schedule(&full.key).await.unwrap(), Some(changed.clone()));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_schedule(&full.key).await.unwrap(), Some(changed));
    assert_eq!(tx.lock_schedule(&key("etl/nightly", "none")).await.unwrap(), None);
    assert_eq!(tx.count_schedules(&full.key.deployment).await.unwrap(), 2);
    assert!(tx.delete_schedule(&full.key).await.unwrap());
    assert!(!tx.delete_schedule(&full.key).await.unwrap(), "it was gone");
    tx.commit().await.unwrap();
    assert_eq!(store.get_schedule(&full.key).await.unwrap(), None);
    assert_eq!(store.get_schedule(&foreign.key).await.unwrap(), Some(foreign));
}

/// Whatever is due comes by its time, the earliest first; how far it has come is written by its id.
pub async fn due_schedules_are_taken_once_and_go_on(store: Arc<dyn RunStore>) {
    assert_eq!(store.next_schedule_at().await.unwrap(), None);
    let due: Vec<Schedule> =
        (1..=3).map(|idx| schedule("etl/nightly", &format!("s{idx}"), Some(after(4 - idx)))).collect();
    let later = schedule("etl/nightly", "later", Some(after(9)));
    let never = schedule("etl/nightly", "never", None);
    for schedule in due.iter().chain([&later, &never]) {
        put(&store, schedule, None).await;
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.sweep_schedules(after(0), 10).await.unwrap(), []);
    assert_eq!(tx.sweep_schedules(after(3), 2).await.unwrap(), [due[2].clone(), due[1].clone()]);
    let progress = |idx: u64| ScheduleProgress {
        next_fire_at: (idx > 0).then(|| after(20 + idx)),
        last_fire_at: Some(after(idx)),
        last_run: (idx > 0).then(RunId::new),
        n_missed: idx,
        last_error: (idx == 0).then(|| "wrong".to_owned()),
    };
    let written = [(due[2].id, progress(0)), (due[1].id, progress(1))];
    tx.advance_schedules(&written).await.unwrap();
    tx.commit().await.unwrap();
    for (before, (_, progress)) in [&due[2], &due[1]].into_iter().zip(&written) {
        let wanted = Schedule { progress: progress.clone(), ..before.clone() };
        assert_eq!(store.get_schedule(&before.key).await.unwrap(), Some(wanted));
    }
    assert_eq!(store.next_schedule_at().await.unwrap(), Some(after(3)));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.sweep_schedules(after(3), 10).await.unwrap(), std::slice::from_ref(&due[0]));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    // It is rolled back behind the drop: the lock waits for that, where a sweep would pass by.
    tx.lock_schedule(&due[0].key).await.unwrap();
    let n_due = tx.sweep_schedules(after(3), 10).await.unwrap().len();
    assert_eq!(n_due, 1, "who gives up leaves it to others");
}

/// Whatever says whether runs of a schedule overlap, says so of its limit.
pub async fn a_schedules_limit_comes_and_goes_with_it(store: Arc<dyn RunStore>) {
    let made = schedule("etl/nightly", "at.3", Some(after(1)));
    assert_eq!(made.key.limit().name, "schedule:etl/nightly/at.3");
    let limit = LimitSettings { on_collision: Collision::Skip, ..LimitSettings::from(1) };
    put(&store, &made, Some(&limit)).await;
    assert_eq!(settings(&store, made.key.limit()).await, Some(limit));
    put(&store, &made, Some(&1.into())).await;
    assert_eq!(settings(&store, made.key.limit()).await, Some(1.into()));
    put(&store, &made, None).await;
    assert_eq!(settings(&store, made.key.limit()).await, None);
    put(&store, &made, Some(&1.into())).await;
    let mut tx = store.begin().await.unwrap();
    tx.delete_schedule(&made.key).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(settings(&store, made.key.limit()).await, None);
}

/// They go, with their limits, and those of deployments with names like it stay.
pub async fn schedules_go_with_their_deployment(store: Arc<dyn RunStore>) {
    let deployment = Deployment {
        key: key("a/b", "x").deployment,
        version: 1,
        work_pool: None,
        spec: Bytes::new(),
        created_at: T0,
        updated_at: T0,
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_deployment(&deployment, None, None, 3).await.unwrap();
    let found = tx.read_deployments(&[deployment.key.clone(), key("a/c", "x").deployment]).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&deployment), "also before the commit");
    tx.commit().await.unwrap();
    let (of_it, of_another) = (schedule("a/b", "x", Some(after(1))), schedule("a/b/c", "x", Some(after(2))));
    for schedule in [&of_it, &of_another] {
        put(&store, schedule, Some(&1.into())).await;
    }
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_deployment(&deployment.key).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.get_schedule(&of_it.key).await.unwrap(), None);
    assert_eq!(settings(&store, of_it.key.limit()).await, None);
    assert_eq!(store.get_schedule(&of_another.key).await.unwrap(), Some(of_another.clone()));
    assert_eq!(settings(&store, of_another.key.limit()).await, Some(1.into()));
    assert_eq!(store.next_schedule_at().await.unwrap(), Some(after(2)));
}
