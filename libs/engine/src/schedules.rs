//! Schedules: what people do with them.

use tidegate_model::{RunId, Timestamp, limits};
use tidegate_store::{Deployment, LimitSettings, Schedule, ScheduleKey, StoreError, WorkPool, WorkPoolKey};

use crate::{
    Engine, EngineError, Fire, KeyScope, Spec, Timetables,
    ask::{RequestKey, reservation},
    commit::commit,
    deploy::pool_keys,
    dispatch::Outbound,
    lane::with_retries,
    slots::Freed,
};

/// Which schedule is meant, and who asks.
#[derive(Clone, Debug)]
pub struct ScheduleAsk {
    /// The schedule.
    pub key: ScheduleKey,
    /// What it is to be as it was read; `None`: whatever it is.
    pub etag: Option<String>,
    /// Who asks, where that is known.
    pub actor: Option<String>,
    /// The same id again changes nothing; `None`: each request counts.
    pub request_id: Option<RunId>,
}

impl ScheduleAsk {
    /// The error for a schedule that is not there.
    pub fn not_found(&self) -> EngineError {
        let ScheduleKey { deployment, name } = &self.key;
        EngineError::ScheduleNotFound { deployment: deployment.name.to_string(), name: name.to_string() }
    }
}

/// What is done to a schedule. Requests with the same id for different things are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleVerb {
    /// It is made, or gets another specification where it is there.
    Create,
    /// Parts of its specification change.
    Update,
    /// It is to fire no more for a while.
    Pause,
    /// It is to fire again.
    Resume,
}

impl ScheduleVerb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// What a schedule becomes now, by its deployment with the work pool of that, and by what it is: the row, whose version
/// and time of change are the engine's to set, and how many of its runs may be held at once. An error leaves it as it is.
pub type ScheduleChange<'a> = &'a (
        dyn Fn(
    &Deployment,
    Option<&WorkPool>,
    Option<&Schedule>,
    Timestamp,
) -> Result<(Schedule, Option<LimitSettings>), EngineError>
            + Send
            + Sync
    );

/// What an attempt to change a schedule comes to.
enum Outcome {
    /// It is as it is to be, and new or not.
    Changed(Box<Schedule>, bool),
    /// It stays as it is.
    Refused(EngineError),
    /// A time has come that the change would pass by, and that no scheduler has got to yet.
    Overdue,
}

/// By what a state of a schedule is known.
pub fn schedule_etag(schedule: &Schedule) -> String {
    format!("{:x}-{:x}", schedule.version, schedule.updated_at.as_micros())
}

impl Engine {
    /// Makes a schedule or changes it. Gives it as it is then, and whether it is new. Where its times become others,
    /// those that have come before make their runs, by what it was until then.
    ///
    /// # Errors
    /// `DeploymentNotFound` where it is to be made, else, or with an etag, `ScheduleNotFound`; `ScheduleChanged`,
    /// `TooManySchedules`, and whatever `change` gives.
    pub async fn change_schedule(
        &self,
        timetables: &dyn Timetables,
        ask: &ScheduleAsk,
        verb: ScheduleVerb,
        change: ScheduleChange<'_>,
    ) -> Result<(Schedule, bool), EngineError> {
        let request = self.schedule_request(ask, verb.as_str());
        // One moment for all of it: what comes after it comes after the change.
        let now = self.clock().now();
        loop {
            match with_retries(|| self.try_change_schedule(ask, change, &request, now)).await? {
                Outcome::Changed(schedule, is_new) => {
                    self.hand_out_schedule(&ask.key);
                    return Ok((*schedule, is_new));
                }
                Outcome::Refused(error @ EngineError::ScheduleNotFound { .. })
                    if verb == ScheduleVerb::Create =>
                {
                    // One that is to be as it was read is missing in a deployment that is there.
                    let deployment = &ask.key.deployment;
                    let there = self.store().get_deployments(std::slice::from_ref(deployment)).await?;
                    return Err(if there.is_empty() { self.no_deployment(deployment).await? } else { error });
                }
                Outcome::Refused(error) => return Err(error),
                Outcome::Overdue => self.fire_overdue(timetables, &ask.key, now).await?,
            }
        }
    }

    /// What a change would make of a schedule, and whether that would be new: nothing is changed. With a `spec`, as if the
    /// deployment had that.
    ///
    /// # Errors
    /// `DeploymentNotFound`, `WorkPoolNotFound`, `ScheduleChanged`, and whatever `change` gives.
    pub async fn check_schedule(
        &self,
        ask: &ScheduleAsk,
        spec: Option<Spec>,
        change: ScheduleChange<'_>,
    ) -> Result<(Schedule, bool), EngineError> {
        let (store, now, key) = (self.store(), self.clock().now(), &ask.key.deployment);
        let there = store.get_deployments(std::slice::from_ref(key)).await?.pop();
        let deployment = match (there, spec) {
            (there, Some(spec)) => {
                let version = there.as_ref().map_or(1, |there| {
                    if there.spec == spec.encoded { there.version } else { there.version + 1 }
                });
                Deployment {
                    key: key.clone(),
                    version,
                    spec: spec.encoded,
                    work_pool: spec.work_pool,
                    created_at: there.map_or(now, |there| there.created_at),
                    updated_at: now,
                }
            }
            (Some(there), None) => there,
            (None, None) => return Err(self.no_deployment(key).await?),
        };
        let pool = match &deployment.work_pool {
            Some(name) => {
                let pool = WorkPoolKey { namespace: key.namespace.clone(), name: name.clone() };
                Some(self.get_work_pool(&pool).await?)
            }
            None => None,
        };
        let before = store.get_schedule(&ask.key).await?;
        check_etag(ask, before.as_ref())?;
        let (after, _) = change(&deployment, pool.as_ref(), before.as_ref(), now)?;
        Ok((after, before.is_none()))
    }

    async fn try_change_schedule(
        &self,
        ask: &ScheduleAsk,
        change: ScheduleChange<'_>,
        request: &RequestKey,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let store = &*self.inner.store;
        let mut tx = store.begin().await?;
        // Nobody deletes it, or makes another of its schedules, before the end.
        let Some(deployment) = tx.lock_deployment(&ask.key.deployment).await? else {
            return Ok(Outcome::Refused(ask.not_found()));
        };
        let pools = pool_keys(std::iter::once(&deployment));
        let pool = if pools.is_empty() { None } else { tx.read_work_pools(&pools).await?.pop() };
        let before = tx.lock_schedule(&ask.key).await?;
        let named = request.reservation(&ask.key.deployment.namespace, now);
        if let Some(before) = &before
            && tx.find_keys(&named, now).await?.iter().any(Option::is_some)
        {
            return Ok(Outcome::Changed(Box::new(before.clone()), request.is_own && before.version == 1));
        }
        let changed = check_etag(ask, before.as_ref())
            .and_then(|()| change(&deployment, pool.as_ref(), before.as_ref(), now));
        let (mut after, limit) = match changed {
            Ok(changed) => changed,
            Err(error) => return Ok(Outcome::Refused(error)),
        };
        if let Some(before) = &before
            && before.is_due(now)
            && before.progress.next_fire_at != after.progress.next_fire_at
        {
            return Ok(Outcome::Overdue);
        }
        let most = limits::MAX_SCHEDULES;
        if before.is_none() && tx.count_schedules(&ask.key.deployment).await? >= most {
            let deployment = deployment.key.name.to_string();
            return Ok(Outcome::Refused(EngineError::TooManySchedules { deployment, most }));
        }
        tx.reserve_keys(&named, now).await?;
        if before.as_ref() != Some(&after) {
            after.version = before.as_ref().map_or(0, |before| before.version) + 1;
            after.updated_at = now;
            tx.put_schedule(&after, limit.as_ref()).await?;
        }
        commit(store, tx, &[]).await?;
        Ok(Outcome::Changed(Box::new(after), before.is_none()))
    }

    /// Takes a schedule away; its runs stay, and what has come and was not fired yet is dropped. False: it was not there.
    ///
    /// # Errors
    /// `ScheduleChanged`.
    pub async fn delete_schedule(&self, ask: &ScheduleAsk) -> Result<bool, EngineError> {
        let request = self.schedule_request(ask, "delete");
        let was_there = with_retries(|| self.try_delete_schedule(ask, &request)).await??;
        self.hand_out_schedule(&ask.key);
        Ok(was_there)
    }

    async fn try_delete_schedule(
        &self,
        ask: &ScheduleAsk,
        request: &RequestKey,
    ) -> Result<Result<bool, EngineError>, StoreError> {
        let (store, now) = (&*self.inner.store, self.inner.clock.now());
        let mut tx = store.begin().await?;
        tx.lock_deployment(&ask.key.deployment).await?;
        let named = request.reservation(&ask.key.deployment.namespace, now);
        if tx.find_keys(&named, now).await?.iter().any(Option::is_some) {
            return Ok(Ok(true));
        }
        let Some(before) = tx.lock_schedule(&ask.key).await? else { return Ok(Ok(false)) };
        if let Err(error) = check_etag(ask, Some(&before)) {
            return Ok(Err(error));
        }
        tx.reserve_keys(&named, now).await?;
        tx.delete_schedule(&ask.key).await?;
        commit(store, tx, &[]).await?;
        Ok(Ok(true))
    }

    fn schedule_request(&self, ask: &ScheduleAsk, verb: &str) -> RequestKey {
        let ScheduleKey { deployment, name } = &ask.key;
        let scope = format!("schedule/{verb}:{}/{name}", deployment.name);
        RequestKey::of(ask.request_id, scope, &self.inner.options)
    }

    /// For how many of these times of a schedule no run was made yet.
    pub async fn n_not_made(&self, schedule: &Schedule, fires: &[Fire]) -> Result<usize, EngineError> {
        let mut n_made = 0;
        for chunk in fires.chunks(limits::MAX_BATCH_SIZE) {
            n_made += with_retries(|| self.n_made(schedule, chunk)).await?;
        }
        Ok(fires.len() - n_made)
    }

    async fn n_made(&self, schedule: &Schedule, fires: &[Fire]) -> Result<usize, StoreError> {
        let (namespace, scope) = (&schedule.key.deployment.namespace, KeyScope::Schedule(schedule.id));
        let now = self.inner.clock.now();
        let key = |fire: &Fire| {
            let name = (scope.to_string(), fire.fire_at.to_string());
            // Whose it would be does not matter: nothing is reserved.
            reservation(namespace, RunId::from_uuid(schedule.id.as_uuid()), &name, now)
        };
        let keys: Vec<_> = fires.iter().map(key).collect();
        let mut tx = self.inner.store.begin().await?;
        Ok(tx.find_keys(&keys, now).await?.into_iter().flatten().count())
    }

    /// One schedule.
    ///
    /// # Errors
    /// `ScheduleNotFound`.
    pub async fn get_schedule(&self, key: &ScheduleKey) -> Result<Schedule, EngineError> {
        let found = self.store().get_schedule(key).await?;
        found.ok_or_else(|| EngineError::ScheduleNotFound {
            deployment: key.deployment.name.to_string(),
            name: key.name.to_string(),
        })
    }

    /// Those who wait for its slot may have it now.
    fn hand_out_schedule(&self, key: &ScheduleKey) {
        self.send(Outbound { freed: Freed::from([(key.limit(), u64::MAX)]), ..Outbound::default() });
    }
}

fn check_etag(ask: &ScheduleAsk, before: Option<&Schedule>) -> Result<(), EngineError> {
    match (&ask.etag, before) {
        (Some(asked), Some(before)) if *asked != schedule_etag(before) => Err(EngineError::ScheduleChanged {
            deployment: ask.key.deployment.name.to_string(),
            name: ask.key.name.to_string(),
        }),
        _ => Ok(()),
    }
}
