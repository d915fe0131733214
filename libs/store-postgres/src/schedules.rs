use async_trait::async_trait;
use sqlx::{postgres::PgRow, query};
use tidegate_model::{RunId, ScheduleId, Timestamp, limits::SCHEDULE_LIMIT_PREFIX};
use tidegate_store::{
    Deployment, DeploymentKey, LimitSettings, Schedule, ScheduleKey, SchedulePause, ScheduleProgress,
    ScheduleQuery, ScheduleRows, ScheduleTx, StoreError, adapter,
};
use uuid::Uuid;

use crate::{
    PgStore, deployments,
    error::store_error,
    queries, row,
    tx::{PgTx, each},
};

#[async_trait]
impl ScheduleRows for PgStore {
    async fn get_schedule(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        let found = query(queries::GET_SCHEDULE.sql())
            .bind(key.deployment.namespace.as_str())
            .bind(key.deployment.name.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        found.as_ref().map(schedule).transpose()
    }

    async fn list_schedules(&self, asked: &ScheduleQuery) -> Result<Vec<Schedule>, StoreError> {
        // Nothing is as small as the empty text, which is no name.
        let (after_deployment, after_name) = match &asked.after {
            Some((deployment, name)) => (deployment.as_str(), name.as_str()),
            None => ("", ""),
        };
        let (statement, deployment, name) = match &asked.deployment {
            None => (&queries::LIST_SCHEDULES, after_deployment, after_name),
            // Whatever comes after the last one of another deployment: all, or nothing.
            Some(deployment) if after_deployment > deployment.as_str() => return Ok(Vec::new()),
            Some(deployment) => {
                let name = if after_deployment == deployment.as_str() { after_name } else { "" };
                (&queries::LIST_SCHEDULES_OF_DEPLOYMENT, deployment.as_str(), name)
            }
        };
        let rows = query(statement.sql())
            .bind(asked.namespace.as_str())
            .bind(deployment)
            .bind(name)
            .bind(adapter::limit(asked.limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(schedule).collect()
    }

    async fn next_schedule_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let found =
            query(queries::NEXT_SCHEDULE.sql()).fetch_optional(&self.pool).await.map_err(store_error)?;
        found.map(|found| Ok(Timestamp::from_micros(row::column(&found, 0)?))).transpose()
    }
}

#[async_trait]
impl ScheduleTx for PgTx {
    async fn lock_schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        let found = query(queries::LOCK_SCHEDULE.sql())
            .bind(key.deployment.namespace.as_str())
            .bind(key.deployment.name.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        found.as_ref().map(schedule).transpose()
    }

    async fn count_schedules(&mut self, deployment: &DeploymentKey) -> Result<usize, StoreError> {
        let counted = query(queries::COUNT_SCHEDULES.sql())
            .bind(deployment.namespace.as_str())
            .bind(deployment.name.as_str())
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }

    async fn put_schedule(
        &mut self,
        schedule: &Schedule,
        limit: Option<&LimitSettings>,
    ) -> Result<(), StoreError> {
        let (key, pause, progress) = (&schedule.key, schedule.pause.as_ref(), &schedule.progress);
        query(queries::PUT_SCHEDULE.sql())
            .bind(key.deployment.namespace.as_str())
            .bind(key.deployment.name.as_str())
            .bind(key.name.as_str())
            .bind(schedule.id.as_uuid())
            .bind(adapter::signed(schedule.version))
            .bind(&schedule.spec[..])
            .bind(pause.map(|pause| pause.at.as_micros()))
            .bind(pause.and_then(|pause| pause.by.as_deref().map(adapter::text)))
            .bind(pause.map(|pause| adapter::text(&pause.reason)).unwrap_or_default())
            .bind(schedule.created_at.as_micros())
            .bind(schedule.updated_at.as_micros())
            .bind(progress.next_fire_at.map(Timestamp::as_micros))
            .bind(progress.last_fire_at.map(Timestamp::as_micros))
            .bind(progress.last_run.map(|run| run.as_uuid()))
            .bind(adapter::signed(progress.n_missed))
            .bind(progress.last_error.as_deref().map(adapter::text))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        self.set_limit(&key.limit(), limit, schedule.updated_at).await
    }

    async fn delete_schedule(&mut self, key: &ScheduleKey) -> Result<bool, StoreError> {
        self.drop_limit(&key.limit()).await?;
        let done = query(queries::DELETE_SCHEDULE.sql())
            .bind(key.deployment.namespace.as_str())
            .bind(key.deployment.name.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn sweep_schedules(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, StoreError> {
        let rows = query(queries::SWEEP_SCHEDULES.sql())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(schedule).collect()
    }

    async fn read_deployments(&mut self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError> {
        let rows = query(queries::FIND_DEPLOYMENTS.sql())
            .bind(keys.iter().map(|key| key.namespace.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(deployments::deployment).collect()
    }

    async fn advance_schedules(
        &mut self,
        progress: &[(ScheduleId, ScheduleProgress)],
    ) -> Result<(), StoreError> {
        query(queries::ADVANCE_SCHEDULES.sql())
            .bind(each!(progress, (id, _) => id.as_uuid()))
            .bind(each!(progress, (_, to) => to.next_fire_at.map(Timestamp::as_micros)))
            .bind(each!(progress, (_, to) => to.last_fire_at.map(Timestamp::as_micros)))
            .bind(each!(progress, (_, to) => to.last_run.map(|run| run.as_uuid())))
            .bind(each!(progress, (_, to) => adapter::signed(to.n_missed)))
            .bind(each!(progress, (_, to) => to.last_error.as_deref().map(adapter::text)))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

impl PgTx {
    /// Takes the schedules of a deployment away, with their limits.
    pub(crate) async fn delete_schedules(&mut self, deployment: &DeploymentKey) -> Result<(), StoreError> {
        query(queries::DELETE_SCHEDULES_OF_DEPLOYMENT.sql())
            .bind(deployment.namespace.as_str())
            .bind(deployment.name.as_str())
            .bind(SCHEDULE_LIMIT_PREFIX)
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

fn schedule(row: &PgRow) -> Result<Schedule, StoreError> {
    let time = |idx| Ok::<_, StoreError>(row::column::<Option<i64>>(row, idx)?.map(Timestamp::from_micros));
    let pause = match time(6)? {
        None => None,
        Some(at) => Some(SchedulePause { at, by: row::column(row, 7)?, reason: row::column(row, 8)? }),
    };
    Ok(Schedule {
        key: ScheduleKey {
            deployment: DeploymentKey {
                namespace: adapter::parse("namespace", row::column(row, 0)?)?,
                name: adapter::parse("deployment", row::column(row, 1)?)?,
            },
            name: adapter::parse("name", row::column(row, 2)?)?,
        },
        id: ScheduleId::from_uuid(row::column(row, 3)?),
        version: adapter::number("version", row::column(row, 4)?)?,
        spec: row::column::<Vec<u8>>(row, 5)?.into(),
        pause,
        created_at: Timestamp::from_micros(row::column(row, 9)?),
        updated_at: Timestamp::from_micros(row::column(row, 10)?),
        progress: ScheduleProgress {
            next_fire_at: time(11)?,
            last_fire_at: time(12)?,
            last_run: row::column::<Option<Uuid>>(row, 13)?.map(RunId::from_uuid),
            n_missed: adapter::number("missed_count", row::column(row, 14)?)?,
            last_error: row::column(row, 15)?,
        },
    })
}
