//! Owns time: hands over runs that are due or whose delivery was lost, fires timeouts, closes what was left open.
//! It holds no state of its own, so two replicas are as safe as one: sweeps skip rows that another has locked.

mod amnesty;
pub mod automations;
mod config;
mod fires;
mod metrics;
pub mod standalone;
mod sweep;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tidegate_deploy::Scheduled;
use tidegate_dispatch::GrpcDispatch;
use tidegate_engine::{Engine, EngineError, Options};
use tidegate_model::{Clock, SystemClock, Timestamp, limits};
use tidegate_payload::{ObjectStorage, Options as PayloadOptions, Payloads};
use tidegate_service_kit::{SharedClock, Supervisor, pulse};
use tidegate_store::{AutomationKey, Maintained, RunStore};
use tonic::transport::Channel;

use amnesty::Amnesty;
use sweep::OnStop;

pub use config::{Config, RetentionConfig, SweepsConfig, WebhooksConfig};

/// Sessions are kept this long after their end, so that a process that comes back late is told.
const SESSION_RETENTION: Duration = Duration::from_secs(86_400);
/// What deletes much, or goes through much, may take as long before it counts as hanging.
const LONG_TURN: Duration = Duration::from_secs(600);

/// Starts the sweeps of the scheduler. It has no gRPC service of its own.
///
/// `delivery` leads to task-queue's `DeliveryService` and may be lazy. `storage` is what the api has.
pub async fn start(
    config: &Config,
    store: Arc<dyn RunStore>,
    storage: ObjectStorage,
    delivery: Channel,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    start_with_clock(config, store, storage, delivery, Arc::new(SystemClock), tasks).await
}

/// As [`start`], on a machine with this clock. It is put right by that of the store, by which the api writes its times.
pub async fn start_with_clock(
    config: &Config,
    store: Arc<dyn RunStore>,
    storage: ObjectStorage,
    delivery: Channel,
    clock: Arc<dyn Clock>,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    metrics::describe();
    let asked = Arc::clone(&store);
    let there = move || {
        let store = Arc::clone(&asked);
        async move { store.now().await }
    };
    let shared_clock = SharedClock::start(clock, "the store", there, tasks).await;
    let clock: Arc<dyn Clock> = shared_clock.clone();
    let dispatch = Arc::new(GrpcDispatch::new(delivery, Arc::clone(&clock)));
    let (engine, engine_tasks) =
        Engine::new(Arc::clone(&store), dispatch, Arc::clone(&clock), Options::default());
    for (name, task) in engine_tasks {
        tasks.essential(name, |_stop| async {
            task.await;
            Ok(())
        });
    }
    let sweeps = &config.sweeps;
    let batch = sweeps.batch.get();
    let spawn_sweep = |name, period: Duration, on_stop, turn: Turn| {
        let engine = engine.clone();
        sweep::spawn(tasks, name, period, batch, on_stop, move || turn(engine.clone()));
    };
    let timetables = Arc::new(Scheduled::default());
    fires::spawn(tasks, engine.clone(), timetables, *sweeps.schedules_interval, batch);
    let webhooks = tidegate_webhook::Client::new(config.webhooks.allowed()).context("set up webhooks")?;
    automations::spawn(tasks, engine.clone(), webhooks, *sweeps.automations_interval);
    let reconcile_after = *sweeps.reconcile_after;
    spawn_sweep(
        "due-runs",
        *sweeps.due_runs_interval,
        OnStop::Finish,
        Box::new(move |engine| Box::pin(enqueue_due(engine, reconcile_after, batch))),
    );
    spawn_sweep(
        "timers",
        *sweeps.timers_interval,
        OnStop::Finish,
        Box::new(move |engine| Box::pin(async move { engine.fire_timers(batch).await })),
    );
    let amnesty = Amnesty::new(*sweeps.sessions_after);
    spawn_sweep(
        "sessions",
        *sweeps.sessions_interval,
        OnStop::Finish,
        Box::new(move |engine| {
            let (clock, amnesty) = (Arc::clone(&shared_clock), amnesty.clone());
            Box::pin(async move { crash_lost_sessions(engine, &clock, &amnesty, batch).await })
        }),
    );
    spawn_sweep(
        "cascades",
        *sweeps.cascades_interval,
        OnStop::Cut,
        Box::new(|engine| Box::pin(async move { engine.cascade_all().await })),
    );
    spawn_sweep(
        "slots",
        *sweeps.slots_interval,
        OnStop::Finish,
        Box::new(move |engine| Box::pin(hand_out_slots(engine, reconcile_after))),
    );
    spawn_sweep(
        "bulk-operations",
        *sweeps.bulk_operations_interval,
        OnStop::Cut,
        // A turn gives how many runs it has seen to: the next one follows at once while there are any.
        Box::new(move |engine| {
            Box::pin(async move { Ok(if engine.carry_on_bulk().await? > 0 { batch } else { 0 }) })
        }),
    );
    let leases_after = *sweeps.leases_after;
    spawn_sweep(
        "leases",
        *sweeps.leases_interval,
        OnStop::Cut,
        Box::new(move |engine| {
            Box::pin(async move {
                let entered_before = engine.clock().now() - leases_after;
                engine.crash_unleased(entered_before, batch).await
            })
        }),
    );
    spawn_sweep(
        "lapsed-slots",
        *sweeps.purge_interval,
        OnStop::Finish,
        Box::new(move |engine| {
            Box::pin(
                async move { Ok(engine.clear_slots(batch).await?.max(engine.purge_limits(batch).await?)) },
            )
        }),
    );
    spawn_sweep(
        "firings",
        *sweeps.purge_interval,
        OnStop::Finish,
        Box::new(move |engine| Box::pin(bound_firings(engine, batch))),
    );
    spawn_sweep(
        "purge",
        *sweeps.purge_interval,
        OnStop::Cut,
        Box::new(move |engine| {
            Box::pin(async move {
                pulse::rest(LONG_TURN);
                let now = engine.clock().now();
                Ok(engine.store().purge(now - SESSION_RETENTION, now, batch).await?)
            })
        }),
    );
    let runs_after = *config.retention.runs_after;
    spawn_sweep(
        "retention",
        *config.retention.interval,
        OnStop::Cut,
        Box::new(move |engine| Box::pin(maintain(engine, runs_after, batch))),
    );
    // It uploads and grants nothing.
    let options = PayloadOptions { max_size: 0, presigned_lifetime: None, max_under_way: 0 };
    let payloads = Payloads::new(store, storage, clock, options);
    let payloads_after = *sweeps.payloads_after;
    sweep::spawn(tasks, "payloads", *sweeps.payloads_interval, batch, OnStop::Cut, move || {
        let payloads = payloads.clone();
        async move { payloads.collect(payloads_after, batch).await }
    });
    Ok(())
}

type Turn = Box<
    dyn Fn(Engine) -> std::pin::Pin<Box<dyn Future<Output = Result<usize, EngineError>> + Send>>
        + Send
        + Sync,
>;

/// Gives how many firings were forgotten.
async fn bound_firings(engine: Engine, batch: usize) -> Result<usize, EngineError> {
    // It counts the firings of each automation.
    pulse::rest(LONG_TURN);
    for AutomationKey { namespace, name } in engine.pause_crowded_automations().await? {
        tracing::warn!(
            %namespace, automation.name = %name,
            "automation {name} was paused: more than {} firings wait or were given up", limits::MAX_FIRINGS
        );
    }
    engine.purge_firings(batch).await
}

async fn enqueue_due(engine: Engine, reconcile_after: Duration, batch: usize) -> Result<usize, EngineError> {
    match lost_before(&engine, reconcile_after).await {
        Some(enqueued_before) => engine.enqueue_due(enqueued_before, batch).await,
        None => Ok(0),
    }
}

/// For how long after the birth of delivery's state it is looked for what was lost with the one before.
const LOST_FOR: Duration = Duration::from_secs(3_600);

async fn hand_out_slots(engine: Engine, reconcile_after: Duration) -> Result<usize, EngineError> {
    engine.ask_holders().await?;
    // It goes through all limits that someone waits for.
    pulse::rest(LONG_TURN);
    if let Ok(born_at) = engine.dispatch().born_at().await
        && engine.clock().now().since(born_at) < LOST_FOR
    {
        engine.return_lost_waits(born_at).await?;
    }
    match lost_before(&engine, reconcile_after).await {
        Some(handed_before) => engine.hand_out_slots(handed_before).await,
        None => Ok(0),
    }
}

/// A delivery made before the delivery state was born is lost for certain; an older one may be. `None`: delivery does
/// not answer.
async fn lost_before(engine: &Engine, reconcile_after: Duration) -> Option<Timestamp> {
    match engine.dispatch().born_at().await {
        Ok(born_at) => Some(born_at.max(engine.clock().now() - reconcile_after)),
        Err(error) => {
            tracing::warn!(%error, "nothing can be handed over");
            None
        }
    }
}

/// Gives how many runs were deleted one by one: a full batch is followed by the next.
async fn maintain(engine: Engine, runs_after: Duration, batch: usize) -> Result<usize, EngineError> {
    pulse::rest(LONG_TURN);
    let now = engine.clock().now();
    let done = engine.store().maintain(now, now - runs_after, batch).await?;
    ::metrics::counter!(metrics::PARTITIONS_MADE).increment(done.partitions_made as u64);
    ::metrics::counter!(metrics::PARTITIONS_DROPPED).increment(done.partitions_dropped as u64);
    if done.partitions_made + done.partitions_dropped > 0 {
        let Maintained { partitions_made, partitions_dropped, .. } = done;
        tracing::info!(
            "{partitions_made} partitions of runs were made ahead, {partitions_dropped} were dropped whose runs ended \
             more than {runs_after:?} ago"
        );
    }
    Ok(done.runs_deleted)
}

async fn crash_lost_sessions(
    engine: Engine,
    clock: &SharedClock,
    amnesty: &Amnesty,
    batch: usize,
) -> Result<usize, EngineError> {
    // Right before sessions are judged: after a machine's clock was set, none is called lost by what was known of it before.
    let ask = async {
        clock.compare(engine.store().now()).await?;
        // Until then a replica of the api may renew to times that are over.
        Ok::<_, EngineError>(clock.set_at().map(|set_at| set_at + SharedClock::KNOWN_AFTER))
    };
    amnesty.unless(ask, engine.crash_lost_sessions(batch)).await
}
