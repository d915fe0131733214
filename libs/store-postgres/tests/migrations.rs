//! Migrations run while processes of the version before serve.

use std::time::Duration;

use tidegate_store::{
    RunStore as _,
    conformance::fixture::{queued, within},
};
use tidegate_store_postgres::{
    PgOptions, PgStore,
    testing::{Database, connect_unmigrated, migrate_to, pool},
};
use tokio::sync::watch;

/// How many batches must have gone through before, and after.
const N_BATCHES: u64 = 5;

/// A task of the default queue, by the columns of the first migration alone: later ones have constant defaults, as a
/// process of a version before does not name them.
const CREATE: &str = "
    INSERT INTO runs (
        id, root_id, depth, priority, created_at, due_at, state_at, epoch, attempt, crashes, retries, event_seq,
        cascade_pending, detach_on_cancel, detach_on_failure, detach_on_crash, max_retries, backoff_factor,
        max_retry_delay, jitter_factor, max_crashes, start_timeout, cancel_grace, namespace, kind, name, run_name,
        state, state_name, state_message, tags, retry_delays, retry_on, never_retry_on, concurrency_limits,
        resumed_keys, labels, queue
    )
    SELECT
        id, id, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, FALSE, FALSE, FALSE, FALSE, 0, 2, 1, 0, 3, 1, 1, 'default', 'task',
        'resize', 'resize-1', 'SCHEDULED', 'Scheduled', '', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 'default'
    FROM UNNEST($1::uuid[]) AS id";
const START: &str = "
    UPDATE runs
    SET state = 'RUNNING', state_name = 'Running', holder = 'worker:w', epoch = 1, attempt = 1, event_seq = 2
    WHERE id = ANY($1)";
const END: &str = "
    UPDATE runs
    SET state = 'COMPLETED', state_name = 'Completed', holder = NULL, ended_at = 2, event_seq = 3
    WHERE id = ANY($1)";

/// Creates, starts and ends a few runs, as a process of a version before does.
async fn serve_batch(store: &PgStore) {
    let runs: Vec<_> = (0..20).map(|_| queued()).collect();
    let ids: Vec<_> = runs.iter().map(|run| run.id.as_uuid()).collect();
    for statement in [CREATE, START, END] {
        let done = sqlx::query(statement).bind(&ids).execute(pool(store)).await.expect("the statement works");
        assert_eq!(done.rows_affected(), 20);
    }
}

/// Serves until `served` is closed.
async fn serve(store: &PgStore, served: &watch::Sender<u64>) {
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
        let options = PgOptions { lock_timeout: Duration::from_secs(10), ..PgOptions::default() };
        let store = connect_unmigrated(&database, &options).await;
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
