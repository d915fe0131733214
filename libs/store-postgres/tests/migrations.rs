//! Migrations run while processes of the version before serve.

use std::{sync::Arc, time::Duration};

use tidegate_orchestration::Phase;
use tidegate_store::{
    RunStore,
    conformance::fixture::{T0, bare, entered, event, ids, queued, running, within},
};
use tidegate_store_postgres::{
    PgOptions,
    testing::{Database, connect_unmigrated, migrate_to},
};
use tokio::sync::watch;

/// How many batches must have gone through before, and after.
const N_BATCHES: u64 = 5;

/// Creates, claims and ends a few runs, as the lanes of the engine do.
async fn serve_batch(store: &Arc<dyn RunStore>) {
    let runs: Vec<_> = (0..20).map(|_| queued()).collect();
    let mut tx = store.begin().await.expect("a transaction begins");
    let new: Vec<_> = runs.iter().map(bare).collect();
    tx.insert_runs(&new).await.expect("runs are created");
    let events: Vec<_> = runs.iter().map(|run| event(run, 1)).collect();
    tx.append_events(&events).await.expect("events are appended");
    tx.commit().await.expect("creates are committed");
    for (phase, seq) in [(running(), 2), (Phase::Completed, 3)] {
        let mut tx = store.begin().await.expect("a transaction begins");
        let locked = tx.lock_runs(&ids(&runs)).await.expect("runs are locked");
        assert_eq!(locked.len(), runs.len());
        let changed: Vec<_> = locked.iter().map(|run| entered(run, phase.clone(), T0)).collect();
        let events: Vec<_> = changed.iter().map(|run| event(run, seq)).collect();
        let rows: Vec<_> = changed.into_iter().map(|run| (run, None)).collect();
        tx.update_runs(&rows).await.expect("runs are changed");
        tx.append_events(&events).await.expect("events are appended");
        tx.commit().await.expect("changes are committed");
    }
    let details = store.get_details(None, &ids(&runs)).await.expect("runs are read");
    assert_eq!(details.len(), runs.len());
}

/// Serves until `served` is closed.
async fn serve(store: &Arc<dyn RunStore>, served: &watch::Sender<u64>) {
    while !served.is_closed() {
        serve_batch(store).await;
        served.send_modify(|n_batches| *n_batches += 1);
    }
}

/// For each migration: no statement of a process that serves the version before fails, none waits for longer than its
/// lock timeout, which would be an error, and the same process goes on serving the new version.
#[tokio::test]
async fn each_migration_runs_while_the_version_before_it_serves() {
    let newest = {
        let database = Database::create().await;
        migrate_to(u32::MAX, &database).await;
        let newest = connect_unmigrated(&database, &PgOptions::default()).await.schema_version();
        database.remove().await;
        newest
    };
    assert!(newest >= 2);
    for version in 2..=newest {
        let database = Database::create().await;
        migrate_to(version - 1, &database).await;
        let options = PgOptions { lock_timeout: Duration::from_secs(2), ..PgOptions::default() };
        let store: Arc<dyn RunStore> = Arc::new(connect_unmigrated(&database, &options).await);
        let (served, mut n_served) = watch::channel(0);
        let migrating = async {
            n_served.wait_for(|n| *n >= N_BATCHES).await.expect("somebody serves");
            migrate_to(version, &database).await;
            let n_before = *n_served.borrow();
            n_served.wait_for(|n| *n >= n_before + N_BATCHES).await.expect("somebody serves");
            drop(n_served);
        };
        let serving = [Box::pin(serve(&store, &served)), Box::pin(serve(&store, &served))];
        let serving = futures::future::join_all(serving);
        within(async { tokio::join!(serving, Box::pin(migrating)) }).await;
        drop(store);
        database.remove().await;
    }
}
