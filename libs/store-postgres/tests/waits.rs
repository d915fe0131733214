//! The line of those who wait for a concurrency limit: what a hand-out and a claim read of it does not follow how many wait.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Row, types::Json};
use tidegate_store::adapter::Statement;
use tidegate_store_postgres::{
    PgOptions, PgStore, STATEMENTS,
    testing::{Database, pool},
};

const N_WAITS: u64 = 20_000;

/// Of 200 keys, the ids by number. A hundred were handed out, half of these have something kept for them, and half came not
/// in time; before those that wait without a key there are leases.
const FILL: &str = "
    INSERT INTO concurrency_waits
        (run_id, namespace, limit_name, priority, due_at, handed_at, reserved_until, fairness_key, turn, expires_at)
    SELECT
        ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
        'default',
        'db',
        CASE WHEN n % 4 = 0 THEN 0 ELSE n % 2 END,
        n,
        CASE WHEN n <= 100 THEN 5 ELSE 0 END,
        CASE WHEN n <= 50 THEN 2000 WHEN n <= 100 THEN 500 ELSE 0 END,
        CASE WHEN n % 4 = 0 THEN '' ELSE 'key-' || n % 200 END,
        CASE WHEN n % 4 = 0 THEN n ELSE 1 + 2 * (n / 200) END,
        CASE WHEN n % 4 = 0 AND n <= 18000 THEN 9000 END
    FROM generate_series(1, 20000) AS n";

/// The statements of hand-outs and claims, and with what: for runs that wait, were handed out, and are new.
const ASKED: [(&str, &str); 12] = [
    ("concurrency_waits/hand_out.sql", "'default', 'db', 1, 1000, 6000, 53, 1099511627776, 0, 0, 1000, 0"),
    ("concurrency_waits/hand_out.sql", "'default', 'db', 100, 1000, 6000, 99, 1099511627776, 5, 9, 30, 0"),
    ("concurrency_waits/first_lapse.sql", "'default', 'db', 1000"),
    ("concurrency_waits/count_line.sql", "'{default}', '{db}', 0, 1000, 5, NULL"),
    ("concurrency_waits/use_lapses.sql", "'{default}', '{db}', '{2}', 0, 1000"),
    ("concurrency_waits/return_lost.sql", "'default', 'db', 9, 20"),
    ("concurrency_waits/put.sql", NEW),
    ("concurrency_waits/put.sql", ANEW),
    (
        "concurrency_waits/put_lease.sql",
        "'00000000-0000-7000-8000-000000090002', 'default', 'db', 7, 0, 9000, 1, 0",
    ),
    (
        "concurrency_waits/end.sql",
        "'{00000000-0000-7000-8000-000000000001, 00000000-0000-7000-8000-000000000201}'",
    ),
    ("concurrency_waits/end_lease.sql", "'default', '00000000-0000-7000-8000-000000000104'"),
    ("concurrency_limits/find.sql", "1000, '{default}', '{db}', '{NULL}'"),
];
const NEW: &str = "'{00000000-0000-7000-8000-000000090001}', '{default}', '{db}', '{0}', '{7}', '{new}'";
const ANEW: &str =
    "'{00000000-0000-7000-8000-000000000001, 00000000-0000-7000-8000-000000000104}', '{default, default}',
    '{db, db}', '{1, 0}', '{7, 7}', '{key-1, key-1}'";

#[tokio::test]
async fn a_hand_out_and_a_claim_read_no_more_of_a_long_line() {
    let database = Database::create().await;
    let store = PgStore::connect(database.url(), &PgOptions::default()).await.unwrap();
    let pool = pool(&store);
    for is_analyzed in [false, true] {
        sqlx::raw_sql("DELETE FROM concurrency_waits").execute(pool).await.unwrap();
        sqlx::raw_sql(FILL).execute(pool).await.unwrap();
        if is_analyzed {
            sqlx::raw_sql("ANALYZE concurrency_waits").execute(pool).await.unwrap();
        }
        for (name, arguments) in ASKED {
            let statement = found(name);
            for cache_mode in ["force_generic_plan", "force_custom_plan"] {
                let mut tx = pool.begin().await.unwrap();
                if name == "concurrency_waits/hand_out.sql" {
                    let lock = sqlx::query(found("concurrency_waits/lock_hand_out.sql").sql());
                    lock.bind("default").bind("db").execute(&mut *tx).await.unwrap();
                }
                let prepare =
                    format!("SET LOCAL plan_cache_mode = {cache_mode}; PREPARE probe AS {}", statement.sql());
                sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await.unwrap();
                let explain =
                    format!("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) EXECUTE probe ({arguments})");
                let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *tx).await.unwrap();
                let Json(plan): Json<Value> = row.get(0);
                sqlx::raw_sql("DEALLOCATE probe").execute(&mut *tx).await.unwrap();
                tx.rollback().await.unwrap();
                let n_read = n_read(&plan[0]["Plan"]);
                // All who are on their way are counted, and a few are handed out.
                assert!(n_read < N_WAITS / 40, "{name} ({cache_mode}) has read {n_read} rows:\n{plan:#}");
            }
        }
    }
    drop(store);
    database.remove().await;
}

fn found(name: &str) -> &'static Statement {
    STATEMENTS.iter().find(|statement| statement.name() == name).expect("is one of them")
}

/// How many rows the scans of a plan have read, those included that a filter took away.
fn n_read(plan: &Value) -> u64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or_default();
    let is_scan = plan["Relation Name"].is_string();
    let n_rows = number("Actual Rows") + number("Rows Removed by Filter");
    let of_this = if is_scan { (n_rows * number("Actual Loops")).round() as u64 } else { 0 };
    of_this + plan["Plans"].as_array().into_iter().flatten().map(n_read).sum::<u64>()
}
