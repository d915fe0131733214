//! Partitions of runs: made ahead, dropped as a whole, and told apart by every statement.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, PgPool, Row};
use tidegate_model::{Clock as _, RunId, SystemClock, Timestamp, limits};
use tidegate_orchestration::{Phase, Run};
use tidegate_store::{
    Maintained, RunStore, StoreError,
    adapter::Statement,
    conformance::fixture::{T0, append, child, entered, event, get, insert, queued, update, within},
};
use tidegate_store_postgres::{
    PgOptions, PgStore, STATEMENTS,
    testing::{Database, pool},
};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

async fn open(database: &Database) -> PgStore {
    PgStore::connect(database.url(), &PgOptions::default()).await.expect("the database opens")
}

fn port(store: &PgStore) -> Arc<dyn RunStore> {
    Arc::new(store.clone())
}

async fn texts(pool: &PgPool, sql: &'static str) -> Vec<String> {
    let rows = sqlx::query(sql).fetch_all(pool).await.expect("the query works");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn partitions(pool: &PgPool) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relname ~ '^runs_p[0-9]{8}$' ORDER BY relname";
    texts(pool, sql).await
}

/// A run with an id of this time.
fn run_at(time: Timestamp) -> Run {
    let millis = u128::try_from(time.as_micros() / 1_000).expect("the time is after 1970");
    let random = RunId::new().as_uuid().as_u128() & ((1 << 80) - 1);
    let id = RunId::from_uuid(Uuid::from_u128((millis << 80) | random));
    Run { id, root: id, ..queued() }
}

async fn partition_of(pool: &PgPool, run: &Run) -> String {
    let sql = "SELECT tableoid::regclass::text FROM runs WHERE id = $1";
    sqlx::query(sql).bind(run.id.as_uuid()).fetch_one(pool).await.expect("the run is there").get(0)
}

/// Changes a run as the engine does: with an event.
async fn change(store: &Arc<dyn RunStore>, run: &Run, seq: u64) {
    update(store, &[(run.clone(), None)]).await;
    append(store, &[event(run, seq)]).await;
}

#[tokio::test]
async fn partitions_are_made_ahead_of_every_id_that_is_taken() {
    let database = Database::create().await;
    let store = open(&database).await;
    let now = SystemClock.now();
    let made = partitions(pool(&store)).await;
    assert_eq!(made.len(), 3);
    for time in [now, now + limits::MAX_ID_AHEAD, now + limits::MAX_ID_AHEAD + 2 * WEEK - DAY] {
        let run = run_at(time);
        insert(&port(&store), &[&run]).await;
        assert!(made.contains(&partition_of(pool(&store), &run).await));
    }
    // Each table has them, with the storage parameters of the default one.
    for table in ["runs", "run_payloads", "run_failures", "run_inputs", "run_events"] {
        let sql = "SELECT COUNT(DISTINCT reloptions::text) || ' ' || COUNT(*)
                   FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE inhparent = $1::regclass";
        let row = sqlx::query(sql).bind(table).fetch_one(pool(&store)).await;
        let text = row.map(|row| row.get::<String, _>(0));
        assert_eq!(text.unwrap(), if table == "runs" { "1 4" } else { "0 4" }, "{table}");
    }
    // As time goes on.
    let turn = store.maintain(now + WEEK, T0, 10).await.unwrap();
    assert_eq!(turn, Maintained { partitions_made: 1, ..Maintained::default() });
    assert_eq!(store.maintain(now + WEEK, T0, 10).await.unwrap(), Maintained::default());
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn an_id_without_a_partition_is_kept_in_the_default_one() {
    let database = Database::create().await;
    let store = open(&database).await;
    let now = SystemClock.now();
    let (old, late) = (run_at(now - 900 * DAY), run_at(now + 60 * DAY));
    insert(&port(&store), &[&old, &late]).await;
    assert_eq!(partition_of(pool(&store), &old).await, "runs_default");
    // Nobody has made partitions for two months: what came meanwhile stays where it is, and its day is left out.
    assert_eq!(partition_of(pool(&store), &late).await, "runs_default");
    let turn = store.maintain(now + 60 * DAY, T0, 10).await.unwrap();
    assert!(turn.partitions_made >= 2, "{turn:?}");
    let next = run_at(now + 61 * DAY);
    insert(&port(&store), &[&next]).await;
    assert_ne!(partition_of(pool(&store), &next).await, "runs_default");
    assert_eq!(get(&port(&store), late.id).await, late);

    change(&port(&store), &entered(&old, Phase::Completed, T0), 1).await;
    let turn = store.maintain(now, T0 + DAY, 10).await.unwrap();
    assert_eq!(turn, Maintained { runs_deleted: 1, ..Maintained::default() });
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn replicas_that_maintain_at_once_make_and_drop_each_partition_once() {
    let database = Database::create().await;
    let store = open(&database).await;
    let ended = entered(&queued(), Phase::Completed, T0);
    insert(&port(&store), &[&ended]).await;
    let before = partitions(pool(&store)).await;
    let stores = futures::future::join_all((0..4).map(|_| open(&database))).await;
    let later = SystemClock.now() + 100 * DAY;
    let turns = futures::future::join_all(stores.iter().map(|store| store.maintain(later, later, 10))).await;
    let turns: Vec<Maintained> = turns.into_iter().collect::<Result<_, _>>().unwrap();
    let after = partitions(pool(&store)).await;
    assert_eq!(turns.iter().map(|turn| turn.partitions_made).sum::<usize>(), after.len());
    assert_eq!(turns.iter().map(|turn| turn.partitions_dropped).sum::<usize>(), before.len());
    assert!(after.iter().all(|name| !before.contains(name)), "{after:?}");
    assert!(port(&store).get_runs(None, &[ended.id]).await.unwrap().is_empty());
    drop((store, stores));
    database.remove().await;
}

#[tokio::test]
async fn a_partition_goes_when_nothing_in_it_is_to_be_kept() {
    let database = Database::create().await;
    let store = open(&database).await;
    let runs = port(&store);
    let now = SystemClock.now();
    // The root lies in an older partition than what is below it.
    let root = run_at(now);
    let below = Run { id: run_at(now + 8 * DAY).id, ..child(&root) };
    let below = entered(&below, Phase::Completed, T0);
    let alone = entered(&run_at(now + 8 * DAY), Phase::Completed, T0);
    insert(&runs, &[&root, &below, &alone]).await;
    assert_ne!(partition_of(pool(&store), &root).await, partition_of(pool(&store), &below).await);
    let (later, n_before) = (now + 100 * DAY, partitions(pool(&store)).await.len());

    let turn = store.maintain(now, later, 10).await.unwrap();
    assert_eq!(
        turn,
        Maintained { partitions_dropped: n_before - 2, runs_deleted: 1, ..Maintained::default() }
    );
    assert_eq!(get(&runs, below.id).await, below);
    assert!(runs.get_runs(None, &[alone.id]).await.unwrap().is_empty());

    change(&runs, &entered(&root, Phase::Completed, T0), 1).await;
    // Other transactions on this server may still hide that event, and a partition with hidden ones is left alone.
    within(async {
        while !partitions(pool(&store)).await.is_empty() {
            store.maintain(now, later, 10).await.unwrap();
            if runs.get_runs(None, &[root.id, below.id]).await.unwrap().is_empty() {
                break;
            }
        }
    })
    .await;
    assert!(runs.get_runs(None, &[root.id, below.id]).await.unwrap().is_empty());
    drop((runs, store));
    database.remove().await;
}

#[tokio::test]
async fn a_run_that_is_reopened_meanwhile_keeps_its_partition() {
    let database = Database::create().await;
    let store = open(&database).await;
    let runs = port(&store);
    let ended = entered(&queued(), Phase::Failed, T0);
    insert(&runs, &[&ended]).await;
    let reopened = entered(&ended, Phase::Scheduled, T0);
    let mut tx = runs.begin().await.unwrap();
    tx.lock_runs(&[ended.id]).await.unwrap();
    tx.update_runs(&[(reopened.clone(), None)]).await.unwrap();
    tx.append_events(&[event(&reopened, 1)]).await.unwrap();

    let later = SystemClock.now() + 100 * DAY;
    let maintaining = store.maintain(SystemClock.now(), later, 10);
    // It has looked through the partition, in which all have ended still, and waits to drop it.
    let waiting = "SELECT COUNT(*)::text FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                   AND relation = 'runs'::regclass
                   AND database = (SELECT oid FROM pg_database WHERE datname = CURRENT_DATABASE())";
    let reopening = async {
        while texts(pool(&store), waiting).await == ["0"] {}
        tx.commit().await
    };
    let (turn, committed) = within(async { tokio::join!(maintaining, reopening) }).await;
    committed.unwrap();
    // The two behind it are empty.
    assert_eq!(turn.unwrap(), Maintained { partitions_dropped: 2, ..Maintained::default() });
    assert_eq!(get(&runs, ended.id).await, reopened);
    drop((runs, store));
    database.remove().await;
}

#[tokio::test]
async fn runs_are_deleted_though_no_partition_can_be_locked() {
    let database = Database::create().await;
    let store = open(&database).await;
    let old = entered(&run_at(SystemClock.now() - 900 * DAY), Phase::Completed, T0);
    insert(&port(&store), &[&old]).await;
    let later = SystemClock.now() + 100 * DAY;
    let mut reading = pool(&store).begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE runs IN ACCESS SHARE MODE").execute(&mut *reading).await.unwrap();
    let turn = store.maintain(SystemClock.now(), later, 10).await;
    assert!(matches!(turn, Err(StoreError::Unavailable(_))), "{turn:?}");
    assert!(port(&store).get_runs(None, &[old.id]).await.unwrap().is_empty());
    reading.rollback().await.unwrap();
    assert_eq!(store.maintain(SystemClock.now(), later, 10).await.unwrap().partitions_dropped, 3);
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn a_run_that_somebody_holds_is_neither_waited_for_nor_deleted() {
    let database = Database::create().await;
    let store = open(&database).await;
    let old = [1_u32, 2].map(|age| entered(&run_at(SystemClock.now() - 900 * age * DAY), Phase::Failed, T0));
    insert(&port(&store), &[&old[0], &old[1]]).await;
    let mut tx = port(&store).begin().await.unwrap();
    // As one that takes its result does.
    tx.share_runs(&[old[0].id]).await.unwrap();
    let turn = within(store.maintain(SystemClock.now(), T0 + DAY, 10)).await.unwrap();
    assert_eq!(turn.runs_deleted, 1);
    tx.commit().await.unwrap();
    let turn = store.maintain(SystemClock.now(), T0 + DAY, 10).await.unwrap();
    assert_eq!(turn.runs_deleted, 1);
    drop(store);
    database.remove().await;
}

/// Statements about named runs, which look into no partition but theirs.
const BY_ID: [&str; 13] = [
    "runs/get.sql",
    "runs/get_details.sql",
    "runs/lock.sql",
    "runs/share.sql",
    "runs/lock_expired.sql",
    "runs/update.sql",
    "runs/mark_enqueued.sql",
    "runs/delete.sql",
    "runs/delete_belongings.sql",
    "run_payloads/get_parameters.sql",
    "run_inputs/get.sql",
    "run_events/list.sql",
    "run_events/feed_start.sql",
];

/// The plan of a statement for one run, as prepared statements have it; with `measured`, another option of EXPLAIN, it is
/// also executed.
async fn plan(
    pool: &PgPool,
    statement: &Statement,
    cache_mode: &str,
    id: Uuid,
    measured: Option<&str>,
) -> String {
    let mut tx = pool.begin().await.expect("the statement works");
    let prepare = format!("SET LOCAL plan_cache_mode = {cache_mode}; PREPARE probe AS {}", statement.sql());
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await.expect("the statement works");
    let types: Vec<String> =
        sqlx::query("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'probe'")
            .fetch_one(&mut *tx)
            .await
            .expect("the statement works")
            .get(0);
    let arguments: Vec<String> = types
        .iter()
        .map(|name| match name.as_str() {
            "uuid[]" => format!("ARRAY['{id}']::uuid[]"),
            "uuid" => format!("'{id}'"),
            "bigint" | "integer" | "double precision" => "1".to_owned(),
            "boolean" => "TRUE".to_owned(),
            "json" | "jsonb" => "'{}'".to_owned(),
            list if list.ends_with("[]") => format!("'{{}}'::{list}"),
            _ => "'default'".to_owned(),
        })
        .collect();
    let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
    let analyze =
        measured.map(|option| format!("ANALYZE, TIMING OFF, SUMMARY OFF, {option}, ")).unwrap_or_default();
    let explain = format!("EXPLAIN ({analyze}COSTS OFF) EXECUTE probe{arguments}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *tx).await.expect("the statement works");
    sqlx::raw_sql("DEALLOCATE probe").execute(&mut *tx).await.expect("the statement works");
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// The partitions that a plan has read: `p20261123`, `default`.
fn read_partitions(plan: &str) -> BTreeSet<&str> {
    plan.lines()
        .filter(|line| line.contains("Scan") && !line.contains("never executed"))
        .filter_map(|line| line.split(" on run").nth(1)?.split_whitespace().next()?.rsplit_once('_'))
        .filter(|(_, partition)| *partition == "default" || partition.starts_with("p2"))
        .map(|(_, partition)| partition)
        .collect()
}

#[tokio::test]
async fn statements_read_by_index_and_where_their_runs_are() {
    const N_RUNS: usize = 300;
    let database = Database::create().await;
    let options = PgOptions { partition_width: DAY, ..PgOptions::default() };
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    let now = SystemClock.now();
    store.maintain(now + 6 * DAY, T0, 10).await.unwrap();
    assert!(partitions(pool(&store)).await.len() >= 9);
    for day in 0..8 {
        let runs: Vec<Run> = (0..N_RUNS).map(|_| run_at(now + day * DAY)).collect();
        insert(&port(&store), &runs.iter().collect::<Vec<_>>()).await;
        let events: Vec<_> = runs.iter().map(|run| event(run, 1)).collect();
        append(&port(&store), &events).await;
    }
    sqlx::raw_sql("ANALYZE").execute(pool(&store)).await.unwrap();

    let unknown = run_at(now + 3 * DAY).id.as_uuid();
    for statement in STATEMENTS {
        let by_id = BY_ID.contains(&statement.name());
        for cache_mode in ["force_generic_plan", "force_custom_plan"] {
            let measured = by_id.then_some("BUFFERS OFF");
            let plan = plan(pool(&store), statement, cache_mode, unknown, measured).await;
            for reads_all in ["Seq Scan", "Hash Join", "Merge Join"] {
                assert!(!plan.contains(reads_all), "{} ({cache_mode}):\n{plan}", statement.name());
            }
            if by_id {
                let n_read = read_partitions(&plan).len();
                assert!(n_read <= 1, "{} ({cache_mode}) reads {n_read}:\n{plan}", statement.name());
            }
        }
    }
    assert!(BY_ID.iter().all(|name| STATEMENTS.iter().any(|statement| statement.name() == *name)));
    drop(store);
    database.remove().await;
}

/// How many blocks a plan has read.
fn n_blocks(plan: &str) -> usize {
    plan.split_once("shared hit=")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .unwrap_or_else(|| panic!("no blocks:\n{plan}"))
}

#[tokio::test]
async fn a_walk_through_a_tree_reads_its_runs_and_not_the_table_at_every_step() {
    const N_RUNS: usize = 2_000;
    const MAX_BLOCKS_OF_A_RUN: usize = 20;
    let database = Database::create().await;
    let store = open(&database).await;
    let root = run_at(SystemClock.now());
    // To statistics, the one parent is what parents are like.
    let children = (1..N_RUNS).map(|_| Run { id: run_at(SystemClock.now()).id, ..child(&root) });
    let runs: Vec<Run> = children.chain([root.clone()]).collect();
    insert(&port(&store), &runs.iter().collect::<Vec<_>>()).await;
    sqlx::raw_sql("ANALYZE").execute(pool(&store)).await.unwrap();
    for name in ["runs/tree.sql", "runs/tree_count.sql", "runs/open_below.sql"] {
        let statement = STATEMENTS.iter().find(|statement| statement.name() == name).unwrap();
        for cache_mode in ["force_generic_plan", "force_custom_plan"] {
            let plan = plan(pool(&store), statement, cache_mode, root.id.as_uuid(), Some("BUFFERS")).await;
            let n_blocks = n_blocks(&plan);
            assert!(n_blocks > N_RUNS, "{name} ({cache_mode}) walked nothing:\n{plan}");
            assert!(n_blocks < N_RUNS * MAX_BLOCKS_OF_A_RUN, "{name} ({cache_mode}):\n{plan}");
        }
    }
    // The first child is enough.
    let statement =
        STATEMENTS.iter().find(|statement| statement.name() == "runs/have_more_below.sql").unwrap();
    for cache_mode in ["force_generic_plan", "force_custom_plan"] {
        let plan = plan(pool(&store), statement, cache_mode, root.id.as_uuid(), Some("BUFFERS")).await;
        assert!(n_blocks(&plan) < MAX_BLOCKS_OF_A_RUN, "{cache_mode}:\n{plan}");
    }
    drop(store);
    database.remove().await;
}
