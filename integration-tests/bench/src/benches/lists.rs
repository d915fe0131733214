use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate_model::{Clock as _, Namespace, RunId, SystemClock, limits};
use tidegate_store::{CountQuery, ListQuery, RunStore};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::time::Instant;

use crate::{
    database::Database,
    latencies::Latencies,
    report::{Table, fine},
    settings::Settings,
};

/// How often each query is asked in a round, every time with other values.
const N_DRAWS: u64 = 100;

/// A query that the command line or the console asks.
struct Query {
    name: &'static str,
    /// The filter of a draw.
    filter: fn(u64, RunId) -> String,
    order_by: &'static str,
}

const QUERIES: &[Query] = &[
    Query { name: "newest page", filter: |_, _| String::new(), order_by: "" },
    Query {
        name: "runs of a state",
        filter: |n, _| {
            let states = ["RUNNING", "PENDING", "SCHEDULED", "PAUSED", "FAILED", "CRASHED", "COMPLETED"];
            format!("state = {}", states[draw(n, 7)])
        },
        order_by: "",
    },
    Query {
        name: "went wrong in the last day",
        filter: |_, _| "state = (FAILED OR CRASHED) ended_at > -1d".to_owned(),
        order_by: "ended_at desc",
    },
    Query {
        name: "failed in the last day, newest first",
        filter: |_, _| "state = FAILED ended_at > -1d".to_owned(),
        order_by: "",
    },
    Query { name: "runs of a name", filter: |n, _| format!("name = fn-{}", draw(n, 500)), order_by: "" },
    Query { name: "runs of a flow", filter: |n, _| format!("flow = fn-{}", draw(n, 500)), order_by: "" },
    Query {
        name: "runs of a deployment",
        filter: |n, _| format!("deployment = fn-{}/d-{}", draw(n, 50), draw(n, 40)),
        order_by: "",
    },
    Query { name: "runs with a tag", filter: |n, _| format!("tags:tag-{}", draw(n, 200)), order_by: "" },
    Query {
        name: "runs with a label",
        filter: |n, _| format!("labels.team = team-{}", draw(n, 300)),
        order_by: "",
    },
    Query { name: "a tree", filter: |_, root| format!("root_run_id = {root}"), order_by: "" },
    Query { name: "children of a run", filter: |_, root| format!("parent_run_id = {root}"), order_by: "" },
    Query {
        name: "backlog of a queue",
        filter: |n, _| format!("state = SCHEDULED queue = queue-{}", draw(n, 20)),
        order_by: "due_at",
    },
    Query {
        name: "state and name, last started",
        filter: |n, _| format!("state = (COMPLETED OR FAILED) name = fn-{}", draw(n, 500)),
        order_by: "started_at desc",
    },
    Query { name: "newest by the server's clock", filter: |_, _| String::new(), order_by: "created_at desc" },
];

/// What is counted.
const COUNTS: &[(&str, &str)] = &[("count of all", ""), ("count of running ones", "state = RUNNING")];

/// One of `bound` values, scattered.
fn draw(n: u64, bound: u64) -> usize {
    usize::try_from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or(0)
        % usize::try_from(bound).unwrap_or(1)
}

pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let store = PgStore::connect(database.url(), &PgOptions::default()).await?;
    let n_runs = settings.n_runs(1_000_000);
    let started = Instant::now();
    let roots = fill(database.url(), n_runs).await?;
    println!(
        "{n_runs} runs filled in within {:.0} s; pages of {}",
        started.elapsed().as_secs_f64(),
        limits::DEFAULT_PAGE_SIZE
    );

    let n_draws = N_DRAWS * settings.rounds.get() as u64;
    let mut table = Table::new(&["query", "p50 ms", "p99 ms", "longest ms"]);
    let mut add = |name: &str, latencies: &Latencies| {
        let cells = [50.0, 99.0, 100.0].map(|percentile| fine(latencies.percentile_ms(percentile)));
        table.add(std::iter::once(name.to_owned()).chain(cells));
    };
    let store: Arc<dyn RunStore> = Arc::new(store);
    for query in QUERIES {
        let mut latencies = Latencies::new();
        for n in 0..n_draws {
            let list = list(query, n, &roots)?;
            let asked = Instant::now();
            store.list_runs(&list).await?;
            latencies.record(asked.elapsed());
        }
        add(query.name, &latencies);
    }
    for (name, filter) in COUNTS {
        let filter = tidegate_filter::parse(filter, SystemClock.now())?;
        let count =
            CountQuery { namespace: Namespace::default(), filter, exact_up_to: limits::MAX_EXACT_COUNT };
        let mut latencies = Latencies::new();
        for _ in 0..n_draws {
            let asked = Instant::now();
            store.count_runs(&count).await?;
            latencies.record(asked.elapsed());
        }
        add(name, &latencies);
    }
    println!("{table}");
    drop(store);
    database.remove().await
}

fn list(query: &Query, n: u64, roots: &[RunId]) -> anyhow::Result<ListQuery> {
    let root = roots.get(draw(n, roots.len().max(1) as u64)).copied().unwrap_or_else(RunId::new);
    let filter = tidegate_filter::parse(&(query.filter)(n, root), SystemClock.now())?;
    let newest = ListQuery::newest(Namespace::default(), filter, limits::DEFAULT_PAGE_SIZE);
    Ok(ListQuery { order: tidegate_filter::parse_order(query.order_by)?, ..newest })
}

/// Fills in runs by plain SQL, has the table analysed, and gives some of the uppermost ones.
async fn fill(url: &str, n_runs: usize) -> anyhow::Result<Vec<RunId>> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(include_str!("../../queries/lists/prepare.sql")).execute(&mut connection).await?;
    sqlx::query(AssertSqlSafe(include_str!("../../queries/lists/fill.sql")))
        .bind(i64::try_from(n_runs)?)
        .bind(SystemClock.now().as_micros() / 1_000)
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql("VACUUM (ANALYZE) runs").execute(&mut connection).await?;
    let roots: Vec<(uuid::Uuid,)> =
        sqlx::query_as("SELECT id FROM runs WHERE parent_id IS NULL AND namespace = 'default' ORDER BY md5(id::text) LIMIT 500")
            .fetch_all(&mut connection)
            .await?;
    connection.close().await?;
    Ok(roots.into_iter().map(|(id,)| RunId::from_uuid(id)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_store_postgres::testing::plans;

    use super::*;

    const N_RUNS: usize = 100_000;
    /// Rows that may be sorted, or read without an index: what a filter leaves, or an empty partition has.
    const FEW: f64 = 2_500.0;

    /// On a filled and analysed table: no partition with runs in it is read as a whole, and none of the runs of a
    /// namespace are sorted, but the few that a filter leaves.
    #[tokio::test]
    async fn the_queries_are_served_by_indexes() {
        let postgres = std::env::var("TIDEGATE_TEST_POSTGRES_URL");
        let postgres = postgres.expect("TIDEGATE_TEST_POSTGRES_URL is set: integration-tests/run unit does");
        let database = Database::create(&Settings::smallest(postgres)).await.expect("a database is made");
        let store = PgStore::connect(database.url(), &PgOptions::default()).await.expect("a store opens");
        let roots = fill(database.url(), N_RUNS).await.expect("is filled");
        for query in QUERIES {
            for n in 0..20 {
                let list = list(query, n, &roots).expect("is a filter");
                for plan in plans(&store, &list).await.expect("is explained") {
                    check(&plan, &plan, query.name);
                }
            }
        }
        drop(store);
        database.remove().await.expect("the database is removed");
    }

    fn check(node: &Value, whole: &Value, name: &str) {
        let kind = node["Node Type"].as_str().expect("a node has a type");
        let parts: Vec<&Value> = node["Plans"].as_array().into_iter().flatten().collect();
        let n_rows = |node: &Value| node["Plan Rows"].as_f64().expect("a node has rows");
        match kind {
            "Seq Scan" => {
                // What the filter leaves says little of what is read; the costs do.
                let cost = node["Total Cost"].as_f64().expect("a node has costs");
                assert!(cost < 100.0, "{name} reads all of {}: {whole:#}", node["Relation Name"]);
            }
            "Sort" | "Incremental Sort" => {
                let n_sorted: f64 = parts.iter().map(|part| n_rows(part)).sum();
                assert!(n_sorted < FEW, "{name} sorts {n_sorted} runs: {whole:#}");
            }
            _ => {}
        }
        for part in parts {
            check(part, whole, name);
        }
    }
}
