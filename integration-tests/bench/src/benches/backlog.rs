use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use tidegate_delivery::{Delivery as _, Entry, EntryId, Function, Labels, QueueId, Requirements, Want};
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_integration_tests::Redis;
use tidegate_model::{Clock as _, Epoch, Namespace, QueueName, RunId, SystemClock, Timestamp, limits};
use tokio::time::Instant;

use crate::{
    latencies::Latencies,
    report::{Table, fine},
    settings::Settings,
};

/// Entries of one take.
const TAKEN: usize = 100;
/// Takes of a round.
const N_TAKES: usize = 100;
/// Fairness keys, where there are any.
const N_KEYS: usize = 10_000;

/// A backlog.
struct Case {
    name: &'static str,
    /// How many of the whole: one in so many.
    share: usize,
    n_keys: usize,
}

const CASES: &[Case] = &[
    Case { name: "a thousandth", share: 1_000, n_keys: 0 },
    Case { name: "all", share: 1, n_keys: 0 },
    Case { name: "a thousandth, each with a key of its own", share: 1_000, n_keys: N_KEYS },
    Case { name: "all, with 10,000 keys", share: 1, n_keys: N_KEYS },
];

/// A Redis of its own for each backlog. The bound takes turns with the subject on the same server, over as many members.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let n_entries = settings.n_runs(1_000_000);
    let n_takes = N_TAKES.min(n_entries) * settings.rounds.get();
    println!("{n_entries} entries are all; {n_takes} takes of {TAKEN}");
    let mut table = Table::new(&[
        "backlog",
        "MiB in all",
        "bytes an entry",
        "bound ms: p50",
        "p99",
        "take ms: p50",
        "p99",
        "ratio of p50",
    ]);
    for case in CASES {
        let n_entries = (n_entries / case.share).max(1);
        let redis = Redis::start().await;
        let delivery = RedisDelivery::connect(&RedisOptions::new(&redis.url())).await?;
        let client = redis::Client::open(redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let before = used_memory(&mut connection).await?;
        let now = SystemClock.now();
        fill(&delivery, n_entries, case.n_keys, now).await?;
        let used = used_memory(&mut connection).await?.saturating_sub(before);
        fill_bound(&mut connection, n_entries).await?;

        let (mut plain, mut taken) = (Latencies::new(), Latencies::new());
        for _ in 0..n_takes {
            plain.record(take_plainly(&mut connection).await?);
            taken.record(take(&delivery, TAKEN.min(n_entries), now).await?);
        }
        let ms = |latencies: &Latencies| [50.0, 99.0].map(|percentile| latencies.percentile_ms(percentile));
        let ([plain_50, plain_99], [taken_50, taken_99]) = (ms(&plain), ms(&taken));
        let per_entry = used as f64 / n_entries as f64;
        let cells = [used as f64 / f64::from(1 << 20), per_entry, plain_50, plain_99, taken_50, taken_99];
        let ratio = taken_50 / plain_50;
        let cells = cells.into_iter().chain([ratio]).map(fine);
        table.add(std::iter::once(format!("{}: {n_entries}", case.name)).chain(cells));
    }
    println!("{table}");
    Ok(())
}

async fn used_memory(connection: &mut MultiplexedConnection) -> anyhow::Result<u64> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("INFO tells used_memory")?.trim().parse()?)
}

fn queue() -> QueueId {
    QueueId { namespace: Namespace::default(), queue: QueueName::default() }
}

fn function() -> anyhow::Result<Function> {
    Ok(Function::Task("resize".parse()?))
}

async fn fill(
    delivery: &RedisDelivery,
    n_entries: usize,
    n_keys: usize,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (queue, function) = (queue(), function()?);
    let entry = |n: usize| {
        let key = (n_keys > 0).then(|| format!("customer-{}", n % n_keys).parse()).transpose()?;
        let id = EntryId {
            queue: queue.clone(),
            function: function.clone(),
            requires: Requirements::default(),
            fairness_key: key,
            run_id: RunId::new(),
            epoch: Epoch(0),
        };
        // Due a moment ago: due times are rounded up, and what is due right now would only be delayed.
        anyhow::Ok(Entry { id, priority: 0, due_at: now - Duration::from_secs(1), prefers: None })
    };
    for begin in (0..n_entries).step_by(limits::MAX_BATCH_SIZE) {
        let end = n_entries.min(begin + limits::MAX_BATCH_SIZE);
        let entries = (begin..end).map(entry).collect::<anyhow::Result<Vec<_>>>()?;
        delivery.enqueue(&entries, now).await?;
    }
    Ok(())
}

/// Takes, and puts back what was taken, so that each take meets the same backlog; the second is not timed.
async fn take(delivery: &RedisDelivery, n_expected: usize, now: Timestamp) -> anyhow::Result<Duration> {
    let (queue, functions, labels) = (queue(), [function()?], Labels::new());
    let want = Want {
        queue: &queue,
        functions: &functions,
        labels: &labels,
        limit: TAKEN,
        now,
        claim_lease: Duration::from_secs(600),
    };
    let started = Instant::now();
    let taken = delivery.take(want).await?;
    let took = started.elapsed();
    let n_taken = taken.entries.len();
    anyhow::ensure!(n_taken == n_expected, "a take gave {n_taken} entries, not {n_expected}");
    delivery.put_back(&taken.entries, now).await?;
    Ok(took)
}

const BOUND: &str = "{bound}:ready";
const BOUND_TAKEN: &str = "{bound}:taken";
const BOUND_CLAIMS: &str = "{bound}:claims";

async fn fill_bound(connection: &mut MultiplexedConnection, n_entries: usize) -> anyhow::Result<()> {
    for begin in (0..n_entries).step_by(limits::MAX_BATCH_SIZE) {
        let mut pipeline = redis::pipe();
        for _ in begin..n_entries.min(begin + limits::MAX_BATCH_SIZE) {
            pipeline.zadd(BOUND, &RunId::new().as_uuid().as_bytes()[..], 0).ignore();
        }
        pipeline.exec_async(connection).await?;
    }
    Ok(())
}

/// What a take cannot do without: the best leave one set for another, and what is claimed is noted.
async fn take_plainly(connection: &mut MultiplexedConnection) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let best: Vec<(Vec<u8>, f64)> =
        redis::cmd("ZPOPMIN").arg(BOUND).arg(TAKEN).query_async(connection).await?;
    let mut pipeline = redis::pipe();
    for (id, _) in &best {
        pipeline.zadd(BOUND_TAKEN, id, 1).ignore();
        pipeline.hset(BOUND_CLAIMS, id, "0 0 1800000000000").ignore();
    }
    pipeline.exec_async(connection).await?;
    let took = started.elapsed();
    let mut pipeline = redis::pipe();
    for (id, rank) in &best {
        pipeline.zadd(BOUND, id, *rank).ignore();
    }
    pipeline.del(BOUND_TAKEN).del(BOUND_CLAIMS).ignore();
    pipeline.exec_async(connection).await?;
    Ok(took)
}
