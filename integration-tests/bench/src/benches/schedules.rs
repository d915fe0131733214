use std::{fmt::Write as _, sync::Arc, time::Duration};

use anyhow::ensure;
use prost::Message as _;
use tidegate_deploy::Scheduled;
use tidegate_engine::{DeploymentAsk, Engine, Spec};
use tidegate_model::{Clock as _, Namespace, ScheduleId, SystemClock, Timestamp, limits};
use tidegate_proto::v1::{IntervalTimetable, ScheduleSpec, schedule_spec::Timetable};
use tidegate_store::{
    Count, CountQuery, DeploymentKey, Field, Filter, RunStore, Schedule, ScheduleKey, ScheduleProgress,
};
use tidegate_store_postgres::{PgOptions, PgStore};
use tokio::time::Instant;

use crate::{
    database::Database,
    engine::{self, RunningEngine},
    latencies::{Latencies, percentiles},
    report::{Spread, Table, fine},
    settings::Settings,
};

/// Schedules that do not fire, beside which a tick is measured.
const N_FEW: usize = 10;
/// Ticks of a round.
const N_TICKS: usize = 1_000;

/// A tick in which nothing is due, with few schedules and with many; then many that are due at once, beside as many runs
/// that callers create.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let database = Database::create(&settings).await?;
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(database.url(), &PgOptions::default()).await?);
    let engine = RunningEngine::start(Arc::clone(&store), &settings)?;
    let n_many = settings.n_runs(100_000);
    let n_due = n_many / 10;
    println!(
        "{} rounds of {N_TICKS} idle ticks, and of {n_due} schedules that are due at once",
        settings.rounds
    );
    let far = SystemClock.now() + Duration::from_secs(86_400);

    let mut few = Vec::new();
    put(&engine.engine, 0..N_FEW, far).await?;
    for _ in 0..settings.rounds.get() {
        few.push(ticks(&*store).await?);
    }
    put(&engine.engine, N_FEW..n_many, far).await?;
    let mut rounds = Vec::new();
    for few in few {
        rounds.push((few, ticks(&*store).await?));
    }
    println!("{}", percentiles(&rounds, &format!("{N_FEW} schedules"), &format!("{n_many} schedules")));

    let (mut fired, mut created, mut latest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..settings.rounds.get() {
        created.push(engine.create(engine::creates(n_due)).await?.1.as_secs_f64());
        // Known before it comes, as the times of schedules are.
        let due = SystemClock.now() + Duration::from_secs(10);
        put(&engine.engine, 0..n_due, due).await?;
        tokio::time::sleep(due.since(SystemClock.now())).await;
        let (scheduled, started) = (Scheduled::default(), Instant::now());
        let mut n_fired = 0;
        while n_fired < n_due {
            n_fired += engine.engine.fire_schedules(&scheduled, limits::MAX_BATCH_SIZE).await?;
        }
        fired.push(started.elapsed().as_secs_f64());
        latest = latest.max(SystemClock.now().since(due));
    }
    // A time whose run was refused would have cost next to nothing.
    let n_wanted = (n_due * settings.rounds.get()) as u64;
    let of_schedules = Filter::IsSet(Field::Schedule);
    let query = CountQuery { namespace: Namespace::default(), filter: of_schedules, exact_up_to: n_wanted };
    let n_made = store.count_runs(&query).await?;
    ensure!(n_made == Count::Exact(n_wanted), "{n_made:?} runs of schedules exist, not {n_wanted}");
    let mut table = Table::new(&["runs at once", "seconds until all exist: median (min to max)"]);
    table.add([format!("{n_due} by callers"), Spread::of(created).show(fine)]);
    table.add([format!("{n_due} by schedules"), Spread::of(fired).show(fine)]);
    println!("{table}");
    println!("all existed within {:.2} s of their time, of which issue 6 allows 5 s", latest.as_secs_f64());
    drop((engine, store));
    database.remove().await
}

async fn ticks(store: &dyn RunStore) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    for _ in 0..N_TICKS {
        let started = Instant::now();
        store.next_schedule_at().await?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}

/// Daily schedules of these numbers whose next time is this.
async fn put(engine: &Engine, numbers: std::ops::Range<usize>, next: Timestamp) -> anyhow::Result<()> {
    let (store, now) = (engine.store(), SystemClock.now());
    let spec = daily_from(next).encode_to_vec();
    let numbers: Vec<usize> = numbers.collect();
    for of_one in numbers.chunk_by(|one, other| one / limits::MAX_SCHEDULES == other / limits::MAX_SCHEDULES)
    {
        let mut name = String::from("etl/");
        write!(name, "d{}", of_one[0] / limits::MAX_SCHEDULES)?;
        let deployment = DeploymentKey { namespace: Namespace::default(), name: name.parse()? };
        let ask = DeploymentAsk { key: deployment.clone(), etag: None, actor: None, request_id: None };
        let none = Spec { encoded: Vec::new().into(), limit: None, work_pool: None };
        engine.change_deployment(&ask, &|_| Ok(none.clone())).await?;
        let mut tx = store.begin().await?;
        for number in of_one {
            let key = ScheduleKey { deployment: deployment.clone(), name: format!("s{number}").parse()? };
            let schedule = Schedule {
                key,
                id: ScheduleId::new(),
                version: 1,
                spec: spec.clone().into(),
                pause: None,
                created_at: now,
                updated_at: now,
                progress: ScheduleProgress { next_fire_at: Some(next), ..ScheduleProgress::default() },
            };
            tx.put_schedule(&schedule, None).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

fn daily_from(anchor: Timestamp) -> ScheduleSpec {
    let every = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    let interval = IntervalTimetable { every, anchor: Some(tidegate_wire::timestamp_to_proto(anchor)) };
    ScheduleSpec { timetable: Some(Timetable::Interval(interval)), ..ScheduleSpec::default() }
}
