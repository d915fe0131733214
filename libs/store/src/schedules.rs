use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{
    DeploymentName, Namespace, RunId, ScheduleId, ScheduleName, Timestamp, limits::SCHEDULE_LIMIT_PREFIX,
};

use crate::{Deployment, DeploymentKey, LimitKey, LimitSettings, StoreError};

/// Which schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// What it starts.
    pub deployment: DeploymentKey,
    /// Its name there.
    pub name: ScheduleName,
}

impl ScheduleKey {
    /// The concurrency limit that its runs need a slot of where they are not to overlap.
    pub fn limit(&self) -> LimitKey {
        LimitKey {
            namespace: self.deployment.namespace.clone(),
            name: format!("{SCHEDULE_LIMIT_PREFIX}{}/{}", self.deployment.name, self.name),
        }
    }
}

/// A schedule as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Which.
    pub key: ScheduleKey,
    /// Made with it: one that is made anew under the same name is another.
    pub id: ScheduleId,
    /// Grows with each change that somebody makes.
    pub version: u64,
    /// When and how: the encoded message `tidegate.v1.ScheduleSpec`, in which no store looks.
    pub spec: Bytes,
    /// That it does not fire.
    pub pause: Option<SchedulePause>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody last changed it.
    pub updated_at: Timestamp,
    /// How far it has come.
    pub progress: ScheduleProgress,
}

impl Schedule {
    /// Whether a time of it has come that is not done with.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.progress.next_fire_at.is_some_and(|next| next <= now)
    }
}

/// How far a schedule has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleProgress {
    /// The next of its times; all before it are done with. `None`: it does not fire.
    pub next_fire_at: Option<Timestamp>,
    /// The last of its times that made a run.
    pub last_fire_at: Option<Timestamp>,
    /// That run.
    pub last_run: Option<RunId>,
    /// How many of its times were missed and made no run.
    pub n_missed: u64,
    /// Why the last of its times that came made no run.
    pub last_error: Option<String>,
}

/// That a schedule does not fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePause {
    /// Since when.
    pub at: Timestamp,
    /// Who paused it, where that is known.
    pub by: Option<String>,
    /// Why; may be empty.
    pub reason: String,
}

/// A page of schedules.
#[derive(Clone, Debug)]
pub struct ScheduleQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Only those of this deployment.
    pub deployment: Option<DeploymentName>,
    /// Only what comes after this: the last of the page before.
    pub after: Option<(DeploymentName, ScheduleName)>,
    /// How many at most.
    pub limit: usize,
}

/// Reads of schedules.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait ScheduleRows: Send + Sync {
    /// One schedule.
    async fn get_schedule(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError>;

    /// A page of schedules, by the names of deployment and schedule.
    async fn list_schedules(&self, query: &ScheduleQuery) -> Result<Vec<Schedule>, StoreError>;

    /// The first of the next times of all schedules: one look into an index, however many there are.
    async fn next_schedule_at(&self) -> Result<Option<Timestamp>, StoreError>;
}

/// What a transaction does to schedules. They go with their deployment.
#[async_trait]
pub trait ScheduleTx: Send {
    /// Locks a schedule for a change, and reads it. Who makes one has locked its deployment.
    async fn lock_schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError>;

    /// How many schedules a deployment has.
    async fn count_schedules(&mut self, deployment: &DeploymentKey) -> Result<usize, StoreError>;

    /// Writes a schedule. Its concurrency limit becomes what `limit` says.
    async fn put_schedule(
        &mut self,
        schedule: &Schedule,
        limit: Option<&LimitSettings>,
    ) -> Result<(), StoreError>;

    /// Takes a schedule away, with its limit. False: there was none.
    async fn delete_schedule(&mut self, key: &ScheduleKey) -> Result<bool, StoreError>;

    /// Locks and reads up to `limit` schedules whose next time has come by `now`, the earliest first, leaving out those
    /// that another transaction has locked.
    async fn sweep_schedules(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, StoreError>;

    /// Those of these deployments that are there, in any order, as they are by now.
    async fn read_deployments(&mut self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError>;

    /// Writes how far locked schedules have come.
    async fn advance_schedules(
        &mut self,
        progress: &[(ScheduleId, ScheduleProgress)],
    ) -> Result<(), StoreError>;
}
