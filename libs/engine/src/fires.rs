//! Times of schedules become runs: the runs and how far their schedules have come are one transaction.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
};

use tidegate_model::{RunId, Timestamp, limits};
use tidegate_store::{Deployment, DeploymentKey, RunTx, Schedule, ScheduleKey, ScheduleProgress, StoreError};

use crate::{
    Create, Engine, EngineError,
    commit::commit,
    create::{Inserted, Plan, insert},
    deploy::{Batch, pool_keys},
    deployments::not_found,
    lane::with_retries,
    metrics,
};

/// Times that a turn goes through: after days without a scheduler there are many, and others wait for the rows meanwhile.
const MAX_TIMES: u64 = 10_000;

/// A time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The time, by which its run is known.
    pub fire_at: Timestamp,
    /// When its run is due.
    pub due_at: Timestamp,
}

/// The times of a schedule that have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fires {
    /// Those that are to make a run, the earliest first.
    pub now: Vec<Fire>,
    /// How many were missed and make none.
    pub n_missed: u64,
    /// The first that is not done with; it may have come as well. `None`: there is none.
    pub next_fire_at: Option<Timestamp>,
}

/// Knows what the specifications of schedules mean. The engine does not look into them.
pub trait Timetables: Debug + Send + Sync {
    /// The times of a schedule that have come by `now`, from its `next_fire_at` on: at most `most` that are to make a run.
    ///
    /// # Errors
    /// Where the specification cannot be read, or means nothing any more.
    fn come(&self, schedule: &Schedule, now: Timestamp, most: usize) -> Result<Fires, EngineError>;

    /// The run of one of its times. Its deployment makes it whole.
    ///
    /// # Errors
    /// Where the specification cannot be read.
    fn run_of(&self, schedule: &Schedule, fire: Fire) -> Result<Create, EngineError>;
}

/// Whose times are looked at.
#[derive(Clone, Copy)]
enum Whose<'a> {
    /// Those of up to so many schedules; whom somebody else is at, is left out.
    Any(usize),
    /// Those of this one; whoever is at it is waited for.
    Only(&'a ScheduleKey),
}

impl Whose<'_> {
    /// The schedules of them that are due by `now`, locked.
    async fn due(self, tx: &mut dyn RunTx, now: Timestamp) -> Result<Vec<Schedule>, StoreError> {
        match self {
            Self::Any(limit) => tx.sweep_schedules(now, limit.min(limits::MAX_BATCH_SIZE)).await,
            Self::Only(key) => {
                let found = tx.lock_schedule(key).await?;
                Ok(found.into_iter().filter(|schedule| schedule.is_due(now)).collect())
            }
        }
    }
}

/// What became of a schedule in a turn.
struct Turn {
    schedule: Schedule,
    /// How far it comes by this.
    progress: ScheduleProgress,
    n_missed: u64,
}

impl Turn {
    fn refuse(&mut self, error: &EngineError) {
        let (deployment, name) = (&self.schedule.key.deployment.name, &self.schedule.key.name);
        tracing::warn!(
            namespace = %self.schedule.key.deployment.namespace, schedule.name = %name, deployment.name = %deployment,
            %error, "a time of schedule `{name}` of deployment `{deployment}` made no run"
        );
        let mut text = error.to_string();
        let mut end = text.len().min(limits::MAX_SCHEDULE_ERROR_SIZE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.progress.last_error = Some(text);
    }
}

/// What a turn has made, for the metrics.
#[derive(Default)]
struct Made {
    n_schedules: usize,
    fired_at: Vec<Timestamp>,
    n_missed: u64,
    n_refused: u64,
}

impl Engine {
    /// Makes the runs of up to `limit` schedules whose time has come, and moves these on, all of it or nothing: so each
    /// time makes one run, whatever ends in between. Gives how many schedules it was; as many as `limit`: there may be more.
    ///
    /// A run that its deployment refuses is noted at the schedule, which goes on.
    pub async fn fire_schedules(
        &self,
        timetables: &dyn Timetables,
        limit: usize,
    ) -> Result<usize, EngineError> {
        self.fire(timetables, Whose::Any(limit), None).await
    }

    /// Makes the runs of the times of a schedule that have come by `now`, as many turns as that takes: so that none of
    /// them is passed by where its times are to be others from `now` on.
    pub(crate) async fn fire_overdue(
        &self,
        timetables: &dyn Timetables,
        key: &ScheduleKey,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        while self.fire(timetables, Whose::Only(key), Some(now)).await? > 0 {}
        Ok(())
    }

    /// One turn; `by`: what comes after it is left alone. `None`: what has come by now is looked at.
    async fn fire(
        &self,
        timetables: &dyn Timetables,
        whose: Whose<'_>,
        by: Option<Timestamp>,
    ) -> Result<usize, EngineError> {
        let turn = || self.try_fire(timetables, whose, by.unwrap_or_else(|| self.clock().now()));
        let made = with_retries(turn).await?;
        let now = self.clock().now();
        ::metrics::counter!(metrics::FIRES).increment(made.fired_at.len() as u64);
        ::metrics::counter!(metrics::MISSED).increment(made.n_missed);
        ::metrics::counter!(metrics::REFUSED).increment(made.n_refused);
        for fire_at in &made.fired_at {
            ::metrics::histogram!(metrics::FIRE_LATENESS).record(now.since(*fire_at));
        }
        Ok(made.n_schedules)
    }

    async fn try_fire(
        &self,
        timetables: &dyn Timetables,
        whose: Whose<'_>,
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let store = &*self.inner.store;
        let mut tx = store.begin().await?;
        let due = whose.due(&mut *tx, now).await?;
        if due.is_empty() {
            return Ok(Made::default());
        }
        let keys: BTreeSet<DeploymentKey> =
            due.iter().map(|schedule| schedule.key.deployment.clone()).collect();
        let found = tx.read_deployments(&keys.into_iter().collect::<Vec<_>>()).await?;
        let found: HashMap<DeploymentKey, Deployment> =
            found.into_iter().map(|deployment| (deployment.key.clone(), deployment)).collect();
        // None: they go with their deployments.
        let missing = due.iter().map(|schedule| &schedule.key.deployment);
        let missing =
            missing.filter(|key| !found.contains_key(*key)).map(|key| (key.clone(), not_found(key, &[])));
        let missing: HashMap<DeploymentKey, EngineError> = missing.collect();
        let (mut turns, creates, fires) = plan(timetables, due, now);
        let pools = pool_keys(found.values());
        let pools = if pools.is_empty() { Vec::new() } else { tx.read_work_pools(&pools).await? };
        let batch = Batch::made(creates, &found, pools, &missing);
        let inserted = insert(&mut *tx, &batch, &HashSet::new(), now, &self.inner.options).await?;
        let (plans, outbound, events) = match inserted {
            Inserted::Whole { plans, outbound, events } => (plans, outbound, events),
            // The next attempt makes other ids.
            Inserted::Collided(_) => return Err(StoreError::Unavailable("an id was taken".into())),
        };
        let mut made = Made { n_schedules: turns.len(), ..Made::default() };
        for ((turn_idx, fire), plan) in fires.into_iter().zip(plans) {
            let turn = &mut turns[turn_idx];
            let run: Result<RunId, EngineError> = match plan {
                Plan::Insert(step) => {
                    made.fired_at.push(fire.fire_at);
                    Ok(step.run.id)
                }
                Plan::Existing(run) => Ok(run),
                Plan::Refused(error) => Err(error),
            };
            match run {
                Ok(run) => {
                    turn.progress.last_fire_at = Some(fire.fire_at);
                    turn.progress.last_run = Some(run);
                    turn.progress.last_error = None;
                }
                Err(error) => {
                    made.n_refused += 1;
                    turn.refuse(&error);
                }
            }
        }
        made.n_missed = turns.iter().map(|turn| turn.n_missed).sum();
        let progress: Vec<_> = turns.into_iter().map(|turn| (turn.schedule.id, turn.progress)).collect();
        tx.advance_schedules(&progress).await?;
        commit(store, tx, &events).await?;
        self.send(outbound);
        Ok(made)
    }
}

/// What the schedules come to, with the runs of their times, and of which schedule and time each of these is.
fn plan(
    timetables: &dyn Timetables,
    due: Vec<Schedule>,
    now: Timestamp,
) -> (Vec<Turn>, Vec<Create>, Vec<(usize, Fire)>) {
    let (mut turns, mut creates, mut fires) = (Vec::with_capacity(due.len()), Vec::new(), Vec::new());
    let mut n_times = 0;
    for schedule in due {
        let room = limits::MAX_BATCH_SIZE - creates.len();
        // The others stay due.
        if room == 0 || n_times >= MAX_TIMES {
            break;
        }
        let mut turn = Turn { progress: schedule.progress.clone(), schedule, n_missed: 0 };
        match timetables.come(&turn.schedule, now, room) {
            Ok(come) => {
                turn.progress.next_fire_at = come.next_fire_at;
                turn.progress.n_missed += come.n_missed;
                turn.n_missed = come.n_missed;
                n_times += come.n_missed + come.now.len() as u64;
                for fire in come.now {
                    match timetables.run_of(&turn.schedule, fire) {
                        Ok(create) => {
                            creates.push(create);
                            fires.push((turns.len(), fire));
                        }
                        Err(error) => turn.refuse(&error),
                    }
                }
            }
            // It would be due for ever.
            Err(error) => {
                turn.progress.next_fire_at = None;
                turn.refuse(&error);
            }
        }
        turns.push(turn);
    }
    (turns, creates, fires)
}
