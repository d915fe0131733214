use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tidegate_integration_tests::Suite;
use tidegate_sdk::{CancellationToken, Client, Context, Worker};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    bound::{Bound, Step, new_ids},
    database::Database,
    engine::RunningEngine,
    latencies::{Latencies, percentiles},
    load::until_counted,
    pairs::{Pairs, Phase},
    report::Table,
    settings::Settings,
};

const QUEUE: &str = "path";
const SLOTS: u32 = 500;
/// Tasks a second of the paced load.
const RATE: u32 = 1_000;
/// Of the bound: as many as commits wait for the disk at once.
const N_CONNECTIONS: u32 = 16;
/// Of delayed tasks: as much time as it takes to call all of them.
const LEAD: Duration = Duration::from_secs(2);
/// How long a code may take to start before the bench gives up.
const DEADLINE: Duration = Duration::from_secs(120);

/// A task by number, and when its code began. One that is retried begins twice.
type Start = (u64, Instant);

/// The four services and Redis are processes of their own; the caller and the worker are this one, whose clock is both
/// the call's and the start's.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let suite = Suite::separate_on(database.url()).await;
    let (plain, mut tidegate) = (Plain::start(&database, &suite).await?, Tidegate::start(&suite)?);
    let (n_idle, n_paced, n_bulk) = (settings.n_runs(500), settings.n_runs(5_000), settings.n_runs(20_000));
    let mut plain = plain;

    plain.idle(n_idle.min(100)).await?; // plans, caches
    tidegate.idle(n_idle.min(100)).await?;
    println!(
        "{} rounds of {n_idle} tasks, one at a time: from the call until the code begins",
        settings.rounds
    );
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds.get() {
        rounds.push((plain.idle(n_idle).await?, tidegate.idle(n_idle).await?));
    }
    println!("{}", percentiles(&rounds, "commit and list", "tidegate"));

    println!(
        "{} rounds of {n_paced} tasks, {RATE} a second: from when each is due to be called",
        settings.rounds
    );
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds.get() {
        database.checkpoint().await?;
        rounds.push((plain.at(n_paced, evenly).await?, tidegate.at(n_paced, evenly).await?));
    }
    println!("{}", percentiles(&rounds, "commit and list", "tidegate"));

    let n_delayed = settings.n_runs(500);
    println!(
        "{} rounds of {n_delayed} tasks with a delay of 0.1 s to 5 s: from when each is due until the code begins (the \
         bound is called when it is due), for which 50 ms are allowed; the same for the second attempt of those whose first \
         fails as it begins, due by so long after that",
        settings.rounds
    );
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds.get() {
        let called = plain.at(n_delayed, delay_of).await?;
        first.push((called, tidegate.delayed(n_delayed).await?));
        let called = plain.at(n_delayed, delay_of).await?;
        second.push((called, tidegate.retried(n_delayed).await?));
    }
    println!("{}", percentiles(&first, "commit and list", "tidegate"));
    println!("{}", percentiles(&second, "commit and list", "tidegate, retry"));

    println!("{} rounds of {n_bulk} tasks at once, until all are COMPLETED", settings.rounds);
    println!("{}", tidegate.lives(&settings, n_bulk).await?);
    tidegate.stop().await?;
    drop(suite);
    database.remove().await
}

/// The least that a durable queue does: a commit of its own for each task, a push to a list, and a pop.
struct Plain {
    pool: PgPool,
    push: MultiplexedConnection,
    starts: mpsc::UnboundedReceiver<Start>,
    popping: JoinHandle<redis::RedisResult<()>>,
}

impl Plain {
    async fn start(database: &Database, suite: &Suite) -> anyhow::Result<Self> {
        let options = PgPoolOptions::new().min_connections(N_CONNECTIONS).max_connections(N_CONNECTIONS);
        let pool = options.test_before_acquire(false).connect(database.url()).await?;
        sqlx::query("CREATE TABLE plain_tasks (id uuid PRIMARY KEY, number bigint NOT NULL)")
            .execute(&pool)
            .await?;
        let redis = redis::Client::open(suite.redis().context("the suite has a Redis")?.url())?;
        let push = redis.get_multiplexed_async_connection().await?;
        // A pop waits for as long as there is nothing.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut pop = redis.get_multiplexed_async_connection_with_config(&patient).await?;
        let (started, starts) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the bench, which looks at how it ended")]
        let popping = tokio::spawn(async move {
            loop {
                let (_, number): (String, u64) = pop.brpop("plain-tasks", 0.0).await?;
                if started.send((number, Instant::now())).is_err() {
                    return Ok(());
                }
            }
        });
        Ok(Self { pool, push, starts, popping })
    }

    async fn idle(&mut self, n_tasks: usize) -> anyhow::Result<Latencies> {
        let (pool, push) = (self.pool.clone(), self.push.clone());
        idle(n_tasks, &mut self.starts, async |number| call_plain(&pool, push.clone(), number).await).await
    }

    /// Calls each task when `due` says, counted from now.
    async fn at(&mut self, n_tasks: usize, due: fn(u64) -> Duration) -> anyhow::Result<Latencies> {
        let (pool, push) = (self.pool.clone(), self.push.clone());
        at(n_tasks, due, &mut self.starts, async |number| call_plain(&pool, push.clone(), number).await).await
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.popping.abort();
    }
}

async fn call_plain(pool: &PgPool, mut push: MultiplexedConnection, number: u64) -> anyhow::Result<()> {
    let insert = sqlx::query("INSERT INTO plain_tasks (id, number) VALUES ($1, $2)");
    insert.bind(new_ids(1)[0]).bind(number.cast_signed()).execute(pool).await?;
    let _: u64 = push.lpush("plain-tasks", number).await?;
    Ok(())
}

/// A caller and a worker, with connections of their own.
struct Tidegate {
    client: Client,
    starts: mpsc::UnboundedReceiver<Start>,
    stop: CancellationToken,
    working: JoinHandle<Result<(), tidegate_sdk::Error>>,
}

impl Tidegate {
    fn start(suite: &Suite) -> anyhow::Result<Self> {
        let (started, starts) = mpsc::unbounded_channel();
        let note = move |context: Context, number: u64| {
            let started = started.clone();
            async move {
                started.send((number, Instant::now())).context("the bench has ended")?;
                ensure!(context.name() != "fails-once" || context.attempt() > 1, "the first attempt fails");
                Ok(())
            }
        };
        let worker = Worker::builder(suite.client()).task("note", note.clone()).task("fails-once", note);
        let worker = worker.queues([QUEUE]).task_slots(SLOTS).build()?;
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "it ends with the bench, which looks at how it ended")]
        let working = tokio::spawn(worker.run(stop.clone()));
        Ok(Self { client: suite.client(), starts, stop, working })
    }

    async fn idle(&mut self, n_tasks: usize) -> anyhow::Result<Latencies> {
        let client = self.client.clone();
        idle(n_tasks, &mut self.starts, async |number| call(&client, number).await).await
    }

    /// Calls each task when `due` says, counted from now.
    async fn at(&mut self, n_tasks: usize, due: fn(u64) -> Duration) -> anyhow::Result<Latencies> {
        let client = self.client.clone();
        at(n_tasks, due, &mut self.starts, async |number| call(&client, number).await).await
    }

    /// Calls all tasks now, each with a delay, and takes how late they begin.
    #[expect(
        clippy::disallowed_methods,
        reason = "the time that is told to the server, and what is measured by, are one"
    )]
    async fn delayed(&mut self, n_tasks: usize) -> anyhow::Result<Latencies> {
        let (began, began_at) = (Instant::now() + LEAD, SystemTime::now() + LEAD);
        try_join_all((0..n_tasks as u64).map(async |number| {
            let call = self.client.task("note").queue(QUEUE).due_at(began_at + delay_of(number));
            call.delay(&number).await
        }))
        .await?;
        let mut latencies = Latencies::new();
        for _ in 0..n_tasks {
            let (number, started_at) = next(&mut self.starts).await?;
            latencies.record(late_by(began + delay_of(number), started_at)?);
        }
        Ok(latencies)
    }

    /// Calls tasks that fail once, and takes how late the second attempt begins after the delay that follows the first.
    async fn retried(&mut self, n_tasks: usize) -> anyhow::Result<Latencies> {
        try_join_all((0..n_tasks as u64).map(async |number| {
            let call = self.client.task("fails-once").queue(QUEUE).retries(1);
            call.retry_delays([delay_of(number)]).delay(&number).await
        }))
        .await?;
        let (mut failed, mut latencies) = (HashMap::new(), Latencies::new());
        for _ in 0..2 * n_tasks {
            let (number, started_at) = next(&mut self.starts).await?;
            match failed.remove(&number) {
                Some(failed_at) => latencies.record(late_by(failed_at + delay_of(number), started_at)?),
                None => drop(failed.insert(number, started_at)),
            }
        }
        Ok(latencies)
    }

    /// Whole lives through everything, beside those that Postgres alone can take.
    async fn lives(&mut self, settings: &Settings, n_tasks: usize) -> anyhow::Result<Table> {
        let database = Database::create(settings).await?;
        let store = PgStore::connect(database.url(), &PgOptions::default()).await?;
        let engine = RunningEngine::start(std::sync::Arc::new(store), settings)?;
        let bound = Bound::new(database.url(), &engine).await?;
        let phase = |took| Ok(vec![Phase { name: "whole lives", n_items: n_tasks, took }]);
        let pairs = Pairs::measure(
            settings.rounds.get(),
            async || {
                database.checkpoint().await?;
                phase(bound.run(&new_ids(n_tasks), Step::LIFE, 2 * engine.n_lanes()).await?)
            },
            async || {
                database.checkpoint().await?;
                phase(self.live(n_tasks).await?)
            },
        );
        let table = pairs.await?.table("Postgres alone", "tidegate");
        drop(engine);
        database.remove().await?;
        Ok(table)
    }

    async fn live(&mut self, n_tasks: usize) -> anyhow::Result<Duration> {
        let numbers: Vec<u64> = (0..n_tasks as u64).collect();
        let began = Instant::now();
        let handles = self.client.task("note").queue(QUEUE).delay_many(&numbers).await?;
        for _ in &handles {
            next(&mut self.starts).await?;
        }
        // All have begun; the last of them is to end, too.
        until_counted(&self.client, "state = (SCHEDULED OR PENDING OR RUNNING)", 0).await;
        Ok(began.elapsed())
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.working.await??;
        self.client.close(Duration::from_secs(5)).await;
        Ok(())
    }
}

async fn call(client: &Client, number: u64) -> anyhow::Result<()> {
    client.task("note").queue(QUEUE).delay(&number).await?;
    Ok(())
}

async fn next(starts: &mut mpsc::UnboundedReceiver<Start>) -> anyhow::Result<Start> {
    let start = timeout(DEADLINE, starts.recv()).await.context("a task does not start")?;
    start.context("nothing starts tasks any more")
}

/// Calls one task after the other has begun.
async fn idle(
    n_tasks: usize,
    starts: &mut mpsc::UnboundedReceiver<Start>,
    call: impl AsyncFn(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    for number in 0..n_tasks as u64 {
        let called_at = Instant::now();
        call(number).await?;
        let (_, started_at) = next(starts).await?;
        latencies.record(started_at - called_at);
    }
    Ok(latencies)
}

/// When a task of the paced load is due.
fn evenly(number: u64) -> Duration {
    Duration::from_secs(1).mul_f64(number as f64 / f64::from(RATE))
}

/// Delays of 0.1 s to 5 s, in no order.
fn delay_of(number: u64) -> Duration {
    Duration::from_millis(100 + number * 7_919 % 4_900)
}

fn late_by(due: Instant, started_at: Instant) -> anyhow::Result<Duration> {
    // Due times travel as whole microseconds.
    let late = (started_at + Duration::from_micros(1)).checked_duration_since(due);
    late.with_context(|| format!("a task began {:?} before it was due", due - started_at))
}

/// Calls tasks at their times, counted from now, however long earlier calls take. A call that is made late counts from its
/// time.
async fn at(
    n_tasks: usize,
    due: fn(u64) -> Duration,
    starts: &mut mpsc::UnboundedReceiver<Start>,
    call: impl AsyncFn(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Latencies> {
    let began = Instant::now();
    let calls = try_join_all((0..n_tasks as u64).map(async |number| {
        sleep_until(began + due(number)).await;
        call(number).await
    }));
    let collect = async {
        let mut latencies = Latencies::new();
        for _ in 0..n_tasks {
            let (number, started_at) = next(starts).await?;
            latencies.record(started_at - (began + due(number)));
        }
        anyhow::Ok(latencies)
    };
    let (_, latencies) = tokio::try_join!(calls, collect)?;
    Ok(latencies)
}
