use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder, postgres::PgRow, query};
use tidegate_model::{ArtifactId, ArtifactKey, Namespace, RunId, Timestamp};
use tidegate_store::{
    Artifact, ArtifactName, ArtifactQuery, ArtifactRows, ArtifactTx, StoreError, VersionedKey, adapter,
};
use uuid::Uuid;

use crate::{PgStore, error::store_error, queries, row, tx::PgTx};

/// How many columns `artifacts/columns.sql` has.
const N_COLUMNS: usize = 12;

#[async_trait]
impl ArtifactRows for PgStore {
    async fn get_artifact(
        &self,
        namespace: &Namespace,
        name: &ArtifactName,
    ) -> Result<Option<Artifact>, StoreError> {
        let query = match name {
            ArtifactName::Id(id) => {
                query(queries::GET_ARTIFACT.sql()).bind(namespace.as_str()).bind(id.as_uuid())
            }
            ArtifactName::Key(key, version) => query(queries::FIND_ARTIFACT_BY_KEY.sql())
                .bind(namespace.as_str())
                .bind(key.as_str())
                .bind(version.map(adapter::signed)),
        };
        let found = query.fetch_optional(&self.pool).await.map_err(store_error)?;
        found.as_ref().map(with_data).transpose()
    }

    async fn list_artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        let mut sql = QueryBuilder::<Postgres>::new(queries::ARTIFACT_COLUMNS);
        sql.push(" FROM artifacts WHERE artifacts.namespace = ").push_bind(query.namespace.as_str());
        if let Some(run) = query.run {
            sql.push(" AND artifacts.run_id = ").push_bind(run.as_uuid());
        }
        if let Some(root) = query.root {
            sql.push(" AND artifacts.root_id = ").push_bind(root.as_uuid());
        }
        if let Some(key) = &query.key {
            sql.push(" AND artifacts.key = ").push_bind(key.as_str());
        }
        if let Some(artifact_type) = query.artifact_type {
            sql.push(" AND artifacts.type = ").push_bind(artifact_type.as_str());
        }
        if query.latest {
            sql.push(adapter::IS_LATEST_ARTIFACT);
        }
        let (beyond, direction) = if query.oldest_first { (">", "ASC") } else { ("<", "DESC") };
        if let Some(after) = query.after {
            sql.push(format_args!(" AND artifacts.id {beyond} ")).push_bind(after.as_uuid());
        }
        sql.push(format_args!(" ORDER BY artifacts.id {direction} LIMIT "));
        sql.push_bind(adapter::limit(query.limit));
        let mut tx = self.begin_for_values().await?;
        let rows = sql.build().persistent(false).fetch_all(&mut *tx).await.map_err(store_error)?;
        rows.iter().map(artifact).collect()
    }
}

#[async_trait]
impl ArtifactTx for PgTx {
    async fn find_artifacts(&mut self, ids: &[ArtifactId]) -> Result<Vec<Artifact>, StoreError> {
        let rows = query(queries::FIND_ARTIFACTS.sql())
            .bind(ids.iter().map(ArtifactId::as_uuid).collect::<Vec<_>>())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(artifact).collect()
    }

    async fn count_artifacts(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, u64)>, StoreError> {
        let rows = query(queries::COUNT_ARTIFACTS.sql())
            .bind(row::ids(runs))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let count = |row: &PgRow| Ok((row::run_id(row, 0)?, adapter::number("count", row::column(row, 1)?)?));
        rows.iter().map(count).collect()
    }

    async fn take_versions(
        &mut self,
        keys: &[(VersionedKey, u64)],
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError> {
        let rows = query(queries::TAKE_VERSIONS.sql())
            .bind(keys.iter().map(|(key, _)| key.namespace.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(key, _)| key.key.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|(_, n)| adapter::signed(*n)).collect::<Vec<_>>())
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut last: HashMap<(&str, &str), u64> = HashMap::with_capacity(rows.len());
        for row in &rows {
            let key = (row::column(row, 0)?, row::column(row, 1)?);
            last.insert(key, adapter::number("last_version", row::column(row, 2)?)?);
        }
        adapter::versions_of(keys, &last)
    }

    async fn insert_artifacts(&mut self, artifacts: &[Artifact]) -> Result<usize, StoreError> {
        let data = |artifact: &Artifact| artifact.data.as_ref().map(|payload| payload.data.to_vec());
        let object = |artifact: &Artifact| artifact.data.as_ref().and_then(|payload| payload.object);
        let each = artifacts.iter();
        let done = query(queries::INSERT_ARTIFACTS.sql())
            .bind(each.clone().map(|one| one.id.as_uuid()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.namespace.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.key.as_ref().map(ArtifactKey::as_str)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| adapter::signed(one.version)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.artifact_type.as_str()).collect::<Vec<_>>())
            .bind(each.clone().map(|one| adapter::text(&one.description)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.progress).collect::<Vec<_>>())
            .bind(each.clone().map(|one| row::labels_json(&one.labels)).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.run.map(|run| run.as_uuid())).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.root.map(|run| run.as_uuid())).collect::<Vec<_>>())
            .bind(each.clone().map(|one| one.created_at.as_micros()).collect::<Vec<_>>())
            .bind(each.clone().map(data).collect::<Vec<_>>())
            .bind(each.clone().map(|one| object(one).map(|of| of.id.as_uuid())).collect::<Vec<_>>())
            .bind(each.clone().map(|one| object(one).map(|of| adapter::signed(of.size))).collect::<Vec<_>>())
            .bind(each.map(|one| object(one).map(|of| of.sha256.to_vec())).collect::<Vec<_>>())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn delete_versions(&mut self, up_to: &[(VersionedKey, u64)]) -> Result<(), StoreError> {
        query(queries::DELETE_VERSIONS.sql())
            .bind(up_to.iter().map(|(key, _)| key.namespace.as_str()).collect::<Vec<_>>())
            .bind(up_to.iter().map(|(key, _)| key.key.as_str()).collect::<Vec<_>>())
            .bind(up_to.iter().map(|(_, version)| adapter::signed(*version)).collect::<Vec<_>>())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn lock_artifact(
        &mut self,
        namespace: &Namespace,
        id: ArtifactId,
    ) -> Result<Option<Artifact>, StoreError> {
        let found = query(queries::LOCK_ARTIFACT.sql())
            .bind(namespace.as_str())
            .bind(id.as_uuid())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        found.as_ref().map(artifact).transpose()
    }

    async fn update_artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        let (data, object) = (artifact.data.as_ref(), artifact.data.as_ref().and_then(|data| data.object));
        query(queries::UPDATE_ARTIFACT.sql())
            .bind(artifact.id.as_uuid())
            .bind(adapter::text(&artifact.description))
            .bind(artifact.progress)
            .bind(artifact.updated_at.as_micros())
            .bind(data.map(|data| data.data.to_vec()))
            .bind(object.map(|object| object.id.as_uuid()))
            .bind(object.map(|object| adapter::signed(object.size)))
            .bind(object.map(|object| object.sha256.to_vec()))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn delete_artifact(&mut self, namespace: &Namespace, id: ArtifactId) -> Result<bool, StoreError> {
        let done = query(queries::DELETE_ARTIFACT.sql())
            .bind(namespace.as_str())
            .bind(id.as_uuid())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }
}

fn artifact(row: &PgRow) -> Result<Artifact, StoreError> {
    let key = row::column::<Option<&str>>(row, 2)?;
    let run = |idx| Ok::<_, StoreError>(row::column::<Option<Uuid>>(row, idx)?.map(RunId::from_uuid));
    Ok(Artifact {
        id: ArtifactId::from_uuid(row::column(row, 0)?),
        namespace: adapter::parse("namespace", row::column(row, 1)?)?,
        key: key.map(|key| adapter::parse("key", key)).transpose()?,
        version: adapter::number("version", row::column(row, 3)?)?,
        artifact_type: adapter::parse("type", row::column(row, 4)?)?,
        description: row::column(row, 5)?,
        progress: row::column(row, 6)?,
        labels: row::labels(row::column(row, 7)?, "labels")?,
        data: None,
        run: run(8)?,
        root: run(9)?,
        created_at: Timestamp::from_micros(row::column(row, 10)?),
        updated_at: Timestamp::from_micros(row::column(row, 11)?),
    })
}

fn with_data(row: &PgRow) -> Result<Artifact, StoreError> {
    let data = match row::column::<Option<&[u8]>>(row, N_COLUMNS)? {
        None => None,
        Some(_) => Some(row::payload(row, N_COLUMNS)?),
    };
    Ok(Artifact { data, ..artifact(row)? })
}
